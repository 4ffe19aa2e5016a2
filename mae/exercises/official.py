"""Chapter 6: the file for a purpose, and a published patch embedding that takes pixels."""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mae.exercises.engine import Wrong, call, choice, compare, exercise, show
from mae.exercises.quiz import Option, Question, add_quiz
from mae.images import MEAN, STD
from mae.model import vit_config
from mae.patches import patchify, unpatchify

# For each purpose the right file, and why each of the others is wrong.
PURPOSES = {
    "corner": (
        "visualize",
        {
            "encoder": "The encoder can't paint: there is no decoder in its file. A loader that is not strict would "
            "fill one with random numbers, and paint coloured noise.",
            "full": "`full` predicts normalised pixels, patterns without brightness and contrast. To make a picture of "
            "them you would need the mean and the deviation of what was torn off.",
            "none": "To fill in what is hidden is what these models were trained for. One file predicts pixels.",
        },
    ),
    "leaves": (
        "encoder",
        {
            "full": "`full` holds the right encoder, and a decoder that you download and throw away. You need less.",
            "visualize": "The encoder of `visualize` learned from pixels. In the paper, one that learned from "
            "normalised pixels is better after fine-tuning; and here a decoder comes along that you don't need.",
            "none": "None of them knows your leaves. But you have labels, and fine-tuning puts a new classifier onto "
            "what a file holds.",
        },
    ),
    "x-rays": (
        "full",
        {
            "encoder": "Pre-training needs a decoder as well, and the file of the encoder has none: yours would begin "
            "with random numbers.",
            "visualize": "The decoder of `visualize` has learned to predict pixels. You ask for normalised pixels, "
            "which is another target.",
            "none": "X-rays are another kind of picture, and grey; three equal channels solve that. One file holds a "
            "whole model that was trained on your target.",
        },
    ),
    "breed": (
        "none",
        {
            "encoder": "The encoder gives features. Names of breeds come from a classifier, and no label took part in "
            "this training, nor is a classifier in the file.",
            "full": "`full` predicts hidden patches, not breeds: no label took part in its training.",
            "visualize": "`visualize` predicts the pixels of hidden patches, not breeds: no label took part in its "
            "training.",
        },
    ),
}


@exercise(
    "official.files",
    "choose",
    "A file for each purpose",
    minutes=5,
    hints=(
        "Ask of each purpose: does it need a decoder? And if so, what must the decoder predict?",
        "Pre-training has no labels. What, then, can none of its files do by itself?",
    ),
    then="the X-rays have one channel, and all files want three. What do you do?",
)
def files(answer, generator: torch.Generator) -> str:
    """The file that does it, and nothing larger."""
    if not isinstance(answer, Mapping) or set(answer) != set(PURPOSES):
        names = ", ".join(map(repr, PURPOSES))
        raise Wrong(f"Expected a dictionary with {names}, got {show(answer)}.")
    for purpose, (right, wrong) in PURPOSES.items():
        choice(answer[purpose], right, wrong, name=f"{purpose!r}")
    config = vit_config("base")
    encoder, decoder = (  # a block's matrices: 4·D² in attention, 8·D² in its two linear maps
        depth * 12 * width**2 / 1e6
        for depth, width in ((config.depth, config.width), (config.decoder_depth, config.decoder_width))
    )
    return (
        f"Each is the smallest that does it. For ViT-B, the matrices of the encoder's blocks are {encoder:.0f} million "
        f"numbers; `full` and `visualize` hold {decoder:.0f} million more for the decoder's. None holds a label."
    )


def _embeddings(generator: torch.Generator) -> Iterator[dict]:
    """Kernels and biases, means and deviations; first of single pixels, then of patches; D, C and p all differ."""
    for D, C, p in ((1, 2, 1), (1, 2, 2), (2, 3, 2), (5, 3, 4)):
        weight, bias = torch.randn(D, C, p, p, generator=generator), torch.randn(D, generator=generator)
        mean, std = (0.2 + 0.6 * torch.rand(C, generator=generator) for _ in range(2))
        yield {"weight": weight, "bias": bias, "mean": mean, "std": std}


def _convolved(images: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Tokens (B, N, D) of the standardised pictures, as in the published code."""
    images = (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    return F.conv2d(images, weight, bias, stride=weight.shape[-1]).flatten(2).transpose(1, 2)


def _probed(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and bias, read off what comes out for a black patch and for one lit value at a time."""
    P, p = weight[0].numel(), weight.shape[-1]
    lit = torch.cat([torch.zeros(1, P), torch.eye(P)])[:, None]  # (1 + P, 1, P)
    tokens = _convolved(unpatchify(lit, p, p), weight, bias, mean, std)[:, 0]  # (1 + P, D)
    return (tokens[1:] - tokens[0]).T, tokens[0]


def _folded(order: tuple[int, ...] = (0, 2, 3, 1), scale: str = "divided") -> Callable:
    """Weights with a fault."""

    def weights(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        std = std.view(-1, 1, 1)
        scaled = {"divided": weight / std, "left out": weight, "multiplied": weight * std}[scale]
        return scaled.permute(order).flatten(1)

    return weights


def _standardised_kernel(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return _folded()(weight - mean.view(-1, 1, 1), bias, mean, std)


def _scaled_by_runs(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1) / std.repeat_interleave(weight[0, 0].numel())


def _shifted(shift: Callable) -> Callable:
    """A bias with a fault: the shift is made from the kernel (D, C, p, p), mean and deviation (C, 1, 1)."""

    def shifted(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        return bias - shift(weight, mean.view(-1, 1, 1), std.view(-1, 1, 1))

    return shifted


def _shifted_by_runs(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return bias - _folded()(weight, bias, mean, std) @ mean.repeat_interleave(weight[0, 0].numel())


def _sum(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3))


@exercise(
    "official.fold",
    "implement",
    "An embedding that takes pixels",
    minutes=20,
    hints=(
        "One number of a token is a sum of w·(x - m) / s over all values x of a patch, plus the bias. Sort it: what "
        "multiplies x, and what is left when every x is 0?",
        "Divide and sum while the kernel still has its axis of channels: `std[:, None, None]` fits it. Bring the axes "
        "into the order of our patches last.",
    ),
    then="sum your weights over the three channels. Which pictures does the result embed, and why not take the mean?",
)
def fold(answer, generator: torch.Generator) -> str:
    """Weights in the patches' order, divided by the deviations; a bias that holds the means."""
    cases = list(_embeddings(generator))

    def part(index: int) -> Callable:
        def results(*arguments):
            pair = call(answer, dict(zip(cases[0], arguments, strict=True)))
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise Wrong(f"Expected two results, weights and a bias, got {show(pair)}.")
            return pair[index]

        return results

    runs = (
        "You treat the values of a patch as if all of the first channel came first. In our patches the channel "
        "changes with every value: first, second, third, first, and so on."
    )
    compare(
        part(0),
        lambda *arguments: _probed(*arguments)[0],
        cases,
        {
            "Your weights are in the kernel's order, (channel, row, column). A change of shape moves no number: axes "
            "have to change places.": _folded((0, 1, 2, 3)),
            "Your weights are in the kernel's order, (channel, row, column), and they take no account of the "
            "deviations either.": _folded((0, 1, 2, 3), "left out"),
            "Rows and columns have changed places: each patch would be seen mirrored at its diagonal.": (
                _folded((0, 3, 2, 1))
            ),
            "Your weights are in the order (row, channel, column). In our patches all channels of one pixel stand "
            "together.": _folded((0, 2, 1, 3)),
            "The order is right, but pixels are not divided by the deviations: your weights are those for "
            "standardised pictures.": _folded(scale="left out"),
            "You multiply by the deviations. That undoes a standardisation; the embedding has to do one.": (
                _folded(scale="multiplied")
            ),
            "You standardise the kernel. It is the picture that is standardised; the kernel only multiplies what comes "
            "out of that.": _standardised_kernel,
            runs: _scaled_by_runs,
            "Your weights are transposed. A linear map's are stored (out, in), here (D, P).": (
                lambda *arguments: _probed(*arguments)[0].T
            ),
            "Your weights still have the axes of a kernel. A linear map's have two: (D, P).": (
                lambda *arguments: _probed(*arguments)[0].reshape(arguments[0].permute(0, 2, 3, 1).shape)
            ),
        },
    )
    verified = compare(
        part(1),
        lambda *arguments: _probed(*arguments)[1],
        cases,
        {
            "Right weights, but the bias is as it was. Your tokens are those of pictures that were divided and "
            "nothing was subtracted from: what becomes of the mean?": _shifted(lambda w, mean, std: 0),
            "Right weights, but the means go into the bias with the wrong sign. They are subtracted from the pixels.": (
                _shifted(lambda w, mean, std: -_sum(w * mean / std))
            ),
            "Right weights, but in the bias the means are not divided by the deviations. What is subtracted first is "
            "divided, too.": _shifted(lambda w, mean, std: _sum(w * mean)),
            "Right weights, but in the bias the means are divided by the deviations twice.": (
                _shifted(lambda w, mean, std: _sum(w * mean / std**2))
            ),
            "Right weights, but your shift is a mean over a patch. A token is a sum over its values, so each of them "
            "brings its own shift.": _shifted(lambda w, mean, std: (w * mean / std).mean(dim=(1, 2, 3))),
            "Right weights, but your shift does not depend on them: the mean is subtracted from pixels, before the "
            "kernel, not from tokens.": _shifted(lambda w, mean, std: (mean / std).sum()),
            f"Right weights, but the bias is wrong. {runs}": _shifted_by_runs,
        },
    )
    weight, bias = torch.randn(64, 3, 16, 16, generator=generator), torch.randn(64, generator=generator)
    picture = torch.rand(1, 3, 32, 48, generator=generator)
    case = {"weight": weight / 28, "bias": bias, "mean": MEAN.flatten(), "std": STD.flatten()}
    weights, own_bias = (torch.as_tensor(x).detach().float() for x in call(answer, case))
    difference = patchify(picture, 16) @ weights.T + own_bias - _convolved(picture, *case.values())
    return (
        f"{verified} A picture of 32×48 pixels gives the tokens that the convolution gives once it is standardised: "
        f"the largest difference is {difference.abs().max():.0e}, which is rounding."
    )


add_quiz(
    "official",
    Question(
        "You have translated a checkpoint: all names and shapes fit. What proves that the translation is right?",
        (
            Option(
                "A strict loader that finds nothing missing and nothing left over",
                "It compares names and shapes. Numbers in a wrong order inside a tensor pass it.",
            ),
            Option(
                "Reconstructions that look sensible",
                "A model with a fault often paints something, only worse. The eye has nothing to compare it with.",
            ),
            Option(
                "Equal outputs and gradients, for the same input and mask",
                "Every number takes part in them, so that a weight at a wrong place shows.",
                True,
            ),
            Option(
                "Equal numbers of parameters",
                "Any other order of the same numbers has as many.",
            ),
        ),
    ),
    Question(
        "A checkpoint holds names and tensors. Which of these must somebody tell you?",
        (
            Option(
                "How many heads attention has",
                "`qkv` is (3D, D) for any number of heads, and with a wrong one nothing crashes.",
                True,
            ),
            Option(
                "How many blocks the decoder has",
                "Blocks are numbered in the names: count them.",
            ),
            Option(
                "How long the side of a patch is",
                "The last two axes of the patch embedding's kernel show it.",
            ),
            Option(
                "How wide the encoder is",
                "Every norm of it has that many weights.",
            ),
        ),
    ),
    Question(
        "You suspect that an evaluation of reconstructions is told part of the answer. Which model do you try in it?",
        (
            Option(
                "A larger one, to see whether its score rises",
                "It may rise for an honest reason. That tells nothing about what was given away.",
            ),
            Option(
                "An untrained one, with random weights",
                "It knows nothing, either. But its random patterns spoil the score, and can hide what is given away.",
            ),
            Option(
                "One trained on the test pictures",
                "It knows the answers by itself, whether or not the evaluation gives any away.",
            ),
            Option(
                "One that predicts zeros",
                "What it scores, it was given: nothing in the predictions comes from the picture.",
                True,
            ),
        ),
    ),
    Question(
        "Three quarters of a picture are hidden. You measure the PSNR of the hidden patches; somebody else that of the "
        "whole picture, visible patches pasted. How do the two numbers for one picture compare?",
        (
            Option(
                "They are equal: what is pasted has no error",
                "It has none, but it counts: the same squared errors are averaged over more pixels.",
            ),
            Option(
                "The second is higher by 10·log₁₀(4/3) dB",
                "The mean squared error is three quarters of the first, for any model. Say what you measure on.",
                True,
            ),
            Option(
                "The second is higher, and by more the better the model is",
                "The factor between the two errors is the hidden share, and the model has no part in it.",
            ),
            Option(
                "The second is lower: there are more pixels to be wrong about",
                "PSNR is made from a mean, not a sum, and the pixels that are added are right.",
            ),
        ),
    ),
    Question(
        "The same weights, the same pictures, and today's score differs from yesterday's. Where do you look first?",
        (
            Option(
                "At the weights: an evaluation in training mode changes them",
                "Without a step of an optimiser no weight changes; and there are no running averages in this model.",
            ),
            Option(
                "At dropout: it was left switched on",
                "There is none in this model: training and evaluation mode give the same numbers.",
            ),
            Option(
                "At the masks: were they drawn anew?",
                "Which patches are hidden decides how hard a picture is. Fix the seed, and average over many.",
                True,
            ),
        ),
    ),
)
