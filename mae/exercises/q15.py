"""Question 15: share one budget of visible patches between two senses."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Small batches first; budgets below and above what one sense can take, shares from nothing to everything."""
    cases = []
    for B, n, budget in ((3, 2, 2), (3, 3, 4), (5, 4, 3), (8, 8, 8), (8, 6, 9)):
        share = torch.rand(B, generator=generator)
        share[0], share[-1] = 0.0, 1.0
        if B > 3:
            share[1], share[2] = 0.06 * share[1], 1 - 0.06 * share[2]  # rounded, they are nothing and everything
        share = share[torch.randperm(B, generator=generator)]
        cases.append({"budget": budget, "share": share, "noise": torch.rand(B, 2, n, generator=generator)})
    return cases


def _count(budget: int, share: Tensor, n: int) -> Tensor:
    """Visible patches of the first sense."""
    return (share * budget).round().long().clamp(max(budget - n, 0), min(budget, n))


def _hide(noise: Tensor, counts: Tensor) -> Tensor:
    """Of each sense the given number, (B, 2), is visible, those with the smallest noise: → (B, 2 n)."""
    return (noise.argsort(dim=2).argsort(dim=2) >= counts[:, :, None]).flatten(1)


def _both(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], dim=1)


def _reference(budget: int, share: Tensor, noise: Tensor) -> Tensor:
    B, _, n = noise.shape
    hidden = torch.ones(B, 2, n, dtype=torch.bool)
    for i in range(B):
        first = min(max(int((share[i] * budget).round()), budget - n), n)
        for sense, count in enumerate((first, budget - first)):
            hidden[i, sense, noise[i, sense].argsort()[:count]] = False
    return hidden.flatten(1)


def _unclamped(budget, share, noise):
    first = (share * budget).round().long()
    return _hide(noise, _both(first, budget - first))


def _lost(budget, share, noise):
    first = (share * budget).round().long().clamp(max=noise.shape[2])
    return _hide(noise, _both(first, budget - first))


def _visible(budget, share, noise):
    return ~_reference(budget, share, noise)


def _pooled(budget, share, noise):
    return noise.flatten(1).argsort(dim=1).argsort(dim=1) >= budget


def _half(budget, share, noise):
    first = torch.full((len(share),), budget // 2)
    return _hide(noise, _both(first, budget - first))


def _same_places(budget, share, noise):
    first = _count(budget, share, noise.shape[2])
    return _hide(noise[:, :1].expand(-1, 2, -1), _both(first, budget - first))


def _one_argsort(budget, share, noise):
    first = _count(budget, share, noise.shape[2])
    return (noise.argsort(dim=2) >= _both(first, budget - first)[:, :, None]).flatten(1)


def _in_order(budget, share, noise):
    first = _count(budget, share, noise.shape[2])
    place = torch.arange(noise.shape[2]).expand_as(noise)
    return (place >= _both(first, budget - first)[:, :, None]).flatten(1)


def _swapped(budget, share, noise):
    first = _count(budget, share, noise.shape[2])
    return _hide(noise, _both(budget - first, first))


def _each(budget, share, noise):
    return (noise >= _both(share, 1 - share)[:, :, None]).flatten(1)


def _of_places(budget, share, noise):
    n = noise.shape[2]
    first = (share * n).round().long().clamp(max(budget - n, 0), min(budget, n))
    return _hide(noise, _both(first, budget - first))


def _down(budget, share, noise):
    n = noise.shape[2]
    first = (share * budget).long().clamp(max(budget - n, 0), min(budget, n))
    return _hide(noise, _both(first, budget - first))


def _largest(budget, share, noise):
    return _reference(budget, share, -noise)


def _hides_budget(budget, share, noise):
    first = _count(budget, share, noise.shape[2])
    return ~_hide(-noise, _both(first, budget - first))


MISTAKES = {
    "Rows differ in their number of visible patches where the share asks more of a sense than it has. What one sense "
    "can't take must go to the other, in both directions.": _unclamped,
    "You keep the first sense within its patches, but not the second: where the share is small, the budget asks more "
    "of the second than it has.": _lost,
    "You return True where a patch is visible. `is_hidden` is True where it is hidden, here as everywhere.": _visible,
    "You rank the patches of both senses together, and `share` has no effect. Then nearly every row shows some of "
    "both, and the model never learns to do without a sense.": _pooled,
    "You give each sense half of the budget, whatever `share` says. The model then never meets a missing sense.": _half,
    "You hide both senses at the same places' ranks: each sense has noise of its own, `noise[:, 0]` and "
    "`noise[:, 1]`.": _same_places,
    "You compare the result of one `argsort` with the count. That says which patch has a rank; needed is which rank "
    "a patch has.": _one_argsort,
    "The first patches of each sense are visible, whatever `noise` says: always the same corner of the picture.": (
        _in_order
    ),
    "You gave the share of the first sense to the second.": _swapped,
    "You let each patch decide by itself. The share is then right on average only: rows show different numbers of "
    "patches, and a batch is no longer rectangular.": _each,
    "`share` is a share of the budget, not of the patches of the first sense.": _of_places,
    "You round down, so a share just below one does not give the first sense everything. Round to the nearest.": _down,
    "You keep the patches with the largest noise; the task asks for the smallest.": _largest,
    "You hide as many patches as the budget; it says how many stay visible.": _hides_budget,
}


@exercise(
    "q15.spend",
    "implement",
    "Share one budget between two senses",
    minutes=12,
    hints=(
        "First the two counts of each row. `(share * budget).round().long()` is what the share asks for; between which "
        "two numbers must it lie so that neither sense shows more than its n patches?",
        "A patch is hidden if its rank within its sense is not below the count of that sense. A second `argsort` turns "
        "the order of the patches into the rank of each; counts of shape (B, 2, 1) meet ranks of shape (B, 2, n).",
    ),
    then="draw `share` uniformly, 1,000 rows with a budget of 8: in what part of them is a sense wholly hidden?",
)
def spend(answer, generator: torch.Generator) -> str:
    """Against one row at a time, and the mask must be one that a model accepts."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    return (
        f"{len(cases)} fresh batches, budgets below and above what one sense can take, shares from nothing to "
        "everything: each row shows exactly the budget, split as asked."
    )
