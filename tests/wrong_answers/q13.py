"""Wrong answers to the exercise of question 13."""

import torch

from wrong_answers import wrong


def certainty(chances, drawn):
    return torch.gather(chances, -1, drawn[..., None]).squeeze(-1)


def reveal(is_hidden, places):
    return is_hidden & ~torch.zeros_like(is_hidden).scatter(1, places, True)


@wrong("q13.unmask", "take part in your ranking")
def forgets_what_is_visible(chances, drawn, is_hidden, count):
    return reveal(is_hidden, certainty(chances, drawn).topk(count).indices)


@wrong("q13.unmask", "by their likeliest symbol")
def by_the_maximum(chances, drawn, is_hidden, count):
    score = chances.max(dim=-1).values.masked_fill(~is_hidden, -1)
    return reveal(is_hidden, score.topk(count).indices)


@wrong("q13.unmask", "least sure of")
def ascending(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, 2)
    return reveal(is_hidden, score.argsort(dim=1)[:, :count])


@wrong("q13.unmask", "all lines of the batch together")
def one_ranking(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, -1)
    threshold = score.flatten().sort(descending=True).values[count * len(score) - 1]
    return is_hidden & (score < threshold)


@wrong("q13.unmask", "in the whole batch")
def count_for_all(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, -1)
    new = is_hidden.clone().flatten()
    new[score.flatten().topk(count).indices] = False
    return new.view(is_hidden.shape)


@wrong("q13.unmask", "marked what is unmasked now")
def says_which(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, -1)
    return torch.zeros_like(is_hidden).scatter(1, score.topk(count).indices, True)


@wrong("q13.unmask", "hidden again")
def starts_from_all_hidden(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, -1)
    return torch.ones_like(is_hidden).scatter(1, score.topk(count).indices, False)


@wrong("q13.unmask", "True where hidden")
def other_polarity(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, -1)
    return ~reveal(is_hidden, score.topk(count).indices)


@wrong("q13.unmask", "how many become visible")
def count_stays_hidden(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, 2)
    return torch.zeros_like(is_hidden).scatter(1, score.topk(count, largest=False).indices, True)


@wrong("q13.unmask", "from left to right")
def in_reading_order(chances, drawn, is_hidden, count):
    return is_hidden & (is_hidden.cumsum(dim=1) > count)


@wrong("q13.unmask", "in place")
def alters_its_input(chances, drawn, is_hidden, count):
    score = certainty(chances, drawn).masked_fill(~is_hidden, -1)
    is_hidden[torch.arange(len(score))[:, None], score.topk(count).indices] = False
    return is_hidden
