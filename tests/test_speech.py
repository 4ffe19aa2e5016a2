"""Voices keep to their part, masks and fillings do what they say, and stored runs can be had again."""

import json

import numpy as np
import pytest
import torch

from mae import speech
from mae.audio import FLOOR
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.speech import (
    CHOSEN,
    COMPONENTS,
    COUNTS,
    DRAWS,
    GRID,
    LONG,
    NEIGHBORS,
    PLAIN,
    RESULTS,
    SHORT,
    SWEEP,
    VOICES,
    SpeechSetting,
    accuracies,
    baselines,
    decibels_off,
    fill,
    fill_linear,
    fill_masks,
    fill_nearest,
    fill_pca,
    fit_probe,
    hidden_points,
    labelled,
    load_speech,
    load_speech_model,
    long_runs,
    middle_mask,
    pool_over_time,
    run,
    run_speech,
    shift_in_time,
    speech_config,
    stored_speech,
    stretch_mask,
    to_patches,
    to_spectrograms,
    train_speech,
)

N = GRID[0] * GRID[1]


@pytest.fixture
def some():
    return load_speech("validation").spectrograms[:12]


@pytest.fixture
def model(seeded):
    return MaskedAutoencoder(speech_config(), generator=seeded(5)).eval()


# The data


@pytest.mark.parametrize(("part", "takes"), [("train", 4), ("validation", 2), ("test", 2)])
def test_each_voice_says_each_digit(part, takes):
    clips = load_speech(part)
    assert clips.spectrograms.shape == (10 * takes * len(VOICES[part]), 1, 40, 64)
    assert clips.spectrograms.min() == FLOOR and (clips.spectrograms.amax(dim=(1, 2, 3)) == 0).all()
    said = np.zeros((len(VOICES[part]), 10), int)
    np.add.at(said, (clips.voices, clips.digits), 1)
    assert (said == takes).all()


def test_no_voice_is_in_two_parts():
    names = [name.lower().rstrip("0123456789") for part in VOICES.values() for name in set(part)]
    parts = {part: {name.lower() for name in voices} for part, voices in VOICES.items()}
    assert len(names) == 70 and not parts["train"] & parts["test"] and not parts["validation"] & parts["test"]
    numbered = {"f", "m"}  # voices of their own that have a number instead of a name
    roots = {part: {name.rstrip("0123456789") for name in names} - numbered for part, names in parts.items()}
    assert not roots["train"] & (roots["validation"] | roots["test"]) and not roots["validation"] & roots["test"]


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="train, validation, test, got 'dev'"):
        load_speech("dev")


def test_patches_turn_back(some):
    patches = to_patches(some)
    assert patches.shape == (12, 32, 80)
    assert torch.allclose(to_spectrograms(patches), some, atol=1e-4)
    assert to_spectrograms(10 + patches).max() == 0


def test_clips_are_moved_in_time_only(seeded):
    x = torch.arange(64.0).expand(50, 1, 40, -1)
    moved = shift_in_time(x, 3, generator=seeded(1))
    by = (x - moved)[:, 0, 0, 30]
    assert set(by.tolist()) == {-3, -2, -1, 0, 1, 2, 3}
    assert torch.equal(moved, (x - by.view(-1, 1, 1, 1)).clamp(0, 63))


# Masks


@pytest.mark.parametrize(("ratio", "length"), [(0.25, 2), (0.5, 4)])
def test_a_stretch_hides_all_bands_of_neighbouring_times(ratio, length, seeded):
    hidden = stretch_mask(200, GRID, ratio, generator=seeded(0)).is_hidden.view(200, *GRID)
    assert (hidden == hidden[:, :1]).all() and (hidden[:, 0].sum(dim=1) == length).all()
    first = hidden[:, 0].float().argmax(dim=1)
    assert all(row[start : start + length].all() for row, start in zip(hidden[:, 0], first, strict=True))
    assert set(first.tolist()) == set(range(GRID[1] - length + 1))


def test_a_stretch_hides_something_and_not_all(seeded):
    for ratio in (0.01, 0.99):
        with pytest.raises(ValueError, match="at least one, and not all"):
            stretch_mask(1, GRID, ratio, generator=seeded(0))


def test_the_middle_is_where_the_word_is():
    x = torch.full((3, 1, 40, 64), FLOOR)
    x[0, ..., 20:36], x[1, ..., :4], x[2, ..., 60:] = 0, 0, 0
    hidden = middle_mask(x).is_hidden.view(3, *GRID)[:, 0]
    assert [row.nonzero().flatten().tolist() for row in hidden] == [[2, 3], [0, 1], [6, 7]] or [
        row.nonzero().flatten().tolist() for row in hidden
    ] == [[3, 4], [0, 1], [6, 7]]


# The model and its features


@pytest.mark.parametrize("masks", ["patches", "stretch"])
def test_training_repeats(masks, some):
    first, second = (train_speech(SpeechSetting(masks=masks, epochs=1, seed=3), some) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match='"patches" or "stretch"'):
        SpeechSetting(masks="time")
    with pytest.raises(ValueError, match="one of mae, mfcc_statistics"):
        SpeechSetting(features="wav")
    with pytest.raises(ValueError, match="no stored run"):
        stored_speech(epochs=77)


@torch.inference_mode()
def test_pooling_keeps_bands_and_forgets_times(some, model):
    pooled = pool_over_time(model, some)
    tokens = model.encode(to_patches(some))[:, 1:]
    assert pooled.shape == (12, 512) and pool_over_time(model, some, bands=False).shape == (12, 64)
    second = tokens[:, GRID[1] : 2 * GRID[1]]  # the second row of patches
    assert np.allclose(pooled[:, 128:192], second.mean(dim=1), atol=1e-5)
    assert np.allclose(pooled[:, 192:256], second.std(dim=1), atol=1e-5)


# The probe


def test_labels_are_of_the_voices_that_were_drawn():
    train = load_speech("train")
    for count in (2, 40):
        use = labelled(count, 1)
        assert use.sum() == 20 * count and len(set(train.voices[use])) == count
    assert (labelled(2, 0) != labelled(2, 1)).any()
    assert not (labelled(2, 3) & ~labelled(8, 3)).any()


def test_the_penalty_is_chosen_without_the_voice(seeded):
    """Features that give each voice away fit the training clips and say nothing of others."""
    voices, digits = np.repeat(np.arange(6), 20), np.tile(np.arange(10), 12)
    x = np.eye(10)[digits] + 0.1 * torch.randn(120, 10, generator=seeded(2)).numpy()
    fitted = fit_probe(x, digits, voices)
    assert fitted.score(x, digits) == 1 and fitted.cv.n_splits == 4
    assert fit_probe(x[:40], digits[:40], voices[:40]).cv.n_splits == 2


# Filling


def test_a_filling_does_not_know_what_is_hidden_and_keeps_the_rest(some, model):
    mask = fill_masks("validation")["middle"][torch.arange(12)]
    hidden = hidden_points(mask)
    assert hidden.sum() == 12 * 40 * 16
    train = load_speech("validation").spectrograms[12:]
    other = torch.where(hidden, -7.0, some)
    methods = {
        "model": lambda x: fill(model, x, mask),
        "line": lambda x: fill_linear(x, hidden, train.mean(dim=0)),
        "nearest": lambda x: fill_nearest(x, mask, train, 2),
        "pca": lambda x: fill_pca(x, mask, train, 5),
    }
    for name, method in methods.items():
        filled = method(some)
        assert torch.allclose(filled[~hidden], some[~hidden], atol=1e-3), name
        assert torch.allclose(method(other), filled, atol=1e-2), name
        assert (filled - some)[hidden].abs().mean() > 0.1, name


def test_a_line_meets_both_ends_and_bands_without_sound_take_the_mean():
    x, hidden = torch.zeros(1, 1, 40, 64), torch.zeros(1, 1, 40, 64, dtype=torch.bool)
    x[..., 20:], hidden[..., 10:20], hidden[0, 0, 3] = -11.0, True, True
    filled = fill_linear(x, hidden, torch.full((1, 40, 64), -5.0))
    assert torch.allclose(filled[0, 0, 0, 9:21], -torch.arange(12.0))
    assert (filled[0, 0, 3] == -5).all()


def test_the_nearest_clip_is_found_by_what_is_visible(seeded):
    train = -30 + 5 * torch.randn(9, 1, 40, 64, generator=seeded(3))
    mask = random_mask(9, N, 0.75, generator=seeded(4))
    seen = torch.where(hidden_points(mask), 0, train)
    assert torch.allclose(fill_nearest(seen, mask, train, 1), train)


def test_principal_components_find_a_linear_law(seeded):
    basis = torch.randn(3, 2560, generator=seeded(5))
    x = (-30 + torch.randn(80, 3, generator=seeded(6)) @ basis).view(80, 1, 40, 64)
    x += 0.01 * torch.randn(x.shape, generator=seeded(7))
    mask = random_mask(20, N, 0.75, generator=seeded(8))
    hidden = hidden_points(mask)
    filled = fill_pca(torch.where(hidden, 0, x[60:]), mask, x[:60], 3)
    assert decibels_off(filled, x[60:], hidden).max() < 0.05


def test_errors_are_those_of_the_hidden_part():
    truth, hidden = torch.zeros(2, 1, 40, 64), torch.zeros(2, 1, 40, 64, dtype=torch.bool)
    filled = truth - 99
    hidden[..., :2] = True
    filled[..., 0], filled[..., 1] = 3, 4
    assert decibels_off(filled, truth, hidden).tolist() == pytest.approx([12.5**0.5] * 2)


def test_masks_of_the_test_repeat_and_baselines_keep_what_is_visible():
    masks = fill_masks("validation")
    assert torch.equal(masks["patches"].hidden, fill_masks("validation")["patches"].hidden)
    clips = load_speech("validation").spectrograms
    filled, hidden = baselines("validation", "middle"), hidden_points(masks["middle"])
    off = {method: decibels_off(x, clips, hidden).mean().item() for method, x in filled.items()}
    assert max(off, key=off.get) == "mean spectrogram" and off["linear (PCA)"] < off["line in time"]
    assert all(torch.equal(x[~hidden], clips[~hidden]) for x in filled.values())


def test_numbers_of_baselines_are_the_best_of_those_tried():
    train, clips = load_speech("train").spectrograms, load_speech("validation").spectrograms
    mask = fill_masks("validation")["patches"]

    def error(method, number):
        return decibels_off(method(clips, mask, train, number), clips, hidden_points(mask)).mean().item()

    neighbors, components = CHOSEN["patches"]
    assert min(NEIGHBORS, key=lambda number: error(fill_nearest, number)) == neighbors
    i = COMPONENTS.index(components)
    assert 0 < i < len(COMPONENTS) - 1
    assert error(fill_pca, components) < min(error(fill_pca, COMPONENTS[j]) for j in (i - 1, i + 1))


# Stored runs


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert [SpeechSetting(**row["setting"]) for row in content["rows"]] == SWEEP + long_runs()
    for row in content["rows"]:
        assert {count: len(values) for count, values in row["voices"].items()} == {
            str(count): DRAWS if count < 40 else 1 for count in COUNTS
        }
        assert np.mean(row["by_voice"]) == pytest.approx(row["voices"]["40"][0])
        assert set(row) >= {"validation", "C", "seconds"} and 0.1 < row["validation"] <= 1
        assert ("fill" in row) == (row["setting"]["features"] not in PLAIN)
    assert set(content["versions"]) == {"torch", "python", "threads"}
    assert accuracies(stored_speech(epochs=0), 4).shape == (DRAWS,)


def test_what_is_stored_is_not_run_again(monkeypatch):
    monkeypatch.setattr(speech, "run", lambda setting: pytest.fail("runs again"))
    monkeypatch.setattr(speech, "train_speech", lambda *arguments: pytest.fail("trains again"))
    run_speech()


def test_a_stored_probe_gives_its_numbers_again():
    again, (stored,) = run(SWEEP[0]), stored_speech(features="mfcc_statistics")
    for count in COUNTS:
        now, then = again["voices"][str(count)], stored["voices"][str(count)]
        assert now == pytest.approx(then, abs=0.12)  # rounding may tip the choice of a penalty
        assert np.mean(now) == pytest.approx(np.mean(then), abs=0.03)
    assert again["validation"] == pytest.approx(stored["validation"], abs=0.03)


def test_a_stored_training_gives_its_numbers_again(monkeypatch):
    monkeypatch.setattr(speech, "COUNTS", (40,))
    again, (stored,) = run(SHORT), stored_speech(epochs=SHORT.epochs)
    assert again["validation"] == pytest.approx(stored["validation"], abs=0.06)
    for name, error in stored["fill"].items():
        assert again["fill"][name] == pytest.approx(error, abs=0.6)


def test_the_weights_are_those_of_the_first_long_run():
    chosen = long_runs()[0]
    stored = stored_speech(masks=chosen.masks, ratio=chosen.ratio, epochs=LONG)[0]
    model, test = load_speech_model(), load_speech("test").spectrograms
    for name, mask in fill_masks("test").items():
        off = decibels_off(fill(model, test, mask), test, hidden_points(mask)).mean().item()
        assert off == pytest.approx(stored["fill"][name], abs=0.2)
