"""Question 4: what squared error asks for, and what absolute error asks for."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Possible patches and their probabilities, no part of which adds up to one half."""
    cases = []
    for S, P in ((3, 2), (4, 3), (5, 4), (8, 16)):
        while True:
            columns = [torch.randperm(10 * S, generator=generator)[:S] for _ in range(P)]
            candidates = torch.stack(columns, dim=1).float()
            raw = torch.randint(1, 10, (S,), generator=generator) ** 2
            sums = {0}
            for weight in raw.tolist():
                sums |= {total + weight for total in sums}
            weights = raw / raw.sum()
            confusable = S > 5 and (_medoid(candidates, weights) == _likeliest(candidates, weights)).all()
            if len(raw.unique()) > 1 and not any(2 * total == int(raw.sum()) for total in sums) and not confusable:
                break
        cases.append({"candidates": candidates, "weights": weights})
    return cases


def _squared(candidates: Tensor, weights: Tensor) -> Tensor:
    guess = torch.zeros(candidates.shape[1])
    for candidate, weight in zip(candidates, weights, strict=True):
        guess += weight * candidate
    return guess


def _absolute(candidates: Tensor, weights: Tensor) -> Tensor:
    """Of the values that a pixel can take, the one with the least expected absolute error: try them all."""
    errors = ((candidates[:, None] - candidates[None]).abs() * weights[None, :, None]).sum(dim=1)  # (S, P)
    return candidates.gather(0, errors.argmin(dim=0, keepdim=True))[0]


def _least(candidates: Tensor, weights: Tensor, guess: Tensor | None = None) -> Tensor:
    guess = _squared(candidates, weights) if guess is None else guess
    return (weights[:, None] * (candidates - guess) ** 2).sum(dim=0).mean()


def _likeliest(candidates: Tensor, weights: Tensor) -> Tensor:
    return candidates[weights.argmax()]


def _medoid(candidates: Tensor, weights: Tensor) -> Tensor:
    errors = (candidates[:, None] - candidates[None]).abs().sum(dim=2) @ weights
    return candidates[errors.argmin()]


PARTS: tuple[tuple[str, Callable, Mapping[str, Callable]], ...] = (
    (
        "the guess for squared error",
        _squared,
        {
            "Your guess for squared error does not use the probabilities: a patch that is four times as likely must "
            "pull four times as hard.": lambda c, w: c.mean(dim=0),
            "Your guess for squared error is the likeliest patch. It is right most often, and pays dearly when it is "
            "not: squared error has another optimum.": _likeliest,
            "Your guess for squared error is the one that absolute error asks for. Set the derivative of the expected "
            "square to zero.": _absolute,
        },
    ),
    (
        "the guess for absolute error",
        _absolute,
        {
            "Your guess for absolute error is the mean, which squared error asks for. The derivative of an absolute "
            "value is only a sign: what does balance then mean?": _squared,
            "Your guess for absolute error does not use the probabilities: half of the *probability*, not half of the "
            "candidates, must lie on either side.": lambda c, w: c.median(dim=0).values,
            "Your guess for absolute error is the likeliest patch. The loss is a sum over pixels: each pixel finds its "
            "own optimum.": _likeliest,
            "Your guess for absolute error is one whole candidate. The loss is a sum over pixels: each pixel finds its "
            "own optimum, and the result need not be any of the candidates.": _medoid,
        },
    ),
    (
        "the least expected squared error",
        _least,
        {
            "You summed the squared error over the pixels of a patch; the loss is their mean.": lambda c, w: (
                _least(c, w) * c.shape[1]
            ),
            "Your least error does not use the probabilities of the patches.": lambda c, w: (
                (c - _squared(c, w)) ** 2
            ).mean(),
            "Your least error is that of another guess, the plain mean of the candidates.": lambda c, w: c.var(
                dim=0, unbiased=False
            ).mean(),
            "Your least error divides by S − 1, as an estimate from a sample does. Here the probabilities are "
            "known.": lambda c, w: c.var(dim=0).mean(),
            "Your least error is the error of the likeliest patch. The best guess errs less.": lambda c, w: _least(
                c, w, _likeliest(c, w)
            ),
            "You took a root. The squared error itself is asked for.": lambda c, w: _least(c, w).sqrt(),
            "You gave the error of the best guess for one whole batch of candidates as 0. Even the best guess errs: "
            "what it can't know is left.": lambda c, w: torch.zeros(()),
        },
    ),
)


@exercise(
    "q04.best_guess",
    "implement",
    "The best single guess",
    minutes=15,
    hints=(
        "The expected loss is a sum over pixels, so each pixel has its own optimum. For the square, set the derivative "
        "of the sum over candidates to zero. For the absolute value, the derivative counts only the signs.",
        "Absolute error: sort the values of a pixel, take their weights along, and add the weights up from the "
        "smallest value. Where do they pass one half? `sort` gives the order, `weights[order]` has shape (S, P).",
    ),
    then="let one of two equally likely patches become likelier in small steps. Which of the two guesses jumps?",
)
def best_guess(answer, generator: torch.Generator) -> str:
    """Mean, weighted median and variance, each against a slow version."""
    cases = _cases(generator)
    for case in cases:
        got = call(answer, case)
        if got is None:
            raise Wrong("Your function returns None. Is a `return` missing?", case)
        if not isinstance(got, tuple | list) or len(got) != 3:
            raise Wrong("Expected three results: two guesses and a number.", {**case, "yours": got})
    for i, (name, reference, mistakes) in enumerate(PARTS):
        try:
            compare(lambda c, w, i=i: answer(c, w)[i], reference, cases, mistakes)
        except Wrong as verdict:
            known = verdict.idea in mistakes
            raise Wrong(verdict.idea if known else f"In {name}: {verdict.idea}", verdict.example) from None
    return (
        f"{len(cases)} fresh sets of candidates: your guesses agree with a slow search for the best, and the error "
        "that is left is the variance."
    )
