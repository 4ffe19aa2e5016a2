"""Question 9: views and their originals stay on the same side of a split."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, compare, exercise


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """Shuffled rows of originals and of their views; the held-out ones include an original without views."""
    for originals, views, held in ((3, 3, 1), (4, 6, 2), (6, 14, 2), (9, 40, 4)):
        names = torch.randperm(3 * originals, generator=generator)[:originals]
        held_out = names[:held]
        of = torch.cat([held_out[:1], names[-1:], names[torch.randint(originals, (views - 2,), generator=generator)]])
        source = torch.cat([names, of])
        is_view = torch.arange(len(source)) >= originals
        order = torch.randperm(len(source), generator=generator)
        yield {"source": source[order], "is_view": is_view[order], "held_out": held_out}


def _rows(choose: Callable[[int, bool, set], bool]) -> Callable:
    """The rows of which a rule says yes, one after the other."""

    def rows(source: Tensor, is_view: Tensor, held_out: Tensor) -> Tensor:
        held = set(held_out.tolist())
        pairs = zip(source.tolist(), is_view.tolist(), strict=True)
        return torch.tensor([i for i, (s, v) in enumerate(pairs) if choose(s, v, held)], dtype=torch.int64)

    return rows


def _both(train: Callable, test: Callable) -> Callable:
    return lambda *case: (_rows(train)(*case), _rows(test)(*case))


def _train(s: int, v: bool, held: set) -> bool:
    return s not in held


def _test(s: int, v: bool, held: set) -> bool:
    return s in held and not v


_right = _both(_train, _test)


def _by_row(source: Tensor, is_view: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Take the numbers of the held-out originals for numbers of rows."""
    rows = torch.arange(len(source))
    return rows[~torch.isin(rows, held_out)], rows[torch.isin(rows, held_out)]


LEAK = (
    "Your training rows hold views of held-out originals. Most of such a view is copied from its original, so you "
    "train on what you test with."
)
VIEWS = (
    "Your test rows hold views. You are asked how well the classifier does on real digits, and a view is filled in by "
    "a model: test on originals only."
)
ALONE = (
    "Your training rows hold no views, so nothing is augmented. Views of originals that are not held out belong there."
)

MISTAKES = {
    LEAK: _both(lambda s, v, held: not _test(s, v, held), _test),
    VIEWS: _both(_train, lambda s, v, held: s in held),
    ALONE: _both(lambda s, v, held: s not in held and not v, _test),
    "You give the two parts in the wrong order: training rows come first.": lambda *case: _right(*case)[::-1],
    "You split views from originals: all views train, whatever they were made from. Look at `source`.": _both(
        lambda s, v, held: v, lambda s, v, held: not v
    ),
    "You take `held_out` for numbers of rows. It names originals, which stand in `source`.": _by_row,
    "You give one True or False for each row. The numbers of the rows are asked for.": lambda source, is_view, held: (
        ~torch.isin(source, held),
        torch.isin(source, held) & ~is_view,
    ),
    "You give the numbers of the originals, from `source`. The numbers of the *rows* are asked for.": (
        lambda source, is_view, held: tuple(source[i] for i in _right(source, is_view, held))
    ),
}


@exercise(
    "q09.split_views",
    "implement",
    "A split that does not leak",
    minutes=10,
    hints=(
        "Ask two questions of every row: is its original held out, and is it a view? Of the four kinds of rows, which "
        "one trains, which one tests, and which one is thrown away?",
        "`torch.isin(source, held_out)` answers the first question for all rows at once. `nonzero` turns a condition "
        "into numbers of rows, as (rows, 1).",
    ),
    then="how many rows do you throw away, when each original has ten views and a fifth of the originals is held out?",
)
def split_views(answer, generator: torch.Generator) -> str:
    """Training and test rows, in any order, against a loop over the rows."""
    cases = list(_cases(generator))
    for case in cases:
        got = call(answer, case)
        if got is None:
            raise Wrong("Your function returns None. Is a `return` missing?", case)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Wrong("Expected two results: training rows and test rows.", {**case, "yours": got})

    def sorted_rows(*case):
        return tuple(
            part.sort().values if isinstance(part, Tensor) and part.ndim == 1 and part.dtype == torch.int64 else part
            for part in answer(*case)
        )

    compare(sorted_rows, _right, cases, {m: _sorted(f) for m, f in MISTAKES.items()})
    return (
        f"{len(cases)} fresh sets of rows: no view of a held-out original trains, no view tests, and no other row is "
        "left out."
    )


def _sorted(function: Callable) -> Callable:
    return lambda *case: tuple(p if p.dtype == torch.bool else p.sort().values for p in function(*case))
