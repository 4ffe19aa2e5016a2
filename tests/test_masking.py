"""A mask is a partition, is drawn without bias, and is the same whenever and wherever it is drawn."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mae.masking import Mask, block_mask, grid_mask, num_visible, random_mask, take


def assert_partition(mask, batch, num_patches):
    """Each row of the mask names each patch once, on one of the two sides."""
    assert len(mask) == batch and mask.num_patches == num_patches
    assert mask.visible.dtype == mask.hidden.dtype == torch.int64
    for visible, hidden in zip(mask.visible.tolist(), mask.hidden.tolist(), strict=True):
        assert visible and hidden
        assert sorted(visible + hidden) == list(range(num_patches))


# How many stay visible


@pytest.mark.parametrize(
    ("num_patches", "ratio", "visible"),
    [
        *[(64, r, k) for r, k in zip((0.1, 0.3, 0.6, 0.7, 0.75, 0.8, 0.9), (57, 44, 25, 19, 16, 12, 6), strict=True)],
        *[(100, 0.9, 10), (196, 0.75, 49), (49, 0.75, 12), (2, 0.5, 1)],
    ],
)
def test_num_visible_has_its_documented_values(num_patches, ratio, visible):
    assert num_visible(num_patches, ratio) == visible


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 500), st.data())
def test_num_visible_inverts_an_exact_share(num_patches, data):
    hidden = data.draw(st.integers(1, num_patches - 1))
    assert num_visible(num_patches, hidden / num_patches) == num_patches - hidden


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, 0.0, 1.0, float("nan"), float("inf")])
def test_ratios_out_of_range_are_refused(ratio, seeded):
    message = f"expected a mask ratio strictly between 0 and 1, got {ratio}"
    for draw in (
        lambda: num_visible(8, ratio),
        lambda: random_mask(2, 8, ratio, generator=seeded()),
        lambda: block_mask(2, (2, 4), ratio, generator=seeded()),
    ):
        with pytest.raises(ValueError, match=message):
            draw()


@pytest.mark.parametrize(("num_patches", "ratio", "left"), [(4, 0.9, 0), (1, 0.5, 0), (4, 1e-12, 4)])
def test_ratios_that_hide_nothing_or_all_are_refused(num_patches, ratio, left, seeded):
    message = f"a ratio of {ratio} leaves {left} of {num_patches} patches visible; at least one must be visible"
    with pytest.raises(ValueError, match=message):
        num_visible(num_patches, ratio)
    with pytest.raises(ValueError, match=message):
        random_mask(2, num_patches, ratio, generator=seeded())


# Random masks


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(2, 60), st.floats(0.02, 0.98), st.integers(0, 2**32))
def test_random_masks_are_partitions(batch, num_patches, ratio, seed):
    if not 0 < int(num_patches * (1 - ratio)) < num_patches:
        return
    mask = random_mask(batch, num_patches, ratio, generator=torch.Generator().manual_seed(seed))
    assert_partition(mask, batch, num_patches)
    assert mask.visible.shape[1] == num_visible(num_patches, ratio)
    assert (mask.visible.diff(dim=1) > 0).all() and (mask.hidden.diff(dim=1) > 0).all()


def p_value(visible):
    """How likely counts of pairs as uneven as these are, if each pair of eight patches is equally likely."""
    pairs = list(combinations(range(8), 2))
    drawn = [tuple(sorted(pair)) for pair in visible.tolist()]
    return chisquare([drawn.count(pair) for pair in pairs]).pvalue


def test_random_masks_are_uniform(seeded):
    draws = 5600  # 200 for each of the 28 pairs
    assert p_value(random_mask(draws, 8, 0.75, generator=seeded(0)).visible) > 1e-3
    # The test has the power to tell: it finds samplers that favour a patch or a neighbour a little.
    noise = torch.rand(draws, 8, generator=seeded(0))
    favoured = noise - 0.05 * (torch.arange(8) == 3)
    assert p_value(favoured.argsort(dim=1)[:, :2]) < 1e-3
    with_neighbour = torch.where(noise[:, :1] < 0.05, torch.tensor([[2, 3]]), noise.argsort(dim=1)[:, :2])
    assert p_value(with_neighbour) < 1e-6


def test_rows_of_a_batch_are_drawn_independently(seeded):
    hidden = random_mask(4000, 2, 0.5, generator=seeded(0)).hidden[:, 0]
    both = 2 * hidden[0::2] + hidden[1::2]  # which of the two patches is hidden in two rows that follow each other
    assert chisquare(both.bincount(minlength=4).tolist()).pvalue > 1e-3


def test_a_seed_gives_its_mask_again_and_another_one_another(seeded):
    draw = [random_mask(4, 49, 0.75, generator=seeded(seed)) for seed in (5, 5, 6)]
    assert torch.equal(draw[0].hidden, draw[1].hidden) and torch.equal(draw[0].visible, draw[1].visible)
    assert not torch.equal(draw[0].hidden, draw[2].hidden)
    generator = seeded(5)
    first, second = (random_mask(4, 49, 0.75, generator=generator) for _ in range(2))
    assert torch.equal(first.hidden, draw[0].hidden)
    assert not torch.equal(first.hidden, second.hidden)


def test_the_global_seed_plays_no_part(seeded):
    rules = (
        lambda: random_mask(4, 49, 0.75, generator=seeded()),
        lambda: block_mask(4, (7, 7), 0.75, generator=seeded()),
    )
    for rule in rules:
        state = torch.get_rng_state()
        first = rule()
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(3)
        assert torch.equal(rule().hidden, first.hidden)
        torch.set_rng_state(state)


def test_masks_are_the_same_on_every_machine(seeded):
    # Drawn once and written down: the draw happens on the CPU, so neither device nor machine changes it.
    assert random_mask(3, 8, 0.75, generator=seeded(0)).visible.tolist() == [[2, 3], [4, 5], [2, 3]]
    assert block_mask(2, (3, 4), 0.75, generator=seeded(0)).visible.tolist() == [[0, 1, 2], [2, 3, 8]]


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_a_mask_moves_to_a_device_unchanged(device, seeded):
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[device]:
        pytest.skip(f"no {device} here")
    mask = random_mask(3, 12, 0.75, generator=seeded(0))
    moved = mask.to(device)
    assert moved.visible.device.type == moved.restore.device.type == moved.is_hidden.device.type == device
    for which in ("visible", "hidden", "all"):
        assert moved.indices(which).device.type == device
        assert torch.equal(moved.indices(which).cpu(), mask.indices(which))
    assert torch.equal(moved.restore.cpu(), mask.restore)
    assert torch.equal(moved.is_hidden.cpu(), mask.is_hidden)


# Block and grid masks


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 8), st.floats(0.05, 0.95), st.integers(0, 99))
def test_block_masks_are_partitions_and_hide_exact_counts(batch, rows, columns, ratio, seed):
    if not 0 < int(rows * columns * (1 - ratio)) < rows * columns:
        return
    mask = block_mask(batch, (rows, columns), ratio, generator=torch.Generator().manual_seed(seed))
    assert_partition(mask, batch, rows * columns)
    assert mask.visible.shape[1] == num_visible(rows * columns, ratio)


def like_neighbours(mask, grid):
    """Share of neighbouring patches, left-right and up-down, that are both hidden or both visible."""
    picture = mask.is_hidden.view(-1, *grid)
    same = [picture[:, 1:] == picture[:, :-1], picture[:, :, 1:] == picture[:, :, :-1]]
    return torch.cat([pair.flatten() for pair in same]).float().mean().item()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_block_masks_are_blocky(ratio, seeded):
    grid = (8, 10)
    scattered = like_neighbours(random_mask(300, 80, ratio, generator=seeded(0)), grid)
    blocks = like_neighbours(block_mask(300, grid, ratio, generator=seeded(0)), grid)
    assert scattered == pytest.approx(ratio**2 + (1 - ratio) ** 2, abs=0.02)  # as for independent patches
    assert blocks > scattered + 0.5 * (1 - scattered)


def test_block_masks_reach_every_patch(seeded):
    hidden = block_mask(400, (5, 7), 0.4, generator=seeded(0)).is_hidden.float().mean(dim=0)
    assert hidden.min() > 0.05 and hidden.max() < 0.95


def test_grid_masks_keep_the_corner_of_every_square():
    mask = grid_mask(2, (4, 5))
    assert mask.is_hidden.view(2, 4, 5)[1].int().tolist() == [
        [0, 1, 0, 1, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 0, 1, 0],
        [1, 1, 1, 1, 1],
    ]
    assert torch.equal(mask.hidden[0], mask.hidden[1])
    assert grid_mask(1, (6, 6), 3).visible.tolist() == [[0, 3, 18, 21]]
    assert_partition(grid_mask(3, (3, 7), 3), 3, 21)


def test_grid_masks_that_hide_nothing_are_refused():
    with pytest.raises(ValueError, match=r"expected every of at least 2 \(1 would hide nothing\), got 1"):
        grid_mask(1, (4, 4), 1)
    with pytest.raises(ValueError, match="expected at least one visible and one hidden patch, got 1 visible and 0"):
        grid_mask(1, (1, 1))


# The mask itself


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(2, 12), st.data())
def test_from_hidden_inverts_is_hidden(batch, num_patches, data):
    count = data.draw(st.integers(1, num_patches - 1))
    rows = [data.draw(st.permutations([True] * count + [False] * (num_patches - count))) for _ in range(batch)]
    is_hidden = torch.tensor(rows)
    mask = Mask.from_hidden(is_hidden)
    assert_partition(mask, batch, num_patches)
    assert torch.equal(mask.is_hidden, is_hidden)


def test_restore_undoes_the_shuffle():
    mask = Mask(torch.tensor([[3, 0], [1, 2]]), torch.tensor([[2, 1], [3, 0]]))
    shuffled = torch.cat([mask.visible, mask.hidden], dim=1)[:, :, None]
    assert take(shuffled, mask.restore)[:, :, 0].tolist() == [[0, 1, 2, 3]] * 2
    assert mask.restore.tolist() == [[1, 3, 2, 0], [3, 0, 1, 2]]


def test_indices_and_rows():
    mask = Mask(torch.tensor([[3, 0], [1, 2], [0, 1]]), torch.tensor([[2, 1], [3, 0], [2, 3]]))
    assert mask.indices("visible") is mask.visible and mask.indices("hidden") is mask.hidden
    assert mask.indices("all").tolist() == [[0, 1, 2, 3]] * 3
    assert mask[1:].visible.tolist() == [[1, 2], [0, 1]]
    assert mask[torch.tensor([2, 0])].hidden.tolist() == [[2, 3], [2, 1]]
    with pytest.raises(ValueError, match='expected "hidden", "visible" or "all", got \'masked\''):
        mask.indices("masked")


def test_take_picks_by_position(seeded):
    tokens = torch.rand(2, 5, 3, generator=seeded())
    index = torch.tensor([[4, 0], [2, 2]])
    expected = torch.stack([torch.stack([tokens[b, i] for i in row]) for b, row in enumerate(index)])
    assert torch.equal(take(tokens, index), expected)


I64 = torch.int64


@pytest.mark.parametrize(
    ("visible", "hidden", "message"),
    [
        ([0, 1], [2, 3], r"expected visible \(B, K\) and hidden \(B, M\).*got \(2,\) and \(2,\)"),
        ([[0, 1]], [[2, 3], [2, 3]], r"with the same B, got \(1, 2\) and \(2, 2\)"),
        ([[0.0, 1.0]], [[2, 3]], "expected int64 indices, got torch.float32 and torch.int64"),
        ([[0, 1]], [[]], "expected int64 indices, got torch.int64 and torch.float32"),
        (torch.zeros(1, 0, dtype=I64), [[0, 1]], "expected at least one visible .*, got 0 visible and 2 hidden"),
        ([[0, 1]], torch.zeros(1, 0, dtype=I64), "expected at least one visible .*, got 2 visible and 0 hidden"),
        ([[0, 1]], [[1, 2]], r"name each patch 0 … 3 exactly once in every row"),
        ([[0, 1], [0, 1]], [[2, 3], [2, 2]], r"name each patch 0 … 3 exactly once in every row"),
        ([[0, -1]], [[1, 2]], r"name each patch 0 … 3 exactly once in every row"),
        ([[0, 1]], [[2, 4]], r"name each patch 0 … 3 exactly once in every row"),
    ],
)
def test_what_is_no_partition_is_refused(visible, hidden, message):
    with pytest.raises(ValueError, match=message):
        Mask(torch.as_tensor(visible), torch.as_tensor(hidden))


@pytest.mark.parametrize(
    ("is_hidden", "message"),
    [
        (torch.tensor([True, False]), r"expected a bool tensor \(B, N\), .*got torch.bool \(2,\)"),
        (torch.tensor([[1, 0]]), r"expected a bool tensor \(B, N\), .*got torch.int64 \(1, 2\)"),
        (torch.zeros(0, 4, dtype=torch.bool), r"expected a bool tensor \(B, N\), B at least 1, got .*\(0, 4\)"),
        (torch.tensor([[True, False], [True, True]]), r"hide the same number of patches, got \[1, 2\]"),
        (torch.tensor([[True, True]]), "got 0 visible and 2 hidden"),
        (torch.tensor([[False, False]]), "got 2 visible and 0 hidden"),
    ],
)
def test_masks_by_hand_are_checked(is_hidden, message):
    with pytest.raises(ValueError, match=message):
        Mask.from_hidden(is_hidden)
