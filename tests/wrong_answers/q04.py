"""Wrong answers to the exercise of question 4."""

import torch

from wrong_answers import wrong


def weighted_median(candidates, weights):
    values, order = candidates.sort(dim=0)
    half = (weights[order].cumsum(dim=0) < 0.5).sum(dim=0)
    return values.gather(0, half[None])[0]


def right(candidates, weights):
    mean = weights @ candidates
    return mean, weighted_median(candidates, weights), (weights @ (candidates - mean) ** 2).mean()


@wrong("q04.best_guess", "does not use the probabilities", "four times as hard")
def plain_mean(candidates, weights):
    mean = candidates.mean(0)
    return mean, weighted_median(candidates, weights), ((candidates - mean) ** 2).mean()


@wrong("q04.best_guess", "is the likeliest patch", "right most often")
def most_likely(candidates, weights):
    best = candidates[int(torch.argmax(weights))]
    return best, best, (weights @ (candidates - best) ** 2).mean()


@wrong("q04.best_guess", "the one that absolute error asks for")
def swapped(candidates, weights):
    square, absolute, error = right(candidates, weights)
    return absolute, square, error


@wrong("q04.best_guess", "is the mean, which squared error asks for")
def mean_for_both(candidates, weights):
    square, _, error = right(candidates, weights)
    return square, square, error


@wrong("q04.best_guess", "half of the *probability*")
def plain_median(candidates, weights):
    square, _, error = right(candidates, weights)
    return square, torch.stack([column.median() for column in candidates.T]), error


@wrong("q04.best_guess", "one whole candidate")
def best_candidate(candidates, weights):
    square, _, error = right(candidates, weights)
    costs = [(weights @ (candidates - c).abs()).sum() for c in candidates]
    return square, candidates[costs.index(min(costs))], error


@wrong("q04.best_guess", "absolute error is the likeliest patch")
def mode_for_absolute(candidates, weights):
    square, _, error = right(candidates, weights)
    return square, candidates[weights.argmax()], error


@wrong("q04.best_guess", "summed the squared error over the pixels")
def sums_over_pixels(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    return square, absolute, (weights[:, None] * (candidates - square) ** 2).sum()


@wrong("q04.best_guess", "least error does not use the probabilities")
def error_without_weights(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    return square, absolute, torch.nn.functional.mse_loss(square.expand_as(candidates), candidates)


@wrong("q04.best_guess", "the plain mean of the candidates")
def variance_without_weights(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    return square, absolute, candidates.var(dim=0, correction=0).mean()


@wrong("q04.best_guess", "divides by S − 1")
def sample_variance(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    return square, absolute, candidates.var(dim=0).mean()


@wrong("q04.best_guess", "took a root")
def root_mean_square(candidates, weights):
    square, absolute, error = right(candidates, weights)
    return square, absolute, error**0.5


@wrong("q04.best_guess", "of the likeliest patch. The best guess errs less")
def error_of_the_mode(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    mode = candidates[weights.argmax()]
    return square, absolute, (weights @ (candidates - mode) ** 2).mean()


@wrong("q04.best_guess", "Even the best guess errs")
def no_error(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    return square, absolute, torch.tensor(0.0)


@wrong("q04.best_guess", "Expected three results")
def forgets_the_error(candidates, weights):
    return right(candidates, weights)[:2]


@wrong("q04.best_guess", "In the least expected squared error", "Expected shape ()")
def error_per_pixel(candidates, weights):
    square, absolute, _ = right(candidates, weights)
    return square, absolute, weights @ (candidates - square) ** 2
