"""Wrong answers to the exercises of chapter 3."""

import torch

from wrong_answers import wrong


@wrong("principle.unshuffle", "the shuffle again, not its inverse")
def gathers_by_order(shuffled, order):
    return torch.stack([tokens[places] for tokens, places in zip(shuffled, order, strict=True)])


@wrong("principle.unshuffle", "sort by the values")
def sorts_the_tokens(shuffled, order):
    return torch.sort(shuffled, dim=1)[0]


@wrong("principle.unshuffle", "the order of the first")
def uses_one_order_for_all(shuffled, order):
    return shuffled[:, torch.argsort(order[0])]


@wrong("principle.unshuffle", "return the indices")
def returns_the_places(shuffled, order):
    return torch.argsort(order, dim=-1)


@wrong("principle.unshuffle", "IndexError")
def gathers_along_the_batch(shuffled, order):
    return shuffled[order.argsort(dim=1)]


@wrong("principle.unshuffle", "changes `shuffled` in place")
def writes_into_the_input(shuffled, order):
    shuffled.scatter_(1, order[:, :, None].expand_as(shuffled), shuffled.clone())
    return shuffled
