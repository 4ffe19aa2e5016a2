"""Wrong answers to the exercise of question 21."""

import torch

from wrong_answers import wrong


def highest(scores, count):
    """The score that exactly ``count`` scores exceed."""
    return torch.topk(scores, count + 1).values[-1]


def passing(scores, threshold):
    return (scores > threshold).float().mean()


@wrong("q21.true_match_rate", "from the pairs of the *same* person")
def threshold_from_matches(same, other, rate):
    t = highest(same, int(rate * len(same)))
    return t, passing(same, t)


@wrong("q21.true_match_rate", "from all pairs together")
def threshold_from_all(same, other, rate):
    everything = torch.cat([other, same])
    t = highest(everything, int(rate * len(everything)))
    return t, passing(same, t)


@wrong("q21.true_match_rate", "at the wrong end")
def lowest(same, other, rate):
    t = -highest(-other, int(rate * len(other)))
    return t, passing(same, t)


@wrong("q21.true_match_rate", "between two scores")
def interpolates(same, other, rate):
    t = other.quantile(1 - rate)
    return t, passing(same, t)


@wrong("q21.true_match_rate", "one stranger too many")
def one_too_many(same, other, rate):
    t = highest(other, int(rate * len(other)) + 1)
    return t, passing(same, t)


@wrong("q21.true_match_rate", "too strict by one stranger")
def one_too_few(same, other, rate):
    t = highest(other, int(rate * len(other)) - 1)
    return t, passing(same, t)


@wrong("q21.true_match_rate", "lets no stranger in")
def no_false_match(same, other, rate):
    return other.max(), passing(same, other.max())


@wrong("q21.true_match_rate", "*at* the threshold")
def accepts_equal_scores(same, other, rate):
    t = highest(other, int(rate * len(other)))
    return t, (same >= t).float().mean()


@wrong("q21.true_match_rate", "the rate of false matches")
def false_matches(same, other, rate):
    t = highest(other, int(rate * len(other)))
    return t, passing(other, t)


@wrong("q21.true_match_rate", "share of right answers over all pairs")
def accuracy(same, other, rate):
    t = highest(other, int(rate * len(other)))
    return t, ((same > t).sum() + (other <= t).sum()) / (len(same) + len(other))


@wrong("q21.true_match_rate", "*rejected*")
def rejected(same, other, rate):
    t = highest(other, int(rate * len(other)))
    return t, 1 - passing(same, t)


@wrong("q21.true_match_rate", "not a share")
def counts(same, other, rate):
    t = highest(other, int(rate * len(other)))
    return t, (same > t).sum()


@wrong("q21.true_match_rate", "Expected two results")
def threshold_only(same, other, rate):
    return highest(other, int(rate * len(other)))
