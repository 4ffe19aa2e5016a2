"""Chapter 4a: floors, minimisers, and a training step put right."""

import copy
import math
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mae.exercises.engine import NotAttempted, Wrong, call, choice, compare, exercise, number, same
from mae.exercises.quiz import Option, Question, add_quiz
from mae.fully_connected import pixel_loss, pixel_mask


@cache
def _digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's digits of 8 × 8 pixels, 0 to 1: 1,400 to train on, 397 to test on.

    Read from their file: to import scikit-learn takes longer than a check should.
    """
    file = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"
    pixels = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32)[:, :64]) / 16  # then comes the label
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    return pixels[order[:1400]], pixels[order[1400:]]


@exercise(
    "source.floor_guess",
    "predict",
    "The floor of a drawing",
    minutes=3,
    hints=(
        "List the values that a pixel of the target can have, and how often each occurs. What remains of each?",
        "The target is −1 for four pixels of five that the mask keeps. An output of 0 is the nearest to it.",
    ),
    then="find a scaling of black and white for which the floor is 0, whatever the drawing.",
)
def floor_guess(answer, generator: torch.Generator) -> str:
    """Every pixel of the target, listed: five pixels, kept or not."""
    drawing = torch.tensor([-1.0, -1, -1, -1, 1])
    target = torch.stack([drawing, torch.zeros(5)])
    mistakes = {
        "This is the floor if every pixel is kept. Where the mask keeps nothing, the target is 0, and a ReLU can "
        "answer 0.": (drawing.clamp(max=0) ** 2).mean().item(),
        "This is the loss of an output of nothing but zeros. The white pixels are within reach of a ReLU.": (
            (target**2).mean().item()
        ),
        "You count the white pixels, which a ReLU can reach. What is out of reach is below zero.": (
            (target.clamp(min=0) ** 2).mean().item()
        ),
        "This is the floor for a standard normal target. Half of its square lies below zero; of this drawing, more "
        "does.": 0.25,
        "That would need an output of −1. What is the least that a ReLU gives?": 0.0,
        "This is the share of white among all pixels, not what a ReLU misses.": 0.2,
    }
    number(answer, (target.clamp(max=0) ** 2).mean().item(), 0.02, mistakes, name="the floor")
    return "The ten cases, listed (five pixels, kept or not), give the same mean."


def _ranges(generator: torch.Generator) -> Iterator[dict]:
    """Targets below, within and above the range of the output."""
    for B, N, low, high in ((1, 4, 0.0, 1.0), (2, 5, -1.0, 1.0), (3, 8, -0.5, 2.0), (4, 7, 1.0, 1.5)):
        target = (6 * torch.rand(B, N, generator=generator) - 2.5).mul(4).round() / 4
        target[0, :3] = torch.tensor([low - 1.5, (low + high) / 2, high + 0.75])
        yield {"target": target, "low": low, "high": high}


def _nearest(target: Tensor, low: float, high: float) -> float:
    """The floor, number by number."""
    misses = [t - min(max(t, low), high) for t in target.flatten().tolist()]
    return sum(miss**2 for miss in misses) / len(misses)


@exercise(
    "source.floor",
    "implement",
    "The floor of any last layer",
    minutes=10,
    hints=(
        "For each value of the target: which output between `low` and `high` is the nearest, and how far off is it?",
        "`target.clamp(low, high)` is the best output there is. What is its loss?",
    ),
    then="what is the floor of a sigmoid for pixels that were standardised to mean 0 and variance 1?",
)
def floor(answer, generator: torch.Generator) -> str:
    """The mean squared distance from the target to the range."""

    def missed(t, low, high):
        return t - t.clamp(low, high)

    mistakes = {
        "You count what lies below the range only. A target above `high` is out of reach too.": lambda t, low, high: (
            missed(t, low, math.inf).pow(2).mean()
        ),
        "You count what lies above the range only. A target below `low` is out of reach too.": lambda t, low, high: (
            missed(t, -math.inf, high).pow(2).mean()
        ),
        "Your range begins at 0, as a ReLU's does, whatever `low` is.": lambda t, low, high: (
            missed(t, 0, high).pow(2).mean()
        ),
        "You take the distance itself; the loss squares it.": lambda t, low, high: missed(t, low, high).abs().mean(),
        "You take the mean over the values out of reach only. The loss is a mean over all, and the others add "
        "nothing.": lambda t, low, high: missed(t, low, high)[missed(t, low, high) != 0].pow(2).mean(),
        "You square the target where it is out of reach. What remains is its distance from the nearest output, not "
        "from 0.": lambda t, low, high: (t**2 * (missed(t, low, high) != 0)).mean(),
        "You count how many values are out of reach, not how far out they are.": lambda t, low, high: (
            (missed(t, low, high) != 0).float().mean()
        ),
        "You take the sum; the loss is a mean.": lambda t, low, high: missed(t, low, high).pow(2).sum(),
        "You average before you square. The loss squares each value's error.": lambda t, low, high: (
            missed(t, low, high).mean() ** 2
        ),
        "You give one number per example; the loss of a batch is one number.": lambda t, low, high: (
            missed(t, low, high).pow(2).mean(dim=1)
        ),
        "You give one number per value; the loss of a batch is one number.": lambda t, low, high: missed(
            t, low, high
        ).pow(2),
    }
    said = compare(answer, _nearest, _ranges(generator), mistakes)
    target = torch.tensor([[-2.0, 1.0]])
    got = call(answer, {"target": target, "low": 0.0, "high": math.inf})
    if not abs(float(got) - 2) < 1e-5:
        raise Wrong(
            "Right for a range with two ends. A ReLU has only one, `high` is infinity, and there your result fails. "
            "Infinity times zero is not zero.",
            {"target": target, "low": 0.0, "high": math.inf, "yours": got, "expected": 2.0},
        )
    return f"{said} A ReLU, without an upper end, agrees too."


def _ink(seen: Tensor, images: Tensor) -> Tensor:
    """For each image, how many of its pixels with ink are not seen."""
    return ((images != 0) & (seen == 0)).sum(dim=1)


def _agree(seen: Tensor, images: Tensor) -> Tensor:
    """Which images have the values that are seen."""
    return ((images == seen) | (seen == 0)).all(dim=1)


def _mean(weights: Tensor, images: Tensor) -> Tensor:
    return (weights[:, None] * images).sum(dim=0) / weights.sum()


def _seen(generator: torch.Generator) -> Iterator[dict]:
    """What is left of an image, a set that holds several images it can come from, and two probabilities."""
    for images, N in ((2, 1), (3, 2), (5, 3), (6, 4)):
        while True:
            drawn = torch.randint(0, 3, (images, N), generator=generator).float()
            seen = drawn[0] * pixel_mask((N,), generator=generator)
            drawn[-1] = seen  # one image is black where nothing is seen
            keep, keep_target = (0.1 + 0.8 * torch.rand(2, generator=generator)).mul(20).round().div(20).tolist()
            apart = min(abs(keep - 0.5), abs(keep_target - 0.5), abs(keep - keep_target), abs(keep + keep_target - 1))
            agree = _agree(seen, drawn)
            several = len(_ink(seen, drawn)[agree].unique()) > 1
            if apart > 0.09 and several and (N == 1 or ((seen != 0).any() and not agree.all())):
                break
        yield {"seen": seen, "images": drawn, "keep": keep, "keep_target": keep_target}


def _least(seen: Tensor, images: Tensor, keep: float, keep_target: float) -> Tensor:
    """By brute force: the expected loss of three outputs over all images and masks, and the parabola through them."""
    masks = torch.tensor(list(product([0.0, 1.0], repeat=len(seen))), dtype=torch.float64)
    chance = lambda p: (p**masks * (1 - p) ** (1 - masks)).prod(dim=1)  # noqa: E731
    loss = torch.zeros(3, len(seen), dtype=torch.float64)
    for image in images.double():
        for mask, probability in zip(masks, chance(keep), strict=True):
            if torch.equal(image * mask, seen.double()):
                error = [chance(keep_target) @ (output - image * masks) ** 2 for output in (-1, 0, 1)]
                loss += probability * torch.stack(error)
    return (loss[0] - loss[2]) / 2 / (loss[0] + loss[2] - 2 * loss[1])


@exercise(
    "source.minimiser",
    "implement",
    "The best answer to two masks",
    minutes=20,
    hints=(
        "Which images can it be? Of those, is an image with much ink as likely to leave so little to be seen?",
        "An image that agrees with `seen` gets the weight `1 - keep` for each pixel with ink that must have been "
        "hidden. Take the weighted mean of the images; then ask what the second mask makes of it.",
    ),
    then="let `keep` go towards 0, then towards 1. What does the best network draw in each case, and why?",
)
def minimiser(answer, generator: torch.Generator) -> str:
    """The conditional mean of the image, times the probability that it is asked for."""

    def weights(seen, images, chance):
        return _agree(seen, images) * chance ** _ink(seen, images)

    def scaled(chance):
        return lambda s, i, k, t: chance(k, t) * _mean(weights(s, i, 1 - k), i)

    mistakes = {
        "This is the conditional mean of the image: the best answer if the target were always the image. Here a "
        "second mask makes it zero at times.": scaled(lambda k, t: 1),
        "You scale by the probability that the input is kept. What does the target's mask do?": scaled(lambda k, t: k),
        "You scale by one half. That holds only where the target's mask keeps one half.": scaled(lambda k, t: 0.5),
        "You scale by the probability that the target's mask hides a pixel.": scaled(lambda k, t: 1 - t),
        "You scale by both probabilities. What is seen is given; only the target's mask is still open.": scaled(
            lambda k, t: k * t
        ),
        "You take every image that agrees for equally likely. One with much ink seldom leaves so little to be seen.": (
            lambda s, i, k, t: t * _mean(_agree(s, i).float(), i)
        ),
        "You take every image that agrees for equally likely, and you leave out the target's mask.": (
            lambda s, i, k, t: _mean(_agree(s, i).float(), i)
        ),
        "You give the mean of all images, whatever was seen. Some of them can't have left these values.": (
            lambda s, i, k, t: t * i.mean(dim=0)
        ),
        "You fill in nothing: what is hidden comes out as 0. A zero may be a hidden pixel, and then the other images "
        "say what to expect.": lambda s, i, k, t: t * s,
        "You make an exception of the visible pixels. They too are asked for only if the second mask keeps them.": (
            lambda s, i, k, t: torch.where(s != 0, s, t * _mean(weights(s, i, 1 - k), i))
        ),
        "Your weights do not add up to 1: divide by their sum.": lambda s, i, k, t: (
            t * (weights(s, i, 1 - k)[:, None] * i).sum(dim=0)
        ),
        "You weigh an image by the probability that its missing pixels are kept. They were hidden.": (
            lambda s, i, k, t: t * _mean(weights(s, i, k), i)
        ),
        "You give the likeliest image. A squared error asks for the mean.": lambda s, i, k, t: (
            t * i[weights(s, i, 1 - k).argmax()]
        ),
    }
    said = compare(answer, _least, _seen(generator), mistakes)
    return f"{said[:-1]}, which minimises the expected loss over all images and all pairs of masks."


def _ratio_of_slopes(keep: float, keep_target: float, generator: torch.Generator) -> float:
    """Two linear models fitted to digits, one to masked targets; how much of the other's slope it has."""
    train, test = _digits()
    given = train * pixel_mask(train.shape, keep, generator=generator)
    targets = torch.cat([train * pixel_mask(train.shape, keep_target, generator=generator), train], dim=1)
    fit = torch.linalg.solve(given.T @ given + torch.eye(64), given.T @ targets)
    visible = pixel_mask(test.shape, keep, generator=generator)
    output = (test * visible) @ fit
    bright = (visible == 1) & (test > 0.5)
    two_masks, whole = ((out * test)[bright].sum() for out in output.chunk(2, dim=1))
    return (two_masks / whole).item()


@exercise(
    "source.slope",
    "predict",
    "Two masks, unequal",
    minutes=5,
    hints=(
        "Write the expected error of an output for one pixel x: with probability 1/5 the target is x, else 0. Where "
        "is its minimum?",
        "The minimum lies at q · x, with q the probability that the target is kept. Put it back into the expected "
        "error, and divide by x².",
    ),
    then="for which probability is the part that can't be removed largest, and why there?",
)
def slope(answer, generator: torch.Generator) -> str:
    """A regression on digits for the slope; a network that knows everything for the part that stays."""
    if not isinstance(answer, dict) or set(answer) != {"slope", "stays"}:
        raise Wrong('Expected a dictionary with the two keys "slope" and "stays", as in the stub.')
    keep, kept = 0.7, 0.2
    found = _ratio_of_slopes(keep, kept, generator)
    mistakes = {
        "One half is right only where the target's mask keeps one half.": 0.5,
        "That is the input's mask. It decides what the network sees, not what it is asked for.": keep,
        "You multiply both probabilities. The input's mask decides what is seen, not by how much it is scaled.": (
            keep * kept
        ),
        "That is how often the target is 0, not how often it is the pixel.": 1 - kept,
        "A slope of the sound model's would need a target that is always the pixel.": 1.0,
        "Where is the minimum of the expected error? You squared the probability.": kept**2,
        "The sound model is larger, not smaller: the slope is a share below 1.": 1 / kept,
    }
    number(answer["slope"], found, 0.02, mistakes, name='"slope"')
    _, test = _digits()
    masks = pixel_mask((200, *test.shape), kept, generator=generator)
    stays = (((kept * test - test * masks) ** 2).mean() / (test**2).mean()).item()
    mistakes = {
        "With the best output something remains, since a coin decides the target and no input tells how it fell.": 0.0,
        "This is the loss of an output of zeros. The best output does better.": kept,
        "This is the error where the target is the pixel. How often is it, and what of the other case?": (1 - kept)
        ** 2,
        "This is the error where the target is 0, or the square of the best output. Weigh both cases.": kept**2,
        "One quarter is right only where the target's mask keeps one half.": 0.25,
        "This is the loss of an output that is always the pixel. The best output is smaller.": 1 - kept,
        "That is the input's mask. It plays no part: even a network that sees everything keeps this error.": keep
        * (1 - keep),
        "You weigh one of the two cases only: the target is the pixel, or it is 0.": kept * (1 - kept) ** 2,
    }
    number(answer["stays"], stays, 0.02, mistakes, name='"stays"')
    return (
        f"A regression on digits, with masks drawn anew, gives {found:.3f} of the sound slope; an oracle that knows "
        f"each pixel is left with {stays:.3f} of the mean square."
    )


def _as_handed_out(model, x, generator):
    visible = pixel_mask(x.shape, generator=generator)
    prediction = model(x, visible)
    target = x * pixel_mask(x.shape, generator=generator)
    return ((prediction - target) ** 2).mean()


def _recorded(step, prediction: Tensor, x: Tensor, generator: torch.Generator) -> tuple[object, list[Tensor]]:
    """The loss of one training step whose model predicts what it is told, and the masks that the model was given."""
    masks, prediction = [], prediction.clone().requires_grad_()

    def model(x, visible):
        masks.append(torch.as_tensor(visible).detach().clone().float())
        return prediction

    return call(lambda x: step(model, x, generator), {"x": x}), masks


def _judge_step(step, B: int, N: int, generator: torch.Generator) -> tuple[object, float, bool, dict]:
    """One step: its loss, that of the step as handed out, whether it draws more than a mask, and the case."""
    x = torch.randint(1, 5, (B, N), generator=generator).float()
    prediction = torch.randint(-4, 5, (B, N), generator=generator) + 0.5
    for _ in range(100):
        seed = int(torch.randint(2**31, (1,), generator=generator))
        reader, ours, once = (torch.Generator().manual_seed(seed) for _ in range(3))
        loss, masks = _recorded(step, prediction, x, reader)
        if len(masks) != 1:
            raise Wrong(f"A training step asks the model once; yours asks it {len(masks)} times.")
        if isinstance(loss, float) or (isinstance(loss, Tensor) and not loss.requires_grad):
            raise Wrong("No gradient of your loss reaches the model's prediction, so nothing could be learned from it.")
        visible = masks[0]
        if visible.shape != x.shape or not ((visible == 0) | (visible == 1)).all():
            raise Wrong("The model needs a mask of the shape of `x`: 1 where a pixel is visible, else 0.", {"x": x})
        counts = visible.sum(dim=1)
        if 0 < counts.min() and counts.max() < N and (B == 1 or len(counts.unique()) > 1):
            break  # the examples differ in how much they hide
    else:
        raise Wrong("In 100 tries, your mask never hid some pixels here and fewer there.", {"x": x, "mask": visible})
    before, _ = _recorded(_as_handed_out, prediction, x, ours)
    pixel_mask(x.shape, generator=once)
    more = not torch.equal(reader.get_state(), once.get_state())
    loss = loss.detach() if isinstance(loss, Tensor) else loss
    return loss, before.detach(), more, {"prediction": prediction, "x": x, "visible": visible}


_WHICH_PIXELS = {
    "You count all pixels. Visible ones can be copied; the question is what is hidden.": lambda p, x, v: (
        (p - x) ** 2
    ).mean(),
    "You count the visible pixels: the mask is 1 where a pixel is visible.": lambda p, x, v: pixel_loss(
        p, x, v, "visible", generator=None
    ),
    "One mask, but it still hides the target: hidden pixels are asked for as 0, and the model learns to answer 0 "
    "there.": lambda p, x, v: ((p - x * v) ** 2).mean(),
    "The target is right where pixels are hidden, but the visible ones are asked for as 0. They should not be asked "
    "for at all.": lambda p, x, v: ((p - x * (1 - v)) ** 2).mean(),
    "You divide by all pixels. Visible ones add nothing to the sum, but still count in the mean.": lambda p, x, v: (
        (p - x) ** 2 * (1 - v)
    ).mean(),
    "You sum over the hidden pixels; divide by how many there are.": lambda p, x, v: ((p - x) ** 2 * (1 - v)).sum(),
    "You take the absolute error, not the square.": lambda p, x, v: (p - x).abs()[v == 0].mean(),
    "You average within each example first. An example with few hidden pixels then weighs as much as one with many.": (
        lambda p, x, v: (((p - x) ** 2 * (1 - v)).sum(1) / (1 - v).sum(1)).mean()
    ),
}


def _hidden_error(prediction: Tensor, x: Tensor, visible: Tensor) -> float:
    """The mean over hidden pixels, one by one."""
    rows = zip(prediction.flatten().tolist(), x.flatten().tolist(), visible.flatten().tolist(), strict=True)
    errors = [(p - t) ** 2 for p, t, v in rows if v == 0]
    return sum(errors) / len(errors)


@exercise(
    "source.bug_mask",
    "find the bug",
    "A coin too many",
    minutes=10,
    hints=(
        "For one pixel, list the four cases: shown or not, asked for or not. In which of them is the model asked a "
        "question that it should be asked?",
        "One draw is enough. The loss is a mean over the places where the mask is 0, of the error against `x` itself.",
    ),
    then="what would a second mask on the error teach, `((prediction - x) * mask)`? Write down what it is on average.",
)
def bug_mask(answer, generator: torch.Generator) -> str:
    """A step with recorded predictions and masks: whose error is counted?"""
    steps = [_judge_step(answer, B, N, generator) for B, N in ((1, 4), (2, 6), (3, 10))]
    losses, before, more, cases = map(list, zip(*steps, strict=True))
    if same(losses, before):
        raise NotAttempted(
            "the function still does what it did. For a model that fills in every pixel without an error, its loss is "
            "not zero."
        )
    given = iter(losses)
    try:
        said = compare(lambda *case: next(given), _hidden_error, cases, _WHICH_PIXELS)
    except Wrong as wrong:
        if all(more) and wrong.idea not in _WHICH_PIXELS:
            raise Wrong(
                "You still toss a second coin: a pixel is counted, or asked for, without regard to whether the model "
                "saw it.",
                wrong.example,
            ) from None
        raise
    return f"{said} The loss counts what the model did not see, and nothing else."


@exercise(
    "source.cures",
    "choose",
    "A doctor's first question",
    minutes=5,
    hints=(
        "Training and test loss are the same. Which cure is for a model that does well on its training data only?",
        "What is the floor of a ReLU for readings of mean 0 and variance 1 whose two sides look alike?",
    ),
    then="write down what the two losses would look like if each of the other three cures were the right one.",
)
def cures(answer, generator: torch.Generator) -> str:
    """Diagnosis: a floor."""
    if not isinstance(answer, dict) or set(answer) != {"choice", "because"}:
        raise Wrong('Expected a dictionary with the two keys "choice" and "because", as in the stub.')
    choice(
        answer["choice"],
        "c",
        {
            "a": "More data cure memorising. A model that memorised does well on its training data, and worse on "
            "others; here the two losses are alike.",
            "b": "The step is sound as it is: the mask that hides is the mask that counts. A fresh one would count "
            "pixels that the model was shown.",
            "d": "Patience helps where a loss still falls and nothing stands in its way. Compute what stands in its "
            "way before you pay for ten times the steps.",
        },
        name='"choice"',
    )
    choice(
        answer["because"],
        "b",
        {
            "a": "This is the sign of a model that memorised; the two losses here are alike.",
            "c": "That takes one mask that hides and another that is laid on the target. Here there is a single one.",
            "d": "If nothing could be told from the visible readings, the best answer would be 0, with a loss of one. "
            "The loss here is far below that.",
        },
        name='"because"',
    )
    return "The cure fits the two losses, the answer of zeros and the last layer; no other fits all four."


def _small_mask(B: int, N: int, generator: torch.Generator) -> Tensor:
    """A mask with 1 to N - 1 visible pixels in each row, not everywhere as many."""
    counts = [1 + (i + 1) % (N - 1) for i in range(B)]
    order = torch.rand(B, N, generator=generator).argsort(dim=1)
    return (order < torch.tensor(counts)[:, None]).float()


def _judge_loss(model: nn.Module, generator: torch.Generator) -> None:
    """The loss is the mean squared error on the pixels hidden by the mask that it is given."""
    cases, losses = [], []
    for B in (1, 2, 3):
        x = torch.randint(1, 5, (B, 4), generator=generator).float()
        visible = _small_mask(B, 4, generator)
        prediction, again = (call(model, {"x": x, "visible": visible}) for _ in range(2))
        if not isinstance(prediction, Tensor) or prediction.shape != x.shape:
            got = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
            raise Wrong(f"`forward` must give a prediction for each pixel, {tuple(x.shape)}; yours gives {got}.")
        if not torch.equal(prediction, again):
            raise Wrong(
                "Twice the same pixels and the same mask, and `forward` answers differently. It draws something of its "
                "own; the mask is an argument.",
                {"x": x, "visible": visible, "first": prediction, "second": again},
            )
        loss, again = (call(model.loss, {"x": x, "visible": visible}) for _ in range(2))
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise Wrong("`loss` must return a tensor from which gradients reach the weights.", {"yours": loss})
        if not torch.equal(loss, again):
            raise Wrong(
                "Twice the same pixels and the same mask, and `loss` answers differently: it draws a mask of its own.",
                {"x": x, "visible": visible, "first": loss, "second": again},
            )
        losses.append(loss.detach())
        cases.append({"prediction": prediction.detach(), "x": x, "visible": visible})
    given = iter(losses)
    compare(lambda *case: next(given), _hidden_error, cases, _WHICH_PIXELS)


def _judge_draws(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Masks are new for every example and step, hide what they should, and come from the generator alone."""
    seed, twin, masks = int(torch.randint(2**31, (1,), generator=generator)), copy.deepcopy(model), []
    forward = model.forward

    def recorded(x, visible):
        masks.append(torch.as_tensor(visible).detach().clone().float())
        return forward(x, visible)

    before, keep = copy.deepcopy(model.state_dict()), 0.8
    model.forward = recorded
    for learner in (model, twin):
        draws = torch.Generator().manual_seed(seed)
        call(lambda images, one=learner, g=draws: one.learn(images, keep, 3, g), {"images": images})
    del model.forward
    if len(masks) < 3:
        raise Wrong(f"3 steps were asked for, and the model was called {len(masks)} times with a mask.")
    if len(masks) > 3:
        raise Wrong(f"3 steps were asked for, one call of the model each; yours were {len(masks)}.")
    if all(torch.equal(before[name], value) for name, value in model.state_dict().items()):
        raise Wrong("After `learn`, the weights are what they were. Does the optimiser take its step?")
    first = masks[0]
    if not ((first == 0) | (first == 1)).all():
        raise Wrong("A mask is 1 where a pixel is visible and 0 where it is hidden; yours has other values.")
    if len(first) > 1 and (first == first[0]).all():
        raise Wrong("All examples of a batch have one and the same mask. Draw one for each.")
    if first.shape == masks[1].shape and torch.equal(first, masks[1]):
        raise Wrong("Every step has the same masks. Drawn once, they can be learned by heart: draw them at each step.")
    share = torch.cat([mask.flatten() for mask in masks]).mean().item()
    if abs(share - (1 - keep)) < 0.1:
        raise Wrong("Your mask keeps what it should hide.", {"keep": keep, "share of visible pixels": share})
    if abs(share - keep) > 0.1:
        raise Wrong("Your masks don't follow `keep`.", {"keep": keep, "share of visible pixels": share})
    if not all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)):
        raise Wrong(
            "The same weights, images and generator, and another model comes out. Something in `learn` is not drawn "
            "from `generator`: masks, the choice of examples?"
        )


def _judge_forward(model: nn.Module, x: Tensor, visible: Tensor, generator: torch.Generator) -> None:
    """The output depends on visible pixels only, and on which they are."""
    other = torch.rand(x.shape, generator=generator)
    output, hidden_changed, visible_changed = (
        model(pixels, visible) for pixels in (x, x.where(visible == 1, other), x.where(visible == 0, other))
    )
    if not torch.allclose(output, hidden_changed, atol=1e-5):
        if torch.allclose(output, visible_changed, atol=1e-5):
            raise Wrong("Your model sees the hidden pixels and not the visible ones: 1 means visible.")
        raise Wrong(
            "Your model peeks. Only hidden pixels were changed, and the output changes with them.",
            {"largest change of the output": (output - hidden_changed).abs().max().item()},
        )
    if torch.allclose(output, visible_changed, atol=1e-5):
        raise Wrong("Your output is the same whatever the visible pixels are.")
    black = torch.zeros_like(x)
    if torch.allclose(model(black, visible), model(black, 1 - visible), atol=1e-6):
        raise Wrong(
            "Hidden and black look the same to your model: of a black image it gets the same input under two "
            "masks. Tell it which pixels are hidden.",
        )


@exercise(
    "source.mend",
    "implement",
    "The whole model, mended",
    minutes=60,
    hints=(
        "Begin with `forward`, and test it by hand on four pixels: change a hidden one, and nothing may happen. Then "
        "`loss`, which calls it; `learn` is the loop that you know, with two draws per step from `generator`: which "
        "examples, and which mask.",
        "Give the first layer twice as many inputs: `x * visible` and `visible`, side by side. Keep the last layer "
        "linear, divide the sum of the squared errors by the number of hidden pixels, and let Adam (2e-3) zero the "
        "gradients at each step.",
    ),
    then="does telling hidden from black pay? Leave it out, train ten times as long, and compare on test digits.",
)
def mend(answer, generator: torch.Generator) -> str:
    """Build it, look at its loss and its masks, train it on digits, and look at what it has become."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # first weights, which layers draw by themselves
        return _judge_mended(answer, generator)


def _judge_mended(answer, generator: torch.Generator) -> str:
    small = call(answer, {"pixels": 4, "code": 3})
    if not isinstance(small, nn.Module):
        raise Wrong("`Mended` must be an `nn.Module`.")
    if not list(small.parameters()):
        raise Wrong("Your model has no weights to train. Layers in a Python list are not found: use `nn.Sequential`.")
    _judge_loss(small, generator)
    train, test = _digits()
    visible = pixel_mask(test.shape, generator=generator)
    model = call(answer, {"pixels": 64, "code": 32})
    _judge_draws(model, train, generator)
    with torch.no_grad():
        _judge_forward(model, test, visible, generator)
    model = call(answer, {"pixels": 64, "code": 32})
    call(lambda images: model.learn(images, 0.5, 300, generator), {"images": train})
    with torch.no_grad():
        output = model.eval()(test, visible)
    error, of_mean = (
        pixel_loss(guess, test, visible, "hidden", generator=generator).item() for guess in (output, train.mean(dim=0))
    )
    if output.min() >= 0:
        raise Wrong(
            "After training on digits, none of your outputs is negative. Something at the end of the network, a ReLU "
            "say, cuts them off: outputs die there, and other data would have a floor.",
            {"lowest output": output.min().item()},
        )
    if not error < 0.85 * of_mean:
        raise Wrong(
            "All parts are in place, but 300 steps with half of the pixels hidden leave the model little better than "
            "the mean image, or worse. Are gradients zeroed at each step? Is the learning rate about 2e-3, are the "
            "layers wide enough, is there a ReLU between them, do values far outside 0 to 1 drown the pixels?",
            {"error on hidden test pixels": error, "of the mean image": of_mean},
        )
    return (
        f"Trained for 300 steps, your model has {error / of_mean:.2f} of the mean image's error on hidden pixels "
        "of new digits. It doesn't peek, tells hidden from black, and draws from its generator alone."
    )


add_quiz(
    "source",
    Question(
        "Pixels are standardised to mean 0 and variance 1, and the network ends in a sigmoid. What follows?",
        (
            Option(
                "Training is slower, but gets there",
                "No number of steps brings an output of 1.5 or −0.3 out of a sigmoid.",
            ),
            Option(
                "Some of the loss can't be removed, at both ends",
                "Targets below 0 and above 1 are out of reach, and what they lack adds up to a floor.",
                True,
            ),
            Option(
                "As with a ReLU, only negative targets are lost",
                "A ReLU is open above. A sigmoid ends at 1, so large targets are lost as well.",
            ),
            Option(
                "Nothing bad, since a sigmoid has a gradient everywhere",
                "A gradient everywhere keeps units from dying. It doesn't extend the range of the output.",
            ),
        ),
    ),
    Question(
        "The target is the image plus noise of mean zero, drawn anew at each step. What does a squared error teach?",
        (
            Option(
                "Half of the image, as with a second mask",
                "Half came from a target that is zero half of the time. This target is the image on average.",
            ),
            Option(
                "The image plus the noise that is usual at each pixel",
                "The noise of the next step can't be told from the input. All that can be learned of it is its mean.",
            ),
            Option(
                "What it teaches without the noise; only the loss is higher",
                "The conditional mean of the target is that of the image. The variance of the noise stays in the loss.",
                True,
            ),
            Option(
                "Nothing, since the target keeps changing",
                "It changes about a fixed mean, and the mean is what a squared error finds.",
            ),
        ),
    ),
    Question(
        "You suspect that a model was trained with two masks. Which test tells?",
        (
            Option(
                "Regress its output on the truth, at visible pixels",
                "The slope is about half of what it should be: the picture is there, but dim.",
                True,
            ),
            Option(
                "A linear probe on its code",
                "The encoder learned to make twice the output right, so its code is about as good as any other.",
            ),
            Option(
                "See whether its loss falls over the epochs",
                "It falls: a part of it can be removed. The part that stays looks like a hard problem.",
            ),
        ),
    ),
    Question(
        "The code of the chapter's network is widened from 64 to 784 numbers. Which loss can now be won without "
        "learning anything about digits?",
        (
            Option(
                "On hidden pixels",
                "What is hidden isn't in the input, so there is nothing to copy, however wide the code is.",
            ),
            Option(
                "None: the mask prevents it",
                "The mask takes hidden pixels from the input, not the visible ones, and this loss may ask for those.",
            ),
            Option(
                "On visible pixels",
                "Now there is room to pass every input on. With 64 numbers, the narrow code stood in the way.",
                True,
            ),
        ),
    ),
    Question(
        "Training loss: a hundredth of the mean's error. On new examples: a little more than the mean's error. "
        "What has happened?",
        (
            Option(
                "The last layer gives the output a floor",
                "A floor holds on training data too; there the loss is near zero.",
            ),
            Option(
                "The model knows its training data by heart",
                "It does well on what it has met and is no better than the mean elsewhere: nothing carried over.",
                True,
            ),
            Option(
                "The masks on the test data happened to be harder",
                "Masks are drawn in the same way for both. A difference that large comes from the examples.",
            ),
            Option(
                "It has not been trained for enough steps yet",
                "More steps lower a training loss that is low already, and can only harm on new examples.",
            ),
        ),
    ),
)
