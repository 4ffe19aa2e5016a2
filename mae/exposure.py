"""Light and dark: what a camera does to a scene in bad light, and the curves that undo it (question 23)."""

import math
from dataclasses import dataclass

import torch
from skimage.exposure import equalize_adapthist, equalize_hist
from skimage.restoration import estimate_sigma
from torch import Tensor

from mae.denoising import classical

AIRLIGHT = 0.7  # brightness of haze, in linear light
READ_NOISE = 3.0  # of the camera, in photons
FLOOR = 0.003  # no noise counts as less than this: grey values are rounded to 1/255
CURVES = ("nothing", "gamma", "gamma to a mean", "stretch", "stretch of light", "equalisation", "CLAHE")


@dataclass(frozen=True)
class Camera:
    """How a photograph is spoiled.

    Parameters
    ----------
    light : float
        Share of the light that a good photograph would get.
    clear : float
        Share of it that comes from the scene; the rest is haze.
    photons : float
        Counted where a well-lit photograph is white. Fewer are more noise; infinity is none.
    """

    light: float = 1.0
    clear: float = 1.0
    photons: float = math.inf

    @property
    def curve(self) -> tuple[float, float]:
        """Gain and offset that light went through, the noise apart."""
        return self.light * self.clear, self.light * (1 - self.clear) * AIRLIGHT


def to_linear(grey: Tensor) -> Tensor:
    """Light, from the grey values of a file: the sRGB curve undone.

    Parameters
    ----------
    grey : Tensor
        0 to 1.
    """
    return torch.where(grey <= 0.04045, grey / 12.92, ((grey.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)


def to_grey(light: Tensor) -> Tensor:
    """Grey values of a file, from light: the sRGB curve.

    Parameters
    ----------
    light : Tensor
        What is below 0 becomes black, what is above 1 white.
    """
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=0.003) ** (1 / 2.4) - 0.055)


def spoil(image: Tensor, camera: Camera, *, generator: torch.Generator) -> Tensor:
    """The same scene in bad light: less of it, haze, photon and read noise, and 256 grey values.

    Parameters
    ----------
    image : Tensor, (1, 1, H, W)
    camera : Camera
    generator : torch.Generator
        On the CPU.
    """
    gain, offset = camera.curve
    light = gain * to_linear(image) + offset
    if camera.photons < math.inf:
        noise = READ_NOISE * torch.randn(light.shape, generator=generator)
        light = (torch.poisson(light * camera.photons, generator=generator) + noise) / camera.photons
    return (to_grey(light) * 255).round() / 255


def undo(spoiled: Tensor, gain: float, offset: float) -> Tensor:
    """The curve of two numbers undone, in linear light; noise grows with the rest.

    Parameters
    ----------
    spoiled : Tensor
    gain, offset : float
        As `Camera.curve` or `guess` gives them.
    """
    return to_grey((to_linear(spoiled) - offset) / gain)


def estimate_noise(picture: Tensor) -> float:
    """Standard deviation of the noise, from the finest wavelets of the picture itself; at least `FLOOR`.

    Parameters
    ----------
    picture : Tensor, (1, 1, H, W)
    """
    if picture.min() == picture.max():
        return FLOOR
    return max(float(estimate_sigma(picture[0, 0].double().numpy())), FLOOR)


def guess(spoiled: Tensor, percent: float = 0.0) -> tuple[float, float]:
    """Gain and offset as if the scene had reached from black to white; measured with the noise taken off.

    Parameters
    ----------
    spoiled : Tensor, (1, 1, H, W)
    percent : float
        Of the pixels that count as black, and of those that count as white.
    """
    calm = to_linear(classical("non-local means", spoiled, 0.8, estimate_noise(spoiled)))
    ends = torch.tensor([percent / 100, 1 - percent / 100], dtype=calm.dtype)
    low, high = torch.quantile(calm.flatten(), ends).tolist()
    return max(high - low, 1e-3), low


def ceiling(spoiled: Tensor, truth: Tensor) -> Tensor:
    """What the best of all curves makes of a picture. It is found by looking at the truth.

    Parameters
    ----------
    spoiled : Tensor
        In steps of 1/255.
    truth : Tensor, of the same shape

    Returns
    -------
    Tensor
        Each grey value is replaced by the mean of the true values behind it.
    """
    value = (spoiled * 255).round().long().flatten()
    total = torch.zeros(256).index_add(0, value, truth.flatten())
    return (total / torch.bincount(value, minlength=256).clamp(min=1))[value].view_as(truth)


def adjust(name: str, spoiled: Tensor, parameter: float) -> Tensor:
    """Brighten a picture without knowing what happened to it.

    Parameters
    ----------
    name : str
        One of `CURVES`.
    spoiled : Tensor, (1, 1, H, W)
    parameter : float
        Of gamma, the exponent; of gamma to a mean, that mean; of the stretches, the percentage that is cut off at
        each end; of CLAHE, the clip limit.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name == "gamma":
        return spoiled**parameter
    if name == "gamma to a mean":
        exponents = torch.logspace(-1.5, 1, 200)
        means = torch.stack([(spoiled**e).mean() for e in exponents])
        return spoiled ** exponents[(means - parameter).abs().argmin()]
    if name in ("stretch", "stretch of light"):
        x = to_linear(spoiled) if name == "stretch of light" else spoiled
        low, high = torch.quantile(x.flatten(), torch.tensor([parameter / 100, 1 - parameter / 100])).tolist()
        x = ((x - low) / max(high - low, 1e-3)).clamp(0, 1)
        return to_grey(x) if name == "stretch of light" else x
    pixels = spoiled[0, 0].double().numpy()
    if name == "equalisation":
        pixels = equalize_hist(pixels)
    elif name == "CLAHE":
        pixels = equalize_adapthist(pixels, kernel_size=60, clip_limit=parameter)
    elif name != "nothing":
        raise ValueError(f"expected one of {', '.join(CURVES)}, got {name!r}")
    return torch.from_numpy(pixels).to(spoiled)[None, None]
