"""Image recognition with few labels: a linear probe, partial and full fine-tuning, and three ways without pre-training.

``python -m mae experiments`` fills ``results/recognition.json``, one run after the other; stopped, it goes on where it
was. The learning rates are chosen with the same code on training digits that no run is trained on.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae.data import Digits, load_digits, random_affine
from mae.evaluate import Classifier
from mae.experiments import run_missing
from mae.model import MaskedAutoencoder, digits_config
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit
from mae.weights import load_pretrained

RESULTS = Path(__file__).parent / "results" / "recognition.json"

LABELS = (1, 10, 100)  # per class
SEEDS = (0, 1, 2)
VALIDATION = 500  # the last so many training digits choose the rates, and are never labelled examples
VALIDATION_SEED = 100
METHODS = ("pixels", "convolutions", "scratch", "probe", "partial", "full")
EPOCHS = {1: 60, 10: 20, 100: 3}  # by labels per class
LONGER = {"pixels": 5, "convolutions": 10, "scratch": 30}  # what starts from nothing may train longer
RATES = {
    "pixels": (3e-4, 1e-3, 3e-3, 1e-2),
    "convolutions": (1e-3, 3e-3, 1e-2, 3e-2),
    "probe": (1e-3, 3e-3, 1e-2, 3e-2),
    "scratch": (1e-4, 3e-4, 1e-3, 3e-3),
    "partial": (3e-4, 1e-3, 3e-3, 1e-2),
    "full": (1e-4, 3e-4, 1e-3, 3e-3),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One classifier, trained with a few labels.

    Parameters
    ----------
    method : {"pixels", "convolutions", "scratch", "probe", "partial", "full"}
        Logistic regression on pixels; a small convolutional network; the encoder from random weights; or the
        pre-trained encoder, of which no block, the last block or all blocks are trained.
    labels : int
        Labelled digits of each class.
    rate : float
        Learning rate.
    seed : int
        Draws the labelled digits and fixes the training.
    test : bool
        Measure on the 1,000 test digits; otherwise on the training digits that are kept for validation.
    """

    method: str
    labels: int
    rate: float
    seed: int = 0
    test: bool = True

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"expected a method of {METHODS}, got {self.method!r}")
        if self.labels not in EPOCHS:
            raise ValueError(f"expected {tuple(EPOCHS)} labels per class, got {self.labels}")


TRIALS = [
    Setting(method=method, labels=10, rate=rate, seed=VALIDATION_SEED, test=False)
    for method in METHODS
    for rate in RATES[method]
]


def draw_labelled(digits: Digits, labels: int, seed: int) -> Digits:
    """A few digits of each class.

    Parameters
    ----------
    digits : Digits
    labels : int
        How many of each class.
    seed : int

    Returns
    -------
    Digits

    Raises
    ------
    ValueError
        If a class has too few.
    """
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    chosen = []
    for digit in range(10):
        of_class = order[digits.labels[order] == digit][:labels]
        if len(of_class) < labels:
            raise ValueError(f"expected {labels} digits of class {digit}, there are {len(of_class)}")
        chosen.append(of_class)
    index = torch.cat(chosen)
    return Digits(digits.images[index], digits.labels[index])


class PixelClassifier(nn.Module):
    """Logistic regression on pixels: (B, N, P) → (B, classes).

    Parameters
    ----------
    values : int
        N · P.
    classes : int
    """

    def __init__(self, values: int, classes: int):
        super().__init__()
        self.head = nn.Linear(values, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, patches: Tensor) -> Tensor:
        """Scores of the classes.

        Parameters
        ----------
        patches : Tensor, (B, N, P)

        Returns
        -------
        Tensor, (B, classes)
        """
        return self.head(patches.flatten(1))


class ConvolutionalClassifier(nn.Module):
    """Two convolutions and a linear layer on 28×28 digits, small enough for few labels: (B, 49, 16) → (B, classes).

    Parameters
    ----------
    classes : int
    generator : torch.Generator
        Draws the initial weights.
    """

    def __init__(self, classes: int, *, generator: torch.Generator):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, classes),
        )
        for layer in (self.layers[0], self.layers[2], self.layers[5]):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, patches: Tensor) -> Tensor:
        """Scores of the classes.

        Parameters
        ----------
        patches : Tensor, (B, 49, 16)

        Returns
        -------
        Tensor, (B, classes)
        """
        return self.layers(unpatchify(patches, 4, 28))


def make_classifier(method: str, seed: int) -> nn.Module:
    """An untrained classifier of ten classes, with what stays fixed frozen.

    Parameters
    ----------
    method : str
        As in `Setting`.
    seed : int

    Returns
    -------
    Module
        (B, 49, 16) → (B, 10).
    """
    generator = torch.Generator().manual_seed(seed)
    if method == "pixels":
        return PixelClassifier(49 * 16, 10)
    if method == "convolutions":
        return ConvolutionalClassifier(10, generator=generator)
    if method == "scratch":
        return Classifier(MaskedAutoencoder(digits_config(), generator=generator), 10, generator=generator)
    classifier = Classifier(load_pretrained("digits"), 10, generator=generator)
    trained = {"probe": 0, "partial": 1, "full": len(classifier.blocks)}[method]
    if trained < len(classifier.blocks):
        classifier.patch_embed.requires_grad_(False)
        classifier.cls_token.requires_grad_(False)
        for block in classifier.blocks[: len(classifier.blocks) - trained]:
            block.requires_grad_(False)
    return classifier


def train(setting: Setting) -> nn.Module:
    """Train one classifier on labelled training digits, moved a little anew in each batch (but for "pixels").

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    Module
    """
    digits = load_digits("train")
    kept = Digits(digits.images[:-VALIDATION], digits.labels[:-VALIDATION])
    labelled = draw_labelled(kept, setting.labels, setting.seed)
    classifier = make_classifier(setting.method, setting.seed)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        images = labelled.images[batch]
        if setting.method != "pixels":  # plain logistic regression
            images = random_affine(images, generator=generator)
        return F.cross_entropy(classifier(patchify(images, 4)), labelled.labels[batch])

    options = TrainConfig(
        epochs=EPOCHS[setting.labels] * LONGER.get(setting.method, 1),
        batch_size=20,
        learning_rate=setting.rate,
        seed=setting.seed,
    )
    fit(classifier, loss_of_batch, len(labelled), options, name=f"{setting.method}, {setting.labels} per class")
    return classifier


@torch.inference_mode()
def predict(classifier: nn.Module, images: Tensor) -> Tensor:
    """The likeliest class of each image.

    Parameters
    ----------
    classifier : Module
    images : Tensor, (B, 1, 28, 28)

    Returns
    -------
    Tensor, (B,), int64
    """
    return torch.cat([classifier(batch).argmax(dim=1) for batch in patchify(images, 4).split(250)])


def run(setting: Setting) -> dict:
    """Train one classifier and measure it.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``accuracy``, and ``seconds`` of training.
    """
    start = time.perf_counter()
    classifier = train(setting)
    seconds = time.perf_counter() - start
    digits = load_digits("test" if setting.test else "train")
    images, labels = (
        (digits.images, digits.labels)
        if setting.test
        else (
            digits.images[-VALIDATION:],
            digits.labels[-VALIDATION:],
        )
    )
    accuracy = (predict(classifier, images) == labels).double().mean().item()
    return {"accuracy": accuracy, "seconds": seconds}


def _rows(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def trials(method: str, path: Path = RESULTS) -> dict[float, float]:
    """The accuracy on the validation digits for each learning rate that was tried.

    Parameters
    ----------
    method : str
    path : Path
    """
    settings = [(Setting(**row["setting"]), row["accuracy"]) for row in _rows(path)]
    tried = {setting.rate: accuracy for setting, accuracy in settings if setting.method == method and not setting.test}
    return dict(sorted(tried.items()))


def best_rate(method: str, path: Path = RESULTS) -> float:
    """The learning rate with the highest stored accuracy on the validation digits.

    Parameters
    ----------
    method : str
    path : Path
    """
    tried = trials(method, path)
    return max(tried, key=tried.get)


def run_recognition(path: Path = RESULTS) -> None:
    """Run what is missing: first the trials of learning rates, then each method with the best of its rates.

    Parameters
    ----------
    path : Path
    """
    run_missing(TRIALS, run, path)
    run_missing(sweep(path), run, path)


def sweep(path: Path = RESULTS) -> list[Setting]:
    """The runs on the test digits, with the chosen rates; one seed after the other.

    Parameters
    ----------
    path : Path
        Holds the trials.
    """
    rates = {method: best_rate(method, path) for method in METHODS}
    return [
        Setting(method=method, labels=labels, rate=rates[method], seed=seed)
        for seed in SEEDS
        for labels in LABELS
        for method in METHODS
    ]


def accuracies(method: str, labels: int, path: Path = RESULTS) -> list[float]:
    """The stored accuracies on the test digits, one for each seed.

    Parameters
    ----------
    method : str
    labels : int
    path : Path
    """
    rows = {Setting(**row["setting"]): row["accuracy"] for row in _rows(path)}
    base = Setting(method=method, labels=labels, rate=best_rate(method, path))
    return [rows[replace(base, seed=seed)] for seed in SEEDS]
