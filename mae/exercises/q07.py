"""Question 7: an observation and a prediction, put together."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Rows with entries that are missing, observed well or observed badly; a few sizes."""
    cases = []
    for B, N in ((1, 2), (1, 4), (3, 4), (4, 6)):
        predicted = torch.randn(B, N, generator=generator)
        doubt = 0.2 + torch.rand(N, generator=generator)
        noise = 0.2 + 1.5 * torch.rand(B, N, generator=generator)
        observed = predicted + 2 * torch.randn(B, N, generator=generator)
        missing = torch.rand(B, N, generator=generator).argsort(dim=1) < min(N - 1, 1 + B % 2)
        observed = observed.masked_fill(missing, -999.0)
        cases.append({"observed": observed, "missing": missing, "noise": noise, "predicted": predicted, "doubt": doubt})
    return cases


def _reference(observed: Tensor, missing: Tensor, noise: Tensor, predicted: Tensor, doubt: Tensor) -> Tensor:
    out = predicted.clone()
    for b in range(observed.shape[0]):
        for n in range(observed.shape[1]):
            if not missing[b, n]:
                precision = 1 / noise[b, n] ** 2, 1 / doubt[n] ** 2
                out[b, n] = (precision[0] * observed[b, n] + precision[1] * predicted[b, n]) / sum(precision)
    return out


def _weighted(weight):
    """A mistake in the weight of the observation, missing entries filled as they should be."""

    def wrong(observed, missing, noise, predicted, doubt):
        w = weight(noise, doubt.expand_as(noise))
        return torch.where(missing, predicted, w * observed + (1 - w) * predicted)

    return wrong


MISTAKES = {
    "You weight by deviations. Noises of independent sources add as variances, so the weights are made of squares.": (
        _weighted(lambda n, d: d / (n + d))
    ),
    "Your weights are the wrong way round: the less noise an observation has, the more it must count.": _weighted(
        lambda n, d: n**2 / (n**2 + d**2)
    ),
    "You take the plain mean of both, however noisy the one and however unsure the other.": _weighted(
        lambda n, d: torch.full_like(n, 0.5)
    ),
    "You take the prediction everywhere. What was observed, if with noise, is information too: masking throws it "
    "away.": _weighted(lambda n, d: torch.zeros_like(n)),
    "You keep every observed entry as it is, however noisy. The prediction knows something as well.": _weighted(
        lambda n, d: torch.ones_like(n)
    ),
    "You take the better of the two and drop the other. Together they are better than either.": _weighted(
        lambda n, d: (n < d).float()
    ),
    "Your missing entries are full of the placeholder -999. What stands there is no observation: the prediction stands "
    "alone.": (lambda o, m, n, p, d: o * d**2 / (n**2 + d**2) + p * n**2 / (n**2 + d**2)),
    "You count a missing entry as an observation of zero. It is no observation: the prediction stands alone.": (
        lambda o, m, n, p, d: o.masked_fill(m, 0) * d**2 / (n**2 + d**2) + p * n**2 / (n**2 + d**2)
    ),
    "Observed entries are right, but missing ones are left at zero. Put the prediction there.": (
        lambda o, m, n, p, d: (o * d**2 / (n**2 + d**2) + p * n**2 / (n**2 + d**2)).masked_fill(m, 0)
    ),
}


@exercise(
    "q07.put_together",
    "implement",
    "An observation and a prediction",
    minutes=10,
    hints=(
        "Two independent measurements of one number: the best mean weights each by the inverse of its variance. If one "
        "has three times the deviation of the other, how many times less does it count?",
        "Compute the weighted mean for all entries first, then choose with `torch.where(missing, ..., ...)`: what is "
        "not chosen does no harm.",
    ),
    then="let the noise of one entry go to zero, then to infinity. Where does your result go?",
)
def put_together(answer, generator: torch.Generator) -> str:
    """Against entry by entry."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    return (
        f"{len(cases)} fresh tables: observed entries are weighted by their variances, and missing ones are predicted."
    )
