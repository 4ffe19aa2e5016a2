"""The stored experiments are complete, are what the code gives, and hide what they say they hide."""

import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from mae import experiments
from mae.experiments import (
    RESULTS,
    SWEEP,
    Setting,
    TokenInputMAE,
    copy_nearest,
    draw_hidden,
    predict_all,
    run,
    run_all,
    small_config,
    stored,
)
from mae.masking import random_mask
from mae.model import MaskedAutoencoder

KINDS = [
    Setting(),
    Setting(input="zero"),
    Setting(input="token"),
    Setting(input="zero", unit="pixel"),
]
N, P = small_config().num_patches, small_config().patch_values
kinds = pytest.mark.parametrize("setting", KINDS, ids=lambda s: f"{s.input}-{s.unit}")


@pytest.fixture
def patches(seeded):
    return torch.rand(5, N, P, generator=seeded(1))


def untrained(setting, seeded):
    """The kind of model that the setting asks for, its token made to matter."""
    kind = TokenInputMAE if setting.input == "token" else MaskedAutoencoder
    model = kind(small_config(), generator=seeded(0)).eval()
    if setting.input == "token":
        torch.nn.init.normal_(model.input_token, generator=seeded(3))
    return model


@kinds
@pytest.mark.parametrize("ratio", [0.25, 0.75, 0.9])
def test_each_example_hides_the_same_share(setting, ratio, patches, seeded):
    hidden, mask = draw_hidden(replace(setting, ratio=ratio), patches, seeded(2))
    units, size = (N * P, 1) if setting.unit == "pixel" else (N, P)
    expected = (units - int(units * (1 - ratio) + 1e-9)) * size
    assert hidden.shape == patches.shape and hidden.dtype == torch.bool
    assert (hidden.sum(dim=(1, 2)) == expected).all()
    if setting.unit == "patch":
        assert torch.equal(hidden.all(dim=2), mask.is_hidden) and torch.equal(hidden.any(dim=2), mask.is_hidden)
    else:
        assert mask is None
        assert (hidden.any(dim=2) & ~hidden.all(dim=2)).any()


@kinds
def test_hidden_pixels_do_not_reach_any_input(setting, patches, seeded):
    model = untrained(setting, seeded)
    hidden, mask = draw_hidden(setting, patches, seeded(2))
    before = predict_all(model, setting, patches, hidden, mask)
    assert before.shape == patches.shape
    assert torch.equal(predict_all(model, setting, patches.masked_fill(hidden, 9.0), hidden, mask), before)
    assert not torch.equal(predict_all(model, setting, patches.masked_fill(~hidden, 9.0), hidden, mask), before)


def test_token_inputs_stand_where_patches_are_hidden(patches, seeded):
    model = untrained(Setting(input="token"), seeded)
    mask = random_mask(5, N, 0.75, generator=seeded(2))
    tokens = model.embed(patches, mask) - model.positions
    expected = model.input_token[0].expand(mask.hidden.numel(), -1)
    assert torch.allclose(tokens[mask.is_hidden], expected, atol=1e-6)
    assert torch.allclose(tokens[~mask.is_hidden], model.patch_embed(patches)[~mask.is_hidden], atol=1e-6)
    assert torch.equal(model.embed(patches), MaskedAutoencoder.embed(model, patches))


def test_nearest_pixels_are_copied():
    image = np.array([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]])
    hidden = np.array([[[0, 1, 1, 0], [0, 1, 1, 1]]], dtype=bool)
    before = image.copy()
    assert copy_nearest(image, hidden).tolist() == [[[1, 1, 4, 4], [5, 5, 4, 4]]]
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": "noise"}, "unknown input 'noise' or unit 'patch'"),
        ({"unit": "row"}, "unknown input 'drop' or unit 'row'"),
        ({"unit": "pixel"}, 'single pixels can only be hidden with input="zero"'),
        ({"loss": "both"}, 'expected loss "hidden", "visible" or "all", got \'both\''),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Setting(**wrong)


def test_the_sweep_has_each_run_once_for_each_seed():
    keys = [tuple(asdict(setting).values()) for setting in SWEEP]
    assert len(set(keys)) == len(keys)
    for seed in (1, 2):
        assert {replace(s, seed=0) for s in SWEEP if s.seed == seed} == {s for s in SWEEP if s.seed == 0}


# The file of results


@pytest.fixture
def short(monkeypatch):
    """A sweep of three runs that take no time; the list of those that were run."""
    ran = []

    def quick(setting):
        ran.append(setting)
        return {"error": setting.ratio}

    monkeypatch.setattr(experiments, "SWEEP", SWEEP[:3])
    monkeypatch.setattr(experiments, "run", quick)
    return ran


def test_stopped_experiments_go_on_where_they_were(short, tmp_path, monkeypatch):
    path = tmp_path / "masking.json"
    quick = experiments.run

    def stop_at_third(setting):
        if len(short) == 2:
            raise KeyboardInterrupt
        return quick(setting)

    monkeypatch.setattr(experiments, "run", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        run_all(path)
    assert len(json.loads(path.read_text())["rows"]) == 2
    monkeypatch.setattr(experiments, "run", quick)
    run_all(path)
    run_all(path)
    assert short == SWEEP[:3]
    content = json.loads(path.read_text())
    assert [Setting(**row["setting"]) for row in content["rows"]] == SWEEP[:3]
    assert [row["error"] for row in content["rows"]] == [setting.ratio for setting in SWEEP[:3]]
    assert set(content["versions"]) == {"torch", "python", "threads"}


def test_a_failed_write_keeps_the_results(short, tmp_path, monkeypatch):
    path = tmp_path / "masking.json"
    monkeypatch.setattr(experiments, "SWEEP", SWEEP[:1])
    run_all(path)
    before = path.read_bytes()
    monkeypatch.setattr(experiments, "SWEEP", SWEEP[:3])
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("interrupted")))
    with pytest.raises(OSError, match="interrupted"):
        run_all(path)
    assert path.read_bytes() == before


def test_stored_finds_the_seeds_of_a_setting(tmp_path, monkeypatch):
    path = tmp_path / "masking.json"
    settings = [Setting(ratio=0.5), Setting(ratio=0.5, seed=1), Setting(), Setting(input="zero", ratio=0.5)]
    path.write_text(json.dumps({"rows": [{"setting": asdict(s), "error": i} for i, s in enumerate(settings)]}))
    monkeypatch.setattr(experiments, "RESULTS", path)
    assert [row["error"] for row in stored(ratio=0.5)] == [0, 1]
    assert [row["error"] for row in stored(input="zero", ratio=0.5)] == [3]
    assert [row["error"] for row in stored()] == [2]
    with pytest.raises(ValueError, match=r"no stored run with \{'ratio': 0.3\}: add it to SWEEP"):
        stored(ratio=0.3)


def test_stored_results_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(SWEEP)
    assert set(found) == set(SWEEP)
    measures = {"error", "mean_image", "nearest_pixel", "probe", "neighbors", "seconds"}
    for row in content["rows"]:
        assert set(row) == {"setting", *measures}
        assert all(np.isfinite(row[name]) and row[name] > 0 for name in measures)
        assert row["probe"] <= 1 and row["neighbors"] <= 1
    assert set(content["versions"]) == {"torch", "python", "threads"}


def test_a_stored_run_gives_its_numbers_again():
    setting = Setting(ratio=0.9)  # the fastest: the encoder sees least
    (row,) = (row for row in stored(ratio=0.9) if row["setting"]["seed"] == 0)
    again = run(setting)
    assert again["error"] == pytest.approx(row["error"], rel=0.03)
    for name in ("probe", "neighbors"):
        assert again[name] == pytest.approx(row[name], abs=0.03)
    for name in ("mean_image", "nearest_pixel"):  # no training: the same pixels give the same number
        assert again[name] == pytest.approx(row[name], rel=1e-5)
