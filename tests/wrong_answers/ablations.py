"""Wrong answers to the exercises of chapter 7."""

import statistics

import numpy as np

from wrong_answers import wrong, wrong_value


def deviation(scores):
    """Of all settings, pooled."""
    centred = np.concatenate([s - np.mean(s) for s in scores])
    return np.sqrt(np.sum(centred**2) / (len(centred) - len(scores)))


def added(scores, base, change):
    return 100 * (scores[change].mean() - scores[base].mean())


def roots(scores, base, change):
    return 1 / np.sqrt(len(scores[change])), 1 / np.sqrt(len(scores[base]))


@wrong("ablations.margin", "divide the squares by the number of scores", "nearly a fifth")
def population(scores, base, change):
    centred = np.concatenate([s - s.mean() for s in scores])
    error = centred.std() * np.hypot(*roots(scores, base, change))
    return added(scores, base, change), 200 * error


@wrong("ablations.margin", "one degree of freedom for all")
def one_degree(scores, base, change):
    centred = np.concatenate([s - s.mean() for s in scores])
    error = centred.std(ddof=1) * np.hypot(*roots(scores, base, change))
    return added(scores, base, change), 200 * error


@wrong("ablations.margin", "one mean of all scores", "counts as noise.")
def around_one_mean(scores, base, change):
    spread = statistics.stdev([float(x) for s in scores for x in s])
    return added(scores, base, change), 200 * spread * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "average the deviations", "Squares are what adds up")
def mean_deviation(scores, base, change):
    spread = sum(s.std(ddof=1) for s in scores) / len(scores)
    return added(scores, base, change), 200 * spread * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "average the variances", "degrees of freedom")
def mean_variance(scores, base, change):
    spread = np.sqrt(sum(statistics.variance(s.tolist()) for s in scores) / len(scores))
    return added(scores, base, change), 200 * spread * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "from the two settings alone", "close together by chance")
def own_spread(scores, base, change):
    new, old = scores[change], scores[base]
    error = np.sqrt(new.var(ddof=1) / len(new) + old.var(ddof=1) / len(old))
    return added(scores, base, change), 200 * error


@wrong("ablations.margin", "from the two settings alone", "`ddof=1`")
def own_spread_of_numpy(scores, base, change):
    new, old = scores[change], scores[base]
    error = (np.std(new) ** 2 / len(new) + np.std(old) ** 2 / len(old)) ** 0.5
    return added(scores, base, change), 2 * 100 * error


@wrong("ablations.margin", "pool these two settings only")
def pool_of_two(scores, base, change):
    two = [scores[base], scores[change]]
    return added(scores, base, change), 200 * deviation(two) * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "the spread of single runs")
def no_root(scores, base, change):
    return added(scores, base, change), 200 * np.sqrt(2) * deviation(scores)


@wrong("ablations.margin", "that of one run")
def of_one_run(scores, base, change):
    return added(scores, base, change), 200 * deviation(scores)


@wrong("ablations.margin", "by the number of seeds", "variance of a mean")
def by_n(scores, base, change):
    sizes = 1 / len(scores[base]), 1 / len(scores[change])
    return added(scores, base, change), 200 * deviation(scores) * np.hypot(*sizes)


@wrong("ablations.margin", "as if they made one mean")
def all_seeds_together(scores, base, change):
    n = len(scores[base]) + len(scores[change])
    return added(scores, base, change), 200 * deviation(scores) / n**0.5


@wrong("ablations.margin", "so the squares add")
def adds_errors(scores, base, change):
    return added(scores, base, change), 200 * deviation(scores) * sum(roots(scores, base, change))


@wrong("ablations.margin", "the base as exact")
def exact_base(scores, base, change):
    return added(scores, base, change), 200 * deviation(scores) / len(scores[change]) ** 0.5


@wrong("ablations.margin", "one standard error", "one comparison in three")
def one_error(scores, base, change):
    return added(scores, base, change), 100 * deviation(scores) * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "means alone")
def only_means(scores, base, change):
    return added(scores, base, change), 0.0


@wrong("ablations.margin", "sign is turned")
def turned(scores, base, change):
    return added(scores, change, base), 200 * deviation(scores) * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "in fractions")
def fractions(scores, base, change):
    error = deviation(scores) * np.hypot(*roots(scores, base, change))
    return scores[change].mean() - scores[base].mean(), 2 * error


@wrong("ablations.margin", "the best seeds")
def best_seeds(scores, base, change):
    best = 100 * (max(scores[change]) - max(scores[base]))
    return best, 200 * deviation(scores) * np.hypot(*roots(scores, base, change))


@wrong("ablations.margin", "differences seed by seed")
def pairs(scores, base, change):
    gains = np.array([100 * (a - b) for a, b in zip(scores[change], scores[base], strict=True)])
    return gains.mean(), 2 * gains.std(ddof=1) / np.sqrt(len(gains))


@wrong("ablations.margin", "Expected 2 results")
def margin_only(scores, base, change):
    return 200 * deviation(scores) * np.hypot(*roots(scores, base, change))


wrong_value("ablations.seeds", {"seeds": 16, "half": 64, "seen": 50}, "You take the base as exact")
wrong_value("ablations.seeds", {"seeds": 8, "half": 32, "seen": 50}, "The rule asks for two")
wrong_value("ablations.seeds", {"seeds": 64, "half": 256, "seen": 50}, "whose squares add")
wrong_value("ablations.seeds", {"seeds": 6, "half": 12, "seen": 50}, "the root of n")
wrong_value("ablations.seeds", {"seeds": 32, "half": 64, "seen": 50}, "smaller by √2 only")
wrong_value("ablations.seeds", {"seeds": 32, "half": 16, "seen": 50}, "harder to see, not easier")
wrong_value("ablations.seeds", {"seeds": 32, "half": 128, "seen": 95}, "keeps still")
wrong_value("ablations.seeds", {"seeds": 32, "half": 128, "seen": 100}, "scatter around it")
wrong_value("ablations.seeds", {"seeds": 32, "half": 128, "seen": 5}, "where there is none")
wrong_value("ablations.seeds", {"seeds": 32, "half": 128, "seen": 0.5}, "out of 100")
wrong_value("ablations.seeds", {"seeds": 32, "half": ..., "seen": 50}, "Expected a number for half")
wrong_value("ablations.seeds", 32, "Expected a dictionary")
