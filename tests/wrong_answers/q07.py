"""Wrong answers to the exercise of question 7."""

import torch

from wrong_answers import wrong


def mix(observed, missing, predicted, weight):
    mixed = weight * observed + (1 - weight) * predicted
    return torch.where(missing, predicted, mixed)


@wrong("q07.put_together", "weight by deviations")
def deviations(observed, missing, noise, predicted, doubt):
    return mix(observed, missing, predicted, (1 / noise) / (1 / noise + 1 / doubt))


@wrong("q07.put_together", "wrong way round")
def swapped(observed, missing, noise, predicted, doubt):
    return mix(observed, missing, predicted, noise.square() / (noise.square() + doubt.square()))


@wrong("q07.put_together", "plain mean of both")
def average(observed, missing, noise, predicted, doubt):
    return mix(observed, missing, predicted, 0.5)


@wrong("q07.put_together", "masking throws it away")
def prediction_only(observed, missing, noise, predicted, doubt):
    return predicted.clone()


@wrong("q07.put_together", "keep every observed entry")
def observation_only(observed, missing, noise, predicted, doubt):
    result = predicted.clone()
    seen = ~missing
    result[seen] = observed[seen]
    return result


@wrong("q07.put_together", "Together they are better")
def better_of_two(observed, missing, noise, predicted, doubt):
    return torch.where((noise < doubt) & ~missing, observed, predicted)


@wrong("q07.put_together", "placeholder -999")
def lets_the_placeholder_in(observed, missing, noise, predicted, doubt):
    a, b = noise**-2, doubt**-2
    return (a * observed + b * predicted) / (a + b)


@wrong("q07.put_together", "an observation of zero")
def zero_for_missing(observed, missing, noise, predicted, doubt):
    a, b = noise**-2, doubt**-2
    return (a * torch.where(missing, 0.0, observed) + b * predicted) / (a + b)


@wrong("q07.put_together", "left at zero")
def missing_stay_empty(observed, missing, noise, predicted, doubt):
    mixed = (doubt**2 * observed + noise**2 * predicted) / (doubt**2 + noise**2)
    return mixed * ~missing


@wrong("q07.put_together", "changes `observed` in place")
def in_place(observed, missing, noise, predicted, doubt):
    observed[missing] = predicted[missing]
    w = doubt**2 / (doubt**2 + noise**2)
    return w * observed + (1 - w) * predicted
