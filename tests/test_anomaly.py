"""Anomalies: problems keep their parts apart, scores are what they say, and the stored results come again."""

import json

import numpy as np
import pytest
import torch

from mae import anomaly
from mae.anomaly import (
    CROP,
    DEFECTS,
    RESULTS,
    SWEEP,
    TEXTURES,
    Problem,
    Setting,
    add_defects,
    aurocs,
    digits_problem,
    load_texture,
    pooled,
    random_crops,
    run,
    stored,
    texture_map,
    texture_problem,
    to_patches,
    windows,
)
from mae.data import load_digits
from mae.patches import patchify


def rows_of(images):
    return {tuple(row) for row in images.flatten(1).round(decimals=4).tolist()}


@pytest.mark.parametrize("validation", [False, True])
def test_the_held_out_class_is_never_trained_on(validation):
    problem = digits_problem(3, validation)
    digits, test = load_digits("train"), load_digits("test")
    threes = rows_of(digits.images[digits.labels == 3])
    assert not rows_of(problem.train) & threes and not rows_of(problem.train) & rows_of(problem.test)
    if validation:
        assert set(problem.kind) == {"normal", "4", "7", "0"} and len(problem.test) < 800
        assert not rows_of(problem.test) & (threes | rows_of(test.images))
    else:
        assert torch.equal(problem.test, test.images)
        assert [kind == "3" for kind in problem.kind] == (test.labels == 3).tolist()


def test_textures_are_cut_into_parts_that_share_no_pixel(monkeypatch):
    column = torch.arange(512).float().expand(512, 512) / 512
    monkeypatch.setattr(anomaly, "load_texture", lambda name: column)
    train, strip, right = (
        (x * 512)[torch.tensor([k == "normal" for k in kinds])]
        for x, kinds in (
            (texture_problem("brick").train, ["normal"] * 2000),
            (texture_problem("brick", validation=True).test, texture_problem("brick").kind),
            (texture_problem("brick").test, texture_problem("brick").kind),
        )
    )
    assert train.max() < 192 <= strip.min() and strip.max() < 256 <= right.min()


def test_textures_come_with_the_library():
    for name in TEXTURES:
        texture = load_texture(name)
        assert texture.shape == (512, 512) and 0 <= texture.min() < texture.max() <= 1
    with pytest.raises(ValueError, match="expected one of brick, gravel, grass, got 'sand'"):
        load_texture("sand")


@pytest.mark.parametrize("kind", DEFECTS)
def test_defects_change_what_they_say_and_nothing_else(kind, seeded):
    crops, other = torch.rand(2, 40, 1, CROP, CROP, generator=seeded(1)) * 0.4 + 0.3
    defective, where = add_defects(crops, kind, other, generator=seeded(2))
    assert defective.shape == crops.shape and where.shape == (40, CROP, CROP)
    change = (defective - crops)[:, 0]
    near = torch.nn.functional.max_pool2d(where[:, None].float(), 9, 1, 4)[:, 0].bool()
    assert (change[~near] == 0).all() and (change[where].abs() > 0).float().mean() > 0.9
    area = where.sum(dim=(1, 2))
    assert (20 <= area).all() and (area <= 100).all()
    means = torch.stack([c[w].mean() for c, w in zip(change, where, strict=True)])
    if kind == DEFECTS[2]:
        assert means.abs().max() < 0.01  # a mean brightness would give it away
    else:
        assert 0.1 < means.abs().min() and means.abs().max() < 0.16 and (means > 0).any() and (means < 0).any()
    again = add_defects(crops, kind, other, generator=seeded(2))[0]
    assert torch.equal(defective, again)


def test_unknown_defects_and_settings_are_refused(seeded):
    crops = torch.zeros(1, 1, CROP, CROP)
    with pytest.raises(ValueError, match="expected one of scratch, blob"):
        add_defects(crops, "rust", crops, generator=seeded())
    with pytest.raises(ValueError, match="expected digits without a class"):
        Setting(normal="sand")


def test_crops_are_parts_of_the_picture(seeded):
    picture = torch.arange(40 * 50).view(40, 50).float()
    for crop in random_crops(picture, 20, generator=seeded(3))[:, 0]:
        top, left = divmod(int(crop[0, 0]), 50)
        assert torch.equal(crop, picture[top : top + CROP, left : left + CROP])


def test_standardising_uses_the_training_pixels_alone():
    problem = Problem(torch.rand(50, 1, 4, 4), 5 + torch.rand(9, 1, 4, 4), ["normal"] * 9, torch.zeros(9, 4, 4).bool())
    done = problem.standardized()
    assert done.train.mean().abs() < 1e-5 and done.train.std() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(done.test, (problem.test - problem.train.mean()) / problem.train.std())


def test_each_kind_is_compared_with_normal_examples_alone():
    scores = [1, 2, 3, 4, 0, 9]
    assert aurocs(scores, ["normal", "normal", "normal", "a", "b", "a"]) == {"a": 1.0, "b": 0.0}


def test_three_ways_to_pool():
    images = torch.tensor([[0.0, 2.0], [0.0, 4.0]]).view(2, 1, 1, 2)
    found = pooled(np.array([[1.0, 3.0], [5.0, 5.0]]), images)
    assert found["mean"].tolist() == [2, 5] and found["max"].tolist() == [3, 5]
    assert found["relative"].tolist() == [1.0, 0.625]


def test_windows_are_squares_of_the_image():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    found = windows(image, 4, 2)
    assert found.shape == (1, 9, 16) and found[0, 5].tolist() == image[0, 0, 2:6, 4:8].flatten().tolist()


def test_maps_put_tiles_and_patches_back_in_place():
    image = torch.arange(8 * 8.0).view(1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    patches = to_patches(Setting(normal="brick"), image)
    assert patches.shape == (4, 16, 16)
    assert torch.equal(texture_map(patches.mean(dim=2).reshape(1, 64))[0], torch.arange(64.0).view(8, 8))
    digit = torch.rand(2, 1, 28, 28)
    assert torch.equal(to_patches(Setting(), digit), patchify(digit, 7))


def test_stored_results_are_of_the_sweep_and_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(set(found)) and set(found) == set(SWEEP)
    assert set(content["versions"]) == {"torch", "python", "threads"}
    for row in content["rows"]:
        assert set(row) == {"setting", "mae", "features", "baselines", "seconds"}
        assert bool(row["baselines"]) != row["setting"]["validation"]


def test_the_ratios_in_use_are_those_that_validation_chose():
    for name, ratios in anomaly.RATIOS.items():
        best = {
            row["setting"]["ratio"]: max(np.mean(list(pool["32"].values())) for pool in row["mae"].values())
            for row in stored(normal=name, validation=True)
        }
        assert set(best) == set(ratios)
        assert max(best, key=best.get) == anomaly.CHOSEN["digits" if name == "digits" else "texture"]


def test_a_stored_run_gives_its_numbers_again():
    again = run(Setting(held_out=6, ratio=anomaly.CHOSEN["digits"]))  # ten seconds on one core
    (before,) = stored(normal="digits", held_out=6, validation=False, seed=0)
    for name in ("mean", "max"):
        assert again["mae"][name]["32"]["6"] == pytest.approx(before["mae"][name]["32"]["6"], abs=0.05)
    for name, baseline in again["baselines"].items():
        assert baseline["auroc"]["6"] == pytest.approx(before["baselines"][name]["auroc"]["6"], abs=0.02)
