"""Question 23: the best that any curve can do."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _best_curve(spoiled: Tensor, truth: Tensor) -> Tensor:
    behind = {}
    for value, true in zip(spoiled.flatten().tolist(), truth.flatten().tolist(), strict=True):
        behind.setdefault(value, []).append(true)
    means = {value: sum(values) / len(values) for value, values in behind.items()}
    return torch.tensor([means[value] for value in spoiled.flatten().tolist()]).view_as(truth)


def _line(spoiled: Tensor, truth: Tensor) -> Tensor:
    x = spoiled.double()
    slope = ((x - x.mean()) * (truth - truth.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return truth.mean() + slope * (x - x.mean())


def _factor(spoiled: Tensor, truth: Tensor) -> Tensor:
    x = spoiled.double()
    return x * (x * truth).sum() / (x * x).sum()


def _same_histogram(spoiled: Tensor, truth: Tensor) -> Tensor:
    picture = torch.zeros(truth.numel(), dtype=truth.dtype)
    picture[spoiled.flatten().argsort(stable=True)] = truth.flatten().sort().values
    return picture.view_as(truth)


def _medians(spoiled: Tensor, truth: Tensor) -> Tensor:
    picture = torch.zeros_like(truth)
    for value in spoiled.unique():
        picture[spoiled == value] = truth[spoiled == value].median()
    return picture


def _share_of_all(spoiled: Tensor, truth: Tensor) -> Tensor:
    counts = torch.bincount(spoiled.flatten())[spoiled]
    return _best_curve(spoiled, truth) * counts / truth.numel()


MISTAKES = {
    "You give every pixel the same value. A curve may treat each grey value differently.": (
        lambda spoiled, truth: truth.mean().expand_as(truth)
    ),
    "You found the best straight line. A curve may send each grey value anywhere, whatever it does with the next.": (
        _line
    ),
    "You found the best factor. A curve has not one number but one for each grey value.": _factor,
    "You gave the picture the histogram of the truth. That says which values occur, not which of them stood behind "
    "this grey value.": _same_histogram,
    "You took the middle one of the true values, which has the least absolute error. Here, errors are squared.": (
        _medians
    ),
    "You divide by the number of all pixels. Only those with this grey value were added up.": _share_of_all,
}


@exercise(
    "q23.ceiling",
    "implement",
    "The best of all curves",
    minutes=10,
    hints=(
        "Pixels with the same grey value can't be told apart, so a curve gives all of them the same new value. Which "
        "one has the least squared error to their true values?",
        "Go through `spoiled.unique()`. A comparison gives a mask of the pixels with that value, and the mask picks "
        "their true values.",
    ),
    then="make the curve on one half of a picture and use it on the other. Why is it no ceiling any more?",
)
def ceiling(answer, generator: torch.Generator) -> str:
    """Means of the true values behind each grey value, against a slow version."""
    cases = []
    for size, steps in ((3, 2), (4, 3), (8, 5), (24, 40)):
        truth = torch.rand(size, size, generator=generator)
        noise = 0.4 * torch.rand(size, size, generator=generator)
        step = ((truth * (1 - truth) * 2 + noise) * steps).long()
        step[0, :2] = torch.tensor([0, 1])  # never only one grey value
        cases.append({"spoiled": step * (200 // steps) + 3, "truth": truth})
    compare(answer, _best_curve, cases, MISTAKES)
    return f"{len(cases)} fresh pictures: no curve has a smaller squared error than yours."
