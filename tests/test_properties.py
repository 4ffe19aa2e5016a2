"""No scaffold is on both sides of a split; baselines find what they should; stored runs hold."""

import json

import numpy as np
import pytest
import torch

from mae import properties
from mae.model import MaskedAutoencoder
from mae.molecules import PROPERTIES, SPELLINGS, SYMBOLS, as_ids, as_versions, load_property, molecule_config, one_hot
from mae.properties import (
    DESCRIPTORS,
    LABELS,
    LONGER,
    LONGER_SEEDS,
    METHODS,
    RATIO,
    RESULTS,
    SEEDS,
    TASKS,
    TRAINED,
    TRIALS,
    WEIGHTS,
    MoleculeSetting,
    Regressor,
    best_trial,
    count_symbols,
    descriptors,
    encoder_features,
    fingerprints,
    longer_gains,
    longer_trials,
    mean_token,
    predict_forest,
    predict_ridge,
    pretrained,
    rmse,
    run,
    run_molecules,
    scaffold,
    split,
    stored_errors,
    stored_trials,
    sweep,
    train_regressor,
)
from mae.weights import load_model

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


# Splits


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("kind", ["scaffold", "random"])
def test_test_molecules_are_kept_apart(name, kind):
    smiles, tested = load_property(name).smiles, []
    for seed in range(3):
        parts = split(name, kind, seed)
        train, test, validation = parts["train"], parts["test"], parts["validation"]
        assert sorted([*train, *test]) == list(range(len(smiles)))
        assert set(validation) <= set(train) and len(validation) == (119 if name == "solubility" else 0)
        assert 0.19 * len(smiles) < len(test) < 0.21 * len(smiles)
        shared = {scaffold(smiles[i]) for i in train} & {scaffold(smiles[i]) for i in test}
        assert bool(shared) == (kind == "random")
        rest = {scaffold(smiles[i]) for i in set(train) - set(validation)}
        assert not rest & {scaffold(smiles[i]) for i in validation} or kind == "random"
        tested.append(set(test))
    assert tested[0] != tested[1] != tested[2]


def test_scaffolds_are_rings_and_their_links():
    assert scaffold(ASPIRIN) == "c1ccccc1" and scaffold("CCO") == ""
    assert scaffold("Cc1ccccc1CCc1ccccc1") == "c1ccc(CCc2ccccc2)cc1"
    with pytest.raises(ValueError, match='"scaffold" or "random"'):
        split("solubility", "time", 0)


# Features and baselines


def test_symbols_are_counted():
    counts = count_symbols(["CC(=O)O", "CCl"])
    assert counts[:, [SYMBOLS.index(symbol) for symbol in ("C", "O", "Cl", "N")]].tolist() == [
        [2, 2, 0, 0],
        [1, 0, 1, 0],
    ]


def test_fingerprints_and_descriptors():
    x = fingerprints([ASPIRIN, "OC(=O)c1ccccc1OC(C)=O", "CC"])
    assert x.shape == (3, 2048) and set(np.unique(x)) == {0, 1} and (x[0] == x[1]).all() and (x[0] != x[2]).any()
    found = dict(zip(DESCRIPTORS, descriptors([ASPIRIN])[0], strict=True))
    assert found["MolWt"] == pytest.approx(180.16, abs=0.01) and found["HeavyAtomCount"] == 13
    assert found["NumHDonors"] == 1 and found["RingCount"] == 1


def test_regressions_find_a_law():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    line, bend = x @ np.arange(6.0) + 3, np.where(x[:, 0] > 0, 2.0, -1.0)
    predictions, penalty = predict_ridge(x[:150], line[:150], x[150:])
    assert rmse(predictions, line[150:]) < 0.05 and penalty < 1
    predictions, share = predict_forest(x[:150], bend[:150], x[150:], 0)
    assert rmse(predictions, bend[150:]) < 0.2 and share == 1.0
    assert rmse(np.array([1.0, 3.0]), np.array([1.0, 1.0])) == pytest.approx(2**0.5)


def test_padding_is_not_averaged(seeded):
    model = MaskedAutoencoder(molecule_config(), generator=seeded(0)).eval()
    ids = as_ids([ASPIRIN, "CC"])
    with torch.inference_mode():
        tokens, found = model.encode(one_hot(ids))[:, 1:], mean_token(model, ids)
        assert torch.allclose(found[1], tokens[1, :2].mean(dim=0), atol=1e-6)
    features = encoder_features(model, ids[:, None].expand(-1, 3, -1))
    assert np.allclose(features, found.numpy(), atol=1e-6)
    assert torch.equal(Regressor(model)(ids), torch.zeros(2))


# Training and stored runs


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="expected a method"):
        MoleculeSetting(method="guess")
    with pytest.raises(ValueError, match="learning rate"):
        MoleculeSetting(method="tuned")
    with pytest.raises(ValueError, match="no stored run"):
        stored_errors("solubility", "random", 7)
    with pytest.raises(ValueError, match="no stored trial"):
        best_trial("mean")


def test_training_learns_the_values():
    versions = as_versions(load_property("hydration").smiles[:40], 2)
    values = count_symbols(load_property("hydration").smiles[:40])[:, SYMBOLS.index("O")]
    setting = MoleculeSetting(method="scratch", rate=1e-3)
    regressor = train_regressor(setting, versions, values)
    with torch.inference_mode():
        found = regressor(versions[:, 0]).numpy() * values.std() + values.mean()
    assert rmse(found, values) < 0.5 * values.std()


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [MoleculeSetting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(set(found)) and set(found) == {*TRIALS, *sweep(), *longer_trials()}
    for row in content["rows"]:
        assert set(row) == {"setting", "rmse", "choice", "molecules", "seconds"} and 0.3 < row["rmse"] < 9
    for task in TASKS:
        assert {method: len(errors) for method, errors in stored_errors(*task).items()} == dict.fromkeys(METHODS, SEEDS)
    assert LABELS == tuple(sorted({labels for _, _, labels in TASKS} - {0}))


def test_longer_training_is_longer_and_kept_apart(monkeypatch):
    asked = []
    monkeypatch.setattr(properties, "fit", lambda model, loss, count, options, name: asked.append(options.epochs))
    for longer in (1, LONGER):
        setting = MoleculeSetting(method="scratch", rate=1e-3, longer=longer)
        train_regressor(setting, as_versions(["CCO"] * 250, 2), np.arange(250.0))
    assert asked == [300 // 8, LONGER * 300 // 8]
    assert all(not setting.test and setting.rate == best_trial(setting.method).rate for setting in longer_trials())
    assert {len(longer_gains(method)) for method in TRAINED} == {len(LONGER_SEEDS)}


def test_no_chosen_setting_is_at_the_edge_of_its_grid():
    for method in TRAINED:
        rates = [setting.rate for setting in TRIALS if setting.method == method]
        assert min(rates) < best_trial(method).rate < max(rates)
        assert list(stored_trials(method)) == [setting for setting in TRIALS if setting.method == method]
    assert best_trial("probe").ratio == RATIO
    for row in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]:
        if "ridge" in row["setting"]["method"] or row["setting"]["method"].endswith(("counts", "probe")):
            assert row["choice"] < properties.ALPHAS[-1]  # the lower end is as good as no penalty


def test_what_is_stored_is_not_run_again(monkeypatch):
    monkeypatch.setattr(properties, "run", lambda setting: pytest.fail("runs again"))
    run_molecules()


@pytest.mark.parametrize(
    ("method", "labels", "tolerance"), [("probe", 0, 0.05), ("tuned", 50, 0.25), ("descriptor forest", 0, 0.02)]
)
def test_a_stored_run_gives_its_number_again(method, labels, tolerance):
    setting = next(s for s in sweep() if (s.method, s.labels, s.data) == (method, labels, "solubility"))
    error = stored_errors("solubility", "scaffold", labels)[method][0]
    assert run(setting)["rmse"] == pytest.approx(error, abs=tolerance)


def test_the_weights_come_with_the_package():
    assert WEIGHTS.stat().st_size < 300_000
    model = load_model(WEIGHTS)
    assert model.config == molecule_config()
    assert pretrained(RATIO, 0) is pretrained(RATIO, 0)
    assert SPELLINGS == 8
