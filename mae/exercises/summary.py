"""Summary: a number that is too good, a claim to review, and a plan for data of one's own."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, choice, compare, exercise, show
from mae.exercises.quiz import Option, Question, add_quiz
from mae.flops import model_flops
from mae.losses import masked_mse
from mae.masking import num_visible, random_mask
from mae.model import MAEConfig, MaskedAutoencoder


def _curves(generator: torch.Generator) -> Iterator[dict]:
    """Accuracies of a few seeds and epochs, all different."""
    for seeds, epochs in ((1, 3), (2, 4), (5, 10), (8, 30)):
        valid, test = torch.rand(2, seeds, epochs, generator=generator)
        yield {"valid": valid, "test": test}


def _percent(function, generator: torch.Generator) -> float:
    """What a function reports, in percent, on 400 runs whose true accuracy rises to 90 % and stays there."""
    true = 0.9 * (1 - torch.exp(-torch.arange(1, 41) / 4))
    count = torch.full((400, 40), 200.0)  # right answers of 200
    valid, test = (torch.binomial(count, true.expand(400, 40), generator=generator) / 200 for _ in range(2))
    return 100 * float(function(valid, test))


def _at(accuracies: Tensor, epochs: Tensor) -> Tensor:
    return accuracies.gather(1, epochs[:, None])[:, 0]


@exercise(
    "summary.best_epoch",
    "find the bug",
    "A number that is too good",
    minutes=10,
    hints=(
        "Chance lifts some epochs and lowers others. Which of them does a maximum prefer?",
        "Two splits, two roles: one chooses, the other is looked at once, when nothing is left to choose.",
    ),
    then="let the number of epochs grow, and plot how much too good the faulty number gets.",
)
def best_epoch(answer, generator: torch.Generator) -> str:
    """The validation split chooses, the test split reports."""
    faulty = lambda valid, test: test.max(dim=1).values.mean()  # noqa: E731
    too_good = _percent(faulty, generator)
    validation = _percent(lambda valid, test: valid.max(dim=1).values.mean(), generator)

    def reference(valid: Tensor, test: Tensor) -> float:
        pairs = [zip(*curves, strict=True) for curves in zip(valid.tolist(), test.tolist(), strict=True)]
        return sum(max(seed)[1] for seed in pairs) / len(pairs)  # of the pair whose validation accuracy is highest

    verified = compare(
        answer,
        reference,
        _curves(generator),
        {
            "You report the split that chose the epoch. To choose by a number makes the number too good, whatever the "
            f"split is called: {validation:.1f} % on the simulated runs.": lambda valid, test: valid.max(
                dim=1
            ).values.mean(),
            "You report the best seed. That is a choice by the test split again.": lambda valid, test: _at(
                test, valid.argmax(dim=1)
            ).max(),
            "The test split still takes part in the choice, if only by half.": lambda valid, test: _at(
                test, (valid + test).argmax(dim=1)
            ).mean(),
            "The mean over seeds makes the number less too good, but it is still the test split that chooses.": (
                lambda valid, test: test.mean(dim=0).max()
            ),
            "An honest number, but of another rule: here each seed stops at an epoch of its own.": (
                lambda valid, test: test[:, valid.mean(dim=0).argmax()].mean()
            ),
            "An honest number, but of another rule: you take the last epoch, and no seed stops early.": (
                lambda valid, test: test[:, -1].mean()
            ),
            "You average over all epochs, the untrained ones included.": lambda valid, test: test.mean(),
            "You give a number for each seed. Report their mean.": lambda valid, test: _at(test, valid.argmax(dim=1)),
            "You report the validation accuracy, at an epoch that the test split chose: the roles are exchanged, and "
            "both splits are used up.": lambda valid, test: _at(valid, test.argmax(dim=1)).mean(),
        },
        unchanged=(faulty, f"On simulated runs none of which is better than 90 %, it reports {too_good:.0f} %."),
    )
    honest = _percent(answer, generator)
    return (
        f"{verified} On simulated runs none of which is better than 90 %, yours reports {honest:.1f} %; the function "
        f"as handed out reports {too_good:.1f} %."
    )


@exercise(
    "summary.reviewer",
    "choose",
    "Review a claim",
    minutes=5,
    hints=(
        "What does the claim compare? Which evidence speaks about that comparison, and which about something else?",
        "How many right answers more or less would another thousand digits give? The standard error of a count is "
        "the root of n·p·(1 - p).",
    ),
    then="how many test digits would it take to tell these two from one another?",
)
def reviewer(answer, generator: torch.Generator) -> str:
    """Two runs differ by no more than chance explains."""
    if not isinstance(answer, Mapping) or set(answer) != {"choice", "because"}:
        raise Wrong('Expected `{"choice": ..., "because": ...}` with a letter for each.')
    choice(
        answer["choice"],
        "b",
        {
            "a": "Errors on hidden patches at two ratios are answers to two different tasks: the one with fewer "
            "patches to see is harder. They don't tell which features are better.",
            "c": "A baseline tells whether the features are worth anything. The claim is about which of the two is "
            "better, and would stand or fall with any baseline.",
            "d": "Longer runs answer another question, about longer runs; and again with one seed each.",
        },
        name="your choice",
    )
    choice(
        answer["because"],
        "c",
        {
            "a": "Reconstruction and features don't go together: a model that copies neighbours rebuilds well, too. "
            "And it would not be a reason for what you chose.",
            "b": "True, and said in chapter 1. But it is a reason to ask for baselines, and they don't decide here.",
            "d": "Nobody knows from these numbers, and more seeds would not tell.",
        },
        name="your reason",
    )
    error = math.sqrt(1000 * 0.94 * 0.06)
    return (
        f"The count of each model has a standard error of {error:.1f} digits from the choice of test digits alone, "
        f"their difference up to {error * math.sqrt(2):.1f}; and the seed of a run adds to that."
    )


# What the exercise says of the data and the machine.
HEIGHT, WIDTH, CHANNELS = 64, 96, 3
PLANTS, IMAGES = 1_200, 12_000
SPEED, HOURS = 5e10, 8.0  # operations per second, and a night
SPLITS = ("training", "validation", "test")
NEEDED = {
    "pixels": "without the probe on pixels you don't know whether a network is needed",
    "PCA": "without PCA you don't know whether it takes more than to squeeze the pixels",
    "untrained encoder": "without the untrained encoder you don't know what training adds to the architecture",
    "mean image": "without the mean image a reconstruction loss has nothing to be compared with",
}
FIELDS = (
    *("patch", "mask_ratio", "encoder", "decoder", "epochs", "seeds"),
    *("split", "split_by", "pretrain_on", "choose_on", "report_on", "baselines"),
)


def _well_formed(plan: object) -> dict:
    """The plan with every field of the right kind."""
    if not isinstance(plan, Mapping):
        raise Wrong(f"Expected the dictionary `plan`, got {show(plan)}.")
    plan = {**plan}
    if unknown := sorted(set(map(str, plan)) - set(FIELDS)):
        raise Wrong(f"No field of a plan: `{'`, `'.join(unknown)}`. Keep the names of the stub.")
    if missing := [name for name in FIELDS if plan.get(name, ...) is ...]:
        raise Wrong(f"Still open: `{'`, `'.join(missing)}`.")

    def whole(x: object) -> bool:
        return isinstance(x, int) and not isinstance(x, bool) and x > 0

    def three(x: object) -> bool:
        return isinstance(x, tuple | list) and len(x) == 3

    def names(x: object) -> bool:
        return isinstance(x, tuple | list | set | frozenset) and all(isinstance(y, str) for y in x)

    for name in ("pretrain_on", "baselines"):
        plan[name] = (plan[name],) if isinstance(plan[name], str) else plan[name]
    for name, fits, kind in (
        *((name, whole, "a whole number of at least 1") for name in ("patch", "epochs", "seeds")),
        ("mask_ratio", lambda x: isinstance(x, float) and 0 < x < 1, "a number between 0 and 1"),
        *(
            (name, lambda x: three(x) and all(map(whole, x)), "(width, depth, heads)")
            for name in ("encoder", "decoder")
        ),
        (
            "split",
            lambda x: three(x) and all(isinstance(y, float) and y > 0 for y in x) and math.isclose(sum(x), 1),
            "three shares that sum to 1",
        ),
        ("split_by", lambda x: x in ("image", "plant"), '"image" or "plant"'),
        ("pretrain_on", lambda x: names(x) and x and set(x) <= set(SPLITS), f"some of {', '.join(SPLITS)}"),
        *((name, lambda x: x in SPLITS, f"one of {', '.join(SPLITS)}") for name in ("choose_on", "report_on")),
        (
            "baselines",
            lambda x: names(x) and set(x) <= {*NEEDED, "supervised", "chance"},
            f"some of {', '.join(NEEDED)}, supervised, chance",
        ),
    ):
        if not fits(plan[name]):
            raise Wrong(f"Expected {kind} for `{name}`, got {show(plan[name])}.")
    return plan


def _config(plan: Mapping) -> MAEConfig:
    """The model of a plan."""
    p = plan["patch"]
    if HEIGHT % p or WIDTH % p:
        raise Wrong(
            f"Patches of {p} pixels don't divide images of {HEIGHT}×{WIDTH}: the last row or column would be cut.",
            {"rows": HEIGHT / p, "columns": WIDTH / p},
        )
    N = (HEIGHT // p) * (WIDTH // p)
    (width, depth, heads), (decoder_width, decoder_depth, decoder_heads) = plan["encoder"], plan["decoder"]
    try:
        num_visible(N, plan["mask_ratio"])
        return MAEConfig(
            grid=(HEIGHT // p, WIDTH // p),
            patch_values=p * p * CHANNELS,
            width=width,
            depth=depth,
            heads=heads,
            decoder_width=decoder_width,
            decoder_depth=decoder_depth,
            decoder_heads=decoder_heads,
        )
    except ValueError as error:
        raise Wrong(f"Such a model can't be built: {error}.", {"patches": N}) from error


def _costs(plan: Mapping, config: MAEConfig) -> dict:
    """Tokens, operations and hours."""
    N, K = config.num_patches, num_visible(config.num_patches, plan["mask_ratio"])
    flops = model_flops(config, K, N - K)
    passes = plan["seeds"] * plan["epochs"] * IMAGES * plan["split"][0]
    return {
        "patches": N,
        "visible": K,
        "operations, forward": f"{sum(flops.values()) / 1e6:,.0f} million",
        "share of the decoder": flops["decoder"] / sum(flops.values()),
        "hours": 3 * passes * sum(flops.values()) / SPEED / 3600,
        "plants in the test split": round(PLANTS * plan["split"][2]),
    }


def _faults_of_the_model(plan: Mapping, costs: Mapping) -> Iterator[str]:
    if costs["visible"] < 16:
        yield (
            f"The encoder sees {costs['visible']} patches of an image, too few to tell what it shows: smaller patches, "
            "or a lower ratio."
        )
    if plan["mask_ratio"] < 0.5:
        yield "Less than half is hidden: an image repeats itself, and holes can be filled without looking at it."
    if costs["share of the decoder"] >= 0.5:
        yield (
            "The decoder, which is thrown away, does half of the work or more. It runs on all patches: make it "
            "narrower or less deep."
        )
    if costs["hours"] > HOURS:
        yield (
            f"All runs together take {costs['hours']:.1f} hours, and the night has {HOURS:g}. Tokens, width, depth, "
            "epochs: where does one hour buy least?"
        )
    if plan["epochs"] < 100:
        yield f"{plan['epochs']} epochs may end before attention has formed: at least 100 are asked for."


def _faults_of_the_protocol(plan: Mapping, costs: Mapping, generator: torch.Generator) -> Iterator[str]:
    train, valid, test = plan["split"]
    if plan["split_by"] == "image":
        seen, new = _neighbours(generator)
        yield (
            "Images of one plant land in the training and in the test split, and to know a plant again is not to know "
            f"its disease. A classifier on simulated plants, run just now, has {seen:.0f} % right when images are "
            f"split, and {new:.0f} % on plants that are new to it."
        )
    if (error := math.sqrt(0.25 / (PLANTS * test))) > 0.04:
        yield (
            f"With {PLANTS * test:.0f} test plants, an accuracy near one half has a standard error of "
            f"{100 * error:.1f} points; at most 4 are allowed. Images of one plant don't count as several."
        )
    if train < 0.5 or valid < 0.1:
        yield "Keep at least half of the data for training, and a tenth for validation."
    if "test" in plan["pretrain_on"]:
        yield "Pre-training sees the test images. Labels or not: they are no longer new to the encoder."
    if "validation" in plan["pretrain_on"]:
        yield "Pre-training sees the validation images, so its loss on them can't choose anything."
    if "training" not in plan["pretrain_on"]:
        yield "Pre-training does not use the training images."
    if plan["choose_on"] == "test":
        yield "What is chosen on the test split can't be reported on it: the number will be too good, by chance alone."
    if plan["choose_on"] == "training":
        yield "On the training split the longest run and the weakest penalty always win. Choose on images held out."
    if plan["report_on"] != "test":
        yield f"The {plan['report_on']} split has been used before. Report on what nothing has seen."
    if plan["seeds"] < 3:
        yield f"{plan['seeds']} run{'s' if plan['seeds'] > 1 else ''} can't show how much seeds differ: at least 3."
    for name, why in NEEDED.items():
        if name not in plan["baselines"]:
            yield f"{why[0].upper()}{why[1:]}."


def _neighbours(generator: torch.Generator) -> tuple[float, float]:
    """Percent right of one nearest neighbour on simulated plants, split by image and by plant."""
    plants, images, D = 200, 10, 16
    kind = torch.randint(4, (plants,), generator=generator)
    means = 0.6 * torch.randn(4, D, generator=generator)
    x = means[kind] + torch.randn(plants, D, generator=generator)  # (plants, D)
    x = (x[:, None] + 0.4 * torch.randn(plants, images, D, generator=generator)).flatten(0, 1)
    y, plant = kind.repeat_interleave(images), torch.arange(plants).repeat_interleave(images)
    by_image = torch.rand(len(x), generator=generator) < 0.2
    by_plant = (torch.rand(plants, generator=generator) < 0.2)[plant]
    right = [y[~held][torch.cdist(x[held], x[~held]).argmin(dim=1)] == y[held] for held in (by_image, by_plant)]
    return tuple(100 * share.float().mean().item() for share in right)


@exercise(
    "summary.plan",
    "design",
    "A plan for new data",
    minutes=60,
    hints=(
        "Begin with the patch: it must divide both sides, and N = (64 / p)·(96 / p) decides what all else costs. "
        "`mae.MAEConfig` and `mae.flops.model_flops(config, K, N - K)` count for you.",
        "Hours = 3 · operations · images in training · epochs · seeds / speed / 3,600. A standard error of at most 4 "
        "points at an accuracy of one half asks for n with 50 / √n ≤ 4, and n counts plants.",
    ),
    then="halve the patch, keep the night, and see what you have to give up.",
)
def plan(answer, generator: torch.Generator) -> str:
    """The model is built and run, its costs are counted, the protocol is judged."""
    plan = _well_formed(answer)
    config = _config(plan)
    costs = _costs(plan, config)
    faults = [*_faults_of_the_model(plan, costs), *_faults_of_the_protocol(plan, costs, generator)]
    if faults:
        numbered = " ".join(f"({i}) {fault}" for i, fault in enumerate(faults, 1))
        raise Wrong(numbered if len(faults) > 1 else faults[0], costs)
    model = MaskedAutoencoder(config, generator=generator)
    patches = torch.rand(2, config.num_patches, config.patch_values, generator=generator)
    mask = random_mask(2, config.num_patches, plan["mask_ratio"], generator=generator)
    loss = masked_mse(model(patches, mask), patches, mask)
    loss.backward()
    return (
        f"A model of {sum(p.numel() for p in model.parameters()):,} parameters was built and run: it sees "
        f"{costs['visible']} of {costs['patches']} patches, spends {1 - costs['share of the decoder']:.0%} of its work "
        f"outside of the decoder, and {plan['seeds']} runs take {costs['hours']:.1f} hours. The protocol lets nothing "
        "learn from what is reported."
    )


add_quiz(
    "summary",
    Question(
        "Your training loss stops at one half of the data's variance, whatever the learning rate. What now?",
        (
            Option(
                "Train longer: attention forms slowly",
                "It does, but then the loss bends and goes on. A value that no learning rate moves is a floor.",
            ),
            Option(
                "Take a larger model",
                "A floor of the task is the same for every model. Look at what the loss asks for.",
            ),
            Option(
                "Ask which fault has its minimum there",
                "A round number can be derived: two independent masks, a ReLU at the end, noise as data.",
                True,
            ),
            Option(
                "Normalise the pixels",
                "That rescales the loss and hides the round number; the cause stays.",
            ),
        ),
    ),
    Question(
        "Which comparison shows that pre-training taught the encoder something?",
        (
            Option(
                "Its probe with that of the same encoder before training",
                "Architecture, width and classifier are the same on both sides; only the training differs.",
                True,
            ),
            Option(
                "Its loss at the end with that at the beginning",
                "The loss falls to that of the mean image without any features worth having.",
            ),
            Option(
                "Its pictures with the truth",
                "Pictures are made with the decoder, and the visible patches in them are pasted.",
            ),
            Option(
                "Its probe with chance",
                "Pixels and an untrained encoder beat chance by far, too.",
            ),
        ),
    ),
    Question(
        "Which change makes pre-training cheaper and its task harder at once?",
        (
            Option(
                "A deeper decoder",
                "It runs on all patches, so that each block of it costs more; the task stays the same.",
            ),
            Option(
                "Mask tokens in the encoder",
                "The encoder then has all N tokens again: several times the work, for the same task.",
            ),
            Option(
                "Normalised pixels",
                "The target changes, and the work does not.",
            ),
            Option(
                "A higher mask ratio",
                "Fewer tokens in the encoder, and less to guess the rest from.",
                True,
            ),
        ),
    ),
    Question(
        "You show reconstructions of a model with normalised targets, un-normalised by the true means. What is wrong?",
        (
            Option(
                "Nothing: it is the inverse of the normalisation",
                "It is, but in use nobody knows the mean of a hidden patch.",
            ),
            Option(
                "The picture holds part of the answer",
                "A mean and a deviation per patch are the image at low resolution: predict zeros, and it can be seen.",
                True,
            ),
            Option(
                "Only the brightness is off",
                "On the contrary: brightness and contrast are right, because they are not predicted but given.",
            ),
        ),
    ),
    Question(
        "The encoder was trained on a quarter of the patches. What does it get when you use its features?",
        (
            Option(
                "All patches, and no mask tokens",
                "Attention takes any number of tokens. The mask is a task for training, not part of the encoder.",
                True,
            ),
            Option(
                "A quarter of the patches, drawn at random",
                "Then features would depend on the draw, and three quarters of the image would be wasted.",
            ),
            Option(
                "A quarter of the patches, and mask tokens for the rest",
                "The encoder has never met a mask token; they belong to the decoder.",
            ),
        ),
    ),
)
