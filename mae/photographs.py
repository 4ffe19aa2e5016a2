"""Grey photographs that come with scikit-image and scikit-learn, split by photograph; crops, and windows put together.

Each is halved by averaging squares of 2×2 pixels, which takes most of the camera's own noise and of JPEG's traces away.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data as skimage_data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_image
from torch import Tensor

# Height and width as they come, to notice another version of the packages.
SHAPES = {
    "astronaut": (512, 512),
    "brick": (512, 512),
    "camera": (512, 512),
    "cat": (300, 451),
    "china": (427, 640),
    "coffee": (400, 600),
    "coins": (303, 384),
    "flower": (427, 640),
    "grass": (512, 512),
    "gravel": (512, 512),
    "hubble_deep_field": (872, 1000),
    "immunohistochemistry": (512, 512),
    "moon": (512, 512),
    "rocket": (427, 640),
    "stereo_motorcycle": (500, 741),
}
SPLITS = {
    "train": (
        "brick",
        "flower",
        "grass",
        "gravel",
        "hubble_deep_field",
        "immunohistochemistry",
        "stereo_motorcycle",
    ),
    "validation": ("astronaut", "rocket"),
    "test": ("camera", "cat", "china", "coffee", "coins", "moon"),
}


@cache
def _photograph(name: str) -> Tensor:
    if name in ("china", "flower"):
        pixels = load_sample_image(f"{name}.jpg")
    else:
        pixels = getattr(skimage_data, name)()
    pixels = pixels[0] if isinstance(pixels, tuple) else pixels  # the left eye's picture of the motorcycle
    if pixels.dtype != np.uint8 or pixels.shape[:2] != SHAPES[name]:
        raise ValueError(
            f"the photograph {name!r} is not the one this book was written with ({pixels.dtype} {pixels.shape}, "
            f"expected uint8 {SHAPES[name]}): install the versions in requirements.txt"
        )
    halved = np.asarray(Image.fromarray(pixels).convert("L").reduce(2))
    return torch.from_numpy(halved.copy()).float()[None, None] / 255


def load_photographs(split: str) -> dict[str, Tensor]:
    """Grey photographs by name. No photograph is in two splits.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        7, 2 or 6 photographs.

    Returns
    -------
    dict of str to Tensor, (1, 1, H, W), float32
        0 is black, 1 is white; sizes differ, none is smaller than 150×192.

    Raises
    ------
    ValueError
        If the split is unknown, or an installed photograph is not the expected one.
    """
    if split not in SPLITS:
        raise ValueError(f"expected one of {', '.join(SPLITS)}, got {split!r}")
    return {name: _photograph(name).clone() for name in SPLITS[split]}


def centre(image: Tensor, size: int = 120) -> Tensor:
    """The square in the middle of a picture.

    Parameters
    ----------
    image : Tensor, (B, C, H, W)
    size : int
        Its side in pixels.

    Returns
    -------
    Tensor, (B, C, size, size)
    """
    H, W = image.shape[-2:]
    if size > min(H, W):
        raise ValueError(f"expected a size of at most {min(H, W)} for a picture of {H}×{W}, got {size}")
    top, left = (H - size) // 2, (W - size) // 2
    return image[..., top : top + size, left : left + size]


def add_noise(image: Tensor, sigma: float, *, generator: torch.Generator) -> Tensor:
    """Independent Gaussian noise on every pixel; values below 0 and above 1 are kept.

    Parameters
    ----------
    image : Tensor
    sigma : float
        Its standard deviation.
    generator : torch.Generator
        On the CPU.
    """
    return image + sigma * torch.randn(image.shape, generator=generator)


def random_crops(pictures: Mapping[str, Tensor], size: int, count: int, *, generator: torch.Generator) -> Tensor:
    """Squares from random places, as many from each picture, turned and mirrored at random.

    Parameters
    ----------
    pictures : mapping of str to Tensor, (1, C, H, W)
        With one channel, or with more of them where several versions of a picture are to be cut alike.
    size : int
        Side of a crop in pixels.
    count : int
        B, over all pictures.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor, (B, C, size, size)
        In random order.

    Raises
    ------
    ValueError
        If a picture is smaller than a crop.
    """
    for name, image in pictures.items():
        if size > min(image.shape[-2:]):
            raise ValueError(f"can't cut {size}×{size} pixels from {name!r} of {tuple(image.shape[-2:])}")
    images, crops = list(pictures.values()), []
    for i in range(count):
        image = images[i % len(images)]
        top, left = (int(torch.randint(n - size + 1, (), generator=generator)) for n in image.shape[-2:])
        turns, mirror = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        crop = torch.rot90(image[0, :, top : top + size, left : left + size], turns, (1, 2))
        crops.append(crop.flip(2) if mirror else crop)
    return torch.stack(crops)[torch.randperm(count, generator=generator)]


def windows(image: Tensor, size: int, stride: int) -> Tensor:
    """All windows of a picture, row by row.

    Parameters
    ----------
    image : Tensor, (1, C, H, W)
    size, stride : int
        Side of a window, and the step from one to the next: the side itself, or less to have them overlap.

    Returns
    -------
    Tensor, (B, C, size, size)

    Raises
    ------
    ValueError
        If the windows don't end where the picture ends.
    """
    _check_windows(image.shape[-2:], size, stride)
    C = image.shape[1]
    return F.unfold(image, size, stride=stride)[0].T.reshape(-1, C, size, size)


def assemble(pieces: Tensor, image_size: tuple[int, int], stride: int, *, soft: bool = True) -> Tensor:
    """Put windows together again; where they overlap, average.

    Parameters
    ----------
    pieces : Tensor, (B, C, size, size)
        In the order of `windows`.
    image_size : (int, int)
        Height and width of the picture.
    stride : int
        As it was given to `windows`.
    soft : bool
        Weigh a window's pixels less towards its edges, where they have neighbours on one side only.

    Returns
    -------
    Tensor, (1, C, H, W)
    """
    B, C, size, _ = pieces.shape
    rows, columns = _check_windows(image_size, size, stride)
    if B != rows * columns:
        raise ValueError(f"expected {rows}·{columns} windows for a picture of {image_size}, got {B}")
    ramp = torch.ones(size)
    if soft:
        ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / (size / 2 + 0.5)  # a tent, nowhere 0
    weight = (ramp[:, None] * ramp).expand(B, C, size, size)

    def fold(x: Tensor) -> Tensor:
        return F.fold(x.reshape(B, -1).T[None], image_size, size, stride=stride)

    return fold(pieces * weight) / fold(weight)


def _check_windows(image_size: tuple[int, int], size: int, stride: int) -> tuple[int, int]:
    H, W = image_size
    if not 0 < stride <= size or size > min(H, W) or (H - size) % stride or (W - size) % stride:
        raise ValueError(
            f"windows of {size} pixels with a stride of {stride} do not cover a picture of {H}×{W} exactly: "
            f"crop the picture, or choose another stride, at most {size}"
        )
    return (H - size) // stride + 1, (W - size) // stride + 1


def quality(image: Tensor, truth: Tensor) -> dict[str, float]:
    """How close a picture is to the true one, by scikit-image's measures.

    Parameters
    ----------
    image, truth : Tensor, (1, 1, H, W)
        Values are cut to 0 … 1 first, as a file would.

    Returns
    -------
    dict
        ``psnr``, in decibels, and ``ssim``, at most 1.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if image.shape != truth.shape or image.shape[:2] != (1, 1):
        raise ValueError(f"expected two pictures (1, 1, H, W), got {tuple(image.shape)} and {tuple(truth.shape)}")
    x, y = (t[0, 0].clamp(0, 1).double().numpy() for t in (image, truth))
    return {
        "psnr": float(peak_signal_noise_ratio(y, x, data_range=1)),
        "ssim": float(structural_similarity(y, x, data_range=1)),
    }
