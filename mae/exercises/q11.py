"""Question 11: drop path, example by example."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """What goes into a block and what comes out; in training, some examples skip it and some don't."""
    for B, T, D, rate, training in (
        (2, 1, 2, 0.5, True),
        (3, 2, 2, 0.2, True),
        (3, 2, 2, 0.2, False),
        (6, 4, 3, 0.4, True),
    ):
        x, y = torch.randint(-9, 10, (2, B, T, D), generator=generator).float()
        y = y + torch.rand(B, T, D, generator=generator)
        noise = torch.rand(B, generator=generator)
        skipped = torch.arange(B) % 2 == int(torch.randint(2, (), generator=generator))
        noise = torch.where(skipped, noise * rate * 0.98, rate + 0.02 + noise * (0.97 - rate))
        yield {"x": x, "y": y, "rate": rate, "noise": noise, "training": training}


def _skip(x: Tensor, y: Tensor, rate: float, noise: Tensor, training: bool) -> Tensor:
    if not training:
        return y
    result = []
    for before, after, number in zip(x, y, noise.tolist(), strict=True):
        result.append(before if number < rate else before + (after - before) / (1 - rate))
    return torch.stack(result)


def _variant(change: Callable) -> Callable:
    """Right out of training; in training what `change` makes of x, y, the rate and who keeps the block, (B, 1, 1)."""
    return lambda x, y, rate, noise, training: (
        change(x, y, rate, (noise >= rate).float()[:, None, None]) if training else y
    )


@exercise(
    "q11.skip",
    "implement",
    "Skip a block",
    minutes=15,
    hints=(
        "What does a block add to its input? That part, and only that, is dropped or made larger. The input always "
        "comes through.",
        "`keep = noise >= rate` has shape (B,); `keep[:, None, None]` goes with (B, T, D). Divide what is kept by how "
        "often it is kept, and return early out of training.",
    ),
    then="skip every block of an encoder with rate one half. What is left of the picture in the latent?",
)
def skip(answer, generator: torch.Generator) -> str:
    """Drop path against a slow version, in training and out of it."""
    mistakes = {
        "You don't make up for what is skipped: in training, a block's contribution is then smaller on average than in "
        "use.": _variant(lambda x, y, rate, keep: x + (y - x) * keep),
        "You drop the input as well. A skipped block must leave its input as it is, or the picture is gone.": (
            _variant(lambda x, y, rate, keep: y * keep / (1 - rate))
        ),
        "You scale the whole output. Only what the block *adds* is made larger; the input must keep its size.": (
            _variant(lambda x, y, rate, keep: torch.where(keep.bool(), y / (1 - rate), x))
        ),
        "You skip the block where the noise is at or above the rate: with a small rate that is nearly "
        "always.": _variant(lambda x, y, rate, keep: x + (y - x) * (1 - keep) / (1 - rate)),
        "You divide by the rate. A contribution that is kept with chance 1 − rate is divided by 1 − rate.": (
            _variant(lambda x, y, rate, keep: x + (y - x) * keep / rate)
        ),
        "You decide once for the whole batch. Each example draws its own number.": (
            lambda x, y, rate, noise, training: (x + (y - x) * float(noise[0] >= rate) / (1 - rate)) if training else y
        ),
        "You skip out of training too. In use, every block is there.": (
            lambda x, y, rate, noise, training: _skip(x, y, rate, noise, True)
        ),
        "You scale in use instead of in training. It works on average, but then a model without drop path is another "
        "one: do all of it in training.": lambda x, y, rate, noise, training: (
            x + (y - x) * (noise >= rate)[:, None, None] if training else x + (y - x) * (1 - rate)
        ),
        "Your function always returns the block's output.": lambda x, y, rate, noise, training: y,
    }
    return compare(answer, _skip, _cases(generator), mistakes)
