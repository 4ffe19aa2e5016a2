"""Question 2: convolutional autoencoders."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _sizes(generator: torch.Generator) -> Iterator[dict]:
    """Kernels that the stride divides, others, kernels smaller than the stride; with padding and without."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    yield {"inputs": 3, "kernel": 3, "stride": 2, "padding": 0}
    yield {"inputs": 3, "kernel": 2, "stride": 3, "padding": 0}
    yield {"inputs": 4, "kernel": 4, "stride": 2, "padding": 1}
    for _ in range(8):
        kernel = draw(2, 7)
        inputs, stride, padding = draw(7, 12), draw(1, 4), draw(0, (kernel - 1) // 2)
        yield {"inputs": inputs, "kernel": kernel, "stride": stride, "padding": padding}


def _counts(inputs: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Ones, painted by a kernel of ones."""
    painted = F.conv_transpose1d(torch.ones(1, 1, inputs), torch.ones(1, 1, kernel), stride=stride, padding=padding)
    return painted.flatten()


def _sliding(inputs: int, kernel: int, stride: int, padding: int) -> Tensor:
    """An ordinary convolution: how many inputs each output reads."""
    read = F.conv1d(torch.ones(1, 1, inputs), torch.ones(1, 1, kernel), stride=stride, padding=padding)
    return read.flatten()


def _cut(count: int):
    """The counts, with `count` times the padding cut off at the end only."""

    def counts(inputs: int, kernel: int, stride: int, padding: int) -> Tensor:
        whole = _counts(inputs, kernel, stride, 0)
        return whole[: len(whole) - count * padding]

    return counts


@exercise(
    "q02.overlaps",
    "implement",
    "Count the overlaps",
    minutes=10,
    hints=(
        "Forget the padding first. Where does input `i` begin to paint, and where does it end? "
        "How long is the whole canvas?",
        "The last input begins at `stride * (inputs - 1)` and paints `kernel` values. Start with a list of zeros of "
        "that length, add one wherever an input paints, and cut both ends off last.",
    ),
    then="stack two layers of kernel 3 and stride 2: how uneven are the counts now? Multiply, layer by layer.",
)
def overlaps(answer, generator: torch.Generator) -> str:
    """Counts of a transposed convolution of ones by ones."""
    mistakes = {
        "You count with stride 1. Each next input begins to paint `stride` outputs further on.": (
            lambda inputs, kernel, stride, padding: _counts(inputs, kernel, 1, padding)
        ),
        "You left the padding out: it cuts outputs off at each end.": _cut(0),
        "You cut at one end only. A padding of 1 takes the first output and the last one.": _cut(2),
        "You cut `padding` outputs in all. It takes that many at *each* end.": _cut(1),
        "A transposed convolution's padding makes the output shorter; yours makes it longer, with zeros.": (
            lambda inputs, kernel, stride, padding: F.pad(_counts(inputs, kernel, stride, 0), (padding, padding))
        ),
        "This counts what an ordinary convolution reads. A transposed one goes the other way: its output is longer "
        "than its input.": _sliding,
        "This is `kernel / stride` everywhere. At the ends fewer inputs reach an output, and between them the counts "
        "may alternate.": lambda inputs, kernel, stride, padding: torch.full_like(
            _counts(inputs, kernel, stride, padding), kernel // stride
        ),
        "Your canvas is `inputs * stride` long. The last input paints a whole kernel, whatever the stride.": (
            lambda inputs, kernel, stride, padding: F.pad(_counts(inputs, kernel, stride, 0), (0, stride))[
                padding : inputs * stride - padding
            ]
        ),
        "With a padding of 0 nothing is left of your list: `[0:-0]` is empty.": (
            lambda inputs, kernel, stride, padding: _counts(inputs, kernel, stride, 0)[padding:-padding]
        ),
        "Each of your inputs paints one value too few.": lambda inputs, kernel, stride, padding: F.pad(
            _counts(inputs, kernel - 1, stride, 0), (0, 1)
        )[padding : stride * (inputs - 1) + kernel - padding],
    }
    return compare(answer, _counts, _sizes(generator), mistakes)
