"""Wrong answers to the exercise of question 15."""

import torch

from wrong_answers import wrong


def hide(noise, first, second):
    rank = noise.argsort(dim=-1).argsort(dim=-1)
    return torch.cat([rank[:, 0] >= first[:, None], rank[:, 1] >= second[:, None]], dim=1)


def asked(budget, share, n):
    return (share * budget).round().long().clamp(max(budget - n, 0), min(budget, n))


@wrong("q15.spend", "can't take must go to the other")
def no_limits(budget, share, noise):
    first = (share * budget).round().long()
    return hide(noise, first, budget - first)


@wrong("q15.spend", "but not the second")
def one_limit(budget, share, noise):
    first = torch.minimum((share * budget).round(), torch.tensor(noise.shape[2])).long()
    return hide(noise, first, budget - first)


@wrong("q15.spend", "True where a patch is visible")
def wrong_polarity(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    return ~hide(noise, first, budget - first)


@wrong("q15.spend", "`share` has no effect")
def one_big_shuffle(budget, share, noise):
    hidden = torch.ones(len(noise), noise[0].numel(), dtype=torch.bool)
    return hidden.scatter(1, noise.flatten(1).argsort(dim=1)[:, :budget], False)


@wrong("q15.spend", "half of the budget")
def fifty_fifty(budget, share, noise):
    first = torch.ones(len(share), dtype=torch.long) * (budget // 2)
    return hide(noise, first, budget - first)


@wrong("q15.spend", "each sense has noise of its own")
def shared_noise(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    return hide(torch.stack([noise[:, 0], noise[:, 0]], dim=1), first, budget - first)


@wrong("q15.spend", "which rank a patch has")
def order_for_rank(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    order = noise.argsort(dim=-1)
    return torch.cat([order[:, 0] >= first[:, None], order[:, 1] >= (budget - first)[:, None]], dim=1)


@wrong("q15.spend", "always the same corner")
def no_shuffle(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    place = torch.arange(noise.shape[2])
    return torch.cat([place >= first[:, None], place >= (budget - first)[:, None]], dim=1)


@wrong("q15.spend", "to the second")
def senses_swapped(budget, share, noise):
    second = asked(budget, share, noise.shape[2])
    return hide(noise, budget - second, second)


@wrong("q15.spend", "right on average only")
def coins(budget, share, noise):
    return torch.cat([noise[:, 0] >= share[:, None], noise[:, 1] >= 1 - share[:, None]], dim=1)


@wrong("q15.spend", "not of the patches of the first sense")
def share_of_places(budget, share, noise):
    n = noise.shape[2]
    first = (share * n).round().long().clamp(max(budget - n, 0), min(budget, n))
    return hide(noise, first, budget - first)


@wrong("q15.spend", "Round to the nearest")
def rounds_down(budget, share, noise):
    n = noise.shape[2]
    first = torch.floor(share * budget).long().clamp(max(budget - n, 0), min(budget, n))
    return hide(noise, first, budget - first)


@wrong("q15.spend", "the task asks for the smallest")
def largest_first(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    return hide(1 - noise, first, budget - first)


@wrong("q15.spend", "how many stay visible")
def hides_the_budget(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    return ~hide(1 - noise, first, budget - first)


@wrong("q15.spend", "Expected shape")
def two_rows(budget, share, noise):
    first = asked(budget, share, noise.shape[2])
    return hide(noise, first, budget - first).view(len(share), 2, -1)
