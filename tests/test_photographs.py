"""Photographs: inside the packages, split by photograph; crops, windows and measures."""

import importlib
from importlib.metadata import files

import numpy as np
import pytest
import torch

from mae import photographs
from mae.photographs import (
    SHAPES,
    SPLITS,
    add_noise,
    assemble,
    centre,
    load_photographs,
    quality,
    random_crops,
    windows,
)


def test_no_photograph_is_in_two_splits():
    names = [name for split in SPLITS.values() for name in split]
    assert len(names) == len(set(names)) and set(names) == set(SHAPES)


@pytest.mark.parametrize("split", SPLITS)
def test_photographs_are_halved_and_grey(split):
    for name, image in load_photographs(split).items():
        assert image.shape == (1, 1, *(-(-n // 2) for n in SHAPES[name])) and image.dtype == torch.float32
        assert 0 <= image.min() < image.max() <= 1 and image.std() > 0.03


def test_the_files_come_with_the_packages():
    inside = {str(path) for package in ("scikit-image", "scikit-learn") for path in files(package)}
    for name in ("astronaut.png", "chelsea.png", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg"):
        assert f"skimage/data/{name}" in inside
    assert "sklearn/datasets/images/china.jpg" in inside


def test_loaded_photographs_are_the_callers_own():
    load_photographs("test")["moon"].zero_()
    assert load_photographs("test")["moon"].max() > 0


def test_another_version_is_noticed(monkeypatch):
    fresh = importlib.reload(photographs)
    monkeypatch.setattr(fresh.skimage_data, "moon", lambda: np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match=r"'moon' is not the one.*requirements.txt"):
        fresh.load_photographs("test")


def test_unknown_split():
    with pytest.raises(ValueError, match="expected one of train, validation, test"):
        load_photographs("all")


def test_centre():
    image = torch.arange(30.0).view(1, 1, 5, 6)
    assert centre(image, 2).flatten().tolist() == [8, 9, 14, 15]
    with pytest.raises(ValueError, match="at most 5"):
        centre(image, 6)


def test_noise(seeded):
    image = torch.full((1, 1, 200, 200), 0.5)
    noisy = add_noise(image, 0.1, generator=seeded(0))
    assert abs((noisy - image).std() - 0.1) < 2e-3 and abs((noisy - image).mean()) < 2e-3
    assert torch.equal(noisy, add_noise(image, 0.1, generator=seeded(0)))


def test_crops_keep_channels_together_and_are_turned(seeded):
    image = torch.arange(25.0).view(1, 1, 5, 5)
    pictures = {"a": torch.cat([image, -image], dim=1), "b": torch.ones(1, 2, 9, 7)}
    crops = random_crops(pictures, 5, 400, generator=seeded(0))
    assert crops.shape == (400, 2, 5, 5)
    own = [crop for crop in crops if crop[0, 2, 2] == 12]
    assert len(own) == 200 and all(torch.equal(crop[0], -crop[1]) for crop in own)
    assert {tuple(sorted(crop[0, [0, 4], [0, 4]].tolist())) for crop in own} == {(0, 24), (4, 20)}
    assert len({tuple(crop[0].flatten().tolist()) for crop in own}) == 8
    with pytest.raises(ValueError, match="can't cut 8×8 pixels from 'b'"):
        random_crops({"b": torch.ones(1, 2, 9, 7)}, 8, 1, generator=seeded(0))


@pytest.mark.parametrize(("size", "stride"), [(6, 6), (4, 2), (6, 3), (3, 1)])
@pytest.mark.parametrize("soft", [True, False])
def test_windows_and_back(seeded, size, stride, soft):
    image = torch.rand(1, 2, 12, 18, generator=seeded(0))
    pieces = windows(image, size, stride)
    assert torch.equal(pieces[1], image[0, :, :size, stride : stride + size])
    assert torch.allclose(assemble(pieces, (12, 18), stride, soft=soft), image, atol=1e-6)


def test_overlaps_are_averaged():
    pieces = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    assert assemble(pieces, (2, 3), 1, soft=False)[0, 0, 0].tolist() == [0, 0.5, 1]
    wide = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    soft = assemble(wide, (4, 6), 2)[0, 0, 0]
    assert 0 < soft[2] < 0.5 < soft[3] < 1 and soft[[0, 1, 4, 5]].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("size", "stride"), [(4, 3), (13, 1), (4, 5), (4, 0)])
def test_windows_must_fit(size, stride):
    with pytest.raises(ValueError, match="do not cover a picture of 12×18"):
        windows(torch.zeros(1, 1, 12, 18), size, stride)


def test_windows_must_be_complete():
    with pytest.raises(ValueError, match=r"expected 3·4 windows"):
        assemble(torch.zeros(5, 1, 4, 4), (12, 16), 4)


def test_quality():
    truth = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.8
    measured = quality(truth + 0.1, truth)
    assert abs(measured["psnr"] - 20) < 1e-4 and 0.5 < measured["ssim"] < 1
    assert quality(truth + 1e-4, truth)["ssim"] > 0.999
    assert quality(truth + 5, truth) == quality(torch.ones_like(truth), truth)
    with pytest.raises(ValueError, match="expected two pictures"):
        quality(truth[0], truth[0])
