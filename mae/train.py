"""One training loop: schedule, seed, progress, resume."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mae.data import random_affine
from mae.losses import masked_mse
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.patches import patchify


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. The optimiser and the shape of the schedule are the published ones (He et al., 2022, table 8).

    Parameters
    ----------
    epochs : int
    batch_size : int
    learning_rate : float
        The highest one, reached after the warm-up.
    warmup : float
        Share of all steps in which the rate rises from 0; after it, half a cosine takes it back to 0.
    weight_decay : float
        On matrices only, not on biases, norms and tokens.
    betas : (float, float)
        AdamW's decay rates.
    mask_ratio : float
        Share of patches hidden; used by `pretrain`.
    patch_size : int
        In pixels; used by `pretrain`.
    augment : bool
        Apply `random_affine` to each batch; used by `pretrain`.
    normalized : bool
        Predict normalised pixels; used by `pretrain`.
    seed : int
        Fixes the order of examples, masks and augmentations.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    mask_ratio: float = 0.75
    patch_size: int = 4
    augment: bool = False
    normalized: bool = False
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"expected at least one epoch and one example in a batch, got {self.epochs}, {self.batch_size}"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"expected a positive learning rate, got {self.learning_rate}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"expected a warm-up share from 0 to below 1, got {self.warmup}")


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """The learning rate of a step: a linear warm-up, then half a cosine (Loshchilov & Hutter, 2017).

    Parameters
    ----------
    step : int
        From 0 to total - 1.
    total : int
        Steps in the whole run.
    config : TrainConfig
    """
    warmup = config.warmup * total
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def progress(iterable: Iterable, **kwargs) -> tqdm:
    """A progress bar that vanishes when it is done, and is not drawn where the variable TQDM_DISABLE is set.

    Parameters
    ----------
    iterable : iterable
    **kwargs
        Go to ``tqdm``.
    """
    # tqdm's bar in notebooks does not look at the variable by itself.
    silent = kwargs.pop("disable", False) or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(iterable, leave=False, disable=silent, **kwargs)


def fit(
    model: nn.Module,
    loss_of_batch: Callable[[Tensor, torch.Generator], Tensor],
    num_examples: int,
    config: TrainConfig,
    *,
    checkpoint: Path | str | None = None,
    stop: int | None = None,
    name: str = "training",
    data: str = "",
) -> list[dict]:
    """Minimise a loss over mini-batches with AdamW.

    Parameters
    ----------
    model : nn.Module
        Its parameters are trained in place.
    loss_of_batch : callable
        Takes the indices of a batch (a tensor of int64) and the run's generator, returns the loss.
    num_examples : int
        How many examples there are; each is seen once per epoch.
    config : TrainConfig
    checkpoint : Path or str, optional
        Written after each epoch. If it exists, training goes on from it.
    stop : int, optional
        Stop after this epoch, in the middle of the schedule; a checkpoint lets a later call go on.
    name : str
        Shown by the progress bar.
    data : str
        Tells what the loss is taken on from all else, such as "visible patches of images 3f0c". A checkpoint keeps it,
        and is refused where it differs.

    Returns
    -------
    list of dict
        For each epoch: ``epoch`` (from 1), ``loss`` (mean over the epoch's examples), ``seconds``.

    Raises
    ------
    ValueError
        If the checkpoint is of another run, or there are no examples.
    FloatingPointError
        If the loss is not finite.
    """
    if num_examples < 1:
        raise ValueError(f"expected at least one example, got {num_examples}")
    matrices = [p for p in model.parameters() if p.ndim == 2]  # not norms, biases, and tokens (1, 1, D)
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    generator = torch.Generator().manual_seed(config.seed)
    log = _resume(checkpoint, model, optimizer, generator, config, num_examples, data)

    steps = math.ceil(num_examples / config.batch_size)
    model.train()
    epochs = range(len(log), config.epochs if stop is None else min(stop, config.epochs))
    bar = progress(epochs, initial=len(log), total=config.epochs, desc=name, unit="epoch")
    for epoch in bar:
        start, total_loss = time.perf_counter(), 0.0
        order = torch.randperm(num_examples, generator=generator)
        for i, batch in enumerate(order.split(config.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(epoch * steps + i, config.epochs * steps, config)
            loss = loss_of_batch(batch, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total_loss += loss.item() * len(batch)
        if not math.isfinite(total_loss):
            raise FloatingPointError(
                f"the loss became {total_loss} in epoch {epoch + 1}: "
                f"lower the learning rate (now {config.learning_rate})"
            )
        log.append({"epoch": epoch + 1, "loss": total_loss / num_examples, "seconds": time.perf_counter() - start})
        bar.set_postfix(loss=f"{log[-1]['loss']:.4f}")
        if checkpoint is not None:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "config": asdict(config),
                "examples": num_examples,
                "data": data,
                "log": log,
            }
            save_checkpoint(state, checkpoint)
    model.eval()
    return log


def pretrain(
    model: MaskedAutoencoder,
    images: Tensor,
    config: TrainConfig,
    *,
    on: str = "hidden",
    checkpoint: Path | str | None = None,
    stop: int | None = None,
    name: str = "pre-training",
) -> list[dict]:
    """Pre-train a masked autoencoder on images: a new random mask for every image at every step.

    Parameters
    ----------
    model : MaskedAutoencoder
        Trained in place. Its attribute ``normalized`` then says what it predicts.
    images : Tensor, (B, C, H, W)
        On the model's device.
    config : TrainConfig
    on : {"hidden", "visible", "all"}
        Which patches the loss is taken on; "hidden" is the method, the others are for comparison.
    checkpoint, stop, name
        As in `fit`.

    Returns
    -------
    list of dict
        The log of `fit`.
    """
    N = model.config.num_patches

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        x = images[batch]
        if config.augment:
            x = random_affine(x, generator=generator)
        patches = patchify(x, config.patch_size)
        mask = random_mask(len(x), N, config.mask_ratio, generator=generator).to(x.device)
        return masked_mse(model(patches, mask, predict=on), patches, mask, on=on, normalized=config.normalized)

    model.normalized = config.normalized
    pixels = images.cpu().contiguous().view(torch.uint8).numpy()
    data = f"{on} patches of images {hashlib.sha256(pixels).hexdigest()[:16]}"
    return fit(model, loss_of_batch, len(images), config, checkpoint=checkpoint, stop=stop, name=name, data=data)


def save_checkpoint(state: dict, path: Path | str) -> None:
    """Write a checkpoint, all or nothing: a run that is killed, or finds the disk full, keeps its last good one.

    Parameters
    ----------
    state : dict
        Tensors, numbers, strings, and lists and dictionaries of them.
    path : Path or str

    Raises
    ------
    OSError
        If it can't be written.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns the first into the second
        partial.unlink(missing_ok=True)
        cause = next((e for e in (error.__cause__, error.__context__) if isinstance(e, OSError)), error)
        raise OSError(f"can't write {path} ({cause}): the last checkpoint is kept; make room and run again") from error


def load_checkpoint(path: Path | str) -> dict | None:
    """Read a checkpoint, without executing code; None if there is none.

    Parameters
    ----------
    path : Path or str

    Raises
    ------
    ValueError
        If the file can't be read.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["model"], state["config"]
        return state
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error}): delete it to start again") from error


def _resume(
    path: Path | str | None, model, optimizer, generator, config: TrainConfig, num_examples: int, data: str
) -> list[dict]:
    state = None if path is None else load_checkpoint(path)
    if state is None:
        return []
    settings = state["config"]
    if settings != asdict(config):
        different = [key for key, value in asdict(config).items() if settings.get(key) != value]
        raise ValueError(
            f"{path} is of a run with other settings ({', '.join(different)}): delete it or choose another path"
        )
    if state.get("examples", num_examples) != num_examples:  # checkpoints before version 0.2 don't say
        raise ValueError(
            f"{path} is of a run on {state['examples']} examples, not {num_examples}: delete it or choose another path"
        )
    if (state.get("data") or data) != data:  # an unnamed one may be of these data
        raise ValueError(f"{path} is of a run on {state['data']}, not {data}: delete it or choose another path")
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(f"{path} is of another model ({error}): delete it or choose another path") from error
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    return state["log"]
