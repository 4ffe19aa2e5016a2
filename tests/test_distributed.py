"""Two processes learn what one learns, and when one of them dies the run stops, says so, and goes on when told to."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from processes import Server
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
RUN = (
    "--size tiny --width 16 --heads 2 --depth 2 --decoder-width 8 --decoder-heads 2 --decoder-depth 1 --image-size 16 "
    "--patch-size 8 --batch-size 5 --base-learning-rate 5e-2 --workers 0 --log-every 1 --save-every 5 --device cpu"
).split()


@pytest.fixture(scope="module", autouse=True)
def loopback():
    """Processes meet on this machine only."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        yield


@pytest.fixture(scope="module")
def server(loopback):
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 21 small pictures: batches of 5, and a last one that leaves a process without an example."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(21):
        Image.fromarray(rng.integers(0, 256, (20, 16 + i, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def arguments(photos, out, epochs=6):
    return ["pretrain", photos, *RUN, "--epochs", epochs, "--out", out]


def curve(out):
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(server, photos, tmp_path_factory):
    """The folder of a run in one process."""
    out = tmp_path_factory.mktemp("alone")
    assert server.run(arguments(photos, out), out / "output.txt") == 0
    assert len(curve(out)) == 30
    return out


def assert_same_run(out, alone):
    assert curve(out) == pytest.approx(curve(alone), rel=1e-5)
    a, b = (load_file(folder / "model.safetensors") for folder in (out, alone))
    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith("qkv.bias"):  # keys' biases have no gradient but rounding
            assert (a[name] - b[name]).abs().max() < 1e-4, name


@pytest.mark.parametrize(
    "options", [[], ["--accumulate", "2"], ["--shard"], ["--shard", "--accumulate", "2", "--clip", "0.5"]], ids=" ".join
)
def test_two_processes_learn_what_one_learns(options, server, photos, alone, tmp_path):
    if "--clip" in options:  # the length of a gradient is taken over all shards
        alone = tmp_path / "alone"
        assert server.run([*arguments(photos, alone), "--clip", "0.5"], tmp_path / "output") == 0
    pids = server.start_all(2, [*arguments(photos, tmp_path), *options], tmp_path / "output")
    assert [server.wait(pid) for pid in pids] == [0, 0], (tmp_path / "output0").read_text()
    assert_same_run(tmp_path, alone)
    assert "on 2 cpu processes" in (tmp_path / "output0").read_text()
    assert (tmp_path / "output1").read_text() == ""  # one of them speaks


def wait_for_steps(out, count):
    deadline, log = time.monotonic() + 60, out / "log.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < count:  # the last line may be half written
        assert time.monotonic() < deadline, "the run does not get on"


@pytest.mark.parametrize("shard", [[], ["--shard"]], ids=["whole", "sharded"])
def test_a_process_that_dies_stops_the_run_and_it_goes_on(shard, server, photos, tmp_path):
    """Begun in two processes, one of which is killed; gone on in one, killed too; ended in two, shared another way."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert server.run(arguments(photos, whole, 12), tmp_path / "output") == 0
    run = arguments(photos, out, 12)
    first, second = server.start_all(2, [*run, *shard], tmp_path / "output")
    wait_for_steps(out, 10)
    os.kill(second, signal.SIGKILL)
    assert server.wait(second) == -signal.SIGKILL
    assert server.wait(first) == 2
    said = (tmp_path / "output0").read_text().splitlines()[-1]
    assert said == "mae: another process of this run has ended; the same command goes on from the last checkpoint"
    pid = server.start(run, tmp_path / "output")
    wait_for_steps(out, 35)
    os.kill(pid, signal.SIGKILL)
    assert server.wait(pid) == -signal.SIGKILL
    pids = server.start_all(2, run if shard else [*run, "--shard"], tmp_path / "output")
    assert [server.wait(pid) for pid in pids] == [0, 0]
    assert_same_run(out, whole)


def test_torchrun_starts_the_same_command(photos, alone, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mae"]
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    command = [*torchrun, *map(str, arguments(photos, tmp_path))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path, alone)
