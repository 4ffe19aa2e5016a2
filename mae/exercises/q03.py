"""Question 3: hiding patches by an attention mask instead of dropping them."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, compare, exercise


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """Queries, keys, values and masks; examples differ in what they hide, and each leaves a token visible."""
    for B, H, T, d in ((1, 1, 2, 2), (2, 1, 3, 2), (2, 2, 5, 4), (3, 4, 9, 8)):
        q, k, v = (torch.randint(-2, 3, (B, H, T, d), generator=generator).float() for _ in range(3))
        v = v + torch.rand(B, H, T, d, generator=generator)
        hidden = torch.rand(B, T, generator=generator) < 0.5
        for i, row in enumerate(hidden):
            row[i % T], row[(i + 1) % T] = True, False
        yield {"q": q, "k": k, "v": v, "hidden": hidden}


def _dropped(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    """Leave the hidden keys and values out, example by example and head by head."""
    result = torch.zeros_like(q)
    for b, row in enumerate(hidden):
        for h in range(q.shape[1]):
            keys, values = k[b, h, ~row], v[b, h, ~row]
            for t, query in enumerate(q[b, h]):
                weights = torch.exp(keys @ query / math.sqrt(q.shape[-1]))
                result[b, h, t] = (weights / weights.sum()) @ values
    return result


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, T, T)


def _keys(hidden: Tensor) -> Tensor:
    return hidden[:, None, None, :]


def _attend(change: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Attention with the scores changed before the softmax."""
    return lambda q, k, v, hidden: change(_scores(q, k), hidden).softmax(dim=-1) @ v


def _no_weight(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor) -> Tensor:
    return _scores(q, k).softmax(dim=-1).masked_fill(_keys(hidden), 0) @ v


ROWS = (
    "You mask queries, the rows of the scores. A token is hidden when nobody can *look at* it: that is a matter of the "
    "keys."
)
COLUMNS = "Your softmax runs over the queries. For each query, it is the weights of the *keys* that add up to 1."


@exercise(
    "q03.attend",
    "implement",
    "Hide by an attention mask",
    minutes=15,
    hints=(
        "A hidden token must get no weight, and the other weights must still add up to 1. Which score gives no weight "
        "after a softmax?",
        "`hidden[:, None, None, :]` has shape (B, 1, 1, T): it goes with the last axis of the scores, which counts the "
        "keys. `masked_fill` puts −∞ there.",
    ),
    then="hide all tokens of one example. What comes out, and why can that not happen when tokens are dropped?",
)
def attend(answer, generator: torch.Generator) -> str:
    """Attention to the visible keys only, the same as leaving the others out."""
    mistakes = {
        "You set the scores of hidden tokens to 0 (or their keys, which is the same). A score of 0 is not a weight of "
        "0: after the softmax, it is e⁰ = 1 part of the sum.": _attend(lambda s, h: s.masked_fill(_keys(h), 0)),
        "You clear weights after the softmax (or the values, which is the same). What is left no longer adds up to 1: "
        "the output shrinks as more is hidden.": _no_weight,
        "You attend to the hidden tokens and ignore the visible ones: the mask is True where a patch is hidden.": (
            _attend(lambda s, h: s.masked_fill(~_keys(h), -torch.inf))
        ),
        ROWS: _attend(lambda s, h: s.masked_fill(h[:, None, :, None], 0)),  # a large negative number, in every column
        "You clear what hidden tokens receive. They may ask what they like; nobody may look at their keys.": (
            lambda q, k, v, h: (_scores(q, k).softmax(dim=-1) @ v).masked_fill(h[:, None, :, None], 0)
        ),
        "Visible tokens still attend to hidden ones: the mask makes no difference.": _attend(lambda s, h: s),
        "You use the mask of the first example for all. Each example hides tokens of its own.": _attend(
            lambda s, h: s.masked_fill(_keys(h[:1]), -torch.inf)
        ),
        "You forgot to divide the scores by √d.": lambda q, k, v, h: (
            (q @ k.transpose(-2, -1)).masked_fill(_keys(h), -torch.inf).softmax(dim=-1) @ v
        ),
        "You divide the scores by d, not by √d.": lambda q, k, v, h: (
            (_scores(q, k) / q.shape[-1] ** 0.5).masked_fill(_keys(h), -torch.inf).softmax(dim=-1) @ v
        ),
    }
    cases = list(_cases(generator))
    for case in cases:
        got, rows = call(answer, case), case["hidden"][:, None, :, None]
        if not isinstance(got, Tensor) or got.shape != case["q"].shape:
            break  # `compare` says so
        if (got.isnan() == rows).all():
            raise Wrong(ROWS, {**case, "yours": got})
        if got.isnan().all():
            raise Wrong(COLUMNS, {**case, "yours": got})
    return compare(answer, _dropped, cases, mistakes)
