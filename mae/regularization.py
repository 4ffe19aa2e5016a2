"""What keeps a masked autoencoder from learning its pictures by heart: masks, weight decay, drop path, uniformity.

``python -m mae experiments`` fills ``results/regularization.json``, one run after the other; stopped, it goes on
where it was.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae.data import load_digits
from mae.evaluate import effective_rank, extract_features, linear_probe
from mae.experiments import PATCH, run_missing, small_config
from mae.losses import uniformity
from mae.masking import Mask, random_mask, take
from mae.model import MaskedAutoencoder
from mae.patches import patchify
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "regularization.json"
EXAMPLES = 500  # few, so that there is something to learn by heart


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Parameters
    ----------
    ratio : float
        Share hidden; 0 is an autoencoder that sees, and rebuilds, all patches.
    masks : {"new", "fixed"}
        A new mask for each picture at each step, or the same one for good.
    weight_decay : float
    drop_path : float
        How often the encoder's last block is skipped.
    uniformity : float
        Weight of `mae.losses.uniformity` of the features in the loss.
    epochs : int
        0 leaves the model untrained.
    seed : int
    """

    ratio: float = 0.75
    masks: str = "new"
    weight_decay: float = 0.05
    drop_path: float = 0.0
    uniformity: float = 0.0
    epochs: int = 150
    seed: int = 0

    def __post_init__(self):
        if self.masks not in ("new", "fixed"):
            raise ValueError(f'expected masks "new" or "fixed", got {self.masks!r}')
        if not 0 <= self.ratio < 1:
            raise ValueError(f"expected a ratio from 0 to below 1, got {self.ratio}")


BASE = Setting()
CHANGES = {
    "no mask": {"ratio": 0.0},
    "25 % hidden": {"ratio": 0.25},
    "50 % hidden": {"ratio": 0.5},
    "75 % hidden": {},
    "90 % hidden": {"ratio": 0.9},
    "fixed masks": {"masks": "fixed"},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay ×20": {"weight_decay": 1.0},
    "drop path": {"drop_path": 0.2},
    "uniformity ×0.1": {"uniformity": 0.1},
    "uniformity ×1": {"uniformity": 1.0},
    "untrained": {"epochs": 0},
}
SWEEP = [replace(BASE, **change, seed=seed) for seed in range(3) for change in CHANGES.values()]


@contextmanager
def drop_path(model: MaskedAutoencoder, rate: float, *, generator: torch.Generator) -> Iterator[None]:
    """Let each example skip encoder blocks at random, for as long as the context is open (Huang et al., 2016).

    Parameters
    ----------
    model : MaskedAutoencoder
    rate : float
        How often the last block is skipped; linearly less in earlier ones, never the first of several.
    generator : torch.Generator
    """
    if not 0 <= rate < 1:
        raise ValueError(f"expected a rate from 0 to below 1, got {rate}")
    handles, depth = [], len(model.blocks)
    for i, block in enumerate(model.blocks):
        share = rate * (i / (depth - 1) if depth > 1 else 1)

        def skip(block, inputs, output, share=share):
            keep = torch.rand(len(output), 1, 1, generator=generator) >= share
            return inputs[0] + (output - inputs[0]) * (keep / (1 - share))  # the mean stays what it is

        if share:
            handles.append(block.register_forward_hook(skip))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mask_of(setting: Setting, batch: Tensor, num_patches: int, generator: torch.Generator) -> Mask | None:
    """The masks of a batch; none at ratio 0.

    Parameters
    ----------
    setting : Setting
    batch : Tensor, (B,), int64
        Indices of training examples: with fixed masks, each has its own.
    num_patches : int
    generator : torch.Generator
    """
    if not setting.ratio:
        return None
    if setting.masks == "new":
        return random_mask(len(batch), num_patches, setting.ratio, generator=generator)
    fixed = torch.Generator().manual_seed(500 + setting.seed)
    return random_mask(EXAMPLES, num_patches, setting.ratio, generator=fixed)[batch]


def loss_of(model: MaskedAutoencoder, patches: Tensor, mask: Mask | None, weight: float = 0.0) -> Tensor:
    """Squared error on hidden patches (on all, without a mask), plus the weighted uniformity of the features.

    Parameters
    ----------
    model : MaskedAutoencoder
    patches : Tensor, (B, N, P)
    mask : Mask, optional
    weight : float
    """
    latent = model.encode(patches, mask)
    hidden = None if mask is None else mask.hidden
    prediction = model.predict(model.decode(latent, mask, hidden))
    loss = F.mse_loss(prediction, patches if mask is None else take(patches, hidden))
    return loss + weight * uniformity(latent[:, 1:].mean(dim=1)) if weight else loss


def digits(split: str) -> Tensor:
    """Patches of digits, standardised by the training pixels: an error of 1 is that of their mean grey.

    Parameters
    ----------
    split : {"train", "test"}
        500 or 1,000 of them.

    Returns
    -------
    Tensor, (B, N, P)
    """
    known = load_digits("train").images[:EXAMPLES]
    images = known if split == "train" else load_digits("test").images
    return patchify((images - known.mean()) / known.std(), PATCH)


def train(setting: Setting) -> MaskedAutoencoder:
    """Train a small model on the first 500 training digits.

    Parameters
    ----------
    setting : Setting
    """
    patches = digits("train")
    config = replace(small_config(), depth=3, decoder_depth=1)
    model = MaskedAutoencoder(config, generator=torch.Generator().manual_seed(setting.seed))
    if not setting.epochs:
        return model.eval()

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        mask = mask_of(setting, batch, config.num_patches, generator)
        with drop_path(model, setting.drop_path, generator=generator):
            return loss_of(model, patches[batch], mask, setting.uniformity)

    options = TrainConfig(epochs=setting.epochs, weight_decay=setting.weight_decay, seed=setting.seed)
    fit(model, loss_of_batch, len(patches), options, name=f"{setting.ratio:.0%} hidden")
    return model


def measure(setting: Setting, model: MaskedAutoencoder) -> dict[str, float]:
    """What a trained model does on its training digits, on test digits, and what its features are worth.

    Parameters
    ----------
    setting : Setting
    model : MaskedAutoencoder

    Returns
    -------
    dict
        ``train``: error with the masks of training, newly drawn unless fixed; ``test``: on test digits with new masks;
        ``same``, ``test_same``: both with 75 % hidden, whatever the training hid; ``rank``: effective rank of the
        test features; ``probe``: accuracy of a linear probe, fitted on the same 500 digits.
    """
    train, test = digits("train"), digits("test")
    labels = load_digits("train").labels[:EXAMPLES], load_digits("test").labels

    def error(patches: Tensor, setting: Setting) -> float:
        generator = torch.Generator().manual_seed(1000)
        mask = mask_of(setting, torch.arange(len(patches)), patches.shape[1], generator)
        with torch.inference_mode():
            return loss_of(model, patches, mask).item()

    new, same = replace(setting, masks="new"), replace(setting, masks="new", ratio=BASE.ratio)
    features = [extract_features(model, patches) for patches in (train, test)]
    return {
        "train": error(train, setting),
        "test": error(test, new),
        "same": error(train, same),
        "test_same": error(test, same),
        "rank": effective_rank(features[1]),
        "probe": linear_probe(features[0], labels[0], features[1], labels[1]).accuracy,
    }


def run(setting: Setting) -> dict:
    """Train one model, then measure it.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        What `measure` returns, and ``seconds``: training time.
    """
    start = time.perf_counter()
    model = train(setting)
    seconds = time.perf_counter() - start
    return {**measure(setting, model), "seconds": seconds}


def run_all(path: Path = RESULTS) -> None:
    """Run what is missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored(name: str, what: str) -> np.ndarray:
    """A stored measure, one number for each seed.

    Parameters
    ----------
    name : str
        One of `CHANGES`.
    what : str
        One of the names that `measure` gives.

    Returns
    -------
    ndarray, (seeds,)
    """
    if name not in CHANGES:
        raise ValueError(f"expected one of {', '.join(CHANGES)}, got {name!r}")
    rows = json.loads(RESULTS.read_text())["rows"]
    wanted = replace(BASE, **CHANGES[name])
    return np.array([row[what] for row in rows if replace(Setting(**row["setting"]), seed=0) == wanted])
