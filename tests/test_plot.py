"""Figures are drawn on the axes that are given, in the book's style, and leave everything else alone."""

from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mae import plot
from mae.masking import Mask, grid_mask
from mae.model import digits_config
from mae.patches import patchify


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No test opens a window or leaves a figure, and none changes the settings."""
    monkeypatch.setattr(plt, "show", lambda *args, **kwargs: pytest.fail("a figure was shown"))
    plt.switch_backend("agg")
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    plt.close("all")


def test_figures_have_the_style_inside_and_leave_none_behind():
    fig, ax = plot.figure(width=3, height=2)
    assert isinstance(fig, Figure) and isinstance(ax, Axes)
    assert fig.get_size_inches().tolist() == [3, 2] and fig.dpi == 150
    assert not ax.spines["top"].get_visible()
    other, _ = plt.subplots()
    assert other.dpi == matplotlib.rcParams["figure.dpi"] != 150
    assert plot.figure(2, 3)[1].shape == (2, 3)


def test_colours_can_be_told_apart():
    names = [plot.VISIBLE, plot.PREDICTED, plot.TRUTH, plot.BASELINE, plot.HIDDEN]
    assert len({to_hex(name) for name in names}) == 5
    rgb = [np.array(matplotlib.colors.to_rgb(color)) for color in plot.SERIES]
    assert min(np.linalg.norm(a - b) for a, b in combinations(rgb, 2)) > 0.2


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_rgb_with_hidden_patches_grey(channels, seeded):
    images = torch.rand(2, channels, 4, 6, generator=seeded())
    patches = patchify(images, 2)
    patches[0, 0] = 7.0  # out of range: shown as white
    before = patches.clone()
    pictures = plot.as_pictures(patches, 2, (4, 6))
    assert pictures.shape == (2, 4, 6, 3)
    assert np.allclose(pictures[1], images[1].permute(1, 2, 0).expand(-1, -1, 3).numpy())
    assert (pictures[0, :2, :2] == 1).all()
    mask = grid_mask(2, (2, 3))
    masked = plot.as_pictures(patches, 2, (4, 6), mask)
    hidden = mask.is_hidden.view(2, 2, 3).repeat_interleave(2, 1).repeat_interleave(2, 2).numpy()
    assert np.allclose(masked[hidden], matplotlib.colors.to_rgb(plot.HIDDEN))
    assert np.array_equal(masked[~hidden], pictures[~hidden])
    assert torch.equal(patches, before)


def test_pictures_take_patches_that_are_not_square(seeded):
    images = torch.rand(1, 1, 4, 6, generator=seeded())
    mask = Mask(torch.tensor([[0, 1, 2]]), torch.tensor([[3]]))
    pictures = plot.as_pictures(patchify(images, (2, 3)), (2, 3), (4, 6), mask)
    assert np.allclose(pictures[0, 2:, 3:], matplotlib.colors.to_rgb(plot.HIDDEN))
    assert np.allclose(pictures[0, :2, :, 0], images[0, 0, :2])


def test_picture_shows_black_to_white_without_ticks(seeded):
    image = torch.rand(4, 6, generator=seeded()) / 2
    before = image.clone()
    _, ax = plot.figure()
    assert plot.picture(ax, image, "A title", grid=(2, 3)) is ax
    (shown,) = ax.images
    assert shown.get_clim() == (0, 1) and shown.get_cmap().name == "gray"
    assert np.array_equal(shown.get_array(), image.numpy())
    assert not len(ax.get_xticks()) and not len(ax.get_yticks())
    assert ax.get_title() == "A title"
    assert sorted(line.get_xdata()[0] for line in ax.lines[1:]) == [1.5, 3.5]  # between columns of two pixels
    assert ax.lines[0].get_ydata()[0] == 1.5
    assert torch.equal(image, before)


def test_gallery_has_a_row_for_each_name_and_a_column_for_each_picture(seeded):
    images = list(torch.rand(3, 4, 4, generator=seeded()))
    fig = plot.gallery({"digit": images, "rebuilt": images}, ["a", "b", "c"])
    assert isinstance(fig, Figure)
    assert [ax.get_ylabel() for ax in fig.axes] == ["digit", "", "", "rebuilt", "", ""]
    assert [ax.get_title() for ax in fig.axes] == ["a", "b", "c", "", "", ""]
    assert all(len(ax.images) == 1 for ax in fig.axes)
    fig.canvas.draw()
    with pytest.raises(ValueError, match="argument 2 is"):
        plot.gallery({"three": images, "two": images[:2]})


def test_lines_draw_means_and_bands_and_name_each_curve():
    _, ax = plot.figure()
    x = [1, 2, 3]
    several = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    before = several.copy()
    series = {"seeds": several, "tensor": torch.tensor([0.0, 1.0, 4.01], requires_grad=True), "last": [2, 2, 4]}
    assert plot.lines(ax, x, series, xlabel="x", ylabel="y", title="t", colors={"last": plot.BASELINE}) is ax
    assert [line.get_ydata().tolist() for line in ax.lines] == [[2, 3, 4], pytest.approx([0, 1, 4.01]), [2, 2, 4]]
    assert to_hex(ax.lines[2].get_color()) == plot.BASELINE.lower()
    assert len({to_hex(line.get_color()) for line in ax.lines}) == 3
    (band,) = ax.collections
    assert band.get_datalim(ax.transData).ymax == 5 and band.get_datalim(ax.transData).ymin == 1
    labels = {text.get_text().strip(): text for text in ax.texts}
    assert set(labels) == set(series)
    ax.figure.canvas.draw()
    heights = sorted(text.get_window_extent().y0 for text in ax.texts)
    assert min(np.diff(heights)) > 0.5 * ax.texts[0].get_window_extent().height  # names do not lie on one another
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x", "y", "t")
    assert np.array_equal(several, before)


def test_lines_draw_more_curves_than_the_palette_has_colours():
    _, ax = plot.figure()
    names = [str(i) for i in range(len(plot.SERIES) + 2)]
    plot.lines(ax, [0, 1], {name: [int(name), 0] for name in names}, xlabel="", ylabel="")
    assert len(ax.lines) == len(ax.texts) == len(names)
    assert ax.lines[-1].get_color() == plot.SERIES[1]


def test_bars_stand_in_order_with_their_values():
    _, ax = plot.figure()
    values = {"first": 0.25, "second": 0.5}
    drawn = plot.bars(
        ax, values, xlabel="error", title="t", errors={"second": 0.1}, form="{:.1%}", colors={"second": plot.TRUTH}
    )
    assert drawn is ax
    assert [bar.get_width() for bar in ax.patches] == [0.25, 0.5]
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [plot.VISIBLE.lower(), plot.TRUTH.lower()]
    assert [text.get_text() for text in ax.texts] == ["25.0%", "50.0%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first is on top
    assert values == {"first": 0.25, "second": 0.5}


def test_data_flow_shows_the_shape_at_every_arrow():
    config = digits_config()
    mask = grid_mask(3, (7, 7))  # 16 visible, 33 hidden
    fig = plot.data_flow(config, mask)
    (ax,) = fig.axes
    words = [text.get_text() for text in ax.texts]
    shapes = [word for word in words if word.startswith("(B")]
    assert shapes == ["(B, 16, 16)", "(B, 17, 128)", "(B, 17, 128)", "(B, 50, 64)", "(B, 33, 16)"]
    assert "49 patches of 16 values,\n33 of them hidden" in words
    assert "4 blocks, 128 wide" in words and "2 blocks, 64 wide" in words
    fig.canvas.draw()


def test_density_counts_points():
    _, ax = plot.figure()
    x = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0])
    assert plot.density(ax, x, x / 2, xlabel="x", ylabel="y") is ax
    (cells,) = ax.collections
    assert sorted(cells.get_array().tolist()) == [1, 1, 3]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
