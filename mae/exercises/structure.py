"""Chapter 2: shapes, patches, positions, and what each part costs."""

import math
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

import torch
from torch import Tensor

from mae.exercises.engine import Wrong, call, choice, compare, exercise, number, show
from mae.exercises.quiz import Option, Question, add_quiz
from mae.flops import model_flops
from mae.masking import Mask, num_visible, random_mask, take
from mae.model import MAEConfig, MaskedAutoencoder, sincos_positions, vit_config
from mae.patches import patch_grid, patchify


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _entries(answer: object, names: tuple[str, ...]) -> Mapping:
    """The answer, if it is a dictionary with these names."""
    if not isinstance(answer, Mapping) or set(answer) != set(names):
        raise Wrong(f"Expected a dictionary with the keys {', '.join(names)}, got {show(answer)}.")
    return answer


class Encoder:
    """An encoder of (B, N, P) patches to (B, K, P) tokens: what each has seen, plus the visible patch itself.

    Parameters
    ----------
    name : str
    leaks : bool
    seen : callable
        Patches and mask (B, N, 1), True where hidden, to what is seen, (B, 1, P).
    itself : bool
        Whether the visible patch is added.
    """

    def __init__(self, name: str, leaks: bool, seen: Callable, itself: bool = True):
        self.name, self.leaks, self.seen, self.itself = name, leaks, seen, itself

    def __repr__(self) -> str:
        return self.name

    def __call__(self, patches: Tensor, is_hidden: Tensor) -> Tensor:
        visible = take(patches, Mask.from_hidden(is_hidden).visible)
        return self.itself * visible + self.seen(patches, is_hidden[:, :, None])


def _last_hidden(x: Tensor, h: Tensor) -> Tensor:
    return torch.stack([patches[hidden[:, 0]][-1:] for patches, hidden in zip(x, h, strict=True)])


ENCODERS = (
    Encoder("the visible patch, and the mean of all visible", False, lambda x, h: (x * ~h).mean(1, keepdim=True)),
    Encoder("the visible patch, and the mean of all patches", True, lambda x, h: x.mean(1, keepdim=True)),
    Encoder("always zero", False, lambda x, h: 0 * x[:, :1], False),
    Encoder("the visible patch alone", False, lambda x, h: 0 * x[:, :1]),
    Encoder("the mean of the hidden patches", True, lambda x, h: (x * h).mean(1, keepdim=True), False),
    Encoder("the visible patch, and the last hidden one", True, _last_hidden),
    Encoder(
        "the visible patch, and but for the first example the mean of all patches",
        True,
        lambda x, h: x.mean(1, keepdim=True) * (torch.arange(len(x)) > 0)[:, None, None],
    ),
)


def _encoders(generator: torch.Generator) -> Iterator[dict]:
    """Encoders in any order, which leak in different ways or not at all, each with patches and a mask."""
    for B, N, P in ((2, 4, 1), (3, 8, 2)):
        for i in torch.randperm(len(ENCODERS), generator=generator).tolist():
            patches = torch.randint(1, 100, (B, N, P), generator=generator).float()
            is_hidden = random_mask(B, N, 0.5, generator=generator).is_hidden
            yield {"encode": ENCODERS[i], "patches": patches, "is_hidden": is_hidden}


@exercise(
    "structure.leaks",
    "implement",
    "A test for leaks",
    minutes=10,
    hints=(
        "An encoder that can't see the hidden patches gives the same tokens whatever they hold. So give it two inputs.",
        "`torch.where(is_hidden[:, :, None], other, patches)` replaces hidden patches and keeps the visible ones. "
        "Replace all of them, then compare all tokens.",
    ),
    then="a leak through the loss is another matter. How would you test that visible patches carry none?",
)
def leaks(answer, generator: torch.Generator) -> str:
    """Change what is hidden, and only that; whatever changes with it has seen it."""

    def differ(encode: Encoder, x: Tensor, h: Tensor, where: Tensor, examples: slice = slice(None)) -> bool:
        other = torch.where(where[:, :, None], torch.full_like(x, 0.5), x)
        return bool((encode(x, h) != encode(other, h))[examples].any())

    def exchanged(encode: Encoder, x: Tensor, h: Tensor) -> bool:
        other = x.clone()
        for patches, hidden in zip(other, h, strict=True):
            patches[hidden] = patches[hidden].roll(1, dims=0)
        return bool((encode(x, h) != encode(other, h)).any())

    mistakes = {
        "You change visible patches. An honest encoder reacts to those too: it is its work to look at them.": (
            lambda e, x, h: differ(e, x, h, ~h)
        ),
        "You change all patches. An honest encoder reacts to that too, because the visible ones change.": (
            lambda e, x, h: differ(e, x, h, torch.ones_like(h))
        ),
        "You change only one hidden patch of each example. A leak may be in any other.": (
            lambda e, x, h: differ(e, x, h, h & (h.cumsum(1) == 1))
        ),
        "You look at the first example of the batch only. A leak may be in any.": (
            lambda e, x, h: differ(e, x, h, h, slice(1))
        ),
        "You exchange hidden patches among themselves. Their mean stays what it was, so an encoder that leaks only "
        "that passes your test.": exchanged,
        "You have it the wrong way round: True means that something of the hidden patches got through.": (
            lambda e, x, h: not differ(e, x, h, h)
        ),
        "Your answer is always True, even for an encoder that gives nothing but zeros.": lambda e, x, h: True,
        "Your answer is always False, even for an encoder that gives the mean of the hidden patches.": (
            lambda e, x, h: False
        ),
    }
    return compare(answer, lambda encode, patches, is_hidden: encode.leaks, _encoders(generator), mistakes)


def _cut(images: Tensor, p: int) -> Tensor:
    """Patches by slices, one at a time."""
    H, W = images.shape[2:]
    patches = [images[:, :, y : y + p, x : x + p] for y in range(0, H, p) for x in range(0, W, p)]
    return torch.stack([patch.movedim(1, 3).flatten(1) for patch in patches], dim=1)


def _pictures(generator: torch.Generator) -> Iterator[dict]:
    """Images of distinct values: grey and coloured, wide and tall."""
    wide, tall = _draw(3, 5, generator), _draw(3, 5, generator)
    for B, C, rows, columns, p in ((1, 1, 2, 3, 2), (1, 2, 2, 1, 2), (2, 3, 2, wide, 2), (3, 2, tall, 2, 3)):
        size = B, C, rows * p, columns * p
        yield {"images": torch.randperm(math.prod(size), generator=generator).float().view(size), "p": p}


def _cut_by(order: tuple[int, ...]) -> Callable:
    """A way to cut with the axes (B, C, rows, p, columns, p) in another order."""

    def cut(images: Tensor, p: int) -> Tensor:
        B, C, H, W = images.shape
        x = images.reshape(B, C, H // p, p, W // p, p).permute(order)
        return x.reshape(B, (H // p) * (W // p), p * p * C)

    return cut


def _far_apart(images: Tensor, p: int) -> Tensor:
    B, C, H, W = images.shape
    x = images.reshape(B, C, p, H // p, p, W // p).permute(0, 3, 5, 2, 4, 1)
    return x.reshape(B, -1, p * p * C)


@exercise(
    "structure.patchify",
    "implement",
    "Cut images into patches",
    minutes=15,
    hints=(
        "Name five axes besides the batch: channel, row of the grid, row in the patch, column of the grid, column in "
        "the patch. `reshape` can split H into two of them, and W. Which of the two comes first?",
        "After the split the axes stand as (B, C, rows, p, columns, p). `permute` them into the order in which the "
        "result counts, slowest first; a last `reshape` merges them.",
    ),
    then="write it with `F.unfold`, and find out in which order it puts the values of a patch.",
)
def to_patches(answer, generator: torch.Generator) -> str:
    """Patches row by row; inside, row, column, channel."""
    mistakes = {
        "A plain `reshape` cuts the memory, not the image: your patches are pieces of whole rows of pixels. The axes "
        "must be put in order first.": lambda x, p: x.reshape(len(x), -1, p * p * x.shape[1]),
        "A plain `reshape` cuts the memory, not the image. That the channel is last helps nothing as long as a patch "
        "is a piece of a row of pixels.": lambda x, p: x.movedim(1, 3).reshape(len(x), -1, p * p * x.shape[1]),
        "Inside a patch you count channel first. The order is row, column, then channel: the values of one pixel "
        "stand side by side.": _cut_by((0, 2, 4, 1, 3, 5)),
        "You list the patches column by column. The second patch is the one to the right of the first, not the one "
        "below it.": _cut_by((0, 4, 2, 3, 5, 1)),
        "Your patches stand in the right order, but each is transposed: inside a patch, too, values run along rows.": (
            _cut_by((0, 2, 4, 5, 3, 1))
        ),
        "You transpose the whole image: the patches run column by column, and so do the values in them.": _cut_by(
            (0, 4, 2, 5, 3, 1)
        ),
        "Your patches gather pixels that are far apart. When H is split in two, the first of the two axes takes the "
        "large steps: is it the row of the grid, or the row in a patch?": _far_apart,
    }
    return compare(answer, _cut, _pictures(generator), mistakes)


def _glue(patches: Tensor, p: int, height: int, width: int) -> Tensor:
    """Images by slices, one patch at a time."""
    B, _, P = patches.shape
    images = patches.new_zeros(B, P // p**2, height, width)
    places = [(y, x) for y in range(0, height, p) for x in range(0, width, p)]
    for n, (y, x) in enumerate(places):
        images[:, :, y : y + p, x : x + p] = patches[:, n].reshape(B, p, p, -1).movedim(3, 1)
    return images


def _glued_by(split: str, order: tuple[int, ...]) -> Callable:
    """A way to put patches back with their axes split as named, then put in another order."""

    def glue(patches: Tensor, p: int, height: int, width: int) -> Tensor:
        B, _, P = patches.shape
        sizes = {"B": B, "C": P // p**2, "r": height // p, "c": width // p, "p": p}
        x = patches.reshape([sizes[axis] for axis in split]).permute(order)
        return x.reshape(B, sizes["C"], height, width)

    return glue


def _sequences(generator: torch.Generator) -> Iterator[dict]:
    """The same images in patches, with the size that they had."""
    for case in _pictures(generator):
        height, width = case["images"].shape[2:]
        yield {"patches": _cut(**case), "p": case["p"], "height": height, "width": width}


@exercise(
    "structure.unpatchify",
    "implement",
    "Put patches back together",
    minutes=15,
    hints=(
        "It is the same three steps backwards: split, permute, merge. Into which axes does N split, and into which P?",
        "One row of pixels in the image runs through all patches of one row of the grid. So before the last `reshape`, "
        "which axis has to stand beside the row of the grid?",
    ),
    then="why does the function need height and width? Find two sizes that give patches of the same shape.",
)
def to_images(answer, generator: torch.Generator) -> str:
    """The inverse of cutting, for images that need not be square."""
    split = "BrcppC"
    mistakes = {
        "A plain `reshape` writes one patch after another along the rows of the image. The axes must be put in order "
        "first.": _glued_by(split, (0, 1, 2, 3, 4, 5)),
        "You brought the channel to the front, but the patches still lie one after another along the rows of the "
        "image. A row of pixels runs through all patches of a row of the grid.": _glued_by(split, (0, 5, 1, 2, 3, 4)),
        "You take the channel as the first axis of a patch. It is the last: row, column, channel.": _glued_by(
            "BrcCpp", (0, 3, 1, 4, 2, 5)
        ),
        "You mix up the grid's rows and columns: there are height / p rows and width / p columns, and the patches run "
        "row by row.": _glued_by("BcrppC", (0, 5, 1, 3, 2, 4)),
        "You place the patches column by column; the second one belongs to the right of the first.": _glued_by(
            "BcrppC", (0, 5, 2, 3, 1, 4)
        ),
        "The patches are in their places, but each is transposed. Inside a patch values run along rows, too.": (
            _glued_by(split, (0, 5, 1, 4, 2, 3))
        ),
        "Your image is woven of all patches: neighbouring pixels come from different patches. Of the grid's row and "
        "the patch's row, the one with the large steps must stand first.": _glued_by(split, (0, 5, 3, 1, 4, 2)),
    }
    return compare(answer, _glue, _sequences(generator), mistakes)


def _grids(generator: torch.Generator) -> Iterator[dict]:
    """Grids that are not square, of several widths."""
    yield {"rows": 2, "columns": 3, "D": 4}
    yield {"rows": 3, "columns": 2, "D": 8}
    for n in (2, 3, 4, 6):
        rows = _draw(2, 9, generator)
        yield {"rows": rows, "columns": rows + _draw(1, 4, generator), "D": 4 * n}


def _waves(x: Tensor, frequency: Tensor) -> list[Tensor]:
    angle = x.double()[:, None] * frequency
    return [angle.sin(), angle.cos()]


def _positions(
    rows: int, columns: int, D: int, *, start: int = 0, frequency: Callable = lambda i, n: 10000.0 ** (-i / n)
) -> tuple[Tensor, ...]:
    """Sine and cosine of the column, then of the row, (N, D/4) each."""
    n = D // 4
    place = torch.arange(rows * columns)
    w = frequency(torch.arange(n, dtype=torch.float64), n)
    return *_waves(place % columns + start, w), *_waves(place // columns + start, w)


def _in_order(order: tuple[int, ...]) -> Callable:
    return lambda rows, columns, D: torch.cat([_positions(rows, columns, D)[i] for i in order], dim=1)


def _with(**changes) -> Callable:
    return lambda rows, columns, D: torch.cat(_positions(rows, columns, D, **changes), dim=1)


def _along_the_sequence(rows: int, columns: int, D: int) -> Tensor:
    w = 10000.0 ** (-torch.arange(D // 2, dtype=torch.float64) / (D // 2))
    return torch.cat(_waves(torch.arange(rows * columns), w), dim=1)


def _alternating(rows: int, columns: int, D: int) -> Tensor:
    x_sin, x_cos, y_sin, y_cos = _positions(rows, columns, D)
    return torch.cat([torch.stack(pair, dim=2).flatten(1) for pair in ((x_sin, x_cos), (y_sin, y_cos))], dim=1)


def _column_by_column(rows: int, columns: int, D: int) -> Tensor:
    table = _with()(rows, columns, D).view(rows, columns, D)
    return table.transpose(0, 1).reshape(-1, D)


@exercise(
    "structure.positions",
    "implement",
    "Positions of a grid",
    minutes=20,
    hints=(
        "Forget the grid for a moment: how do you make (N, n) angles from N coordinates and n frequencies? Then do it "
        "for the columns and for the rows of all N patches, counted row by row.",
        '`torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")` gives both coordinates; flatten '
        "them. Four pieces of n values make D, so n is D // 4.",
    ),
    then="look at the dot products of one position with all others, as a picture: what do they say about distance?",
)
def positions(answer, generator: torch.Generator) -> str:
    """Sines and cosines of the column, then of the row."""
    mistakes = {
        "Your halves are exchanged: the first half of a line is about the column, the second about the row.": _in_order(
            (2, 3, 0, 1)
        ),
        "Sine and cosine are exchanged: in each half the sines come first.": _in_order((1, 0, 3, 2)),
        "You have both sines first, then both cosines. All of the column comes first, then all of the row.": _in_order(
            (0, 2, 1, 3)
        ),
        "Your sines and cosines alternate. That is as good a code, but another one: here the sines at all frequencies "
        "come first, then the cosines.": _alternating,
        "You number the patches from 0 to N − 1 and encode that number. A patch then seems far from the one right "
        "below it: row and column must be encoded each by itself.": _along_the_sequence,
        "Your table runs through the grid column by column; patches are counted row by row.": _column_by_column,
        "Your frequencies fall too slowly: n is half of what you took. It counts the frequencies in one of four "
        "pieces.": _with(frequency=lambda i, n: 10000.0 ** (-i / (2 * n))),
        "Your frequencies fall much too slowly: n is not D, since four pieces share the width.": _with(
            frequency=lambda i, n: 10000.0 ** (-i / (4 * n))
        ),
        "Your frequencies fall too fast: 2i / n in the exponent is for a width that counts sines and cosines "
        "together.": _with(frequency=lambda i, n: 10000.0 ** (-2 * i / n)),
        "Your last frequency is 1/10000 itself. The exponent is i / n, and i ends at n − 1.": _with(
            frequency=lambda i, n: 10000.0 ** (-i / max(len(i) - 1, 1))
        ),
        "Your frequencies rise. The exponent is negative: they fall from 1.": _with(
            frequency=lambda i, n: 10000.0 ** (i / n)
        ),
        "You count rows and columns from 1; the first patch stands at 0, 0.": _with(start=1),
    }
    return compare(
        answer, lambda rows, columns, D: sincos_positions((rows, columns), D), _grids(generator), mistakes, atol=1e-4
    )


def _buggy_embed(patches: Tensor, visible: Tensor, weight: Tensor, positions: Tensor) -> Tensor:
    x = take(patches @ weight + positions, visible)
    return x + positions[: x.shape[1]]


def _visible_patches(generator: torch.Generator) -> Iterator[dict]:
    """Patches and masks that leave something else visible than the first K."""
    for B, N, K, P, D in ((1, 4, 2, 1, 1), (2, 6, 3, 2, 4), (3, 9, 4, 3, 5)):
        while True:
            visible = torch.rand(B, N, generator=generator).argsort(dim=1)[:, :K].sort(dim=1).values
            if (visible != torch.arange(K)).any(dim=1).all() and (B == 1 or (visible[0] != visible[1]).any()):
                break
        patches, weight, positions = (
            torch.randint(1, 10, size, generator=generator).float() for size in ((B, N, P), (P, D), (N, D))
        )
        positions += 10 * torch.arange(1, N + 1)[:, None]  # no two places alike, none zero
        yield {"patches": patches, "visible": visible, "weight": weight, "positions": positions}


@exercise(
    "structure.bug_positions",
    "find the bug",
    "Two tokens for one patch",
    minutes=10,
    hints=(
        "Follow one patch, say number 5, and note every term that is added to it. Which of them depend on which other "
        "patches are visible?",
        "One term too many. What does the row k of `positions` mean before `take`, and what after it?",
    ),
    then="write the assertion that would have found it: the token of a patch must not depend on what else is visible.",
)
def bug_positions(answer, generator: torch.Generator) -> str:
    """Each token gets the position of its place in the image, once."""
    mistakes = {
        "You kept the wrong one of the two. A token now gets the position of its rank among the visible patches, not "
        "of its place in the image.": lambda x, v, w, p: take(x @ w, v) + p[: v.shape[1]],
        "The second term now has the right index, so it adds the same position a second time.": (
            lambda x, v, w, p: take(x @ w + p, v) + p[v]
        ),
        "Your tokens have no position at all: two equal patches at different places look alike to the encoder.": (
            lambda x, v, w, p: take(x @ w, v)
        ),
        "You use the places of the first example for the whole batch. Each example has a mask of its own.": (
            lambda x, v, w, p: take(x @ w, v) + p[v[0]]
        ),
        "The position goes to the token, not to the pixels: here it is added before the linear map.": (
            lambda x, v, w, p: take(x + p[:, : x.shape[2]], v) @ w
        ),
        "You return all N tokens. The encoder gets those of the visible patches.": lambda x, v, w, p: x @ w + p,
    }
    return compare(
        answer,
        lambda patches, visible, weight, positions: take(patches, visible) @ weight + positions[visible],
        _visible_patches(generator),
        mistakes,
        unchanged=(_buggy_embed, "One patch still gets different tokens when other patches are hidden."),
    )


SHAPES = ("N", "P", "K", "into_encoder", "into_decoder", "predicted")


def _measured_shapes(generator: torch.Generator) -> dict[str, int]:
    """The numbers of the exercise, from a model that runs: images of 96×128, patches of 16, a ratio of 0.7."""
    patches = patchify(torch.zeros(1, 3, 96, 128), 16)
    N, P = patches.shape[1:]
    model = MaskedAutoencoder(
        MAEConfig(
            grid=patch_grid((96, 128), 16),
            patch_values=P,
            width=8,
            depth=1,
            heads=1,
            decoder_width=4,
            decoder_depth=1,
            decoder_heads=1,
        ),
        generator=generator,
    )
    tokens = []
    for block in (model.blocks[0], model.decoder_blocks[0]):
        block.register_forward_pre_hook(lambda block, arguments: tokens.append(arguments[0].shape[1]))
    mask = random_mask(1, N, 0.7, generator=generator)
    predicted = model(patches, mask).shape[1]
    return dict(zip(SHAPES, (N, P, mask.visible.shape[1], *tokens, predicted), strict=True))


@exercise(
    "structure.shapes",
    "predict",
    "Shapes of a wide image",
    minutes=4,
    hints=(
        "How many patches fit into the height, and how many into the width?",
        "K is what is left of N when a share of 0.7 is hidden, rounded down to a whole patch. Then count the class "
        "token wherever tokens go through blocks.",
    ),
    then="double both sides of the image and keep the patch: which of the six numbers change, and by what factor?",
)
def shapes(answer, generator: torch.Generator) -> str:
    """Six numbers of one pass, from the patches to the predictions."""
    answer = _entries(answer, SHAPES)
    true = _measured_shapes(generator)
    N, K, M = true["N"], true["K"], true["predicted"]
    forgotten = "The class token is forgotten: it goes through the blocks with the others."
    mistakes = {
        "N": {
            "That is the number of values in a patch, or the area divided by the patch's side only. A patch covers "
            "16×16 pixels.": 96 * 128 // 16,
            "You added rows and columns of the grid; it is a product.": 6 + 8,
            "That counts the pixels.": 96 * 128,
            "That counts patches once for each channel. A patch holds all channels of its place.": 3 * N,
        },
        "P": {
            "That is one channel. A patch holds all three at its place.": 16 * 16,
            "That is one row of a patch, with its channels.": 16 * 3,
            "That is the patch's side, not what it holds.": 16,
        },
        "K": {
            "That is how many are hidden. K counts the visible ones.": M,
            "You rounded up: what is left over counts as hidden.": K + 1,
            "That is all patches. K counts the visible ones.": N,
        },
        "into_encoder": {
            forgotten: K,
            "That is what enters the decoder. The encoder gets visible patches only.": 1 + N,
            "That is all patches. The encoder gets visible patches only.": N,
            "Those are the hidden ones, which the encoder never gets.": M,
            "Those are the hidden ones and the class token. The encoder gets the visible ones.": 1 + M,
        },
        "into_decoder": {
            forgotten: N,
            "That is what enters the encoder. The decoder gets a mask token for each hidden place, too.": 1 + K,
            "Those are the hidden places only. The decoder gets the visible tokens as well, and the class token.": M,
            "Those are the hidden places and the class token. The decoder gets the visible tokens as well.": 1 + M,
        },
        "predicted": {
            "Only hidden patches are predicted; the visible ones are known.": N,
            "Those are the visible ones. What is asked for is hidden.": K,
            "The class token stands for no patch, and visible patches are not predicted.": 1 + N,
            "The class token stands for no patch, so nothing is predicted from it.": 1 + M,
        },
    }
    for name in SHAPES:
        number(answer[name], true[name], 0, mistakes[name], name=name)
    return "A model of these sizes ran, and all six numbers are what passed through it."


@exercise(
    "structure.decoder",
    "choose",
    "How deep a decoder?",
    minutes=5,
    hints=(
        "Read the table row by row. Between which numbers of blocks does a row change, and by how much?",
        "After pre-training the decoder is gone in both teams. What can still change in the encoder of one team, and "
        "not in that of the other?",
    ),
    then="look up in the paper what the decoder's width does, and whether the same reason explains it.",
)
def decoder(answer, generator: torch.Generator) -> str:
    """A decoder's depth matters where the encoder stays as it is."""
    answer = _entries(answer, ("choice", "because"))
    choice(
        answer["choice"],
        "c",
        {
            "a": "One block is enough for one of the teams only. Compare the first and the fourth column in both rows.",
            "b": "One team pays for seven blocks that bring it next to nothing. Read the two rows apart.",
            "d": "You have the teams the wrong way round: see which of the two rows changes with depth.",
        },
    )
    choice(
        answer["because"],
        "f",
        {
            "e": "Fine-tuning does not train the decoder: it is thrown away before. What is trained further?",
            "g": "It is thrown away in both teams, and yet one row of the table depends on its depth. It shapes what "
            "the encoder learns while it is there.",
            "h": "The table says otherwise: twelve blocks are not better than eight in either row. And nobody asked "
            "for pictures; what is kept is the encoder.",
        },
        name="your reason",
    )
    return "Choice and reason agree with the published ablation."


PARTS = ("embed", "encoder", "decoder", "predict")


def _sizes(generator: torch.Generator) -> Iterator[tuple[MAEConfig, float]]:
    """Models of which no two sizes are equal, and ratios that do not come out even."""
    depth = _draw(2, 3, generator)
    for rows, columns, ratio in ((2, 3, 0.4), (3, 4, 0.6), (_draw(4, 6, generator), 7, 0.7)):
        width, decoder_width = ((torch.randperm(4, generator=generator)[:2] + 2) * 4).tolist()
        yield (
            MAEConfig(
                grid=(rows, columns),
                patch_values=_draw(5, 7, generator),
                width=width,
                depth=depth,
                heads=4,
                decoder_width=decoder_width,
                decoder_depth=5 - depth,
                decoder_heads=2,
                mlp_ratio=_draw(2, 3, generator),
            ),
            ratio,
        )


def _expected_flops(config: MAEConfig, ratio: float, cross: bool) -> dict[str, int]:
    """As the package counts; with `cross`, the decoder product by product."""
    s = _named(config, ratio)
    costs = model_flops(config, encoded=s.K, predicted=s.M, full=True)
    if cross:
        S = 1 + s.K
        attention = [(s.M, s.d, s.d), (S, s.d, 2 * s.d), (s.M, s.d, S), (s.M, S, s.d), (s.M, s.d, s.d)]
        mlp = [(s.M, s.d, s.m * s.d), (s.M, s.m * s.d, s.d)]
        products = [(S, s.D, s.d), *config.decoder_depth * (attention + mlp)]
        costs["decoder"] = sum(2 * math.prod(sizes) for sizes in products)
    return costs


def _block(T: int, S: int, D: int, m: int) -> int:
    """Operations of a block in which T tokens ask S tokens."""
    return 4 * T * D**2 + 4 * S * D**2 + 4 * T * S * D + 4 * m * T * D**2


def _named(c: MAEConfig, ratio: float) -> SimpleNamespace:
    """The sizes of a model by the book's letters; d and m are the decoder's width and the MLP's ratio."""
    N, K = c.num_patches, num_visible(c.num_patches, ratio)
    return SimpleNamespace(N=N, K=K, M=N - K, P=c.patch_values, D=c.width, d=c.decoder_width, m=c.mlp_ratio, c=c)


def _encoder(s: SimpleNamespace, T: int, m: int | None = None, less: int = 0) -> int:
    return s.c.depth * (_block(T, T, s.D, m or s.m) - less)


def _decoder(s: SimpleNamespace, T: int, S: int, m: int | None = None, less: int = 0) -> int:
    return 2 * (1 + s.K) * s.D * s.d + s.c.decoder_depth * (_block(T, S, s.d, m or s.m) - less)


NO_SQUARE = "The scores and the weighted sums are missing, the part of attention that grows with T²."
NO_PROJECTION = "The projection after attention is missing."
NO_CLASS_TOKEN = "The class token is forgotten: it goes through every block with the others."
NO_CHANGE = "The change of width is missing, from the encoder's to the decoder's."
ALWAYS_FOUR = "You took the MLP to be four times as wide as the tokens. Here the configuration says how wide."
HIDDEN_ALONE = "The decoder does not work on the hidden places alone: it gets the encoder's tokens as well."
FLOPS_MISTAKES = {
    "embed": {
        "You embed all patches. Only the visible ones are taken, and each is mapped alone.": (
            lambda s: 2 * s.N * s.P * s.D
        ),
        "One too many. The class token is no patch and is not embedded; and K is rounded down (`num_visible`).": (
            lambda s: 2 * (1 + s.K) * s.P * s.D
        ),
        "You embed the hidden patches. The visible ones are embedded.": lambda s: 2 * s.M * s.P * s.D,
    },
    "encoder": {
        NO_CLASS_TOKEN: lambda s: _encoder(s, s.K),
        "You gave the encoder all patches. It never gets the hidden ones.": lambda s: _encoder(s, 1 + s.N),
        "You gave the encoder the hidden patches. It gets the visible ones.": lambda s: _encoder(s, 1 + s.M),
        NO_SQUARE: lambda s: _encoder(s, 1 + s.K, less=4 * (1 + s.K) ** 2 * s.D),
        "One of the two products with T² is missing: scores, and sums of the values weighted with them.": (
            lambda s: _encoder(s, 1 + s.K, less=2 * (1 + s.K) ** 2 * s.D)
        ),
        NO_PROJECTION: lambda s: _encoder(s, 1 + s.K, less=2 * (1 + s.K) * s.D**2),
        "The MLP has two maps, up and down. One is missing.": (
            lambda s: _encoder(s, 1 + s.K, less=2 * s.m * (1 + s.K) * s.D**2)
        ),
        ALWAYS_FOUR: lambda s: _encoder(s, 1 + s.K, m=4),
        "You multiplied the scores by the number of heads. Heads share the width: each has a part of it.": (
            lambda s: _encoder(s, 1 + s.K, less=4 * (1 - s.c.heads) * (1 + s.K) ** 2 * s.D)
        ),
        "That is one block. How many are there?": lambda s: _encoder(s, 1 + s.K) // s.c.depth,
        "The embedding is in it. It has an entry of its own.": lambda s: _encoder(s, 1 + s.K) + 2 * s.K * s.P * s.D,
    },
    "decoder": {
        NO_CLASS_TOKEN: lambda s: _decoder(s, s.N, s.N),
        "The decoder does not work on the visible tokens alone: where a patch is hidden it gets a mask token.": (
            lambda s: _decoder(s, 1 + s.K, 1 + s.K)
        ),
        HIDDEN_ALONE: lambda s: _decoder(s, s.M, s.M),
        f"{HIDDEN_ALONE[:-1]}, not the class token only.": lambda s: _decoder(s, 1 + s.M, 1 + s.M),
        NO_CHANGE: lambda s: _decoder(s, 1 + s.N, 1 + s.N) - 2 * (1 + s.K) * s.D * s.d,
        "The change of width is forgotten for the class token.": (
            lambda s: _decoder(s, 1 + s.N, 1 + s.N) - 2 * s.D * s.d
        ),
        "The change of width is counted for mask tokens too. They have the decoder's width from the beginning.": (
            lambda s: _decoder(s, 1 + s.N, 1 + s.N) + 2 * s.M * s.D * s.d
        ),
        NO_SQUARE: lambda s: _decoder(s, 1 + s.N, 1 + s.N, less=4 * (1 + s.N) ** 2 * s.d),
        NO_PROJECTION: lambda s: _decoder(s, 1 + s.N, 1 + s.N, less=2 * (1 + s.N) * s.d**2),
        ALWAYS_FOUR: lambda s: _decoder(s, 1 + s.N, 1 + s.N, m=4),
        "You gave the decoder's blocks the encoder's width. They have their own.": (
            lambda s: 2 * (1 + s.K) * s.D * s.d + s.c.decoder_depth * _block(1 + s.N, 1 + s.N, s.D, s.m)
        ),
        "You gave the decoder as many blocks as the encoder has.": (
            lambda s: 2 * (1 + s.K) * s.D * s.d + s.c.depth * _block(1 + s.N, 1 + s.N, s.d, s.m)
        ),
    },
    "predict": {
        "You predict all patches; only hidden ones are predicted.": lambda s: 2 * s.N * s.d * s.P,
        "You predict the visible patches. The hidden ones are predicted.": lambda s: 2 * s.K * s.d * s.P,
        "You predict something from the class token. It stands for no patch.": lambda s: 2 * (1 + s.M) * s.d * s.P,
        "You use the encoder's width. What is mapped to pixels comes out of the decoder.": (
            lambda s: 2 * s.M * s.D * s.P
        ),
    },
    "cross": {
        "That is the cost without `cross`: hidden places and visible tokens all ask each other.": (
            lambda s: _decoder(s, 1 + s.N, 1 + s.N)
        ),
        "In your count hidden places ask each other. They ask the encoder's tokens.": lambda s: _decoder(s, s.M, s.M),
        "In your count the encoder's tokens ask and the hidden places answer. It is the other way round.": (
            lambda s: _decoder(s, 1 + s.K, s.M)
        ),
        "In your count all places ask. Only the hidden ones do; the visible ones are known.": (
            lambda s: _decoder(s, 1 + s.N, 1 + s.K)
        ),
        "The class token is forgotten: it is one of the encoder's tokens, and is asked like the others.": (
            lambda s: _decoder(s, s.M, s.K)
        ),
        "In your count a class token asks. It stands for no hidden place.": lambda s: _decoder(s, 1 + s.M, 1 + s.K),
        "Keys and values are made of the tokens that are asked, not of those that ask. You have M of them.": (
            lambda s: _decoder(s, s.M, 1 + s.K, less=4 * (1 + s.K - s.M) * s.d**2)
        ),
        "You made keys and values once. Each block has maps of its own for them.": (
            lambda s: _decoder(s, s.M, 1 + s.K) - (s.c.decoder_depth - 1) * 4 * (1 + s.K) * s.d**2
        ),
        "The keys and values are missing, which each block makes of the encoder's tokens.": (
            lambda s: _decoder(s, s.M, 1 + s.K, less=4 * (1 + s.K) * s.d**2)
        ),
        "The MLP works on what comes out of attention, one token for each hidden place, and on no others.": (
            lambda s: _decoder(s, s.M, 1 + s.K, less=-4 * s.m * (1 + s.K) * s.d**2)
        ),
        "Scores are a table of M rows and 1 + K columns. Yours is square.": (
            lambda s: _decoder(s, s.M, 1 + s.K, less=4 * s.M * (1 + s.K - s.M) * s.d)
        ),
        NO_CHANGE: lambda s: _decoder(s, s.M, 1 + s.K) - 2 * (1 + s.K) * s.D * s.d,
    },
}


@exercise(
    "structure.flops",
    "implement",
    "What a model costs",
    minutes=60,
    hints=(
        "Write one function for a block in which T tokens ask S tokens, of width D. Go through the table line by line: "
        "which products have T rows, which S? With S = T it must give the last line of the table.",
        "The encoder's block has T = S = 1 + K. The decoder's has T = S = 1 + N, and with `cross` T = M and S = 1 + K. "
        "Besides the blocks there are three products: the embedding, the change of width (of the encoder's 1 + K "
        "tokens), and the prediction.",
    ),
    then="plot the whole cost over the ratio, with and without `cross`. At which ratios does the change pay most?",
)
def flops(answer, generator: torch.Generator) -> str:
    """Every part, with self-attention and with cross-attention in the decoder."""
    sizes, right = list(_sizes(generator)), []
    for cross in (False, True):
        cases = [{"config": config, "ratio": ratio, "cross": cross} for config, ratio in sizes]
        _part(answer, (*sizes[0], cross), "embed")  # a dictionary at all?
        for part in PARTS:
            expected = lambda c, r, x, part=part: _expected_flops(c, r, x)[part]  # noqa: E731
            mistakes = {
                "Exactly half. A multiplication and the addition that follows it are two operations.": (
                    lambda *case, expected=expected: expected(*case) / 2
                )
            }
            for message, count in FLOPS_MISTAKES["cross" if cross and part == "decoder" else part].items():
                mistakes[message] = lambda c, r, x, count=count: count(_named(c, r))
            name = f"`{part}` with `cross`" if cross else f"`{part}`"
            try:
                compare(lambda *case, part=part: _part(answer, case, part), expected, cases, mistakes, rtol=0, atol=0.1)
            except Wrong as wrong:
                so_far = f" Right so far: {', '.join(right)}." if right else ""
                raise Wrong(f"{name}: {wrong.idea}{so_far}", wrong.example) from None
            right.append(name)
        right = ["all without `cross`"]
    return f"All parts agree with an independent count of {len(sizes)} fresh models, with and without `cross`."


def _part(answer: Callable, arguments: tuple, part: str) -> object:
    costs = call(answer, dict(zip(("config", "ratio", "cross"), arguments, strict=True)))
    return _entries(costs, PARTS)[part]


DESIGN = ("patch", "ratio", "width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads")


def _parameters(c: MAEConfig) -> int:
    """Weights and biases of a model, without building it: it may be too large for that."""

    def blocks(depth: int, D: int) -> int:
        linear = 4 * (D + 1) * D + (D + 1) * c.mlp_ratio * D + (c.mlp_ratio * D + 1) * D
        return depth * (linear + 4 * D) + 2 * D  # with the norms, and the last one

    D, d, P = c.width, c.decoder_width, c.patch_values
    encoder = (P + 1) * D + D + blocks(c.depth, D)  # D more for the class token
    decoder = (D + 1) * d + d + blocks(c.decoder_depth, d) + (d + 1) * P  # d more for the mask token
    return encoder + decoder


@exercise(
    "structure.budget",
    "design",
    "A model on a budget",
    minutes=15,
    hints=(
        "Begin with the patch: which sides divide 96, and how many patches does each give? Then the ratio, which says "
        "how many stay visible. Only then the widths and depths.",
        "A block of width D has about 12·D² parameters, which bounds the encoder's depth. If the decoder's share is "
        "too high, make it narrower: its cost goes with the square of its width.",
    ),
    then="change one number at a time until a requirement breaks. Which one is closest to its limit?",
)
def budget(answer, generator: torch.Generator) -> str:
    """The model is built, run and counted."""
    design = dict(_entries(answer, DESIGN))
    for name in DESIGN:
        if name != "ratio" and (not isinstance(design[name], int) or design[name] < 1):
            raise Wrong(f"Expected a whole number of at least 1 for {name}, got {design[name]!r}.")
    patch, ratio = design.pop("patch"), design.pop("ratio")
    try:
        config = MAEConfig(grid=patch_grid(96, patch), patch_values=3 * patch**2, **design)
        N = config.num_patches
        K = num_visible(N, ratio)
    except (TypeError, ValueError) as error:
        raise Wrong(f"Such a model can't be built: {error}.") from None
    parameters = _parameters(config)
    costs = model_flops(config, K, N - K)
    total, kept = sum(costs.values()), sum(model_flops(config, N, N - K).values())
    base = sum(model_flops(vit_config("base"), 49, 147).values())
    measured = {
        "patches": N,
        "visible patches": K,
        "parameters": f"{parameters / 1e6:.2f} million",
        "cost, ViT-B = 1": f"{total / base:.2%} (a sixtieth is {1 / 60:.2%})",
        "decoder's share of the cost": f"{costs['decoder'] / total:.1%}",
        "cost, mask tokens = 1": f"{total / kept:.1%}",
    }
    unmet = {
        "Fewer than 100 patches: with so few, hiding leaves little to learn from. Use smaller patches.": N < 100,
        "Fewer than 32 patches stay visible. Hide less, or use smaller patches.": K < 32,
        "Features of fewer than 192 numbers: the encoder is too narrow.": config.width < 192,
        "The features will be probed linearly, so the decoder should have at least two blocks.": (
            config.decoder_depth < 2
        ),
        "More than 4 million parameters. Most of them are in the encoder's blocks, about 12·D² in each.": (
            parameters > 4e6
        ),
        "It costs more than a sixtieth of ViT-B. Cost grows with the number of patches, with depth, and with the "
        "square of the width.": (60 * total > base),
        "The decoder takes more than a quarter of the cost. It works on all places; make it narrower or shallower, or "
        "give the encoder more of the work.": 4 * costs["decoder"] > total,
        "Dropping patches saves less than two thirds of what mask tokens in the encoder would cost. Hide more.": (
            3 * total > kept
        ),
    }
    broken = [message for message, fails in unmet.items() if fails]
    if broken:
        raise Wrong(" ".join(broken), measured)
    model = MaskedAutoencoder(config, generator=generator)
    patches = patchify(torch.rand(1, 3, 96, 96, generator=generator), patch)
    mask = random_mask(1, N, ratio, generator=generator)
    model(patches, mask)
    numbers = "; ".join(f"{name}: {value}" for name, value in measured.items())
    return f"The model was built and run, and meets every requirement ({numbers})."


add_quiz(
    "structure",
    Question(
        "Why must the mask come before the encoder?",
        (
            Option(
                "Because the encoder runs faster on the visible quarter than on all patches.",
                "It does, but that is a gain on top. Even where time costs nothing, encoding first breaks the task.",
            ),
            Option(
                "Because blocks mix tokens: what is encoded beside hidden patches tells of them.",
                "After one block of attention each visible token has looked at every other one. The task would be to "
                "un-mix, and nothing about the data need be learned.",
                True,
            ),
            Option(
                "Because the linear map of the patches would leak the hidden ones.",
                "That map takes each patch alone, so embedding all of them first changes nothing but the work. The "
                "leak begins where tokens look at each other.",
            ),
            Option(
                "Because the decoder has to know which patches are hidden, and where they belong.",
                "It has to, in either order: the mask says where mask tokens go. That is no reason for the order.",
            ),
        ),
    ),
    Question(
        "An image has 64 patches, of which 16 are visible. How many tokens go through the blocks of encoder and "
        "decoder?",
        (
            Option(
                "16 and 64",
                "Close: one more goes through both, in front, which belongs to no patch.",
            ),
            Option(
                "17 and 49",
                "The encoder is right. The decoder does not get the hidden 48 and the class token alone, but the "
                "visible ones as well: they say what the hidden ones could be.",
            ),
            Option(
                "65 and 65",
                "That is a model with mask tokens in its encoder. Here hidden patches are dropped before it.",
            ),
            Option(
                "17 and 65",
                "K and N, each with the class token.",
                True,
            ),
        ),
    ),
    Question(
        "All hidden places get the same mask token. How can the model predict different patches there?",
        (
            Option(
                "The position that is added to it differs from place to place.",
                "Equal tokens with unequal positions ask different questions in attention, and so gather different "
                "things from the visible tokens.",
                True,
            ),
            Option(
                "Each hidden place has a learned mask token of its own.",
                "There is one vector for all places. One for each would do the work of a position, and would have to "
                "learn it.",
            ),
            Option(
                "The mask token is drawn anew at random for each place.",
                "It is learned and then fixed; noise would tell places apart, but not say where they are.",
            ),
            Option(
                "The last linear map has a bias of its own for each place.",
                "That map is the same at every place, bias included: equal tokens would give equal patches.",
            ),
        ),
    ),
    Question(
        "Hiding 75 % leaves the encoder a quarter of the patches. Why does a training step still cost more than a "
        "quarter?",
        (
            Option(
                "Attention grows with the square of the number of tokens.",
                "That works the other way: with a quarter of the tokens, that part falls to about a sixteenth.",
            ),
            Option(
                "The loss has to be computed on three quarters of the patches.",
                "A squared difference of pixels costs next to nothing beside the blocks.",
            ),
            Option(
                "The decoder works on all places, however many are hidden.",
                "What is not made cheaper limits the whole. The more is hidden, the larger the decoder's share.",
                True,
            ),
            Option(
                "The backward pass works on all patches.",
                "It runs through the same products as the forward pass, two for each, and so saves the same share.",
            ),
        ),
    ),
    Question(
        "You keep the patch and double both sides of the image. What happens to the cost of one block on all patches?",
        (
            Option(
                "It doubles, since each side of the grid doubles.",
                "The number of patches grows with the area: twice the height and twice the width.",
            ),
            Option(
                "It grows about fourfold, and one part of it sixteenfold.",
                "Four times the tokens: `24 T D²` grows with T, and `4 T² D`, scores and weighted sums, with its "
                "square. Which of the two counts more depends on T and D.",
                True,
            ),
            Option(
                "It grows about sixteenfold, for attention is quadratic.",
                "Only scores and weighted sums are quadratic in T. The linear maps and the MLP grow with T, and at "
                "usual sizes they are most of the cost.",
            ),
            Option(
                "It stays as it is, for the weights are the same.",
                "The number of parameters stays as it is. The cost counts how often they are used: once a token.",
            ),
        ),
    ),
)
