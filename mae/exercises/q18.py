"""Question 18: the mean of the words of a sentence, not of its padding."""

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Sentences of different lengths, one of them as long as the batch is wide."""
    cases = []
    for B, N, D in ((1, 3, 2), (2, 4, 2), (3, 6, 4), (5, 9, 3)):
        lengths = torch.randint(1, N, (B,), generator=generator)
        if B > 1:
            lengths[-1] = N
        cases.append({"tokens": 3 + torch.randn(B, 1 + N, D, generator=generator), "lengths": lengths})
    return cases


def _is_word(tokens: Tensor, lengths: Tensor) -> Tensor:
    """(B, N, 1), float: 1 for a word, 0 for padding."""
    return (torch.arange(tokens.shape[1] - 1) < lengths[:, None])[:, :, None].to(tokens)


def _reference(tokens: Tensor, lengths: Tensor) -> Tensor:
    rows = [x[1 : 1 + n].sum(dim=0) / max(n, 1) for x, n in zip(tokens, lengths.tolist(), strict=True)]
    return torch.stack(rows)


def _all_places(tokens, lengths):
    return tokens[:, 1:].mean(dim=1)


def _all_with_class(tokens, lengths):
    return tokens.mean(dim=1)


def _class_only(tokens, lengths):
    return tokens[:, 0]


def _words_with_class(tokens, lengths):
    rows = [x[: 1 + n].mean(dim=0) for x, n in zip(tokens, lengths.tolist(), strict=True)]
    return torch.stack(rows)


def _shifted(tokens, lengths):
    rows = [x[:n].sum(dim=0) / max(n, 1) for x, n in zip(tokens, lengths.tolist(), strict=True)]
    return torch.stack(rows)


def _divided_by_places(tokens, lengths):
    return (tokens[:, 1:] * _is_word(tokens, lengths)).mean(dim=1)


def _sum(tokens, lengths):
    return (tokens[:, 1:] * _is_word(tokens, lengths)).sum(dim=1)


def _padding(tokens, lengths):
    padding = 1 - _is_word(tokens, lengths)
    return (tokens[:, 1:] * padding).sum(dim=1) / padding.sum(dim=1).clamp(min=1)


def _mean_length(tokens, lengths):
    return (tokens[:, 1:] * _is_word(tokens, lengths)).sum(dim=1) / lengths.to(tokens).mean()


def _maximum(tokens, lengths):
    hidden = _is_word(tokens, lengths) == 0
    return tokens[:, 1:].masked_fill(hidden, -torch.inf).amax(dim=1)


MISTAKES = {
    "You averaged over all N places: the padding counts, and the shorter a sentence, the more its features are those "
    "of padding.": _all_places,
    "You averaged over all tokens, padding and class token included. Only words count here.": _all_with_class,
    "You gave back the class token. That is another way to pool; here the words are asked for.": _class_only,
    "You left out the padding, but the class token counts. It is the first token, before the words.": _words_with_class,
    "Your words are shifted by one: token 0 is the class token, so the words begin at 1.": _shifted,
    "Padding adds nothing to your sum, but you divided by all N places: short sentences get short vectors.": (
        _divided_by_places
    ),
    "You gave back the sum. Divide by the number of words, or length is what the classifier sees first.": _sum,
    "You averaged the padding. A place is a word if its number, from 0, is below the length.": _padding,
    "You divided all rows by one number, the mean length. Each sentence has its own length.": _mean_length,
    "You took the largest value of the words. That is another way to pool; here the mean is asked for.": _maximum,
}


@exercise(
    "q18.mean_of_words",
    "implement",
    "Average words, not padding",
    minutes=8,
    hints=(
        "Give each place a weight: 1 for a word, 0 for padding. Then the mean is a sum of weight times token, divided "
        "by a sum of weights. Which of the two sums could be zero?",
        "`torch.arange(N) < lengths[:, None]` is (B, N), True where a word stands. Take the class token off first; "
        "and do not divide by less than one word.",
    ),
    then="put NaN where the padding is. Is your mean still right? A weight of zero does not remove a NaN.",
)
def mean_of_words(answer, generator: torch.Generator) -> str:
    """Against one sentence at a time; the last batch has a sentence without words."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    empty = {"tokens": 3 + torch.randn(2, 4, 2, generator=generator), "lengths": torch.tensor([2, 0])}
    result = call(answer, empty)
    if isinstance(result, Tensor) and not result.isfinite().all():
        raise Wrong(
            "A sentence without words became NaN or infinity: one empty row spoils the loss of the whole batch. Let it "
            "be zeros.",
            {**empty, "yours": result},
        )
    compare(answer, _reference, [empty], {})
    return (
        f"{len(cases) + 1} fresh batches of sentences of different lengths, one sentence without words: each mean is "
        "that of its own words alone."
    )
