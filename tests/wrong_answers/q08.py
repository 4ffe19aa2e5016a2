"""Wrong answers to the exercise of question 8."""

import math

import torch

from wrong_answers import wrong


def seen(k, T, s):
    n = T // s
    return min(k % n, n - k % n)


def left(k, T, s):
    t = torch.arange(T)
    return torch.exp(2j * math.pi * k * t / T).reshape(T // s, s).mean(dim=-1).abs()[0].item()


@wrong("q08.alias", "before it was sampled")
def no_alias(k, T, s):
    return k, left(k, T, s)


@wrong("q08.alias", "You took the remainder")
def remainder(k, T, s):
    return k % (T // s), left(k, T, s)


@wrong("q08.alias", "at the number of all samples")
def folds_too_late(k, T, s):
    return min(k, T - k), left(k, T, s)


@wrong("q08.alias", "cut the frequency off")
def cuts_off(k, T, s):
    highest = T / s / 2
    return (k if k < highest else int(highest)), left(k, T, s)


@wrong("q08.alias", "keeping loses none of it")
def full_amplitude(k, T, s):
    return seen(k, T, s), 1


@wrong("q08.alias", "does not remove all of them")
def perfect_filter(k, T, s):
    return seen(k, T, s), (left(k, T, s) if 2 * k * s <= T else 0)


@wrong("q08.alias", "Expected 2 results")
def frequency_alone(k, T, s):
    return seen(k, T, s)


@wrong("q08.alias", "Result 2 of 2")
def squared_amplitude(k, T, s):
    return seen(k, T, s), left(k, T, s) ** 2
