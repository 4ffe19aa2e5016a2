"""Question 16: a test set whose scaffolds no training molecule has."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Numbers of scaffolds in random order, and a test size that no whole number of them fills."""
    cases = []
    # In the second and third there is room for one of two single molecules; the first has the higher, or lower, number.
    for sizes, tie in (((3, 1, 2), 0), ((4, 1, 1, 3), 1), ((3, 1, 1, 2), -1), ((9, 3, 1, 4, 1, 6, 2, 2, 8), 0)):
        names = torch.randperm(10 * len(sizes), generator=generator)[: len(sizes)]
        scaffolds = names.repeat_interleave(torch.tensor(sizes))
        while True:
            scaffolds = scaffolds[torch.randperm(len(scaffolds), generator=generator)]
            found = _members(scaffolds)
            one, *other = [name for name in found if len(found[name]) == 1]
            if list(found) != sorted(found) and (not tie or tie * (one - other[0]) > 0):
                break
        rising = sorted(sizes)
        # Room for all but the two largest, and for a part of the next.
        room = sum(rising[:-2]) + int(torch.randint(1, rising[-2], (), generator=generator))
        cases.append({"scaffolds": scaffolds, "test_size": 1 if tie else room})
    return cases


def _members(scaffolds: Tensor) -> dict[int, list[int]]:
    """Molecules of each scaffold; scaffolds in the order in which they appear."""
    found: dict[int, list[int]] = {}
    for i, name in enumerate(scaffolds.tolist()):
        found.setdefault(name, []).append(i)
    return found


def _mark(scaffolds: Tensor, chosen: list[int]) -> Tensor:
    is_test = torch.zeros(len(scaffolds), dtype=torch.bool)
    is_test[chosen] = True
    return is_test


def _take(scaffolds: Tensor, test_size: int, order) -> Tensor:
    """Whole scaffolds in this order, as long as they fit."""
    chosen: list[int] = []
    for members in order:
        if len(chosen) + len(members) > test_size:
            break
        chosen += members
    return _mark(scaffolds, chosen)


def _reference(scaffolds: Tensor, test_size: int) -> Tensor:
    return _take(scaffolds, test_size, sorted(_members(scaffolds).values(), key=len))


def _largest_first(scaffolds: Tensor, test_size: int) -> Tensor:
    return _take(scaffolds, test_size, sorted(_members(scaffolds).values(), key=len, reverse=True))


def _in_order(scaffolds: Tensor, test_size: int) -> Tensor:
    return _take(scaffolds, test_size, _members(scaffolds).values())


def _by_number(scaffolds: Tensor, test_size: int) -> Tensor:
    found = _members(scaffolds)
    return _take(
        scaffolds, test_size, [found[name] for name in sorted(found, key=lambda name: (len(found[name]), name))]
    )


def _torn(scaffolds: Tensor, test_size: int) -> Tensor:
    every = [i for members in sorted(_members(scaffolds).values(), key=len) for i in members]
    return _mark(scaffolds, every[:test_size])


def _overfull(scaffolds: Tensor, test_size: int) -> Tensor:
    chosen: list[int] = []
    for members in sorted(_members(scaffolds).values(), key=len):
        if len(chosen) >= test_size:
            break
        chosen += members
    return _mark(scaffolds, chosen)


def _first_molecules(scaffolds: Tensor, test_size: int) -> Tensor:
    return _mark(scaffolds, list(range(test_size)))


def _last_molecules(scaffolds: Tensor, test_size: int) -> Tensor:
    return _mark(scaffolds, list(range(len(scaffolds) - test_size, len(scaffolds))))


def _training(scaffolds: Tensor, test_size: int) -> Tensor:
    return ~_reference(scaffolds, test_size)


def _indices(scaffolds: Tensor, test_size: int) -> Tensor:
    return _reference(scaffolds, test_size).nonzero()[:, 0]


def _singles(scaffolds: Tensor, test_size: int) -> Tensor:
    every = [i for members in _members(scaffolds).values() if len(members) == 1 for i in members]
    return _mark(scaffolds, every[:test_size])


MISTAKES = {
    "You take molecules one at a time, so the last scaffold is torn: some of its molecules are trained on, others "
    "tested. Near copies on both sides are what the split is to prevent.": _torn,
    "You look at the molecules' places, not at their scaffolds: the same scaffold is trained on and tested.": (
        _first_molecules
    ),
    "You take the last molecules. Their scaffolds are trained on as well.": _last_molecules,
    "You stop when the test set is full, after the scaffold that made it overflow. Ask before you add one whether it "
    "still fits.": _overfull,
    "You begin with the most frequent scaffolds. They are what most training molecules should come from; the rare ones "
    "are tested.": _largest_first,
    "You take scaffolds in the order in which they appear. The rarest come first.": _in_order,
    "Among equally rare scaffolds you take the lowest number first. The number is only a name; take the one that "
    "appears first.": _by_number,
    "You marked the training molecules. True is for the test.": _training,
    "You gave back the places of the test molecules. Wanted is True or False for each molecule.": _indices,
    "You test scaffolds of a single molecule only. Larger ones may follow, as long as they fit.": _singles,
}


@exercise(
    "q16.scaffold_split",
    "implement",
    "Split by scaffold",
    minutes=10,
    hints=(
        "Count the molecules of each scaffold first. A dictionary from scaffold to the places of its molecules keeps "
        "the order in which scaffolds appear.",
        "`sorted(groups.values(), key=len)` puts small groups first, and keeps the order of equally large ones. Go "
        "through it, and stop before the first group that would make the test set larger than `test_size`.",
    ),
    then="split 1,193 solubilities with it. How many scaffolds have one molecule only, and what does that say about "
    "the test set?",
)
def scaffold_split(answer, generator: torch.Generator) -> str:
    """Against a version that keeps scaffolds whole."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    return (
        f"{len(cases)} fresh sets of molecules: no scaffold is on both sides, the rare ones are tested, and the test "
        "set is no larger than it may be."
    )
