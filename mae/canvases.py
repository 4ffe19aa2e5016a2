"""Digits on photographs of textures, with boxes and a class for each pixel; and coins with labels drawn by hand."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from mae.data import Digits, load_digits

SIZE = 40  # pixels, height and width of a canvas
MOST = 2  # digits on a canvas
NOTHING = 10  # the class of a pixel, or of an entry in a list of digits, where there is no digit

# Columns and rows of the 512×512 textures. Between training and test lies a strip that nobody uses.
_REGIONS = {"train": (0, 240, 0, 400), "validation": (0, 240, 400, 512), "test": (272, 512, 0, 512)}


@dataclass(frozen=True, eq=False)
class Canvases:
    """Grey pictures with digits at known places.

    Parameters
    ----------
    images : Tensor, (B, 1, 40, 40), float32
        0 is black, 1 is white.
    boxes : Tensor, (B, 2, 4), float32
        For each digit left, top, right, bottom in pixels; zeros where there is no second digit.
    classes : Tensor, (B, 2), int64
        0 to 9; `NOTHING` where there is no second digit.
    pixels : Tensor, (B, 40, 40), int64
        The class of each pixel; `NOTHING` on the background.
    """

    images: Tensor
    boxes: Tensor
    classes: Tensor
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows) -> "Canvases":
        """Some of them: a slice, or a tensor of indices."""
        return Canvases(self.images[rows], self.boxes[rows], self.classes[rows], self.pixels[rows])


@cache
def _textures(split: str) -> list[Tensor]:
    left, right, top, bottom = _REGIONS[split]
    pictures = [torch.from_numpy(f().astype(np.float32) / 255) for f in (data.brick, data.grass, data.gravel)]
    return [picture[top:bottom, left:right] for picture in pictures]


@cache
def _digits(split: str) -> Digits:
    if split == "test":
        return load_digits("test")
    digits = load_digits("train")
    part = slice(3600) if split == "train" else slice(3600, None)
    return Digits(digits.images[part], digits.labels[part])


def _shrunk(image: Tensor, scale: float) -> Tensor:
    """The ink of a digit (28, 28), cut out along its edges, at another size."""
    ink = image > 0.5
    rows, columns = ink.any(dim=1).nonzero(), ink.any(dim=0).nonzero()
    cut = image[rows[0, 0] : rows[-1, 0] + 1, columns[0, 0] : columns[-1, 0] + 1]
    size = [max(4, round(side * scale)) for side in cut.shape]
    return F.interpolate(cut[None, None], size=size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


def make_canvases(split: str, count: int, *, generator: torch.Generator) -> Canvases:
    """Paste one or two digits at random places on crops of brick, grass and gravel (van der Walt et al., 2014).

    The splits share neither a digit nor a pixel of a texture. Boxes of two digits overlap by at most a tenth of the
    smaller one, so where a second one finds no place there is one.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Made of 3,600 training digits, of the other 400, or of the 1,000 test digits.
    count : int
        B, how many canvases.
    generator : torch.Generator

    Returns
    -------
    Canvases

    Raises
    ------
    ValueError
        If the split is unknown, or no canvas is asked for.
    """
    if split not in _REGIONS:
        raise ValueError(f'expected split "train", "validation" or "test", got {split!r}')
    if count < 1:
        raise ValueError(f"expected at least one canvas, got {count}")
    digits, textures = _digits(split), _textures(split)

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    images = torch.empty(count, 1, SIZE, SIZE)
    boxes, classes = torch.zeros(count, MOST, 4), torch.full((count, MOST), NOTHING)
    pixels = torch.full((count, SIZE, SIZE), NOTHING)
    for b in range(count):
        texture = textures[draw(len(textures))]
        y, x = draw(texture.shape[0] - SIZE + 1), draw(texture.shape[1] - SIZE + 1)
        canvas = 0.4 * texture[y : y + SIZE, x : x + SIZE]
        placed = 0
        for _ in range(1 + draw(MOST)):
            i = draw(len(digits))
            scale, light = (torch.rand(2, generator=generator) * torch.tensor([0.3, 0.25])).tolist()
            ink = _shrunk(digits.images[i, 0], 0.7 + scale)
            h, w = ink.shape
            for _ in range(20):
                top, left = draw(SIZE - h + 1), draw(SIZE - w + 1)
                box = torch.tensor([left, top, left + w, top + h], dtype=torch.float32)
                if _overlap(box, boxes[b, :placed]) <= 0.1:
                    break
            else:
                continue
            place = (slice(top, top + h), slice(left, left + w))
            canvas = canvas.clone()
            canvas[place] = canvas[place] * (1 - ink) + (0.75 + light) * ink
            pixels[b][place][ink > 0.5] = digits.labels[i]
            boxes[b, placed], classes[b, placed] = box, digits.labels[i]
            placed += 1
        images[b, 0] = canvas
    return Canvases(images, boxes, classes, pixels)


def _overlap(box: Tensor, others: Tensor) -> float:
    """The largest share of the smaller of two boxes that lies in the other one."""
    if not len(others):
        return 0.0
    sides = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0)
    areas = torch.minimum((box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(dim=1))
    return float((sides.prod(dim=1) / areas).max())


# Left, top, right, bottom of each coin, read off the picture by eye; skimage has no labels for it.
_COINS = (
    (23, 33, 66, 73), (81, 38, 120, 73), (132, 28, 179, 73), (192, 29, 239, 73), (255, 32, 297, 71), (305, 15, 364, 73),
    (24, 104, 67, 144), (84, 107, 122, 143), (134, 109, 173, 144), (185, 104, 226, 143), (245, 95, 296, 143),
    (317, 105, 355, 143), (26, 177, 62, 216), (80, 172, 124, 217), (135, 178, 174, 216), (188, 170, 236, 216),
    (251, 171, 296, 215), (315, 154, 379, 217), (18, 231, 74, 288), (93, 244, 136, 287), (144, 235, 202, 287),
    (220, 239, 268, 287), (275, 237, 326, 287), (336, 247, 380, 288),
)  # fmt: skip


def load_coins() -> tuple[Tensor, Tensor, Tensor]:
    """A photograph of 24 Greek coins from Pompeii that comes with scikit-image, with labels of our own.

    Returns
    -------
    image : Tensor, (1, 303, 384), float32
        0 is black, 1 is white.
    boxes : Tensor, (24, 4), float32
        Left, top, right, bottom in pixels.
    is_coin : Tensor, (303, 384), bool
        The ellipses in these boxes; coins are not quite round, so some pixels at their edges are wrong.
    """
    image = torch.from_numpy(data.coins().astype(np.float32) / 255)[None]
    boxes = torch.tensor(_COINS, dtype=torch.float32)
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in image.shape[1:]), indexing="ij")
    centre, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    across = (torch.stack([x, y], dim=2)[None] - centre[:, None, None]) / radius[:, None, None]  # (24, H, W, 2)
    return image, boxes, ((across**2).sum(dim=3) <= 1).any(dim=0)
