"""The command trains, writes what it says, and says in one line what is wrong."""

import importlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import Server
from safetensors.torch import load_file

import mae.__main__ as command
from mae.data import Digits, load_digits
from mae.evaluate import extract_features, linear_probe, nearest_neighbors, reconstruct
from mae.images import centre_crop, to_image, to_tensor
from mae.losses import normalize_patches
from mae.masking import Mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder, digits_config
from mae.patches import patchify, unpatchify
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


def test_an_interrupted_run_goes_on_from_its_checkpoint(few_digits, tmp_path, monkeypatch, capsys):
    out = tmp_path / "digits.safetensors"
    arguments = ["pretrain", "digits", "--epochs", "1", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(command, "save_model", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command.main(arguments) == 130
    assert capsys.readouterr().err == "mae: stopped; the same command goes on from the last checkpoint\n"
    assert [path.name for path in tmp_path.iterdir()] == ["digits.checkpoint"]
    monkeypatch.setattr("mae.train.learning_rate", lambda *args: pytest.fail("trained again"))
    assert command.main(arguments) == 0
    assert not out.with_suffix(".checkpoint").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "nowhere/digits.safetensors"], "mae: there is no folder nowhere: make it first\n"),
        (
            ["--epochs", "0", "--out", "a.safetensors"],
            "mae: expected at least one epoch and one example in a batch, got 0, 64\n",
        ),
        (
            ["--epochs", "-3", "--out", "a.safetensors"],
            "mae: expected at least one epoch and one example in a batch, got -3, 64\n",
        ),
        (["--epochs", "1"], "mae: the shipped model is not overwritten by another: --epochs goes with --out\n"),
        (["--seed", "1"], "mae: the shipped model is not overwritten by another: --seed goes with --out\n"),
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


@pytest.mark.parametrize(
    ("arguments", "said", "prog"),
    [
        ([], "the following arguments are required: COMMAND", ""),
        (["play"], "invalid choice: 'play'", ""),
        (["pretrain"], "the following arguments are required: DATA", " pretrain"),
        (["pretrain", "cats", "--epochs", "x"], "argument --epochs: invalid int value: 'x'", " pretrain"),
        (["pretrain", "cats", "--size", "vast"], "argument --size: invalid choice: 'vast'", " pretrain"),
        (
            ["finetune", "cats", "--out", "run"],
            "one of the arguments --weights --from-scratch is required",
            " finetune",
        ),
        (["probe", "digits", "--pol", "mean"], "unrecognized arguments: --pol mean", ""),
        (["reconstruct", "a.png"], "the following arguments are required: --out", " reconstruct"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(arguments, said, prog, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mae: ") and said in line
    assert line.endswith(f"`python -m mae{prog} --help` lists what can be given")


@pytest.mark.parametrize("name", ["pretrain", "finetune", "probe", "reconstruct", "experiments", "ablate"])
def test_help_explains_each_command_and_option(name, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m mae {name}")
    for action in command._make_parser()._subparsers._group_actions[0].choices[name]._actions:
        assert action.help, f"{action.dest} is not explained"
    if name == "pretrain":
        text = " ".join(text.split())
        assert "torchrun --nproc-per-node 2 -m mae pretrain" in text and f"digits: {command.RECIPE.epochs}" in text


def test_experiments_run_what_is_missing(monkeypatch):
    """Of each module the last function that runs all it has; only the ablations have a command of their own."""
    calls, programs = [], []
    for path in Path(command.__file__).parent.glob("[!_]*.py"):
        module = importlib.import_module(f"mae.{path.stem}")
        runs = [
            name
            for name, thing in vars(module).items()
            if name.startswith("run_")
            and thing.__module__ == module.__name__
            and all(p.default is not p.empty for p in inspect.signature(thing).parameters.values())
        ]
        if runs and path.stem != "ablations":
            programs.append(f"{module.__name__}.{runs[-1]}")
            monkeypatch.setattr(programs[-1], lambda program=programs[-1]: calls.append(program))
    assert command.main(["experiments"]) == 0
    assert sorted(calls) == sorted(programs) and len(programs) > 15


def test_ablate_runs_what_is_missing(monkeypatch):
    calls = []
    monkeypatch.setattr("mae.ablations.run_ablations", lambda: calls.append(1))
    assert command.main(["ablate"]) == 0
    assert calls == [1]


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "mae", "probe", "--weights", "nowhere.pt", "digits"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("mae: no weights at nowhere.pt: ") and done.stderr.count("\n") == 1


def test_the_shipped_model_is_written_where_it_is_read(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "pretrain_digits", seen.append)
    assert command.main(["pretrain", "digits"]) == 0
    (arguments,) = seen
    assert arguments.out == PRETRAINED / "digits.safetensors"
    assert arguments.seed == 0 and arguments.epochs is None


def test_the_shipped_recipe_takes_no_other_option(tmp_path, capsys):
    for out in ([], ["--out", str(tmp_path / "x.safetensors")]):
        assert command.main(["pretrain", "digits", "--batch-size", "8", *out]) == 2
        assert capsys.readouterr().err == "mae: the shipped model's recipe has no --batch-size: give --out a folder\n"


# Folders, and the trainer

SMALL = (
    "--size tiny --width 16 --heads 2 --depth 2 --decoder-width 8 --decoder-heads 2 --decoder-depth 1 --image-size 16 "
    "--patch-size 8"
).split()
FAST = "--batch-size 8 --base-learning-rate 1e-2 --workers 0 --log-every 1".split()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty pictures of two classes, dark and bright."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for i in range(20):
        name = folder / ("dark", "light")[i % 2] / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(i % 2 * 128, 128 + i % 2 * 128, (20, 16, 3), dtype=np.uint8)).save(name)
    return folder


@pytest.fixture(scope="module")
def pretrained(photos, tmp_path_factory):
    """The folder of a pre-training run."""
    out = tmp_path_factory.mktemp("runs") / "new" / "run"
    assert command.main(["pretrain", str(photos), *SMALL, *FAST, "--epochs", "4", "--out", str(out)]) == 0
    return out


def assert_same_weights(out, other):
    a, b = (load_file(folder / "model.safetensors") for folder in (out, other))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_pretraining_on_a_folder(pretrained, photos, tmp_path, capsys):
    assert sorted(path.name for path in pretrained.iterdir()) == [
        "checkpoint.pt", "log.jsonl", "model.safetensors", "settings.json",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (pretrained / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[0].keys() == {"step", "epoch", "loss", "learning_rate", "images_per_second", "seconds"}
    model = load_model(pretrained / "model.safetensors")
    assert model.config.grid == (2, 2) and model.config.patch_values == 192 and model.config.width == 16
    settings = json.loads((pretrained / "settings.json").read_text())
    assert settings["batch_size"] == 8 and settings["augment"] == "crop" and settings["weight_decay"] == 0.05
    state = torch.load(pretrained / "checkpoint.pt", weights_only=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state["model"][f"model.{name}"]), name

    # The same with worker processes, and again from the finished checkpoint.
    arguments = ["pretrain", str(photos), *SMALL, *FAST, "--epochs", "4", "--out", str(tmp_path), "--workers", "2"]
    for _ in range(2):
        assert command.main(arguments) == 0
        assert_same_weights(tmp_path, pretrained)
    printed = capsys.readouterr().out.splitlines()
    assert (
        printed[0] == f"20 images, 0.0 M parameters, 12 steps of 8 images on 1 cpu; log and checkpoints in {tmp_path}"
    )


def test_digits_can_be_trained_by_the_trainer(monkeypatch, tmp_path):
    digits = command.open_digits("train")
    few = digits.only(torch.arange(100))
    monkeypatch.setattr(command, "open_digits", lambda split: few)
    assert command.main(["pretrain", "digits", "--epochs", "1", "--out", str(tmp_path / "run"), "--normalized"]) == 0
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["mask_ratio"] == 0.7 and settings["augment"] == "affine" and settings["normalized"]
    path = tmp_path / "run" / "model.safetensors"
    model = load_model(path)
    assert model.config == digits_config() and model.normalized
    del model.normalized
    save_model(model, path)  # as older versions did: the settings beside it say what is predicted
    assert not load_model(path).normalized and command._load_weights(path).normalized
    out = tmp_path / "a.png"
    few.open(0).save(tmp_path / "digit.png")
    weights = ["--weights", str(path)]
    assert command.main(["reconstruct", str(tmp_path / "digit.png"), "--out", str(out), *weights]) == 0
    assert Image.open(out).size == (3 * 224 + 16, 224)


@pytest.mark.parametrize("start", ["weights", "scratch"])
def test_fine_tuning_scores_on_held_out_images(start, pretrained, photos, tmp_path, capsys):
    begin = ["--weights", str(pretrained / "model.safetensors")] if start == "weights" else ["--from-scratch", *SMALL]
    out = tmp_path / "tuned"
    arguments = ["finetune", str(photos), *begin, *FAST, "--epochs", "8", "--out", str(out), "--augment", "none"]
    assert command.main(arguments) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores == {"accuracy": 1.0, "error_bar": 0.0, "held_out": 4, "classes": ["dark", "light"]}
    assert "accuracy 100.0% ± 0.0% (one standard error) on 4 held-out images of 2 classes" in capsys.readouterr().out
    settings = json.loads((out / "settings.json").read_text())
    assert settings["classes"] == 2 and settings["betas"] == [0.9, 0.999]
    assert settings["layer_decay"] == (0.65 if start == "weights" else 1.0) and settings["smoothing"] == 0.1


def test_fine_tuning_starts_from_the_weights(pretrained, photos, tmp_path):
    weights = pretrained / "model.safetensors"
    arguments = ["finetune", str(photos), "--weights", str(weights), *FAST, "--epochs", "1", "--out", str(tmp_path)]
    assert command.main([*arguments, "--base-learning-rate", "1e-12"]) == 0
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    model = load_model(weights).state_dict()
    for name in ("cls_token", "patch_embed.weight", "blocks.1.mlp.fc2.weight"):
        assert torch.allclose(state[f"classifier.{name}"], model[name], atol=1e-7), name


def test_fine_tuning_from_other_weights_is_another_run(pretrained, photos, tmp_path, capsys, seeded):
    weights, out = pretrained / "model.safetensors", tmp_path / "run-1.5e-4"  # a folder, for all its dots
    other = MaskedAutoencoder(load_model(weights).config, generator=seeded(1))
    save_model(other, tmp_path / "other.safetensors")
    shutil.copy(weights, tmp_path / "copy.safetensors")
    arguments = ["finetune", str(photos), *FAST, "--epochs", "1", "--out", str(out), "--weights"]
    for path in (weights, tmp_path / "copy.safetensors"):
        assert command.main([*arguments, str(path)]) == 0
    assert command.main([*arguments, str(tmp_path / "other.safetensors")]) == 2
    assert "checkpoint.pt is of a run with other settings (weights): choose another folder" in capsys.readouterr().err


def test_pictures_are_scored_where_the_model_is(photos):
    config = MAEConfig(grid=(2, 2), patch_values=192, width=8, depth=1, heads=2, decoder_width=8, decoder_depth=1,
                       decoder_heads=2)  # fmt: skip
    images = command.open_folder(photos, labelled=True)
    (batch,) = command._in_order(images, config, 0, torch.device("meta"))
    assert batch[0].shape == (20, 4, 192) and {x.device.type for x in batch} == {"meta"}


def test_probing_scores_frozen_features(pretrained, photos, capsys):
    assert command.main(["probe", str(photos), "--weights", str(pretrained / "model.safetensors")]) == 0
    assert "accuracy 100.0% ± 0.0% (one standard error) on 4 held-out" in capsys.readouterr().out


def test_a_reconstruction_shows_input_what_is_seen_and_what_is_made_of_it(pretrained, photos, tmp_path):
    out, image = tmp_path / "a.png", photos / "light" / "1.png"
    weights = pretrained / "model.safetensors"
    arguments = ["reconstruct", str(image), "--out", str(out), "--weights", str(weights), "--mask-ratio", "0.5"]
    assert command.main(arguments) == 0
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (224, 3 * 224 + 16, 3)
    shown, masked, rebuilt = (sheet[:, x : x + 224].reshape(2, 112, 2, 112, 3) for x in (0, 232, 464))
    expected = centre_crop(Image.open(image).convert("RGB"), (16, 16)).resize((224, 224), Image.Resampling.NEAREST)
    assert (sheet[:, :224] == np.asarray(expected)).all()
    hidden = [(i, j) for i in range(2) for j in range(2) if (masked[i, :, j] == 128).all()]
    assert len(hidden) == 2
    for i, j in np.ndindex(2, 2):
        assert ((rebuilt[i, :, j] == shown[i, :, j]).all()) == ((i, j) not in hidden)
    model = load_model(weights)
    patches = patchify(to_tensor(centre_crop(Image.open(image), (16, 16)))[None], 8)
    mask = Mask.from_hidden(torch.tensor([[(i, j) in hidden for i in range(2) for j in range(2)]]))
    wanted = np.asarray(to_image(unpatchify(reconstruct(model, patches, mask), 8, 16)[0]))
    assert (sheet[7::14, 464 + 7 :: 14] == wanted).all()
    assert command.main([*arguments, "--seed", "1"]) == 0
    assert (np.asarray(Image.open(out)) != sheet).any()


def test_normalised_predictions_are_drawn_without_looking_at_the_truth(tmp_path, monkeypatch, seeded):
    """A published file is read by its own reader; what is hidden does not change the picture of what is rebuilt."""
    config = MAEConfig(grid=(2, 2), patch_values=192, width=8, depth=1, heads=2, decoder_width=8, decoder_depth=1,
                       decoder_heads=2)  # fmt: skip
    model = MaskedAutoencoder(config, generator=seeded(0)).eval()
    model.normalized = True
    monkeypatch.setattr("mae.official.read_official", lambda path: model)
    pixels = torch.randint(0, 256, (16, 16, 3), generator=seeded(1), dtype=torch.uint8).numpy()
    mask = random_mask(1, 4, 0.75, generator=seeded(0))
    i, j = divmod(int(mask.hidden[0, 1]), 2)
    other = pixels.copy()
    other[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = 255
    sheets = []
    for name, image in (("a", pixels), ("b", other)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        arguments = ["reconstruct", str(tmp_path / f"{name}.png"), "--weights", "mae_visualize.pth", "--out"]
        assert command.main([*arguments, str(tmp_path / "out.png")]) == 0
        sheets.append(np.asarray(Image.open(tmp_path / "out.png")))
    assert (sheets[0] != sheets[1])[:, :224].any()
    assert (sheets[0] == sheets[1])[:, 232:].all()
    rebuilt = sheets[0][7::14, 464 + 7 :: 14].reshape(2, 8, 2, 8, 3)
    _, mean, std = normalize_patches(patchify(to_tensor(Image.fromarray(pixels))[None], 8))
    k = int(mask.visible)
    with torch.inference_mode():
        prediction = model(patchify(to_tensor(Image.fromarray(pixels))[None], 8), mask)[0, 1]
    wanted = to_image(unpatchify((prediction * std[0, k] + mean[0, k])[None, None], 8, 8)[0])
    assert np.abs(rebuilt[i, :, j].astype(int) - np.asarray(wanted)).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrain nowhere --out {tmp}/run", "there is no folder nowhere: give a folder of images, or `digits`"),
        ("pretrain {photos}", "expected --out FOLDER, for weights, log and checkpoints, got None"),
        ("pretrain {photos} --out a.safetensors", "expected --out FOLDER, for weights, log and checkpoints, got a.saf"),
        (
            "pretrain {photos} --out {tmp}/run --image-size 50",
            "an image of 50×50 pixels can't be cut into patches of 16",
        ),
        ("pretrain {photos} --out {tmp}/run --epochs 0", "expected epochs of at least 1, got 0"),
        ("pretrain {photos} --out {tmp}/run --width 30", "width must be divisible by 4 and by its 12 heads, got 30"),
        ("pretrain {photos} --out {tmp}/run --device cuda", "expected a GPU for each process, found 0"),
        ("pretrain {photos} --out {run} --workers 0", "is of a run with other settings (model, patch_size,"),
        ("finetune {photos} --weights x --out {tmp}/run --size tiny", "the weights fix the model: --size goes with"),
        ("finetune {photos}/dark --from-scratch --out {tmp}/run", "to hold one folder of images for each class"),
        ("finetune {photos} --weights {tmp}/x --out {tmp}/run", "no weights at"),
        ("finetune digits --weights {run}/model.safetensors --out {tmp}/run", "expected patches (B, 4, 192) for this"),
        ("probe {photos} --weights {run}/log.jsonl", "does not hold a masked autoencoder"),
        ("reconstruct {photos}/none.png --out {tmp}/a.png", "there is no file"),
        ("reconstruct {run}/log.jsonl --out {tmp}/a.png", "log.jsonl is not a readable image"),
        ("reconstruct {photos}/dark/0.png --out {tmp}/a.jpg", "expected --out FILE.png, got"),
        ("reconstruct {photos}/dark/0.png --out {tmp}/no/a.png", "there is no folder"),
        (
            "reconstruct {photos}/dark/0.png --out {tmp}/a.png --mask-ratio 1.5",
            "expected a mask ratio strictly between",
        ),
    ],
)
def test_what_is_wrong_with_a_run_is_said_in_one_line(arguments, message, pretrained, photos, tmp_path, capsys):
    before = {path: path.read_bytes() for path in pretrained.iterdir()}
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert command.main(arguments.format(tmp=tmp_path, photos=photos, run=pretrained).split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mae: ") and captured.err.count("\n") == 1 and message in captured.err
    assert {path: path.read_bytes() for path in pretrained.iterdir()} == before


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_truncated_image_is_named_and_loses_no_checkpoint(workers, pretrained, photos, tmp_path, capsys):
    data, out = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photos, data)
    arguments = ["pretrain", str(data), *SMALL, *FAST, "--epochs", "4", "--save-every", "1", "--workers", workers]
    arguments += ["--out", str(out)]
    path = data / "light" / "7.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    capsys.readouterr()
    assert command.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mae: {path} is not a readable image (image file is truncated") and said.count("\n") == 1
    done = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    if done:  # it goes on from there, once the image is mended
        assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == done[-1] < 3
    path.write_bytes(whole)
    assert command.main(arguments) == 0
    assert_same_weights(out, pretrained)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_full_disk_is_named_and_loses_no_checkpoint(pretrained, photos, tmp_path):
    """A process that may write no larger file; it finds the disk full at its second checkpoint."""
    arguments = ["pretrain", photos, *SMALL, *FAST, "--epochs", "4", "--out"]
    out, said = tmp_path / "run", tmp_path / "said"
    with Server() as server:
        pid = server.start([*arguments, out], said)
        while not (out / "checkpoint.pt").exists():
            pass
        os.kill(pid, signal.SIGKILL)
        server.wait(pid)
        good = (out / "checkpoint.pt").read_bytes()
        step = torch.load(out / "checkpoint.pt", weights_only=True)["step"]
        assert step < 12
        assert server.run([*arguments, out], said, largest=len(good) - 500) == 2
        assert said.read_text().splitlines()[-1] == (
            f"mae: can't write {out}/checkpoint.pt ([Errno 27] File too large): the last checkpoint is kept; "
            f"make room and run again"
        )
        assert (out / "checkpoint.pt").read_bytes() == good
        assert sorted(path.name for path in out.iterdir()) == ["checkpoint.pt", "log.jsonl", "settings.json"]
        assert server.run([*arguments, out], said) == 0
    assert_same_weights(out, pretrained)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_disk_that_is_full_at_the_end_keeps_the_checkpoint(pretrained, photos, tmp_path):
    out, said = tmp_path / "run", tmp_path / "said"
    shutil.copytree(pretrained, out)
    arguments = ["pretrain", photos, *SMALL, *FAST, "--epochs", "4", "--out", out]
    with Server() as server:
        assert server.run(arguments, said, largest=(out / "model.safetensors").stat().st_size - 500) == 2
    assert said.read_text().splitlines()[-1].startswith("mae: ") and "too large" in said.read_text()
    assert_same_weights(out, pretrained)
    assert (out / "checkpoint.pt").read_bytes() == (pretrained / "checkpoint.pt").read_bytes()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "mae: the GPU's memory is full: raise --accumulate, lower"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "mae: a worker process was killed"),
    ],
)
def test_too_little_memory_is_said_in_one_line(error, message, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.Examples, "__getitem__", lambda *_: (_ for _ in ()).throw(error))
    assert command.main(["pretrain", str(photos), *SMALL, *FAST, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_a_fault_of_our_own_is_not_hidden(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(command.Examples, "__getitem__", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        command.main(["pretrain", str(photos), *SMALL, *FAST, "--out", str(tmp_path / "run")])
