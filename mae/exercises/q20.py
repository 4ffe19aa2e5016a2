"""Question 20: the measure of a segmentation."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Two or more pictures, one class that occurs nowhere, one that is only guessed."""
    cases = []
    for B, side, classes in ((2, 2, 4), (2, 3, 4), (3, 4, 6), (5, 8, 8)):
        while True:
            truth = torch.randint(classes - 2, (B, side, side), generator=generator)
            truth[0] = truth[0].clamp(max=1)  # pictures differ in what they hold
            guess = truth.clone()
            wrong = torch.rand(truth.shape, generator=generator) < 0.4
            guess[wrong] = torch.randint(classes - 1, (int(wrong.sum()),), generator=generator)
            only_guessed = (guess == classes - 2).any()
            if only_guessed and len(truth.unique()) == classes - 2:
                break
        # Of the numbers of the classes, which one occurs nowhere and which is only guessed is drawn, too.
        names = torch.randperm(classes, generator=generator)
        cases.append({"truth": names[truth], "guess": names[guess], "num_classes": classes})
    return cases


def _counts(truth: Tensor, guess: Tensor, num_classes: int) -> list[tuple[int, int, int]]:
    """Of each class: pixels in both, in the truth, in the guess."""
    counts = []
    for c in range(num_classes):
        pairs = list(zip((truth == c).flatten().tolist(), (guess == c).flatten().tolist(), strict=True))
        counts.append((sum(a and b for a, b in pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs)))
    return counts


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _overlap(truth: Tensor, guess: Tensor, num_classes: int) -> float:
    counts = _counts(truth, guess, num_classes)
    return _mean([both / (t + g - both) for both, t, g in counts if t + g])


def _absent(value: float):
    def mistaken(truth: Tensor, guess: Tensor, num_classes: int) -> float:
        counts = _counts(truth, guess, num_classes)
        return _mean([both / (t + g - both) if t + g else value for both, t, g in counts])

    return mistaken


def _pooled(truth: Tensor, guess: Tensor, num_classes: int) -> float:
    counts = _counts(truth, guess, num_classes)
    return sum(both for both, _, _ in counts) / sum(t + g - both for both, t, g in counts)


MISTAKES = {
    "You took the mean over pictures. Pixels of all pictures are counted together for a class, then the classes are "
    "averaged: otherwise a class in a corner of one picture weighs as much as the same class everywhere.": (
        lambda t, g, n: _mean([_overlap(a, b, n) for a, b in zip(t, g, strict=True)])
    ),
    "You gave the share of right pixels. A large class then decides alone: 'nothing anywhere' scores well.": (
        lambda t, g, n: float((t == g).float().mean())
    ),
    "You divided by the pixels of the truth: recall. A guess that paints a class everywhere must pay for it.": (
        lambda t, g, n: _mean([both / a for both, a, _ in _counts(t, g, n) if a])
    ),
    "You divided by the pixels of the guess: precision. What the guess misses must cost something.": (
        lambda t, g, n: _mean([both / b for both, _, b in _counts(t, g, n) if b])
    ),
    "You counted the pixels that truth and guess share twice in the union.": (
        lambda t, g, n: _mean([both / (a + b) for both, a, b in _counts(t, g, n) if a + b])
    ),
    "That is the Dice coefficient, twice the intersection over the sum of both sizes. Here the union is below the "
    "line.": lambda t, g, n: _mean([2 * both / (a + b) for both, a, b in _counts(t, g, n) if a + b]),
    "You counted a class that is neither in the truth nor in the guess as 0. It says nothing: leave it out.": _absent(
        0.0
    ),
    "You counted a class that is neither in the truth nor in the guess as 1. It says nothing: leave it out.": _absent(
        1.0
    ),
    "You left out a class that is guessed and not there. Its intersection is empty and its union is not: 0.": (
        lambda t, g, n: _mean([both / (a + b - both) for both, a, b in _counts(t, g, n) if a])
    ),
    "You added up the intersections of all classes, and the unions, before you divided. Each class gets a ratio of "
    "its own, so that small ones count as much as large ones.": _pooled,
}


@exercise(
    "q20.mean_iou",
    "implement",
    "Mean intersection over union",
    minutes=15,
    hints=(
        "For one class, `truth == c` and `guess == c` are two sets of pixels over all pictures. `&` is their "
        "intersection, `|` their union; `sum` counts.",
        "A class with an empty union is left out of the mean. One that is guessed and not there has a union, and its "
        "ratio is 0.",
    ),
    then="compare the guess 'the most frequent class everywhere' by your measure and by the share of right pixels.",
)
def mean_iou(answer, generator: torch.Generator) -> str:
    """Ratios of classes over all pictures, against a slow count."""
    return compare(answer, _overlap, _cases(generator), MISTAKES)
