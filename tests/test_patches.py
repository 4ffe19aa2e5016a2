"""Cutting images into patches loses nothing, keeps the published order and refuses what it can't cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mae.patches import patch_grid, patchify, unpatchify

small = st.integers(1, 4)


@st.composite
def cuts(draw):
    """A batch of images of any legal shape, with the size of a patch that tiles them."""
    batch, channels, rows, columns, p, q = (draw(small) for _ in range(6))
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    count = batch * channels * rows * p * columns * q
    images = torch.randperm(count, generator=torch.Generator().manual_seed(draw(st.integers(0, 9)))).to(dtype)
    images = images.view(batch, channels, rows * p, columns * q)
    if draw(st.booleans()):
        images = images.transpose(2, 3).contiguous().transpose(2, 3)  # the same values, laid out differently
    return images, (p, q)


@settings(max_examples=150, deadline=None)
@given(cuts())
def test_unpatchify_inverts_patchify(cut):
    images, patch_size = cut
    before = images.clone()
    patches = patchify(images, patch_size)
    B, C, H, W = images.shape
    p, q = patch_size
    assert patches.shape == (B, H // p * (W // q), p * q * C)
    assert patches.dtype == images.dtype
    assert torch.equal(unpatchify(patches, patch_size, (H, W)), images)
    assert torch.equal(images, before)


@settings(max_examples=50, deadline=None)
@given(cuts())
def test_patchify_inverts_unpatchify(cut):
    images, (p, q) = cut
    B, C, H, W = images.shape
    patches = images.reshape(B, H // p * (W // q), p * q * C)
    assert torch.equal(patchify(unpatchify(patches, (p, q), (H, W)), (p, q)), patches)


@pytest.mark.parametrize(("p", "q"), [(2, 2), (1, 3), (4, 2), (4, 6)])
def test_patches_run_by_row_and_their_values_by_row_column_channel(p, q):
    B, C, H, W = 2, 3, 4, 6
    images = torch.arange(B * C * H * W, dtype=torch.float32).view(B, C, H, W)
    patches = patchify(images, (p, q))
    columns = W // q
    for b in range(B):
        for n in range(H // p * columns):
            for i in range(p):
                for j in range(q):
                    for c in range(C):
                        y, x = n // columns * p + i, n % columns * q + j
                        assert patches[b, n, (i * q + j) * C + c] == images[b, c, y, x]


def test_one_number_means_a_square():
    images = torch.rand(2, 3, 8, 12)
    assert torch.equal(patchify(images, 4), patchify(images, (4, 4)))
    square = torch.rand(2, 1, 8, 8)
    assert torch.equal(unpatchify(patchify(square, 2), 2, 8), square)
    assert patch_grid(28, 4) == (7, 7)
    assert patch_grid((28, 14), (4, 7)) == (7, 2)


def test_gradients_pass_through():
    images = torch.rand(1, 2, 4, 6, requires_grad=True)
    weight = torch.rand(1, 2, 4, 6)
    (unpatchify(patchify(images, 2), 2, (4, 6)) * weight).sum().backward()
    assert torch.equal(images.grad, weight)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 4), r"expected .*\(B, C, H, W\).*got \(4, 4\)"),
        (torch.zeros(1, 4, 4), r"expected .*\(B, C, H, W\).*got \(1, 4, 4\)"),
        (torch.zeros(0, 1, 4, 4), r"expected .*none of them 0, got \(0, 1, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), r"expected floating-point images, got torch.uint8.*images / 255"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), r"expected floating-point images, got torch.int64"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.bool), r"expected floating-point images, got torch.bool"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.complex64), r"expected floating-point images, got torch.complex64"),
        (torch.full((1, 1, 4, 4), float("nan")), "expected finite pixel values, got NaN or infinity"),
        (torch.full((1, 1, 4, 4), float("inf")), "expected finite pixel values, got NaN or infinity"),
        (torch.full((1, 1, 4, 4), -float("inf")), "expected finite pixel values, got NaN or infinity"),
        (torch.zeros(1, 1, 5, 4), "5×4 pixels can't be cut into patches of 2×2: choose a patch size that divides"),
        (torch.zeros(1, 1, 4, 5), "4×5 pixels can't be cut into patches of 2×2: choose a patch size that divides"),
    ],
)
def test_patchify_refuses_bad_images(images, message):
    with pytest.raises(ValueError, match=message):
        patchify(images, 2)


def test_one_bad_pixel_is_enough_to_be_refused():
    images = torch.zeros(3, 2, 4, 4)
    images[2, 1, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="expected finite pixel values, got NaN"):
        patchify(images, 2)


@pytest.mark.parametrize("size", [0, -2, (0, 2), (2, -1)])
def test_sizes_below_one_are_refused(size):
    with pytest.raises(ValueError, match=r"expected sizes of at least 1, got \(?-?\d"):
        patch_grid(4, size)
    with pytest.raises(ValueError, match=r"expected sizes of at least 1, got \(?-?\d"):
        patch_grid(size, 2)


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 4, 5), (1, 4), (1, 5, 4), (0, 4, 4), (1, 4, 0)])
def test_unpatchify_refuses_other_shapes(shape):
    with pytest.raises(ValueError) as error:
        unpatchify(torch.zeros(shape), 2, 4)
    assert "expected patches of shape (B, 4, 4·C) for a 2×2 grid of 2×2 patches" in str(error.value)
    assert f"got {shape}" in str(error.value)
