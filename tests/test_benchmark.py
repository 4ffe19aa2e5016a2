"""The benchmark of a training step runs, and what the book shows of it is a complete run."""

import json
import sys
from pathlib import Path

import pytest

import mae.linear

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import step

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("bf16", [False, True])
def test_our_step_runs(bf16, monkeypatch):
    monkeypatch.setattr(mae.linear, "use_onednn", mae.linear.use_onednn)  # a step sets it
    run, batch = step.make_step(step.ours, "small", bf16=bf16)
    assert batch == 64 and run() > 0


def test_the_peak_is_measured():
    assert all(peak > 0 for peak in step.matrix_peaks().values())


def test_stored_results_are_complete():
    content = json.loads((ROOT / "mae" / "results" / "benchmark.json").read_text(encoding="utf-8"))
    assert [run["size"] for run in content["sizes"]] == list(step.SIZES)
    for run in content["sizes"]:
        assert run["batch"] == step.SIZES[run["size"]][3] and run["rounds"] >= 5
        others = ["ours, PyTorch's products", "ours, compiled", "ours, bf16"]
        assert [row["name"] for row in run["rows"]] == ["ours", *step.PEERS, *others]
        for row in run["rows"]:
            low, high = row["quartiles"]
            assert low <= row["speed_of_ours_relative"] <= high
            assert (row["peak_MB"] is None) == ("," in row["name"])
