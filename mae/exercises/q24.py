"""Question 24: what a blind prediction and the noisy value are worth together."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _error(prediction: Tensor, noisy: Tensor, sigma: float) -> float:
    total = 0.0
    for p, y in zip(prediction.flatten().tolist(), noisy.flatten().tolist(), strict=True):
        total += (y - p) ** 2
    return max(total / prediction.numel() - sigma**2, 0.0)


def _mix(prediction: Tensor, noisy: Tensor, share: float) -> Tensor:
    """``share`` of the noisy value."""
    return share * noisy + (1 - share) * prediction


def _combine(prediction: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    squared = _error(prediction, noisy, sigma)
    return _mix(prediction, noisy, squared / (squared + sigma**2))


def _swapped(prediction: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    squared = _error(prediction, noisy, sigma)
    return _mix(prediction, noisy, sigma**2 / (squared + sigma**2))


def _deviations(prediction: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    error = _error(prediction, noisy, sigma) ** 0.5
    return _mix(prediction, noisy, error / (error + sigma))


def _noise_counted_twice(prediction: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    squared = ((noisy - prediction) ** 2).mean().item()
    return _mix(prediction, noisy, squared / (squared + sigma**2))


def _negative(prediction: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    squared = ((noisy - prediction) ** 2).mean().item() - sigma**2
    return _mix(prediction, noisy, squared / (squared + sigma**2))


def _each_pixel(prediction: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    squared = ((noisy - prediction) ** 2 - sigma**2).clamp(min=0)
    return prediction + squared / (squared + sigma**2) * (noisy - prediction)


MISTAKES = {
    "You give both the same weight. The one that errs less deserves more.": lambda p, y, s: (p + y) / 2,
    "Your weights are swapped: the larger the noise, the less the noisy value must count.": _swapped,
    "You weigh by standard deviations. The error of a weighted mean is a sum of squares, so its best weights are made "
    "of variances.": _deviations,
    "You took the whole squared difference for the error of the prediction. The noise is in it as well.": (
        _noise_counted_twice
    ),
    "Your estimate of a squared error becomes negative when the difference happens to be smaller than the noise. No "
    "squared error is below 0.": _negative,
    "You judge the prediction at each pixel by that pixel alone: one difference is noise. Average the squared "
    "differences over the whole picture first.": _each_pixel,
}


@exercise(
    "q24.combine",
    "implement",
    "Two witnesses",
    minutes=10,
    hints=(
        "With weight w on the noisy value, the squared error of the mixture is w²·σ² + (1 − w)²·t². Where is its "
        "derivative zero?",
        "Prediction and noise err independently, so the mean squared difference of the two pictures is t² + σ² on "
        "average. An estimate made by a subtraction can fall below the lowest possible value.",
    ),
    then="put a prediction in that has seen the noisy pixel. Which assumption breaks, and how does w err?",
)
def combine(answer, generator: torch.Generator) -> str:
    """Precision weights against a slow version, with good predictions, bad ones, and one closer than the noise."""
    cases = []
    for size, error, sigma in ((2, 0.3, 0.1), (3, 0.1, 0.2), (2, 0.0, 0.5), (16, 0.2, 0.1), (16, 0.05, 0.1)):
        truth = torch.rand(size, size, generator=generator)
        prediction = truth + error * (0.5 + torch.rand(size, size, generator=generator))
        noise = torch.randn(size, size, generator=generator)
        noise = noise / noise.square().mean().sqrt() * (sigma if error else 0.5 * sigma)
        cases.append({"prediction": prediction, "noisy": truth + noise, "sigma": sigma})
    compare(answer, _combine, cases, MISTAKES)
    return f"{len(cases)} fresh pictures: your weights are those with the least squared error, and never negative."
