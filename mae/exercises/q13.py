"""Question 13: one step of unmasking, the surest symbols first."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Lines that are half written: what is visible is nearly certain; lines hide different numbers of symbols."""
    cases = []
    for B, N, V, count in ((1, 4, 3, 1), (2, 5, 3, 2), (3, 8, 4, 2), (4, 10, 6, 3), (6, 12, 5, 4), (8, 9, 5, 3)):
        chances = torch.rand(B, N, V, generator=generator).square().add(0.05)
        drawn = torch.randint(V, (B, N), generator=generator)
        hidden = torch.rand(B, N, generator=generator).argsort(dim=1) < (
            count + 1 + torch.arange(B)[:, None] % (N - count - 1)
        )
        sure = 50 * torch.eye(V)[drawn] * ~hidden[:, :, None]
        # How peaked a place is has nothing to do with the draw: the likeliest symbol is often not the drawn one.
        chances = (chances + sure) / (chances + sure).sum(dim=2, keepdim=True)
        cases.append({"chances": chances, "drawn": drawn, "is_hidden": hidden, "count": count})
    return cases


def _of_the_draw(chances: Tensor, drawn: Tensor) -> Tensor:
    return chances.gather(2, drawn[:, :, None])[:, :, 0]


def _unhide(score: Tensor, allowed: Tensor, is_hidden: Tensor, count: int) -> Tensor:
    """Row by row, make the `count` best of the allowed places visible."""
    out = is_hidden.clone()
    for row, (s, a) in enumerate(zip(score, allowed, strict=True)):
        ranked = sorted(a.nonzero().flatten().tolist(), key=lambda i: -float(s[i]))
        out[row, ranked[:count]] = False
    return out


def _reference(chances, drawn, is_hidden, count):
    return _unhide(_of_the_draw(chances, drawn), is_hidden, is_hidden, count)


def _visible_count(chances, drawn, is_hidden, count):
    return _unhide(_of_the_draw(chances, drawn), torch.ones_like(is_hidden), is_hidden, count)


def _likeliest(chances, drawn, is_hidden, count):
    return _unhide(chances.amax(dim=2), is_hidden, is_hidden, count)


def _least_sure(chances, drawn, is_hidden, count):
    return _unhide(-_of_the_draw(chances, drawn), is_hidden, is_hidden, count)


def _whole_batch(chances, drawn, is_hidden, count):
    score = _of_the_draw(chances, drawn).flatten()[None]
    flat = is_hidden.flatten()[None]
    return _unhide(score, flat, flat, count * len(is_hidden)).view_as(is_hidden)


def _whole_batch_few(chances, drawn, is_hidden, count):
    score = _of_the_draw(chances, drawn).flatten()[None]
    flat = is_hidden.flatten()[None]
    return _unhide(score, flat, flat, count).view_as(is_hidden)


def _chosen(chances, drawn, is_hidden, count):
    return is_hidden & ~_reference(chances, drawn, is_hidden, count)


def _hides_again(chances, drawn, is_hidden, count):
    return ~_chosen(chances, drawn, is_hidden, count)


def _visible(chances, drawn, is_hidden, count):
    return ~_reference(chances, drawn, is_hidden, count)


def _count_left(chances, drawn, is_hidden, count):
    """Leaves `count` hidden, the least sure ones."""
    out = torch.zeros_like(is_hidden)
    for row in range(len(is_hidden)):
        one = slice(row, row + 1)
        left = int(is_hidden[row].sum()) - count
        out[one] = _unhide(_of_the_draw(chances, drawn)[one], is_hidden[one], is_hidden[one], left)
    return out


def _leftmost(chances, drawn, is_hidden, count):
    return _unhide(-torch.arange(is_hidden.shape[1]).expand_as(drawn), is_hidden, is_hidden, count)


MISTAKES = {
    "Places that are visible already take part in your ranking. What stands there is nearly certain, so it uses up the "
    "count, and the line is never finished.": _visible_count,
    "You rank places by their likeliest symbol. What would be written there is the *drawn* one, and that may be an "
    "unlikely one: rank by its probability.": _likeliest,
    "You unmask the symbols that the model is least sure of. Those may change most once others are known.": _least_sure,
    "You rank all lines of the batch together. A line of easy symbols is then finished before a hard one begins: each "
    "line unmasks `count` of its own.": _whole_batch,
    "You unmask `count` symbols in the whole batch. Each line unmasks `count` of its own.": _whole_batch_few,
    "You marked what is unmasked now. Asked for is what is still hidden afterwards.": _chosen,
    "What was visible before is hidden again: all but the newly unmasked places is too much.": _hides_again,
    "Your result is True where a symbol is visible. Keep the meaning of `is_hidden`: True where hidden.": _visible,
    "You leave `count` symbols hidden. `count` says how many become visible in this step.": _count_left,
    "You unmask from left to right. Here the model's certainty decides.": _leftmost,
}


@exercise(
    "q13.unmask",
    "implement",
    "One step of unmasking",
    minutes=10,
    hints=(
        "For each place you need one number: the probability of the symbol that was drawn there. `chances` holds those "
        "of all V symbols, `drawn` says which. Which tensor method picks by index along the last axis?",
        "Visible places must lose against every hidden one: no probability is below zero, so give them less than that. "
        "Then the `count` best of each row are one call, and a copy of `is_hidden` can be set to False there.",
    ),
    then="imagine `count` to be all hidden symbols at once. Which of them know of each other?",
)
def unmask(answer, generator: torch.Generator) -> str:
    """Against a loop over lines and places."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    return (
        f"{len(cases)} fresh batches of half-written lines: in each line the surest draws become visible, as many as "
        "asked for, and nothing else changes."
    )
