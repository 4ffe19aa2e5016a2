"""Training follows its schedule, learns, and after an interruption goes on as if nothing had happened."""

import math
import os
from dataclasses import replace

import pytest
import torch
from torch import nn

import mae.train
from mae.losses import masked_mse
from mae.masking import Mask, grid_mask
from mae.model import MaskedAutoencoder, tiny_config
from mae.patches import patchify
from mae.train import TrainConfig, fit, learning_rate, pretrain

RUN = TrainConfig(epochs=5, batch_size=6, patch_size=2, mask_ratio=0.5, augment=True, seed=3)  # 16 images: 6 + 6 + 4


class Stop(Exception):
    """What interrupts a run."""


@pytest.fixture
def fresh(seeded):
    """A function that makes the model a run starts with; another seed makes another one."""
    return lambda seed=0: MaskedAutoencoder(tiny_config(), generator=seeded(seed))


def stop_at(monkeypatch, call):
    """Let the loss of pre-training raise when it is called for the given time."""
    calls = iter(range(1, call + 1))

    def loss(*args, **kwargs):
        if next(calls) == call:
            raise Stop
        return masked_mse(*args, **kwargs)

    monkeypatch.setattr(mae.train, "masked_mse", loss)


def losses(log):
    """The log without its seconds, which differ."""
    return [(row["epoch"], row["loss"]) for row in log]


def assert_same_weights(model, other):
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# The schedule


def test_rate_rises_then_falls_as_half_a_cosine():
    config = TrainConfig(epochs=1, learning_rate=0.5, warmup=0.2)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:20] == pytest.approx([0.5 * (step + 1) / 21 for step in range(20)])
    assert rates[20] == max(rates) == 0.5
    assert rates[20:] == pytest.approx([0.25 * (1 + math.cos(math.pi * k / 80)) for k in range(80)])
    assert rates[60] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.001 * 0.5


def test_rate_without_warmup_starts_at_its_height():
    config = TrainConfig(epochs=1, learning_rate=0.5, warmup=0)
    rates = [learning_rate(step, 10, config) for step in range(10)]
    assert rates[0] == 0.5 and rates == sorted(rates, reverse=True)


def test_fit_follows_the_schedule(monkeypatch):
    seen = []
    model = nn.Linear(1, 2)

    def record(step, total, config):
        seen.append((step, total))
        return 0.25 / (1 + step)

    rates = []
    update = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        rates.extend({group["lr"] for group in self.param_groups})
        return update(self, *args, **kwargs)

    monkeypatch.setattr(mae.train, "learning_rate", record)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    fit(model, lambda batch, generator: model.weight.sum(), 10, TrainConfig(epochs=2, batch_size=4))
    assert list(dict.fromkeys(seen)) == [(step, 6) for step in range(6)]
    assert rates == [0.25 / (1 + step) for step in range(6)]


def test_each_example_is_seen_once_per_epoch_in_a_new_order():
    seen = []
    model = nn.Linear(1, 1)

    def loss(batch, generator):
        seen.append(batch.tolist())
        return model.weight.sum()

    fit(model, loss, 10, TrainConfig(epochs=2, batch_size=4))
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    first, second = ([i for batch in part for i in batch] for part in (seen[:3], seen[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second != sorted(second)


def test_log_holds_the_mean_over_examples():
    model = nn.Linear(1, 1)

    def loss(batch, generator):
        return 0 * model.weight.sum() + batch.float().mean()  # the mean over examples 0 … 9 is 4.5

    log = fit(model, loss, 10, TrainConfig(epochs=2, batch_size=4))
    assert [row["epoch"] for row in log] == [1, 2]
    assert [row["loss"] for row in log] == pytest.approx([4.5, 4.5])
    assert all(row["seconds"] > 0 for row in log)


def test_only_matrices_decay(fresh):
    model, before = fresh(), fresh()
    with torch.no_grad():
        for parameter in [*model.parameters(), *before.parameters()]:
            parameter += 1  # so that nothing is zero
    config = TrainConfig(epochs=1, batch_size=4, learning_rate=0.1, warmup=0, weight_decay=0.5)
    fit(model, lambda batch, generator: 0 * sum(p.sum() for p in model.parameters()), 4, config)
    for (name, a), b in zip(model.named_parameters(), before.parameters(), strict=True):
        kept = 1 - 0.1 * 0.5 if name.endswith("weight") and "norm" not in name else 1
        assert torch.allclose(a, kept * b, rtol=1e-6), name


# Learning


def test_a_tiny_model_learns_one_batch_by_heart(fresh, tiny_images):
    model = fresh()
    patches = patchify(tiny_images[:4], 2)
    mask = grid_mask(4, (2, 2))

    def loss(batch, generator):
        return masked_mse(model(patches, mask), patches, mask)

    log = fit(model, loss, 4, TrainConfig(epochs=600, batch_size=4, learning_rate=1e-2, weight_decay=0))
    hidden = patches[mask.is_hidden].view(4, 3, 4)
    spread = (hidden - hidden.mean(dim=0)).square().mean().item()  # what the best constant answer loses
    assert log[-1]["loss"] < 0.001 * spread
    with torch.no_grad():
        assert masked_mse(model(patches, mask), patches, mask).item() < 0.001 * spread


def test_normalised_targets_are_learned_from_p_minus_one_over_p(fresh, tiny_images):
    config = replace(RUN, epochs=25, normalized=True, augment=False)
    log = pretrain(model := fresh(), tiny_images, config)
    assert model.normalized
    # Four values in a patch: an answer of zeros loses 3/4, and a model that starts with more comes near it.
    assert log[0]["loss"] > 0.75
    assert log[-1]["loss"] == pytest.approx(0.75, abs=0.12)


@pytest.mark.parametrize("on", ["hidden", "visible", "all"])
def test_pretraining_takes_the_loss_where_it_is_told(on, fresh, tiny_images, monkeypatch):
    asked = []

    def loss(prediction, patches, mask, on, normalized):
        asked.append((on, normalized, tuple(prediction.shape)))
        return masked_mse(prediction, patches, mask, on=on, normalized=normalized)

    monkeypatch.setattr(mae.train, "masked_mse", loss)
    pretrain(fresh(), tiny_images, replace(RUN, epochs=1, mask_ratio=0.75), on=on)
    M = {"hidden": 3, "visible": 1, "all": 4}[on]
    assert asked == [(on, False, (size, M, 4)) for size in (6, 6, 4)]


def test_every_step_draws_a_new_mask_and_new_augmentations(fresh, tiny_images, monkeypatch):
    seen = []

    def loss(prediction, patches, mask, **kwargs):
        seen.append((patches, mask.hidden))
        return masked_mse(prediction, patches, mask, **kwargs)

    monkeypatch.setattr(mae.train, "masked_mse", loss)
    one = tiny_images[:1].expand(16, -1, -1, -1)
    pretrain(fresh(), one, replace(RUN, epochs=2, batch_size=16))
    (patches, hidden), (other_patches, other_hidden) = seen
    assert len(hidden.unique(dim=0)) > 1
    assert not torch.equal(hidden, other_hidden)
    distinct = torch.cat([patches, other_patches, patchify(one[:1], 2)]).unique(dim=0)
    assert len(distinct) == 16 + 16 + 1  # one image, never shown twice alike, nor as it is


def test_masks_go_where_the_images_are(fresh, tiny_images, monkeypatch):
    seen = []
    monkeypatch.setattr(Mask, "to", lambda mask, device: seen.append(device) or mask)
    pretrain(fresh(), tiny_images, replace(RUN, epochs=1))
    assert seen == [tiny_images.device] * 3


def test_a_seed_gives_its_run_again(fresh, tiny_images):
    models = [fresh() for _ in range(3)]
    logs = []
    for model, seed in zip(models, (3, 3, 4), strict=True):
        torch.rand(1)  # the global generator is elsewhere each time
        logs.append(losses(pretrain(model, tiny_images, replace(RUN, seed=seed))))
    assert logs[0] == logs[1] != logs[2]
    assert_same_weights(models[0], models[1])


def test_training_ends_in_evaluation_mode_and_leaves_images_alone(fresh, tiny_images):
    model, before = fresh(), tiny_images.clone()
    assert model.training
    pretrain(model, tiny_images, replace(RUN, epochs=1))
    assert not model.training
    assert torch.equal(tiny_images, before)


# Interruptions


@pytest.mark.parametrize("call", [1, 4, 8, 13])  # in the first step; at an epoch's first step; within epochs
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(call, fresh, tiny_images, tmp_path, monkeypatch):
    whole = fresh()
    log = pretrain(whole, tiny_images, RUN)
    path = tmp_path / "run.checkpoint"
    stop_at(monkeypatch, call)
    with pytest.raises(Stop):
        pretrain(fresh(), tiny_images, RUN, checkpoint=path)
    monkeypatch.undo()
    assert path.exists() == (call > 3)
    # With a checkpoint, nothing depends on the weights that the process starts anew with.
    resumed = fresh(0 if call <= 3 else 99)
    again = pretrain(resumed, tiny_images, RUN, checkpoint=path)
    assert losses(again) == losses(log)
    assert_same_weights(resumed, whole)


def test_resuming_does_only_what_is_left(fresh, tiny_images, tmp_path, monkeypatch):
    path = tmp_path / "run.checkpoint"
    stop_at(monkeypatch, 7)  # after two epochs of three steps
    with pytest.raises(Stop):
        pretrain(fresh(), tiny_images, RUN, checkpoint=path)
    stop_at(monkeypatch, 10)  # nine steps are left
    model = fresh(1)
    log = pretrain(model, tiny_images, RUN, checkpoint=path)
    stop_at(monkeypatch, 1)  # none is
    finished = fresh(2)
    assert pretrain(finished, tiny_images, RUN, checkpoint=path) == log
    assert_same_weights(finished, model)
    assert not finished.training


def fail_half_way(state, file):
    """A disk that fills up while a checkpoint is written."""
    file.write(b"half a checkpoint")
    raise OSError("no space left on device")


def fail(*args):
    """A system call that fails."""
    raise OSError("interrupted")


@pytest.mark.parametrize(("module", "name", "replacement"), [(torch, "save", fail_half_way), (os, "replace", fail)])
def test_a_failed_write_keeps_the_last_checkpoint(module, name, replacement, fresh, tiny_images, tmp_path, monkeypatch):
    whole = fresh()
    log = pretrain(whole, tiny_images, RUN)
    path = tmp_path / "run.checkpoint"
    stop_at(monkeypatch, 8)
    with pytest.raises(Stop):
        pretrain(fresh(), tiny_images, RUN, checkpoint=path)
    monkeypatch.undo()
    good = path.read_bytes()
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(OSError, match=r"can't write .*run\.checkpoint \(.*\): the last checkpoint is kept; make room"):
        pretrain(fresh(), tiny_images, RUN, checkpoint=path)
    monkeypatch.undo()
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]  # what was written of the new one takes no room
    resumed = fresh(99)
    assert losses(pretrain(resumed, tiny_images, RUN, checkpoint=path)) == losses(log)
    assert_same_weights(resumed, whole)


def test_a_run_stops_in_the_middle_of_its_schedule_and_goes_on(fresh, tiny_images, tmp_path):
    path = tmp_path / "run.checkpoint"
    whole, parts = fresh(), fresh()
    log = pretrain(whole, tiny_images, RUN)
    assert losses(pretrain(parts, tiny_images, RUN, checkpoint=path, stop=1)) == losses(log[:1])
    assert not parts.training
    assert losses(pretrain(fresh(99), tiny_images, RUN, checkpoint=path, stop=1)) == losses(log[:1])  # nothing to do
    parts = fresh(99)
    assert losses(pretrain(parts, tiny_images, RUN, checkpoint=path, stop=RUN.epochs + 5)) == losses(log)
    assert_same_weights(parts, whole)


def test_checkpoints_of_other_runs_are_refused(fresh, tiny_images, tmp_path):
    path = tmp_path / "run.checkpoint"
    config = replace(RUN, epochs=1)
    pretrain(fresh(), tiny_images, config, checkpoint=path)
    for change in ({"seed": 4}, {"mask_ratio": 0.75, "seed": 4}, {"epochs": 2}):
        other = replace(config, **change)
        named = ", ".join(name for name in vars(other) if name in change)
        with pytest.raises(
            ValueError, match=rf"run\.checkpoint is of a run with other settings \({named}\): delete it"
        ):
            pretrain(fresh(), tiny_images, other, checkpoint=path)
    with pytest.raises(ValueError, match=r"run\.checkpoint is of a run on 16 examples, not 15: delete it or choose"):
        pretrain(fresh(), tiny_images[:15], config, checkpoint=path)
    others = {
        "visible patches of images": {"images": tiny_images, "on": "visible"},
        "hidden": {"images": 1 - tiny_images},
    }
    for named, other in others.items():
        with pytest.raises(ValueError, match=rf"is of a run on hidden patches of images \w+, not {named}.*: delete it"):
            pretrain(fresh(), config=config, checkpoint=path, **other)
    wider = MaskedAutoencoder(replace(tiny_config(), width=12))
    with pytest.raises(ValueError, match=r"run\.checkpoint is of another model \((.|\n)*: delete it"):
        pretrain(wider, tiny_images, config, checkpoint=path)


def test_checkpoints_that_do_not_name_examples_are_read(fresh, tiny_images, tmp_path):
    """As versions before 0.2 wrote them."""
    path, model = tmp_path / "run.checkpoint", fresh()
    log = pretrain(model, tiny_images, RUN, checkpoint=path)
    state = torch.load(path, weights_only=True)
    assert state.pop("examples") == 16 and state.pop("data")
    torch.save(state, path)
    again = fresh(1)
    assert pretrain(again, tiny_images, RUN, checkpoint=str(path)) == log  # a path may be a string
    assert_same_weights(again, model)


class Bomb:
    """Runs code when it is unpickled without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("content", ["noise", "cut", "a list", "no config", "code"])
def test_unreadable_checkpoints_are_refused(content, fresh, tiny_images, tmp_path):
    path, marker = tmp_path / "run.checkpoint", tmp_path / "ran"
    config = replace(RUN, epochs=1)
    pretrain(fresh(), tiny_images, config, checkpoint=path)
    if content == "noise":
        path.write_bytes(b"not a checkpoint")
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        torch.save({"a list": [1], "no config": {"log": []}, "code": Bomb(marker)}[content], path)
    with pytest.raises(ValueError, match=r"run\.checkpoint is not a readable checkpoint \(.*(.|\n)*: delete it"):
        pretrain(fresh(), tiny_images, config, checkpoint=path)
    assert not marker.exists()


# What it refuses


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = nn.Linear(1, 1)
    path = tmp_path / "run.checkpoint"
    config = TrainConfig(epochs=3, batch_size=4)
    with pytest.raises(
        FloatingPointError, match=r"the loss became nan in epoch 1: lower the learning rate \(now 0.002"
    ):
        fit(model, lambda batch, generator: model.weight.sum() * math.nan, 8, config, checkpoint=path)
    assert not path.exists()


def test_bad_images_are_refused(fresh, tiny_images):
    config = replace(RUN, augment=False)
    with pytest.raises(ValueError, match=r"expected floating-point images, got torch\.uint8"):
        pretrain(fresh(), (255 * tiny_images).to(torch.uint8), config)
    with pytest.raises(ValueError, match=r"expected patches of the model's torch\.float32, got torch\.float64"):
        pretrain(fresh(), tiny_images.double(), config)
    with pytest.raises(ValueError, match="expected finite pixel values, got NaN or infinity"):
        pretrain(fresh(), torch.where(tiny_images > 0.99, math.inf, tiny_images), config)
    with pytest.raises(ValueError, match=r"expected patches \(B, 4, 4\) for this model, got \(6, 6, 4\)"):
        pretrain(fresh(), torch.rand(16, 1, 4, 6), config)
    with pytest.raises(ValueError, match="4×5 pixels can't be cut into patches of 2×2"):
        pretrain(fresh(), torch.rand(16, 1, 4, 5), config)
    with pytest.raises(ValueError, match="expected at least one example, got 0"):
        pretrain(fresh(), tiny_images[:0], config)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.99])
def test_bad_ratios_are_refused(ratio, fresh, tiny_images):
    with pytest.raises(
        ValueError, match=rf"ratio strictly between 0 and 1, got {ratio}|ratio of {ratio} leaves 0 of 4"
    ):
        pretrain(fresh(), tiny_images, replace(RUN, mask_ratio=ratio))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "expected at least one epoch and one example in a batch, got 0, 6"),
        ({"batch_size": 0}, "expected at least one epoch and one example in a batch, got 5, 0"),
        ({"learning_rate": 0.0}, r"expected a positive learning rate, got 0\.0"),
        ({"learning_rate": math.nan}, "expected a positive learning rate, got nan"),
        ({"warmup": 1.0}, r"expected a warm-up share from 0 to below 1, got 1\.0"),
        ({"warmup": -0.1}, r"expected a warm-up share from 0 to below 1, got -0\.1"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(RUN, **change)
