"""Question 25: the picture closest to a guess among all that shrink to the given one."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _consistent(image: Tensor, small: Tensor) -> Tensor:
    result = image.clone()
    s = image.shape[0] // small.shape[0]
    for i in range(small.shape[0]):
        for j in range(small.shape[1]):
            square = result[i * s : i * s + s, j * s : j * s + s]
            square += small[i, j] - square.mean()
    return result


def _spread(small: Tensor, s: int) -> Tensor:
    return small.repeat_interleave(s, 0).repeat_interleave(s, 1)


def _means(image: Tensor, s: int) -> Tensor:
    return image.view(image.shape[0] // s, s, -1, s).mean(dim=(1, 3))


def _side(image: Tensor, small: Tensor) -> int:
    return image.shape[0] // small.shape[0]


def _scaled(image: Tensor, small: Tensor) -> Tensor:
    s = _side(image, small)
    return image * _spread(small / _means(image, s), s)


def _one_pixel(image: Tensor, small: Tensor) -> Tensor:
    s, result = _side(image, small), image.clone()
    result[::s, ::s] += s * s * (small - _means(image, s))
    return result


def _sampled(image: Tensor, small: Tensor) -> Tensor:
    s = _side(image, small)
    return image + _spread(small - image[::s, ::s], s)


def _whole(image: Tensor, small: Tensor) -> Tensor:
    return image + (small.mean() - image.mean())


def _shared(image: Tensor, small: Tensor) -> Tensor:
    s = _side(image, small)
    return image + _spread(small - _means(image, s), s) / s**2


def _wrong_sign(image: Tensor, small: Tensor) -> Tensor:
    s = _side(image, small)
    return image - _spread(small - _means(image, s), s)


def _replaced(image: Tensor, small: Tensor) -> Tensor:
    return _spread(small, _side(image, small))


def _tiled(image: Tensor, small: Tensor) -> Tensor:
    s = _side(image, small)
    return image + (small - _means(image, s)).repeat(s, s)


MISTAKES = {
    "You scale each square. Its mean is right then, but adding the same number to all its pixels changes them "
    "less.": _scaled,
    "You put the whole difference into one pixel of each square. The mean is right, but spread over all pixels the "
    "squared change is smaller.": _one_pixel,
    "You compare the small picture with one pixel of each square. A small pixel is the mean of the square, not a "
    "sample of it.": _sampled,
    "You shift the picture as a whole. Each square has a mean of its own to keep.": _whole,
    "You divide the difference among the pixels of a square. If each is to have a mean that is higher by d, each pixel "
    "rises by d.": _shared,
    "You shift away from the small picture: the sign is wrong.": _wrong_sign,
    "You paint each square in one grey. It has the right mean, and all that the guess knew is gone.": _replaced,
    "You repeat the picture of differences side by side. Each difference belongs to all pixels of its own "
    "square.": _tiled,
}


@exercise(
    "q25.consistent",
    "implement",
    "Keep what is known",
    minutes=10,
    hints=(
        "Look at one square: its mean must change by d, and the sum of the squared changes of its pixels must be as "
        "small as possible. How is d shared out?",
        "`image.view(h, s, w, s)` gives each pixel four indices: the square's row, the row in it, the square's column, "
        "the column in it. A mean over two of them, `keepdim=True`, and broadcasting does the rest.",
    ),
    then="apply it to bicubic interpolation. Does the error become smaller, and could it have become larger?",
)
def consistent(answer, generator: torch.Generator) -> str:
    """The nearest consistent picture, against a loop over squares."""
    cases = []
    for s, h, w in ((2, 1, 2), (2, 2, 3), (3, 2, 2), (4, 5, 3)):
        image = 0.1 + torch.rand(s * h, s * w, generator=generator)
        cases.append({"image": image, "small": 0.1 + torch.rand(h, w, generator=generator)})
    compare(answer, _consistent, cases, MISTAKES)
    return (
        f"{len(cases)} fresh pictures: each shrinks to the given one, and no other such picture is closer to the guess."
    )
