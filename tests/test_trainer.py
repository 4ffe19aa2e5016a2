"""The trainer learns as it says, and whatever stops it, goes on as if nothing had happened."""

import json
import math
import os
import random
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import Server
from safetensors.torch import load_file
from torch import nn

import mae.trainer
from mae.evaluate import Classifier, Finetuning
from mae.images import Examples, Images
from mae.losses import masked_mse
from mae.masking import Mask
from mae.model import Block, MaskedAutoencoder, tiny_config, vit_config
from mae.trainer import Pretraining, Settings, World, parameter_groups, plan, train

SETTINGS = Settings(
    model=tiny_config(), patch_size=2, augment="affine", mask_ratio=0.5, epochs=3, batch_size=6, base_learning_rate=0.1
)  # 16 images: 6 + 6 + 4
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def images(tiny_images):
    """Sixteen pictures of 4×4 pixels, of two classes."""
    return Images(tiny_images, 1, torch.arange(16) % 2, ("even", "odd"), "sixteen")


@pytest.fixture
def make(images, seeded):
    """A function: settings → a new task and its examples."""

    def make(settings=SETTINGS):
        model = MaskedAutoencoder(settings.model, generator=seeded(settings.seed))
        shape = {"patch_size": settings.patch_size, "size": (4, 4), "augment": settings.augment, "seed": settings.seed}
        if settings.classes:
            classifier = Classifier(model, settings.classes, drop_path=settings.drop_path, generator=seeded(1))
            return Finetuning(classifier, settings.smoothing), Examples(images, noise=settings.model.depth, **shape)
        return Pretraining(model, settings.normalized), Examples(images, mask_ratio=settings.mask_ratio, **shape)

    return make


def losses(log):
    return [(row["step"], row["loss"]) for row in log]


def assert_close(task, other):
    for (name, a), b in zip(task.named_parameters(), other.parameters(), strict=True):
        if not name.endswith(
            "qkv.bias"
        ):  # keys' biases have no gradient but rounding, which AdamW makes as large as any
            assert torch.allclose(a, b, atol=2e-5), name


def assert_same(state, other):
    assert state.keys() == other.keys()
    for (name, a), b in zip(state.items(), other.values(), strict=True):
        assert torch.equal(a, b), name


# What it learns


def test_a_run_follows_schedule_groups_and_clipping(make, monkeypatch):
    """Against a loop written out by hand, from the same examples."""
    settings = replace(SETTINGS, clip=0.05, weight_decay=0.3)
    task, examples = make(settings)
    log = train(task, examples, settings, log_every=1)
    other, _ = make(settings)
    decayed = [p for name, p in other.named_parameters() if p.ndim > 1]
    free = [p for name, p in other.named_parameters() if p.ndim == 1]
    assert any(name.endswith("token") for name, p in other.named_parameters() if p.ndim > 1)
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.3}, {"params": free, "weight_decay": 0}])
    for step, keys in enumerate(plan(16, settings, 0, ALONE, 1)):
        warmup = 0.05 * 9
        peak = 0.1 * 6 / 256
        for group in optimizer.param_groups:
            group["betas"] = (0.9, 0.95)
            group["lr"] = peak / 2 * (1 + math.cos(math.pi * (step - warmup) / (9 - warmup)))
            if step < warmup:
                group["lr"] = peak * (step + 1) / (warmup + 1)
        patches, visible, hidden = (
            torch.stack(x) for x in list(zip(*(examples[key] for key in keys), strict=True))[:3]
        )
        mask = Mask(visible, hidden)
        loss = masked_mse(other.model(patches, mask), patches, mask)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in other.parameters()]).norm()
        assert norm > 0.05
        for p in other.parameters():
            p.grad *= 0.05 / (norm + 1e-6)
        optimizer.step()
        assert log[step]["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert log[step]["learning_rate"] == pytest.approx(optimizer.param_groups[0]["lr"])
        assert log[step]["epoch"] == pytest.approx((step + 1) / 3, abs=1e-4)
    assert_close(task, other)


def test_published_groups(seeded):
    """Pre-training decays all but vectors; fine-tuning spares the class token, and learns slower near the pixels."""
    config = replace(tiny_config(), depth=3)
    model = MaskedAutoencoder(config)
    settings = replace(SETTINGS, model=config)
    names = {id(p): name for name, p in Pretraining(model).named_parameters()}
    found = {names[id(p)]: g for g in parameter_groups(Pretraining(model), settings) for p in g["params"]}
    assert found.keys() == set(names.values())
    for name, group in found.items():
        vector = name.endswith("bias") or "norm" in name
        assert group["weight_decay"] == (0 if vector else 0.05) and group["scale"] == 1, name
    task = Finetuning(Classifier(model, 2))
    names = {id(p): name for name, p in task.named_parameters()}
    groups = parameter_groups(task, replace(settings, classes=2, layer_decay=0.5))
    found = {names[id(p)].removeprefix("classifier."): g for g in groups for p in g["params"]}
    assert found.keys() == {name.removeprefix("classifier.") for name in names.values()}
    scale = {name: group["scale"] for name, group in found.items()}
    assert scale["cls_token"] == scale["patch_embed.weight"] == scale["patch_embed.bias"] == 0.5**4
    assert [scale[f"blocks.{i}.mlp.fc1.weight"] for i in range(3)] == [0.5**3, 0.5**2, 0.5]
    assert scale["head.weight"] == scale["norm.bias"] == 1
    assert found["cls_token"]["weight_decay"] == 0 and found["head.weight"]["weight_decay"] == 0.05


def test_learning_rate_is_in_proportion_to_the_batch():
    published = Settings(model=vit_config("base"), patch_size=16, epochs=800, batch_size=4096)
    assert published.learning_rate == pytest.approx(2.4e-3)
    assert published.warmup * published.epochs == 40
    assert replace(published, batch_size=64).learning_rate == pytest.approx(1.5e-4 / 4)


@pytest.mark.parametrize("accumulate", [2, 4, 5])
def test_accumulation_does_not_change_what_is_learned(accumulate, make):
    """Parts of different sizes too: 6 examples in 4 or 5 parts, and the last 4 of an epoch."""
    task, examples = make()
    log = train(task, examples, SETTINGS, log_every=1)
    other, examples = make()
    again = train(other, examples, SETTINGS, log_every=1, accumulate=accumulate)
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in log], rel=1e-5)
    assert_close(task, other)


def test_plan_shows_every_example_once_per_epoch_to_one_process():
    for size, accumulate, batch in ((1, 1, 6), (2, 1, 6), (3, 2, 4), (2, 3, 5)):
        settings = replace(SETTINGS, batch_size=batch)
        parts = [list(plan(16, settings, 0, World(r, size, None), accumulate)) for r in range(size)]
        steps = math.ceil(16 / batch)
        assert {len(p) for p in parts} == {3 * steps * accumulate}
        for step in range(3 * steps):
            keys = [k for p in parts for part in p[step * accumulate :][:accumulate] for k in part]
            assert sum(weight for *_, weight in keys) == pytest.approx(1)
        seen = [(epoch, i) for p in parts for part in p for epoch, i, weight in part if weight]
        assert sorted(seen) == [(epoch, i) for epoch in range(3) for i in range(16)]
        later = [list(plan(16, settings, 4, World(r, size, None), accumulate)) for r in range(size)]
        assert later == [p[4 * accumulate :] for p in parts]
    orders = [[i for *_, i, _ in part] for part in plan(16, replace(SETTINGS, batch_size=16), 0, ALONE, 1)]
    assert orders[0] != orders[1] != orders[2] != list(range(16))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_nearly_the_same(precision, make, monkeypatch):
    scaler = torch.amp.GradScaler  # of a scale that does not overflow: that would leave out a step
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, **k, init_scale=64.0))
    seen = []
    forward = Block.forward
    spy = lambda self, x, *more: (seen.append(self.mlp.fc1(x).dtype), forward(self, x, *more))[1]  # noqa: E731
    monkeypatch.setattr(Block, "forward", spy)
    settings = replace(SETTINGS, epochs=2, clip=0.05)
    task, examples = make()
    log = train(task, examples, settings, log_every=1)
    assert set(seen) == {torch.float32}
    seen.clear()
    other, examples = make()
    again = train(other, examples, replace(settings, precision=precision), log_every=1)
    assert set(seen) == {mae.trainer.PRECISIONS[precision]}
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in log], rel=0.02)
    assert losses(again) != losses(log)
    assert {p.dtype for p in other.parameters()} == {torch.float32}


def test_half_precision_clips_what_the_gradient_is_not_what_it_is_scaled_to(make, monkeypatch):
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, **k, init_scale=64.0))
    norms, clip = [], nn.utils.clip_grad_norm_
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *args: norms.append(clip(*args).item()))
    for precision in ("fp32", "fp16"):
        settings = replace(SETTINGS, epochs=1, batch_size=16, clip=0.05, precision=precision)
        train(*make(settings), settings)
    assert norms[1] == pytest.approx(norms[0], rel=0.02)


def test_layers_learn_at_their_own_rates(make):
    """AdamW's first step is as long as the rate, whatever the gradient."""
    settings = replace(SETTINGS, classes=2, epochs=1, batch_size=16, weight_decay=0.0)
    steps = []
    for decay in (1.0, 0.5):
        task, examples = make(replace(settings, layer_decay=decay))
        nn.init.ones_(task.classifier.head.weight[0])  # or nothing else has a gradient to speak of
        before = {name: p.detach().clone() for name, p in task.classifier.named_parameters()}
        train(task, examples, replace(settings, layer_decay=decay))
        steps.append({name: (p - before[name]).abs().max().item() for name, p in task.classifier.named_parameters()})
    ratios = {name: steps[1][name] / steps[0][name] for name in steps[0]}
    assert ratios["head.bias"] == pytest.approx(1)
    assert ratios["blocks.0.mlp.fc1.weight"] == pytest.approx(0.5, rel=0.01)
    assert ratios["patch_embed.weight"] == pytest.approx(0.25, rel=0.01)


def test_half_precision_skips_a_step_that_overflows(make, monkeypatch):
    """The first scale is too high for these gradients: it is halved, and the weights stay as they are."""
    task, examples = make()
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    settings = replace(SETTINGS, precision="fp16", epochs=1, batch_size=16)
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, **k, init_scale=2.0**24))
    train(task, examples, settings)
    assert_same(before, task.state_dict())


def test_compiled_blocks_learn_the_same(make, monkeypatch):
    compiled = []
    monkeypatch.setattr(Block, "compile", lambda self: compiled.append(nn.Module.compile(self, backend="eager")))
    task, examples = make()
    log = train(task, examples, replace(SETTINGS, epochs=1), log_every=1)
    other, examples = make()
    assert losses(train(other, examples, replace(SETTINGS, epochs=1), log_every=1, compiled=True)) == losses(log)
    assert len(compiled) == 2
    assert_same(task.state_dict(), other.state_dict())


def test_fine_tuning_learns_the_classes(make):
    """Bright against dark pictures; labels of training examples only."""
    settings = replace(SETTINGS, classes=2, augment="none", epochs=60, drop_path=0.5, smoothing=0.1, layer_decay=0.9)
    task, examples = make(settings)
    examples.images.pictures[examples.images.labels == 1] *= 0.2
    log = train(task, examples, settings, log_every=1)
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=0.02)
    assert 0.19 < log[-1]["loss"] < 0.35  # with smoothed labels, a perfect answer still loses 0.199
    patches = torch.stack([examples[0, i, 1.0][0] for i in range(16)])
    assert (task.classifier(patches).argmax(1) == examples.images.labels).all()


def test_skipped_blocks_keep_the_mean(seeded):
    model = MaskedAutoencoder(replace(tiny_config(), depth=2), generator=seeded(0))
    classifier = Classifier(model, 3, drop_path=0.25, generator=seeded(1))
    classifier.norm, classifier.head = nn.Identity(), nn.Identity()
    patches = torch.rand(1, 4, 4, generator=seeded(2))
    assert classifier.drop == [0, 0.25]
    whole = classifier.eval()(patches)
    model.norm = nn.Identity()
    assert torch.allclose(whole, model.encode(patches)[:, 1:].mean(dim=1), atol=1e-6)  # the encoder, on all patches
    classifier.train()
    kept = classifier(patches, torch.tensor([[0.0, 0.25]]))
    skipped = classifier(patches, torch.tensor([[0.0, 0.2]]))
    assert not torch.allclose(kept, skipped)
    assert torch.allclose(0.75 * kept + 0.25 * skipped, whole, atol=1e-6)


# Interruptions


class Stop(Exception):
    """What interrupts a run."""


def stop_at(monkeypatch, step):
    def rate(now, total, settings):
        if now == step:
            raise Stop
        return 1e-3

    monkeypatch.setattr(mae.trainer, "learning_rate", rate)


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, precision="fp16", clip=1.0)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_resumed_run_is_bit_identical(settings, step, make, tmp_path, monkeypatch):
    scaler = torch.amp.GradScaler  # of a scale that grows within the run
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, **k, init_scale=64.0, growth_interval=2))
    stop_at(monkeypatch, None)
    task, examples = make(settings)
    whole, out = tmp_path / "whole", tmp_path / "run"
    whole.mkdir()
    out.mkdir()
    log = train(task, examples, settings, whole, save_every=2, log_every=2)
    assert [row["step"] for row in log] == [2, 4, 6, 8, 9]
    other, _ = make(settings)
    stop_at(monkeypatch, step)
    with pytest.raises(Stop):
        train(other, examples, settings, out, save_every=2, log_every=2)
    stop_at(monkeypatch, None)
    with (out / "log.jsonl").open("a") as file:
        file.write('{"step": 99}\n{"step": 1')  # later than the checkpoint; and cut off in the middle of a line
    resumed, _ = make(replace(settings, seed=9))  # with a checkpoint, initial weights don't matter
    if step == 1:
        resumed, _ = make(settings)
    again = train(resumed, examples, settings, out, save_every=2, log_every=2)
    assert losses(again) == losses(log)
    assert [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()] == again
    assert_same(task.state_dict(), resumed.state_dict())
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    scalers = [torch.load(folder / "checkpoint.pt", weights_only=True)["scaler"] for folder in (whole, out)]
    assert scalers[0] == scalers[1]
    assert (scalers[0].get("scale", 0) > 64) == (settings.precision == "fp16")


def test_a_finished_run_is_only_read(make, tmp_path, monkeypatch):
    task, examples = make()
    log = train(task, examples, SETTINGS, tmp_path)
    assert [row["step"] for row in log] == [3, 6, 9]
    stop_at(monkeypatch, 8)
    other, _ = make(replace(SETTINGS, seed=9))
    assert losses(train(other, examples, SETTINGS, tmp_path)) == losses(log)
    assert_same(task.state_dict(), other.state_dict())


def test_checkpoints_of_other_runs_are_refused(make, tmp_path, images):
    task, examples = make()
    train(task, examples, SETTINGS, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["config"] == asdict(SETTINGS) and state["step"] == 9
    for change, named in (
        ({"seed": 4, "clip": 1.0}, "clip, seed"),
        ({"model": replace(tiny_config(), depth=2)}, "model"),
        ({"weights": "0c5e"}, "weights"),
    ):
        with pytest.raises(ValueError, match=rf"checkpoint\.pt is of a run with other settings \({named}\): choose"):
            train(task, examples, replace(SETTINGS, **change), tmp_path)
    other = replace(examples, images=replace(images, name="seventeen"))
    with pytest.raises(ValueError, match=r"is of a run on other data \(sixteen; here seventeen\): choose another"):
        train(task, other, SETTINGS, tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"noise")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint"):
        train(task, examples, SETTINGS, tmp_path)


def test_checkpoints_that_do_not_know_their_weights_go_on(make, tmp_path):
    """As they were written before there was this setting."""
    task, examples = make()
    log = train(task, examples, SETTINGS, tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["config"].pop("weights") == ""
    torch.save(state, tmp_path / "checkpoint.pt")
    assert losses(train(make()[0], examples, replace(SETTINGS, weights="0c5e"), tmp_path)) == losses(log)


def test_a_full_disk_is_named_where_the_log_is_written(make, tmp_path, monkeypatch):
    task, examples = make()
    log = train(task, examples, replace(SETTINGS, epochs=1), log_every=1)
    write = Path.open

    def fail(path, mode="r", *args, **kwargs):
        if mode == "a" and (tmp_path / "checkpoint.pt").exists():
            raise OSError(28, "No space left on device")
        return write(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", fail)
    task, examples = make()
    with pytest.raises(OSError, match=r"can't write .*log\.jsonl \(.*No space left.*\): the last checkpoint is kept"):
        train(task, examples, replace(SETTINGS, epochs=1), tmp_path, save_every=1, log_every=1)
    monkeypatch.undo()
    again = train(task, examples, replace(SETTINGS, epochs=1), tmp_path, save_every=1, log_every=1)
    assert losses(again) == losses(log)


def test_a_loss_that_is_not_finite_stops_the_run_before_a_checkpoint(make, tmp_path):
    task, examples = make()
    with torch.no_grad():
        task.model.mask_token.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="the loss became nan before step 3: lower the learning rate"):
        train(task, examples, SETTINGS, tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "expected epochs of at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
        ({"seed": -1}, "expected seed of at least 0, got -1"),
        ({"patch_size": 0}, "expected patch_size of at least 1, got 0"),
        ({"mask_ratio": 1.5}, "expected mask_ratio strictly between 0 and 1, got 1.5"),
        ({"clip": math.nan}, "expected clip of at least 0, got nan"),
        ({"warmup": 1.0}, "expected warmup from 0 to below 1, got 1.0"),
        ({"base_learning_rate": 0.0}, "expected a positive base_learning_rate, got 0.0"),
        ({"augment": "cut"}, "expected augment crop, affine, none, got 'cut'"),
        ({"precision": "fp8"}, "expected precision fp32, bf16, fp16, got 'fp8'"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


@pytest.mark.parametrize(("name", "value"), [("accumulate", 0), ("workers", -1), ("log_every", 0)])
def test_impossible_ways_to_run_are_refused(name, value, make):
    with pytest.raises(ValueError, match=f"expected {name} of at least [01], got {value}"):
        train(*make(), SETTINGS, **{name: value})


# Killed, in real processes


@pytest.fixture(scope="module")
def server():
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 24 small pictures."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (20, 16 + i, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


SMALL = (
    "--size tiny --width 16 --heads 2 --depth 2 --decoder-width 8 --decoder-heads 2 --decoder-depth 1 --image-size 16 "
    "--patch-size 8 --batch-size 8 --base-learning-rate 1e-2 --workers 0 --log-every 1 --save-every 3"
).split()


def steps_done(out):
    """Rows in the log of a run."""
    path = out / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_until(condition):
    """Look again and again, as often as can be."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the moment never came"


def written(path):
    """When a file was written, in nanoseconds; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_twenty_kills_leave_no_trace(server, photos, tmp_path):
    """At random moments, half of them while a checkpoint is being written."""
    arguments = ["pretrain", photos, *SMALL, "--epochs", "75", "--out"]  # 225 steps
    assert server.run([*arguments, tmp_path / "whole"], tmp_path / "whole.txt") == 0
    out, draw = tmp_path / "killed", random.Random(0)
    partial = out / "checkpoint.pt.partial"
    torn = 0
    for life in range(20):
        pid = server.start([*arguments, out], tmp_path / "killed.txt")
        left_over = written(partial)  # by a life before
        goal, delay = 10 * life + draw.randint(0, 9), draw.random() * 0.01
        wait_until(lambda goal=goal: steps_done(out) >= goal)
        if life % 2:
            wait_until(lambda left_over=left_over: written(partial) not in (0, left_over))
        else:
            time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        assert server.wait(pid) == -signal.SIGKILL, "the run ended before it was killed"
        torn += written(partial) not in (0, left_over)
    assert torn >= 3, "no kill hit a checkpoint that was being written"
    assert server.run([*arguments, out], tmp_path / "killed.txt") == 0
    assert_same(*(load_file(folder / "model.safetensors") for folder in (out, tmp_path / "whole")))
    states = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "killed")]
    for key, ours in states[0]["optimizer"]["state"].items():
        assert_same(ours, states[1]["optimizer"]["state"][key])
    logs = [[json.loads(x) for x in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("whole", "killed")]
    assert losses(logs[0]) == losses(logs[1])
    assert not list(out.glob("*.partial"))
