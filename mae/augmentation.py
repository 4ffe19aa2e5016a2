"""Views of digits made by a masked autoencoder, and what they are worth to a classifier with few labels (question 9).

``python -m mae.augmentation`` fills ``results/augmentation.json``, one run after the other; stopped, it goes on where
it was.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae.data import Digits, load_digits, random_affine
from mae.evaluate import extract_features, linear_probe, reconstruct
from mae.experiments import run_missing
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit
from mae.weights import load_pretrained

RESULTS = Path(__file__).parent / "results" / "augmentation.json"

PATCH = 4
VIEWS = 10  # ready-made views of each digit: to make new ones at every step takes ten times as long as the training
POOL = 3000  # labels are drawn from the first training digits; the other 1,000 are for choosing
WAYS = ("none", "shift", "affine", "erase", "mae", "mae+affine", "probe", "judge")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Parameters
    ----------
    way : str
        "none": no augmentation. "shift", "affine": `random_affine`, shifts only or all of it. "erase": hidden patches
        become paper. "mae": hidden patches are filled in by the digits model. "mae+affine": both. "probe": no views,
        a linear probe on the digits model's features. "judge": no training with few labels; how often a view changes
        the answer of a good classifier.
    labels : int
        Labelled digits of each class.
    ratio : float
        Share of patches that is hidden, where any are.
    rate : float
        The highest learning rate.
    seed : int
        Draws the labelled digits, the views, the initial weights and the order of the batches.
    """

    way: str = "none"
    labels: int = 10
    ratio: float = 0.25
    rate: float = 2e-3
    seed: int = 0

    def __post_init__(self):
        if self.way not in WAYS:
            raise ValueError(f"expected a way of {', '.join(WAYS)}, got {self.way!r}")
        if not 1 <= self.labels <= POOL // 10:
            raise ValueError(f"expected 1 to {POOL // 10} labels of each class, got {self.labels}")


LABELS = (10, 30, 100)
JUDGED = (0.25, 0.5, 0.75, 0.9)
TUNING_SEEDS = 2  # with so many of the seeds, all of these are tried; with the others, the two best
RATES = {True: (1e-3, 2e-3, 4e-3), False: (2e-3, 4e-3)}
RATIOS = {True: (0.25, 0.5, 0.75), False: (0.25, 0.5)}
SWEEP = [
    *(Setting(way="judge", labels=POOL // 10, ratio=ratio, seed=seed) for seed in range(3) for ratio in JUDGED),
    *(
        setting
        for seed in range(5)
        for labels in LABELS
        for setting in (
            *(Setting(labels=labels, rate=rate, seed=seed) for rate in RATES[seed < TUNING_SEEDS]),
            *(Setting(way=way, labels=labels, seed=seed) for way in ("shift", "affine", "probe", "erase")),
            *(Setting(way="mae", labels=labels, ratio=r, seed=seed) for r in RATIOS[seed < TUNING_SEEDS]),
            Setting(way="mae+affine", labels=labels, seed=seed),
        )
    ),
]


def labelled_digits(labels: int, seed: int) -> Digits:
    """The same number of training digits of each class; none of them is among those that choices are made on.

    Parameters
    ----------
    labels : int
        Of each class.
    seed : int

    Returns
    -------
    Digits
    """
    digits = load_digits("train")
    order = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))
    of_class = [order[digits.labels[order] == c][:labels] for c in range(10)]
    if min(map(len, of_class)) < labels and labels < POOL // 10:
        raise ValueError(f"a class has only {min(map(len, of_class))} digits to draw from, not {labels}")
    index = torch.cat(of_class)
    return Digits(digits.images[index], digits.labels[index])


def make_views(
    model: MaskedAutoencoder, images: Tensor, ratio: float, *, generator: torch.Generator, batch_size: int = 200
) -> Tensor:
    """Hide patches at random, and put what the model predicts in their places; visible patches stay as they are.

    Parameters
    ----------
    model : MaskedAutoencoder
        One that predicts pixels.
    images : Tensor, (B, C, H, W)
        Values between 0 and 1.
    ratio : float
        Share of patches that is hidden.
    generator : torch.Generator
    batch_size : int
        How many images go through the model at a time.

    Returns
    -------
    Tensor, (B, C, H, W)
        Between 0 and 1.
    """
    rows = model.config.grid[0]
    patches = patchify(images, images.shape[2] // rows)
    mask = random_mask(len(images), model.config.num_patches, ratio, generator=generator)
    parts = [reconstruct(model, patches[i], mask[i]) for i in torch.arange(len(images)).split(batch_size)]
    return unpatchify(torch.cat(parts).clamp(0, 1), images.shape[2] // rows, tuple(images.shape[2:]))


def erase_patches(images: Tensor, ratio: float, *, generator: torch.Generator) -> Tensor:
    """Hide patches at random, and leave paper in their places.

    Parameters
    ----------
    images : Tensor, (B, C, H, W)
    ratio : float
    generator : torch.Generator

    Returns
    -------
    Tensor, (B, C, H, W)
    """
    patches = patchify(images, PATCH)
    mask = random_mask(len(images), patches.shape[1], ratio, generator=generator)
    return unpatchify(patches.masked_fill(mask.is_hidden[:, :, None], 0), PATCH, tuple(images.shape[2:]))


def small_network(generator: torch.Generator) -> nn.Sequential:
    """A convolutional classifier of 28×28 grey pictures: (B, 1, 28, 28) → (B, 10).

    Parameters
    ----------
    generator : torch.Generator
        Draws the initial weights.
    """
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    for p in network.parameters():
        if p.ndim > 1:
            nn.init.kaiming_normal_(p, generator=generator)
        else:
            nn.init.zeros_(p)
    return network


@cache
def _ready_made(labels: int, ratio: float, seed: int) -> Tensor:
    """(VIEWS, B, 1, 28, 28): views of the labelled digits."""
    images = labelled_digits(labels, seed).images
    generator = torch.Generator().manual_seed(seed)
    model = load_pretrained("digits")
    return torch.stack([make_views(model, images, ratio, generator=generator) for _ in range(VIEWS)])


def augmentation(setting: Setting) -> Callable[[Tensor, Tensor, torch.Generator], Tensor]:
    """What a way makes of a batch.

    A drawn digit has patches replaced half of the time, and stays as it is otherwise; shifts and the other maps are
    applied to every digit.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    callable
        Takes images (B, 1, 28, 28), their places in `labelled_digits`, and a generator; returns new images.
    """
    strength = {"degrees": 0, "scale": 0} if setting.way == "shift" else {}

    def augment(images: Tensor, batch: Tensor, generator: torch.Generator) -> Tensor:
        if setting.way in ("erase", "mae", "mae+affine"):
            replaced = torch.rand(len(batch), 1, 1, 1, generator=generator) < 0.5
            if setting.way == "erase":
                views = erase_patches(images, setting.ratio, generator=generator)
            else:
                which = torch.randint(VIEWS, (len(batch),), generator=generator)
                views = _ready_made(setting.labels, setting.ratio, setting.seed)[which, batch]
            images = torch.where(replaced, views, images)
        if setting.way in ("shift", "affine", "mae+affine"):
            images = random_affine(images, generator=generator, **strength)
        return images

    return augment


def train(setting: Setting, steps: int = 600) -> nn.Module:
    """Train the small network on a few labelled digits, the same number of steps whatever their number.

    Parameters
    ----------
    setting : Setting
    steps : int
        About so many batches of 64.
    """
    digits = labelled_digits(setting.labels, setting.seed)
    network = small_network(torch.Generator().manual_seed(setting.seed))
    augment = augmentation(setting)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        return F.cross_entropy(network(augment(digits.images[batch], batch, generator)), digits.labels[batch])

    epochs = round(steps / math.ceil(len(digits) / 64))
    options = TrainConfig(epochs=epochs, learning_rate=setting.rate, seed=setting.seed)
    fit(network, loss_of_batch, len(digits), options, name=f"{setting.way}, {setting.labels} labels")
    return network


@torch.inference_mode()
def answers(network: nn.Module, images: Tensor) -> Tensor:
    """The class with the highest score.

    Parameters
    ----------
    network : nn.Module
    images : Tensor, (B, 1, 28, 28)

    Returns
    -------
    Tensor, (B,), int64
    """
    return network(images).argmax(dim=1)


def _measured_on() -> dict[str, Digits]:
    digits = load_digits("train")
    return {
        "validation": Digits(digits.images[POOL:], digits.labels[POOL:]),
        "test": load_digits("test"),
    }


def _accuracy(got: Tensor, labels: Tensor) -> float:
    return (got == labels).double().mean().item()


@cache
def judge(seed: int) -> nn.Module:
    """A good classifier: the small network, trained on 3,000 digits with rotations, sizes and shifts.

    Parameters
    ----------
    seed : int
    """
    return train(Setting(way="affine", labels=POOL // 10, seed=seed), steps=2500)


def changed(setting: Setting) -> dict:
    """How often a view changes the answer of the judge.

    Parameters
    ----------
    setting : Setting
        Its ratio and seed count.

    Returns
    -------
    dict
        ``judge``: its accuracy on 1,000 digits that it was not trained on. ``mae``, ``erase``: of those that it has
        right, the share that it takes for another class when patches are filled in or erased.
    """
    digits, model = _measured_on()["validation"], load_pretrained("digits")
    before = answers(judge(setting.seed), digits.images)
    right = before == digits.labels
    generator = torch.Generator().manual_seed(setting.seed)
    views = {
        "mae": make_views(model, digits.images, setting.ratio, generator=generator),
        "erase": erase_patches(digits.images, setting.ratio, generator=generator),
    }
    after = {name: answers(judge(setting.seed), x)[right] != before[right] for name, x in views.items()}
    return {"judge": right.double().mean().item(), **{name: x.double().mean().item() for name, x in after.items()}}


def run(setting: Setting) -> dict:
    """Train one classifier and measure it.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``validation``, ``test``: accuracy on the 1,000 training digits that are kept for choosing, and on the 1,000
        test digits. For the judge, what `changed` returns. And ``seconds``.
    """
    start = time.perf_counter()
    parts = _measured_on()
    if setting.way == "judge":
        measured = changed(setting)
    elif setting.way == "probe":
        digits, model = labelled_digits(setting.labels, setting.seed), load_pretrained("digits")
        x, *held_out = (extract_features(model, patchify(d.images, PATCH)) for d in (digits, *parts.values()))
        pairs = zip(parts.items(), held_out, strict=True)
        measured = {n: linear_probe(x, digits.labels, z, d.labels).accuracy for (n, d), z in pairs}
    else:
        network = train(setting)
        measured = {name: _accuracy(answers(network, d.images), d.labels) for name, d in parts.items()}
    return {**measured, "seconds": time.perf_counter() - start}


def run_augmentations(path: Path = RESULTS) -> None:
    """Run the experiments that are missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored(measure: str, **wanted) -> np.ndarray:
    """A measure of a stored setting, one number for each seed.

    Parameters
    ----------
    measure : str
        One of the keys that `run` returns.
    **wanted
        Fields of `Setting`; those not given are at their defaults, the seed is free.

    Returns
    -------
    ndarray, (seeds,)

    Raises
    ------
    ValueError
        If there is no such run.
    """
    rows = json.loads(RESULTS.read_text())["rows"]
    found = [row for row in rows if Setting(**row["setting"]) == Setting(**wanted, seed=row["setting"]["seed"])]
    if not found:
        raise ValueError(f"no stored run with {wanted}: add it to SWEEP and run `python -m mae.augmentation`")
    return np.array([row[measure] for row in sorted(found, key=lambda row: row["setting"]["seed"])])


def chosen(way: str) -> dict:
    """The setting of a way that is best on the validation digits, over all numbers of labels and the tuning seeds.

    Parameters
    ----------
    way : str

    Returns
    -------
    dict
        Fields of `Setting` to give to `stored`, with a number of labels.
    """
    name, values = {"none": ("rate", RATES[True]), "mae": ("ratio", RATIOS[True])}.get(way, ("rate", (2e-3,)))
    candidates = [{"way": way, name: value} for value in values]

    def accuracy(wanted: dict) -> float:
        return float(np.mean([stored("validation", labels=n, **wanted)[:TUNING_SEEDS] for n in LABELS]))

    return max(candidates, key=accuracy)


if __name__ == "__main__":
    run_augmentations()
