"""Question 8: what is left of a wave when only some of its samples are kept."""

import math

import torch

from mae.exercises.engine import compare, exercise


def _alias(cycles: int, length: int, every: int) -> tuple[int, float]:
    """By looking: the slowest wave with the same kept samples, and the amplitude of the means, from their spectrum."""
    places = torch.arange(length, dtype=torch.float64)
    wave = torch.exp(2j * math.pi * cycles * places / length)  # all phases of a wave at once
    kept = wave[::every]
    for slow in range(length):
        candidate = torch.exp(2j * math.pi * slow * places / length)[::every]
        if torch.allclose(candidate, kept, atol=1e-6) or torch.allclose(candidate.conj(), kept, atol=1e-6):
            break
    means = wave.view(-1, every).mean(dim=1)
    return slow, float(means.abs().mean())


def _left(cycles: int, length: int, every: int) -> float:
    return _alias(cycles, length, every)[1]


MISTAKES = {
    "Your frequency is that of the wave before it was sampled. Which slower wave goes through the same samples?": (
        lambda k, n, s: (k, _left(k, n, s))
    ),
    "You took the remainder, and that is not always the slowest: a wave that turns nearly once from one sample to the "
    "next looks as if it turned slowly backwards.": lambda k, n, s: (k % (n // s), _left(k, n, s)),
    "You folded at the number of all samples. Only those that are kept decide what is seen.": lambda k, n, s: (
        min(k % n, n - k % n),
        _left(k, n, s),
    ),
    "You cut the frequency off at the highest that the kept samples can show. A faster wave does not stop there: it "
    "comes back as a slower one.": lambda k, n, s: (min(k, n // s // 2), _left(k, n, s)),
    "Your amplitude is that of kept samples: keeping loses none of it. Taking the mean of neighbours does.": (
        lambda k, n, s: (_alias(k, n, s)[0], 1.0)
    ),
    "Your amplitude is 0 for what is too fast. The mean weakens fast waves; it does not remove all of them.": (
        lambda k, n, s: (_alias(k, n, s)[0], _left(k, n, s) if k <= n // s // 2 else 0.0)
    ),
}


@exercise(
    "q08.alias",
    "implement",
    "What is left of a wave",
    minutes=15,
    hints=(
        "From one kept sample to the next the wave turns by k·s/T of a full turn. Only the part of it that is not "
        "whole can be seen, and turning by nine tenths looks like turning back by one tenth.",
        "For the means, try it: build the wave as `torch.exp(2j · π · k · t / T)`, whose size is 1 everywhere, reshape "
        "to (T / s, s), take the mean over the last axis, and look at its size.",
    ),
    then="find k where the means are 0 although the kept samples are not. Why does a camera want that?",
)
def alias(answer, generator: torch.Generator) -> str:
    """Frequency seen in kept samples, amplitude left in means, against a search."""
    fixed = [(1, 32, 4), (5, 32, 4), (7, 32, 4), (11, 32, 4), (19, 32, 4), (3, 24, 3)]
    drawn = []
    for every in (2, 3, 4, 5):
        length = every * int(torch.randint(6, 13, (), generator=generator))
        drawn.append(
            (int(torch.randint(length // every // 2 + 1, length // 2, (), generator=generator)), length, every)
        )
    cases = [{"k": k, "T": T, "s": s} for k, T, s in fixed + drawn]

    def pair(k: int, T: int, s: int):
        result = answer(k, T, s)
        return tuple(map(float, result)) if isinstance(result, tuple | list) and len(result) == 2 else result

    compare(pair, lambda k, n, s: tuple(map(float, _alias(k, n, s))), cases, MISTAKES)
    return f"{len(cases)} waves: a search finds the same slow wave behind the kept samples, and the same amplitude."
