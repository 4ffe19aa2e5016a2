"""The benchmark of a training step runs, and what the book shows of it is a complete run."""

import json
import sys
from pathlib import Path

import pytest

import mae.attention
import mae.linear

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import step

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def choices(monkeypatch):
    """A step sets them."""
    monkeypatch.setattr(mae.linear, "use_onednn", mae.linear.use_onednn)
    monkeypatch.setattr(mae.attention, "LONGEST", mae.attention.LONGEST)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_our_step_runs(bf16, plain):
    run, batch = step.make_step(step.ours, "small", bf16=bf16, plain=plain)
    assert batch == 64 and run() > 0
    assert (mae.attention.LONGEST == 0) == plain


@pytest.mark.parametrize("bf16", [False, True])
def test_the_peak_is_measured(bf16):
    assert all(peak > 0 for peak in step.matrix_peaks(bf16).values())


def test_stored_results_are_complete():
    content = json.loads((ROOT / "mae" / "results" / "benchmark.json").read_text(encoding="utf-8"))
    runs = [(size, precision) for size in step.SIZES for precision in ("fp32", "bf16")]
    assert [(run["size"], run["precision"]) for run in content["runs"]] == runs
    for run in content["runs"]:
        assert run["batch"] == step.SIZES[run["size"]][3] and run["rounds"] >= 5
        others = ["ours, PyTorch's routines", "ours, compiled", *["ours, fp32"] * (run["precision"] == "bf16")]
        assert [row["name"] for row in run["rows"]] == ["ours", *step.PEERS, *others]
        for row in run["rows"]:
            low, high = row["quartiles"]
            assert low <= row["speed_of_ours_relative"] <= high
            assert (row["peak_MB"] is None) == ("," in row["name"])
