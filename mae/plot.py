"""The figures of the book, in one style.

Functions take the axes that they draw on and return them; nothing here shows a figure or changes global settings.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from mae.masking import Mask
from mae.model import MAEConfig
from mae.patches import unpatchify

# Okabe and Ito's palette, safe for colour-blind readers. Each colour has one meaning in the whole book.
VISIBLE = "#0072B2"
PREDICTED = "#D55E00"
TRUTH = "#009E73"
BASELINE = "#6B7280"
HIDDEN = "#9AA3AF"
SERIES = (VISIBLE, PREDICTED, TRUTH, "#CC79A7", "#E69F00", "#56B4E9")
INK = "#1F2937"

STYLE = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": "#E5E7EB",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def figure(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 2.8, **kwargs
) -> tuple[Figure, Axes | np.ndarray]:
    """A figure in the book's style.

    Parameters
    ----------
    rows, columns : int
    width, height : float
        Inches, at 150 dots an inch.
    **kwargs
        Go to ``plt.subplots``.

    Returns
    -------
    Figure, and Axes or an array of them
    """
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width, height), **kwargs)


def as_pictures(
    patches: Tensor, patch_size: int, image_size: int | tuple[int, int], mask: Mask | None = None
) -> np.ndarray:
    """Patches as pictures to show; with a mask, hidden patches are grey.

    Parameters
    ----------
    patches : Tensor, (B, N, P)
        Values between 0 and 1; one or three channels.
    patch_size, image_size : int or (int, int)
    mask : Mask, optional

    Returns
    -------
    ndarray, (B, H, W, 3)
        RGB between 0 and 1.
    """
    images = unpatchify(patches.detach().clamp(0, 1), patch_size, image_size)
    pictures = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    if mask is not None:
        # One value per pixel, whatever the number of channels.
        p, q = (patch_size, patch_size) if isinstance(patch_size, int) else patch_size
        hidden = mask.is_hidden[:, :, None].float().expand(-1, -1, p * q)
        hidden = unpatchify(hidden, patch_size, image_size)[:, 0].bool().numpy()
        grey = np.array([int(HIDDEN[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        pictures = np.where(hidden[..., None], grey, pictures)
    return pictures


def picture(
    ax: Axes, image: np.ndarray | Tensor, title: str = "", *, grid: tuple[int, int] | None = None, **kwargs
) -> Axes:
    """One picture without ticks.

    Parameters
    ----------
    ax : Axes
    image : (H, W) or (H, W, 3)
        Grey pictures show 0 as black and 1 as white.
    title : str
    grid : (int, int), optional
        Rows and columns of patches, drawn as thin lines.
    **kwargs
        Go to ``ax.imshow``.
    """
    ax.imshow(np.asarray(image), **{"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **kwargs})
    ax.set(xticks=[], yticks=[])
    if grid is not None:
        height, width = np.asarray(image).shape[:2]
        for i in range(1, grid[0]):
            ax.axhline(i * height / grid[0] - 0.5, color="white", linewidth=0.8)
        for j in range(1, grid[1]):
            ax.axvline(j * width / grid[1] - 0.5, color="white", linewidth=0.8)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title, color=INK)
    return ax


def gallery(
    rows: Mapping[str, Sequence[np.ndarray | Tensor]], titles: Sequence[str] = (), *, size: float = 0.8
) -> Figure:
    """Rows of pictures, each row with its name on the left.

    Parameters
    ----------
    rows : mapping of str to pictures
        Each row has the same number of pictures, (H, W) or (H, W, 3).
    titles : sequence of str
        One above each column, if given.
    size : float
        Side of a picture in inches.

    Returns
    -------
    Figure
    """
    columns = len(next(iter(rows.values())))
    fig, axes = figure(
        len(rows),
        columns,
        width=size * columns + 1.0,
        height=size * len(rows) + (0.25 if titles else 0.05),
        squeeze=False,
    )
    for axes_row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(axes_row, pictures, strict=True):
            picture(ax, image)
        axes_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=INK)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, fontsize=9, color=INK)
    return fig


def _clean(values) -> np.ndarray:
    return np.asarray(values.detach() if isinstance(values, torch.Tensor) else values, dtype=float)


def lines(
    ax: Axes,
    x: Sequence[float],
    series: Mapping[str, Sequence],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    colors: Mapping[str, str] | None = None,
    marker: str | None = "o",
) -> Axes:
    """Curves with their names at their right ends.

    Parameters
    ----------
    ax : Axes
    x : sequence of float, (n,)
    series : mapping of str to values
        (n,), or (seeds, n): then the mean is drawn, and a band from the lowest to the highest seed.
    xlabel, ylabel, title : str
    colors : mapping of str to colour, optional
        For series that have a meaning; the others take the palette in order, after its six colours from the start.
    marker : str, optional
    """
    ends = []
    for (name, values), default in zip(series.items(), cycle(SERIES), strict=False):
        color = (colors or {}).get(name, default)
        y = np.atleast_2d(_clean(values))
        ax.plot(x, y.mean(axis=0), color=color, marker=marker)
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=color, alpha=0.18, linewidth=0)
        ends.append([y.mean(axis=0)[-1], name, color])
    ax.grid(axis="y")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if len(x) <= 6:
        ax.set_xticks(x)
    # Names keep a line's height between them, from the lowest up.
    low, high = ax.get_ylim()
    gap = (high - low) * 0.19 / (ax.figure.get_size_inches()[1] * ax.get_position().height)
    place = -np.inf
    for value, name, color in sorted(ends):
        place = max(value, place + gap)
        ax.annotate(
            f" {name}",
            (x[-1], value),
            (x[-1], place),
            color=color,
            va="center",
            annotation_clip=False,
            fontweight="bold",
        )
    return ax


def bars(
    ax: Axes,
    values: Mapping[str, float],
    *,
    xlabel: str,
    title: str = "",
    colors: Mapping[str, str] | None = None,
    form: str = "{:.3f}",
    errors: Mapping[str, float] | None = None,
) -> Axes:
    """Horizontal bars, the first on top, with their values written beside them.

    Parameters
    ----------
    ax : Axes
    values : mapping of str to float
    xlabel, title : str
    colors : mapping of str to colour, optional
    form : str
        How a value is written.
    errors : mapping of str to float, optional
        Half-lengths of error bars.
    """
    names = list(values)
    for i, name in enumerate(names):
        error = (errors or {}).get(name, 0)
        color = (colors or {}).get(name, VISIBLE)
        ax.barh(
            i,
            values[name],
            height=0.62,
            color=color,
            xerr=error or None,
            error_kw={"ecolor": INK, "capsize": 2},
        )
        ax.annotate(
            form.format(values[name]),
            (values[name] + error, i),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.16)
    ax.set(xlabel=xlabel, title=title)
    return ax


def data_flow(config: MAEConfig, mask: Mask) -> Figure:
    """What goes through a masked autoencoder, from top to bottom, with the shape at every arrow.

    All that is drawn follows from the arguments: places and numbers of patches, the shapes, and the two boxes, as
    wide as their tokens and as high as their number of blocks.

    Parameters
    ----------
    config : MAEConfig
    mask : Mask
        Its first example is drawn; patches that it hides are grey.

    Returns
    -------
    Figure
        Tall and narrow, so that it can be read on a telephone.
    """
    c, (rows, columns) = config, config.grid
    N, K, M, P = c.num_patches, mask.visible.shape[1], mask.hidden.shape[1], c.patch_values
    side, middle = min(1.4 / max(rows, columns), 0.35), 1.4
    left, high = middle - columns * side / 2, rows * side
    fig, ax = figure(width=4.3, height=7.0)
    ax.axis("off")

    def squares(x: float, y: float, colors: Sequence[str | None], per_row: int, hollow: str = "") -> None:
        for k, color in enumerate(colors):
            if color:
                corner = x + (k % per_row + 0.08) * side, y + (k // per_row + 0.08) * side
                face = "white" if color == hollow else color
                edge = 0.84 * side
                ax.add_patch(plt.Rectangle(corner, edge, edge, facecolor=face, edgecolor=color, linewidth=5 * side))

    def grid(x: float, y: float, visible: str | None, hidden: str | None, hollow: str = "") -> None:
        squares(x, y, [hidden if hide else visible for hide in mask.is_hidden[0].tolist()], columns, hollow)

    def box(y: float, label: str, width: int, depth: int) -> float:
        w = 2.6 * width / max(c.width, c.decoder_width)
        h = max(1.1 * depth / max(c.depth, c.decoder_depth), 0.5)
        ax.add_patch(plt.Rectangle((middle - w / 2, y), w, h, facecolor="#EAF3FA", edgecolor=VISIBLE))
        ax.text(middle, y + h / 2, label, ha="center", va="center", weight="bold", fontsize=11)
        ax.text(2.95, y + h / 2, f"{depth} block{'s' * (depth > 1)}, {width} wide", va="center", fontsize=10)
        return y + h

    def arrow(y: float, count: int, values: int, what: str) -> float:
        ax.annotate("", (middle, y + 0.5), (middle, y), arrowprops={"arrowstyle": "-|>", "color": INK})
        ax.text(middle + 0.15, y + 0.23, f"(B, {count}, {values})", va="center", weight="bold", fontsize=9.5)
        ax.text(2.95, y + 0.23, what, va="center", fontsize=10)
        return y + 0.55

    grid(left, 0, VISIBLE, HIDDEN)
    ax.text(2.95, high / 2, f"{N} patches of {P} values,\n{M} of them hidden", va="center", fontsize=10)
    y = arrow(high, K, P, "visible patches only")
    per_row = min(1 + K, round(2.6 / side))
    squares(middle - per_row * side / 2, y, [INK] + [VISIBLE] * K, per_row)
    ax.text(2.95, y + 0.1, "one token each;\na class token in front", va="center", fontsize=10)
    y = arrow(y + math.ceil((1 + K) / per_row) * side, 1 + K, c.width, "")
    y = box(y, "encoder", c.width, c.depth)
    y = arrow(y, 1 + K, c.width, "the latent")
    grid(left, y, VISIBLE, PREDICTED, hollow=PREDICTED)
    squares(left - 1.5 * side, y, [INK], 1)
    ax.text(
        2.95, y + high / 2, f"back in place, {c.decoder_width} wide;\n{M} mask tokens join in", va="center", fontsize=10
    )
    y = arrow(y + high, 1 + N, c.decoder_width, "")
    y = box(y, "decoder", c.decoder_width, c.decoder_depth)
    y = arrow(y, M, P, "hidden patches only")
    right = 4.3 - columns * side / 2
    grid(left, y, None, PREDICTED)
    grid(right, y, None, TRUTH)
    ends = (right - 0.1, y + high / 2), (left + columns * side + 0.1, y + high / 2)
    ax.annotate("", *ends, arrowprops={"arrowstyle": "<|-|>", "color": INK})
    ax.text(2.85, y + high / 2 - 0.1, "loss", ha="center", va="bottom", weight="bold", fontsize=10)
    for x, name, color in ((middle, "prediction", PREDICTED), (4.3, "truth", TRUTH)):
        ax.text(x, y + high + 0.08, name, ha="center", va="top", fontsize=10, color=color, weight="bold")
    ax.set(xlim=(0, 5.6), ylim=(y + high + 0.4, -0.05), aspect="equal")
    return fig


def density(
    ax: Axes, x: Sequence[float], y: Sequence[float], *, xlabel: str, ylabel: str = "", title: str = ""
) -> Axes:
    """How often y goes with x, for more points than a scatter plot can show: darker is more, on a log scale.

    Parameters
    ----------
    ax : Axes
    x, y : sequence of float, (n,)
    xlabel, ylabel, title : str
    """
    shades = LinearSegmentedColormap.from_list("shades", ["#E8F1F8", VISIBLE])
    ax.hexbin(_clean(x), _clean(y), gridsize=26, bins="log", mincnt=1, cmap=shades, linewidths=0.1)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return ax
