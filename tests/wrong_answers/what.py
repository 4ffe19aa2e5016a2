"""Wrong answers to the exercises of chapter 1."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wrong_answers import wrong, wrong_value

for guess, *parts in (
    ({"squared": 0, "absolute": 1, "remaining": 12.4}, "occurs most often", "squares punish"),
    ({"squared": 1, "absolute": 3, "remaining": 12.4}, "best under the absolute error"),
    ({"squared": 3.75, "absolute": 1, "remaining": 12.4}, "averaged the different values"),
    ({"squared": 4.5, "absolute": 1, "remaining": 12.4}, "middle between"),
    ({"squared": 3, "absolute": 3, "remaining": 12.4}, "best under the squared error"),
    ({"squared": 3, "absolute": 0, "remaining": 12.4}, "three of the five errors shrink"),
    ({"squared": 3, "absolute": 1, "remaining": 0}, "Even a perfect model"),
    ({"squared": 3, "absolute": 1, "remaining": 3.52}, "root"),
    ({"squared": 3, "absolute": 1, "remaining": 15.5}, "one less"),
    ({"squared": 3, "absolute": 1, "remaining": 62}, "You summed"),
    ({"squared": 3, "absolute": 1, "remaining": 2.8}, "mean absolute error"),
    ({"squared": 3, "absolute": 1, "remaining": 16.4}, "the other guess"),
    ({"squared": 3, "absolute": ..., "remaining": 12.4}, "Expected a number"),
    ({"squared": 3, "absolute": 2, "remaining": 12.4}, "too high"),
):
    wrong_value("what.best_guess", guess, *parts)

for choice, because, *parts in (
    ("a", "f", "room for a copy"),
    ("b", "f", "neighbouring pixels are alike"),
    ("d", "f", "is in the input"),
    ("c", "e", "trained for long"),
    ("c", "g", "cheaper"),
    ("c", "h", "Noise is very hard"),
    ("C, I think", "f", "Expected one of"),
):
    wrong_value("what.task", {"choice": choice, "because": because}, *parts)


def classifier(c=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))


@wrong("what.bug_probe", "Every example", "was also fitted")
def fits_everything(x, y, seed):
    held_out = np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]
    return classifier().fit(x, y).score(x[held_out], y[held_out])


@wrong("what.bug_probe", "Every example", "was also fitted")
def tests_a_part_of_the_training_part(x, y, seed):
    rng = np.random.default_rng(seed)
    train = rng.permutation(len(x))[len(x) // 5 :]
    test = rng.permutation(train)[: len(x) // 5]
    return classifier().fit(x[train], y[train]).score(x[test], y[test])


@wrong("what.bug_probe", "Some examples stand on both sides")
def draws_with_replacement(x, y, seed):
    rng, fifth = np.random.default_rng(seed), len(x) // 5
    train, test = rng.integers(len(x), size=len(x) - fifth), rng.integers(len(x), size=fifth)
    return classifier().fit(x[train], y[train]).score(x[test], y[test])


@wrong("what.bug_probe", "Some examples stand on both sides")
def has_a_generator_for_each_side(x, y, seed):
    fifth = len(x) // 5
    train = np.random.default_rng(seed).permutation(len(x))[fifth:]
    test = np.random.default_rng(seed + 1).permutation(len(x))[:fifth]
    return classifier().fit(x[train], y[train]).score(x[test], y[test])


@wrong("what.bug_probe", "whatever the seed")
def no_longer_shuffles(x, y, seed):
    fifth = len(x) // 5
    return classifier().fit(x[fifth:], y[fifth:]).score(x[:fifth], y[:fifth])


@wrong("what.bug_probe", "a fifth is to be tested")
def tests_four_fifths(x, y, seed):
    order, fifth = np.random.default_rng(seed).permutation(len(x)), len(x) // 5
    return classifier().fit(x[order[:fifth]], y[order[:fifth]]).score(x[order[fifth:]], y[order[fifth:]])


@wrong("what.bug_probe", "share of wrong answers")
def returns_the_error(x, y, seed):
    a, b, c, d = train_test_split(x, y, test_size=0.2, random_state=seed)
    return float((classifier().fit(a, c).predict(b) != d).mean())


@wrong("what.bug_probe", "still belong together")
def shuffles_features_and_labels_apart(x, y, seed):
    rng, fifth = np.random.default_rng(seed), len(x) // 5
    x, y = rng.permutation(x), rng.permutation(y)
    return classifier().fit(x[fifth:], y[fifth:]).score(x[:fifth], y[:fifth])


@wrong("what.bug_probe", "The same seed gives another")
def forgets_the_seed(x, y, seed):
    order, fifth = np.random.default_rng().permutation(len(x)), len(x) // 5
    return classifier().fit(x[order[fifth:]], y[order[fifth:]]).score(x[order[:fifth]], y[order[:fifth]])


def best(choices, x, y):
    return max(choices, key=lambda c: cross_val_score(classifier(c), x, y).mean())


@wrong("what.linear_probe", "statistics that the test examples are part of")
def standardises_everything_at_once(train_x, train_y, test_x, test_y, choices):
    everything = np.concatenate([train_x, test_x])
    everything = (everything - everything.mean(axis=0)) / everything.std(axis=0)
    train_x, test_x = everything[: len(train_x)], everything[len(train_x) :]
    scores = [cross_val_score(LogisticRegression(C=c, max_iter=1000), train_x, train_y).mean() for c in choices]
    c = choices[int(np.argmax(scores))]
    predictions = LogisticRegression(C=c, max_iter=1000).fit(train_x, train_y).predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "standardised by their own statistics")
def standardises_each_side_by_itself(train_x, train_y, test_x, test_y, choices):
    c = best(choices, train_x, train_y)
    model = LogisticRegression(C=c, max_iter=1000).fit(StandardScaler().fit_transform(train_x), train_y)
    predictions = model.predict((test_x - test_x.mean(axis=0)) / test_x.std(axis=0))
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "not standardised")
def does_not_standardise(train_x, train_y, test_x, test_y, choices):
    c = best(choices, train_x, train_y)
    predictions = LogisticRegression(C=c, max_iter=1000).fit(train_x, train_y).predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "those to be predicted are not")
def forgets_to_standardise_the_test_side(train_x, train_y, test_x, test_y, choices):
    c = best(choices, train_x, train_y)
    model = LogisticRegression(C=c, max_iter=1000).fit(StandardScaler().fit_transform(train_x), train_y)
    predictions = model.predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "C changes when only the test labels change")
def chooses_on_the_test_split(train_x, train_y, test_x, test_y, choices):
    models = {c: classifier(c).fit(train_x, train_y) for c in choices}
    c = max(choices, key=lambda c: models[c].score(test_x, test_y))
    return c, models[c].predict(test_x), models[c].score(test_x, test_y)


@wrong("what.linear_probe", "fitted to test examples")
def fits_both_splits_in_the_end(train_x, train_y, test_x, test_y, choices):
    c = best(choices, train_x, train_y)
    model = classifier(c).fit(np.concatenate([train_x, test_x]), np.concatenate([train_y, test_y]))
    predictions = model.predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "fits the training examples best")
def chooses_by_the_training_score(train_x, train_y, test_x, test_y, choices):
    c = max(choices, key=lambda c: classifier(c).fit(train_x, train_y).score(train_x, train_y))
    predictions = classifier(c).fit(train_x, train_y).predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "far worse than another one")
def takes_the_strongest_penalty(train_x, train_y, test_x, test_y, choices):
    c = min(choices)
    predictions = classifier(c).fit(train_x, train_y).predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "have no influence")
def keeps_the_model_of_one_fold(train_x, train_y, test_x, test_y, choices):
    part_x, held_x, part_y, held_y = train_test_split(train_x, train_y, test_size=0.2, random_state=0)
    models = {c: classifier(c).fit(part_x, part_y) for c in choices}
    c = max(choices, key=lambda c: models[c].score(held_x, held_y))
    predictions = models[c].predict(test_x)
    return c, predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "each with its own label")
def predicts_by_the_nearest_mean(train_x, train_y, test_x, test_y, choices):
    scaler, labels = StandardScaler().fit(train_x), np.unique(train_y)
    means = np.stack([scaler.transform(train_x[train_y == label]).mean(axis=0) for label in labels])
    distances = ((scaler.transform(test_x)[:, None] - means) ** 2).sum(axis=2)
    predictions = labels[distances.argmin(axis=1)]
    return best(choices, train_x, train_y), predictions, (predictions == test_y).mean()


@wrong("what.linear_probe", "not the accuracy of your predictions")
def reports_the_validation_score(train_x, train_y, test_x, test_y, choices):
    c = best(choices, train_x, train_y)
    score = cross_val_score(classifier(c), train_x, train_y).mean()
    return c, classifier(c).fit(train_x, train_y).predict(test_x), score


@wrong("what.linear_probe", "Expected three results")
def returns_the_accuracy_only(train_x, train_y, test_x, test_y, choices):
    return classifier(best(choices, train_x, train_y)).fit(train_x, train_y).score(test_x, test_y)


def draw(rng, y, count):
    return np.stack([rng.permutation(np.flatnonzero(y == label))[:count] for label in np.unique(y)], axis=1)


def held_out(classify, x, y, folds, choices):
    """The value of c that is right most often on one example of each class, fitted to the others."""

    def right(c):
        rests = [np.delete(folds, i, axis=0).ravel() for i in range(len(folds))]
        return sum((classify(x[a], y[a], x[b], c) == y[b]).sum() for a, b in zip(rests, folds, strict=True))

    return max(choices, key=right)


def referee(
    *,
    draws=6,
    draw=draw,
    choose=held_out,
    error=lambda a, b: (a - b).std(ddof=1) / np.sqrt(len(a)),
    own_draws=False,
    restart=False,
    gap=lambda a, b: (a - b).mean(),
    budget=lambda count: count,
):
    """A referee with one fault."""

    def few_labels(features, train_y, test_y, count, classify, choices, seed):
        rng = np.random.default_rng(seed)
        accuracies = {name: [] for name in features}
        for _ in range(draws):
            if restart:
                rng = np.random.default_rng(seed)
            folds = draw(rng, train_y, budget(count))
            for name, (x, test_x) in features.items():
                if own_draws:
                    folds = draw(rng, train_y, count)
                c = choose(classify, x, train_y, folds, choices)
                chosen = folds.ravel()
                predictions = classify(x[chosen], train_y[chosen], test_x, c)
                accuracies[name].append((predictions == test_y).mean())
        accuracies = {name: np.array(values) for name, values in accuracies.items()}
        base = accuracies[next(iter(features))]
        gaps = {n: (gap(a, base), error(a, base)) for n, a in list(accuracies.items())[1:]}
        return accuracies, gaps

    return few_labels


def draws_from_all(rng, y, count):
    return rng.permutation(len(y))[: count * len(np.unique(y))].reshape(count, -1)


def draws_that_many_in_all(rng, y, count):
    return rng.permutation(len(y))[:count].reshape(count, 1)


def draws_twice(rng, y, count):
    places = [np.flatnonzero(y == label) for label in np.unique(y)]
    return np.stack([np.repeat(rng.permutation(p)[: count - 1], [2] + [1] * (count - 2)) for p in places], axis=1)


def fits_and_judges_the_same(classify, x, y, folds, choices):
    a = folds.ravel()
    return max(choices, key=lambda c: (classify(x[a], y[a], x[a], c) == y[a]).mean())


def judges_on_the_rest(classify, x, y, folds, choices):
    a = folds.ravel()
    b = np.setdiff1d(np.arange(len(y)), a)
    return max(choices, key=lambda c: (classify(x[a], y[a], x[b], c) == y[b]).mean())


def takes_the_worst(classify, x, y, folds, choices):
    good = held_out(classify, x, y, folds, choices)

    def right(c):
        rests = [np.delete(folds, i, axis=0).ravel() for i in range(len(folds))]
        return sum((classify(x[a], y[a], x[b], c) == y[b]).sum() for a, b in zip(rests, folds, strict=True))

    return next((c for c in choices if right(c) < right(good)), good)


def tunes_the_encoder(classify, x, y, folds, choices):
    is_baseline = x[0, 1] == 0  # a reader writes: if name == "pixels"
    return choices[0] if is_baseline else held_out(classify, x, y, folds, choices)


def tries_one_value(classify, x, y, folds, choices):
    return held_out(classify, x, y, folds, choices[:1])


for name, fault, *parts in (
    ("one draw", {"draws": 1, "error": lambda a, b: 0.0}, "One draw can't tell"),
    ("three draws", {"draws": 3}, "At least five draws"),
    ("the seed again in every draw", {"restart": True}, "drawn again"),
    ("draws of their own", {"own_draws": True}, "different draws"),
    ("from all classes at once", {"draw": draws_from_all}, "not drawn evenly"),
    ("that many in all", {"draw": draws_that_many_in_all, "choose": lambda *a: a[-1][0]}, "labels in all"),
    ("with repetition", {"draw": draws_twice, "choose": lambda *a: a[-1][0]}, "drawn twice"),
    ("too many labels", {"budget": lambda count: count + 2}, "more labels than the budget"),
    ("too few labels", {"budget": lambda count: count - 1}, "fewer labels than the budget"),
    ("training accuracy", {"choose": fits_and_judges_the_same}, "had been fitted to"),
    ("labels beyond the budget", {"choose": judges_on_the_rest}, "beyond the budget"),
    ("no choice", {"choose": lambda *a: a[-1][0]}, "not chosen but fixed"),
    ("tuned for its own", {"choose": tunes_the_encoder}, "Who is tuned has an advantage"),
    ("one value", {"choose": tries_one_value}, "Not every value"),
    ("the worst value", {"choose": takes_the_worst}, "not the best one"),
    ("reversed sign", {"gap": lambda a, b: (b - a).mean()}, "sign is reversed"),
    ("spread of draws", {"error": lambda a, b: (a - b).std(ddof=1)}, "spread of single draws"),
    ("numpy's std", {"error": lambda a, b: (a - b).std()}, "a little too small"),
    ("R, not R - 1", {"error": lambda a, b: (a - b).std() / len(a) ** 0.5}, "R - 1"),
    ("unpaired", {"error": lambda a, b: ((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5}, "They share them"),
    ("its own spread", {"error": lambda a, b: a.std(ddof=1) / len(a) ** 0.5}, "features' own accuracies"),
    ("range", {"error": lambda a, b: np.ptp(a - b)}, "too high for the standard error"),
):
    answer = referee(**fault)
    answer.__name__ = name
    wrong("what.few_labels", *parts)(answer)


@wrong("what.few_labels", "asked about several settings")
def chooses_c_on_the_test_split(features, train_y, test_y, count, classify, choices, seed):
    rng = np.random.default_rng(seed)
    accuracies = {name: [] for name in features}
    for _ in range(5):
        chosen = draw(rng, train_y, count).ravel()
        for name, (x, test_x) in features.items():
            scores = [(classify(x[chosen], train_y[chosen], test_x, c) == test_y).mean() for c in choices]
            accuracies[name].append(max(scores))
    base, *others = features
    difference = {n: np.subtract(accuracies[n], accuracies[base]) for n in others}
    return accuracies, {n: (d.mean(), d.std(ddof=1) / np.sqrt(5)) for n, d in difference.items()}


@wrong("what.few_labels", "no set of features")
def standardises_the_features_first(features, train_y, test_y, count, classify, choices, seed):
    scaled = {n: tuple(StandardScaler().fit(a).transform(side) for side in (a, b)) for n, (a, b) in features.items()}
    return referee()(scaled, train_y, test_y, count, classify, choices, seed)


@wrong("what.few_labels", "do not belong to their examples")
def mixes_up_the_labels(features, train_y, test_y, count, classify, choices, seed):
    return referee()(features, np.sort(train_y), test_y, count, classify, choices, seed)


@wrong("what.few_labels", "The same seed gives other draws")
def draws_without_the_seed(features, train_y, test_y, count, classify, choices, seed):
    return referee()(features, train_y, test_y, count, classify, choices, None)


@wrong("what.few_labels", "Another seed gives the same draws")
def always_draws_from_seed_0(features, train_y, test_y, count, classify, choices, seed):
    return referee()(features, train_y, test_y, count, classify, choices, 0)


@wrong("what.few_labels", "accuracies are not those of the predictions")
def sorts_its_accuracies(features, train_y, test_y, count, classify, choices, seed):
    accuracies, gaps = referee()(features, train_y, test_y, count, classify, choices, seed)
    return {name: np.sort(values) for name, values in accuracies.items()}, gaps


@wrong("what.few_labels", "gaps for all but the first")
def gives_a_gap_of_the_baseline_to_itself(features, train_y, test_y, count, classify, choices, seed):
    accuracies, gaps = referee()(features, train_y, test_y, count, classify, choices, seed)
    return accuracies, {next(iter(features)): (0.0, 0.0), **gaps}
