"""Question 10: from errors under many masks to a map of what is strange."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, compare, exercise


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """Errors of all patches and what was hidden; each case has a patch that no mask hides."""
    for S, B, N, M in ((2, 1, 3, 1), (3, 2, 4, 2), (4, 2, 6, 3), (6, 3, 16, 4)):
        errors = torch.randint(1, 50, (S, B, N), generator=generator).float()
        hidden = torch.zeros(S, B, N, dtype=torch.bool)
        for b in range(B):
            while True:
                places = torch.rand(S, N, generator=generator).argsort(dim=1)[:, :M]
                never = int(torch.randint(N, (), generator=generator))
                places[places == never] = (never + 1) % N
                row = torch.zeros(S, N, dtype=torch.bool).scatter(1, places, True)
                counts = row.sum(dim=0)
                if S == 2 or ((counts == 0).any() and len(counts[counts > 0].unique()) > 1):
                    break
            hidden[:, b] = row
        if S == 2:  # the smallest: one patch hidden twice, or two once; make the counts differ
            hidden[:, 0] = torch.tensor([[True, False, True], [True, False, False]])
        yield {"errors": errors, "is_hidden": hidden}


def _map(errors: Tensor, hidden: Tensor) -> Tensor:
    S, B, N = errors.shape
    found = torch.zeros(B, N)
    for b in range(B):
        for n in range(N):
            seen = [errors[s, b, n] for s in range(S) if hidden[s, b, n]]
            if seen:
                found[b, n] = sum(seen) / len(seen)
    return found


def _score(errors: Tensor, hidden: Tensor) -> Tensor:
    found, ever = _map(errors, hidden), hidden.any(dim=0)
    return torch.stack([row[some].mean() for row, some in zip(found, ever, strict=True)])


PARTS: tuple[tuple[str, Callable, Mapping[str, Callable]], ...] = (
    (
        "the map",
        _map,
        {
            "You average over all masks. Where a patch is visible the model was never asked for it, and its error "
            "there says nothing: leave it out.": lambda e, h: e.mean(dim=0),
            "You divide by the number of masks. A patch that was hidden twice must be divided by two, or rarely hidden "
            "ones look normal.": lambda e, h: (e * h).mean(dim=0),
            "You add up without dividing: a patch then looks strange because it was hidden often.": lambda e, h: (
                e * h
            ).sum(dim=0),
            "You average over the masks in which the patch was visible. It is the others that ask whether its "
            "surroundings predict it.": lambda e, h: (e * ~h).sum(dim=0) / (~h).sum(dim=0).clamp(min=1),
            "You take the worst of the masks. One unlucky mask then decides, and more masks make everything "
            "stranger.": lambda e, h: (e * h).amax(dim=0),
            "You take the best of the masks. One lucky mask then hides a defect.": lambda e, h: (
                e.masked_fill(~h, torch.inf).amin(dim=0).masked_fill(~h.any(dim=0), 0)
            ),
        },
    ),
    (
        "the score",
        _score,
        {
            "Your score counts patches that no mask hid as perfectly predicted. Nothing is known of them: leave them "
            "out of the mean.": lambda e, h: _map(e, h).mean(dim=1),
            "Your score is the mean over all hidden patches of all masks: a patch that was hidden often counts more. "
            "Take the mean of the map instead.": lambda e, h: (e * h).sum(dim=(0, 2)) / h.sum(dim=(0, 2)),
            "Your score is the worst patch. It is a good score for small defects, but here the mean is asked "
            "for.": lambda e, h: _map(e, h).amax(dim=1),
            "Your score is one number for the batch. Each image has its own.": lambda e, h: _score(e, h).mean(),
            "Your score is the sum of the map: an image with more known patches then looks stranger.": lambda e, h: (
                _map(e, h).sum(dim=1)
            ),
        },
    ),
)


@exercise(
    "q10.anomaly_map",
    "implement",
    "Average over the masks",
    minutes=15,
    hints=(
        "For each patch there are two sums over the masks: of its errors where it was hidden, and of how often it was "
        "hidden. Which of the two can be 0?",
        "`is_hidden.sum(dim=0)` has shape (B, N); `clamp(min=1)` makes it safe to divide by. For the score, do the "
        "same once more over patches: which of them were hidden at least once?",
    ),
    then="how many masks does it take until a patch of sixteen, a quarter hidden, is almost surely hidden once?",
)
def anomaly_map(answer, generator: torch.Generator) -> str:
    """Map and score, each against a slow version."""
    cases = list(_cases(generator))
    for case in cases:
        got = call(answer, case)
        if got is None:
            raise Wrong("Your function returns None. Is a `return` missing?", case)
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Wrong("Expected two results: the map (B, N) and the score (B,).", {**case, "yours": got})
        if isinstance(got[0], Tensor) and got[0].isnan().any():
            raise Wrong(
                "Your map holds NaN where a patch was never hidden: 0 divided by 0. Put a 0 there.",
                {**case, "yours": got},
            )
    for i, (name, reference, mistakes) in enumerate(PARTS):
        try:
            compare(lambda e, h, i=i: answer(e, h)[i], reference, cases, mistakes)
        except Wrong as verdict:
            known = verdict.idea in mistakes
            raise Wrong(verdict.idea if known else f"In {name}: {verdict.idea}", verdict.example) from None
    return f"{len(cases)} fresh sets of errors and masks agree with a slow version, patches that were never hidden too."
