"""The trainings that explorers replay are complete, are what the code gives, and can be gone on with."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from mae import replays
from mae.data import load_digits
from mae.evaluate import reconstruction_error
from mae.experiments import small_config
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.patches import patchify
from mae.replays import (
    FAULT_SWEEP,
    FAULTS,
    LOSSES,
    PATHS,
    SIDE,
    STOPS,
    Faults,
    from_hex,
    measure_weights,
    run_faults,
    run_missing_faults,
    run_replays,
    shown_digits,
    stored_faults,
    stored_paths,
    to_hex,
    train_path,
)


def test_pictures_come_back_from_text(seeded):
    pictures = torch.rand(2, 784, generator=seeded()) * 1.4 - 0.2
    texts = to_hex(pictures)
    assert [len(text) for text in texts] == [784, 784]
    for text, picture in zip(texts, pictures, strict=True):
        assert (from_hex(text) - picture.clamp(0, 1)).abs().max() < 0.5 / 15 + 1e-6


def test_every_combination_of_faults_is_stored():
    rows = json.loads(FAULTS.read_text())["rows"]
    assert [row["setting"] for row in rows] == [asdict(faults) for faults in FAULT_SWEEP]
    assert len(set(FAULT_SWEEP)) == len(FAULT_SWEEP) == 3 * 2**4
    for faults, row in zip(FAULT_SWEEP, stored_faults(), strict=True):
        assert ("pictures" in row) == (faults.seed == 0)


@pytest.mark.parametrize("faults", [Faults(seed=1), Faults(relu=True, masks=True, noise=True)])
def test_a_stored_training_with_faults_is_what_the_code_gives(faults):
    again, before = run_faults(faults), stored_faults()[FAULT_SWEEP.index(faults)]
    assert again["loss"] == pytest.approx(before["loss"], rel=0.05)
    assert again["share"] == pytest.approx(before["share"], rel=0.05)
    for a, b in zip(again.get("pictures", []), before.get("pictures", []), strict=True):
        assert (from_hex(a) - from_hex(b)).abs().mean() < 0.03


def test_each_fault_changes_what_it_says(monkeypatch):
    seen = []

    def fit(model, loss_of_batch, count, config, name):
        seen.append((model, count, loss_of_batch(torch.arange(min(count, 5)), torch.Generator().manual_seed(0))))
        return [{"loss": 0.0}]

    monkeypatch.setattr(replays, "fit", fit)
    for faults in (Faults(), *(Faults(**{name: True}) for name in ("relu", "code", "masks", "noise"))):
        run_faults(faults)
    models, counts, losses = zip(*seen, strict=True)
    assert counts == (4000, 4000, 4000, 4000, 1)
    assert [type(m.decoder[-1]).__name__ == "ReLU" for m in models] == [False, True, False, False, False]
    assert [type(m.encoder[-1]).__name__ == "ReLU" for m in models] == [False, False, True, False, False]
    # The same weights and masks: the two losses differ, and the two-mask loss is smaller on a near-zero output.
    assert losses[3] < losses[0]


def test_masks_of_shown_digits_hide_half():
    test, visible = shown_digits()
    assert test.shape == visible.shape == (1000, 784)
    assert abs(visible.mean() - 0.5) < 0.01


def test_stopped_trainings_go_on_where_they_were(monkeypatch, tmp_path):
    calls = []

    def quick(faults):
        calls.append(faults)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"loss": 0.0, "share": 1.0}

    monkeypatch.setattr(replays, "run_faults", quick)
    path = tmp_path / "faults.json"
    with pytest.raises(KeyboardInterrupt):
        run_missing_faults(path)
    assert len(json.loads(path.read_text())["rows"]) == 2
    run_missing_faults(path)
    assert calls == [*FAULT_SWEEP[:3], *FAULT_SWEEP[2:]]
    assert json.loads(path.read_text())["versions"]["torch"] == torch.__version__


def test_nothing_is_run_where_all_is_stored(monkeypatch):
    def never(*_):
        raise AssertionError("a stored training was run again")

    monkeypatch.setattr(replays, "run_faults", never)
    monkeypatch.setattr(replays, "run_paths", never)
    run_replays()


def test_losses_of_weights_are_those_of_the_model(seeded):
    model = MaskedAutoencoder(small_config(), generator=seeded(3))
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    losses, prediction = measure_weights(weights)
    patches = patchify(load_digits("test").images[:200], 7)
    mask = random_mask(200, 16, 0.75, generator=seeded(1000))
    assert prediction.shape == patches.shape
    for name in LOSSES:
        assert losses[name] == pytest.approx(reconstruction_error(model, patches, mask, on=name), rel=1e-4)


def test_paths_begin_at_the_same_place_and_end_trained(monkeypatch):
    digits = load_digits("train")
    few = replace(digits, images=digits.images[:256], labels=digits.labels[:256])
    monkeypatch.setattr(replays, "load_digits", lambda split: few)
    paths = {loss: train_path(loss, epochs=2) for loss in LOSSES}
    begin = torch.cat(
        [
            p.flatten()
            for p in MaskedAutoencoder(small_config(), generator=torch.Generator().manual_seed(0)).parameters()
        ]
    )
    for path in paths.values():
        assert len(path) == 3 and torch.equal(path[0], begin)
        assert not torch.equal(path[1], begin) and not torch.equal(path[2], path[1])
    assert not torch.equal(paths["hidden"][2], paths["visible"][2])


def test_the_stored_map_is_complete_and_holds_the_paths():
    found = stored_paths()
    assert set(found["map"]) == set(found["paths"]) == set(LOSSES)
    assert [len(axis) for axis in found["axes"]] == [SIDE, SIDE] and 0.5 < found["flat"] <= 1
    for name in LOSSES:
        assert np.array(found["map"][name]).shape == (SIDE, SIDE)
        path = found["paths"][name]
        assert [len(path[key]) for key in ("place", "losses", "pictures")] == [STOPS] * 3
        for point in path["place"]:
            assert all(axis[0] < x < axis[-1] for x, axis in zip(point, found["axes"], strict=True))
    model = MaskedAutoencoder(small_config(), generator=torch.Generator().manual_seed(0))
    start, _ = measure_weights(torch.cat([p.detach().flatten() for p in model.parameters()]))
    for path in found["paths"].values():
        assert path["losses"][0] == pytest.approx(start, abs=1e-4)


def test_a_stored_path_is_what_the_code_gives():
    weights = train_path("visible")
    before = json.loads(PATHS.read_text())["paths"]["visible"]
    for k in (1, STOPS - 1):
        losses, _ = measure_weights(weights[k])
        assert losses == pytest.approx(before["losses"][k], rel=0.15)
