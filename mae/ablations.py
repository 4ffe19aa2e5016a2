"""The paper's ablations, small enough for a laptop (He et al., 2022, section 4.1 and table 1).

``python -m mae ablate`` fills ``results/ablations.json``, one run after the other; stopped, it goes on where it was.
A probe that `mae.experiments` has stored already is not used: here each model is measured in all ways.
"""

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae.data import load_digits
from mae.evaluate import Classifier
from mae.experiments import PATCH, Setting, frozen_features, run_missing, train
from mae.model import MaskedAutoencoder
from mae.patches import patchify
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "ablations.json"

BASE = Setting()
PAPER_BASE = (84.9, 73.5)
MEASURES = ("labels", "probe")  # ours, in the order of the paper's: fine-tuned, linear probe
SMALLEST = 0.5  # points: a smaller difference in the paper, of single runs, is no order to compare with


class Row(NamedTuple):
    """One change to the base setting, and what the same change does in the paper.

    Parameters
    ----------
    factor, name : str
    change : dict
        Fields of `Setting` that differ from `BASE`.
    paper : (float, float or None)
        Accuracy in per cent, fine-tuned and of a linear probe, of ViT-L on ImageNet.
    paper_base : (float, float)
        What that is compared with.
    """

    factor: str
    name: str
    change: dict
    paper: tuple[float, float | None]
    paper_base: tuple[float, float] = PAPER_BASE


ROWS = [
    Row("mask ratio", "10 %", {"ratio": 0.1}, (83.2, 54.6)),
    Row("mask ratio", "25 %", {"ratio": 0.25}, (83.4, 61.7)),  # the paper's 30 %
    Row("mask ratio", "50 %", {"ratio": 0.5}, (84.9, 69.9)),
    Row("mask ratio", "90 %", {"ratio": 0.9}, (83.0, 66.1)),
    Row("pattern", "blocks, 50 %", {"pattern": "block", "ratio": 0.5}, (83.9, 72.3)),
    Row("pattern", "blocks, 75 %", {"pattern": "block"}, (82.8, 63.9)),
    Row("pattern", "grid, 75 %", {"pattern": "grid"}, (84.0, 66.0)),
    Row("decoder depth", "one block", {"decoder_depth": 1}, (84.8, 65.5)),
    Row("decoder depth", "four blocks", {"decoder_depth": 4}, (84.4, 73.3)),  # the paper's twelve
    Row("decoder width", "a quarter", {"decoder_width": 16}, (84.8, 71.3)),
    Row("decoder width", "the encoder's", {"decoder_width": 64}, (84.3, 73.1)),
    Row("mask tokens", "in the encoder", {"input": "token"}, (84.2, 59.6)),
    Row("target", "normalised pixels", {"normalized": True}, (85.4, 73.9)),
    Row("loss on", "all patches", {"loss": "all"}, (84.4, 73.0)),  # a footnote's half a point, for both measures
    Row("augmentation", "shifts", {"augment": "shift"}, (84.7, 73.1), (84.0, 65.7)),
    Row("augmentation", "shifts, turns, sizes", {"augment": "affine"}, (84.9, 73.5), (84.0, 65.7)),
    Row("epochs", "none", {"epochs": 0}, (82.5, None)),
    Row("epochs", "a quarter", {"epochs": 6}, (83.3, 64.4)),
    Row("epochs", "half", {"epochs": 12}, (84.3, 69.7)),
    Row("epochs", "twice", {"epochs": 48}, (85.1, 75.1)),
]
SWEEP = [replace(BASE, **change, seed=seed) for seed in range(3) for change in ({}, *(row.change for row in ROWS))]


def few_labels(model: MaskedAutoencoder, seed: int, labels: int = 400) -> float:
    """Accuracy on the test digits after fine-tuning with a few labels.

    Parameters
    ----------
    model : MaskedAutoencoder
        Its encoder is trained on, in place.
    seed : int
    labels : int
        The first so many training digits, a tenth of them by default.
    """
    digits, test = load_digits("train"), load_digits("test")
    patches = patchify(digits.images[:labels], PATCH)
    classifier = Classifier(model, 10, generator=torch.Generator().manual_seed(seed))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        return F.cross_entropy(classifier(patches[batch]), digits.labels[batch])

    options = TrainConfig(epochs=20, batch_size=32, learning_rate=3e-3, seed=seed)
    fit(classifier, loss_of_batch, labels, options, name="fine-tuning")
    with torch.inference_mode():
        answers = classifier(patchify(test.images, PATCH)).argmax(dim=1)
    return (answers == test.labels).double().mean().item()


def run(setting: Setting) -> dict:
    """Train one model, then measure it on the 1,000 test digits.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        What `frozen_features` returns, ``labels``: what `few_labels` returns, and ``seconds``: training time.
    """
    start = time.perf_counter()
    model = train(setting)
    seconds = time.perf_counter() - start
    return {**frozen_features(model), "labels": few_labels(model, setting.seed), "seconds": seconds}


def run_ablations(path: Path = RESULTS) -> None:
    """Run the ablations that are missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored(change: dict, measure: str) -> np.ndarray:
    """A measure of a stored setting, one number for each seed; empty if it was not taken.

    Parameters
    ----------
    change : dict
        Fields of `Setting` that differ from `BASE`.
    measure : {"labels", "probe", "neighbors"}

    Returns
    -------
    ndarray, (seeds,)
        Between 0 and 1.
    """
    found = {}
    for row in json.loads(RESULTS.read_text())["rows"]:
        setting = Setting(**row["setting"])
        if replace(setting, seed=0) == replace(BASE, **change) and measure in row:
            found[setting.seed] = row[measure]
    return np.array([found[seed] for seed in sorted(found)])


def seed_deviation(change: dict, measure: str) -> float:
    """Standard deviation between seeds, pooled over all settings of the same kind.

    There are two kinds: those trained for less long than `BASE`, which vary much more, and the others.

    Parameters
    ----------
    change : dict
        Fields of `Setting` that differ from `BASE`.
    measure : {"labels", "probe", "neighbors"}
    """

    def is_short(some: dict) -> bool:
        return replace(BASE, **some).epochs < BASE.epochs

    alike = [some for some in ({}, *(row.change for row in ROWS)) if is_short(some) == is_short(change)]
    several = [values for some in alike if len(values := stored(some, measure)) > 1]
    squares = sum(((values - values.mean()) ** 2).sum() for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))


def verdict(paper: float | None, ours: float, margin: float) -> str:
    """Whether a change has the same sign here and in the paper.

    Parameters
    ----------
    paper, ours : float
        What the change adds to the accuracy, in points; None if the paper does not say.
    margin : float
        Two standard errors of ours.

    Returns
    -------
    {"no order", "can't tell", "agrees", "disagrees"}
        "no order" where the paper has no difference, or one smaller than `SMALLEST`.
    """
    if paper is None or abs(paper) < SMALLEST:
        return "no order"
    if abs(ours) <= margin:
        return "can't tell"
    return "agrees" if (ours > 0) == (paper > 0) else "disagrees"


def compare(row: Row, measure: str) -> dict:
    """One change, here and in the paper.

    Parameters
    ----------
    row : Row
    measure : {"labels", "probe"}

    Returns
    -------
    dict
        ``paper``, ``ours``, ``margin``, in points, and ``verdict``; None for what was not measured, and then the
        verdict "not run" if it was not measured here.
    """
    i = MEASURES.index(measure)
    values, base = stored(row.change, measure), stored({}, measure)
    paper = None if row.paper[i] is None else row.paper[i] - row.paper_base[i]
    if not len(values) or not len(base):
        return {"paper": paper, "ours": None, "margin": None, "verdict": "not run"}
    ours = 100 * (values.mean() - base.mean())
    errors = [seed_deviation(c, measure) / math.sqrt(len(v)) for c, v in ((row.change, values), ({}, base))]
    margin = 200 * math.hypot(*errors)
    return {"paper": paper, "ours": ours, "margin": margin, "verdict": verdict(paper, ours, margin)}
