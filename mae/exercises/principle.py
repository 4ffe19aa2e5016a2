"""Chapter 3: masks, the masked loss and its targets."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mae.exercises.engine import NotAttempted, Wrong, call, choice, compare, exercise, same
from mae.exercises.quiz import Option, Question, add_quiz
from mae.masking import take

NOISE = [0.6, 0.9, 0.4, 0.2]  # one number per patch, as the notebook gives them


def _entries(answer: object, *names: str) -> list[object]:
    """The named entries of a dictionary, none of them still open."""
    if not isinstance(answer, Mapping) or set(answer) != set(names):
        raise Wrong(f"Keep the dictionary of the stub, with the keys {', '.join(map(repr, names))}.")
    for name in names:
        if answer[name] is ...:
            raise NotAttempted(f"replace the `...` of `{name}` too.")
    return [answer[name] for name in names]


@exercise(
    "principle.keep",
    "predict",
    "Draw a mask by hand",
    minutes=2,
    hints=(
        "Which patch has the smallest number? It stands first in `shuffle`. Which comes next?",
        "For `restore`, go through patches 0 to 3 and ask of each: at which place of `shuffle` do I find it?",
    ),
    then="draw four numbers for which `restore` is the same as `shuffle`. What must be true of the order?",
)
def keep(answer, generator: torch.Generator) -> str:
    """The order of the numbers, its first half, and its inverse."""
    order = sorted(range(4), key=NOISE.__getitem__)
    places = [order.index(patch) for patch in range(4)]
    expected = {
        "shuffle": (
            order,
            {
                "You put the largest number first. The sort is ascending: the smallest number comes first.": order[
                    ::-1
                ],
                "You wrote down at which place each patch stands. `shuffle` says which patch stands at each place.": (
                    places
                ),
                "`shuffle` lists patches, not their numbers.": sorted(NOISE),
            },
        ),
        "visible": (
            sorted(order[:2]),
            {
                "You kept the end of the row. The patches with the smallest numbers stay visible.": sorted(order[2:]),
                "These are places in the shuffled row. Which patches stand there?": [0, 1],
            },
        ),
        "restore": (
            places,
            {
                "This is the shuffle again: it says which patch stands at a place, not where a patch stands.": order,
                "You turned the row around. That is not the inverse: where does patch 0 stand?": order[::-1],
                "This is the order after restoring. `restore` says where in the shuffled row each patch is found.": (
                    [0, 1, 2, 3]
                ),
            },
        ),
    }
    for name, value in zip(expected, _entries(answer, *expected), strict=True):
        right, mistakes = expected[name]
        try:
            given = torch.as_tensor(list(value)).flatten().tolist()
        except (TypeError, ValueError):
            raise Wrong(f"Expected a list for `{name}`, such as `[0, 1]`.", {name: value}) from None
        given = sorted(given) if name == "visible" else given
        for message, mistake in mistakes.items():
            if same(given, mistake):
                raise Wrong(message, {name: value})
        if given != right:
            raise Wrong(f"`{name}` is not right: go through it one place at a time.", {name: value})
    return "The numbers were sorted, cut and inverted by program; your three lists are the same."


def _noises(generator: torch.Generator) -> Iterator[dict]:
    """Numbers and ratios at which the count of visible patches is not whole."""
    for B, N, ratio in ((1, 5, 0.75), (2, 7, 0.75), (3, 10, 0.67), (4, 16, 0.6)):
        yield {"noise": torch.rand(B, N, generator=generator), "ratio": ratio}


def _hide(count: Callable[[int, float], int], key: Callable[[Tensor], Tensor]) -> Callable:
    """A mask that leaves the `count` patches with the smallest keys visible."""
    return lambda noise, ratio: key(noise).argsort(dim=1).argsort(dim=1) >= count(noise.shape[1], ratio)


def _down(N: int, ratio: float) -> int:
    return math.floor(N * (1 - ratio))


@exercise(
    "principle.random_mask",
    "implement",
    "A mask from random numbers",
    minutes=15,
    hints=(
        "Count first: how many patches stay visible? `int` cuts off what is behind the point. "
        "Then find out which ones have the smallest numbers, in each row.",
        "Start with a mask that is True everywhere. `scatter` writes False at the places that "
        "`noise.argsort(dim=1)[:, :keep]` names, in each row its own.",
    ),
    then="draw a million masks of four patches and count: is each pair of patches visible equally often?",
)
def random_mask(answer, generator: torch.Generator) -> str:
    """The K patches with the smallest numbers stay visible, in each row its own."""
    small, *_, large = _noises(generator)
    hidden, again = call(answer, large), call(answer, large)
    if not same(hidden, again):
        raise Wrong(
            "Two calls with the same numbers gave different masks. The numbers in `noise` are all the chance there is: "
            "draw nothing yourself."
        )
    turned = {**large, "noise": 1 - large["noise"]}  # the smallest number is now the largest
    if isinstance(hidden, Tensor) and hidden.shape == large["noise"].shape and same(hidden, call(answer, turned)):
        raise Wrong(
            "Your mask is the same whatever the numbers are. Visible are the patches with the smallest numbers, "
            "wherever they stand; it is the sorted row that is cut.",
            {**small, "yours": call(answer, small)},
        )
    mistakes = {
        "You return the visible patches; the mask is True where a patch is hidden.": lambda noise, ratio: (
            ~_hide(_down, lambda n: n)(noise, ratio)
        ),
        "You keep the patches with the largest numbers. By the rule, the smallest stay visible.": _hide(
            _down, lambda n: -n
        ),
        "You round to the nearest number of visible patches. The rule rounds down: 1.75 patches are one patch.": _hide(
            lambda N, ratio: round(N * (1 - ratio)), lambda n: n
        ),
        "You leave one patch too many visible. Round down the number of *visible* patches, not that of hidden ones.": (
            _hide(lambda N, ratio: math.ceil(N * (1 - ratio)), lambda n: n)
        ),
        "You took the ratio for the share that stays visible. It is the share that is hidden.": _hide(
            lambda N, ratio: int(N * ratio), lambda n: n
        ),
        "You compare the numbers with the ratio. Each patch is then hidden by a coin of its own, and the count varies "
        "from row to row; a batch needs the same count in every row.": lambda noise, ratio: noise < ratio,
        "You compare the numbers with a threshold. The count of hidden patches then varies from row to row.": (
            lambda noise, ratio: noise >= 1 - ratio
        ),
        "You use the numbers of the first example for all. Each example has its own.": lambda noise, ratio: _hide(
            _down, lambda n: n
        )(noise[:1], ratio).expand_as(noise),
        "You took the order for the rank. `argsort` says which patch stands at each place; you need to know at which "
        "place each patch stands.": lambda noise, ratio: noise.argsort(dim=1) >= _down(noise.shape[1], ratio),
    }

    def reference(noise, ratio):
        rank = (noise[:, :, None] > noise[:, None, :]).sum(dim=2)  # how many of its row are smaller
        return rank >= int(noise.shape[1] * (1 - ratio))

    verified = compare(answer, reference, _noises(generator), mistakes)
    if not isinstance(hidden, Tensor) or hidden.dtype != torch.bool:
        kind = hidden.dtype if isinstance(hidden, Tensor) else type(hidden).__name__
        raise Wrong(
            f"The right places, but as {kind}. Make it a `torch.bool` tensor: others would pick patches 0 and 1."
        )
    return verified


def _shuffled(generator: torch.Generator) -> Iterator[dict]:
    """Shuffled tokens and the order they were put into; no order is its own inverse, or all would look alike."""
    for B, N, D in ((1, 4, 1), (2, 5, 2), (3, 9, 4), (4, 16, 3)):
        while True:
            order = torch.rand(B, N, generator=generator).argsort(dim=1)
            if (order != order.argsort(dim=1)).any(dim=1).all():
                break
        tokens = torch.randint(0, 100, (B, N, D), generator=generator).float()
        yield {"shuffled": take(tokens, order), "order": order}


@exercise(
    "principle.unshuffle",
    "implement",
    "Put shuffled tokens back",
    minutes=10,
    hints=(
        "Position `i` of `shuffled` holds the token of place `order[i]`. Where does the token of place 0 stand?",
        "`order.argsort()` answers that question for all places at once; then gather along the second axis.",
    ),
    then="write it with `scatter` instead of a second sort, and compare the time for a million tokens.",
)
def unshuffle(answer, generator: torch.Generator) -> str:
    """Un-shuffling gathers by the inverse permutation."""
    mistakes = {
        "This is the shuffle again, not its inverse: you gather by `order`, but place j must get the token that "
        "stands where `order` equals j.": take,
        "You sort by the values of the tokens. Only `order` knows where they came from.": lambda shuffled, order: (
            shuffled.sort(dim=1).values
        ),
        "You un-shuffle all examples by the order of the first. Each example has an order of its own.": (
            lambda shuffled, order: shuffled[:, order[0].argsort()]
        ),
        "You turn the sequence around. That undoes only one order in N!.": lambda shuffled, order: shuffled.flip(1),
        "You get the order right but return the indices, not the tokens.": lambda shuffled, order: order.argsort(dim=1),
    }
    return compare(
        answer,
        lambda shuffled, order: torch.zeros_like(shuffled).scatter(1, order[:, :, None].expand_as(shuffled), shuffled),
        _shuffled(generator),
        mistakes,
    )


def _losses(generator: torch.Generator) -> Iterator[dict]:
    """Predictions, targets and masks with a different number of hidden patches in each example."""
    for B, N, P in ((1, 3, 1), (2, 4, 2), (3, 9, 4), (5, 16, 8)):
        hidden = torch.rand(B, N, generator=generator) < 0.6
        hidden[:, 0], hidden[:, 1] = True, False  # never all, never none
        if B > 1:
            hidden[0, 2:] = False  # the examples differ in how many are hidden
            hidden[1, 2:] = True
        prediction = torch.randint(-5, 6, (B, N, P), generator=generator).float()
        sign = torch.randint(0, 2, (B, N, P), generator=generator) * 2 - 1
        target = prediction + sign * torch.randint(1, 6, (B, N, P), generator=generator)  # no error is 0
        yield {"prediction": prediction, "target": target, "hidden": hidden}


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    return ((prediction - target) ** 2).mean(dim=-1)  # (B, N)


@exercise(
    "principle.masked_loss",
    "implement",
    "The loss on hidden patches",
    minutes=10,
    hints=(
        "First the mean squared error of every patch, (B, N). Which of these numbers count?",
        "Multiply by the mask and divide by the number of hidden patches in the whole batch; or index with it.",
    ),
    then="what does the loss become if you average per example first, and which examples then weigh more?",
)
def masked_loss(answer, generator: torch.Generator) -> str:
    """The mean over hidden patches only, however many each example has."""
    mistakes = {
        "You averaged over all patches; only hidden ones count.": lambda p, t, h: _error(p, t).mean(),
        "You took the visible patches: the mask is True where a patch is hidden.": lambda p, t, h: _error(p, t)[
            ~h
        ].mean(),
        "You divided by all patches, not by the mask: visible patches add nothing to the sum, but still count in "
        "the mean.": lambda p, t, h: (_error(p, t) * h).mean(),
        "You divided by the batch, not by the number of hidden patches.": lambda p, t, h: (
            (_error(p, t) * h).sum() / len(p)
        ),
        "You averaged within each example first. With a varying number of hidden patches, an example with few of "
        "them then weighs as much as one with many.": lambda p, t, h: ((_error(p, t) * h).sum(1) / h.sum(1)).mean(),
        "You summed over the hidden patches; divide by how many there are.": lambda p, t, h: (_error(p, t) * h).sum(),
        "You summed over the values in a patch; the error of a patch is their mean.": lambda p, t, h: (
            (p - t).pow(2).sum(-1)[h].mean()
        ),
        "You took the absolute error, not the square.": lambda p, t, h: (p - t).abs().mean(-1)[h].mean(),
        "You return one loss per example; the loss of a batch is one number.": lambda p, t, h: (
            (_error(p, t) * h).sum(1) / h.sum(1)
        ),
    }
    reference = lambda prediction, target, hidden: _error(prediction[hidden], target[hidden]).mean()  # noqa: E731
    verified = compare(answer, reference, _losses(generator), mistakes)
    case = next(_losses(generator))
    if not getattr(call(answer, {**case, "prediction": case["prediction"].requires_grad_()}), "requires_grad", False):
        raise Wrong(
            "The value is right, but no gradient flows from it: keep it a tensor, so that it can be trained on."
        )
    return verified + " Gradients flow."


class _Model:
    """A model whose predictions can be followed by hand."""

    def __call__(self, patches: Tensor, visible: Tensor) -> Tensor:
        index = visible[:, :, None].expand(-1, -1, patches.shape[2])
        return torch.zeros_like(patches).scatter(1, index, patches.gather(1, index) / 2)

    def __str__(self) -> str:
        return "halves visible patches, predicts 0 for hidden ones"


def _steps(generator: torch.Generator) -> Iterator[dict]:
    """Training steps: the first patches are never just the visible ones, and each batch hides some patch throughout."""
    for B, N, P, count in ((1, 3, 1, 1), (2, 5, 2, 2), (3, 10, 4, 3), (4, 20, 3, 4)):
        noise = torch.rand(B, N, generator=generator)
        while (noise.argsort(dim=1)[:, :count].sort(dim=1).values == torch.arange(count)).all(dim=1).any():
            noise = torch.rand(B, N, generator=generator)
        patches = torch.randint(1, 10, (B, N, P), generator=generator).float()
        yield {"model": _Model(), "patches": patches, "noise": noise, "keep": count}


def _step(weigh: Callable[[Tensor, Tensor, int], Tensor]) -> Callable:
    """The loss of a step, with weights of the patches made from the mask in shuffled order, the shuffle and K."""

    def loss(model, patches, noise, keep):
        shuffle = noise.argsort(dim=1)
        hidden = torch.ones_like(noise)
        hidden[:, :keep] = 0
        hidden = weigh(hidden, shuffle, keep)
        return (_error(model(patches, shuffle[:, :keep]), patches) * hidden).sum() / hidden.sum()

    return loss


@exercise(
    "principle.bug_restore",
    "find the bug",
    "The loss that forgets the top",
    minutes=10,
    hints=(
        "Take three patches by hand, with patch 2 visible. Which entry of `hidden` is 0, and which patch's error does "
        "it meet in the last line?",
        "`prediction` and `patches` are in reading order, `hidden` is in the order of the shuffle. Bring one of "
        "the two into the order of the other.",
    ),
    then="how much of the loss came from visible patches before your repair, if three quarters are hidden?",
)
def bug_restore(answer, generator: torch.Generator) -> str:
    """The mask of the loss stands in the order of its targets."""

    def union(hidden, shuffle, keep):
        hidden = torch.ones_like(hidden)
        hidden[:, shuffle[:, :keep]] = 0
        return hidden

    def reordered_prediction(model, patches, noise, keep):
        shuffle = noise.argsort(dim=1)
        return _error(take(model(patches, shuffle[:, :keep]), shuffle), patches)[:, keep:].mean()

    def reordered_target(model, patches, noise, keep):
        shuffle = noise.argsort(dim=1)
        return _error(model(patches, shuffle[:, :keep]), take(patches, shuffle))[:, keep:].mean()

    mistakes = {
        "You gather the mask by the shuffle, which shuffles it once more. To bring a shuffled row back into reading "
        "order takes the inverse.": _step(lambda hidden, shuffle, keep: hidden.gather(1, shuffle)),
        "Now the loss is on the visible patches: the places are right, hidden and visible are exchanged.": _step(
            lambda hidden, shuffle, keep: 1 - hidden.scatter(1, shuffle, hidden)
        ),
        "You turned the mask around, but it is still in the order of the shuffle.": _step(
            lambda hidden, shuffle, keep: 1 - hidden
        ),
        "Indexed like this, a patch that is visible in any one example is taken out of the loss of all examples: "
        "`hidden[:, index]` uses every row of `index` for every row of `hidden`.": _step(union),
        "You took the loss over all patches. That hides the symptom; only hidden patches may count.": _step(
            lambda hidden, shuffle, keep: torch.ones_like(hidden)
        ),
        "You shuffled the prediction, but its targets are still in reading order: each patch is compared with "
        "another one.": reordered_prediction,
        "You shuffled the targets, but the prediction is still in reading order: each patch is compared with "
        "another one.": reordered_target,
    }

    def reference(model, patches, noise, keep):
        rank = (noise[:, :, None] > noise[:, None, :]).sum(dim=2)
        visible = rank.argsort(dim=1)[:, :keep]
        return _error(model(patches, visible), patches)[rank >= keep].mean()

    symptom = "Visible patches still get better and better, and the top of the picture stays bad."
    cases = list(_steps(generator))
    return compare(answer, reference, cases, mistakes, unchanged=(_step(lambda h, s, k: h), symptom))


@exercise(
    "principle.ratio_choice",
    "choose",
    "Choose a ratio for new data",
    minutes=5,
    hints=(
        "What will the model be used for? Look for the measurement that comes closest to that use.",
        "In the figure above, compare the ratio at which the error is smallest with the one at which the probe is "
        "best. What would each of the two curves have advised you?",
    ),
    then="say what you would measure instead if you had no labels at all, and what that could miss.",
)
def ratio_choice(answer, generator: torch.Generator) -> str:
    """A ratio is chosen by what the features are worth, on data of one's own."""
    plan, because = _entries(answer, "choice", "because")
    choice(
        plan,
        "c",
        {
            "a": "The smallest error belongs to the easiest task: at a low ratio, hidden patches are guessed from "
            "their neighbours. You want features, and they were not best where the error was smallest.",
            "b": "Three quarters was best for one data set, one model and one long training. Your maps repeat "
            "themselves more or less than photographs do, and you can afford to find out.",
            "d": "The hardest task is not the best one. With almost nothing visible there is little to infer from: the "
            "model falls back to the mean, and its features were the worst of the four.",
        },
    )
    choice(
        because,
        "f",
        {
            "e": "That curve compares tasks of different difficulty, not models. It falls towards low ratios whatever "
            "the features do, so it would send you to the easiest task.",
            "g": "A larger experiment on other data does not tell where your peak is. In the figure above the peak was "
            "elsewhere than in the paper, and both were measured.",
            "h": "An error near that of the mean image says that the model could infer hardly anything. That is no "
            "argument for a ratio; it is one against it.",
        },
        name="your reason",
    )
    return "The plan and the measurement that supports it go together: features are chosen by what they are worth."


def _drawn(hidden: Tensor) -> str:
    """A mask of one example, row by row."""
    return " / ".join("".join("■" if cell else "□" for cell in row) for row in hidden.tolist())


def _pieces(hidden: Tensor) -> Iterator[tuple[int, int, int, tuple]]:
    """Height, width, number of patches and place of each connected piece."""
    labels, _ = ndimage.label(hidden.numpy())
    for i, place in enumerate(ndimage.find_objects(labels), 1):
        height, width = labels[place].shape
        yield height, width, int((labels[place] == i).sum()), place


def _blocks(answer, asked: dict, seed: int) -> Tensor:
    """The reader's masks, if their shape, type and counts are as asked."""
    hidden = call(answer, {**asked, "generator": torch.Generator().manual_seed(seed)})
    if hidden is None:
        raise Wrong("Your function returns None. Is a `return` missing?", asked)
    shape, wanted = tuple(getattr(hidden, "shape", ())), (asked["batch"], *asked["grid"])
    if not isinstance(hidden, Tensor) or shape != wanted:
        raise Wrong(f"Expected a tensor of shape {wanted}, got {type(hidden).__name__} {shape}.", asked)
    if hidden.dtype != torch.bool:
        raise Wrong(f"Expected a mask of type torch.bool, True where hidden, got {hidden.dtype}.", asked)
    for example in hidden:
        if (count := int(example.sum())) != asked["count"]:
            drawn = {"one example": _drawn(example)} if example.numel() <= 64 else {}
            if count > asked["count"]:
                idea = "More patches are hidden than asked for: the last rectangle must be cut."
            else:
                idea = (
                    "Fewer patches are hidden than asked for. Rectangles overlap: a patch that was hidden before does "
                    "not count twice. And the last rectangle must be cut, not left out."
                )
            raise Wrong(idea, {**asked, **drawn, "hidden": count})
    return hidden


def _chance(answer, asked: dict, seed: int) -> None:
    """The generator is the only source of chance, and goes on from batch to batch."""
    hidden = _blocks(answer, asked, seed)
    if not same(hidden, _blocks(answer, asked, seed)):
        raise Wrong("The same generator, in the same state, gave two different masks. Draw from nothing else.", asked)
    if same(hidden, _blocks(answer, asked, seed + 1)):
        raise Wrong("Two generators with different seeds gave the same masks. Draw from the generator.", asked)
    if (hidden == hidden[:1]).all():
        raise Wrong("All examples have the same mask. Each has rectangles of its own.", asked)
    given = {**asked, "generator": torch.Generator().manual_seed(seed)}
    first, second = call(lambda *arguments: (answer(*arguments), answer(*arguments)), given)
    if same(first, second):
        raise Wrong("The next batch gets the masks of the one before. Don't seed: let the generator go on.", asked)


def _rectangles(hidden: Tensor, asked: dict) -> int:
    """How many whole rectangles there are, on a grid so large that few of them touch; their sides are as asked."""
    low, high = asked["sides"]
    whole, broken, bad = [], [], 0
    for example in hidden:
        pieces = list(_pieces(example))
        good = [p for p in pieces if p[0] * p[1] == p[2] and low <= min(p[:2]) and max(p[:2]) <= high]
        rest = [p for p in pieces if p not in good]
        whole += good
        if sum(p[2] for p in rest) >= high * high:  # more than what is left of one that was cut
            broken += rest
            bad += 1
            worst = example[sorted(rest, key=lambda p: p[2])[len(rest) // 2][3]]
    if bad > len(hidden) / 2:  # in a few, two rectangles touch
        drawn = {"one piece": _drawn(worst)} if worst.numel() <= 64 else {}
        raise Wrong(_fault(broken, low, high), {**asked, **drawn})
    if np.mean([h == w for h, w, *_ in whole]) > 0.9:
        raise Wrong("All rectangles are squares. Height and width are drawn each by itself.", asked)
    for k, side in enumerate(("high", "wide")):
        for length in range(low, high + 1):
            if np.mean([piece[k] == length for piece in whole]) < 0.04:
                end = " `torch.randint` leaves out its upper end." if length == high else ""
                raise Wrong(f"No rectangle is {length} patches {side}, but sides go from {low} to {high}.{end}", asked)
    return len(whole)


def _fault(pieces: list[tuple[int, int, int, tuple]], low: int, high: int) -> str:
    """What is wrong with most of the patches in these pieces."""
    faults = {
        "You hide single patches: neighbours must be hidden together.": lambda h, w, area: area == 1,
        f"Rectangles are too large: no side may be longer than {high} patches.": lambda h, w, area: max(h, w) > high,
        f"Rectangles are too thin: no side may be shorter than {low} patches.": lambda h, w, area: min(h, w) < low,
        "What you hide are no rectangles: pieces have holes or ragged sides.": lambda h, w, area: True,
    }
    patches = dict.fromkeys(faults, 0)
    for h, w, area, _ in pieces:
        patches[next(fault for fault, holds in faults.items() if holds(h, w, area))] += area
    return max(patches, key=patches.get)


def _reach(hidden: Tensor, asked: dict) -> None:
    """Every patch is hidden in some example."""
    reached = hidden.any(dim=0)
    example = {**asked, "ever hidden": _drawn(reached)}
    if not (reached[-1].any() and reached[:, -1].any()):
        raise Wrong(
            "The last row or the last column is never hidden. Which numbers does `torch.randint` draw?", example
        )
    if not reached.all():
        raise Wrong("Some patches are never hidden. Every place where a rectangle fits must be possible.", example)


def _squares(hidden: Tensor, asked: dict) -> None:
    """Where only one square can be hidden, it is there whole."""
    for example in hidden:
        (height, width, *_), *others = _pieces(example)
        if others or (height, width) != (asked["sides"][0],) * 2:
            idea = "At the border, rectangles lose a part: draw a place at which the whole rectangle fits."
            raise Wrong(idea, {**asked, "one example": _drawn(example)})


@exercise(
    "principle.block_mask",
    "implement",
    "Hide blocks, an exact number",
    minutes=60,
    hints=(
        "For one example: as long as patches are missing, draw a height and a width, then a top and a left at which "
        "that rectangle still fits; hide it. Only then care for the count.",
        "Count what is hidden, not what was drawn: rectangles overlap. Of the last rectangle, hide only the first "
        "`missing` ones of those patches that were still visible.",
    ),
    then="compare with `mae.masking.block_mask`, and look up in table 1 of the paper what blocks did to the features.",
)
def block_mask(answer, generator: torch.Generator) -> str:
    """Exact counts, chance from the generator alone, whole rectangles, every patch within reach."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    rows, seed, size = draw(4, 6), draw(0, 2**30), draw(2, 3)
    grid = rows, rows + draw(1, 3)
    N = grid[0] * grid[1]
    small = {"batch": 8, "grid": grid, "count": 2 * N // 5, "sides": (2, 3)}
    large = {"batch": 24, "grid": (90, 100), "count": draw(45, 50), "sides": (2, draw(4, 5))}
    square = {"batch": 32, "grid": grid, "count": size * size, "sides": (size, size)}

    _blocks(answer, {**small, "batch": 1, "count": 1}, seed)
    _chance(answer, small, seed)
    found = _rectangles(_blocks(answer, large, seed), large)
    _reach(_blocks(answer, {**small, "batch": 256}, seed), small)
    _squares(_blocks(answer, square, seed), square)
    _blocks(answer, {**small, "batch": 2, "count": N - 1}, seed)
    return (
        f"{found} whole rectangles were found and measured. Counts are exact from 1 to all patches but one, every "
        "patch can be hidden, and all chance comes from the generator."
    )


def _pixels(generator: torch.Generator) -> Iterator[dict]:
    """Patches; in the larger batches, one that is nearly flat and one that is flat."""
    for B, N, P in ((1, 2, 2), (2, 3, 2), (3, 5, 9)):
        patches = torch.randint(0, 10, (B, N, P), generator=generator).float()
        patches[:, :, 0] = patches[:, :, 1] + torch.randint(1, 9, (B, N), generator=generator)
        if B > 1:
            patches[-1, 0] *= 1e-3
            patches[0, 1] = 3.0
        yield {"patches": patches}


@exercise(
    "principle.normalized_target",
    "implement",
    "The normalised target",
    minutes=10,
    hints=(
        "Mean and variance are those of one patch: which axis is reduced, and how do you keep it for broadcasting?",
        "`patches.var(dim=2, keepdim=True)` already divides by P − 1. Where does ε stand in the formula, inside the "
        "root or outside?",
    ),
    then="what does the target look like for a patch that holds nothing but weak noise? Is that what you want?",
)
def normalized_target(answer, generator: torch.Generator) -> str:
    """Each patch by its own mean and unbiased variance, ε inside the root."""

    def by(dim, scale: Callable[[Tensor], Tensor]):
        return lambda patches: (patches - patches.mean(dim=dim, keepdim=True)) / scale(patches)

    mistakes = {
        "You divide the variance by P. The formula divides by P − 1, as the published code does.": by(
            2, lambda p: (p.var(dim=2, keepdim=True, correction=0) + 1e-6) ** 0.5
        ),
        "You take mean and variance over a whole image. Each patch has its own.": by(
            (1, 2), lambda p: (p.var(dim=(1, 2), keepdim=True) + 1e-6) ** 0.5
        ),
        "You take mean and variance over the whole batch. Each patch has its own.": by(
            (0, 1, 2), lambda p: (p.var() + 1e-6) ** 0.5
        ),
        "You take mean and variance over the patches, for each value apart. They belong to one patch, over its "
        "values.": by(1, lambda p: (p.var(dim=1, keepdim=True) + 1e-6) ** 0.5),
        "You add ε to the deviation; it stands under the root, beside the variance. In nearly flat patches that is "
        "another number.": by(2, lambda p: p.std(dim=2, keepdim=True) + 1e-6),
        "You divide by the variance. The target has variance one only if you divide by its root.": by(
            2, lambda p: p.var(dim=2, keepdim=True) + 1e-6
        ),
        "You take away the mean but do not divide by the deviation.": by(2, lambda p: 1.0),
        "You stretch each patch from 0 to 1. That depends on its two most extreme values alone.": lambda patches: (
            (patches - patches.amin(2, keepdim=True))
            / (patches.amax(2, keepdim=True) - patches.amin(2, keepdim=True) + 1e-6)
        ),
    }

    def reference(patches):
        result = patches.double().numpy().copy()
        for patch in result.reshape(-1, result.shape[2]):
            patch -= patch.mean()
            patch /= ((patch**2).sum() / (len(patch) - 1) + 1e-6) ** 0.5
        return torch.from_numpy(result).float()

    return compare(answer, reference, _pixels(generator), mistakes, rtol=1e-3, atol=1e-4)


def _predictions(generator: torch.Generator) -> Iterator[dict]:
    """Normalised predictions, and patches of which each example shows another number."""
    for B, N, P in ((1, 3, 2), (2, 5, 4), (3, 8, 4)):
        hidden = torch.rand(B, N, generator=generator) < 0.5
        hidden[:, 0], hidden[:, 1:3] = True, False
        hidden[0, 3:] = True
        patches = torch.randint(0, 10, (B, N, P), generator=generator).float()
        patches[:, :, 0] = patches[:, :, 1] + 1  # none is flat
        prediction = torch.randint(-2, 3, (B, N, P), generator=generator).float()
        yield {"prediction": prediction, "patches": patches, "hidden": hidden}


@exercise(
    "principle.to_pixels",
    "implement",
    "Back to pixels, without the answer",
    minutes=15,
    hints=(
        "Write down first which numbers an honest viewer has: the prediction of all patches, and the pixels of the "
        "visible ones. Anything else is the answer.",
        "Mean and deviation per patch are (B, N, 1). Multiply by the visible mask, sum over N, divide by the number of "
        "visible patches of that example; `torch.where` pastes at the end.",
    ),
    then="un-normalise the same prediction with the true statistics, and measure how much the PSNR gains by cheating.",
)
def to_pixels(answer, generator: torch.Generator) -> str:
    """Statistics of visible patches only; visible patches as they are."""
    for case in _predictions(generator):
        hidden = case["hidden"]
        other = torch.randint(0, 10, case["patches"].shape, generator=generator).float()
        changed = torch.where(hidden[:, :, None], other, case["patches"])
        before, after = call(answer, case), call(answer, {**case, "patches": changed})
        if isinstance(before, Tensor) and before.shape == other.shape and not same(before, after):
            raise Wrong(
                "This leaks: your picture changes when nothing but the hidden patches is changed. It uses their "
                "pixels, or their statistics, which no model can know.",
                {**case, "yours": before, "hidden patches changed": changed, "yours then": after},
            )

    def moments(patches):  # of each patch: (B, N, 1) twice
        return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6) ** 0.5

    def averages(patches, visible):  # over the visible ones: (B, 1, 1) twice
        return [(m * visible).sum(1, keepdim=True) / visible.sum(1, keepdim=True) for m in moments(patches)]

    def by(statistics: Callable, paste: bool = True) -> Callable:
        def function(prediction, patches, hidden):
            visible = ~hidden[:, :, None]
            mean, std = statistics(patches, visible)
            pixels = prediction * std + mean
            return torch.where(visible, patches, pixels) if paste else pixels

        return function

    def pooled(patches, visible):  # one deviation over all visible pixels
        std = [example[v[:, 0]].std() for example, v in zip(patches, visible, strict=True)]
        return averages(patches, visible)[0], torch.stack(std)[:, None, None]

    mistakes = {
        "You un-normalise the visible places too. Their pixels are known: paste them.": by(averages, paste=False),
        "You add a mean but do not multiply by a deviation: the pattern has the wrong contrast.": by(
            lambda patches, visible: (averages(patches, visible)[0], 1)
        ),
        "You multiply by a deviation but do not add a mean: the patches have no brightness.": by(
            lambda patches, visible: (0, averages(patches, visible)[1])
        ),
        "You divide by the deviation, which normalises a second time. The way back multiplies.": by(
            lambda patches, visible: (averages(patches, visible)[0], 1 / averages(patches, visible)[1])
        ),
        "You average over the visible patches of the whole batch. Each example is shown with its own.": by(
            lambda patches, visible: [m[visible].mean() for m in moments(patches)]
        ),
        "You divide by N. Only visible patches were summed: divide by their number, in each example its own.": by(
            lambda patches, visible: [(m * visible).mean(1, keepdim=True) for m in moments(patches)]
        ),
        "You take one deviation over all visible pixels. It includes how patches differ from each other; the "
        "prediction is about the pattern inside one.": by(pooled),
    }

    def reference(prediction, patches, hidden):
        result = patches.clone()
        for out, guess, patch, h in zip(result, prediction, patches, hidden, strict=True):
            mean = sum(p.mean() for p in patch[~h]) / int((~h).sum())
            std = sum((p.var() + 1e-6).sqrt() for p in patch[~h]) / int((~h).sum())
            out[h] = guess[h] * std + mean
        return result

    verified = compare(answer, reference, _predictions(generator), mistakes)
    return verified + " What you show does not depend on the hidden patches."


add_quiz(
    "principle",
    Question(
        "Shuffling four patches gave the row `[2, 0, 3, 1]`. What is the first entry of `restore`?",
        (
            Option("2", "That is the first entry of the shuffle: patch 2 stands at place 0."),
            Option("3", "At place 3 stands patch 1, so 3 is the entry of `restore` for patch 1."),
            Option("1", "Patch 0 stands at place 1 of the row, and `restore` says where each patch is found.", True),
            Option("0", "That would mean that patch 0 stands at place 0, but the row begins with patch 2."),
        ),
    ),
    Question(
        "You raise the mask ratio from one quarter to one half. The error on hidden patches rises, and the linear "
        "probe gets better. What do you conclude?",
        (
            Option(
                "The two can part: a harder task may need features that an easier one does not.",
                "The errors belong to two different tasks, so they can't rank the models; the probe measures both "
                "encoders on the same task.",
                True,
            ),
            Option(
                "The probe must be wrong, because a model that predicts worse has learned less.",
                "It predicts worse because more is hidden. The comparison is unfair to it, not the probe.",
            ),
            Option(
                "The ratio was too high for this data, and the error shows it.",
                "The error rises with the ratio on any data, so it can't show that.",
            ),
            Option(
                "The model needs more training before the two agree.",
                "More training lowers both errors. It does not make the two tasks equally hard.",
            ),
        ),
    ),
    Question(
        "Somebody hides single pixels instead of 7×7 patches, at the same ratio. What can the model no longer do?",
        (
            Option(
                "Learn features that a linear probe can use.",
                "In our runs those features were not worse. On large images it may be otherwise, but that is not what "
                "follows from the unit alone.",
            ),
            Option(
                "Reach a low error on what is hidden.",
                "The opposite: a neighbour gives a pixel away, so the error is far lower.",
            ),
            Option(
                "Hide the same number of pixels in every image.",
                "Any unit can be shuffled and cut, so the count is exact for pixels as well.",
            ),
            Option(
                "Drop what is hidden before the encoder.",
                "Nearly every patch keeps some visible pixels, so every token must be encoded and nothing is saved.",
                True,
            ),
        ),
    ),
    Question(
        "A model with normalised targets shows sharp, well-lit pictures after one epoch. What do you look at first?",
        (
            Option(
                "The learning rate, which must be far better than ours.",
                "No rate makes one epoch enough. A result that is too good is first a question to the evaluation.",
            ),
            Option(
                "Which mean and deviation were used to get from predictions back to pixels.",
                "With the statistics of the true hidden patches, even a model that predicts zeros shows a thumbnail of "
                "the answer.",
                True,
            ),
            Option(
                "The mask ratio, which may have been lower than stated.",
                "Worth a look later; but the pictures would then have true patches in them, not well-lit hidden ones.",
            ),
        ),
    ),
    Question(
        "On your data, the error on new hidden patches stays at the variance, whatever model you train. The code is "
        "known to work on digits. What is the likeliest reason?",
        (
            Option(
                "The decoder is too shallow to paint details.",
                "A shallow decoder still finds the coarse part, and the error would fall below the variance.",
            ),
            Option(
                "The loss should be taken on visible patches as well.",
                "The error on visible patches would fall, by copying. What is hidden would be as unknown as before.",
            ),
            Option(
                "Hidden and visible parts share nothing that could be learned.",
                "If they are independent, the mean is the best guess, and its error is the variance.",
                True,
            ),
            Option(
                "The class token is missing.",
                "It carries no objective of its own; patches are predicted from patches.",
            ),
        ),
    ),
)
