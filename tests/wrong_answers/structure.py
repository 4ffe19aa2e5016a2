"""Wrong answers to the exercises of chapter 2."""

import torch
import torch.nn.functional as F

from mae.masking import num_visible, take
from mae.model import sincos_positions
from mae.patches import patchify, unpatchify
from wrong_answers import wrong, wrong_value


@wrong("structure.leaks", "You change visible patches")
def overwrites_the_visible(encode, patches, is_hidden):
    changed = patches.clone()
    changed[~is_hidden] = 0
    return not torch.equal(encode(patches, is_hidden), encode(changed, is_hidden))


@wrong("structure.leaks", "You change all patches")
def overwrites_everything(encode, patches, is_hidden):
    return not torch.equal(encode(patches, is_hidden), encode(patches + 1, is_hidden))


@wrong("structure.leaks", "only one hidden patch")
def overwrites_one_patch(encode, patches, is_hidden):
    changed = patches.clone()
    for b in range(len(patches)):
        changed[b, is_hidden[b].nonzero()[0]] += 100
    return not torch.equal(encode(patches, is_hidden), encode(changed, is_hidden))


@wrong("structure.leaks", "first example")
def looks_at_one_example(encode, patches, is_hidden):
    changed = torch.where(is_hidden.unsqueeze(-1), torch.tensor(0.0), patches)
    return not torch.equal(encode(patches, is_hidden)[0], encode(changed, is_hidden)[0])


@wrong("structure.leaks", "wrong way round")
def says_whether_it_is_tight(encode, patches, is_hidden):
    changed = patches * (~is_hidden)[..., None]
    return torch.equal(encode(patches, is_hidden), encode(changed, is_hidden))


@wrong("structure.leaks", "exchange hidden patches")
def shuffles_the_hidden(encode, patches, is_hidden):
    changed = patches.clone()
    for b in range(len(patches)):
        places = is_hidden[b].nonzero()[:, 0]
        changed[b, places] = patches[b, places.roll(-1)].roll(2, 0)
    return not torch.equal(encode(patches, is_hidden), encode(changed, is_hidden))


@wrong("structure.leaks", "always False")
def compares_with_itself(encode, patches, is_hidden):
    return bool((encode(patches, is_hidden) != encode(patches, is_hidden)).any())


@wrong("structure.leaks", "changes `patches` in place")
def hides_in_the_input(encode, patches, is_hidden):
    before = encode(patches, is_hidden)
    patches[is_hidden] = 0
    return not torch.equal(before, encode(patches, is_hidden))


@wrong("structure.patchify", "plain `reshape`", "pieces of whole rows")
def cuts_the_memory(images, p):
    B, C, H, W = images.shape
    return images.view(B, H * W // p**2, C * p * p)


@wrong("structure.patchify", "plain `reshape`", "channel is last")
def cuts_the_memory_channel_last(images, p):
    B, C, H, W = images.shape
    return images.permute(0, 2, 3, 1).reshape(B, H * W // p**2, C * p * p)


@wrong("structure.patchify", "channel first")
def unfolds(images, p):
    return F.unfold(images, p, stride=p).transpose(1, 2)


@wrong("structure.patchify", "column by column")
def runs_down_the_columns(images, p):
    B, _, H, W = images.shape
    patches = [
        images[:, :, i : i + p, j : j + p].permute(0, 2, 3, 1).reshape(B, -1)
        for j in range(0, W, p)
        for i in range(0, H, p)
    ]
    return torch.stack(patches, dim=1)


@wrong("structure.patchify", "each is transposed")
def transposes_each_patch(images, p):
    x = images.unfold(2, p, p).unfold(3, p, p)  # (B, C, rows, columns, p, p)
    return x.permute(0, 2, 3, 5, 4, 1).flatten(3).flatten(1, 2)


@wrong("structure.patchify", "transpose the whole image")
def takes_width_for_height(images, p):
    return patchify(images.transpose(2, 3), p)


@wrong("structure.patchify", "far apart")
def splits_the_wrong_way(images, p):
    B, _, H, W = images.shape
    strided = [
        images[:, :, i :: H // p, j :: W // p].permute(0, 2, 3, 1).reshape(B, -1)
        for i in range(H // p)
        for j in range(W // p)
    ]
    return torch.stack(strided, dim=1)


@wrong("structure.patchify", "RuntimeError")
def square_images_only(images, p):
    B, C, H, _ = images.shape
    n = H // p
    return images.reshape(B, C, n, p, n, p).permute(0, 2, 4, 3, 5, 1).reshape(B, n * n, -1)


@wrong("structure.patchify", "Expected shape")
def leaves_the_patches_square(images, p):
    return images.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 4, 5, 1).flatten(1, 2)


@wrong("structure.unpatchify", "plain `reshape`")
def views_the_memory(patches, p, height, width):
    return patches.reshape(len(patches), -1, height, width)


@wrong("structure.unpatchify", "channel to the front")
def moves_only_the_channel(patches, p, height, width):
    B, N, P = patches.shape
    return patches.reshape(B, N, p * p, P // p**2).permute(0, 3, 1, 2).reshape(B, -1, height, width)


@wrong("structure.unpatchify", "channel as the first axis")
def folds(patches, p, height, width):
    return F.fold(patches.transpose(1, 2), (height, width), p, stride=p)


@wrong("structure.unpatchify", "mix up the grid's rows and columns")
def exchanges_rows_and_columns(patches, p, height, width):
    B, C = len(patches), patches.shape[2] // p**2
    x = patches.reshape(B, width // p, height // p, p, p, C)
    return torch.einsum("bijpqc->bcipjq", x).reshape(B, C, height, width)


@wrong("structure.unpatchify", "column by column")
def fills_column_by_column(patches, p, height, width):
    return unpatchify(patches.unflatten(2, (p, p, -1)).transpose(2, 3).flatten(2), p, (width, height)).transpose(2, 3)


@wrong("structure.unpatchify", "each is transposed")
def turns_each_patch(patches, p, height, width):
    return unpatchify(patches.unflatten(2, (p, p, -1)).transpose(2, 3).flatten(2), p, (height, width))


@wrong("structure.unpatchify", "woven of all patches")
def weaves_the_patches(patches, p, height, width):
    B, C = len(patches), patches.shape[2] // p**2
    x = patches.reshape(B, height // p, width // p, p, p, C)
    return torch.einsum("brcpqd->bdprqc", x).reshape(B, C, height, width)


@wrong("structure.unpatchify", "RuntimeError")
def takes_the_root_of_n(patches, p, height, width):
    B, N, P = patches.shape
    n = int(N**0.5)
    x = patches.reshape(B, n, n, p, p, P // p**2)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(B, -1, n * p, n * p)


@wrong("structure.positions", "halves are exchanged")
def row_first(rows, columns, D):
    column, row = sincos_positions((rows, columns), D).chunk(2, dim=1)
    return torch.hstack([row, column])


@wrong("structure.positions", "Sine and cosine are exchanged")
def cosine_first(rows, columns, D):
    w = 1 / 10000 ** (torch.arange(D // 4) / (D // 4))
    table = []
    for row in range(rows):
        for column in range(columns):
            table.append(torch.cat([(column * w).cos(), (column * w).sin(), (row * w).cos(), (row * w).sin()]))
    return torch.stack(table)


@wrong("structure.positions", "both sines first")
def all_sines_first(rows, columns, D):
    w = 1 / 10000 ** (torch.arange(D // 4) / (D // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = torch.cat([torch.outer(x.flatten(), w), torch.outer(y.flatten(), w)], dim=1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@wrong("structure.positions", "alternate")
def interleaves(rows, columns, D):
    table = torch.zeros(rows * columns, D)
    w = 1 / 10000 ** (torch.arange(D // 4) / (D // 4))
    n = torch.arange(rows * columns)
    for offset, place in ((0, n % columns), (D // 2, n // columns)):
        table[:, offset : offset + D // 2 : 2] = torch.outer(place, w).sin()
        table[:, offset + 1 : offset + D // 2 : 2] = torch.outer(place, w).cos()
    return table


@wrong("structure.positions", "fall too slowly")
def half_of_the_width_in_the_exponent(rows, columns, D):
    w = torch.exp(-torch.arange(D // 4) * torch.log(torch.tensor(10000.0)) / (D // 2))
    n = torch.arange(rows * columns)
    x, y = torch.outer(n % columns, w), torch.outer(n // columns, w)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)


@wrong("structure.positions", "from 0 to N − 1")
def numbers_the_patches(rows, columns, D):
    w = 1 / 10000 ** (torch.arange(D // 2) / (D // 2))
    angles = torch.arange(rows * columns).unsqueeze(1) * w
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@wrong("structure.positions", "column by column")
def flattens_an_xy_grid(rows, columns, D):
    w = 1 / 10000 ** (torch.arange(D // 4) / (D // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="xy")  # (columns, rows)
    x, y = torch.outer(x.flatten(), w), torch.outer(y.flatten(), w)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)


@wrong("structure.positions", "1/10000 itself")
def spaces_frequencies_with_both_ends(rows, columns, D):
    w = torch.logspace(0, -4, D // 4) if D > 4 else torch.ones(1)
    n = torch.arange(rows * columns)
    x, y = torch.outer(n % columns, w), torch.outer(n // columns, w)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)


@wrong("structure.positions", "fall too fast")
def doubles_the_exponent(rows, columns, D):
    w = 10000.0 ** (-2 * torch.arange(D // 4) / (D // 4))
    n = torch.arange(rows * columns)
    x, y = torch.outer(n % columns, w), torch.outer(n // columns, w)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)


@wrong("structure.bug_positions", "the wrong one of the two")
def removes_the_first(patches, visible, weight, positions):
    x = take(patches @ weight, visible)
    return x + positions[: x.shape[1]]


@wrong("structure.bug_positions", "a second time")
def corrects_the_index(patches, visible, weight, positions):
    x = patches @ weight + positions
    x = take(x, visible)
    return x + positions[visible]


@wrong("structure.bug_positions", "no position at all")
def removes_both(patches, visible, weight, positions):
    x = patches @ weight
    return take(x, visible)


@wrong("structure.bug_positions", "first example for the whole batch")
def indexes_by_the_first_mask(patches, visible, weight, positions):
    return take(patches @ weight, visible) + positions[visible[0]]


@wrong("structure.bug_positions", "all N tokens")
def forgets_to_take(patches, visible, weight, positions):
    return patches @ weight + positions


@wrong("structure.bug_positions", "RuntimeError")
def adds_all_positions_after_the_cut(patches, visible, weight, positions):
    return take(patches @ weight, visible) + positions


SHAPES = {"N": 48, "P": 768, "K": 14, "into_encoder": 15, "into_decoder": 49, "predicted": 34}
for name, value, part in (
    ("N", 768, "A patch covers"),
    ("N", 49, "too high for N"),
    ("P", 256, "one channel"),
    ("K", 34, "how many are hidden"),
    ("K", 15, "rounded up"),
    ("into_encoder", 14, "class token is forgotten"),
    ("into_encoder", 49, "visible patches only"),
    ("into_decoder", 48, "class token is forgotten"),
    ("into_decoder", 15, "a mask token for each hidden place"),
    ("into_decoder", 35, "hidden places and the class token"),
    ("predicted", 48, "Only hidden patches"),
    ("predicted", 14, "What is asked for is hidden"),
    ("predicted", "34", "Expected a number for predicted"),
):
    wrong_value("structure.shapes", {**SHAPES, name: value}, part)
wrong_value("structure.shapes", {"N": 48}, "with the keys")

for letter, part in (("a", "one of the teams only"), ("b", "next to nothing"), ("d", "wrong way round")):
    wrong_value("structure.decoder", {"choice": letter, "because": "f"}, part)
for letter, part in (("e", "does not train the decoder"), ("g", "in both teams"), ("h", "twelve blocks")):
    wrong_value("structure.decoder", {"choice": "C", "because": letter}, part)
wrong_value("structure.decoder", {"choice": 8, "because": "f"}, "Expected one of 'a', 'b', 'c', 'd'")


def cost(c, ratio, cross, *, cls=1, square=1, proj=1, mlp=None, ops=2, decoder=None, narrow=True, predict=None, all=0):
    """A right count, but for what is asked."""
    N = c.num_patches
    K = num_visible(N, ratio)
    M, m = N - K, mlp or c.mlp_ratio

    def block(asking, asked, D):
        T, S = asking + cls, asked + cls
        products = [(T, D, D), (S, D, 2 * D), *[(T, D, S), (T, S, D)] * square, *[(T, D, D)] * proj]
        return sum(ops * a * b * c for a, b, c in [*products, (T, D, m * D), (T, m * D, D)])

    encoded = N if all else K
    d = c.decoder_width
    if cross:
        decode = block(M - cls, K, d)
    else:
        decode = block(decoder(N, K, M), decoder(N, K, M), d) if decoder else block(N, N, d)
    return {
        "embed": ops * encoded * c.patch_values * c.width,
        "encoder": c.depth * block(encoded, encoded, c.width),
        "decoder": narrow * ops * (1 + K) * c.width * d + c.decoder_depth * decode,
        "predict": ops * (predict(N, M) if predict else M) * d * c.patch_values,
    }


@wrong("structure.flops", "`embed`: Exactly half")
def counts_multiply_add_once(config, ratio, cross=False):
    return cost(config, ratio, cross, ops=1)


@wrong("structure.flops", "`embed`: You embed all patches")
def encodes_everything(config, ratio, cross=False):
    return cost(config, ratio, cross, all=1)


@wrong("structure.flops", "`encoder`: You gave the encoder all patches", "Right so far: `embed`")
def encodes_everything_but_embeds_the_visible(config, ratio, cross=False):
    return {**cost(config, ratio, cross, all=1), "embed": cost(config, ratio, cross)["embed"]}


@wrong("structure.flops", "`encoder`: The class token is forgotten")
def forgets_the_class_token(config, ratio, cross=False):
    return cost(config, ratio, cross, cls=0)


@wrong("structure.flops", "`encoder`: The scores and the weighted sums are missing")
def forgets_the_square(config, ratio, cross=False):
    return cost(config, ratio, cross, square=0)


@wrong("structure.flops", "`encoder`: The projection")
def forgets_the_projection(config, ratio, cross=False):
    return cost(config, ratio, cross, proj=0)


@wrong("structure.flops", "`encoder`: You took the MLP to be four times as wide")
def uses_the_table_as_it_stands(config, ratio, cross=False):
    return cost(config, ratio, cross, mlp=4)


@wrong("structure.flops", "`decoder`: The decoder does not work on the visible tokens alone")
def decodes_the_visible(config, ratio, cross=False):
    return cost(config, ratio, cross, decoder=lambda N, K, M: K)


@wrong("structure.flops", "`decoder`: The decoder does not work on the hidden places alone")
def decodes_the_hidden(config, ratio, cross=False):
    return cost(config, ratio, cross, decoder=lambda N, K, M: M)


@wrong("structure.flops", "`decoder`: The change of width is missing")
def forgets_the_change_of_width(config, ratio, cross=False):
    return cost(config, ratio, cross, narrow=False)


@wrong("structure.flops", "`predict`: You predict all patches")
def predicts_everything(config, ratio, cross=False):
    return cost(config, ratio, cross, predict=lambda N, M: N)


@wrong(
    "structure.flops", "`decoder` with `cross`: That is the cost without `cross`", "Right so far: all without `cross`"
)
def ignores_cross(config, ratio, cross=False):
    return cost(config, ratio, False)


def with_cross(count):
    """A right count without `cross`; with it, blocks as `count` says."""

    def flops(config, ratio, cross=False):
        costs, N = cost(config, ratio, cross), config.num_patches
        K = num_visible(N, ratio)
        if cross:
            narrow = 2 * (1 + K) * config.width * config.decoder_width
            blocks = config.decoder_depth * count(N - K, 1 + K, config.decoder_width, config.mlp_ratio)
            costs["decoder"] = narrow + blocks
        return costs

    return flops


for part, count in {
    "hidden places ask each other": lambda M, S, d, m: (8 + 4 * m) * M * d**2 + 4 * M**2 * d,
    "ask and the hidden places answer": lambda M, S, d, m: (4 + 4 * m) * S * d**2 + 4 * M * d**2 + 4 * M * S * d,
    "Keys and values are made of": lambda M, S, d, m: (8 + 4 * m) * M * d**2 + 4 * M * S * d,
    "class token is forgotten": lambda M, S, d, m: (4 + 4 * m) * M * d**2 + 4 * (S - 1) * d**2 + 4 * M * (S - 1) * d,
    "The MLP works on": lambda M, S, d, m: (4 + 4 * m) * (M + S) * d**2 + 4 * M * S * d,
}.items():
    wrong("structure.flops", "`decoder` with `cross`", part)(with_cross(count))


@wrong("structure.flops", "Expected a dictionary with the keys embed, encoder, decoder, predict")
def gives_the_sum(config, ratio, cross=False):
    return sum(cost(config, ratio, cross).values())


@wrong("structure.flops", "Expected a dictionary", "got None")
def returns_nothing(config, ratio, cross=False):
    cost(config, ratio, cross)


SOUND = {
    "patch": 8,
    "ratio": 0.75,
    "width": 192,
    "depth": 6,
    "heads": 6,
    "decoder_width": 64,
    "decoder_depth": 2,
    "decoder_heads": 4,
}
for changes, part in (
    ({"patch": 16}, "Fewer than 100 patches"),
    ({"patch": 16}, "Fewer than 32 patches stay visible"),
    ({"patch": 4}, "more than a sixtieth of ViT-B"),
    ({"patch": 10}, "can't be cut into patches of 10×10"),
    ({"patch": "8"}, "Expected a whole number of at least 1 for patch, got '8'"),
    ({"ratio": 0.9}, "Fewer than 32 patches stay visible"),
    ({"ratio": 0.5}, "saves less than two thirds"),
    ({"ratio": 1.5}, "strictly between 0 and 1"),
    ({"width": 128, "heads": 4}, "fewer than 192 numbers"),
    ({"depth": 12}, "More than 4 million parameters"),
    ({"heads": 5}, "divisible by 4 and by its 5 heads"),
    ({"decoder_width": 192}, "more than a quarter of the cost"),
    ({"decoder_depth": 1}, "at least two blocks"),
    ({"width": 768, "depth": 12, "heads": 12, "decoder_width": 512, "decoder_depth": 8}, "More than 4 million"),
):
    wrong_value("structure.budget", {**SOUND, **changes}, part)
