"""Weights come back as they were written, what is no weights file is refused, and what ships is as good as told."""

import json
import os
import pickle
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mae import weights
from mae.__main__ import RECIPE, digits_scores
from mae.masking import random_mask
from mae.model import Encoder, MaskedAutoencoder, digits_config, tiny_config
from mae.weights import PRETRAINED, load_model, load_pretrained, save_model


@pytest.fixture
def stored(tiny, tmp_path):
    """A file with the weights of the tiny model."""
    path = tmp_path / "tiny.safetensors"
    save_model(tiny, path)
    return path


@pytest.fixture
def batch(seeded):
    return torch.rand(3, 4, 4, generator=seeded(1)), random_mask(3, 4, 0.5, generator=seeded(2))


# There and back


def test_single_precision_comes_back_bit_by_bit(tiny, stored, batch):
    loaded = load_model(stored)
    assert loaded.config == tiny.config
    assert not loaded.training
    assert list(loaded.state_dict()) == list(tiny.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), tiny.state_dict().values(), strict=True))
    assert torch.equal(loaded(*batch), tiny(*batch))


def test_half_precision_comes_back_rounded_in_half_the_space(seeded, tmp_path):
    model = MaskedAutoencoder(digits_config(), generator=seeded(0))
    paths = tmp_path / "half.safetensors", tmp_path / "single.safetensors"
    save_model(model, paths[0], dtype=torch.float16)
    save_model(model, str(paths[1]))
    assert paths[0].stat().st_size < 0.51 * paths[1].stat().st_size
    loaded = load_model(str(paths[0])).state_dict()
    for name, tensor in model.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor.half().float()), name
        assert torch.allclose(loaded[name], tensor, rtol=2**-11, atol=2**-25), name
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())  # the model itself stays


@pytest.mark.parametrize("kind", [MaskedAutoencoder, Encoder])
@pytest.mark.parametrize("normalized", [None, False, True])
def test_a_file_knows_what_is_predicted_and_whether_there_is_a_decoder(kind, normalized, tmp_path, batch, seeded):
    model, path = kind(tiny_config(), generator=seeded(1)), tmp_path / "model.safetensors"
    if normalized is not None:
        model.normalized = normalized
    save_model(model, path)
    loaded = load_model(path)
    assert type(loaded) is kind and loaded.normalized is bool(normalized)
    assert torch.equal(loaded.encode(*batch), model.encode(*batch))


def test_older_files_predict_pixels(stored):
    with safe_open(stored, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    del metadata["normalized"]
    save_file(tensors, stored, metadata=metadata)
    assert load_model(stored).normalized is False
    assert load_pretrained("digits").normalized is False


def test_a_file_holds_weights_and_sizes_only(tiny, stored):
    with safe_open(stored, framework="pt") as file:
        assert json.loads(file.metadata()["config"]) == {**asdict(tiny.config), "grid": [2, 2]}
        assert set(file.keys()) == set(tiny.state_dict())  # the fixed positions are not stored


def test_loading_draws_no_random_numbers(stored):
    before = torch.get_rng_state()
    load_model(stored)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_can_be_trained_on(stored, batch):
    loaded = load_model(stored)
    loaded(*batch).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


@pytest.mark.parametrize("name", ["save_file", "replace"])
def test_a_failed_write_keeps_the_old_file(name, tiny, stored, seeded, monkeypatch):
    before = stored.read_bytes()

    def fail(tensors, path, *args, **kwargs):
        if name == "save_file":
            path.write_bytes(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(weights if name == "save_file" else os, name, fail)
    with pytest.raises(OSError, match="no space left"):
        save_model(MaskedAutoencoder(tiny_config(), generator=seeded(9)), stored)
    assert stored.read_bytes() == before


# What is refused


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.safetensors"
    with pytest.raises(
        FileNotFoundError, match=r"no weights at .*none\.safetensors: train some with `python -m mae pre"
    ):
        load_model(path)
    with pytest.raises(FileNotFoundError, match="no weights at "):
        load_model(tmp_path)  # a folder


def refused(path):
    """The message with which the file is refused."""
    with pytest.raises(ValueError) as error:
        load_model(path)
    message = str(error.value)
    assert message.startswith(f"{path} does not hold a masked autoencoder written by save_model, or is damaged (")
    assert message.endswith("): copy it again or train anew")
    return message


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_truncated_files_are_refused(kept, stored):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    refused(stored)


@pytest.mark.parametrize("place", [0, 7, 8, 30])
def test_damaged_heads_are_refused(place, stored):
    content = bytearray(stored.read_bytes())
    content[place] ^= 0xFF
    stored.write_bytes(content)
    refused(stored)


def test_a_single_changed_bit_in_the_weights_is_noticed(stored):
    content = bytearray(stored.read_bytes())
    for place in (-1, -1000, 8 + int.from_bytes(content[:8], "little")):  # the last byte, one within, the first
        damaged = content.copy()
        damaged[place] ^= 1
        stored.write_bytes(damaged)
        assert "expected SHA-256" in refused(stored)


def test_files_with_something_added_are_refused(stored):
    stored.write_bytes(stored.read_bytes() + b"\0")
    refused(stored)


def rewrite(path, tensors=None, **metadata):
    """Write the file anew with other tensors or other sizes."""
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}
        settings = file.metadata()
    save_file(kept if tensors is None else tensors(kept), path, metadata={**settings, **metadata})


def test_other_weights_are_refused(tiny, stored):
    content = stored.read_bytes()
    without = {name: t for name, t in tiny.state_dict().items() if name != "norm.bias"}
    for tensors, named in (
        (without, "norm.bias"),
        ({**tiny.state_dict(), "extra": torch.zeros(2)}, "extra"),
        ({**tiny.state_dict(), "mask_token": torch.zeros(1, 1, 9)}, "mask_token"),
    ):
        stored.write_bytes(content)
        rewrite(stored, lambda _, tensors=tensors: tensors)
        assert named in refused(stored)


def test_other_sizes_are_refused(stored):
    content = stored.read_bytes()
    for config, named in (
        (asdict(replace(tiny_config(), width=12)), "size mismatch"),
        ({**asdict(tiny_config()), "width": 6}, "divisible by 4"),
        ({**asdict(tiny_config()), "colour": 6}, "colour"),
        ({"grid": [2, 2]}, "missing"),
    ):
        stored.write_bytes(content)
        rewrite(stored, config=json.dumps(config))
        assert named in refused(stored)
    stored.write_bytes(content)
    rewrite(stored, config="no json")
    refused(stored)


def test_weights_of_something_else_are_refused(stored):
    save_file({"weight": torch.zeros(2)}, stored)
    assert "KeyError" in refused(stored)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def test_pickles_are_refused_and_not_run(tmp_path):
    path, marker = tmp_path / "model.pt", tmp_path / "ran"
    for write in (lambda: path.write_bytes(pickle.dumps(Bomb(marker))), lambda: torch.save(Bomb(marker), path)):
        write()
        refused(path)
        assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the file was dangerous indeed


def test_models_that_do_not_ship_are_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="expected \"digits\", got 'faces'"):
        load_pretrained("faces")
    monkeypatch.setattr(weights, "PRETRAINED", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*digits\.safetensors"):
        load_pretrained("digits")


# The model that ships


@pytest.fixture(scope="module")
def record():
    """What is told of the shipped model."""
    return json.loads((PRETRAINED / "digits.json").read_text(encoding="utf-8"))


def test_shipped_digits_are_small_and_half_precision(record):
    path = PRETRAINED / "digits.safetensors"
    assert path.stat().st_size <= 3_000_000
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}
        assert "sha256" in file.metadata()
    model = load_pretrained("digits")
    assert sum(parameter.numel() for parameter in model.parameters()) <= 1_500_000
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model.config == digits_config()
    assert record["model"] == {**asdict(model.config), "grid": list(model.config.grid)}


def test_shipped_digits_come_with_their_recipe(record):
    recipe = record["recipe"]
    assert recipe == {**asdict(RECIPE), "betas": list(RECIPE.betas), "seed": recipe["seed"]}
    assert record["command"] == "python -m mae pretrain digits"
    assert [row["epoch"] for row in record["log"]] == list(range(1, recipe["epochs"] + 1))
    assert record["log"][-1]["loss"] < 0.5 * record["log"][0]["loss"]
    assert record["seconds"] > 0 and set(record["versions"]) == {"torch", "python", "threads"}


def test_shipped_digits_scores(record):
    scores = digits_scores(PRETRAINED / "digits.safetensors")
    assert scores == pytest.approx(record["scores"], abs=0.003)
    assert scores["linear_probe"] >= 0.975
    assert scores["nearest_neighbors"] >= 0.96
