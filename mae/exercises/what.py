"""Chapter 1: what can be guessed, which tasks teach, and how features are judged without a leak."""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mae.exercises.engine import Crashed, NotAttempted, Wrong, call, choice, exercise, number, same, show
from mae.exercises.quiz import Option, Question, add_quiz


@exercise(
    "what.best_guess",
    "predict",
    "The best guess, under two losses",
    minutes=4,
    hints=(
        "Five pictures count five times, also where two of them are alike. For the absolute error: move the guess a "
        "little to the right. How many of the five errors grow, and how many shrink?",
        "The squared error is least at the mean, the absolute error at the median. What remains of the squared error "
        "is the mean of five squares.",
    ),
    then="change the 9 into 90: which of the two guesses notices?",
)
def best_guess(answer, generator: torch.Generator) -> str:
    """Mean, median and variance, found by trying all guesses."""
    if not isinstance(answer, dict) or set(answer) != {"squared", "absolute", "remaining"}:
        raise Wrong(f'Expected a dictionary with "squared", "absolute" and "remaining", got {show(answer)}.')
    values = np.array([0.0, 0.0, 1.0, 5.0, 9.0])
    guesses = np.linspace(0, 9, 901)
    distance = abs(guesses[:, None] - values)
    squared, absolute = (distance**2).mean(axis=1), distance.mean(axis=1)
    mean, median = guesses[squared.argmin()], guesses[absolute.argmin()]
    middle = "You took the middle between the smallest and the largest value. Nothing says that the others lie evenly."
    number(
        answer["squared"],
        mean,
        0.01,
        {
            "That is the value that occurs most often. It is right most often, and far off in the other cases; "
            "squares punish that.": 0,
            "That is best under the absolute error. Squares weigh the distant values more.": median,
            "You averaged the different values. The one that occurs twice counts twice.": np.unique(values).mean(),
            middle: 4.5,
        },
        name="the guess under the squared error",
    )
    number(
        answer["absolute"],
        median,
        0.01,
        {
            "That is best under the squared error. Under the absolute error a distant value pulls no harder than a "
            "near one: only the number of values on either side counts.": mean,
            "That is the value that occurs most often. Move the guess to the right: three of the five errors "
            "shrink.": 0,
            "You took the median of the different values. The one that occurs twice counts twice.": 3.0,
            middle: 4.5,
        },
        name="the guess under the absolute error",
    )
    number(
        answer["remaining"],
        squared.min(),
        0.01,
        {
            "Even a perfect model can't know which of the five it is, so an error remains.": 0,
            "That is the root of it, in units of a pixel. The loss is the mean of the squares.": squared.min() ** 0.5,
            "You divided by one less than the number of pictures. The loss is a plain mean.": squared.min() * 5 / 4,
            "You summed the squares; the loss is their mean.": squared.min() * 5,
            "That is the mean absolute error that remains. Square the distances.": absolute.min(),
            "That is the squared error of the other guess, and it is larger.": squared[absolute.argmin()],
        },
        name="the remaining squared error",
    )
    return f"Of {len(guesses)} guesses from 0 to 9, these are the best, and no model gets below that squared error."


@exercise(
    "what.task",
    "choose",
    "Which task teaches?",
    minutes=5,
    hints=(
        "For each task, look for a way to do it well without knowing anything about digits.",
        "What is next to a hidden pixel, if the other nine are visible? And what is next to a patch, if three of four "
        "are hidden?",
    ),
    then="measure option b with `copy_nearest`: hide one pixel in ten, and compare its error with the mean image's.",
)
def task(answer, generator: torch.Generator) -> str:
    """A task teaches if no shortcut solves it."""
    if not isinstance(answer, dict) or set(answer) != {"choice", "because"}:
        raise Wrong(f'Expected a dictionary with "choice" and "because", got {show(answer)}.')
    choice(
        answer["choice"],
        "c",
        {
            "a": "A code as wide as the picture has room for a copy, and a copy knows nothing: that is the wide "
            "network of the tiny world.",
            "b": "Around a single hidden pixel nearly everything is visible, and neighbouring pixels are alike: the "
            "nearest visible one gives most of the answer, whatever the picture shows.",
            "d": "What is asked for is in the input. However much is hidden elsewhere, visible patches can be copied.",
        },
    )
    choice(
        answer["because"],
        "f",
        {
            "e": "Many steps do not make a task teach more: a copy that is trained for long is still a copy.",
            "g": "Less input makes the encoder cheaper, and that matters (chapter 2). But a cheap task may still have "
            "a shortcut: think of d.",
            "h": "How large the error is depends on the task. Noise is very hard to predict, and nothing is learned "
            "from it.",
        },
        name="your reason",
    )
    return "No copy and no neighbour gives the answer away, so the network must know what digits look like."


def _numbered(generator: torch.Generator) -> dict:
    """Every example has a feature of its own, so the others tell nothing about it."""
    y = torch.randperm(100, generator=generator).numpy() % 20
    return {"x": np.eye(100), "y": y, "seed": _seed(generator)}


def _far_apart(generator: torch.Generator) -> dict:
    """Three classes that no linear probe can confuse."""
    y = torch.randperm(60, generator=generator).numpy() % 3
    noise = torch.randn(60, 4, generator=generator).numpy()
    return {"x": 20 * np.eye(4)[y] + noise, "y": y, "seed": _seed(generator)}


def _coins(generator: torch.Generator) -> dict:
    """Two classes that have nothing to do with the features."""
    x = torch.randn(500, 2, generator=generator).numpy()
    return {"x": x, "y": torch.randint(2, (500,), generator=generator).numpy(), "seed": _seed(generator)}


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31, (1,), generator=generator))


def _two_shuffles(x, y, seed):
    """The function that is handed out."""
    rng = np.random.default_rng(seed)
    fifth = len(x) // 5
    train, test = rng.permutation(len(x))[fifth:], rng.permutation(len(x))[:fifth]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return classifier.fit(x[train], y[train]).score(x[test], y[test])


def _accuracy(answer: Callable, case: dict) -> float:
    result = call(answer, case)
    if (
        not isinstance(result, float | np.floating | torch.Tensor)
        or torch.as_tensor(result).numel() != 1
        or not 0 <= float(result) <= 1
    ):
        raise Wrong(f"Expected an accuracy from 0 to 1, got {show(result)}.")
    return float(result)


@exercise(
    "what.bug_probe",
    "find the bug",
    "The probe that knows noise",
    minutes=10,
    hints=(
        "Let `len(x)` be 10, print `fit_to` and `held_back`, and look for a number that stands in both.",
        "`rng.permutation` draws a new order each time that it is called. How many orders should there be?",
    ),
    then="how large is the error if the same digit occurs twice in a data set? Look for duplicates before you split.",
)
def bug_probe(answer, generator: torch.Generator) -> str:
    """Where the examples have nothing in common, an honest probe is no better than chance."""
    makers = [_numbered, _far_apart] * 3
    makers = [makers[i] for i in torch.randperm(6, generator=generator)]
    cases = [make(generator) for make in makers]
    got = [_accuracy(answer, case) for case in cases]
    if got == [_two_shuffles(**case) for case in cases]:
        raise NotAttempted("the function still does what it did: it is right where nobody can be.")
    known, free = ([g for g, m in zip(got, makers, strict=True) if m is make] for make in (_numbered, _far_apart))
    if min(known) > 0.9 and max(free) == 0:
        raise Wrong("You return the share of wrong answers; the accuracy is the share of right ones.")
    example = {"examples": 100, "classes": 20, "yours": max(known), "expected, at most": 0.05}
    if min(known) == 1:
        raise Wrong(
            "Every example that the probe is tested on was also fitted. Here each example has a feature of its own, so "
            "the others tell nothing about it; and yet your probe knows them all.",
            example,
        )
    if max(known) > 0.1:
        raise Wrong(
            "Some examples stand on both sides: the probe was fitted to them, and is tested on them. Here each example "
            "has a feature of its own, so it can only be known if it was fitted.",
            example,
        )
    if min(free) < 1:
        raise Wrong(
            "On three classes that lie far apart, the probe must be right on all new examples. Do features and labels "
            "still belong together?",
            {"examples": 60, "classes": 3, "yours": min(free), "expected": 1.0},
        )
    case = _coins(generator)
    coins, again = ([_accuracy(answer, {**case, "seed": case["seed"] + i}) for i in range(6)] for _ in range(2))
    if coins != again:
        raise Wrong("The same seed gives another accuracy each time. Draw from the generator that `seed` makes.")
    if len(set(coins)) == 1:
        raise Wrong("The same fifth is tested whatever the seed. Are the examples still shuffled?")
    if not same([100 * a for a in coins], [round(100 * a) for a in coins]):
        raise Wrong(
            "Of 500 examples, a fifth is to be tested. With 100 tested, every accuracy is a multiple of 0.01.",
            {"yours": coins},
        )
    return (
        "On examples that have nothing in common it is no longer right, on classes that lie far apart it always is; a "
        "fifth is tested, and the seed decides which."
    )


def _draw(generator: torch.Generator, *shape: int) -> np.ndarray:
    return torch.randn(*shape, generator=generator).double().numpy()


def _many_numbers(generator: torch.Generator, small: float, large: float) -> dict:
    """Many weak features, a fifth of the labels wrong: only a strong penalty (small C) keeps from memorising."""
    while True:
        y = torch.randperm(280, generator=generator).numpy() % 2
        x = _draw(generator, 280, 40) + 0.6 * (2 * y[:, None] - 1)
        for label in (0, 1):  # the same number in both classes, so that they stay balanced
            y[np.flatnonzero((y == label) & (np.arange(280) < 160))[:16]] += 2
        y = np.where(y > 1, 3 - y, y)
        low, high = (_scores(x[:160], y[:160], c) for c in (small, large))
        if low[0] > high[0] + 0.1 and low[1] < high[1]:  # worse on what was fitted, better on what was held out
            x[160:] += 0.7 * (2 * torch.randint(2, (40,), generator=generator).numpy() - 1)
            return _split(generator, x, y, small, large)


def _scores(x: np.ndarray, y: np.ndarray, c: float) -> tuple[float, float]:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    return cross_val_score(classifier, x, y).mean(), classifier.fit(x, y).score(x, y)


def _small_difference(generator: torch.Generator, small: float, large: float) -> dict:
    """The class is the small difference of two features that nearly agree: it takes large weights (large C)."""
    y = torch.randperm(280, generator=generator).numpy() % 2
    x = _draw(generator, 280, 3)
    x[:, 1] = x[:, 0] + 0.1 * (2 * y - 1) + 0.01 * x[:, 1]
    x[160:] += 0.7
    return _split(generator, x, y, small, large)


def _split(generator: torch.Generator, x: np.ndarray, y: np.ndarray, small: float, large: float) -> dict:
    """160 to fit and 120 to test, with outliers among them; features in different units; labels other than 0 and 1."""
    x = x * 10.0 ** torch.randint(-2, 3, (x.shape[1],), generator=generator).numpy() + 3
    y = torch.randperm(10, generator=generator)[:2].numpy()[y]
    x[180:200] *= 50
    choices = [(small, large)[i] for i in torch.randperm(2, generator=generator)]
    return {"train_x": x[:160], "train_y": y[:160], "test_x": x[160:], "test_y": y[160:], "choices": choices}


def _fitted(scaling: Callable, x, y, new_x, c: float) -> np.ndarray:
    """Predictions of logistic regression, with the two sides scaled by `scaling`."""
    x, new_x = scaling(x, new_x)
    return LogisticRegression(C=c, max_iter=1000).fit(x, y).predict(new_x)


def _by(fitted_to: Callable) -> Callable:
    """Scaling of both sides by the statistics of what `fitted_to` picks."""

    def scaling(x, new_x):
        scaler = StandardScaler().fit(fitted_to(x, new_x))
        return scaler.transform(x), scaler.transform(new_x)

    return scaling


SCALINGS = {
    "The test features are standardised by statistics that the test examples are part of. What you do with one example "
    "must not depend on which others happen to be tested with it.": _by(lambda x, new_x: np.concatenate([x, new_x])),
    "The test features are standardised by their own statistics. The probe was fitted to features in other units, and "
    "a single new example would become all zeros.": lambda x, new_x: (
        StandardScaler().fit_transform(x),
        StandardScaler().fit_transform(new_x),
    ),
    "The features are not standardised. Then the penalty weighs on each of them according to its unit.": (
        lambda x, new_x: (x, new_x)
    ),
    "The features are standardised, and those to be predicted are not.": lambda x, new_x: (
        StandardScaler().fit_transform(x),
        new_x,
    ),
}


@exercise(
    "what.linear_probe",
    "implement",
    "A probe without a leak",
    minutes=20,
    hints=(
        "Go through every line that learns something: a mean, a scale, a weight, the choice of C. Which examples may "
        "it look at?",
        "`make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))` learns both from what you `fit` it "
        "to. `cross_val_score` judges one C within the training split.",
    ),
    then="give it the features of this chapter, and see whether you get the accuracies of the table.",
)
def linear_probe(answer, generator: torch.Generator) -> str:
    """C, predictions and accuracy, with everything learned from the training split only."""
    cases = [_many_numbers(generator, 0.003, 30.0), _small_difference(generator, 0.003, 30.0)]
    right = [0.003, 30.0]
    results = [_three_results(answer, case) for case in cases]
    honest = [{c: _fitted(_by(lambda x, new_x: x), *_sides(case), c) for c in case["choices"]} for case in cases]
    _ignores_test_labels(answer, cases[0], results[0], honest[0])
    differ = [int((p != expected[c]).sum()) for (c, p, _), expected in zip(results, honest, strict=True)]
    if any(differ):
        for message, scaling in SCALINGS.items():
            if all(
                same(_fitted(scaling, *_sides(case), c), predictions, 0, 0)
                for case, (c, predictions, _) in zip(cases, results, strict=True)
            ):
                raise Wrong(message, {"predictions that differ": max(differ), "of": len(results[0][1])})
    _takes_examples_one_by_one(answer, cases[1], results[1])
    _fits_to_all(answer, cases[0], generator)
    for case, (c, predictions, accuracy), expected, wanted in zip(cases, results, honest, right, strict=True):
        if c != wanted:
            raise Wrong(
                "You chose the C that fits the training examples best. With many features, the weakest penalty always "
                "does, by memorising: judge each C on training examples that it was not fitted to."
                if wanted < c
                else "You chose a C that is far worse than another one on training examples that were held out.",
                {"features": case["train_x"].shape[1], "choices": case["choices"], "yours": c, "expected": wanted},
            )
        if (wrong := int((predictions != expected[c]).sum())) > len(predictions) / 100:
            raise Wrong(
                "With this C, logistic regression on standardised features predicts otherwise. Is it fitted to all "
                "training examples, each with its own label?",
                {"predictions that differ": wrong, "of": len(predictions)},
            )
        share = (predictions == case["test_y"]).mean()
        if not same(accuracy, share):
            raise Wrong(
                "This is not the accuracy of your predictions on the test split.",
                {"yours": accuracy, "share of your predictions that are right": share},
            )
    return (
        "In two data sets, one for a strong and one for a weak penalty, C and predictions stay the same whatever the "
        "test labels are and whichever examples are tested together."
    )


def _ignores_test_labels(answer: Callable, case: dict, result: tuple, honest: dict[float, np.ndarray]) -> None:
    """Other test labels, on all of which another C is right, change neither C nor predictions."""
    c, predictions, _ = result
    labels = next(honest[d] for d in case["choices"] if d != c)
    c_2, predictions_2, _ = _three_results(answer, {**case, "test_y": labels})
    if c_2 != c:
        raise Wrong(
            "C changes when only the test labels change. Whatever you choose on the test split makes its score too "
            "good: choose within the training split.",
            {"C": c, "C with other test labels": c_2},
        )
    if changed := int((predictions_2 != predictions).sum()):
        raise Wrong(
            "The predictions change when only the test labels change: the probe was fitted to test examples.",
            {"predictions that change": changed, "of": len(predictions)},
        )


def _takes_examples_one_by_one(answer: Callable, case: dict, result: tuple) -> None:
    """Five test examples are predicted alone as they are with the others."""
    few = _three_results(answer, {**case, "test_x": case["test_x"][:5], "test_y": case["test_y"][:5]})[1]
    if not same(few, result[1][:5], 0, 0):
        raise Wrong(
            "The predictions of five examples change when the others are not tested with them. Something is learned "
            "from the test features.",
            {"alone": few, "with the others": result[1][:5]},
        )


def _fits_to_all(answer: Callable, case: dict, generator: torch.Generator) -> None:
    """Where examples have nothing in common, those are known that were fitted."""
    x, y = np.eye(40), torch.randperm(40, generator=generator).numpy() % 2
    known = _three_results(answer, dict(zip(case, (x, y, x, y, case["choices"]), strict=True)))[1]
    if unknown := int((known != y).sum()):
        raise Wrong(
            "Some training examples have no influence on the result. Once C is chosen, fit to all of them.",
            {"training examples": 40, "known": 40 - unknown},
        )


def _sides(case: dict) -> tuple:
    return case["train_x"], case["train_y"], case["test_x"]


def _three_results(answer: Callable, case: dict) -> tuple[float, np.ndarray, float]:
    result = call(answer, case)
    if not isinstance(result, tuple | list) or len(result) != 3:
        raise Wrong(f"Expected three results, the chosen C, predictions and accuracy, got {show(result)}.")
    c, predictions, accuracy = result
    if not any(same(c, d) for d in case["choices"]):
        raise Wrong(f"The first result is to be one of `choices`, {show(case['choices'])}; got {show(c)}.")
    if np.shape(predictions) != case["test_y"].shape:
        raise Wrong(f"Expected a label for each of {len(case['test_y'])} test examples, got {show(predictions)}.")
    return float(c), np.asarray(predictions), accuracy


TEST = 1000  # numbers of test examples start here, those of training examples at 0


class Referee:
    """A data set whose examples carry their numbers, and a classifier that notes which ones it is given.

    Parameters
    ----------
    generator : torch.Generator
    names : list of str
        Of the sets of features, the baseline first.
    sizes : list of int
        How many training examples each class has.
    """

    def __init__(self, generator: torch.Generator, names: list[str], sizes: list[int]):
        classes = torch.randperm(10, generator=generator)[: len(sizes)].numpy()
        B = sum(sizes)
        self.train_y = np.repeat(classes, sizes)[torch.randperm(B, generator=generator).numpy()]
        self.test_y = np.repeat(classes, 12)[torch.randperm(12 * len(sizes), generator=generator).numpy()]
        self.features = {}
        for k, name in enumerate(names):
            place = (1 + k) * _draw(generator, 10, 4)
            sides = []
            for y, first in ((self.train_y, 0), (self.test_y, TEST)):
                number = first + np.arange(len(y))
                sides.append(np.column_stack([number, np.full(len(y), k), place[y] + _draw(generator, len(y), 4)]))
            self.features[name] = tuple(sides)
        self.calls: list[dict] = []

    def numbers(self, x: np.ndarray) -> tuple[str, list[int]]:
        """The features' name and the examples' numbers.

        Parameters
        ----------
        x : ndarray, (n, D)
        """
        if x.ndim != 2 or x.shape[1] != 6 or not len(x):
            raise ValueError(f"classify: expected features of shape (n, 6), n at least 1, got {x.shape}")
        names, known = list(self.features), {*range(len(self.train_y)), *range(TEST, TEST + len(self.test_y))}
        if len(set(x[:, 1])) != 1 or x[0, 1] not in range(len(names)) or not set(x[:, 0]) <= known:
            raise Wrong(
                "`classify` got rows that are in no set of features. Hand it rows as they are, of one set of features "
                "at a time; it standardises by itself."
            )
        return names[int(x[0, 1])], [int(i) for i in x[:, 0]]

    def classify(self, x, y, new_x, c) -> np.ndarray:
        """Labels by the vote of the c nearest examples.

        Parameters
        ----------
        x : ndarray, (n, D)
        y : ndarray, (n,)
        new_x : ndarray, (m, D)
        c : int
        """
        x, y, new_x = np.asarray(x), np.asarray(y), np.asarray(new_x)
        if len(x) != len(y):
            raise ValueError(f"classify: expected as many labels as examples, got {len(x)} examples, {len(y)} labels")
        (name, fitted), (other, judged) = self.numbers(x), self.numbers(new_x)
        if name != other:
            raise Wrong(f"`classify` was fitted to {name!r} and then asked about {other!r}.")
        nearest = y[((new_x[:, None, 2:] - x[:, 2:]) ** 2).sum(axis=2).argsort(axis=1)[:, :c]]
        classes = np.unique(y)
        predictions = classes[(nearest[:, :, None] == classes).sum(axis=1).argmax(axis=1)]
        call = {"name": name, "fitted": fitted, "y": y, "judged": judged, "c": c, "predictions": predictions}
        self.calls.append(call)
        return predictions

    def truth(self, numbers: list[int]) -> np.ndarray:
        """The labels of examples.

        Parameters
        ----------
        numbers : list of int
        """
        return np.array([self.test_y[i - TEST] if i >= TEST else self.train_y[i] for i in numbers])

    def run(self, answer: Callable, count: int, choices: list[int], seed: int) -> tuple[dict, dict, dict]:
        """Let the reader's protocol run.

        Parameters
        ----------
        answer : callable
        count : int
        choices : list of int
        seed : int

        Returns
        -------
        accuracies, gaps : dict
            The reader's results.
        asked : dict of str to list of dict
            For each set of features, the calls that were about the test split.
        """
        self.calls = []
        copies = {name: tuple(side.copy() for side in sides) for name, sides in self.features.items()}
        arguments = {
            "features": copies,
            "train_y": self.train_y,
            "test_y": self.test_y,
            "count": count,
            "classify": self.classify,
            "choices": choices,
            "seed": seed,
        }
        try:
            result = call(answer, arguments)
        except Crashed as crash:
            shapes = {name: tuple(side.shape for side in sides) for name, sides in self.features.items()}
            raise Crashed(crash.error, {"shapes": shapes, "count": count, "choices": choices}) from crash.error
        if not isinstance(result, tuple | list) or len(result) != 2 or not all(isinstance(r, dict) for r in result):
            raise Wrong(f"Expected two dictionaries, accuracies and gaps, got {show(result)}.")
        names = list(self.features)
        if set(result[0]) != set(names) or set(result[1]) != set(names[1:]):
            raise Wrong(
                "Expected accuracies for all sets of features, and gaps for all but the first, the baseline.",
                {"features": names, "accuracies for": list(result[0]), "gaps for": list(result[1])},
            )
        asked = {name: [c for c in self.calls if c["name"] == name and max(c["judged"]) >= TEST] for name in names}
        return *result, asked


def _fair_fit(referee: Referee) -> None:
    """No test example is fitted, and labels stay with their examples."""
    for c in referee.calls:
        if max(c["fitted"]) >= TEST:
            raise Wrong("`classify` was fitted to test examples.")
        if not same(referee.truth(c["fitted"]), c["y"]):
            raise Wrong("`classify` got labels that do not belong to their examples. Are both indexed in the same way?")


def _fair_test(referee: Referee, asked: dict[str, list[dict]]) -> None:
    """The test split is asked once for each draw, as a whole, and there are enough draws."""
    for name, tests in asked.items():
        if not tests:
            raise Wrong(f"The accuracies of {name!r} come without asking `classify` about its test examples.")
        if any(len(c["judged"]) != len(referee.test_y) or min(c["judged"]) < TEST for c in tests):
            raise Wrong("Ask about the whole test split at once, and about nothing else with it.")
        settings: dict[frozenset, set] = {}
        for c in tests:
            settings.setdefault(frozenset(c["fitted"]), set()).add(c["c"])
        if most := max((s for s in settings.values()), key=len):
            if len(most) > 1:
                raise Wrong(
                    "The test split was asked about several settings for the same labelled examples. The best of "
                    "several test scores is too good, and the more so the more there are: choose the setting first.",
                    {"features": name, "settings": sorted(most)},
                )
        if len(tests) == 1:
            raise Wrong("One draw can't tell what the features are worth from luck with these few examples.")
        if len(settings) < len(tests):
            raise Wrong(
                "The same labelled examples are drawn again, so the accuracies repeat themselves. Let one generator "
                "make all draws, one after the other.",
                {"draws": len(tests), "different": len(settings)},
            )
        if len(tests) < 5:
            raise Wrong("At least five draws are asked for: a spread needs more.", {"draws": len(tests)})


def _fair_draws(referee: Referee, asked: dict[str, list[dict]], count: int) -> None:
    """Each draw has `count` examples of each class, and all features get the same draws."""
    classes = np.unique(referee.train_y)
    for c in (c for tests in asked.values() for c in tests):
        drawn = {int(label): int((c["y"] == label).sum()) for label in classes}
        example = {"labels of each class": drawn, "expected of each": count}
        if len(set(c["fitted"])) < len(c["fitted"]):
            raise Wrong("An example was drawn twice. Draw without putting back.", example)
        if len(c["fitted"]) == count:
            raise Wrong("You drew that many labels in all; the budget is that many of each class.", example)
        if len(c["fitted"]) < count * len(classes) and len(set(drawn.values())) == 1:
            raise Wrong(
                "In the end `classify` is fitted to fewer labels than the budget allows. What was held out to choose c "
                "may be fitted again afterwards.",
                example,
            )
        if len(set(drawn.values())) > 1:
            raise Wrong(
                "The classes are not drawn evenly. Draw within each class, or the luck of the draw decides which "
                "classes are known.",
                example,
            )
        if len(c["fitted"]) > count * len(classes):
            raise Wrong("You use more labels than the budget allows.", example)
    draws = [[frozenset(c["fitted"]) for c in tests] for tests in asked.values()]
    if any(draw != draws[0] for draw in draws):
        raise Wrong(
            "The sets of features are given different draws, or in a different order. Then the gap between them is "
            "also a gap between lucky and unlucky draws.",
            {"labelled examples, " + name: sorted(tests[0]["fitted"]) for name, tests in asked.items()},
        )


def _fair_choice(referee: Referee, asked: dict[str, list[dict]], choices: list[int]) -> None:
    """The setting is chosen on held-out examples within the budget, for all features alike."""
    trials = [c for c in referee.calls if max(c["judged"]) < TEST]
    used = {frozenset(c["fitted"]) for tests in asked.values() for c in tests}
    for c in trials:
        if set(c["fitted"]) & set(c["judged"]):
            raise Wrong(
                "A setting was judged on examples that `classify` had been fitted to. The nearest example is then the "
                "example itself, and memorising wins.",
                {"fitted to": sorted(c["fitted"]), "judged on": sorted(c["judged"])},
            )
        if not any({*c["fitted"], *c["judged"]} <= draw for draw in used):
            raise Wrong(
                "A setting was chosen with labels beyond the budget. If only a few labels are there, those of the "
                "other training examples are not there to choose with.",
                {"fitted to": len(c["fitted"]), "judged on": len(c["judged"])},
            )
    tuned = {name: any(c["name"] == name for c in trials) for name in asked}
    if not any(tuned.values()):
        raise Wrong("No setting was tried on labelled examples that were held out, so c was not chosen but fixed.")
    if not all(tuned.values()):
        raise Wrong(
            "c was chosen for some features and not for others. Who is tuned has an advantage that is not the "
            "features'.",
            tuned,
        )
    for name, tests in asked.items():
        for test in tests:
            found = [c for c in trials if c["name"] == name and {*c["fitted"], *c["judged"]} <= set(test["fitted"])]
            hits = {d: [c["predictions"] == referee.truth(c["judged"]) for c in found if c["c"] == d] for d in choices}
            if not all(hits.values()):
                raise Wrong(
                    "Not every value of `choices` was tried in every draw and for all features.",
                    {"features": name, "tried": [d for d in choices if hits[d]], "choices": choices},
                )
            pooled = {d: float(np.concatenate(h).mean()) for d, h in hits.items()}
            by_fold = {d: float(np.mean([fold.mean() for fold in h])) for d, h in hits.items()}
            if all(score[test["c"]] < max(score.values()) - 1e-9 for score in (pooled, by_fold)):
                raise Wrong(
                    "The setting that was used is not the best one on the held-out examples of this draw and features.",
                    {"features": name, "right on held-out examples": pooled, "c that was used": test["c"]},
                )


def _honest_numbers(referee: Referee, accuracies: dict, gaps: dict, asked: dict[str, list[dict]]) -> None:
    """Accuracies are those of the predictions, gaps are paired."""
    true = {n: np.array([(c["predictions"] == referee.test_y).mean() for c in tests]) for n, tests in asked.items()}
    for name, expected in true.items():
        if not same(np.asarray(accuracies[name]), expected):
            raise Wrong(
                "The accuracies are not those of the predictions for the test split, one for each draw.",
                {"features": name, "yours": accuracies[name], "expected": expected},
            )
    baseline, *others = true
    for name in others:
        difference, R = true[name] - true[baseline], len(true[name])
        mean, deviation = difference.mean(), difference.std(ddof=1)
        if not isinstance(gaps[name], tuple | list) or len(gaps[name]) != 2:
            raise Wrong(f"Expected (mean, standard error) for the gap of {name!r}, got {show(gaps[name])}.")
        number(
            gaps[name][0],
            mean,
            1e-6,
            {"The sign is reversed: the gap is positive where the features beat the baseline.": -mean},
            name=f"the mean gap of {name!r}",
        )
        unpaired = np.sqrt((true[name].var(ddof=1) + true[baseline].var(ddof=1)) / R)
        number(
            gaps[name][1],
            deviation / np.sqrt(R),
            1e-6,
            {
                "That is the spread of single draws. The mean of R draws is less uncertain than one.": deviation,
                "That is the spread of single draws, and a little too small. The mean of R draws is less uncertain.": (
                    difference.std()
                ),
                "Nearly: the spread is estimated from the same draws as the mean, so divide by R - 1 in the "
                "variance.": difference.std() / np.sqrt(R),
                "You treat the two as if they had different draws. They share them: a draw that is unlucky for one is "
                "mostly unlucky for the other. Take the spread of the differences.": unpaired,
                "That is the spread of the features' own accuracies. The question is how uncertain the difference "
                "is.": true[name].std(ddof=1) / np.sqrt(R),
            },
            name=f"the standard error of the gap of {name!r}",
        )


@exercise(
    "what.few_labels",
    "design",
    "A fair referee for few labels",
    minutes=60,
    hints=(
        "Three loops: over draws, over features, over values of c. What must be made outside of the loop over "
        "features, so that all of them get the same?",
        "Draw `count` places of each class with `np.flatnonzero` and `rng.permutation`. Stack them as (count, "
        "classes): every row is a fold with one example of each class. A gap is taken in each draw, and then averaged.",
    ),
    then="let it judge this chapter's features. How many draws does it take until the gap is ten times its error?",
)
def few_labels(answer, generator: torch.Generator) -> str:
    """Run the protocol on data that carry numbers, and look at what the classifier was given."""
    draws = 0
    for names, sizes, count, choices in (
        (["pixels", "features"], [40, 12], 4, [1, 3]),
        (["pixels", "PCA", "encoder"], [30, 12, 20], 5, [5, 1, 3]),
    ):
        referee, seed = Referee(generator, names, sizes), _seed(generator)
        accuracies, gaps, asked = referee.run(answer, count, choices, seed)
        _fair_fit(referee)
        _fair_test(referee, asked)
        _fair_draws(referee, asked, count)
        _fair_choice(referee, asked, choices)
        _honest_numbers(referee, accuracies, gaps, asked)
        first = [c["fitted"] for c in asked[names[0]]]
        for other, wanted in ((seed, True), (seed + 1, False)):
            again = [c["fitted"] for c in referee.run(answer, count, choices, other)[2][names[0]]]
            if (again == first) != wanted:
                raise Wrong(
                    "The same seed gives other draws: nobody can repeat your comparison. Draw from a generator that "
                    "`seed` makes."
                    if wanted
                    else "Another seed gives the same draws: `seed` has no effect."
                )
        draws += len(first)
    return (
        f"In {draws} draws, every set of features was fitted to the same labels, 4 or 5 of each class and no other; "
        "c was chosen within them, the test split was asked once, and the errors of the gaps are paired."
    )


add_quiz(
    "what",
    Question(
        "Model A has its loss on visible patches, model B on hidden ones. At the end of training, A's loss is ten "
        "times smaller than B's. What follows?",
        (
            Option(
                "A has learned more about images.",
                "A's task can be done by copying. A small loss on an easy task is no sign of knowledge.",
            ),
            Option(
                "B was trained for too short a time.",
                "B may be at the end of what is possible: where the visible patches leave something open, an error "
                "remains for ever.",
            ),
            Option(
                "Nothing about which features are better.",
                "The two numbers are errors in different tasks. Features have to be compared by a task that is the "
                "same for both, such as a linear probe.",
                right=True,
            ),
            Option(
                "A's decoder must be the larger one.",
                "The size of the decoder was not changed. What was changed is where the loss looks.",
            ),
        ),
    ),
    Question(
        "The visible patches fit a 4 and a 9 equally well. What does a well-trained model draw in the gap?",
        (
            Option(
                "A mixture of both, blurred where they differ.",
                "The mean of what can stand there has the smallest squared error, even if no digit looks like it.",
                right=True,
            ),
            Option(
                "A 4 or a 9, depending on the seed.",
                "The model draws nothing at random: the same patches and mask always give the same output.",
            ),
            Option(
                "The one with more examples in training.",
                "If both are equally likely here, neither is preferred; and a squared error asks for the mean, not "
                "for the most frequent case.",
            ),
            Option(
                "The mean of all training images.",
                "That would throw away the visible patches. They rule out the other eight digits.",
            ),
        ),
    ),
    Question(
        "For a whole digit, the encoder gives more numbers than the digit has pixels. Why does it not just copy in "
        "pre-training?",
        (
            Option(
                "Weight decay makes copying too costly.",
                "Copying does not need large weights. The wide autoencoder of this chapter copied without difficulty.",
            ),
            Option(
                "What it is asked for is not in its input.",
                "The loss is on hidden patches, and the encoder gets the visible ones only. There is nothing to copy.",
                right=True,
            ),
            Option(
                "The decoder is too small to write a copy.",
                "The decoder has the same number of outputs as pixels to predict. A single layer could pass on a copy.",
            ),
            Option(
                "The mean over tokens squeezes the code.",
                "That mean is taken afterwards, for the probe. In pre-training the decoder gets every token.",
            ),
        ),
    ),
    Question(
        "Features A reach 93 % in a probe whose penalty was picked by the score on 1,000 test digits, features B 92 % "
        "with a penalty picked inside the training split. Which are better?",
        (
            Option(
                "A, by one point.",
                "A's score is the best of several looks at the test split, and so it is too good by an unknown amount.",
            ),
            Option(
                "B, because its probe is honest.",
                "An honest probe makes B's number trustworthy; it does not make it larger than what A would get.",
            ),
            Option(
                "Both are equal, since one point is little.",
                "One point is about the standard error of one such score. Not to see a difference is not to see that "
                "there is none.",
            ),
            Option(
                "This can't be told from the two numbers.",
                "They come from different protocols, and the gap is about one standard error. Probe both in the same "
                "way.",
                right=True,
            ),
        ),
    ),
    Question(
        "You have 50,000 labelled images of 28×28 pixels, ten classes, and one hour on a laptop. What do you train "
        "first?",
        (
            Option(
                "A masked autoencoder, then a linear probe.",
                "Short pre-training gave features below raw pixels in this chapter, and labels are not scarce here.",
            ),
            Option(
                "A small convolutional network on the labels.",
                "With small images and many labels it was as good as the probe, within seconds. Whatever comes "
                "later has to beat it.",
                right=True,
            ),
            Option(
                "A large transformer from scratch on the labels.",
                "It has to learn from data what a convolution has built in. That is where pre-training pays, and an "
                "hour on a laptop is too short.",
            ),
        ),
    ),
)
