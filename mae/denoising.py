"""Denoising photographs: predict each patch from its noisy surroundings, then weigh in what was seen (question 24).

``python -m mae experiments`` makes ``pretrained/denoising.safetensors`` and fills ``results/denoising.json``, one run
after the other; stopped, it goes on where it was.
"""

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from torch import Tensor

from mae.experiments import run_missing
from mae.masking import Mask, num_visible, random_mask, take
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.photographs import add_noise, assemble, centre, load_photographs, quality, random_crops, windows
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, save_model

RESULTS = Path(__file__).parent / "results" / "denoising.json"
WEIGHTS = PRETRAINED / "denoising.safetensors"
SIGMA = 0.1  # of the noise; the grey values reach from 0 to 1
WINDOW, PATCH = 8, 2  # pixels
GRID = (WINDOW // PATCH, WINDOW // PATCH)
STRIDE = 4
ROUNDS = 4  # how often each patch of a window is hidden when a picture is denoised
RATE = 6e-3  # of learning
SCALE = 8.0  # grey values around a window's mean are multiplied by it, to be of the order of 1


def photograph_config() -> MAEConfig:
    """A window of 8×8 pixels in patches of 2×2."""
    return MAEConfig(
        grid=GRID,
        patch_values=PATCH**2,
        width=32,
        depth=2,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=4,
    )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One training, or one classical method with its parameter.

    Parameters
    ----------
    method : {"mae", "autoencoder", "Gaussian filter", "non-local means", "total variation", "wavelets", "noisy"}
        "autoencoder" is the same core as a denoising autoencoder: it sees all patches. "noisy" does nothing.
    target : {"noisy", "clean"}
        What a model is trained to predict. An autoencoder that sees all could copy a noisy target.
    ratio : float
        Share of patches hidden in training and in use; of "mae" only.
    parameter : float
        Of a classical method, see `classical`.
    epochs : int
    seed : int
        Of weights, crops, masks and the noise of the training photographs. The noise to be removed is the same for all.
    """

    method: str = "mae"
    target: str = "noisy"
    ratio: float = 0.25
    parameter: float = 0.0
    epochs: int = 2
    seed: int = 0


def predict(model: MaskedAutoencoder, noisy: Tensor, mask: Mask | None = None) -> Tensor:
    """Grey values of the hidden patches; without a mask, of all patches, which are then all seen.

    The model sees differences from the mean of the visible values: what is hidden must not enter it.

    Parameters
    ----------
    model : MaskedAutoencoder
    noisy : Tensor, (B, N, P)
    mask : Mask, optional

    Returns
    -------
    Tensor, (B, M, P), or (B, N, P)
    """
    seen = noisy if mask is None else take(noisy, mask.visible)
    level = seen.mean(dim=(1, 2), keepdim=True)
    x = (noisy - level) * SCALE
    out = model.predict(model.decode(model.encode(x))) if mask is None else model(x, mask)
    return out / SCALE + level


def train(setting: Setting, crops: int = 16384) -> MaskedAutoencoder:
    """Train on noisy crops of the training photographs.

    Each photograph has one noisy version, as if it had been taken once.

    Parameters
    ----------
    setting : Setting
    crops : int
        How many of them.
    """
    generator = torch.Generator().manual_seed(setting.seed)
    pairs = {}
    for name, image in load_photographs("train").items():
        pairs[name] = torch.cat([image, add_noise(image, SIGMA, generator=generator)], dim=1)  # (1, 2, H, W)
    both = random_crops(pairs, WINDOW, crops, generator=generator)
    clean, noisy = (patchify(both[:, i : i + 1], PATCH) for i in (0, 1))
    target = noisy if setting.target == "noisy" else clean
    model = MaskedAutoencoder(photograph_config(), generator=generator)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        if setting.method == "autoencoder":
            return SCALE**2 * F.mse_loss(predict(model, noisy[batch]), target[batch])
        mask = random_mask(len(batch), noisy.shape[1], setting.ratio, generator=generator)
        return SCALE**2 * F.mse_loss(predict(model, noisy[batch], mask), take(target[batch], mask.hidden))

    options = TrainConfig(epochs=setting.epochs, learning_rate=RATE, seed=setting.seed)
    fit(model, loss_of_batch, crops, options, name=f"{setting.method}, {setting.target} target")
    return model


def disjoint_masks(batch: int, num_patches: int, ratio: float, *, generator: torch.Generator) -> Iterator[Mask]:
    """Masks that hide each patch exactly once, if the ratio is one over a whole number.

    Parameters
    ----------
    batch, num_patches : int
        B and N.
    ratio : float
        Share hidden by each of them.
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        If the hidden parts can't share the patches among them.
    """
    hidden = num_patches - num_visible(num_patches, ratio)
    if num_patches % hidden:
        raise ValueError(f"{num_patches} patches can't be hidden {hidden} at a time: choose a ratio such as 1/2 or 1/4")
    order = torch.rand(batch, num_patches, generator=generator).argsort(dim=1)
    for part in order.split(hidden, dim=1):
        is_hidden = torch.zeros(batch, num_patches, dtype=torch.bool).scatter(1, part, True)
        yield Mask.from_hidden(is_hidden)


@torch.inference_mode()
def blind(
    model: MaskedAutoencoder | None, noisy: Tensor, ratio: float, rounds: int = ROUNDS, *, generator: torch.Generator
) -> Tensor:
    """Each patch predicted without being seen: the mean over several masks.

    Parameters
    ----------
    model : MaskedAutoencoder
    noisy : Tensor, (B, N, P)
    ratio : float
        Share hidden at a time, one over a whole number.
    rounds : int
        How often each patch is hidden and predicted.
    generator : torch.Generator

    Returns
    -------
    Tensor, (B, N, P)
    """
    total = torch.zeros_like(noisy)
    for _ in range(rounds):
        for mask in disjoint_masks(*noisy.shape[:2], ratio, generator=generator):
            index = mask.hidden[:, :, None].expand(-1, -1, noisy.shape[2])
            total.scatter_add_(1, index, predict(model, noisy, mask))
    return total / rounds


@torch.inference_mode()
def denoise(
    model: MaskedAutoencoder,
    noisy: Tensor,
    ratio: float | None,
    rounds: int = ROUNDS,
    stride: int = STRIDE,
    *,
    generator: torch.Generator,
) -> Tensor:
    """A whole picture, window by window; overlapping windows are averaged.

    Parameters
    ----------
    model : MaskedAutoencoder
    noisy : Tensor, (1, 1, H, W)
    ratio : float, or None
        Without a ratio, the model sees all.
    rounds, stride : int
    generator : torch.Generator

    Returns
    -------
    Tensor, (1, 1, H, W)
    """
    patches = patchify(windows(noisy, WINDOW, stride), PATCH)
    if ratio is None:
        rebuilt = predict(model, patches)
    else:
        rebuilt = blind(model, patches, ratio, rounds, generator=generator)
    return assemble(unpatchify(rebuilt, PATCH, WINDOW), tuple(noisy.shape[-2:]), stride)


def combine(prediction: Tensor, noisy: Tensor, sigma: float, neighborhood: int = 9) -> Tensor:
    """Weigh a prediction made without a pixel and the noisy pixel itself, each by what the other errs.

    The prediction's squared error t² is not known, but the squared difference between the two is t² + σ² on average
    if the prediction did not see the pixel. It is averaged over a square around each pixel.

    Parameters
    ----------
    prediction, noisy : Tensor, (1, 1, H, W)
    sigma : float
        Standard deviation of the noise. Without noise, 0, the noisy picture comes back.
    neighborhood : int
        Side of the square in pixels, odd.

    Returns
    -------
    Tensor, (1, 1, H, W)
    """
    squared = (noisy - prediction) ** 2
    mean = F.avg_pool2d(squared, neighborhood, 1, neighborhood // 2, count_include_pad=False)
    trust = (1 - sigma**2 / mean).nan_to_num().clamp(min=0)  # t² / (t² + σ²), the part of the noisy value; 0/0 is 0
    return prediction + trust * (noisy - prediction)


def classical(method: str, noisy: Tensor, parameter: float, sigma: float = SIGMA) -> Tensor:
    """What SciPy and scikit-image offer, told the standard deviation of the noise.

    Parameters
    ----------
    method : {"Gaussian filter", "non-local means", "total variation", "wavelets"}
    noisy : Tensor, (1, 1, H, W)
    parameter : float
        Of the filter, its width in pixels; of non-local means, the cut-off in units of σ; of total variation, the
        weight; of wavelets, the σ that they are told in units of the true one.
    sigma : float
        What non-local means and wavelets are told of the noise.
    """
    x = noisy[0, 0].double().numpy()
    if method == "Gaussian filter":
        y = gaussian_filter(x, parameter)
    elif method == "non-local means":
        y = denoise_nl_means(x, patch_size=5, patch_distance=6, h=parameter * sigma, sigma=sigma, fast_mode=True)
    elif method == "total variation":
        y = denoise_tv_chambolle(x, weight=parameter)
    elif method == "wavelets":
        # Averaged over shifts by 0 to 3 pixels each way, which takes the artefacts of a fixed grid away.
        options = {"wavelet": "haar", "wavelet_levels": 4, "rescale_sigma": True}
        y = np.zeros_like(x)
        for shift in itertools.product(range(4), repeat=2):
            moved = denoise_wavelet(np.roll(x, shift, (0, 1)), sigma=parameter * sigma, **options)
            y += np.roll(moved, (-shift[0], -shift[1]), (0, 1)) / 16
    else:
        raise ValueError(f"expected one of {', '.join(CANDIDATES)}, got {method!r}")
    return torch.from_numpy(y).to(noisy)[None, None]


def noisy_photographs(split: str) -> dict[str, tuple[Tensor, Tensor]]:
    """The middle of each photograph, clean and noisy; the noise is always the same.

    Parameters
    ----------
    split : {"validation", "test"}

    Returns
    -------
    dict of str to (Tensor, Tensor), each (1, 1, 120, 120)
    """
    generator = torch.Generator().manual_seed(0)
    pictures = {name: centre(image) for name, image in load_photographs(split).items()}
    return {name: (image, add_noise(image, SIGMA, generator=generator)) for name, image in pictures.items()}


def evaluate(setting: Setting, split: str, model: MaskedAutoencoder | None = None) -> dict[str, dict]:
    """The measures of a method on the photographs of a split.

    Parameters
    ----------
    setting : Setting
    split : {"validation", "test"}
    model : MaskedAutoencoder, optional
        Of the methods that have one.

    Returns
    -------
    dict
        Name of a photograph → ``psnr`` and ``ssim``. For a blind method, these are after `combine`, and ``blind``
        holds those before it.
    """
    results = {}
    for name, (image, noisy) in noisy_photographs(split).items():
        generator = torch.Generator().manual_seed(0)
        if setting.method == "mae":
            guess = denoise(model, noisy, setting.ratio, generator=generator)
            results[name] = {**quality(combine(guess, noisy, SIGMA), image), "blind": quality(guess, image)}
        elif setting.method == "autoencoder":
            results[name] = quality(denoise(model, noisy, None, generator=generator), image)
        else:
            cleaned = noisy if setting.method == "noisy" else classical(setting.method, noisy, setting.parameter)
            results[name] = quality(cleaned, image)
    return results


def run(setting: Setting) -> dict:
    """Train one model, or take a classical method, and measure it on photographs that it has not seen.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``validation`` and ``test``: as `evaluate` gives them; ``seconds``: of training.
    """
    start, model = time.perf_counter(), None
    if setting.method in ("mae", "autoencoder"):
        model = train(setting)
        if setting == Setting() and not WEIGHTS.exists():
            save_model(model, WEIGHTS, dtype=torch.float16)
    seconds = time.perf_counter() - start
    return {split: evaluate(setting, split, model) for split in ("validation", "test")} | {"seconds": seconds}


CANDIDATES = {
    "Gaussian filter": (0.7, 0.85, 1.0, 1.2),
    "non-local means": (0.4, 0.6, 0.7, 0.8, 1.0),
    "total variation": (0.05, 0.075, 0.085, 0.1, 0.15),
    "wavelets": (0.8, 0.9, 1.0, 1.1, 1.2),
}
MODELS = {
    "mae, noisy target": Setting(),
    "mae, clean target": Setting(target="clean"),
    "autoencoder": Setting(method="autoencoder", target="clean"),
}
SWEEP = [
    Setting(method="noisy"),
    *(Setting(method=method, parameter=p) for method, parameters in CANDIDATES.items() for p in parameters),
    *(replace(setting, seed=seed) for seed in range(3) for setting in MODELS.values()),
    *(Setting(ratio=0.5, seed=seed) for seed in range(3)),
    *(Setting(epochs=12, seed=seed) for seed in range(3)),
]


def run_denoising(path: Path = RESULTS) -> None:
    """Run what is missing, and make the weights if they are not there.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)
    if not WEIGHTS.exists():  # the run that makes them was stored before
        run(Setting())


def stored(setting: Setting, split: str = "test", measure: str = "psnr", *, blind: bool = False) -> dict[str, float]:
    """A measure of a stored run, one number for each photograph.

    Parameters
    ----------
    setting : Setting
    split : {"validation", "test"}
    measure : {"psnr", "ssim"}
    blind : bool
        Before `combine`.

    Raises
    ------
    ValueError
        If this was not run.
    """
    for row in json.loads(RESULTS.read_text())["rows"]:
        if Setting(**row["setting"]) == setting:
            return {name: (s["blind"] if blind else s)[measure] for name, s in row[split].items()}
    raise ValueError(f"no stored run of {setting}: run `python -m mae experiments`")


def best(method: str) -> Setting:
    """A classical method with the parameter that has the highest PSNR on the validation photographs.

    Parameters
    ----------
    method : {"non-local means", "total variation", "wavelets"}
    """
    settings = [Setting(method=method, parameter=p) for p in CANDIDATES[method]]
    return max(settings, key=lambda setting: np.mean(list(stored(setting, "validation").values())))


if __name__ == "__main__":
    run_denoising()
