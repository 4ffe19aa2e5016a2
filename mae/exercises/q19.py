"""Question 19: the measure of a detector."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Detections in no order, some wrong, and objects that nobody found."""
    cases = []
    for n in (3, 4, 6, 12, 40):
        while True:
            right = torch.rand(n, generator=generator) < 0.55
            found = int(right.sum())
            scores = (torch.randperm(100, generator=generator)[:n] + 1) / 101
            objects = found + int(torch.randint(1, 4, (), generator=generator))
            case = {"right": right, "scores": scores, "objects": objects}
            if 0 < found < n and abs(_area(**case) - _plain(**case)) > 1e-3:  # raising makes a difference
                break
        cases.append(case)
    return cases


def _curve(right: Tensor, scores: Tensor, descending: bool = True) -> tuple[Tensor, Tensor]:
    right = right[scores.argsort(descending=descending)]
    return right, right.cumsum(0) / torch.arange(1, len(right) + 1)


def _area(right: Tensor, scores: Tensor, objects: int) -> float:
    """Step by step in recall, the slow way."""
    hits, precision = _curve(right, scores)
    total = 0.0
    for i in range(len(hits)):
        if hits[i]:
            total += max(precision[i:].tolist()) / objects
    return total


def _plain(right: Tensor, scores: Tensor, objects: int) -> float:
    hits, precision = _curve(right, scores)
    return float(precision[hits].sum() / objects)


def _ascending(right: Tensor, scores: Tensor, objects: int) -> float:
    return _area(right, -scores, objects)


MISTAKES = {
    "You divided by the objects that were found. Those that nobody found must count: a detector that finds one of "
    "ten is not perfect.": lambda r, s, n: _area(r, s, int(r.sum())),
    "You divided by the number of detections. A step in recall is one of all objects.": lambda r, s, n: _area(
        r, s, len(r)
    ),
    "You took the detections in the order in which they came. The curve goes down the list from the most certain "
    "one.": lambda r, s, n: _area(r, -torch.arange(len(r), dtype=torch.float32), n),
    "You went from the least certain detection up. The curve begins with the most certain one.": _ascending,
    "You did not raise the precisions: at each recall, the best precision from there on counts.": _plain,
    "You averaged the precision over all detections. Only where a right one is added does recall take a step.": (
        lambda r, s, n: float(_curve(r, s)[1].mean())
    ),
    "You gave the share of detections that are right: precision at the end of the list. The scores must matter: the "
    "measure asks how well they sort right from wrong.": lambda r, s, n: float(r.float().mean()),
    "You gave the share of objects that were found: recall at the end of the list. False alarms must cost "
    "something.": lambda r, s, n: float(r.sum() / n),
}


@exercise(
    "q19.average_precision",
    "implement",
    "Average precision",
    minutes=15,
    hints=(
        "Sort by score, the highest first. After each detection, precision is the share of right ones so far; "
        "`cumsum` counts them. Then go through the precisions from the end and let none be lower than a later one.",
        "Recall grows by 1 / objects at each right detection and nowhere else. So the area is the sum of the raised "
        "precisions at the right detections, divided by the objects.",
    ),
    then="lower the scores of all wrong detections to 0. What is the average precision now, and why not 1?",
)
def average_precision(answer, generator: torch.Generator) -> str:
    """The area under the raised curve, against a slow version."""
    return compare(answer, _area, _cases(generator), MISTAKES)
