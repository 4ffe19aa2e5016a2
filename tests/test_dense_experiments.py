"""Detection and segmentation on canvases: features, regions, scores, and the choice of rates."""

import json
from dataclasses import asdict

import pytest
import torch

from mae import dense_experiments as experiments
from mae.canvases import NOTHING
from mae.dense_experiments import (
    GRID,
    HEADS,
    LABELS,
    LONGER,
    OUTPUTS,
    RATES,
    SEARCH,
    Setting,
    best_rate,
    choose_threshold,
    coin_features,
    detection_scores,
    frames,
    half,
    held_out,
    label_counts,
    labelled,
    longer_trials,
    patch_features,
    rows,
    run,
    segment_coins,
    segmentation_scores,
    small_coins,
    stored,
    sweep,
    train,
    trials,
)


@pytest.mark.parametrize(("start", "features"), [("pretrained", 9 * 128), ("untrained", 9 * 128), ("pixels", 28 * 28)])
def test_features_of_each_patch(start, features):
    images = labelled(4, 0).images
    assert patch_features(start, images).shape == (4, GRID[0] * GRID[1], features)
    assert torch.equal(patch_features(start, images, 1), patch_features(start, images, 1))
    assert torch.equal(patch_features(start, images), patch_features(start, images, 1)) == (start != "untrained")


def test_pixels_lie_around_their_patch():
    images = labelled(4, 0).images
    around = patch_features("pixels", images).view(4, *GRID, 28, 28)
    assert torch.equal(around[:, 4, 5, 12:16, 12:16], images[:, 0, 16:20, 20:24])


def test_frames_hold_one_digit_from_black_to_white():
    canvases = labelled(4, 0)
    framed = frames(canvases.images[0, 0], canvases.boxes[0][canvases.classes[0] < NOTHING])
    assert framed.shape[1:] == (1, 28, 28) and (framed.amax(dim=(1, 2, 3)) > 0.99).all()
    assert framed[:, :, :4].max() == 0 and framed[:, :, -4:].max() == 0  # twenty pixels in the middle
    assert frames(canvases.images[0, 0], torch.zeros(0, 4)).shape == (0, 1, 28, 28)


def test_a_threshold_lies_between_background_and_digits():
    threshold, least = choose_threshold(labelled(12, 0))
    assert 0.35 <= threshold <= 0.7 and least in (10, 20)


def test_perfect_answers_score_one():
    test = held_out("validation", 20)
    found = [
        (b[c < NOTHING], c[c < NOTHING], torch.ones((c < NOTHING).sum()))
        for b, c in zip(test.boxes, test.classes, strict=True)
    ]
    assert detection_scores(found, test) == {"score": 1.0, "any": 1.0}
    assert segmentation_scores(test.pixels, test) == {"score": 1.0, "any": 1.0}
    other = [(b, (c + 1) % 10, s) for b, c, s in found]
    assert detection_scores(other, test)["any"] == 1 and detection_scores(other, test)["score"] < 0.1


@pytest.mark.parametrize("start", ["pixels", "regions", "threshold"])
@pytest.mark.parametrize("task", list(OUTPUTS))
def test_runs_measure(task, start, monkeypatch):
    monkeypatch.setattr(experiments, "STEPS", {"detect": 12, "segment": 12})
    monkeypatch.setattr(experiments, "held_out", lambda split, count=20: held_out(split, count))
    result = run(
        Setting(task=task, start=start, labels=label_counts(start)[0], rate=RATES[start][1], split="validation")
    )
    assert set(result) == {"score", "any", "seconds"}
    assert 0 <= result["score"] <= 1 and 0 <= result["any"] <= 1
    if start != "pixels":
        assert result["score"] > 0.1


def test_rates_are_chosen_on_validation_canvases_alone(tmp_path):
    path = tmp_path / "dense.json"
    found = [{"setting": asdict(setting), "score": setting.rate, "any": 0, "seconds": 0} for setting in SEARCH]
    path.write_text(json.dumps({"rows": found}))
    assert {setting.split for setting in SEARCH} == {"validation"}
    assert best_rate("detect", HEADS[0], LABELS[-1], path) == max(RATES[HEADS[0]])
    runs = sweep(path)
    assert {setting.split for setting in runs} == {"test"} and len(set(runs)) == len(runs)
    assert not {setting.seed for setting in SEARCH} & {setting.seed for setting in runs}
    assert all(setting.rate == max(RATES[setting.start]) for setting in runs)


def test_trials_are_those_of_the_validation_canvases():
    found = trials("detect", "pretrained", LABELS[-1])
    assert set(found) == {*RATES["pretrained"]}
    assert max(found, key=found.get) == best_rate("detect", "pretrained", LABELS[-1])
    assert trials("detect", "pretrained", LABELS[-1], "any") != found


def test_halves_of_the_coins_make_the_whole():
    image, is_coin = small_coins()
    assert image.shape == (1, 151, 192) and is_coin.shape == (151, 192)
    assert torch.equal(torch.cat([half(image, "left"), half(image, "right")], dim=2), image)
    with pytest.raises(ValueError, match='expected "left" or "right", got \'top\''):
        half(image, "top")


def test_features_of_coins_see_one_half_alone(monkeypatch):
    def features():
        return {start: coin_features(start, "left") for start in HEADS}

    before, (image, is_coin) = features(), small_coins()
    changed = image.clone()
    half(changed, "right")[:] = 0
    monkeypatch.setattr(experiments, "small_coins", lambda: (changed, is_coin))
    after = features()
    for start in HEADS:
        assert before[start].shape == (40 * 25, 784 if start == "pixels" else 128)
        assert torch.equal(before[start], after[start])


def test_a_map_from_one_half_finds_the_coins_of_the_other():
    truth, found = half(small_coins()[1], "right"), segment_coins("pixels", "right")
    assert found.shape == truth.shape and (found == truth).double().mean() > 0.9
    assert not torch.equal(found, truth)


def test_impossible_settings_are_refused():
    for wrong in ({"task": "count"}, {"start": "warm"}, {"split": "train"}):
        with pytest.raises(ValueError, match="unknown task, start or split"):
            Setting(**{"task": "detect", "start": "pixels", "labels": 48, "rate": 0.01, **wrong})


def test_stored_runs_are_complete():
    found = [setting for setting, _ in rows()]
    assert len(found) == len(set(found)) and set(found) == {*SEARCH, *sweep(), *longer_trials()}
    assert all(len(stored(task, start, LABELS[-1])) == 3 for task in OUTPUTS for start in RATES)
    with pytest.raises(ValueError, match="no stored run .* call `run_dense`"):
        stored("detect", "pixels", 7)


def test_longer_training_is_kept_apart(monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "fit", lambda head, loss, count, options, name: asked.append(options.epochs))
    for longer in (1, LONGER):
        train(Setting(task="detect", start="pixels", labels=48, rate=0.01, longer=longer))
    assert asked[1] == LONGER * asked[0] > 0
    for task in OUTPUTS:
        for start in HEADS:
            (rate,) = trials(task, start, LABELS[-1], longer=LONGER)
            assert rate == best_rate(task, start, LABELS[-1])
            assert set(trials(task, start, LABELS[-1])) == set(RATES[start])


@pytest.mark.parametrize(("task", "start"), [("detect", "pixels"), ("segment", "regions"), ("segment", "threshold")])
def test_a_stored_run_can_be_made_again(task, start):
    setting = next(s for s in sweep() if (s.task, s.start, s.labels, s.seed) == (task, start, LABELS[-1], 1))
    again = run(setting)
    for what in ("score", "any"):
        assert again[what] == pytest.approx(stored(task, start, LABELS[-1], what)[1], abs=0.04)
