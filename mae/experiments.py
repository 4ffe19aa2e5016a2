"""Experiments that need more time than a notebook has: run once, stored with seeds, plotted in the chapters.

``python -m mae experiments`` fills ``results/masking.json``, one run after the other; stopped, it goes on where it was.
"""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from mae.data import load_digits
from mae.evaluate import extract_features, linear_probe, nearest_neighbors
from mae.masking import Mask, random_mask
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
    """One run of the masking experiments.

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
    epochs, seed : int
    """

    input: str = "drop"
    unit: str = "patch"
    ratio: float = 0.75
    loss: str = "hidden"
    epochs: int = 24
    seed: int = 0

    def __post_init__(self):
        if self.input not in ("drop", "zero", "token") or self.unit not in ("patch", "pixel"):
            raise ValueError(f"unknown input {self.input!r} or unit {self.unit!r}")
        if self.unit == "pixel" and self.input != "zero":
            raise ValueError('single pixels can only be hidden with input="zero"')
        if self.loss not in ("hidden", "visible", "all"):
            raise ValueError(f'expected loss "hidden", "visible" or "all", got {self.loss!r}')


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
    mask = random_mask(B, N, setting.ratio, generator=generator)
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
    index = torch.arange(patches.shape[1]).expand(len(patches), -1)
    return model.predict(model.decode(latent), index)


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


def run(setting: Setting) -> dict:
    """Train one model, then measure it on the 1,000 test digits.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``error``: mean squared error on hidden pixels; ``mean_image`` and ``nearest_pixel``: the same for two
        baselines on the same pixels; ``probe`` and ``neighbors``: accuracy of a linear probe and of five nearest
        neighbours on features of unmasked images; ``seconds``: training time.
    """
    train, test = load_digits("train"), load_digits("test")
    train_patches, test_patches = patchify(train.images, PATCH), patchify(test.images, PATCH)
    kind = TokenInputMAE if setting.input == "token" else MaskedAutoencoder
    model = kind(small_config(), generator=torch.Generator().manual_seed(setting.seed))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        patches = train_patches[batch]
        hidden, mask = draw_hidden(setting, patches, generator)
        weight = {"hidden": hidden, "visible": ~hidden, "all": torch.ones_like(hidden)}[setting.loss]
        error = (predict_all(model, setting, patches, hidden, mask) - patches) ** 2
        return (error * weight).sum() / weight.sum()

    start = time.perf_counter()
    fit(
        model,
        loss_of_batch,
        len(train),
        TrainConfig(epochs=setting.epochs, seed=setting.seed),
        name=f"{setting.input}, {setting.ratio}",
    )
    seconds = time.perf_counter() - start

    hidden, mask = draw_hidden(setting, test_patches, torch.Generator().manual_seed(1000))
    with torch.inference_mode():
        prediction = predict_all(model, setting, test_patches, hidden, mask)
    images = test.images[:, 0].numpy()
    hidden_pixels = unpatchify(hidden.float(), PATCH, 28)[:, 0].bool().numpy()

    def error(guess) -> float:
        return float(np.mean((np.broadcast_to(guess, images.shape) - images)[hidden_pixels] ** 2))

    features = [extract_features(model, patches) for patches in (train_patches, test_patches)]
    data = features[0], train.labels, features[1], test.labels
    return {
        "error": error(unpatchify(prediction, PATCH, 28)[:, 0].numpy()),
        "mean_image": error(train.images.mean(dim=(0, 1)).numpy()),
        "nearest_pixel": error(copy_nearest(images, hidden_pixels)),
        "probe": linear_probe(*data).accuracy,
        "neighbors": nearest_neighbors(*data).accuracy,
        "seconds": seconds,
    }


def run_all(path: Path = RESULTS) -> None:
    """Run what is not yet in the file of results; each run is stored as soon as it is done.

    Parameters
    ----------
    path : Path
    """
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for setting in SWEEP:
        if any(Setting(**row["setting"]) == setting for row in rows):
            continue
        rows.append({"setting": asdict(setting), **run(setting)})
        versions = {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        }
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
        os.replace(partial, path)


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
