"""Trainings that the explorers replay: each fault of the article's model alone and together, and three losses.

``python -m mae experiments`` fills ``results/faults.json`` and ``results/paths.json``; stopped, it goes on where it
was. `mae.explore` shows them.
"""

import json
import os
import platform
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from mae.data import load_digits
from mae.experiments import PATCH, run_missing, small_config
from mae.fully_connected import FullyConnectedAutoencoder, pixel_loss, pixel_mask
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit

FAULTS = Path(__file__).parent / "results" / "faults.json"
PATHS = Path(__file__).parent / "results" / "paths.json"
LEVELS = 15  # a stored picture has a hexadecimal digit for each pixel, from 0 (black) to f (white)


def to_hex(pictures: Tensor) -> list[str]:
    """Pictures as text, a hexadecimal digit for each pixel.

    Parameters
    ----------
    pictures : Tensor, (B, H·W)
        What is outside of 0 to 1 is clipped.
    """
    levels = (pictures.clamp(0, 1) * LEVELS).round().int().tolist()
    return ["".join(f"{level:x}" for level in row) for row in levels]


def from_hex(text: str) -> Tensor:
    """The pixels of a picture stored by `to_hex`.

    Parameters
    ----------
    text : str

    Returns
    -------
    Tensor, (H·W,)
        Between 0 and 1.
    """
    return torch.tensor([int(digit, 16) / LEVELS for digit in text])


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Which faults the fully connected model of chapter 4a has. Without any, it is the mended one.

    Parameters
    ----------
    relu : bool
        A ReLU after the last layer.
    code : bool
        A ReLU on the code.
    masks : bool
        A second mask, on the target, drawn at each step; otherwise the loss is taken on hidden pixels.
    noise : bool
        100 steps on one vector of random numbers instead of 10 epochs on 4,000 digits.
    seed : int
    """

    relu: bool = False
    code: bool = False
    masks: bool = False
    noise: bool = False
    seed: int = 0


FAULT_SWEEP = [
    Faults(relu=relu, code=code, masks=masks, noise=noise, seed=seed)
    for seed, relu, code, masks, noise in product(range(3), *[(False, True)] * 4)
]


@cache
def shown_digits() -> tuple[Tensor, Tensor]:
    """The test digits as rows of pixels, (1000, 784), and what is visible of them, the same for all models."""
    test = load_digits("test").images.flatten(1)
    return test, pixel_mask(test.shape, generator=torch.Generator().manual_seed(1000))


def run_faults(faults: Faults) -> dict:
    """Train the model with these faults, then let it fill in test digits.

    Parameters
    ----------
    faults : Faults

    Returns
    -------
    dict
        ``loss``: of the last epoch; ``share``: the error on hidden pixels of the test digits, divided by that of the
        mean training digit; ``pictures``: the output for four test digits, with seed 0 only.
    """
    generator = torch.Generator().manual_seed(faults.seed)
    train = torch.randn(1, 784, generator=generator) if faults.noise else load_digits("train").images.flatten(1)
    model = FullyConnectedAutoencoder("relu" if faults.relu else "linear", generator=generator)
    if not faults.code:
        model.encoder = model.encoder[:-1]

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        x = train[batch]
        visible = pixel_mask(x.shape, generator=generator)
        on = "two masks" if faults.masks else "hidden"
        return pixel_loss(model(x, visible), x, visible, on, generator=generator)

    options = TrainConfig(epochs=100 if faults.noise else 10, seed=faults.seed)
    loss = fit(model, loss_of_batch, len(train), options, name="faults")[-1]["loss"]
    test, visible = shown_digits()
    with torch.inference_mode():
        output = model(test, visible)
    mean = load_digits("train").images.mean(dim=0).flatten()
    errors = [((guess - test)[visible == 0] ** 2).mean().item() for guess in (output, mean)]
    pictures = {} if faults.seed else {"pictures": to_hex(output[:4])}
    return {"loss": round(loss, 5), "share": round(errors[0] / errors[1], 5), **pictures}


def _store(path: Path, content: dict) -> None:
    versions = {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"versions": versions, **content}, indent=1) + "\n")
    os.replace(partial, path)


def run_missing_faults(path: Path = FAULTS) -> None:
    """Run the trainings with faults that are not yet stored; each is stored as soon as it is done.

    Parameters
    ----------
    path : Path
    """
    run_missing(FAULT_SWEEP, run_faults, path)


def stored_faults() -> list[dict]:
    """The stored trainings with faults, in the order of `FAULT_SWEEP`."""
    rows = {Faults(**row["setting"]): row for row in json.loads(FAULTS.read_text())["rows"]}
    return [rows[faults] for faults in FAULT_SWEEP]


LOSSES = ("hidden", "visible", "all")
STOPS = 13  # places on a path: the start and twelve more, one epoch apart
SIDE = 17  # points along each side of the map


def _weights(model: MaskedAutoencoder) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def train_path(loss: str, epochs: int = STOPS - 1, seed: int = 0) -> list[Tensor]:
    """Train the small model of chapter 1 and keep its weights before each epoch and after the last.

    Parameters
    ----------
    loss : {"hidden", "visible", "all"}
        Patches that count.
    epochs, seed : int

    Returns
    -------
    list of Tensor, (parameters,)
    """
    images = load_digits("train").images
    model = MaskedAutoencoder(small_config(), generator=torch.Generator().manual_seed(seed))
    patches = patchify(images, PATCH)
    path, seen = [], 0

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        nonlocal seen
        if seen % len(images) == 0:
            path.append(_weights(model))
        seen += len(batch)
        x = patches[batch]
        mask = random_mask(len(x), x.shape[1], 0.75, generator=generator)
        error = ((model(x, mask, predict="all") - x) ** 2).mean(dim=2)  # (B, N)
        return {"hidden": error[mask.is_hidden], "visible": error[~mask.is_hidden], "all": error}[loss].mean()

    fit(model, loss_of_batch, len(images), TrainConfig(epochs=epochs, seed=seed), name=f"loss on {loss}")
    return [*path, _weights(model)]


@cache
def _questions(count: int = 200):
    patches = patchify(load_digits("test").images[:count], PATCH)
    return patches, random_mask(count, patches.shape[1], 0.75, generator=torch.Generator().manual_seed(1000))


def measure_weights(weights: Tensor) -> tuple[dict, Tensor]:
    """The three losses of the small model with these weights, on 200 test digits.

    Parameters
    ----------
    weights : Tensor, (parameters,)

    Returns
    -------
    losses : dict
        By the names in `LOSSES`.
    predictions : Tensor, (200, N, P)
        Of all patches.
    """
    model = MaskedAutoencoder(small_config(), generator=torch.Generator().manual_seed(0))
    torch.nn.utils.vector_to_parameters(weights, model.parameters())
    patches, mask = _questions()
    with torch.inference_mode():
        prediction = model(patches, mask, predict="all")
    error = ((prediction - patches) ** 2).mean(dim=2)  # (B, N)
    chosen = {"hidden": error[mask.is_hidden], "visible": error[~mask.is_hidden], "all": error}
    return {name: chosen[name].mean().item() for name in LOSSES}, prediction


def run_paths(path: Path = PATHS) -> None:
    """Train with each of the three losses from the same start, and map the losses around the three paths.

    The map is the plane of the two main directions (PCA) of all places on the paths; the paths are projected on it.

    Parameters
    ----------
    path : Path
    """
    paths = {loss: train_path(loss) for loss in LOSSES}
    places = torch.cat([torch.stack(found) for found in paths.values()]).double()
    centre = places.mean(dim=0)
    _, strength, directions = torch.linalg.svd(places - centre, full_matrices=False)
    flat = (places - centre) @ directions[:2].T  # (3 · STOPS, 2)
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    margin = 0.12 * (high - low)
    axes = [torch.linspace(a.item(), b.item(), SIDE) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = []
    for y in axes[1]:
        grid.append(
            [measure_weights((centre + directions[:2].T @ torch.stack([x, y]).double()).float())[0] for x in axes[0]]
        )
    rows = {}
    for i, (loss, found) in enumerate(paths.items()):
        measured = [measure_weights(weights) for weights in found]
        rows[loss] = {
            "place": [[round(v, 4) for v in p] for p in flat[i * STOPS : (i + 1) * STOPS].tolist()],
            "losses": [{name: round(v, 5) for name, v in losses.items()} for losses, _ in measured],
            "pictures": [to_hex(unpatchify(p[:1], PATCH, 28).flatten(1))[0] for _, p in measured],
        }
    content = {
        "flat": round((strength[:2] ** 2).sum().item() / (strength**2).sum().item(), 3),
        "axes": [[round(v, 4) for v in axis.tolist()] for axis in axes],
        "map": {name: [[round(point[name], 4) for point in row] for row in grid] for name in LOSSES},
        "paths": rows,
    }
    _store(path, content)


def stored_paths() -> dict:
    """The stored map and paths.

    Returns
    -------
    dict
        ``flat``: share of the paths' variance that lies in the plane of the map. ``axes``: the places of the map's
        columns and rows. ``map``: for each loss its values, a list per row. ``paths``: for each loss that was trained
        on, at each stop, the ``place``, the three ``losses`` on test digits, and the first test digit as the model
        draws it (``pictures``).
    """
    return json.loads(PATHS.read_text())


def run_replays() -> None:
    """Run the trainings that are missing."""
    run_missing_faults()
    if not PATHS.exists():
        run_paths()
