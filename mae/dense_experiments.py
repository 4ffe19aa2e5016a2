"""Detection and segmentation on canvases: what pre-training is worth when labels are few.

``python -m mae experiments`` makes ``pretrained/canvases.safetensors`` and fills ``results/dense.json``, one run after
the other; stopped, it goes on where it was.
"""

import json
import platform
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from mae.canvases import NOTHING, SIZE, Canvases, make_canvases
from mae.dense import (
    PatchHead,
    bright_spots,
    detect,
    detection_loss,
    detection_targets,
    match,
    mean_average_precision,
    mean_iou,
    pixel_scores,
    segmentation_loss,
)
from mae.experiments import run_missing
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify
from mae.train import TrainConfig, fit, pretrain
from mae.weights import PRETRAINED, load_model, save_model

RESULTS = Path(__file__).parent / "results" / "dense.json"
WEIGHTS = PRETRAINED / "canvases.safetensors"

PATCH = 8  # pixels
GRID = (SIZE // PATCH, SIZE // PATCH)
UNLABELLED = 4000  # canvases to pre-train on
RECIPE = TrainConfig(epochs=24, patch_size=PATCH)
OUTPUTS = {"detect": 10 + 1 + 4, "segment": PATCH * PATCH * 11}
STEPS, BATCH = 204, 16
LABELS = (48, 192)  # so that every batch is full
RATES = {"threshold": (0.01, 0.1, 1.0, 10.0)}  # no learning rates, but inverse penalties of a logistic regression
RATES |= {"frozen": (0.003, 0.01, 0.03)}  # of a linear head; a whole network wants less:
RATES |= {start: (0.001, 0.002, 0.004) for start in ("pretrained", "scratch")}


def canvas_config() -> MAEConfig:
    """Half as wide as the digits model; 64×64 pixels in 8×8 patches."""
    return MAEConfig(
        grid=GRID,
        patch_values=PATCH**2,
        width=64,
        depth=4,
        heads=4,
        decoder_width=48,
        decoder_depth=2,
        decoder_heads=4,
    )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Parameters
    ----------
    task : {"detect", "segment"}
    start : {"pretrained", "frozen", "scratch", "threshold"}
        Train all of a pre-trained encoder; only the head on it; all of an encoder with random weights; or
        `threshold_baseline`.
    labels : int
        Canvases with labels.
    rate : float
        Learning rate, or the baseline's inverse penalty.
    split : {"validation", "test"}
        What is measured on; rates are chosen on validation canvases.
    seed : int
        Draws the labelled canvases, the head, and, from scratch, the encoder.
    longer : int
        How many times as many steps.
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


def make_weights(path: Path = WEIGHTS, recipe: TrainConfig = RECIPE, count: int = UNLABELLED) -> None:
    """Pre-train the canvases model, unless it is there.

    Parameters
    ----------
    path : Path
        Its recipe goes into the .json file beside it.
    recipe : TrainConfig
    count : int
        Unlabelled canvases.
    """
    if path.exists():
        return
    generator = torch.Generator().manual_seed(recipe.seed)
    images = make_canvases("train", count, generator=generator).images
    model = MaskedAutoencoder(canvas_config(), generator=generator)
    checkpoint = path.with_suffix(".checkpoint")
    log = pretrain(model, images, recipe, checkpoint=checkpoint)
    record = {
        "command": "python -m mae experiments",
        "recipe": asdict(recipe),
        "canvases": count,
        "seconds": round(sum(row["seconds"] for row in log), 1),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "loss": [round(row["loss"], 5) for row in log],
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    save_model(model, path, dtype=torch.float16)
    checkpoint.unlink()


def start_model(start: str, seed: int) -> MaskedAutoencoder:
    """The encoder that a run begins with.

    Parameters
    ----------
    start : {"pretrained", "frozen", "scratch"}
    seed : int
        Of random weights.
    """
    if start != "scratch":
        return load_model(WEIGHTS)
    return MaskedAutoencoder(canvas_config(), generator=torch.Generator().manual_seed(seed))


def labelled(count: int, seed: int) -> Canvases:
    """The canvases that a run may see the labels of.

    Parameters
    ----------
    count : int
    seed : int
    """
    return make_canvases("train", count, generator=torch.Generator().manual_seed(1000 + seed))


@cache
def held_out(split: str, count: int = 300) -> Canvases:
    """The canvases that runs are measured on, the same for all.

    Parameters
    ----------
    split : {"validation", "test"}
    count : int
    """
    return make_canvases(split, count, generator=torch.Generator().manual_seed(2000))


def train(setting: Setting) -> PatchHead:
    """Train one model with labels.

    Parameters
    ----------
    setting : Setting
    """
    canvases = labelled(setting.labels, setting.seed)
    patches = patchify(canvases.images, PATCH)
    model = start_model(setting.start, setting.seed)
    head = PatchHead(model, OUTPUTS[setting.task], generator=torch.Generator().manual_seed(setting.seed))
    trained: nn.Module = head
    if setting.start == "frozen":  # the features never change: compute them once
        with torch.no_grad():
            patches = model.encode(patches)[:, 1:]  # (B, N, D)
        trained = head.head
    wanted, offsets = detection_targets(canvases.boxes, canvases.classes, GRID, PATCH)
    of_pixels = patchify(canvases.pixels[:, None].float(), PATCH).long()  # (B, N, p·p)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        outputs = trained(patches[batch])
        if setting.task == "detect":
            return detection_loss(outputs, wanted[batch], offsets[batch])
        some = torch.randperm(PATCH**2, generator=generator)[: PATCH**2 // 8]
        return segmentation_loss(outputs, of_pixels[batch], some)

    epochs = STEPS * setting.longer * BATCH // setting.labels
    options = TrainConfig(epochs=epochs, batch_size=BATCH, learning_rate=setting.rate, seed=setting.seed)
    fit(trained, loss_of_batch, setting.labels, options, name=f"{setting.task}, {setting.start}")
    return head.eval()


@torch.inference_mode()
def score(head: PatchHead, task: str, canvases: Canvases) -> dict:
    """Mean average precision at IoU 0.5, or mean IoU of the pixels; and the same if all digits are one class.

    Parameters
    ----------
    head : PatchHead
    task : {"detect", "segment"}
    canvases : Canvases

    Returns
    -------
    dict
        ``score``, and ``any``: whether something is found, whatever it is called.
    """
    outputs = torch.cat([head(batch) for batch in patchify(canvases.images, PATCH).split(100)])
    if task == "detect":
        return detection_scores(detect(outputs, GRID, PATCH), canvases)
    guess = pixel_scores(outputs, PATCH, SIZE).argmax(dim=1)
    return segmentation_scores(guess, canvases)


def detection_scores(found: list[tuple[Tensor, Tensor, Tensor]], canvases: Canvases) -> dict:
    """Mean average precision, with the classes and without.

    Parameters
    ----------
    found : list of (boxes, classes, scores)
        What `detect` gave.
    canvases : Canvases
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
    guess : Tensor, (B, 64, 64), int64
    canvases : Canvases
    """
    two = [(pixels == NOTHING).long() for pixels in (canvases.pixels, guess)]
    return {"score": mean_iou(canvases.pixels, guess), "any": mean_iou(*two, num_classes=2)}


def _crops(image: Tensor, boxes: Tensor) -> np.ndarray:
    """What the boxes hold, each brought to 16×16 pixels, from its darkest to its brightest."""
    crops = []
    for left, top, right, bottom in boxes.long().tolist():
        cut = F.interpolate(image[None, None, top:bottom, left:right], size=(16, 16), mode="bilinear", antialias=True)
        crops.append(((cut - cut.min()) / (cut.max() - cut.min() + 1e-6)).flatten().numpy())
    return np.stack(crops)


def threshold_baseline(setting: Setting) -> dict:
    """Detection and segmentation without a network: bright regions, named by a logistic regression on their pixels.

    It profits from knowing that digits are bright. Threshold and smallest region are chosen on labelled canvases.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        What `score` gives.
    """
    canvases, test = labelled(setting.labels, setting.seed), held_out(setting.split)
    some = canvases[: LABELS[0]]

    def f_measure(threshold: float, least: int) -> float:
        found = [bright_spots(image, threshold, least) for image in some.images[:, 0]]
        truth = [boxes[classes < NOTHING] for boxes, classes in zip(some.boxes, some.classes, strict=True)]
        right = sum(match(a, torch.ones(len(a)), b).sum().item() for a, b in zip(found, truth, strict=True))
        return 2 * right / (sum(map(len, found)) + sum(map(len, truth)))

    choices = [(threshold, least) for threshold in (0.6, 0.65, 0.7, 0.75, 0.8) for least in (10, 20, 40)]
    threshold, least = max(choices, key=lambda choice: f_measure(*choice))
    is_digit = canvases.classes < NOTHING
    pairs = zip(canvases.images[:, 0], canvases.boxes, is_digit, strict=True)
    crops = np.concatenate([_crops(image, boxes[digit]) for image, boxes, digit in pairs])
    classifier = LogisticRegression(C=setting.rate, max_iter=1000).fit(crops, canvases.classes[is_digit].numpy())
    found, guess = [], torch.full_like(test.pixels, NOTHING)
    for image, pixels in zip(test.images[:, 0], guess, strict=True):
        boxes = bright_spots(image, threshold, least)
        if not len(boxes):
            found.append((boxes, torch.zeros(0, dtype=torch.int64), torch.zeros(0)))
            continue
        probability = torch.from_numpy(classifier.predict_proba(_crops(image, boxes)))
        classes = torch.from_numpy(classifier.classes_)[probability.argmax(dim=1)]
        found.append((boxes, classes, probability.max(dim=1).values))
        for (left, top, right, bottom), name in zip(boxes.long().tolist(), classes, strict=True):
            pixels[top:bottom, left:right][image[top:bottom, left:right] > threshold] = name
    return detection_scores(found, test) if setting.task == "detect" else segmentation_scores(guess, test)


def run(setting: Setting) -> dict:
    """Train one model and measure it.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        What `score` gives, and ``seconds``: training time.
    """
    start = time.perf_counter()
    if setting.start == "threshold":
        return {**threshold_baseline(setting), "seconds": time.perf_counter() - start}
    head = train(setting)
    seconds = time.perf_counter() - start
    return {**score(head, setting.task, held_out(setting.split)), "seconds": seconds}


SEARCH = [
    Setting(task=task, start=start, labels=LABELS[-1], rate=rate, split="validation", seed=100)
    for task in OUTPUTS
    for start in RATES
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


def best_rate(task: str, start: str, path: Path = RESULTS) -> float:
    """The learning rate with the highest score on validation canvases.

    Parameters
    ----------
    task, start
        As in `Setting`.
    path : Path
    """
    found = {s.rate: value for s, value in rows(path) if s in SEARCH and (s.task, s.start) == (task, start)}
    return max(found, key=found.get)


def sweep(path: Path = RESULTS) -> list[Setting]:
    """The runs on test canvases, each with the rate that the search chose.

    Parameters
    ----------
    path : Path
    """
    runs = [
        Setting(task=task, start=start, labels=labels, rate=best_rate(task, start, path), seed=seed)
        for seed in range(3)
        for task in OUTPUTS
        for labels in LABELS
        for start in RATES
    ]
    return runs + [replace(s, longer=3) for s in runs if s.start == "scratch" and s.labels == LABELS[-1]]


def run_dense(path: Path = RESULTS) -> None:
    """Make the weights and run what is missing.

    Parameters
    ----------
    path : Path
    """
    make_weights()
    run_missing(SEARCH, run, path)
    run_missing(sweep(path), run, path)


def stored(task: str, start: str, labels: int, longer: int = 1, what: str = "score") -> np.ndarray:
    """A measure on the test canvases, one number for each seed.

    Parameters
    ----------
    task, start, labels, longer
        As in `Setting`.
    what : {"score", "any", "seconds"}
        What `run` returned.

    Returns
    -------
    ndarray, (seeds,)
    """
    wanted = (task, start, labels, longer, "test")
    found = {s.seed: v for s, v in rows(RESULTS, what) if (s.task, s.start, s.labels, s.longer, s.split) == wanted}
    if not found:
        raise ValueError(f"no stored run {wanted}: run `python -m mae experiments`")
    return np.array([found[seed] for seed in sorted(found)])
