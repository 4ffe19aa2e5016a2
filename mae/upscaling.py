"""Photographs from small ones: the mean of each square of pixels is seen, what differs from it is hidden (question 25).

``python -m mae experiments`` makes ``pretrained/upscaling_2.safetensors`` and ``..._4.safetensors`` and fills
``results/upscaling.json``, one run after the other; stopped, it goes on where it was.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LinearRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.denoising import photograph_config
from mae.experiments import run_missing
from mae.masking import Mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.photographs import assemble, centre, load_photographs, quality, random_crops, windows
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, save_model

RESULTS = Path(__file__).parent / "results" / "upscaling.json"
SIDE = 6  # small pixels along a window
STRIDE = 2  # small pixels from one window to the next
RATE = 6e-3  # of learning
SCALE = {2: 30.0, 4: 20.0}  # details are multiplied by it, to be of the order of 1
LEVEL = 4.0  # the same for small pixels, around their mean
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
}
REACH = 2  # small pixels to each side that least squares sees
BASELINES = (*FILTERS, "bicubic, shifted", "Lanczos, shifted", "least squares", "no network")


def weights_path(factor: int) -> Path:
    """Where the shipped weights are.

    Parameters
    ----------
    factor : {2, 4}
    """
    return PRETRAINED / f"upscaling_{factor}.safetensors"


def upscaling_config(factor: int) -> MAEConfig:
    """Two senses in one sequence: 6×6 small pixels, and below them the details of the square behind each of them.

    Parameters
    ----------
    factor : int
        s; a token has 1 + s² values, those of the other sense are 0.
    """
    return replace(photograph_config(), grid=(2 * SIDE, SIDE), patch_values=1 + factor**2)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One training, or one of the other methods.

    Parameters
    ----------
    factor : {2, 4}
        How many times as many pixels along each side.
    method : {"mae", "no network", "least squares", "nearest", "bicubic", "Lanczos", "bicubic, shifted", ...}
        What is shifted is made `consistent`. "no network" is `upscale` without a model: all but the learning.
    base : {"bicubic", "mean"}
        What the details are details beyond: bicubic interpolation within the window, or the small pixel alone. Of "mae"
        only, as the next two.
    epochs, seed : int
    """

    factor: int = 2
    method: str = "mae"
    base: str = "bicubic"
    epochs: int = 3
    seed: int = 0


# Whose weights come with this book.
SHIPPED = {2: Setting(base="mean", epochs=12, seed=1), 4: Setting(factor=4, base="mean", epochs=12)}


def shrink(image: Tensor, factor: int) -> Tensor:
    """The mean of each square of pixels.

    Parameters
    ----------
    image : Tensor, (B, 1, H, W)
    factor : int
        Side of the square.

    Returns
    -------
    Tensor, (B, 1, H / factor, W / factor)
    """
    return F.avg_pool2d(image, factor)


def enlarge(small: Tensor, factor: int, name: str) -> Tensor:
    """Pillow's interpolation.

    Parameters
    ----------
    small : Tensor, (1, 1, h, w)
    factor : int
    name : {"nearest", "bicubic", "Lanczos"}

    Returns
    -------
    Tensor, (1, 1, h · factor, w · factor)
    """
    h, w = small.shape[-2:]
    picture = Image.fromarray(small[0, 0].numpy()).resize((w * factor, h * factor), FILTERS[name])
    return torch.from_numpy(np.asarray(picture).copy())[None, None]


def consistent(image: Tensor, small: Tensor) -> Tensor:
    """Shift each square of pixels so that its mean is the small pixel.

    Parameters
    ----------
    image : Tensor, (B, 1, H, W)
    small : Tensor, (B, 1, h, w)

    Returns
    -------
    Tensor, (B, 1, H, W)
        Of all pictures that shrink to the small one, the closest to ``image``.
    """
    factor = image.shape[-1] // small.shape[-1]
    return image + F.interpolate(small - shrink(image, factor), scale_factor=factor, mode="nearest")


def details(image: Tensor, factor: int) -> Tensor:
    """What each pixel differs from the mean of its square.

    Parameters
    ----------
    image : Tensor, (B, 1, H, W)
    factor : int

    Returns
    -------
    Tensor, (B, N, factor²)
        A row of values for each square.
    """
    squares = patchify(image, factor)
    return squares - squares.mean(dim=2, keepdim=True)


def beneath(small: Tensor, factor: int, base: str) -> Tensor:
    """The details that are there without a model.

    Parameters
    ----------
    small : Tensor, (B, 1, h, w)
    factor : int
    base : {"bicubic", "mean"}

    Returns
    -------
    Tensor, (B, h · w, factor²)
    """
    if base == "mean":
        return torch.zeros(len(small), small[0].numel(), factor**2)
    return details(F.interpolate(small, scale_factor=factor, mode="bicubic"), factor)


def tokens(small: Tensor, factor: int) -> Tensor:
    """The first sense in its tokens, zeros in those of the second, which is hidden.

    Parameters
    ----------
    small : Tensor, (B, 1, 6, 6)
    factor : int

    Returns
    -------
    Tensor, (B, 72, 1 + factor²)
    """
    values = small.flatten(1)  # (B, 36)
    x = torch.zeros(len(small), 2 * SIDE**2, 1 + factor**2)
    x[:, : SIDE**2, 0] = LEVEL * (values - values.mean(dim=1, keepdim=True))
    return x


def one_sense(batch: int) -> Mask:
    """Small pixels visible, details hidden.

    Parameters
    ----------
    batch : int
    """
    return Mask.from_hidden((torch.arange(2 * SIDE**2) >= SIDE**2).expand(batch, -1))


def training_windows(factor: int, count: int, *, generator: torch.Generator) -> Tensor:
    """Windows of the training photographs, in which 6×6 small pixels hide.

    Parameters
    ----------
    factor, count : int
    generator : torch.Generator

    Returns
    -------
    Tensor, (count, 1, 6 · factor, 6 · factor)
    """
    return random_crops(load_photographs("train"), SIDE * factor, count, generator=generator)


def train(setting: Setting, crops: int = 16384) -> MaskedAutoencoder:
    """Train to predict the details of the training photographs from their small pixels.

    Parameters
    ----------
    setting : Setting
    crops : int
    """
    generator = torch.Generator().manual_seed(setting.seed)
    images = training_windows(setting.factor, crops, generator=generator)
    small = shrink(images, setting.factor)
    x = tokens(small, setting.factor)
    target = SCALE[setting.factor] * (details(images, setting.factor) - beneath(small, setting.factor, setting.base))
    model = MaskedAutoencoder(upscaling_config(setting.factor), generator=generator)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        prediction = model(x[batch], one_sense(len(batch)))
        return F.mse_loss(prediction[:, :, 1:], target[batch])  # the first value is of the other sense

    options = TrainConfig(epochs=setting.epochs, learning_rate=RATE, seed=setting.seed)
    fit(model, loss_of_batch, crops, options, name=f"{setting.factor}×")
    return model


@torch.inference_mode()
def upscale(
    model: MaskedAutoencoder | None,
    small: Tensor,
    factor: int,
    stride: int = STRIDE,
    *,
    base: str = "bicubic",
    soft: bool = True,
) -> Tensor:
    """A whole picture, window by window; overlapping windows are averaged.

    Parameters
    ----------
    model : MaskedAutoencoder, or None
        Without a model, what is `beneath` stays as it is.
    small : Tensor, (1, 1, h, w)
    factor : int
    stride : int
        Small pixels from one window to the next; 6 for no overlap.
    base : {"bicubic", "mean"}
        As the model was trained.
    soft : bool
        As in `mae.photographs.assemble`.

    Returns
    -------
    Tensor, (1, 1, h · factor, w · factor)
    """
    pieces = windows(small, SIDE, stride)
    detail = beneath(pieces, factor, base)
    if model is not None:
        model.eval()
        detail = detail + model(tokens(pieces, factor), one_sense(len(pieces)))[:, :, 1:] / SCALE[factor]
    detail = unpatchify(detail, factor, SIDE * factor)
    size = (small.shape[-2] * factor, small.shape[-1] * factor)
    return consistent(assemble(detail, size, stride * factor, soft=soft), small)


def _neighborhoods(small: Tensor) -> Tensor:
    """The small pixels around each one, less itself: (B, h · w, 24)."""
    padded = F.pad(small, (REACH,) * 4, mode="reflect")
    around = F.unfold(padded, 2 * REACH + 1).transpose(1, 2) - small.flatten(1)[:, :, None]  # (B, h · w, 25)
    middle = around.shape[2] // 2
    return torch.cat([around[:, :, :middle], around[:, :, middle + 1 :]], dim=2)


class LinearUpscaler:
    """The best linear map from the 5×5 small pixels around a square to its details, by least squares.

    Parameters
    ----------
    factor : int
    crops : int
        Windows of the training photographs that it is fitted on; the inner 2×2 small pixels of each.
    seed : int
    """

    def __init__(self, factor: int, crops: int = 8192, seed: int = 0):
        self.factor = factor
        images = training_windows(factor, crops, generator=torch.Generator().manual_seed(seed))
        inner = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        inner[REACH:-REACH, REACH:-REACH] = True
        x = _neighborhoods(shrink(images, factor))[:, inner.flatten()].flatten(0, 1)
        y = details(images, factor)[:, inner.flatten()].flatten(0, 1)
        with threadpool_limits(1):
            self.regression = LinearRegression().fit(x.numpy(), y.numpy())

    def __call__(self, small: Tensor) -> Tensor:
        detail = torch.from_numpy(self.regression.predict(_neighborhoods(small)[0].numpy())).float()[None]
        size = tuple(n * self.factor for n in small.shape[-2:])
        return consistent(unpatchify(detail, self.factor, size), small)


def run(setting: Setting) -> dict:
    """Train one model, or fit one baseline, and measure it on photographs.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``validation`` and ``test``: name of a photograph → ``psnr`` and ``ssim``; ``seconds``: of training.
    """
    start, model = time.perf_counter(), None
    if setting.method == "mae":
        model = train(setting)
        if setting == SHIPPED[setting.factor] and not weights_path(setting.factor).exists():
            save_model(model, weights_path(setting.factor), dtype=torch.float16)
    elif setting.method == "least squares":
        model = LinearUpscaler(setting.factor)
    seconds = time.perf_counter() - start

    def method(small: Tensor) -> Tensor:
        if setting.method in ("mae", "no network"):
            return upscale(model, small, setting.factor, base=setting.base)
        if setting.method == "least squares":
            return model(small)
        image = enlarge(small, setting.factor, setting.method.removesuffix(", shifted"))
        return consistent(image, small) if setting.method.endswith("shifted") else image

    results = {}
    for split in ("validation", "test"):
        pictures = {name: centre(image) for name, image in load_photographs(split).items()}
        results[split] = {n: quality(method(shrink(image, setting.factor)), image) for n, image in pictures.items()}
    return results | {"seconds": seconds}


SWEEP = [
    *(Setting(factor=factor, method=method) for factor in (2, 4) for method in BASELINES),
    *(Setting(factor=factor, seed=seed) for seed in range(3) for factor in (2, 4)),
    *(Setting(base="mean", seed=seed) for seed in range(3)),
    Setting(factor=4, base="mean"),
    Setting(epochs=12),
    *(Setting(base="mean", epochs=12, seed=seed) for seed in range(3)),
    Setting(factor=4, base="mean", epochs=12),
]


def run_upscaling(path: Path = RESULTS) -> None:
    """Run what is missing, and make the weights if they are not there.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)
    for factor, setting in SHIPPED.items():
        if not weights_path(factor).exists():  # the run that makes them was stored before
            run(setting)


def stored(setting: Setting, split: str = "test", measure: str = "psnr") -> dict[str, float]:
    """A measure of a stored run, one number for each photograph.

    Parameters
    ----------
    setting : Setting
    split : {"validation", "test"}
    measure : {"psnr", "ssim"}

    Raises
    ------
    ValueError
        If this was not run.
    """
    for row in json.loads(RESULTS.read_text())["rows"]:
        if Setting(**row["setting"]) == setting:
            return {name: scores[measure] for name, scores in row[split].items()}
    raise ValueError(f"no stored run of {setting}: run `python -m mae experiments`")


if __name__ == "__main__":
    run_upscaling()
