"""The command trains, writes what it says, and says in one line what is wrong."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

import mae.__main__ as command
from mae.data import Digits, load_digits
from mae.evaluate import extract_features, linear_probe, nearest_neighbors
from mae.model import MaskedAutoencoder, digits_config
from mae.patches import patchify
from mae.weights import PRETRAINED, load_model, save_model


@pytest.fixture
def few_digits(monkeypatch):
    """Digits by the dozen, so that training takes a moment."""

    def few(split):
        digits = load_digits(split)
        return Digits(digits.images[:200], digits.labels[:200])

    monkeypatch.setattr(command, "load_digits", few)
    return few


def test_digits_are_trained_saved_scored_and_recorded(few_digits, tmp_path, capsys):
    out = tmp_path / "digits.safetensors"
    assert command.main(["pretrain", "digits", "--epochs", "2", "--seed", "5", "--out", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.json", "digits.safetensors"]
    record = json.loads(out.with_suffix(".json").read_text())
    recipe = replace(command.RECIPE, epochs=2, seed=5)
    assert record["recipe"] == {**asdict(recipe), "betas": list(recipe.betas)}
    assert record["model"] == {**asdict(digits_config()), "grid": [7, 7]}
    assert [row["epoch"] for row in record["log"]] == [1, 2]
    assert record["scores"] == command.digits_scores(out)
    assert set(record["versions"]) == {"torch", "python", "threads"} and record["seconds"] > 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert f"{out}: linear probe {record['scores']['linear_probe']:.1%}, five nearest neighbours" in printed

    # The seed fixes everything: the same weights as from the package's own functions.
    model = MaskedAutoencoder(digits_config(), generator=torch.Generator().manual_seed(5))
    command.pretrain(model, few_digits("train").images, recipe)
    for name, tensor in load_model(out).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().float()), name


def test_scores_are_those_of_the_frozen_features(few_digits, tmp_path, seeded):
    path = tmp_path / "model.safetensors"
    model = MaskedAutoencoder(digits_config(), generator=seeded(0))
    save_model(model, path)
    train, test = few_digits("train"), few_digits("test")
    x, test_x = (extract_features(model, patchify(part.images, 4)) for part in (train, test))
    assert command.digits_scores(path) == {
        "linear_probe": linear_probe(x, train.labels, test_x, test.labels).accuracy,
        "nearest_neighbors": nearest_neighbors(x, train.labels, test_x, test.labels, choices=(5,)).accuracy,
    }


def test_an_interrupted_run_goes_on_from_its_checkpoint(few_digits, tmp_path, monkeypatch):
    out = tmp_path / "digits.safetensors"
    arguments = ["pretrain", "digits", "--epochs", "1", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(command, "save_model", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            command.main(arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.checkpoint"]
    monkeypatch.setattr("mae.train.learning_rate", lambda *args: pytest.fail("trained again"))
    assert command.main(arguments) == 0
    assert not out.with_suffix(".checkpoint").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nowhere/digits.safetensors"], "mae: there is no folder nowhere: make it first\n"),
        (["--epochs", "0"], "mae: expected at least one epoch and one example in a batch, got 0, 64\n"),
        (["--epochs", "-3"], "mae: expected at least one epoch and one example in a batch, got -3, 64\n"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "pretrain", lambda *args, **kwargs: pytest.fail("training was started"))
    assert command.main(["pretrain", "digits", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err == message and captured.out == ""


def test_a_checkpoint_of_another_run_is_not_overwritten(few_digits, tmp_path, capsys):
    out = tmp_path / "digits.safetensors"
    out.with_suffix(".checkpoint").write_bytes(b"something else")
    assert command.main(["pretrain", "digits", "--epochs", "1", "--out", str(out)]) == 2
    assert "digits.checkpoint is not a readable checkpoint" in capsys.readouterr().err
    assert out.with_suffix(".checkpoint").read_bytes() == b"something else"
    assert not out.exists()


@pytest.mark.parametrize("arguments", [[], ["pretrain"], ["pretrain", "cats"], ["--epochs", "x"], ["play"]])
def test_unknown_commands_end_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m mae" in capsys.readouterr().err


def test_experiments_run_what_is_missing(monkeypatch):
    calls = []
    monkeypatch.setattr("mae.experiments.run_all", lambda: calls.append(1))
    assert command.main(["experiments"]) == 0
    assert calls == [1]


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "mae", "pretrain", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "usage: python -m mae pretrain" in done.stdout
    assert f"default: {command.RECIPE.epochs}" in done.stdout


def test_the_shipped_model_is_written_where_it_is_read(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "pretrain_digits", seen.append)
    assert command.main(["pretrain", "digits"]) == 0
    (arguments,) = seen
    assert arguments.out == PRETRAINED / "digits.safetensors"
    assert arguments.seed == 0 and arguments.epochs is None
