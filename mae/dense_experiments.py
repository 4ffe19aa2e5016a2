"""Detection and segmentation on canvases: what tokens of a model pre-trained on plain digits are worth there.

`run_dense`, a part of ``python -m mae experiments``, fills ``results/dense.json``, one run after the other; stopped,
it goes on where it was.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mae.canvases import NOTHING, SIZE, Canvases, load_coins, make_canvases
from mae.dense import (
    DenseHead,
    bright_spots,
    detect,
    detection_loss,
    detection_targets,
    match,
    mean_average_precision,
    mean_iou,
    pixel_scores,
    segmentation_loss,
    window_tokens,
    with_neighbours,
)
from mae.evaluate import extract_features
from mae.experiments import run_missing
from mae.model import MaskedAutoencoder, digits_config
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit
from mae.weights import load_pretrained

RESULTS = Path(__file__).parent / "results" / "dense.json"

PATCH = 4  # pixels
WINDOW = 28  # pixels: what the digits model takes
STEP = 3  # patches from one window to the next
GRID = (SIZE // PATCH, SIZE // PATCH)
OUTPUTS = {"detect": 10 + 1 + 4, "segment": PATCH * PATCH * 11}
HIDDEN, BATCH = 64, 16
STEPS = {"detect": 240, "segment": 480}
LONGER = 4  # times as many, to see whether they are enough
LABELS = (48, 192)  # heads are trained with the larger number alone
HEADS = ("pretrained", "untrained", "pixels")
REGIONS = ("regions", "threshold")
RATES = {start: (0.002, 0.01) for start in HEADS}
RATES |= {start: (0.001, 0.01, 0.1, 1.0) for start in REGIONS}  # no learning rates, but inverse penalties
SIDES = ("left", "right")  # halves of the photograph of coins
PADDED = (160, 100)  # pixels of a half, so that windows end at its edges; what is added is mirrored


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Parameters
    ----------
    task : {"detect", "segment"}
    start : {"pretrained", "untrained", "pixels", "regions", "threshold"}
        A head on frozen tokens of the digits model, on those of a model with random weights, or on pixels
        (`patch_features`); or bright regions, named by a linear classifier on features of the digits model or on
        pixels (`name_regions`).
    labels : int
        Canvases with labels.
    rate : float
        Learning rate, or the linear classifier's inverse penalty.
    split : {"validation", "test"}
        What is measured on; rates are chosen on validation canvases.
    seed : int
        Draws the labelled canvases, the head, and the random weights.
    longer : int
        How many times the usual `STEPS` a head is trained.
    """

    task: str
    start: str
    labels: int
    rate: float
    split: str = "test"
    seed: int = 0
    longer: int = 1

    def __post_init__(self):
        if self.task not in OUTPUTS or self.start not in RATES or self.split not in ("validation", "test"):
            raise ValueError(f"unknown task, start or split in {self}")


@cache
def labelled(count: int, seed: int) -> Canvases:
    """The canvases that a run may see the labels of.

    Parameters
    ----------
    count : int
    seed : int
    """
    return make_canvases("train", count, generator=torch.Generator().manual_seed(1000 + seed))


@cache
def held_out(split: str, count: int = 200) -> Canvases:
    """The canvases that runs are measured on, the same for all.

    Parameters
    ----------
    split : {"validation", "test"}
    count : int
    """
    return make_canvases(split, count, generator=torch.Generator().manual_seed(2000))


@torch.inference_mode()
def patch_features(start: str, images: Tensor, seed: int = 0) -> Tensor:
    """What a head is told of each patch.

    Parameters
    ----------
    start : {"pretrained", "untrained", "pixels"}
        Tokens of 3×3 patches, of one encoder or the other; or the 28×28 pixels around the patch, mirrored at the
        edge of the picture.
    images : Tensor, (B, 1, 40, 40)
    seed : int
        Of random weights.

    Returns
    -------
    Tensor, (B, N, F)
    """
    if start == "pixels":
        around = (WINDOW - PATCH) // 2
        padded = F.pad(images, (around,) * 4, mode="reflect")
        return F.unfold(padded, WINDOW, stride=PATCH).transpose(1, 2)
    if start == "pretrained":
        model = load_pretrained("digits")
    else:
        model = MaskedAutoencoder(digits_config(), generator=torch.Generator().manual_seed(seed)).eval()
    return with_neighbours(window_tokens(model, images, PATCH, STEP), GRID)


@cache
def _features(start: str, split: str, count: int, seed: int, weights: int) -> Tensor:
    canvases = held_out(split, count) if split else labelled(count, seed)
    return patch_features(start, canvases.images, weights)


def train(setting: Setting) -> tuple[DenseHead, Tensor]:
    """Train a head with labels.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    head : DenseHead
    scale : Tensor, (2, F)
        Mean and deviation of the features, which it takes standardised.
    """
    canvases = labelled(setting.labels, setting.seed)
    features = _features(setting.start, "", setting.labels, setting.seed, setting.seed)
    scale = torch.stack([features.mean(dim=(0, 1)), features.std(dim=(0, 1)) + 1e-4])
    features = (features - scale[0]) / scale[1]
    head = DenseHead(
        features.shape[2],
        HIDDEN,
        OUTPUTS[setting.task],
        nothing=NOTHING if setting.task == "detect" else None,
        generator=torch.Generator().manual_seed(setting.seed),
    )
    wanted, offsets = detection_targets(canvases.boxes, canvases.classes, GRID, PATCH)
    of_pixels = patchify(canvases.pixels[:, None].float(), PATCH).long()  # (B, N, p·p)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        outputs = head(features[batch])
        if setting.task == "detect":
            return detection_loss(outputs, wanted[batch], offsets[batch])
        some = torch.randperm(PATCH**2, generator=generator)[: PATCH**2 // 4]
        return segmentation_loss(outputs, of_pixels[batch], some)

    options = TrainConfig(
        epochs=setting.longer * STEPS[setting.task] * BATCH // setting.labels,
        batch_size=BATCH,
        learning_rate=setting.rate,
        weight_decay=0.3,
        seed=setting.seed,
    )
    fit(head, loss_of_batch, setting.labels, options, name=f"{setting.task}, {setting.start}")
    return head, scale


@torch.inference_mode()
def answers(setting: Setting, head: DenseHead, scale: Tensor) -> Tensor:
    """What the head says about each patch of the held-out canvases.

    Parameters
    ----------
    setting : Setting
    head, scale
        What `train` returned.

    Returns
    -------
    Tensor, (B, N, outputs)
    """
    features = _features(setting.start, setting.split, len(held_out(setting.split)), 0, setting.seed)
    return head((features - scale[0]) / scale[1])


def frames(image: Tensor, boxes: Tensor) -> Tensor:
    """What boxes hold, as if each were a digit alone: brought to 20 pixels, black to white, in the middle of 28×28.

    Parameters
    ----------
    image : Tensor, (H, W)
    boxes : Tensor, (n, 4)

    Returns
    -------
    Tensor, (n, 1, 28, 28)
    """
    framed = torch.zeros(len(boxes), 1, WINDOW, WINDOW)
    for frame, (left, top, right, bottom) in zip(framed[:, 0], boxes.long().tolist(), strict=True):
        zoom = 20 / max(right - left, bottom - top)
        h, w = (max(1, round(side * zoom)) for side in (bottom - top, right - left))
        cut = image[None, None, top:bottom, left:right]
        cut = F.interpolate(cut, size=(h, w), mode="bilinear", antialias=True)[0, 0]
        y, x = (WINDOW - h) // 2, (WINDOW - w) // 2
        frame[y : y + h, x : x + w] = (cut - cut.min()) / (cut.max() - cut.min() + 1e-6)
    return framed


def choose_threshold(canvases: Canvases) -> tuple[float, int]:
    """The threshold and the smallest region that find most digits of labelled canvases with the fewest others.

    Parameters
    ----------
    canvases : Canvases

    Returns
    -------
    threshold : float
    least : int
    """
    truth = [boxes[classes < NOTHING] for boxes, classes in zip(canvases.boxes, canvases.classes, strict=True)]

    def f_measure(choice: tuple[float, int]) -> float:
        found = [bright_spots(image, *choice) for image in canvases.images[:, 0]]
        right = sum(match(a, torch.ones(len(a)), b).sum().item() for a, b in zip(found, truth, strict=True))
        return 2 * right / (sum(map(len, found)) + sum(map(len, truth)))

    return max(((t, n) for t in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7) for n in (10, 20)), key=f_measure)


@cache
def _threshold(seed: int) -> tuple[float, int]:
    return choose_threshold(labelled(LABELS[-1], seed)[: LABELS[0]])


@cache
def name_regions(setting: Setting) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
    """Bright regions are objects; a linear classifier on what they hold names them.

    It profits from knowing that digits are bright.

    Parameters
    ----------
    setting : Setting
        With the start "regions" (features of the digits model) or "threshold" (pixels).

    Returns
    -------
    found : list of (boxes, classes, scores)
        As `mae.dense.detect` gives it, for the held-out canvases.
    guess : Tensor, (B, 40, 40), int64
        The class of each pixel: that of its region.
    """

    def features(pictures: Sequence[Tensor]) -> np.ndarray:
        x = torch.cat(list(pictures))
        if setting.start == "threshold":
            return x.flatten(1).numpy()
        return extract_features(load_pretrained("digits"), patchify(x, PATCH))

    canvases, test = labelled(setting.labels, setting.seed), held_out(setting.split)
    is_digit = canvases.classes < NOTHING
    pairs = zip(canvases.images[:, 0], canvases.boxes, is_digit, strict=True)
    known = features([frames(image, boxes[digit]) for image, boxes, digit in pairs])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=setting.rate, max_iter=1000))
    classifier.fit(known, canvases.classes[is_digit].numpy())

    threshold, least = _threshold(setting.seed)
    boxes = [bright_spots(image, threshold, least) for image in test.images[:, 0]]
    regions = features([frames(image, some) for image, some in zip(test.images[:, 0], boxes, strict=True)])
    probability = torch.from_numpy(classifier.predict_proba(regions)).float()
    names = torch.from_numpy(classifier.classes_)[probability.argmax(dim=1)]
    counts = [len(some) for some in boxes]
    scores = probability.max(dim=1).values.split(counts)
    found = list(zip(boxes, names.split(counts), scores, strict=True))
    guess = torch.full_like(test.pixels, NOTHING)
    for image, pixels, (some, classes, _) in zip(test.images[:, 0], guess, found, strict=True):
        for (left, top, right, bottom), name in zip(some.long().tolist(), classes, strict=True):
            pixels[top:bottom, left:right][image[top:bottom, left:right] > threshold] = name
    return found, guess


@cache
def small_coins() -> tuple[Tensor, Tensor]:
    """The photograph of `mae.canvases.load_coins` at half its size: coins are about as large as digits.

    Returns
    -------
    image : Tensor, (1, 151, 192), float32
    is_coin : Tensor, (151, 192), bool
    """
    image, _, is_coin = load_coins()
    return F.avg_pool2d(image, 2), F.avg_pool2d(is_coin[None].float(), 2)[0] > 0.5


def half(picture: Tensor, side: str) -> Tensor:
    """The left or the right half of a picture.

    Parameters
    ----------
    picture : Tensor, (..., W)
    side : {"left", "right"}
    """
    if side not in SIDES:
        raise ValueError(f'expected "left" or "right", got {side!r}')
    middle = picture.shape[-1] // 2
    return picture[..., :middle] if side == SIDES[0] else picture[..., middle:]


def _pad(picture: Tensor) -> Tensor:
    """(151, 96) → (1, 1, 160, 100)."""
    height, width = picture.shape
    return F.pad(picture[None, None].float(), (0, PADDED[1] - width, 0, PADDED[0] - height), mode="reflect")


@torch.inference_mode()
def coin_features(start: str, side: str, seed: int = 0) -> Tensor:
    """What a linear map is told of each patch of one half of the coins; no window sees both halves.

    Parameters
    ----------
    start : {"pretrained", "untrained", "pixels"}
        Tokens of the digits model, or of one with random weights; or the 28×28 pixels around the patch.
    side : {"left", "right"}
    seed : int
        Of random weights.

    Returns
    -------
    Tensor, (N, F)
    """
    picture = _pad(half(small_coins()[0][0], side))
    if start == "pixels":
        around = (WINDOW - PATCH) // 2
        return F.unfold(F.pad(picture, (around,) * 4, mode="reflect"), WINDOW, stride=PATCH)[0].T
    new = MaskedAutoencoder(digits_config(), generator=torch.Generator().manual_seed(seed)).eval()
    return window_tokens(load_pretrained("digits") if start == "pretrained" else new, picture, PATCH, STEP)[0]


def segment_coins(start: str, side: str, seed: int = 0) -> Tensor:
    """Which pixels of one half are coin? A linear map from features to the pixels of a patch, fitted on the other half.

    Its penalty is chosen on that half, too, by leaving out one patch at a time.

    Parameters
    ----------
    start, side, seed
        As in `coin_features`; ``side`` is the half that is answered for.

    Returns
    -------
    Tensor, (151, 96), bool
    """
    (other,) = {*SIDES} - {side}
    is_coin = small_coins()[1]
    wanted = 2 * patchify(_pad(half(is_coin, other)), PATCH)[0] - 1  # (N, 16), -1 or 1
    fitted = RidgeCV(np.logspace(-3, 4, 15)).fit(coin_features(start, other, seed).numpy(), wanted.numpy())
    answer = torch.from_numpy(fitted.predict(coin_features(start, side, seed).numpy()))
    height, width = half(is_coin, side).shape
    return unpatchify(answer[None], PATCH, PADDED)[0, 0, :height, :width] > 0


def detection_scores(found: list[tuple[Tensor, Tensor, Tensor]], canvases: Canvases) -> dict:
    """Mean average precision at IoU 0.5, with the classes and with all digits as one.

    Parameters
    ----------
    found : list of (boxes, classes, scores)
        What `mae.dense.detect` gave.
    canvases : Canvases

    Returns
    -------
    dict
        ``score`` and ``any``.
    """
    same = [(boxes, 0 * classes, scores) for boxes, classes, scores in found]
    one = (canvases.classes == NOTHING).long()  # 0 for every digit
    return {
        "score": mean_average_precision(found, canvases.boxes, canvases.classes),
        "any": mean_average_precision(same, canvases.boxes, one, num_classes=1),
    }


def segmentation_scores(guess: Tensor, canvases: Canvases) -> dict:
    """Mean IoU of the eleven classes, and of ink and background alone.

    Parameters
    ----------
    guess : Tensor, (B, 40, 40), int64
    canvases : Canvases

    Returns
    -------
    dict
        ``score`` and ``any``.
    """
    two = [(pixels == NOTHING).long() for pixels in (canvases.pixels, guess)]
    return {"score": mean_iou(canvases.pixels, guess), "any": mean_iou(*two, num_classes=2)}


def run(setting: Setting) -> dict:
    """Learn from labelled canvases, then measure on held-out ones.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``score`` and ``any`` of `detection_scores` or `segmentation_scores`, and ``seconds``.
    """
    start, canvases = time.perf_counter(), held_out(setting.split)
    if setting.start in REGIONS:
        found, guess = name_regions(replace(setting, task="detect"))  # both tasks have the same names
    else:
        outputs = answers(setting, *train(setting))
        if setting.task == "detect":
            found = detect(outputs, GRID, PATCH)
        else:
            guess = pixel_scores(outputs, PATCH, SIZE).argmax(dim=1)
    scores = detection_scores(found, canvases) if setting.task == "detect" else segmentation_scores(guess, canvases)
    return {**scores, "seconds": time.perf_counter() - start}


def label_counts(start: str) -> tuple[int, ...]:
    """With how many labelled canvases a start is tried.

    Parameters
    ----------
    start : str
        As in `Setting`.
    """
    return LABELS if start in REGIONS else LABELS[-1:]


SEARCH = [
    Setting(task=task, start=start, labels=labels, rate=rate, split="validation", seed=100)
    for start in RATES
    for labels in label_counts(start)
    for task in OUTPUTS
    for rate in RATES[start]
]


def rows(path: Path = RESULTS, what: str = "score") -> list[tuple[Setting, float]]:
    """What has been measured.

    Parameters
    ----------
    path : Path
    what : {"score", "any", "seconds"}

    Returns
    -------
    list of (Setting, float)
    """
    if not path.exists():
        return []
    return [(Setting(**row["setting"]), row[what]) for row in json.loads(path.read_text())["rows"]]


def trials(
    task: str, start: str, labels: int, what: str = "score", path: Path = RESULTS, longer: int = 1
) -> dict[float, float]:
    """A measure on validation canvases, for each rate that was tried.

    Parameters
    ----------
    task, start, labels
        As in `Setting`.
    what : {"score", "any", "seconds"}
    path : Path
    longer : int
        1, or `LONGER`: of heads, the best rate alone was tried with that many times the steps.

    Returns
    -------
    dict of float to float
    """
    wanted = (task, start, labels, "validation", longer)
    return {s.rate: value for s, value in rows(path, what) if (s.task, s.start, s.labels, s.split, s.longer) == wanted}


def best_rate(task: str, start: str, labels: int, path: Path = RESULTS) -> float:
    """The rate with the highest score on validation canvases.

    Parameters
    ----------
    task, start, labels
        As in `Setting`.
    path : Path
    """
    found = trials(task, start, labels, path=path)
    return max(found, key=found.get)


def sweep(path: Path = RESULTS) -> list[Setting]:
    """The runs on test canvases, each with the rate that the search chose.

    Parameters
    ----------
    path : Path
    """
    return [
        Setting(task=task, start=start, labels=labels, rate=best_rate(task, start, labels, path), seed=seed)
        for start in RATES
        for seed in range(3)
        for labels in label_counts(start)
        for task in OUTPUTS
    ]


def longer_trials(path: Path = RESULTS) -> list[Setting]:
    """Each head once more on the validation canvases, with its best rate and `LONGER` times the steps.

    Parameters
    ----------
    path : Path
    """
    labels = LABELS[-1]
    return [
        replace(trial, longer=LONGER)
        for trial in SEARCH
        if trial.start in HEADS and trial.rate == best_rate(trial.task, trial.start, labels, path)
    ]


def run_dense(path: Path = RESULTS) -> None:
    """Run what is missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SEARCH, run, path)
    run_missing(sweep(path), run, path)
    run_missing(longer_trials(path), run, path)


def stored(task: str, start: str, labels: int, what: str = "score") -> np.ndarray:
    """A measure on the test canvases, one number for each seed.

    Parameters
    ----------
    task, start, labels
        As in `Setting`.
    what : {"score", "any", "seconds"}
        What `run` returned.

    Returns
    -------
    ndarray, (seeds,)
    """
    wanted = (task, start, labels, "test")
    found = {s.seed: v for s, v in rows(RESULTS, what) if (s.task, s.start, s.labels, s.split) == wanted}
    if not found:
        raise ValueError(f"no stored run {wanted}: call `run_dense`")
    return np.array([found[seed] for seed in sorted(found)])
