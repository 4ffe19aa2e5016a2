"""Experiments that need more time than a notebook has: run once, stored with seeds, plotted in the chapters.

``python -m mae experiments`` fills ``results/masking.json``, one run after the other; stopped, it goes on where it was.
`mae.ablations` does the same with other settings.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from mae.data import load_digits, random_affine
from mae.evaluate import extract_features, linear_probe, nearest_neighbors
from mae.losses import normalize_patches
from mae.masking import Mask, block_mask, grid_mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "masking.json"


PATCH = 7  # pixels: 16 patches instead of the digits model's 49 make a sweep affordable


def small_config() -> MAEConfig:
    """Half as wide as the digits model, on a third of the patches."""
    return MAEConfig(
        grid=(4, 4),
        patch_values=49,
        width=64,
        depth=4,
        heads=4,
        decoder_width=48,
        decoder_depth=2,
        decoder_heads=4,
    )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run: the base setting, and what differs from it.

    Parameters
    ----------
    input : {"drop", "zero", "token"}
        What the encoder gets where patches are hidden: nothing, black pixels, or a learned token.
    unit : {"patch", "pixel"}
        What is hidden: 7×7 patches, or single pixels (only with "zero": pixels are not tokens).
    ratio : float
        Share that is hidden.
    loss : {"hidden", "visible", "all"}
        Pixels that the training loss is taken on.
    epochs : int
        0 leaves the model untrained.
    seed : int
    pattern : {"random", "block", "grid"}
        How hidden patches lie; the grid hides three quarters.
    decoder_depth, decoder_width : int
    normalized : bool
        Predict normalised pixels.
    augment : {"none", "shift", "affine"}
        Nothing, shifts only, or all of `random_affine`.
    """

    input: str = "drop"
    unit: str = "patch"
    ratio: float = 0.75
    loss: str = "hidden"
    epochs: int = 24
    seed: int = 0
    pattern: str = "random"
    decoder_depth: int = 2
    decoder_width: int = 48
    normalized: bool = False
    augment: str = "none"

    def __post_init__(self):
        if self.input not in ("drop", "zero", "token") or self.unit not in ("patch", "pixel"):
            raise ValueError(f"unknown input {self.input!r} or unit {self.unit!r}")
        if self.unit == "pixel" and self.input != "zero":
            raise ValueError('single pixels can only be hidden with input="zero"')
        if self.loss not in ("hidden", "visible", "all"):
            raise ValueError(f'expected loss "hidden", "visible" or "all", got {self.loss!r}')
        if self.pattern not in ("random", "block", "grid") or self.augment not in ("none", "shift", "affine"):
            raise ValueError(f"unknown pattern {self.pattern!r} or augmentation {self.augment!r}")
        if self.pattern != "random" and self.unit == "pixel":
            raise ValueError(f'single pixels are hidden at random, not with pattern="{self.pattern}"')
        if self.pattern == "grid" and self.ratio != 0.75:
            raise ValueError(f"a grid hides three quarters of the patches, not {self.ratio}")


SWEEP = [
    setting
    for seed in range(3)
    for setting in (
        *(Setting(ratio=ratio, seed=seed) for ratio in (0.25, 0.5, 0.75, 0.9)),
        *(Setting(loss=loss, seed=seed) for loss in ("visible", "all")),
        *(Setting(input=fill, seed=seed) for fill in ("zero", "token")),
        *(Setting(input="zero", unit="pixel", ratio=ratio, seed=seed) for ratio in (0.5, 0.75, 0.9)),
        *(Setting(input="zero", ratio=ratio, seed=seed) for ratio in (0.5, 0.9)),
    )
]


class TokenInputMAE(MaskedAutoencoder):
    """The encoder sees every position; hidden patches are replaced by a learned token (as in BERT and SimMIM).

    Parameters
    ----------
    config : MAEConfig
    generator : torch.Generator, optional
        As for `MaskedAutoencoder`.
    """

    def __init__(self, config: MAEConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, generator=generator)
        self.input_token = nn.Parameter(torch.zeros(1, 1, config.width))

    def embed(self, patches: Tensor, mask: Mask | None = None) -> Tensor:
        """All tokens, (B, N, D), with the learned one where a patch is hidden."""
        x = self.patch_embed(patches)
        if mask is not None:
            x = torch.where(mask.is_hidden[:, :, None], self.input_token, x)
        return x + self.positions


@cache
def block_masks(ratio: float) -> Mask:
    """4,000 masks of blocks to choose from: to draw them anew for every batch takes half as long as training.

    Parameters
    ----------
    ratio : float
    """
    return block_mask(4000, small_config().grid, ratio, generator=torch.Generator().manual_seed(0))


def draw_hidden(setting: Setting, patches: Tensor, generator: torch.Generator) -> tuple[Tensor, Mask | None]:
    """Draw what is hidden.

    Parameters
    ----------
    setting : Setting
    patches : Tensor, (B, N, P)
    generator : torch.Generator

    Returns
    -------
    hidden : Tensor, (B, N, P), bool
        True where a pixel is hidden.
    mask : Mask or None
        The mask of patches, if patches are what is hidden.
    """
    B, N, P = patches.shape
    if setting.unit == "pixel":
        return random_mask(B, N * P, setting.ratio, generator=generator).is_hidden.view(B, N, P), None
    if setting.pattern == "random":
        mask = random_mask(B, N, setting.ratio, generator=generator)
    elif setting.pattern == "block":
        masks = block_masks(setting.ratio)
        mask = masks[torch.randint(len(masks), (B,), generator=generator)]
    else:
        mask = grid_mask(B, small_config().grid)
    return mask.is_hidden[:, :, None].expand(-1, -1, P), mask


def predict_all(
    model: MaskedAutoencoder, setting: Setting, patches: Tensor, hidden: Tensor, mask: Mask | None
) -> Tensor:
    """Predict every patch from what the setting lets the encoder see.

    Parameters
    ----------
    model : MaskedAutoencoder
    setting : Setting
    patches : Tensor, (B, N, P)
    hidden, mask
        What `draw_hidden` returned.

    Returns
    -------
    Tensor, (B, N, P)
    """
    if setting.input == "drop":
        return model(patches, mask, predict="all")
    if setting.input == "zero":
        latent = model.encode(patches.masked_fill(hidden, 0))
    else:
        latent = model.encode(patches, mask)
    return model.predict(model.decode(latent))


def copy_nearest(images: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Fill each hidden pixel with the nearest visible one: what needs no learning at all.

    Parameters
    ----------
    images : ndarray, (B, H, W)
    hidden : ndarray, (B, H, W), bool

    Returns
    -------
    ndarray, (B, H, W)
    """
    filled = []
    for image, hide in zip(images, hidden, strict=True):
        row, column = distance_transform_edt(hide, return_distances=False, return_indices=True)
        filled.append(image[row, column])
    return np.stack(filled)


def train(setting: Setting) -> MaskedAutoencoder:
    """Train one model on the 4,000 training digits.

    Parameters
    ----------
    setting : Setting
    """
    images = load_digits("train").images
    config = replace(small_config(), decoder_depth=setting.decoder_depth, decoder_width=setting.decoder_width)
    kind = TokenInputMAE if setting.input == "token" else MaskedAutoencoder
    model = kind(config, generator=torch.Generator().manual_seed(setting.seed))
    strength = {"none": {}, "shift": {"degrees": 0, "scale": 0}, "affine": {}}[setting.augment]

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        x = images[batch]
        if setting.augment != "none":
            x = random_affine(x, generator=generator, **strength)
        patches = patchify(x, PATCH)
        hidden, mask = draw_hidden(setting, patches, generator)
        weight = {"hidden": hidden, "visible": ~hidden, "all": torch.ones_like(hidden)}[setting.loss]
        target = normalize_patches(patches)[0] if setting.normalized else patches
        error = (predict_all(model, setting, patches, hidden, mask) - target) ** 2
        return (error * weight).sum() / weight.sum()

    if setting.epochs:
        options = TrainConfig(epochs=setting.epochs, seed=setting.seed)
        fit(model, loss_of_batch, len(images), options, name=f"{setting.input}, {setting.ratio}")
    return model


def reconstruction(model: MaskedAutoencoder, setting: Setting) -> dict:
    """Mean squared errors on hidden pixels of the test digits.

    Parameters
    ----------
    model : MaskedAutoencoder
    setting : Setting
        What it was trained with, and what is hidden now.

    Returns
    -------
    dict
        ``error`` of the model; ``mean_image`` and ``nearest_pixel``: of two baselines on the same pixels.
    """
    train_images, test_images = (load_digits(split).images for split in ("train", "test"))
    patches = patchify(test_images, PATCH)
    hidden, mask = draw_hidden(setting, patches, torch.Generator().manual_seed(1000))
    with torch.inference_mode():
        prediction = predict_all(model, setting, patches, hidden, mask)
    images = test_images[:, 0].numpy()
    hidden_pixels = unpatchify(hidden.float(), PATCH, 28)[:, 0].bool().numpy()

    def error(guess) -> float:
        return float(np.mean((np.broadcast_to(guess, images.shape) - images)[hidden_pixels] ** 2))

    return {
        "error": error(unpatchify(prediction, PATCH, 28)[:, 0].numpy()),
        "mean_image": error(train_images.mean(dim=(0, 1)).numpy()),
        "nearest_pixel": error(copy_nearest(images, hidden_pixels)),
    }


def frozen_features(model: MaskedAutoencoder) -> dict:
    """Accuracy on the test digits with features of unmasked images.

    Parameters
    ----------
    model : MaskedAutoencoder

    Returns
    -------
    dict
        ``probe`` and ``neighbors``: of a linear probe and of five nearest neighbours.
    """
    parts = [load_digits(split) for split in ("train", "test")]
    features = [extract_features(model, patchify(part.images, PATCH)) for part in parts]
    data = features[0], parts[0].labels, features[1], parts[1].labels
    return {"probe": linear_probe(*data).accuracy, "neighbors": nearest_neighbors(*data).accuracy}


def run(setting: Setting) -> dict:
    """Train one model, then measure it on the 1,000 test digits.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        What `reconstruction` and `frozen_features` return, and ``seconds``: training time.
    """
    start = time.perf_counter()
    model = train(setting)
    seconds = time.perf_counter() - start
    return {**reconstruction(model, setting), **frozen_features(model), "seconds": seconds}


def run_missing(settings: Sequence, measure: Callable, path: Path) -> None:
    """Run what is not yet in a file of results; each run is stored as soon as it is done.

    Parameters
    ----------
    settings : sequence of Setting
        In this order; of this module or of another with a dataclass of its own.
    measure : callable
        Such as `run`.
    path : Path
    """
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for setting in settings:
        if any(type(setting)(**row["setting"]) == setting for row in rows):
            continue
        rows.append({"setting": asdict(setting), **measure(setting)})
        versions = {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        }
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
        os.replace(partial, path)


def run_all(path: Path = RESULTS) -> None:
    """Run the experiments on masking that are missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored(**wanted) -> list[dict]:
    """The stored runs with the given settings, one per seed.

    Parameters
    ----------
    **wanted
        Fields of `Setting`; those not given are at their defaults, the seed is free.
    """
    rows = json.loads(RESULTS.read_text())["rows"]
    found = [row for row in rows if Setting(**row["setting"]) == Setting(**wanted, seed=row["setting"]["seed"])]
    if not found:
        raise ValueError(f"no stored run with {wanted}: add it to SWEEP and run `python -m mae experiments`")
    return found
