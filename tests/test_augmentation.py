"""Views keep what is visible, labels are drawn as said, and the stored runs are what the code gives."""

import json

import numpy as np
import pytest
import torch

from mae import augmentation
from mae.augmentation import (
    JUDGED,
    LABELS,
    POOL,
    RATIOS,
    RESULTS,
    SWEEP,
    Setting,
    chosen,
    erase_patches,
    labelled_digits,
    make_views,
    run,
    run_augmentations,
    small_network,
    stored,
)
from mae.augmentation import (
    augmentation as augmentation_of,
)
from mae.data import load_digits
from mae.masking import random_mask
from mae.patches import patchify
from mae.weights import load_pretrained


@pytest.fixture(scope="module")
def digits():
    return load_digits("test").images[:6]


def test_views_keep_visible_patches_and_fill_hidden_ones_with_predictions(digits, seeded):
    model = load_pretrained("digits")
    before = digits.clone()
    views = make_views(model, digits, 0.5, generator=seeded(3), batch_size=4)
    mask = random_mask(6, 49, 0.5, generator=seeded(3))
    was, now = patchify(digits, 4), patchify(views, 4)
    assert torch.equal(now[~mask.is_hidden], was[~mask.is_hidden])
    with torch.inference_mode():
        expected = model(was, mask, predict="all").clamp(0, 1)
    assert torch.allclose(now[mask.is_hidden], expected[mask.is_hidden], atol=1e-5)
    assert views.min() >= 0 and views.max() <= 1 and torch.equal(digits, before)


def test_erased_patches_become_paper(digits, seeded):
    erased = patchify(erase_patches(digits, 0.25, generator=seeded(3)), 4)
    hidden = random_mask(6, 49, 0.25, generator=seeded(3)).is_hidden
    assert (erased[hidden] == 0).all() and torch.equal(erased[~hidden], patchify(digits, 4)[~hidden])


@pytest.mark.parametrize("labels", [1, 10, 100])
def test_each_class_has_its_labels_and_none_is_kept_for_choosing(labels):
    few = labelled_digits(labels, 4)
    assert few.labels.bincount().tolist() == [labels] * 10
    kept = {image.numpy().tobytes() for image in load_digits("train").images[POOL:]}
    pictures = {image.numpy().tobytes() for image in few.images}
    assert len(pictures) == 10 * labels and not pictures & kept
    assert torch.equal(labelled_digits(labels, 4).images, few.images)
    assert not torch.equal(labelled_digits(labels, 5).images, few.images)


def test_fewer_labels_are_some_of_the_more():
    few, more = ({x.numpy().tobytes() for x in labelled_digits(n, 1).images} for n in (10, 30))
    assert few < more


@pytest.mark.parametrize("way", ["none", "shift", "affine", "erase", "mae", "mae+affine"])
def test_ways_do_what_they_say(way, seeded):
    setting = Setting(way=way, labels=2)
    images, batch = labelled_digits(2, 0).images, torch.arange(20)
    new = augmentation_of(setting)(images, batch, seeded(1))
    assert new.shape == images.shape and torch.equal(images, labelled_digits(2, 0).images)
    unchanged = (new == images).flatten(1).all(dim=1)
    if way == "none":
        assert unchanged.all()
    elif way in ("erase", "mae"):  # half of the time
        assert 4 <= unchanged.sum() <= 16
    else:
        assert not unchanged.any()
    if way == "mae":
        visible = (patchify(new, 4) == patchify(images, 4)).all(dim=2).float().mean(dim=1)
        assert (visible[~unchanged] > 0.73).all()  # 36 of 49


def test_the_network_takes_digits_and_its_seed_fixes_it(digits, seeded):
    assert small_network(seeded(0))(digits).shape == (6, 10)
    assert torch.equal(small_network(seeded(0))(digits), small_network(seeded(0))(digits))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"way": "mixup"}, "expected a way of none, .*, got 'mixup'"), ({"labels": 0}, "expected 1 to 300 labels")],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Setting(**wrong)


def test_the_experiments_go_on_where_they_were(tmp_path, monkeypatch):
    path, ran = tmp_path / "augmentation.json", []
    monkeypatch.setattr(augmentation, "SWEEP", SWEEP[:3])
    monkeypatch.setattr(augmentation, "run", lambda setting: ran.append(setting) or {"test": 0.5})
    run_augmentations(path)
    run_augmentations(path)
    assert ran == SWEEP[:3]
    assert [Setting(**row["setting"]) for row in json.loads(path.read_text())["rows"]] == SWEEP[:3]


def test_stored_results_are_complete():
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    assert {Setting(**row["setting"]) for row in rows} == set(SWEEP) and len(rows) == len(SWEEP)
    for row in rows:
        names = {"judge", "mae", "erase"} if row["setting"]["way"] == "judge" else {"validation", "test"}
        assert set(row) == {"setting", "seconds", *names}
        assert all(0 <= row[name] <= 1 for name in names) and np.isfinite(row["seconds"])


def test_stored_finds_the_seeds_and_the_choice_is_made_on_validation_digits():
    assert len(stored("test", way="affine", labels=30)) == 5
    assert len(stored("mae", way="judge", labels=POOL // 10, ratio=JUDGED[0])) == 3
    with pytest.raises(ValueError, match="no stored run with .*: add it to SWEEP"):
        stored("test", labels=77)
    tried = [{"way": "mae", "ratio": ratio} for ratio in RATIOS[True]]
    means = [np.mean([stored("validation", labels=n, **wanted)[:2] for n in LABELS]) for wanted in tried]
    assert chosen("mae") == tried[int(np.argmax(means))]
    assert chosen("affine") == {"way": "affine", "rate": 2e-3}
    for way in ("none", "mae"):
        assert all(len(stored("test", labels=n, **chosen(way))) == 5 for n in LABELS)


def test_a_stored_run_gives_its_numbers_again():
    setting = Setting(way="mae+affine", seed=1)
    again = run(setting)
    for measure in ("validation", "test"):
        expected = stored(measure, way="mae+affine")[1]
        assert again[measure] == pytest.approx(expected, abs=0.03)
