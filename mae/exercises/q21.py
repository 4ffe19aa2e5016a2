"""Question 21: a threshold for a given rate of false matches."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, compare, exercise


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """Scores without ties but one: a same-person pair that scores exactly the threshold."""
    for pairs, strangers, allowed in ((3, 4, 1), (4, 8, 2), (6, 20, 3), (12, 60, 5)):
        total = pairs + strangers
        while True:
            scores = torch.randperm(3 * total, generator=generator)[:total].float() / (4 * total)
            same, other = scores[:pairs] + 0.2, scores[pairs:]
            threshold = other.sort(descending=True).values[allowed]
            same[int(torch.randint(pairs, (), generator=generator))] = threshold
            distinct = len(torch.cat([same, other]).unique()) == total - 1
            if distinct and 0.2 < (same > threshold).double().mean() < 0.95:
                break
        yield {"same": same, "other": other, "rate": (allowed + 0.5) / strangers}


def _at(threshold: Tensor, same: Tensor) -> tuple[Tensor, float]:
    return threshold, sum(score > threshold for score in same.tolist()) / len(same)


def _allowed(other: Tensor, rate: float, more: int = 0, descending: bool = True) -> Tensor:
    place = min(max(math.floor(rate * len(other)) + more, 0), len(other) - 1)
    return other.sort(descending=descending).values[place]


def _right(same: Tensor, other: Tensor, rate: float) -> tuple[Tensor, float]:
    """Try the scores of `other` as thresholds, from the lowest up."""
    for threshold in sorted(other.tolist()):
        if sum(score > threshold for score in other.tolist()) <= rate * len(other):
            return _at(torch.tensor(threshold), same)
    raise AssertionError("the highest score lets nobody in")


def _second(function: Callable) -> Callable:
    return lambda same, other, rate: (_right(same, other, rate)[0], function(same, other, _right(same, other, rate)[0]))


MISTAKES = {
    "Your threshold is taken from the pairs of the *same* person. The rate of false matches is a share of the pairs "
    "of different people.": lambda s, o, r: _at(_allowed(s, r), s),
    "Your threshold is taken from all pairs together. How many of them are of the same person depends on who made the "
    "table; a rate of false matches does not.": lambda s, o, r: _at(_allowed(torch.cat([s, o]), r), s),
    "Your threshold stands at the wrong end: it lets in nearly all strangers. High scores are accepted, so the "
    "threshold lies among the *highest* scores of different people.": lambda s, o, r: _at(
        _allowed(o, r, descending=False), s
    ),
    "Your threshold lies between two scores, as an interpolated quantile does. Take the smallest score of `other` that "
    "lets in no more strangers than allowed.": lambda s, o, r: _at(torch.quantile(o, 1 - r), s),
    "Your threshold lets in one stranger too many.": lambda s, o, r: _at(_allowed(o, r, 1), s),
    "Your threshold is too strict by one stranger: a lower score would still keep the rate.": lambda s, o, r: _at(
        _allowed(o, r, -1), s
    ),
    "Your threshold lets no stranger in at all. Some false matches are allowed.": lambda s, o, r: _at(o.max(), s),
    "You accept scores *at* the threshold. A pair is accepted if it scores higher.": _second(
        lambda s, o, t: (s >= t).double().mean()
    ),
    "Your second result is the rate of false matches, of pairs of different people. Asked for is how many pairs of the "
    "same person are accepted.": _second(lambda s, o, t: (o > t).double().mean()),
    "Your second result is the share of right answers over all pairs. Nearly all pairs are of different people, so it "
    "looks good whatever happens to the others.": _second(lambda s, o, t: torch.cat([s > t, o <= t]).double().mean()),
    "Your second result is the share of the same person's pairs that are *rejected*.": _second(
        lambda s, o, t: (s <= t).double().mean()
    ),
    "Your second result is a number of pairs, not a share.": _second(lambda s, o, t: (s > t).sum()),
}


@exercise(
    "q21.true_match_rate",
    "implement",
    "Set the threshold",
    minutes=15,
    hints=(
        "The threshold depends on the pairs of strangers alone. How many of them may lie above it? Sort their scores "
        "from the highest down.",
        "`int(rate * len(other))` pairs of strangers may pass. So the threshold is the next score in the sorted list.",
    ),
    then="halve the allowed rate of false matches again and again. When does your table of scores become too small?",
)
def true_match_rate(answer, generator: torch.Generator) -> str:
    """The threshold and the share of matching pairs above it, against a search through all thresholds."""
    cases = list(_cases(generator))
    for case in cases:
        got = call(answer, case)
        if got is None:
            raise Wrong("Your function returns None. Is a `return` missing?", case)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Wrong("Expected two results: the threshold and the rate of true matches.", {**case, "yours": got})
    compare(answer, _right, cases, MISTAKES)
    return f"{len(cases)} fresh sets of scores agree with a search through all thresholds."
