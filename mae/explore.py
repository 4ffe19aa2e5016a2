"""The book's explorers: small pictures that follow what you set.

Each function gives an `Explorer`; a notebook shows it when it is the last line of a cell. Nothing is trained here: what
is shown comes from the shipped weights or from stored trainings.
"""

import re
from html import escape

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae.data import load_digits
from mae.evaluate import reconstruct
from mae.experiments import copy_nearest
from mae.interactive import Explorer, Frame, Setting, image, pixels
from mae.masking import Mask, block_mask, num_visible, random_mask
from mae.model import MaskedAutoencoder, sincos_positions
from mae.patches import patchify, unpatchify
from mae.replays import FAULT_SWEEP, LOSSES, STOPS, from_hex, shown_digits, stored_faults, stored_paths
from mae.weights import load_pretrained

RATIOS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.85, 0.9)
DIGITS = (0, 4, 10, 7)  # test digits that are shown
COUNT = 100  # test digits that errors are taken over


def spread_mask(batch: int, grid: tuple[int, int], ratio: float) -> Mask:
    """Keep patches as far apart as their number allows: the first ones of an ordered dither.

    Parameters
    ----------
    batch : int
        B.
    grid : (int, int)
        Rows and columns of patches.
    ratio : float
        The share that is hidden, as in `random_mask`.
    """
    order = torch.zeros(1, 1)
    while order.shape[0] < max(grid):
        order = torch.cat([torch.cat([4 * order, 4 * order + 2], 1), torch.cat([4 * order + 3, 4 * order + 1], 1)])
    rank = order[: grid[0], : grid[1]].flatten().argsort(stable=True).argsort()
    return Mask.from_hidden((rank >= num_visible(len(rank), ratio)).expand(batch, -1))


def _picture(patches, size, alt, mask=None):
    """One example's patches, (N, P), as HTML; what a mask hides is grey."""
    hidden = None
    if mask is not None:
        hidden = unpatchify(mask.is_hidden[:, :, None].float().expand(-1, -1, size * size), size, 28)[0, 0].bool()
    return image(pixels(unpatchify(patches[None], size, 28)[0, 0].numpy(), hidden), alt)


def _which_digit() -> Setting:
    return Setting("Test digit", ("first", "second", "third", "fourth"), "menu")


def _repeat(mask: Mask, count: int) -> Mask:
    """The same mask for each of several examples."""
    return Mask(mask.visible.expand(count, -1), mask.hidden.expand(count, -1))


def masks() -> Explorer:
    """Mask ratio and pattern: what the encoder sees, what the model rebuilds, and where it is wrong."""
    images = load_digits("test").images[:COUNT]
    patches, model = patchify(images, 4), load_pretrained("digits")
    mean = patchify(load_digits("train").images.mean(dim=0, keepdim=True), 4)
    patterns = {
        "at random": lambda ratio: random_mask(COUNT, 49, ratio, generator=torch.Generator().manual_seed(1)),
        "in blocks": lambda ratio: block_mask(COUNT, (7, 7), ratio, generator=torch.Generator().manual_seed(1)),
        "spread evenly": lambda ratio: spread_mask(COUNT, (7, 7), ratio),
    }
    done = {}

    def rebuild(pattern: int, ratio: int):
        if (pattern, ratio) not in done:
            mask = list(patterns.values())[pattern](RATIOS[ratio])
            done[pattern, ratio] = mask, reconstruct(model, patches, mask, paste=False)
        return done[pattern, ratio]

    def render(ratio: int, pattern: int, digit: int) -> Frame:
        mask, raw = rebuild(pattern, ratio)
        i = DIGITS[digit]
        hidden = mask.is_hidden[:, :, None]
        pasted = torch.where(hidden, raw, patches)
        wrong = unpatchify((pasted - patches).abs()[i : i + 1], 4, 28)[0, 0].numpy()
        error = ((pasted - patches) ** 2).sum(dim=(1, 2)) / (16 * mask.hidden.shape[1])
        baseline = ((mean - patches) ** 2 * hidden).sum() / (16 * mask.hidden.numel())
        others = Mask(mask.hidden, mask.visible)[i : i + 1]
        panels = {
            "seen by the encoder": _picture(patches[i], 4, "The visible patches", mask[i : i + 1]),
            "predicted": _picture(raw[i], 4, "The predicted patches", others),
            "pasted together": _picture(pasted[i], 4, "Visible and predicted patches together"),
            "error": image(pixels(wrong), "Absolute error, dark where it is large", "heat"),
            "truth": _picture(patches[i], 4, "The whole digit"),
        }
        return Frame(
            panels,
            f"{mask.visible.shape[1]} of 49 patches are visible. Squared error on hidden pixels: {error[i]:.3f} for "
            f"this digit, {error.mean():.3f} for {COUNT} test digits; the mean training digit has {baseline:.3f}.",
        )

    settings = {
        "ratio": Setting("Hidden", tuple(f"{ratio:.0%}" for ratio in RATIOS), start=RATIOS.index(0.75)),
        "pattern": Setting("Patches are hidden", tuple(patterns), "menu"),
        "digit": _which_digit(),
    }
    return Explorer("masks", "Hide patches of a digit and see what the model makes of the rest", settings, render)


DRAWS = {  # random numbers, one for each patch, and how many patches stay visible
    "four patches, two visible": ((0.6, 0.1, 0.9, 0.3), 2),
    "four patches, one visible": ((0.4, 0.8, 0.2, 0.7), 1),
    "six patches, two visible": ((0.5, 0.9, 0.1, 0.7, 0.3, 0.8), 2),
    "eight patches, two visible": ((0.8, 0.2, 0.6, 0.9, 0.5, 0.3, 0.7, 0.1), 2),
}
STEPS = ("draw", "sort", "cut", "encode", "append", "restore")


def _box(text: str, kind: str = "", under: str = "") -> str:
    color = {"visible": "#0072B2", "hidden": "#9AA3AF", "mask": "#D55E00"}.get(kind, "#808080")
    width = "dashed" if kind in ("hidden", "mask") else "solid"
    return (
        '<div style="display:inline-block;text-align:center;margin:0 .3em .3em 0">'
        f'<div style="border:3px {width} {color};border-radius:4px;width:2.1em;line-height:2.3em">{escape(text)}</div>'
        f'<div style="font-size:.85em;min-height:1.3em">{escape(under)}</div></div>'
    )


def shuffling() -> Explorer:
    """Shuffle and un-shuffle, step by step: which patch stands where."""

    def render(step: int, draw: int) -> Frame:
        numbers, keep = list(DRAWS.values())[draw]
        N = len(numbers)
        letters = "ABCDEFGH"[:N]
        shuffle = torch.tensor(numbers).argsort()
        restore = shuffle.argsort().tolist()
        shuffle = shuffle.tolist()
        kinds = ["visible" if place < keep else "hidden" for place in range(N)]  # in the order of the shuffle
        order = [_box(letters[i], under=f"{numbers[i]}") for i in range(N)]
        # What each step shows in its row, and what the row is.
        rows = {
            "draw": (order, f"Each of the patches A to {letters[-1]} gets a random number."),
            "sort": (
                [_box(letters[i], under=f"{numbers[i]}") for i in shuffle],
                f"Sorted by their numbers. shuffle = {shuffle}: place 0 holds patch {shuffle[0]}, "
                f"which is {letters[shuffle[0]]}.",
            ),
            "cut": (
                [_box(letters[i], kind, f"{numbers[i]}") for i, kind in zip(shuffle, kinds, strict=True)],
                f"The first {keep} stay visible (blue), the other {N - keep} are hidden (dashed).",
            ),
            "encode": (
                [_box(letters[i].lower(), "visible") for i in shuffle[:keep]],
                f"The encoder gets {keep} patches and gives {keep} tokens, in small letters. It knows nothing of the "
                "others.",
            ),
            "append": (
                [_box(letters[i].lower(), "visible", str(place)) for place, i in enumerate(shuffle[:keep])]
                + [_box("m", "mask", str(place)) for place in range(keep, N)],
                f"One mask token, the same everywhere, is appended {N - keep} times. Below: the places in this row.",
            ),
            "restore": (
                [_box(letters[i].lower(), "visible", str(place)) if place < keep else _box("m", "mask", str(place))
                 for i, place in enumerate(restore)],
                f"restore = argsort(shuffle) = {restore}: patch A is taken from place {restore[0]}, patch B from place "
                f"{restore[1]}, and so on. Every token is back where its patch was.",
            ),
        }  # fmt: skip
        panels = {}
        for k, name in enumerate(STEPS):
            shown = "".join(rows[name][0]) if k <= step else ""
            dim = "" if k == step else ";opacity:.75"
            panels[f"{k + 1} {name}"] = f'<div style="min-height:4.1em{dim}">{shown}</div>'
        return Frame(panels, f"Step {step + 1}, {STEPS[step]}. {rows[STEPS[step]][1]}")

    settings = {
        "step": Setting("Step", tuple(f"{k + 1} {name}" for k, name in enumerate(STEPS))),
        "draw": Setting("Draw", tuple(DRAWS), "menu"),
    }
    return Explorer("shuffling", "Follow the patches through shuffle and un-shuffle", settings, render, rows=True)


def faults() -> Explorer:
    """The article's fully connected model, with a switch for each of its faults (trainings stored by `mae.replays`)."""
    rows = {}
    for setting, row in zip(FAULT_SWEEP, stored_faults(), strict=True):
        rows.setdefault((setting.relu, setting.code, setting.masks, setting.noise), []).append(row)
    test, visible = shown_digits()
    names = (
        "a ReLU at the end",
        "a ReLU on the code",
        "a second mask on the target",
        "one vector of noise to learn from",
    )

    def render(relu: int, code: int, masks: int, noise: int) -> Frame:
        chosen = tuple(map(bool, (relu, code, masks, noise)))
        found = rows[chosen]
        panels = {}
        for k in range(4):
            hidden = (visible[k] == 0).view(28, 28).numpy()
            seen = image(pixels(test[k].view(28, 28).numpy(), hidden), f"Visible pixels of test digit {k + 1}")
            output = image(
                pixels(from_hex(found[0]["pictures"][k]).view(28, 28).numpy()), f"Output for test digit {k + 1}"
            )
            panels[f"digit {k + 1}: seen, output"] = f"{seen}{output}"
        having = [name for name, on in zip(names, chosen, strict=True) if on]
        shares = [row["share"] for row in found]
        return Frame(
            panels,
            f"{'With ' + ', '.join(having) if having else 'Mended'}: the training loss ends at "
            f"{sum(row['loss'] for row in found) / len(found):.3f}. On hidden pixels of 1,000 test digits, the error "
            f"is {min(shares):.2f} to {max(shares):.2f} times that of the mean digit ({len(shares)} seeds).",
            {"loss": sum(row["loss"] for row in found) / len(found), "share": sum(shares) / len(shares)},
        )

    settings = {
        key: Setting(name[0].upper() + name[1:], ("off", "on"), "switch", 1)
        for key, name in zip(("relu", "code", "masks", "noise"), names, strict=True)
    }
    return Explorer("faults", "Mend the article's model, one fault at a time", settings, render)


SIZES = (1, 2, 4, 7)  # pixels; all of them divide 28
SHARES = (0.25, 0.5, 0.75, 0.9)


def patch_sizes() -> Explorer:
    """Patch size and ratio: what is hidden, and how far copying the nearest visible pixel gets."""
    images = load_digits("test").images[:COUNT]
    mean = load_digits("train").images.mean(dim=(0, 1)).numpy()
    truth = images[:, 0].numpy()
    done = {}

    def hide(size: int, ratio: float):
        if (size, ratio) not in done:
            mask = random_mask(COUNT, (28 // size) ** 2, ratio, generator=torch.Generator().manual_seed(2))
            values = mask.is_hidden[:, :, None].float().expand(-1, -1, size * size)
            hidden = unpatchify(values, size, 28)[:, 0].bool().numpy()
            copied = copy_nearest(truth, hidden)
            errors = [((guess - truth)[hidden] ** 2).mean() for guess in (copied, np.broadcast_to(mean, truth.shape))]
            done[size, ratio] = mask, hidden, copied, errors
        return done[size, ratio]

    def render(size: int, ratio: int, digit: int) -> Frame:
        p, i = SIZES[size], DIGITS[digit]
        mask, hidden, copied, (error, baseline) = hide(p, SHARES[ratio])
        panels = {
            "hidden": image(pixels(truth[i], hidden[i]), "The digit with hidden patches in grey"),
            "nearest pixel copied": image(pixels(copied[i]), "Each hidden pixel copied from the nearest visible one"),
            "truth": image(pixels(truth[i]), "The whole digit"),
        }
        verdict = "better" if error < baseline else "worse"
        return Frame(
            panels,
            f"{mask.num_patches} patches of {p * p} pixel{'s' * (p > 1)}, {mask.visible.shape[1]} of them visible. "
            f"Copying the nearest visible pixel has a squared error of {error:.3f} on the hidden pixels of {COUNT} "
            f"test digits, {verdict} than the mean training digit with {baseline:.3f}.",
        )

    settings = {
        "size": Setting("Patch size", tuple(f"{p} × {p}" for p in SIZES), start=3),
        "ratio": Setting("Hidden", tuple(f"{ratio:.0%}" for ratio in SHARES), start=2),
        "digit": _which_digit(),
    }
    return Explorer("patch_sizes", "Change the patch size and see what it hides", settings, render)


WIDTHS = (8, 32, 128)


def positions() -> Explorer:
    """Cosine similarity of one patch's position with all others on a grid of 7×7."""
    maps = {}
    for width in WIDTHS:
        codes = F.normalize(sincos_positions((7, 7), width), dim=1)
        maps[width] = (codes @ codes.T).view(7, 7, 7, 7)

    def render(row: int, column: int, width: int) -> Frame:
        all_maps = maps[WIDTHS[width]]
        found, low = all_maps[row, column], all_maps.min()
        mark = torch.zeros(7, 7, dtype=torch.bool)
        mark[row, column] = True
        alike = pixels(((found - low) / (1 - low)).numpy(), mark.numpy())
        beside = found[row, column + 1 if column < 6 else 5].item()
        corner = found[0 if row > 3 else 6, 0 if column > 3 else 6].item()
        return Frame(
            {"similarity": image(alike, "Similarity to the position that is marked", "heat")},
            f"Row {row}, column {column}, {WIDTHS[width]} numbers for each position. Cosine similarity with a "
            f"neighbour in the row: {beside:.2f}; with the far corner: {corner:.2f}. The darkest blue is 1, the "
            f"lightest {low:.2f}.",
        )

    places = tuple(str(i) for i in range(7))
    settings = {
        "row": Setting("Row", places, start=3),
        "column": Setting("Column", places, start=3),
        "width": Setting("Numbers in a position", tuple(map(str, WIDTHS)), "menu", 2),
    }
    return Explorer("positions", "Choose a patch and see which positions are like its own", settings, render)


@torch.no_grad()
def attention_maps(model: MaskedAutoencoder, patches: Tensor) -> list[Tensor]:
    """How each token of the encoder shares its attention among all tokens; nothing is hidden.

    Parameters
    ----------
    model : MaskedAutoencoder
    patches : Tensor, (B, N, P)

    Returns
    -------
    list of Tensor, (B, heads, 1 + N, 1 + N)
        One for each block. Row t sums to one: what token t takes from the others. Token 0 is the class token.
    """
    x = model.embed(patches)
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1)
    maps = []
    for block in model.blocks:
        q, k, _ = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
        q, k = (t.unflatten(-1, (block.attn.heads, -1)).transpose(1, 2) for t in (q, k))  # (B, heads, T, D/heads)
        maps.append((q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(dim=3))
        x = block(x)
    return maps


def attention() -> Explorer:
    """Where one patch looks, in each layer and head of the shipped encoder."""
    patches = patchify(load_digits("test").images[list(DIGITS[:2])], 4)
    maps = attention_maps(load_pretrained("digits"), patches)
    heads = maps[0].shape[1]

    def render(layer: int, row: int, column: int, digit: int) -> Frame:
        asks = 7 * row + column
        weights = maps[layer][digit, :, 1 + asks]  # (heads, 1 + N)
        mark = torch.zeros(49, dtype=torch.bool)
        mark[asks] = True
        frame = torch.zeros(4, 4, dtype=torch.bool)
        frame[0] = frame[-1] = frame[:, 0] = frame[:, -1] = True
        border = unpatchify((mark[:, None] & frame.flatten())[None].float(), 4, 28)[0, 0].bool()
        panels = {
            "patch that asks": image(
                pixels(unpatchify(patches[digit : digit + 1], 4, 28)[0, 0].numpy(), border.numpy()),
                "The digit, with the asking patch framed",
                "marked",
            )
        }
        for head in range(heads):
            share = weights[head, 1:].view(7, 7)
            panels[f"head {head + 1}"] = image(pixels((share / share.max()).numpy()), "Where it looks", "heat")
        y, x = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
        near = (((y - row).abs() <= 1) & ((x - column).abs() <= 1)).flatten()
        listed = [f"{100 * value:.0f}" for value in weights[:, 1:][:, near].sum(dim=1).tolist()]
        return Frame(
            panels,
            f"Layer {layer + 1} of {len(maps)}, patch in row {row}, column {column}. To the patch itself and those "
            f"around it go, in heads 1 to {heads}, {', '.join(listed)} % of the attention; if all tokens got the same, "
            f"it would be {100 * near.sum().item() / 50:.0f} %. In each map, the darkest patch has the largest share.",
        )

    places = tuple(str(i) for i in range(7))
    settings = {
        "layer": Setting("Layer", tuple(str(k + 1) for k in range(len(maps)))),
        "row": Setting("Row", places, start=3),
        "column": Setting("Column", places, start=3),
        "digit": Setting("Test digit", ("first", "second"), "menu"),
    }
    return Explorer("attention", "Choose a patch and see where it looks", settings, render)


BLENDS = tuple(k / 10 for k in range(11))


def noise() -> Explorer:
    """From noise to digits: how much of what is hidden the visible part can tell.

    The best linear guess is the conditional mean of a normal distribution with the mean and the covariance of the
    training digits, blended with noise of the same mean and deviation per pixel.
    """
    train, test = (patchify(load_digits(split).images, 4).flatten(1) for split in ("train", "test"))  # (B, 784)
    test = test[:300]
    generator = torch.Generator().manual_seed(0)
    center, spread = train.mean(), train.std()
    grain = center + spread * torch.randn(test.shape, generator=generator)
    mask = random_mask(1, 49, 0.75, generator=generator)
    hide = mask.is_hidden[0].repeat_interleave(16)  # (784,)
    mean, covariance = train.mean(dim=0), torch.cov(train.T.double())
    model = load_pretrained("digits")
    done = {}

    def blend(share: float):
        if share not in done:
            data = share * test + (1 - share) * grain
            average = share * mean + (1 - share) * center
            both = share**2 * covariance + ((1 - share) ** 2 * spread.double() ** 2 + 1e-3) * torch.eye(784)
            weights = torch.linalg.solve(both[~hide][:, ~hide], both[~hide][:, hide]).float()
            linear, ours = data.clone(), reconstruct(model, data.view(-1, 49, 16), _repeat(mask, len(data)))
            linear[:, hide] = average[hide] + (data - average)[:, ~hide] @ weights
            error = [((guess - data)[:, hide] ** 2).mean() for guess in (average, linear, ours.flatten(1))]
            done[share] = data, linear, ours, [e.item() / error[0].item() for e in error[1:]]
        return done[share]

    def render(share: int, digit: int) -> Frame:
        data, linear, ours, (by_linear, by_model) = blend(BLENDS[share])
        i = DIGITS[digit]
        panels = {
            "seen": _picture(data[i].view(49, 16), 4, "The visible patches", mask),
            "best linear guess": _picture(linear[i].view(49, 16), 4, "Hidden patches guessed by a linear rule"),
            "the book's model": _picture(ours[i], 4, "Hidden patches filled in by the masked autoencoder"),
            "truth": _picture(data[i].view(49, 16), 4, "The whole picture"),
        }
        return Frame(
            panels,
            f"{BLENDS[share]:.0%} digit, {1 - BLENDS[share]:.0%} noise. Error on the hidden pixels of {len(data)} test "
            f"pictures, as a share of that of the mean: best linear guess {by_linear:.2f}; the book's model, which has "
            f"learned from digits without noise, {by_model:.2f}.",
            {"linear": by_linear, "model": by_model},
        )

    settings = {
        "share": Setting("Share of the digit", tuple(f"{share:.0%}" for share in BLENDS)),
        "digit": _which_digit(),
    }
    return Explorer("noise", "Go from noise to digits and see what can be filled in", settings, render)


PATH_COLORS = {"hidden": "#D55E00", "visible": "#0072B2", "all": "#009E73"}


def losses() -> Explorer:
    """Three trainings side by side, replayed on a map of the loss (stored by `mae.replays`)."""
    found = stored_paths()
    width, height = 300, 220
    (x0, x1), (y0, y1) = ((axis[0], axis[-1]) for axis in found["axes"])

    def place(point: list[float]) -> tuple[float, float]:
        return (point[0] - x0) / (x1 - x0) * width, (1 - (point[1] - y0) / (y1 - y0)) * height

    grounds = {}
    for name in LOSSES:
        values = np.log(np.array(found["map"][name]))
        levels = pixels(1 - (values - values.min()) / (values.max() - values.min()))[::-1]
        grounds[name] = re.search(r'src="([^"]+)"', image(np.ascontiguousarray(levels), ""))[1]

    def render(epoch: int, on: int) -> Frame:
        name = LOSSES[on]
        drawn = []
        for loss, path in found["paths"].items():
            points = [place(p) for p in path["place"][: epoch + 1]]
            listed = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
            x, y = points[-1]
            color = PATH_COLORS[loss]
            drawn.append(
                f'<polyline points="{listed}" fill="none" stroke="#fff" stroke-width="5"/>'
                f'<polyline points="{listed}" fill="none" stroke="{color}" stroke-width="3"/>'
                f'<circle cx="{x:.0f}" cy="{y:.0f}" r="6" fill="{color}" stroke="#fff" stroke-width="2"/>'
            )
        panels = {
            "map of the chosen loss: light is low": (
                f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
                f'aria-label="Loss around the three paths, and how far each has come">'
                f'<image href="{grounds[name]}" width="{width}" height="{height}" preserveAspectRatio="none" '
                f'style="image-rendering:pixelated"/>{"".join(drawn)}</svg>'
            )
        }
        for loss, path in found["paths"].items():
            mark = f'<div style="border-top:6px solid {PATH_COLORS[loss]};width:7.4em"></div>'
            picture = pixels(from_hex(path["pictures"][epoch]).view(28, 28).numpy())
            panels[f"loss on {loss}"] = mark + image(
                picture, f"All patches, drawn by the model with the loss on {loss}"
            )
        said = [f"{path['losses'][epoch][name]:.4f} (trained on {loss})" for loss, path in found["paths"].items()]
        return Frame(
            panels,
            f"{'Before training' if not epoch else f'After epoch {epoch}'}. Loss on {name} patches of 200 test digits: "
            f"{', '.join(said)}. The pictures show all patches of one test digit as each model draws them.",
            {loss: path["losses"][epoch][name] for loss, path in found["paths"].items()},
        )

    settings = {
        "epoch": Setting("Epoch", tuple(map(str, range(STOPS)))),
        "on": Setting("Map shows the loss on", LOSSES, "menu"),
    }
    return Explorer("losses", "Replay three trainings on a map of the loss", settings, render)


EXPLORERS = {
    explorer.__name__: explorer
    for explorer in (masks, losses, positions, shuffling, patch_sizes, noise, faults, attention)
}
