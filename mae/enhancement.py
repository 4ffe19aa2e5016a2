"""Dark and hazy photographs: after a curve of two numbers, a model takes off what noise is left (question 23).

``python -m mae experiments`` makes ``pretrained/enhancement.safetensors`` and fills ``results/enhancement.json``.
"""

import json
import math
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mae.denoising import classical, photograph_config
from mae.experiments import run_missing
from mae.exposure import CURVES, FLOOR, Camera, adjust, ceiling, estimate_noise, guess, spoil, undo
from mae.masking import Mask, random_mask, take
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.photographs import assemble, centre, load_photographs, quality, random_crops, windows
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, save_model

RESULTS = Path(__file__).parent / "results" / "enhancement.json"
WEIGHTS = PRETRAINED / "enhancement.safetensors"
WINDOW, PATCH, STRIDE = 8, 2, 4  # pixels
UNIT = 1 / 8  # about what grey values differ by within a window
RATE = 1.2e-2  # of learning
KINDS = {"half the light": (1 / 2, 1.0), "an eighth of the light": (1 / 8, 1.0), "haze": (1.0, 1 / 2)}
PHOTONS = (math.inf, 1e5, 1e4, 1e3)
CAMERAS = tuple(Camera(*kind, photons) for kind in KINDS.values() for photons in PHOTONS)


def enhancement_config() -> MAEConfig:
    """A window of 8×8 pixels in patches of 2×2; with each patch, its window's brightness and the picture's noise."""
    return replace(photograph_config(), patch_values=PATCH**2 + 2)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One training, or one of the other methods.

    Parameters
    ----------
    method : str
        "mae", "non-local means" or "wavelets", after the curve; "curve", it alone; "ceiling"; or one of `CURVES`.
    curve : {"known", "guessed", "none"}
        Gain and offset: told by the camera, by `guess`, or a matter of the method.
    parameter : float
        Of a method without training.
    ratio : float
        Share of patches hidden in training; in use, all are seen.
    target : {"residual", "picture"}
        Whether seen patches are predicted as a difference from what is seen, in units of the noise.
    pretrained : bool
        Begin with weights that have predicted hidden patches of good photographs.
    photographs : {7, 1}
        How many of them come in pairs, spoiled and good.
    epochs, seed : int
    """

    method: str = "mae"
    curve: str = "known"
    parameter: float = 0.0
    ratio: float = 0.0
    target: str = "residual"
    pretrained: bool = False
    photographs: int = 7
    epochs: int = 2
    seed: int = 0


SHIPPED = Setting(epochs=12)  # whose weights come with this book


def predict(
    model: MaskedAutoencoder, seen: Tensor, sigma: Tensor, mask: Mask | None = None, target: str = "residual"
) -> tuple[Tensor, Tensor]:
    """Good patches, of those seen and of those hidden.

    Parameters
    ----------
    model : MaskedAutoencoder
    seen : Tensor, (B, N, P)
        Patches after the curve.
    sigma : Tensor, (B, 1, 1)
        Of the noise.
    mask : Mask, optional
        What of them is hidden after all.
    target : {"residual", "picture"}
        As in `Setting`.

    Returns
    -------
    prediction, unit : Tensor, (B, N, P)
        The unit that errors are measured in: the noise for a residual, `UNIT` for what is predicted from scratch.
    """
    level = (seen if mask is None else take(seen, mask.visible)).mean(dim=(1, 2), keepdim=True)
    more = torch.cat([4 * (level - 0.5), sigma.log() + 4], dim=2).expand(-1, seen.shape[1], -1)
    x = torch.cat([(seen - level) / UNIT, more], dim=2)  # (B, N, P + 2)
    out = model.predict(model.decode(model.encode(x))) if mask is None else model(x, mask, predict="all")
    blind = torch.zeros(seen.shape[:2], dtype=torch.bool) if mask is None else mask.is_hidden
    blind = (blind | (target == "picture"))[:, :, None]
    unit = torch.where(blind, UNIT, sigma).expand_as(seen)
    return torch.where(blind, level, seen) + unit * out[:, :, : seen.shape[2]], unit


@cache
def _training_windows(photographs: int, seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Good patches, spoiled ones after the known curve, (B, N, P), and the noise of their picture, (B, 1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    good, pictures = load_photographs("train"), {}
    good = good if photographs == len(good) else {name: good[name] for name in ("stereo_motorcycle",)}
    for i in range(112):
        name = list(good)[i % len(good)]
        a, b, c, d = torch.rand(4, generator=generator).tolist()
        light, clear = (1.0, 0.35 + 0.45 * a) if b < 0.25 else (2 ** (-1 - 2 * a), 1.0)
        camera = Camera(light, clear, math.inf if c < 0.15 else 10 ** (2.7 + 2.6 * d))
        seen = undo(spoil(good[name], camera, generator=generator), *camera.curve)
        noise = torch.full_like(seen, estimate_noise(seen))
        pictures[f"{name} {i}"] = torch.cat([good[name], seen, noise], dim=1)  # (1, 3, H, W)
    crops = random_crops(pictures, WINDOW, count, generator=generator)
    return patchify(crops[:, :1], PATCH), patchify(crops[:, 1:2], PATCH), crops[:, 2, :1, :1]


@cache
def _pretrained(seed: int, crops: int) -> dict[str, Tensor]:
    """Weights that predict the hidden half of windows of good photographs."""
    model = MaskedAutoencoder(enhancement_config(), generator=torch.Generator().manual_seed(seed))
    good, *_ = _training_windows(7, seed, crops)
    sigma = torch.full((crops, 1, 1), FLOOR)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        mask = random_mask(len(batch), good.shape[1], 0.5, generator=generator)
        out, unit = predict(model, good[batch], sigma[batch], mask)
        return take((out - good[batch]) / unit, mask.hidden).square().mean()

    fit(model, loss_of_batch, crops, TrainConfig(epochs=2, learning_rate=RATE, seed=seed), name="pre-training")
    return model.state_dict()


def train(setting: Setting, crops: int = 16384) -> MaskedAutoencoder:
    """Train on windows of spoiled and good training photographs.

    Parameters
    ----------
    setting : Setting
    crops : int
        How many windows.
    """
    model = MaskedAutoencoder(enhancement_config(), generator=torch.Generator().manual_seed(setting.seed))
    if setting.pretrained:
        model.load_state_dict(_pretrained(setting.seed, crops))
    good, seen, sigma = _training_windows(setting.photographs, setting.seed, crops)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        mask = random_mask(len(batch), good.shape[1], setting.ratio, generator=generator) if setting.ratio else None
        out, unit = predict(model, seen[batch], sigma[batch], mask, setting.target)
        return ((out - good[batch]) / unit).square().mean()

    options = TrainConfig(epochs=setting.epochs, learning_rate=RATE, seed=setting.seed)
    fit(model, loss_of_batch, crops, options, name=f"hidden {setting.ratio:.0%}")
    return model


@torch.inference_mode()
def enhance(model: MaskedAutoencoder, picture: Tensor, target: str = "residual") -> Tensor:
    """A whole picture after its curve, window by window; overlapping windows are averaged.

    Parameters
    ----------
    model : MaskedAutoencoder
    picture : Tensor, (1, 1, H, W)
    target : {"residual", "picture"}
        As the model was trained.
    """
    seen = patchify(windows(picture, WINDOW, STRIDE), PATCH)
    sigma = torch.full((len(seen), 1, 1), estimate_noise(picture))
    out, _ = predict(model, seen, sigma, target=target)
    return assemble(unpatchify(out, PATCH, WINDOW), tuple(picture.shape[-2:]), STRIDE)


@cache
def spoiled_photographs(split: str) -> list[list[tuple[Tensor, Tensor]]]:
    """The middle of each photograph, good and spoiled by each of `CAMERAS`; the noise is always the same.

    Parameters
    ----------
    split : {"validation", "test"}

    Returns
    -------
    list of list of (Tensor, Tensor), each (1, 1, 120, 120)
        A list of photographs for each camera.
    """
    generator = torch.Generator().manual_seed(0)
    pictures = [centre(image) for image in load_photographs(split).values()]
    return [[(x, spoil(x, camera, generator=generator)) for x in pictures] for camera in CAMERAS]


def restore(setting: Setting, spoiled: Tensor, camera: Camera, model: MaskedAutoencoder | None = None) -> Tensor:
    """A picture made good as the setting says, the ceiling excepted.

    Parameters
    ----------
    setting : Setting
    spoiled : Tensor, (1, 1, H, W)
    camera : Camera
        Looked at only if the curve is known.
    model : MaskedAutoencoder, optional
        Of the method "mae".
    """
    if setting.method in CURVES and setting.curve == "none":
        return adjust(setting.method, spoiled, setting.parameter)
    picture = undo(spoiled, *(camera.curve if setting.curve == "known" else guess(spoiled)))
    if setting.method == "mae":
        return enhance(model, picture, setting.target)
    if setting.method == "curve":
        return picture
    return classical(setting.method, picture, setting.parameter, estimate_noise(picture))


@cache
def _trained(setting: Setting) -> MaskedAutoencoder:
    return train(setting)


def run(setting: Setting) -> dict:
    """Train if need be, and measure on photographs that were not seen.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``validation``: mean PSNR with each of `CAMERAS`; ``psnr``: of the test photographs, a list for each camera;
        ``ssim`` and ``contrast`` (standard deviation of grey values): of each test photograph, mean over the cameras;
        ``seconds``: of training.
    """
    start = time.perf_counter()
    model = _trained(replace(setting, curve="known")) if setting.method == "mae" else None
    if setting == SHIPPED and not WEIGHTS.exists():
        save_model(model, WEIGHTS, dtype=torch.float16)
    seconds = time.perf_counter() - start
    psnr, ssim, contrast = {}, {}, {}
    for split in ("validation", "test"):
        for camera, pictures in zip(CAMERAS, spoiled_photographs(split), strict=True):
            for i, (truth, spoiled) in enumerate(pictures):
                if setting.method == "ceiling":
                    picture = ceiling(spoiled, truth)
                else:
                    picture = restore(setting, spoiled, camera, model)
                measured = quality(picture, truth)
                psnr.setdefault(split, {}).setdefault(camera, []).append(round(measured["psnr"], 3))
                if split == "test":
                    ssim.setdefault(i, []).append(measured["ssim"])
                    contrast.setdefault(i, []).append(picture.clamp(0, 1).std().item())
    return {
        "validation": [round(float(np.mean(values)), 3) for values in psnr["validation"].values()],
        "psnr": list(psnr["test"].values()),
        "ssim": [round(float(np.mean(values)), 4) for values in ssim.values()],
        "contrast": [round(float(np.mean(values)), 4) for values in contrast.values()],
        "seconds": round(seconds, 1),
    }


CANDIDATES = {
    "gamma": (0.4, 0.5, 0.6, 0.7, 0.8),
    "gamma to a mean": (0.25, 0.3, 0.35, 0.4, 0.45),
    "stretch": (0.0, 0.05, 0.2, 1.0),
    "stretch of light": (0.0, 0.05, 0.2, 1.0),
    "CLAHE": (0.0003, 0.001, 0.002, 0.004, 0.008),
    "non-local means": (0.6, 0.7, 0.8, 0.9, 1.0),
    "wavelets": (0.9, 1.1, 1.3, 1.5, 1.7),
}


MODELS = {
    "nothing hidden": Setting(),
    "a quarter hidden": Setting(ratio=0.25),
    "half hidden": Setting(ratio=0.5),
    "pre-trained": Setting(pretrained=True),
    "pairs of one photograph": Setting(photographs=1),
    "pairs of one, pre-trained": Setting(photographs=1, pretrained=True),
    "picture, not residual": Setting(target="picture"),
    "six times as long": SHIPPED,
}
SWEEP = [
    *(Setting(method=method, curve="none") for method in ("nothing", "equalisation")),
    *(Setting(method=method) for method in ("ceiling", "curve")),
    *(
        Setting(method=method, parameter=parameter, curve="none" if method in CURVES else "known")
        for method, parameters in CANDIDATES.items()
        for parameter in parameters
    ),
    Setting(method="curve", curve="guessed"),
    Setting(method="non-local means", parameter=0.8, curve="guessed"),
    *(replace(setting, seed=seed) for seed in range(3) for setting in MODELS.values()),
    *(replace(SHIPPED, curve="guessed", seed=seed) for seed in range(3)),
]


def run_enhancement(path: Path = RESULTS) -> None:
    """Run what is missing, and make the weights if they are not there.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)
    if not WEIGHTS.exists():  # the run that makes them was stored before
        run(SHIPPED)


def stored(setting: Setting) -> dict[str, np.ndarray]:
    """A stored run.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict of str to ndarray
        ``validation`` (cameras,), ``psnr`` (cameras, photographs), ``ssim`` and ``contrast`` (photographs,), as `run`
        gives them.

    Raises
    ------
    ValueError
        If this was not run.
    """
    for row in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]:
        if Setting(**row["setting"]) == setting:
            return {name: np.array(row[name]) for name in ("validation", "psnr", "ssim", "contrast")}
    raise ValueError(f"no stored run of {setting}: run `python -m mae experiments`")


def best(method: str) -> Setting:
    """A method without training, with the parameter that has the highest PSNR on the validation photographs.

    Parameters
    ----------
    method : str
        One of `CANDIDATES`.
    """
    settings = [setting for setting in SWEEP if setting.method == method and setting.curve != "guessed"]
    return max(settings, key=lambda setting: stored(setting)["validation"].mean())


if __name__ == "__main__":
    run_enhancement()
