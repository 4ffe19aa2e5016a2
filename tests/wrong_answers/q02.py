"""Wrong answers to the exercise of question 2."""

from collections import Counter

import torch
import torch.nn.functional as F

from wrong_answers import wrong


def painted(inputs, kernel, stride):
    """Counts as a learner would get them, without padding."""
    found = Counter(stride * i + j for i in range(inputs) for j in range(kernel))
    return [found[n] for n in range(stride * (inputs - 1) + kernel)]


@wrong("q02.overlaps", "with stride 1")
def forgets_the_stride(inputs, kernel, stride, padding):
    counts = [0] * (inputs + kernel - 1)
    for i in range(inputs):
        for j in range(kernel):
            counts[i + j] += 1
    return counts[padding : len(counts) - padding]


@wrong("q02.overlaps", "left the padding out")
def forgets_the_padding(inputs, kernel, stride, padding):
    return torch.tensor(painted(inputs, kernel, stride))


@wrong("q02.overlaps", "at one end only")
def cuts_the_end(inputs, kernel, stride, padding):
    return painted(inputs, kernel, stride)[: stride * (inputs - 1) + kernel - 2 * padding]


@wrong("q02.overlaps", "in all")
def cuts_once(inputs, kernel, stride, padding):
    counts = painted(inputs, kernel, stride)
    return counts[: len(counts) - padding]


@wrong("q02.overlaps", "ordinary convolution reads")
def counts_reads(inputs, kernel, stride, padding):
    starts = range(-padding, inputs + padding - kernel + 1, stride)
    return [sum(0 <= start + j < inputs for j in range(kernel)) for start in starts]


@wrong("q02.overlaps", "everywhere")
def divides(inputs, kernel, stride, padding):
    return [kernel // stride] * (stride * (inputs - 1) + kernel - 2 * padding)


@wrong("q02.overlaps", "The last input paints a whole kernel", "Your canvas")
def canvas_too_short(inputs, kernel, stride, padding):
    counts = [0] * (inputs * stride)
    for i in range(inputs):
        for j in range(kernel):
            if stride * i + j < len(counts):
                counts[stride * i + j] += 1
    return counts[padding : len(counts) - padding]


@wrong("q02.overlaps", "`[0:-0]` is empty")
def slices_to_minus_zero(inputs, kernel, stride, padding):
    return painted(inputs, kernel, stride)[padding:-padding]


@wrong("q02.overlaps", "one value too few")
def stops_early(inputs, kernel, stride, padding):
    counts = [0] * (stride * (inputs - 1) + kernel)
    for i in range(inputs):
        for j in range(1, kernel):
            counts[stride * i + j - 1] += 1
    return counts[padding : len(counts) - padding]


@wrong("q02.overlaps", "makes the output shorter")
def pads_with_zeros(inputs, kernel, stride, padding):
    return F.pad(torch.tensor(painted(inputs, kernel, stride)), (padding, padding)).tolist()
