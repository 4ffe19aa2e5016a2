"""Chapter 7: a difference with its margin, and the number of seeds that a difference needs."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy import ndarray

from mae.exercises.engine import Wrong, call, compare, exercise, number, same, show
from mae.exercises.quiz import Option, Question, add_quiz


def _sweeps(generator: torch.Generator) -> Iterator[dict]:
    """Accuracies of settings that differ in their means, in their spread by chance, and in their number of seeds."""
    for seeds in ((2, 2), (3, 3, 3), (2, 5, 3, 4), (6, 2, 3, 4, 3, 5, 2)):
        base, change = torch.randperm(len(seeds), generator=generator)[:2].tolist()
        means = 0.7 + 0.2 * torch.rand(len(seeds), generator=generator)
        noise = [0.03 * torch.randn(S, generator=generator) for S in seeds]
        scores = [(mean + e).double().numpy().round(3) for mean, e in zip(means, noise, strict=True)]
        yield {"scores": scores, "base": base, "change": change}


def _squares(scores: list[ndarray]) -> float:
    """Squared deviations of all scores from the means of their settings."""
    return sum(((s - s.mean()) ** 2).sum() for s in scores)


def _pooled(change: ndarray, base: ndarray, scores: list[ndarray]) -> tuple[float, float]:
    deviation = math.sqrt(_squares(scores) / sum(len(s) - 1 for s in scores))
    return deviation, deviation


def _both(spread: Callable) -> Callable:
    """The same deviation for both settings, from the scores of all."""
    return lambda change, base, scores: 2 * (spread(scores),)


def _of_means(deviations: tuple[float, float], seeds: tuple[int, int]) -> float:
    return math.hypot(*(d / math.sqrt(n) for d, n in zip(deviations, seeds, strict=True)))


def _rule(
    spread: Callable = _pooled,
    error: Callable = _of_means,
    center: Callable = np.mean,
    sign: int = 1,
    points: int = 100,
    errors: int = 2,
) -> Callable:
    """The rule of the chapter, with some of its parts replaced."""

    def rule(scores: list[ndarray], base: int, change: int) -> tuple[float, float]:
        new, old = scores[change], scores[base]
        difference = sign * points * (center(new) - center(old))
        return difference, errors * points * error(spread(new, old, scores), (len(new), len(old)))

    return rule


def _paired(scores: list[ndarray], base: int, change: int) -> tuple[float, float]:
    """What a reader computes who takes differences seed by seed."""
    differences = scores[change] - scores[base]
    return 100 * differences.mean(), 200 * differences.std(ddof=1) / math.sqrt(len(differences))


def _false_alarms(answer: Callable, generator: torch.Generator) -> float:
    """Per cent of pairs that differ by more than their margin, among settings that are equal in truth."""
    called = 0
    for _ in range(20):
        scores = list(0.8 + 0.02 * torch.randn(20, 3, generator=generator).double().numpy())
        for i in range(0, 20, 2):
            difference, margin = call(answer, {"scores": scores, "base": i, "change": i + 1})
            called += abs(float(difference)) > float(margin)
    return called / 2


@exercise(
    "ablations.margin",
    "implement",
    "A difference and its margin",
    minutes=20,
    hints=(
        "How far does a seed lie from the mean of its own setting? Gather the squares of all settings. Then count: of "
        "n deviations from their own mean, one follows from the others, so a setting adds n − 1.",
        "The pooled deviation is that of a single run. The mean of n runs has it divided by √n, and the errors of two "
        "means add as squares. Points and the factor two come last.",
    ),
    then="give it the chapter's own scores, `stored(change, measure)` for all settings of one kind, and find the "
    "margins of the table. Then take the differences seed by seed instead: do they scatter less?",
)
def margin(answer, generator: torch.Generator) -> str:
    """Means, their difference, and two standard errors of it from a pooled deviation."""
    mistakes = {
        "You divide the squares by the number of scores. Each mean was fitted to the same scores, so they lie closer "
        "to it than to the truth: with three seeds, the spread comes out nearly a fifth too small.": _rule(
            _both(lambda scores: math.sqrt(_squares(scores) / sum(map(len, scores))))
        ),
        "You take off one degree of freedom for all settings together. Each has a mean of its own.": _rule(
            _both(lambda scores: math.sqrt(_squares(scores) / (sum(map(len, scores)) - 1)))
        ),
        "You measure the spread around one mean of all scores. Then what the settings change, which you want to see, "
        "counts as noise.": _rule(_both(lambda scores: np.concatenate(scores).std(ddof=1))),
        "You measure the spread around one mean of all scores, so what the settings change counts as noise; and NumPy "
        "divides by n if you don't say `ddof=1`.": _rule(_both(lambda scores: np.concatenate(scores).std())),
        "You average the deviations of the settings. Squares are what adds up, and a setting of five seeds knows more "
        "of the spread than one of two.": _rule(_both(lambda scores: np.mean([s.std(ddof=1) for s in scores]))),
        "You average the deviations of the settings, and each is too small: NumPy divides by n if you don't say "
        "`ddof=1`.": _rule(_both(lambda scores: np.mean([s.std() for s in scores]))),
        "You average the variances as if each setting knew as much of the spread. Weigh them by their degrees of "
        "freedom.": _rule(_both(lambda scores: math.sqrt(np.mean([s.var(ddof=1) for s in scores])))),
        "You take the spread from the two settings alone. A few seeds tell little: now and then they lie close "
        "together by chance, and the margin with them. Pool all settings.": _rule(
            lambda new, old, scores: (new.std(ddof=1), old.std(ddof=1))
        ),
        "You take the spread from the two settings alone, and divide by n (NumPy does, if you don't say `ddof=1`). "
        "Pool all settings, and count degrees of freedom.": _rule(lambda new, old, scores: (new.std(), old.std())),
        "You pool these two settings only. The spread is taken to be that of every setting in the list, so each helps "
        "to measure it.": _rule(lambda new, old, scores: _pooled(new, old, [new, old])),
        "Your margin is made from the spread of single runs. You compare means, and the mean of n runs is less "
        "uncertain than one of them.": _rule(error=lambda d, n: math.hypot(*d)),
        "Your margin is that of one run. You compare two means: the mean of n runs is less uncertain than one, and "
        "there are two of them.": _rule(error=lambda d, n: d[0]),
        "You divide the deviation by the number of seeds. It is the variance of a mean that falls as 1 / n.": _rule(
            error=lambda d, n: math.hypot(d[0] / n[0], d[1] / n[1])
        ),
        "You divide by the root of all seeds of both settings, as if they made one mean. There are two means, each "
        "from its own seeds.": _rule(error=lambda d, n: d[0] / math.sqrt(sum(n))),
        "You add two standard errors. Seeds of two settings are lucky or unlucky independently, so the squares add.": (
            _rule(error=lambda d, n: d[0] / math.sqrt(n[0]) + d[1] / math.sqrt(n[1]))
        ),
        "You take the base as exact. It is a mean of a few seeds like the other one.": _rule(
            error=lambda d, n: d[0] / math.sqrt(n[0])
        ),
        "Your margin is one standard error. At that, chance alone calls one comparison in three.": _rule(errors=1),
        "You compare means alone: with a margin of zero, every difference is an effect.": _rule(errors=0),
        "The sign is turned: what a change adds is its mean less that of the base.": _rule(sign=-1),
        "Your result is in fractions. Points are hundredths, as in the paper's table.": _rule(points=1),
        "You compare the best seeds. The more seeds a setting has, the luckier its best one; compare means.": _rule(
            center=np.max
        ),
    }
    cases = list(_sweeps(generator))
    equal = cases[1]  # three seeds each; with other numbers, a reader who pairs them sees an exception only
    if same(got := call(answer, equal), _paired(**equal)):
        raise Wrong(
            "You take the differences seed by seed. The rule pairs no seeds: settings may differ in how many they "
            "have, and the spread comes from the pool.",
            {**equal, "yours": got, "expected": _rule()(**equal)},
        )
    verified = compare(answer, _rule(), cases, mistakes)
    alarms = _false_alarms(answer, generator)
    return (
        f"{verified} Of 200 pairs of settings that are equal in truth, with three seeds each, {alarms:.0f} % differ by "
        "more than your margin: about one in twenty is the price of two standard errors."
    )


DEVIATION, EFFECT = 2.0, 1.0  # points, as the exercise says


def _passed(seeds: int, generator: torch.Generator) -> float:
    """Per cent of simulated experiments whose difference passes the rule."""
    new, old = DEVIATION * torch.randn(2, 2000, seeds, generator=generator)
    difference = EFFECT + new.mean(dim=1) - old.mean(dim=1)
    passed = difference.abs() > 2 * DEVIATION * math.sqrt(2 / seeds)
    return 100 * passed.float().mean().item()


@exercise(
    "ablations.seeds",
    "predict",
    "How many seeds?",
    minutes=5,
    hints=(
        "Which standard error has the mean of n runs, and which the difference of two such means? How many times "
        "smaller must it get to show half the difference?",
        "Two standard errors of the difference are 2·σ·√(2 / n): set that equal to what you want to see. For `seen`, "
        "draw the true difference, the threshold, and where the measured differences fall.",
    ),
    then="with three seeds for each setting, what must a change add to be seen in four of five repeats?",
)
def seeds(answer, generator: torch.Generator) -> str:
    """The two numbers by the formula, the third by simulation."""
    names = ("seeds", "half", "seen")
    if not isinstance(answer, Mapping) or set(answer) != set(names):
        raise Wrong(f"Expected a dictionary with the keys {', '.join(names)}, got {show(answer)}.")
    needed = round(2 * (2 * DEVIATION / EFFECT) ** 2)
    number(
        answer["seeds"],
        needed,
        0,
        {
            "You take the base as exact. It is a mean of seeds, too, and adds as much to the error.": needed // 2,
            "At that number, the difference is one standard error. The rule asks for two.": needed // 4,
            "At that number, one standard error of the change alone is one point. The base has an error as well, and "
            "the rule asks for two.": needed // 8,
            "You added the errors of two means, whose squares add; or you counted the seeds of both settings.": 2
            * needed,
            "You let the error fall with n. It falls with the root of n.": 6,
        },
        name="seeds",
    )
    number(
        answer["half"],
        4 * needed,
        0,
        {
            "Twice the seeds make the error smaller by √2 only.": 2 * needed,
            "A smaller difference is harder to see, not easier.": needed // 2,
            "A smaller difference needs more seeds, not the same number.": needed,
            "Half the difference needs half the error, and the error falls with the root of n.": 8 * needed,
        },
        name="half",
    )
    passed = _passed(needed, generator)
    share = answer["seen"]
    if isinstance(share, float) and 0 < share < 1:
        raise Wrong("`seen` is a number out of 100.", {"seen": share})
    number(
        share,
        50,
        3,
        {
            "About 95 of 100 is how often the rule keeps still where there is no difference. Here there is one, and "
            "the question is how often it is seen.": 95,
            "About 5 of 100 is how often the rule calls a difference where there is none. Here there is one.": 5,
            "Always would need measured differences that hit the true one. They scatter around it, and some fall below "
            "the threshold.": 100,
            "Never would need measured differences that stay below the true one. They scatter to both sides.": 0,
        },
        name="seen",
    )
    return (
        f"In 2,000 simulated ablations with {needed} seeds for each setting, the difference passed in {passed:.0f} of "
        f"100; with {2 * needed}, in {_passed(2 * needed, generator):.0f}. What you can only just see, you see every "
        "other time."
    )


add_quiz(
    "ablations",
    Question(
        "The base is trained for 24 epochs. May you take its checkpoint after six for the row “a quarter of the "
        "epochs”?",
        (
            Option(
                "Yes: six epochs are six epochs, and even the seed is the same",
                "The number of epochs also sets the schedule. A run of six has finished its own; this one has not.",
            ),
            Option(
                "No: its learning rate is still high",
                "A run cut short never had the small steps at the end: one finished run, and one that is not.",
                True,
            ),
            Option(
                "No: it has drawn other masks than a run of six epochs draws",
                "Other draws are chance, as in another seed. They favour neither side.",
            ),
            Option(
                "Yes, if the weights of the optimiser are kept as well",
                "They help to go on from there. But you measure there, and the schedule is not at its end.",
            ),
        ),
    ),
    Question(
        "With mask tokens in the encoder and without, both after 24 epochs, the verdict is “can't tell”. What may you "
        "write?",
        (
            Option(
                "Mask tokens in the encoder do no harm",
                "Harm smaller than the margin would look just so. Not seen is not the same as not there.",
            ),
            Option(
                "The paper is wrong about mask tokens",
                "The paper is about another size and a longer training, and “can't tell” contradicts nobody.",
            ),
            Option(
                "Both are worth the same for the same time of computing",
                "Epochs were equal, not work: with tokens, the encoder gets about four times as many inputs.",
            ),
            Option(
                "For equal epochs, three seeds can't say which is better",
                "That is what was measured, and for which budget. How much harm is left possible stands in the margin.",
                True,
            ),
        ),
    ),
    Question(
        "You probe five mask ratios on the test digits and report the best one's accuracy on them. What is wrong?",
        (
            Option(
                "It is too good: the best of five was lucky, too",
                "Test digits that choose can't judge. Choose on digits held out of training, and report on others.",
                True,
            ),
            Option(
                "Nothing, as a probe does not change the encoder",
                "The encoder stays, and yet the test digits decided which of five encoders you report.",
            ),
            Option(
                "Nothing, if each ratio had three seeds",
                "Seeds make the luck of each smaller. A maximum over five still prefers the lucky one.",
            ),
            Option(
                "The best ratio should have been chosen by its reconstruction error",
                "Errors at two ratios belong to two tasks, and the easier one would win.",
            ),
        ),
    ),
    Question(
        "Twenty changes do nothing at all in truth. You judge each by two standard errors. What will the table hold?",
        (
            Option(
                "Twenty times “can't tell”",
                "That would need a rule that never errs. Two standard errors let about one in twenty through.",
            ),
            Option(
                "“Agrees” in about half of the rows, “disagrees” in the others",
                "So it would be if signs alone counted. The margin keeps most of them out.",
            ),
            Option(
                "About one verdict with a sign, by chance",
                "And it is the row that one is tempted to tell a story about. Run it again with new seeds.",
                True,
            ),
        ),
    ),
    Question(
        "What goes wrong if each row is judged by the spread of its own three seeds?",
        (
            Option(
                "Nothing: its own seeds describe it best",
                "They would if there were many. A spread from three is off by half, easily.",
            ),
            Option(
                "Some margins come out tiny, and call noise an effect",
                "Three seeds can lie close together by chance. A pool of all settings hardly can.",
                True,
            ),
            Option(
                "The differences become smaller, because they are measured against fewer runs",
                "The differences are those of the means, and no margin changes them.",
            ),
            Option(
                "All margins become too large, so that nothing can be told any more",
                "Some do, and others shrink. A spread from three seeds errs to both sides.",
            ),
        ),
    ),
)
