"""The trainer: one loop for a laptop, a GPU and a cluster, which goes on where it was stopped.

Everything random in step k follows from the seed and k. So a run is the same whatever the number of worker processes,
of machines, and of times it was killed; a checkpoint needs no state of a random generator, and the place within an
epoch is the number of the step.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from mae.images import Examples, example_generator
from mae.losses import masked_mse
from mae.masking import Mask
from mae.model import Block, MAEConfig, MaskedAutoencoder
from mae.train import learning_rate, load_checkpoint, progress, save_checkpoint

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides what a run learns; the defaults are the published ones (He et al., 2022, tables 8 and 9).

    How it is computed (processes, accumulation, workers, device) is not part of it: a run may go on elsewhere.

    Parameters
    ----------
    model : MAEConfig
    patch_size : int
        In pixels.
    augment : {"crop", "affine", "none"}
        As in `mae.images.Examples`.
    mask_ratio : float
        Share of patches hidden in pre-training.
    normalized : bool
        Pre-training predicts normalised pixels.
    classes : int
        0 is pre-training; otherwise fine-tuning to this many classes.
    layer_decay : float
        Fine-tuning: each block learns this many times as fast as the next one.
    drop_path : float
        Fine-tuning: how often the last block is skipped; linearly less often earlier ones.
    smoothing : float
        Fine-tuning: share of the target that is spread over all classes.
    weights : str
        Fine-tuning: the `mae.weights.checksum` of the model it starts from; empty if from scratch.
    epochs : int
    batch_size : int
        Examples in an optimiser step, over all processes and accumulated parts.
    base_learning_rate : float
        For 256 examples in a batch; `learning_rate` is in proportion.
    warmup : float
        Share of all steps in which the rate rises; 40 of 800 epochs in the paper.
    weight_decay : float
        Not on biases and norms. As in the published code it does act on class and mask tokens in pre-training.
    betas : (float, float)
        AdamW's decay rates.
    clip : float
        Longest gradient allowed; 0 sets no limit.
    precision : {"fp32", "bf16", "fp16"}
        Of matrix products; weights and optimiser stay in single precision.
    seed : int
    """

    model: MAEConfig
    patch_size: int
    augment: str = "crop"
    mask_ratio: float = 0.75
    normalized: bool = False
    classes: int = 0
    layer_decay: float = 1.0
    drop_path: float = 0.0
    smoothing: float = 0.0
    weights: str = ""
    epochs: int
    batch_size: int
    base_learning_rate: float = 1.5e-4
    warmup: float = 0.05
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 0.0
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        for name, values in {"augment": ("crop", "affine", "none"), "precision": PRECISIONS}.items():
            if getattr(self, name) not in values:
                raise ValueError(f"expected {name} {', '.join(values)}, got {getattr(self, name)!r}")
        for name, least in {
            "patch_size": 1,
            "epochs": 1,
            "batch_size": 1,
            "classes": 0,
            "clip": 0,
            "weight_decay": 0,
            "seed": 0,
        }.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"expected mask_ratio strictly between 0 and 1, got {self.mask_ratio}")
        for name in ("warmup", "drop_path", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected {name} from 0 to below 1, got {getattr(self, name)}")
        for name in ("base_learning_rate", "layer_decay"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"expected a positive {name}, got {getattr(self, name)}")

    @property
    def learning_rate(self) -> float:
        """The highest rate: in proportion to the batch (Goyal et al., 2017)."""
        return self.base_learning_rate * self.batch_size / 256


@dataclass(frozen=True)
class World:
    """The processes that train together, and which of them this is.

    Parameters
    ----------
    rank, size : int
        This process, from 0, and how many there are.
    device : torch.device
    """

    rank: int
    size: int
    device: torch.device


def join_world(device: str | None = None) -> World:
    """Find the other processes; ``torchrun`` says in the environment where they are. Without it, there is one.

    Parameters
    ----------
    device : str, optional
        "cpu" or "cuda"; without it, a GPU if there is one.
    """
    rank, size, local = (int(os.environ.get(*v)) for v in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda":
        if not torch.cuda.device_count() > local:
            raise ValueError(f"expected a GPU for each process, found {torch.cuda.device_count()}: give --device cpu")
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return World(rank, size, torch.device(device))


class Pretraining(nn.Module):
    """The loss of a masked autoencoder on a batch: patches and the indices of `Mask` → a number.

    Parameters
    ----------
    model : MaskedAutoencoder
    normalized : bool
        As in `masked_mse`.
    """

    def __init__(self, model: MaskedAutoencoder, normalized: bool = False):
        super().__init__()
        self.model, self.normalized = model, normalized

    def forward(self, patches: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        mask = Mask(visible, hidden)
        return masked_mse(self.model(patches, mask), patches, mask, normalized=self.normalized)


def parameter_groups(task: nn.Module, settings: Settings) -> list[dict]:
    """Parameters by weight decay and by the factor, ``scale``, that their learning rate has.

    Parameters
    ----------
    task : nn.Module
    settings : Settings

    Returns
    -------
    list of dict
        What an optimiser takes.
    """
    blocks = settings.model.depth
    groups = {}
    for name, parameter in task.named_parameters():
        layer = blocks + 1  # what comes after the encoder's blocks
        if "decoder" not in name and ".blocks." in name:
            layer = 1 + int(name.split(".blocks.")[1].split(".")[0])
        elif ".patch_embed." in name or name.endswith(".cls_token"):
            layer = 0
        scale = settings.layer_decay ** (blocks + 1 - layer)
        # Tokens have three axes. The published code exempts the class token in fine-tuning only.
        free = parameter.ndim == 1 or (settings.classes and name.endswith(".cls_token"))
        decay = 0.0 if free else settings.weight_decay
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "scale": scale})
        group["params"].append(parameter)
    return list(groups.values())


def plan(examples: int, settings: Settings, first: int, world: World, accumulate: int) -> Iterator[list[tuple]]:
    """What this process computes from a step on: for each part of each batch the keys of its examples.

    A key is ``(epoch, index, weight)``. The weights of all parts of a batch, over all processes, sum to 1, also
    where the last batch of an epoch is smaller; so the sum of weighted losses is the mean over the batch.

    Parameters
    ----------
    examples : int
    settings : Settings
    first : int
        The step to begin with.
    world : World
    accumulate : int
        Parts that a process cuts its share of a batch into.
    """
    steps, ordered = math.ceil(examples / settings.batch_size), None
    for step in range(first, settings.epochs * steps):
        epoch, i = divmod(step, steps)
        if epoch != ordered:  # a new order of examples
            order, ordered = torch.randperm(examples, generator=example_generator(settings.seed, epoch)), epoch
        batch = order[i * settings.batch_size : (i + 1) * settings.batch_size]
        parts = batch.tensor_split(world.size * accumulate)
        for part in parts[world.rank * accumulate : (world.rank + 1) * accumulate]:
            # Processes keep step with one another: one without a share computes an example that does not count.
            yield [(epoch, index, 1 / len(batch)) for index in part.tolist()] or [(epoch, int(batch[0]), 0.0)]


def _distribute(task: nn.Module, world: World, shard: bool) -> nn.Module:
    """Let processes share the work: each has the whole model (DDP), or a shard of it (FSDP2)."""
    if world.size == 1:
        return task
    if not shard:
        for token in (p for p in task.parameters() if p.ndim == 3):  # DDP warns of its gradient's odd strides
            token.register_hook(lambda gradient: gradient.flatten().view(gradient.shape))
        return DistributedDataParallel(task, device_ids=[world.device.index] if world.device.type == "cuda" else None)
    from torch.distributed.fsdp import fully_shard

    mesh = dist.init_device_mesh(world.device.type, (world.size,))
    for module in [*(m for m in task.modules() if isinstance(m, Block)), task]:
        fully_shard(module, mesh=mesh)
    return task


def _hold_gradients(model: nn.Module, hold: bool):
    """A context in which processes don't exchange gradients yet, if more parts of the batch are to come."""
    if hasattr(model, "set_requires_gradient_sync"):  # FSDP2
        model.set_requires_gradient_sync(not hold)
    return model.no_sync() if hold and isinstance(model, DistributedDataParallel) else nullcontext()


def _whole(state):
    """A state dictionary with its shards put together; all processes must call it."""
    if isinstance(state, dict):
        return {key: _whole(value) for key, value in state.items()}
    return state.full_tensor() if hasattr(state, "full_tensor") else state


def _sharded(state: dict, optimizer: torch.optim.Optimizer) -> dict:
    """The inverse of `_whole` for an optimiser's state: in shards where its parameters are."""
    from torch.distributed.tensor import distribute_tensor

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, of_parameter in state["state"].items():
        for key, value in of_parameter.items():
            if hasattr(parameters[i], "placements") and value.shape == parameters[i].shape:
                of_parameter[key] = distribute_tensor(value, parameters[i].device_mesh, parameters[i].placements)
    return state


class _Log:
    """The rows of ``log.jsonl``, each on the steps since the one before; those after ``first`` are taken out."""

    def __init__(self, out: Path | None, first: int, world: World):
        self.path = out / "log.jsonl" if out and world.rank == 0 else None
        self.world, self.rows = world, []
        if self.path:
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            self.rows = [json.loads(line) for line in lines if line.endswith("}")]  # a killed run may leave half a line
            self.rows = [row for row in self.rows if row["step"] <= first]
            self._write(self.rows, append=False)
        self._open(first)

    def _write(self, rows: list[dict], append: bool) -> None:
        path = self.path if append else self.path.with_name("log.jsonl.partial")
        try:
            with path.open("a" if append else "w") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            os.replace(path, self.path)
        except OSError as error:
            raise OSError(f"can't write {path} ({error}): the last checkpoint is kept; make room, run again") from error

    def _open(self, step: int) -> None:
        self.start, self.since = step, time.perf_counter()
        self.loss, self.images = torch.zeros((), device=self.world.device), 0

    def add(self, loss: Tensor, images: int) -> None:
        """Count a part of a batch: its share of the loss, and its images."""
        self.loss += loss.detach()
        self.images += images

    def close(self, step: int, epoch: float, rate: float) -> dict:
        """End a row; all processes must do so at the same step."""
        sums = torch.stack([self.loss, self.loss.new_tensor(self.images)])
        if self.world.size > 1:
            dist.all_reduce(sums)
        loss, images = sums.tolist()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} before step {step}: lower the learning rate, clip gradients, or leave fp16"
            )
        seconds = time.perf_counter() - self.since
        row = {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": loss / (step - self.start),
            "learning_rate": rate,
            "images_per_second": round(images / seconds, 1),
            "seconds": round(seconds, 4),
        }
        self.rows.append(row)
        if self.path:
            self._write([row], append=True)
        self._open(step)
        return row


def _resume(path: Path, settings: Settings, examples: Examples) -> dict | None:
    """The checkpoint of this very run, if there is one."""
    state = load_checkpoint(path)
    if state is None:
        return None
    there, here = state["config"], asdict(settings)  # an older checkpoint has fewer settings
    if different := ", ".join(key for key in there if there[key] != here.get(key)):
        raise ValueError(f"{path} is of a run with other settings ({different}): choose another folder, or delete it")
    if state["data"] != examples.images.name:
        raise ValueError(
            f"{path} is of a run on other data ({state['data']}; here {examples.images.name}): "
            f"choose another folder, or delete it"
        )
    return state


def _fetch(loader: Iterator) -> list[Tensor]:
    """The next part of a batch; what is wrong with an image is said as plainly by a worker as by this process."""
    try:
        return next(loader)
    except ValueError as error:  # a worker's comes with its traceback
        raise ValueError(str(error).strip().split("ValueError: ")[-1]) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError("a worker process was killed, perhaps for want of memory: take fewer workers") from error


def train(
    task: nn.Module,
    examples: Examples,
    settings: Settings,
    out: Path | None = None,
    *,
    world: World | None = None,
    accumulate: int = 1,
    workers: int = 0,
    save_every: int = 0,
    log_every: int = 10,
    compiled: bool = False,
    shard: bool = False,
) -> list[dict]:
    """Train; if the folder has a checkpoint, go on from it.

    Parameters
    ----------
    task : nn.Module
        Takes what a batch of examples holds, without the weights, and returns its mean loss. Trained in place.
    examples : Examples
    settings : Settings
    out : Path, optional
        A folder for ``checkpoint.pt`` and ``log.jsonl``; without it nothing is written.
    world : World, optional
        From `join_world`; without it, this process alone, on the CPU.
    accumulate : int
        Parts of a process's share of a batch that go through the model one after the other, to save memory.
    workers : int
        Processes that open and augment images; 0 leaves it to this one.
    save_every, log_every : int
        Steps between checkpoints (0: an epoch) and between rows of the log.
    compiled : bool
        Compile the transformer blocks.
    shard : bool
        Spread weights, gradients and optimiser over the processes (FSDP2); otherwise each has them all (DDP).

    Returns
    -------
    list of dict
        The log: ``step`` and ``epoch`` at the end of the row's steps, their mean ``loss``, ``learning_rate``,
        ``images_per_second`` and ``seconds``.

    Raises
    ------
    ValueError
        If the checkpoint is of another run, or an example can't be read.
    OSError
        If a file can't be written; the last checkpoint is kept.
    FloatingPointError
        If the loss is not finite.
    """
    world = world or World(0, 1, torch.device("cpu"))
    for name, value, least in (("accumulate", accumulate, 1), ("workers", workers, 0), ("log_every", log_every, 1)):
        if value < least:
            raise ValueError(f"expected {name} of at least {least}, got {value}")
    steps = math.ceil(len(examples) / settings.batch_size)
    total = settings.epochs * steps
    save_every = save_every or steps

    state = _resume(out / "checkpoint.pt", settings, examples) if out else None
    if state:
        task.load_state_dict(state["model"])
    task.to(world.device).train()
    if compiled:
        for block in (module for module in task.modules() if isinstance(module, Block)):
            block.compile()
    model = _distribute(task, world, shard)
    groups = parameter_groups(task, settings)
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)
    scaler = torch.amp.GradScaler(world.device.type, enabled=settings.precision == "fp16")
    if state:
        optimizer.load_state_dict(_sharded(state["optimizer"], optimizer))
        scaler.load_state_dict(state["scaler"])

    first = state["step"] if state else 0
    keys = plan(len(examples), settings, first, world, accumulate)
    cuda = world.device.type == "cuda"
    loader = iter(
        DataLoader(examples, batch_sampler=keys, num_workers=workers, pin_memory=cuda, generator=torch.Generator())
    )
    log = _Log(out, first, world)
    often = 0.5 if sys.stderr.isatty() else 30  # seconds; a file on a cluster should not fill up with bars
    steps_left = range(first, total)
    bar = progress(steps_left, initial=first, total=total, unit="step", disable=world.rank > 0, mininterval=often)
    for step in bar:
        rate = learning_rate(step, total, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        for part in range(accumulate):
            *batch, weights = (tensor.to(world.device, non_blocking=True) for tensor in _fetch(loader))
            with _hold_gradients(model, part < accumulate - 1):
                with torch.autocast(world.device.type, PRECISIONS[settings.precision], settings.precision != "fp32"):
                    loss = model(*batch) * weights.sum().float()
                scaler.scale(loss * world.size).backward()  # processes average their gradients
            log.add(loss, len(weights))
        if settings.clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(task.parameters(), settings.clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

        save = (step + 1) % save_every == 0 or step + 1 == total
        if save or (step + 1) % log_every == 0:
            row = log.close(step + 1, (step + 1) / steps, rate)
            bar.set_postfix_str(f"loss {row['loss']:.4f}, {row['images_per_second']:.0f} images/s")
        if save and out:
            state = {
                "model": _whole(task.state_dict()),
                "optimizer": _whole(optimizer.state_dict()),
                "scaler": scaler.state_dict(),
                "config": asdict(settings),
                "data": examples.images.name,
                "step": step + 1,
            }
            if world.rank == 0:
                save_checkpoint(state, out / "checkpoint.pt")
    task.eval()
    return log.rows
