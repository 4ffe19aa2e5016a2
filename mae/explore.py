"""The book's explorers: small pictures that follow what you set.

Each function gives an `Explorer`; a notebook shows it when it is the last line of a cell. Nothing is trained here: what
is shown comes from the shipped weights or from stored trainings.
"""

from html import escape

import torch

from mae.data import load_digits
from mae.evaluate import reconstruct
from mae.interactive import Explorer, Frame, Setting, image, pixels
from mae.masking import Mask, block_mask, num_visible, random_mask
from mae.patches import patchify, unpatchify
from mae.replays import FAULT_SWEEP, from_hex, shown_digits, stored_faults
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
        "digit": Setting("Test digit", ("first", "second", "third", "fourth"), "menu"),
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
        )

    settings = {
        key: Setting(name[0].upper() + name[1:], ("off", "on"), "switch", 1)
        for key, name in zip(("relu", "code", "masks", "noise"), names, strict=True)
    }
    return Explorer("faults", "Mend the article's model, one fault at a time", settings, render)


EXPLORERS = {"masks": masks, "shuffling": shuffling}
