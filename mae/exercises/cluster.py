"""Chapter 8: masks that do not ask which process draws them, and what sixteen machines change."""

import random
from collections.abc import Callable
from itertools import permutations
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from mae.exercises.engine import NotAttempted, Wrong, call, exercise, number, show
from mae.exercises.quiz import Option, Question, add_quiz

PATCHES, VISIBLE = 49, 12
IMAGES = 1_281_167  # ImageNet-1K's training set
# Where a sum of seed, epoch and example meets itself: at small steps, round ones, powers of 2, favourite primes.
STEPS = (
    *range(1, 1024),
    *range(2000, 1_250_000, 1000),
    *(2**k for k in range(10, 21)),
    *(7919, 9973, 10_007, 99_991, 100_003, 104_729, 999_983, 1_000_003, 1_000_007),
)


def _handed_out(seed: int, epoch: int, batch: Tensor, rank: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + 10 * epoch + rank)
    mine = batch.tensor_split(size)[rank].tolist()
    return torch.stack([torch.randperm(PATCHES, generator=generator)[:VISIBLE] for _ in mine])


def _drawn(function: Callable, seed: int, epoch: int, batch: Tensor, rank: int = 0, size: int = 1) -> Tensor:
    """The visible patches of a process's share, each row sorted; `Wrong` if they are none."""
    given = {"seed": seed, "epoch": epoch, "batch": batch, "rank": rank, "size": size}
    result, n = call(function, given), len(batch.tensor_split(size)[rank])
    if result is None:
        raise Wrong("Your function returns None. Is a `return` missing?")
    try:
        rows = torch.as_tensor(result)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Wrong(f"Expected a tensor of shape ({n}, {VISIBLE}), got {type(result).__name__}.", given) from error
    if rows.shape == (len(batch), VISIBLE) and n != len(batch):
        raise Wrong("You return masks of the whole batch. Each process computes its own share only.", given)
    if rows.shape != (n, VISIBLE):
        raise Wrong(f"Expected shape {(n, VISIBLE)}, got {tuple(rows.shape)}.", given)
    rows = rows.sort(dim=1).values
    if not ((rows >= 0) & (rows < PATCHES) & (rows == rows.long())).all() or (rows.diff(dim=1) == 0).any():
        raise Wrong(f"A row should hold {VISIBLE} different numbers of patches, from 0 to {PATCHES - 1}.", given)
    return rows.long()


def _depends_on_processes(answer: Callable, seed: int, epoch: int, batch: Tensor) -> None:
    """Two and three processes together draw what one does."""
    whole = _drawn(answer, seed, epoch, batch)
    for size in (2, 3):
        parts = [_drawn(answer, seed, epoch, batch, rank, size) for rank in range(size)]
        joined = torch.cat(parts)
        if torch.equal(joined, whole):
            continue
        k = (joined != whole).any(dim=1).nonzero()[0, 0]
        rank = [rank for rank, part in enumerate(parts) for _ in part][k]
        example = {"batch": batch, "visible in example": batch[k], "one process": whole[k]}
        example[f"process {rank} of {size}"] = joined[k]
        if sorted(joined.tolist()) == sorted(whole.tolist()):
            raise Wrong("Each example has its mask, but in another process's share: shares are consecutive.", example)
        shortest = min(map(len, parts))
        if torch.equal(parts[0][:shortest], parts[1][:shortest]):
            raise Wrong(
                "Process 1 draws the masks of process 0 again, for other examples. It should draw what one process "
                "draws for these.",
                example,
            )
        raise Wrong("An example gets another mask if another process draws it, or if there are more of them.", example)


def _depends_on_batch(answer: Callable, seed: int, epoch: int, batch: Tensor) -> None:
    """The mask goes with the example, wherever it stands."""
    rows, turned = _drawn(answer, seed, epoch, batch), _drawn(answer, seed, epoch, batch.flip(0))
    if len(rows.unique(dim=0)) == 1:
        raise Wrong("All examples of the batch have one and the same mask.", {"batch": batch, "visible": rows[0]})
    example = {"batch": batch, "visible in example": batch[0], "as it stands": rows[0]}
    example["batch turned round"] = turned[-1]
    if torch.equal(rows, turned):
        raise Wrong(
            "A mask goes with the place in the batch, not with the example. So every batch of an epoch has the same "
            "masks, and another batch size gives an example another mask.",
            example,
        )
    alone = torch.cat([_drawn(answer, seed, epoch, batch[i : i + 1]) for i in range(len(batch))])
    if not (torch.equal(rows, turned.flip(0)) and torch.equal(rows, alone)):
        raise Wrong("An example's mask depends on the other examples of its batch, too.", example)


def _drawn_anew(answer: Callable, seed: int, epoch: int, batch: Tensor) -> None:
    """Another epoch and another seed give other masks."""
    rows = _drawn(answer, seed, epoch, batch)
    bits = "Does it enter at all? Of a large number PyTorch's generator takes the lowest 32 bits only."
    for name, other in (("epoch", (seed, epoch + 1)), ("seed", (seed + 1, epoch))):
        if torch.equal(rows, _drawn(answer, *other, batch)):
            example = {"seed": seed, "epoch": epoch, f"another {name}": other[name == "epoch"], "example": batch[0]}
            raise Wrong(f"Another {name}, and all masks are the same. {bits}", example | {"visible in both": rows[0]})


def _meet(answer: Callable, seed: int, epoch: int, index: int) -> Tensor:
    """No other example, epoch or seed near by has the mask of this one. Returns a thousand masks."""

    def compare(one: tuple, row: Tensor, others: list[tuple], rows: Tensor) -> None:
        for other, same in zip(others, (rows == row).all(dim=1).tolist(), strict=True):
            if same:
                raise Wrong(
                    "Two examples that should differ have the same mask: your formula makes the same number of both. "
                    "Which other seed, epoch and example does a sum or a product mistake for these?",
                    {"seed, epoch, example": one, "has the mask of": other},
                )

    def far(*numbers: int) -> Tensor:
        return torch.tensor([index - step for step in numbers])

    one, row = (seed, epoch, index), _drawn(answer, seed, epoch, far(0))[0]
    neighbours = _drawn(answer, seed, epoch, far(*STEPS))
    for s, e in ((seed, epoch), (seed, epoch + 1), (seed + 1, epoch)):
        rows = neighbours if (s, e) == (seed, epoch) else _drawn(answer, s, e, far(*STEPS))
        compare(one, row, [(s, e, index - step) for step in STEPS], rows)
    others = [(seed + 1, epoch - step, index) for step in (1, 2, 10, 100, 128, 256, 500, 512)]
    others += [(seed, epoch - step, index + 1) for step in range(1, 513)]
    compare(one, row, others, torch.cat([_drawn(answer, s, e, torch.tensor([i])) for s, e, i in others]))
    swapped = list(permutations((seed, seed + 1, seed + 3)))
    rows = torch.cat([_drawn(answer, s, e, torch.tensor([i])) for s, e, i in swapped])
    for k, row in enumerate(rows[1:], 1):
        compare(swapped[k], row, swapped[:k], rows[:k])
    return neighbours


def _global_generators() -> str:
    _, words, place, *_ = np.random.get_state()  # noqa: NPY002
    return str((torch.get_rng_state().tolist(), words.tolist(), place, random.getstate()))


_hash = hash


def _salted(value: object) -> int:
    """As `hash` may be in another process, where texts have other ones."""
    return _hash((value, "another process")) if "'" in repr(value) else _hash(value)


@exercise(
    "cluster.masks",
    "find the bug",
    "Masks that ask who draws them",
    minutes=20,
    hints=(
        "Which of the five arguments may a mask depend on? And on what else does the mask of the second example "
        "depend, which comes out of the generator after the first?",
        "Each example needs a generator of its own, seeded by three numbers. Look for another epoch and another "
        "example that give your formula the same result. Leaving more room between the numbers helps only so far: "
        "PyTorch's generator takes the lowest 32 bits. NumPy's `default_rng` takes a tuple, and mixes it.",
    ),
    then="the published code seeds process r with seed + r. Which two runs share their random numbers?",
)
def masks(answer, generator: torch.Generator) -> str:
    """Masks follow from seed, epoch and example, and from nothing else."""
    seed, epoch, first = (int(torch.randint(*r, (1,), generator=generator)) for r in ((1, 50), (600, 700), (0, 500)))
    batch = first + 2 * torch.randperm(40, generator=generator)[:7]
    before, one = _global_generators(), _drawn(answer, seed, epoch, batch)
    if not torch.equal(one, _drawn(answer, seed, epoch, batch)):
        raise Wrong(
            "Called twice with the same arguments, your function gives different masks. A run that is taken up "
            "again could not repeat them.",
            {"seed": seed, "epoch": epoch, "batch": batch},
        )
    worlds = [(rank, size) for size in (1, 2, 3) for rank in range(size)]
    if all(
        torch.equal(_drawn(answer, seed, epoch, batch, *w), _handed_out(seed, epoch, batch, *w).sort(dim=1).values)
        for w in worlds
    ):
        raise NotAttempted(
            "the function still does what it did. Process 1 of 2 draws other masks than a process that is alone."
        )
    for numbers in ((0, 0, batch[:4]), (seed, epoch, batch)):
        _depends_on_processes(answer, *numbers)
        _depends_on_batch(answer, *numbers)
        _drawn_anew(answer, *numbers)
    rows = _meet(answer, seed, epoch, IMAGES - 2 - first)
    expected = len(rows) * VISIBLE / PATCHES
    if (rows.flatten().bincount(minlength=PATCHES) - expected).abs().max() > 6 * expected**0.5:
        raise Wrong("Your masks are not random: some patches are visible far more often than others.")

    again = torch.randint(len(batch), (6,), generator=generator)
    if not torch.equal(one[again], _drawn(answer, seed, epoch, batch[again])):
        raise Wrong("Later on, your function gives the same examples other masks: it remembers earlier calls.")

    if _global_generators() != before:
        raise Wrong(
            "The masks are right, but you seed the global generator. Whatever else draws from it, dropout for "
            "instance, now repeats itself after each example. Take a generator of your own."
        )
    with patch("builtins.hash", _salted):
        if not torch.equal(one, _drawn(answer, seed, epoch, batch)):
            raise Wrong("You hash a text. Python does so in another way in each process, so no two of them agree.")
    return (
        f"One, two and three processes draw the same masks, in any batch and order. {len(STEPS):,} other examples, of "
        "this epoch, the next, and under another seed, got other masks. No global generator was touched."
    )


@exercise(
    "cluster.sixteen",
    "predict",
    "Sixteen machines",
    minutes=8,
    hints=(
        "The batch of a step is what all processes compute together; the rate is stated for 256 images. What one "
        "process computes in a step has not changed.",
        "In a ring each process sends 2·(W - 1)/W times its gradients, four bytes per parameter. An epoch takes "
        "steps times seconds, before and after.",
    ),
    then="keep the batch of 128 instead, so that each of the 16 computes 8 images: how many times faster is an epoch?",
)
def sixteen(answer, generator: torch.Generator) -> str:
    """More processes with the same batch each."""
    W, each, images, base, p, computing, network = 16, 128, 1_024_000, 1.5e-4, 4e8, 1.2, 1e10
    names = ("rate", "steps", "seconds", "faster")
    if not isinstance(answer, dict) or set(answer) != set(names):
        raise Wrong(f"Expected a dictionary with {', '.join(names)}, got {show(answer)}.")
    one, gradients = base * each / 256, 4 * p / network
    number(
        answer["rate"],
        W * one,
        1e-6,
        {
            "That is the rate of one GPU alone. Sixteen times the batch takes a sixteenth of the steps, so each has "
            "to go further.": one,
            "That is the base rate, for 256 images. A step has another number of them.": base,
            "You multiply the base rate by the processes. It is stated for 256 images, and each has fewer.": W * base,
            "You let the rate grow with the root of the batch. This recipe's rate grows in proportion.": W**0.5 * one,
            "You divide by the processes. They average their gradients already, and the batch has grown.": one / W,
        },
        name="rate",
    )
    steps = images / each / W
    number(
        answer["steps"],
        steps,
        0,
        {
            "That is how many one GPU takes. A step of sixteen goes through sixteen times as many images.": W * steps,
            "More processes do not take more steps: all of them take the same one together.": W * W * steps,
            "You cut the epoch into batches of 256. That is the unit of the rate, not the batch.": images / 256,
            "You divide the epoch by the processes only. A step takes a batch in each.": images / W,
        },
        name="steps",
    )
    seconds = computing + 2 * (W - 1) / W * gradients
    number(
        answer["seconds"],
        seconds,
        0.005,
        {
            "You divide the computing by the processes. That is so with a fixed batch; here each computes as many "
            "images as before.": computing / W + seconds - computing,
            "That is the computing alone: the gradients have to travel as well.": computing,
            "You count one round of the ring. The pieces go round twice: once to be added up, once to be "
            "handed out.": computing + (W - 1) / W * gradients,
            "You send the gradients once and whole. In a ring their pieces go round twice.": computing + gradients,
            "You leave out the factor (W - 1)/W: nobody sends the piece that ends with itself.": (
                computing + 2 * gradients
            ),
            "Eight times too much traffic. Do you count bits? Or does each process send its whole gradients to all "
            "others? In a ring its traffic hardly grows with their number.": computing + (W - 1) * gradients,
            "You let the gradients go to all others twice. In a ring the traffic of a process hardly grows with "
            "their number.": computing + 2 * (W - 1) * gradients,
            "You send numbers, and the network counts bytes: four for each.": computing + (seconds - computing) / 4,
            "You send all 16 bytes per parameter. Weights and AdamW's means stay at home; gradients travel.": (
                computing + 4 * (seconds - computing)
            ),
            "That is the time of the traffic alone; computing comes before it.": seconds - computing,
        },
        name="seconds",
    )
    faster = W * computing / seconds
    number(
        answer["faster"],
        faster,
        0.05,
        {
            "Sixteen is the perfect speed-up. A step now takes longer than it did.": W,
            "You compare steps. An epoch has fewer of them now.": computing / seconds,
            "You compare steps, and the wrong way round. An epoch has fewer of them now.": seconds / computing,
            "You multiply by the longer step where you should divide: it makes the epoch slower.": (
                W * seconds / computing
            ),
            "That is the share of the old time. Asked is how many times faster.": 1 / faster,
        },
        name="faster",
    )
    return (
        f"{W} GPUs do the work of {faster:.1f}, because each step waits {seconds - computing:.1f} s for gradients; "
        f"and {steps:.0f} long steps stand in for {W * steps:,.0f} short ones."
    )


add_quiz(
    "cluster",
    Question(
        "A model's state, 16 bytes per parameter, does not fit on one card. You have four. What helps?",
        (
            Option(
                "`--accumulate 4`: each part of a batch is a quarter as large",
                "That shrinks what is kept for the backward pass. Weights, gradients and means are as large for one "
                "image as for a thousand.",
            ),
            Option(
                "Four processes, each with a quarter of the batch",
                "Each of them holds the whole model, its gradients and both means. What did not fit once does not "
                "fit four times.",
            ),
            Option(
                "Four processes and `--shard`",
                "Each holds a quarter of the state, and fetches a block's weights when their turn comes.",
                True,
            ),
            Option(
                "A higher mask ratio",
                "Fewer tokens keep less for the backward pass; no parameter goes away.",
            ),
        ),
    ),
    Question(
        "ViT-B just does not fit, at 75 % hidden. Which change frees more of what is kept for the backward pass?",
        (
            Option(
                "Half as many blocks in the decoder",
                "Lightweight or not, it has all positions: it keeps more than the encoder, and half of that is much.",
                True,
            ),
            Option(
                "90 % hidden",
                "That takes more than half of the tokens from the encoder, but the decoder has all positions as "
                "before, and keeps more to begin with.",
            ),
            Option(
                "Another optimiser, which keeps one mean of the gradients instead of two",
                "It frees four bytes per parameter, of the state. The backward pass needs what it needed.",
            ),
        ),
    ),
    Question(
        "Two processes never send each other a weight during training. Why do their models stay equal?",
        (
            Option(
                "They compute the same images",
                "Then the second would be of no use. Their images differ, and so do their gradients.",
            ),
            Option(
                "They don't, quite: that is why checkpoints average them",
                "A checkpoint is the model of process 0. It would be wrong for the others if models drifted apart.",
            ),
            Option(
                "Small differences cancel out over many steps",
                "Nothing pulls them together: models that differ go on to differ, more and more.",
            ),
            Option(
                "They start equal, and take every step with the same averaged gradient",
                "Same weights, same gradient, same means of it: AdamW computes the same step in both.",
                True,
            ),
        ),
    ),
    Question(
        "A home-made checkpoint holds the weights and the step's number; AdamW starts anew. What is the harm?",
        (
            Option(
                "None: its means are averages of gradients, which are computed anew",
                "New gradients are of new batches. Those behind the means have passed and do not come back.",
            ),
            Option(
                "The first step moves every parameter by about the full learning rate",
                "With fresh means it divides each gradient by its own size, so a tiny or noisy one moves its parameter "
                "as far as any. The loss may jump, and the run is another one.",
                True,
            ),
            Option(
                "The first steps hardly move, until the means have grown",
                "That would be so without AdamW's correction for young means, which scales them up.",
            ),
            Option(
                "The learning rate starts its warm-up again",
                "The rate follows from the step's number, and that was kept.",
            ),
        ),
    ),
    Question(
        "On a GPU you halve the model's depth, and `images_per_second` in the log stays. What do you try next?",
        (
            Option(
                "`--compile`, to fuse small operations",
                "That makes the model faster, and you have just seen that a faster model changes nothing.",
            ),
            Option(
                "More `--workers`",
                "Half of the work gone and no image more: the GPU waits for images that are opened too slowly.",
                True,
            ),
            Option(
                "A second GPU",
                "It would wait as well, if the same few workers had to feed it.",
            ),
            Option(
                "A larger learning rate",
                "It changes what a step learns, not how long it takes.",
            ),
        ),
    ),
)
