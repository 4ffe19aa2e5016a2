"""The stored ablations are complete, are what the code gives, and are judged by the stated rule."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from mae import ablations, experiments
from mae.ablations import BASE, RESULTS, ROWS, SWEEP, Row, compare, few_labels, run, seed_deviation, stored, verdict
from mae.data import Digits, load_digits
from mae.experiments import PATCH, Setting, draw_hidden, small_config, train
from mae.losses import masked_mse
from mae.masking import Mask, grid_mask
from mae.model import MaskedAutoencoder
from mae.patches import patchify

CHANGES = [{}, *(row.change for row in ROWS)]


def test_each_row_is_run_with_three_seeds():
    wanted = {replace(BASE, **change, seed=seed) for change in CHANGES for seed in range(3)}
    assert set(SWEEP) == wanted and len(SWEEP) == len(wanted)
    assert [setting.seed for setting in SWEEP] == sorted(setting.seed for setting in SWEEP)
    assert len({(row.factor, row.name) for row in ROWS}) == len(ROWS)


# What a setting trains


@pytest.fixture
def captured(monkeypatch):
    """What `train` hands to `fit`, which trains nothing: the model, and the loss of a batch."""
    kept = {}

    def fit(model, loss_of_batch, num_examples, config, **kwargs):
        kept.update(model=model, loss=loss_of_batch, examples=num_examples, config=config)

    monkeypatch.setattr(experiments, "fit", fit)
    return kept


def loss_by_hand(setting, model, images, generator, normalized=False, on="hidden"):
    patches = patchify(images, PATCH)
    _, mask = draw_hidden(setting, patches, generator)
    return masked_mse(model(patches, mask, predict=on), patches, mask, on=on, normalized=normalized)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("on", ["hidden", "all"])
@pytest.mark.parametrize("pattern", ["random", "block", "grid"])
def test_the_loss_is_that_of_the_setting(captured, seeded, normalized, on, pattern):
    setting = Setting(normalized=normalized, loss=on, pattern=pattern)
    model, batch = train(setting), torch.arange(20, 30)
    assert captured["model"] is model and captured["examples"] == 4000
    assert (captured["config"].epochs, captured["config"].seed) == (24, 0)
    images = load_digits("train").images[batch]
    expected = loss_by_hand(setting, model, images, seeded(5), normalized, on)
    assert captured["loss"](batch, seeded(5)).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("augment", ["shift", "affine"])
def test_augmentation_moves_the_digits(captured, seeded, augment):
    setting = Setting(augment=augment)
    model, batch, generator = train(setting), torch.arange(20, 30), seeded(5)
    strength = {"degrees": 0, "scale": 0} if augment == "shift" else {}
    images = experiments.random_affine(load_digits("train").images[batch], generator=generator, **strength)
    expected = loss_by_hand(setting, model, images, generator)
    assert captured["loss"](batch, seeded(5)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_blocks_and_grids_hide_what_they_say(seeded):
    patches = torch.rand(200, 16, 49, generator=seeded(0))
    for ratio, count in ((0.5, 8), (0.75, 12)):
        hidden, mask = draw_hidden(Setting(pattern="block", ratio=ratio), patches, seeded(1))
        rows = mask.is_hidden.view(200, 4, 4)
        assert (rows.sum(dim=(1, 2)) == count).all() and torch.equal(hidden.all(dim=2), mask.is_hidden)
        assert len(rows.flatten(1).unique(dim=0)) > 20  # many different ones
        assert torch.equal(draw_hidden(Setting(pattern="block", ratio=ratio), patches, seeded(1))[0], hidden)
        random = draw_hidden(Setting(ratio=ratio), patches, seeded(1))[1].is_hidden.view(200, 4, 4)

        def touching(x):  # pairs of neighbours that are both hidden
            return ((x[:, 1:] & x[:, :-1]).sum() + (x[:, :, 1:] & x[:, :, :-1]).sum()).item()

        assert touching(rows) > 1.1 * touching(random)
    _, mask = draw_hidden(Setting(pattern="grid"), patches, seeded(1))
    assert torch.equal(mask.is_hidden, grid_mask(200, (4, 4)).is_hidden) and isinstance(mask, Mask)


def test_decoders_have_the_size_asked_for_and_no_epochs_no_training():
    model = train(Setting(epochs=0, decoder_depth=1, decoder_width=16, seed=3))
    config = replace(small_config(), decoder_depth=1, decoder_width=16)
    assert model.config == config
    untrained = MaskedAutoencoder(config, generator=torch.Generator().manual_seed(3)).state_dict()
    assert all(torch.equal(value, untrained[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pattern": "stripes"}, "unknown pattern 'stripes' or augmentation 'none'"),
        ({"augment": "flip"}, "unknown pattern 'random' or augmentation 'flip'"),
        ({"pattern": "block", "input": "zero", "unit": "pixel"}, 'at random, not with pattern="block"'),
        ({"pattern": "grid", "ratio": 0.5}, "a grid hides three quarters of the patches, not 0.5"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Setting(**wrong)


def test_few_labels_are_all_that_fine_tuning_sees(monkeypatch):
    def score(change):
        labels = load_digits("train").labels.clone()
        change(labels)
        parts = {"train": Digits(load_digits("train").images, labels), "test": load_digits("test")}
        with monkeypatch.context() as patch:
            patch.setattr(ablations, "load_digits", parts.get)
            model = MaskedAutoencoder(small_config(), generator=torch.Generator().manual_seed(0))
            return few_labels(model, seed=0, labels=64)

    before = score(lambda labels: None)
    assert before > 0.15  # more than chance, from 64 labels and no pre-training
    assert score(lambda labels: labels[64:].zero_()) == before
    assert score(lambda labels: labels[:64].zero_()) == pytest.approx(0.1, abs=1e-6)  # the share of zeros


# How results are judged


@pytest.mark.parametrize(
    ("paper", "ours", "margin", "expected"),
    [
        (-2.0, -3.0, 1.0, "agrees"),
        (2.0, 3.0, 1.0, "agrees"),
        (-2.0, 3.0, 1.0, "disagrees"),
        (2.0, -3.0, 1.0, "disagrees"),
        (2.0, 0.5, 1.0, "can't tell"),
        (2.0, -1.0, 1.0, "can't tell"),
        (-0.5, -3.0, 1.0, "agrees"),
        (0.4, 3.0, 1.0, "no order"),
        (-0.4, 0.0, 1.0, "no order"),
        (None, 3.0, 1.0, "no order"),
    ],
)
def test_verdicts_follow_the_rule(paper, ours, margin, expected):
    assert verdict(paper, ours, margin) == expected


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Results of three settings, three seeds each; of one, only the probe."""

    def rows(change, **measures):
        return [
            {"setting": asdict(replace(BASE, **change, seed=seed))} | {name: v[seed] for name, v in measures.items()}
            for seed in range(3)
        ]

    content = [
        *rows({}, probe=[0.7, 0.8, 0.9], labels=[0.5, 0.5, 0.5]),
        *rows({"ratio": 0.5}, probe=[0.9, 0.9, 0.9]),
        *rows({"epochs": 6}, probe=[0.5, 0.6, 0.7]),
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"rows": content}))
    monkeypatch.setattr(ablations, "RESULTS", path)


def test_stored_gives_one_number_for_each_seed(made_up):
    assert stored({}, "probe").tolist() == [0.7, 0.8, 0.9]
    assert stored({"ratio": 0.5}, "probe").tolist() == [0.9, 0.9, 0.9]
    assert stored({"epochs": 6}, "probe").tolist() == [0.5, 0.6, 0.7]
    assert stored({"ratio": 0.5}, "labels").tolist() == stored({"ratio": 0.9}, "probe").tolist() == []


def test_differences_come_with_two_standard_errors(made_up):
    full = np.sqrt((0.02 + 0) / 4)  # two settings with two degrees of freedom each
    short = np.sqrt(0.02 / 2)  # one with fewer epochs
    assert seed_deviation({}, "probe") == seed_deviation({"epochs": 48}, "probe") == pytest.approx(full)
    assert seed_deviation({"epochs": 6}, "probe") == pytest.approx(short)
    result = compare(Row("epochs", "half", {"epochs": 6}, (84.3, 69.7)), "probe")
    assert result["paper"] == pytest.approx(-3.8) and result["ours"] == pytest.approx(-20)
    assert result["margin"] == pytest.approx(2 * 100 * np.sqrt((full**2 + short**2) / 3))
    ratio = compare(Row("x", "y", {"ratio": 0.5}, (84.9, 69.9)), "probe")
    assert ratio["margin"] == pytest.approx(2 * 100 * full * np.sqrt(2 / 3))
    assert result["verdict"] == "agrees"
    other = compare(Row("x", "y", {"epochs": 6}, (84.3, 69.7), (80.0, 60.0)), "probe")
    assert other["paper"] == pytest.approx(9.7) and other["verdict"] == "disagrees"
    silent = compare(Row("x", "y", {"epochs": 6}, (84.3, None)), "probe")  # the paper did not measure it
    assert silent == {**result, "paper": None, "verdict": "no order"}
    absent = compare(Row("x", "y", {"epochs": 6}, (84.3, 69.7)), "labels")  # we did not
    assert absent == {"paper": pytest.approx(-0.6), "ours": None, "margin": None, "verdict": "not run"}


# The file of results


def test_stored_results_are_of_the_sweep_and_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(set(found)) and set(found) == set(SWEEP)
    for row in content["rows"]:
        assert set(row) == {"setting", "probe", "neighbors", "labels", "seconds"}
        assert all(0 < row[name] < 1 for name in ("probe", "neighbors", "labels")) and row["seconds"] >= 0
    assert set(content["versions"]) == {"torch", "python", "threads"}


def test_runs_that_both_files_hold_are_the_same():
    rows = [json.loads(path.read_text())["rows"] for path in (experiments.RESULTS, RESULTS)]
    masking, here = ({Setting(**row["setting"]): row for row in part} for part in rows)
    common = masking.keys() & here.keys()
    assert BASE in common
    for setting in common:
        for name in ("probe", "neighbors"):
            assert here[setting][name] == pytest.approx(masking[setting][name], abs=0.03)


def test_a_stored_run_gives_its_numbers_again():
    setting = replace(BASE, epochs=12, seed=1)  # half a minute on one core
    again = run(setting)
    for name, tolerance in (("probe", 0.03), ("neighbors", 0.03), ("labels", 0.05)):
        assert again[name] == pytest.approx(stored({"epochs": 12}, name)[1], abs=tolerance)
