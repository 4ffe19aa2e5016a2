"""Canvases: labels that fit the pictures, splits that share nothing, the same from the same generator."""

import pytest
import torch

from mae.canvases import MOST, NOTHING, SIZE, _digits, _overlap, _textures, load_coins, make_canvases


@pytest.fixture(scope="module")
def canvases(seeded):
    return make_canvases("train", 60, generator=seeded(0))


def test_shapes_and_ranges(canvases):
    assert canvases.images.shape == (60, 1, SIZE, SIZE) and canvases.images.dtype == torch.float32
    assert canvases.images.min() >= 0 and canvases.images.max() <= 1
    assert canvases.boxes.shape == (60, MOST, 4) and canvases.classes.shape == (60, MOST)
    assert canvases.pixels.shape == (60, SIZE, SIZE) and canvases.pixels.dtype == torch.int64
    counts = (canvases.classes < NOTHING).sum(dim=1)
    assert set(counts.tolist()) == {1, 2}
    assert len(canvases) == 60 and len(canvases[:7]) == 7 and canvases[torch.tensor([3, 1])].classes.shape == (2, MOST)


def test_boxes_hold_the_pixels_of_their_digits(canvases):
    for boxes, classes, pixels in zip(canvases.boxes, canvases.classes, canvases.pixels, strict=True):
        outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
        for box, label in zip(boxes, classes, strict=True):
            if label == NOTHING:
                assert (box == 0).all()
                continue
            left, top, right, bottom = box.long().tolist()
            assert 0 <= left < right <= SIZE and 0 <= top < bottom <= SIZE
            inside = pixels[top:bottom, left:right]
            assert (inside == label).any()
            outside[top:bottom, left:right] = False
        assert (pixels[outside] == NOTHING).all()
        assert set(pixels.unique().tolist()) == {*classes.tolist(), NOTHING}


def test_digits_are_brighter_than_the_background(canvases):
    ink = canvases.images[:, 0][canvases.pixels < NOTHING]
    assert ink.mean() > canvases.images[:, 0][canvases.pixels == NOTHING].mean() + 0.3


def test_boxes_hardly_overlap(canvases):
    for boxes, classes in zip(canvases.boxes, canvases.classes, strict=True):
        some = boxes[classes < NOTHING]
        for i in range(1, len(some)):
            assert _overlap(some[i], some[:i]) <= 0.1


def test_overlap_by_hand():
    box, other = torch.tensor([0.0, 0, 4, 4]), torch.tensor([[2.0, 2, 4, 4], [3, 0, 13, 4], [5, 5, 9, 9]])
    assert _overlap(box, other[:0]) == 0
    assert _overlap(box, other[:1]) == 1  # the smaller lies inside
    assert _overlap(box, other[1:]) == 0.25
    assert _overlap(box, other[2:]) == 0


def test_the_generator_decides(seeded, canvases):
    again, other = (make_canvases("train", 60, generator=seeded(seed)) for seed in (0, 1))
    assert torch.equal(again.images, canvases.images) and torch.equal(again.boxes, canvases.boxes)
    assert not torch.equal(other.images, canvases.images)


def test_splits_share_neither_digits_nor_textures():
    digits = {
        split: {image.numpy().tobytes() for image in _digits(split).images} for split in ("train", "validation", "test")
    }
    assert [len(_digits(split)) for split in digits] == [3600, 400, 1000]
    assert not digits["train"] & digits["validation"] and not (digits["train"] | digits["validation"]) & digits["test"]
    for train, validation, test in zip(*(_textures(split) for split in digits), strict=True):
        assert train.shape == (400, 240) and validation.shape == (112, 240) and test.shape == (512, 240)
        parts = {part.data_ptr() for part in (train, validation, test)}
        assert len(parts) == 3


@pytest.mark.parametrize(
    ("split", "count", "message"), [("all", 3, "got 'all'"), ("test", 0, "at least one canvas, got 0")]
)
def test_impossible_canvases_are_refused(split, count, message, seeded):
    with pytest.raises(ValueError, match=message):
        make_canvases(split, count, generator=seeded())


def test_coins_are_where_the_labels_say():
    image, boxes, is_coin = load_coins()
    assert image.shape == (1, 303, 384) and boxes.shape == (24, 4) and is_coin.shape == (303, 384)
    assert image[0][is_coin].mean() > image[0][~is_coin].mean() + 0.2
    for left, top, right, bottom in boxes.long().tolist():
        part = is_coin[top:bottom, left:right].float().mean().item()
        assert part == pytest.approx(torch.pi / 4, abs=0.03)  # an ellipse in its box
    assert is_coin.sum() == pytest.approx(
        (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sum().item() * torch.pi / 4, rel=0.01
    )
