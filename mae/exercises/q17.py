"""Question 17: fine-tuning, and how fast each layer may learn."""

from collections.abc import Callable, Iterator

import torch

from mae.exercises.engine import compare, exercise

PARTS = ("norm1.weight", "attn.qkv.weight", "attn.proj.bias", "norm2.bias", "mlp.fc1.weight")


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """Parameters of small and deep encoders, in a random order, as their classifiers name them."""
    for depth in (1, 2, 4, 12, 24):
        names = ["patch_embed.weight", "patch_embed.bias", "cls_token", "norm.weight", "norm.bias", "head.weight"]
        for i in range(depth):
            some = torch.randperm(len(PARTS), generator=generator)[: 1 if depth == 1 else 2].tolist()
            names += [f"blocks.{i}.{PARTS[part]}" for part in some]
        names.append("blocks.0.norm1.bias")
        order = torch.randperm(len(names), generator=generator).tolist()
        rate, decay = (torch.rand(2, generator=generator) * 0.4 + 0.5).tolist()
        yield {"names": [names[i] for i in order], "depth": depth, "rate": rate, "decay": decay}


def _layer(name: str, depth: int) -> int:
    if name.startswith("blocks."):
        return 1 + int(name.split(".")[1])
    return 0 if name.startswith("patch_embed.") or name == "cls_token" else depth + 1


def _by_layer(layer: Callable, power: Callable = lambda decay, steps: decay**steps) -> Callable:
    """All rates, from a rule for the layer of a name, 0 to depth + 1, and one for what a step down costs."""

    def rates(names, depth, rate, decay):
        return [rate * power(decay, depth + 1 - layer(name, depth)) for name in names]

    return rates


def _first_digit(name: str, depth: int) -> int:
    return 1 + int(name.split(".")[1][0]) if name.startswith("blocks.") else _layer(name, depth)


@exercise(
    "q17.layer_rates",
    "implement",
    "A learning rate for each layer",
    minutes=15,
    hints=(
        "Give every parameter the number of its layer first: 0 for what makes the tokens, then the blocks, then what "
        "comes after them. How many steps below the top is layer 0 of an encoder with `depth` blocks?",
        '`name.split(".")` of `blocks.11.norm1.weight` has the number of the block in second place, as text. That '
        "name contains `norm` as well, and does not belong to the last norm.",
    ),
    then="put the rates into AdamW's parameter groups and fine-tune the digits model with one label a class.",
)
def layer_rates(answer, generator: torch.Generator) -> str:
    """Every parameter has the rate of its layer, whatever order they come in."""
    top = lambda name, depth: depth + 1  # noqa: E731
    mistakes = {
        "You turned it round: the first layers learn fastest. They hold what pre-training has found and what all "
        "tasks share; the head is new.": _by_layer(lambda name, depth: depth + 1 - _layer(name, depth)),
        "The last block learns as fast as the head. It is one step below it.": _by_layer(
            lambda name, depth: min(_layer(name, depth) + 1, depth + 1)
        ),
        "The head is slowed down too. It starts from nothing and keeps the full rate.": _by_layer(
            lambda name, depth: _layer(name, depth) - 1
        ),
        "The patch embedding and the class token get the full rate: they fell into your rule for all the rest. They "
        "are the first layer.": _by_layer(lambda name, depth: _layer(name, depth) or depth + 1),
        "The class token gets the full rate. It enters at the bottom, together with the patches.": _by_layer(
            lambda name, depth: depth + 1 if name == "cls_token" else _layer(name, depth)
        ),
        "The norms inside the blocks get the full rate. Only the last norm stands above the blocks.": _by_layer(
            lambda name, depth: depth + 1 if "norm" in name else _layer(name, depth)
        ),
        "You read one digit of a block's number: block 10 and the following ones get the rate of block 1 or 2.": (
            _by_layer(_first_digit)
        ),
        "The embedding learns as fast as the first block. It is one step below it.": _by_layer(
            lambda name, depth: max(_layer(name, depth), 1)
        ),
        "You take the same amount off at each step. Each step *multiplies* the rate by the decay.": _by_layer(
            _layer, lambda decay, steps: 1 - (1 - decay) * steps
        ),
        "All parameters get one rate. Each layer has its own.": _by_layer(top),
        "The factors are right; the rate itself is missing.": lambda names, depth, rate, decay: _by_layer(_layer)(
            names, depth, 1.0, decay
        ),
    }
    return compare(answer, _by_layer(_layer), _cases(generator), mistakes)
