"""``python -m mae``: train, judge and use masked autoencoders."""

import argparse
import json
import math
import os
import platform
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.distributed as dist
from PIL import Image, ImageOps
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mae.data import load_digits
from mae.images import (
    Examples,
    Images,
    centre_crop,
    image_layout,
    open_digits,
    open_folder,
    open_image,
    open_split,
    to_image,
    to_tensor,
)
from mae.losses import normalize_patches
from mae.masking import random_mask, take
from mae.model import MAEConfig, MaskedAutoencoder, digits_config, vit_config
from mae.patches import patch_grid, patchify, unpatchify
from mae.train import TrainConfig, load_checkpoint, pretrain
from mae.trainer import Pretraining, Settings, World, join_world, train
from mae.weights import PRETRAINED, checksum, load_model, save_model

RECIPE = TrainConfig(epochs=320, mask_ratio=0.7, augment=True)

TINY = MAEConfig(
    grid=(14, 14),
    patch_values=768,
    width=192,
    depth=12,
    heads=3,
    decoder_width=128,
    decoder_depth=4,
    decoder_heads=4,
)
SIZES = {
    "digits": digits_config(),
    "tiny": TINY,
    "small": replace(TINY, width=384, heads=6, decoder_width=256, decoder_heads=8),
    "base": vit_config("base"),
    "large": vit_config("large"),
    "huge": vit_config("huge"),
}
PATCHES = {"digits": 4, "huge": 14}
SIZE_OPTIONS = {"size", "image_size", "patch_size", "grey", *MAEConfig.__dataclass_fields__}

# What `pretrain` and `finetune` do if they are not told otherwise.
FOLDER = {"size": "base", "image_size": 224, "batch_size": 256, "augment": "crop", "workers": 2}
DIGITS = {"size": "digits", "image_size": 28, "batch_size": 64, "augment": "affine", "workers": 0}
PRETRAIN = {"folder": {"epochs": 100}, "digits": {"epochs": 320, "mask_ratio": 0.7, "base_learning_rate": 8e-3}}
FINETUNE = {
    "betas": (0.9, 0.999),
    "base_learning_rate": 5e-4,
    "layer_decay": 0.65,
    "drop_path": 0.1,
    "smoothing": 0.1,
    "epochs": 50,
}
FINETUNE_DIGITS = {"base_learning_rate": 4e-3, "layer_decay": 0.75}


def digits_scores(path: Path) -> dict[str, float]:
    """What the frozen features of a stored digits model are worth on the 1,000 test digits.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        Accuracies, 0 to 1, of ``linear_probe`` and ``nearest_neighbors`` (five of them).
    """
    from mae.evaluate import extract_features, linear_probe, nearest_neighbors

    model = load_model(path)
    train, test = load_digits("train"), load_digits("test")
    features = [extract_features(model, patchify(part.images, 4)) for part in (train, test)]
    data = features[0], train.labels, features[1], test.labels
    return {
        "linear_probe": linear_probe(*data).accuracy,
        "nearest_neighbors": nearest_neighbors(*data).accuracy,
    }


def pretrain_digits(args: argparse.Namespace) -> None:
    """Train, save in half precision, score what was saved, and write the recipe beside it.

    Parameters
    ----------
    args : argparse.Namespace
        With ``out``, ``epochs`` and ``seed``.
    """
    out = args.out
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent}: make it first")
    config = replace(RECIPE, epochs=RECIPE.epochs if args.epochs is None else args.epochs, seed=args.seed)
    model = MaskedAutoencoder(digits_config(), generator=torch.Generator().manual_seed(config.seed))
    log = pretrain(model, load_digits("train").images, config, checkpoint=out.with_suffix(".checkpoint"), name="digits")
    save_model(model, out, dtype=torch.float16)
    scores = digits_scores(out)
    record = {
        "command": "python -m mae pretrain digits",
        "model": asdict(model.config),
        "recipe": asdict(config),
        "scores": scores,
        "seconds": sum(row["seconds"] for row in log),
        "versions": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
        "log": [{"epoch": row["epoch"], "loss": round(row["loss"], 5)} for row in log],
    }
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    out.with_suffix(".checkpoint").unlink()
    print(
        f"{out}: linear probe {scores['linear_probe']:.1%}, five nearest neighbours {scores['nearest_neighbors']:.1%}"
    )


def _chosen(args: argparse.Namespace, *defaults: dict) -> dict:
    """Options that were given, over defaults; a later default beats an earlier one."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    return {key: value for part in (*defaults, given) for key, value in part.items()}


def _make_settings(options: dict, model: MAEConfig | None = None, **more) -> Settings:
    """Settings from options; the model is a given one, or a preset with the sizes that were given."""
    if model is None:
        p = options.get("patch_size", PATCHES.get(options["size"], 16))
        sizes = {k: v for k, v in options.items() if k in MAEConfig.__dataclass_fields__}
        channels = 1 if options.get("grey") or options["data"] == "digits" else 3
        grid = patch_grid(options["image_size"], p)
        model = replace(SIZES[options["size"]], grid=grid, patch_values=p * p * channels, **sizes)
    fields = {k: v for k, v in options.items() if k in Settings.__dataclass_fields__ and k != "patch_size"}
    return Settings(**{**fields, **more}, model=model, patch_size=image_layout(model)[0])


def _run_training(task: nn.Module, examples: Examples, settings: Settings, options: dict) -> World:
    """Train in the folder ``out``: begin, or go on."""
    out, world = options["out"], join_world(options.get("device"))
    out.mkdir(parents=True, exist_ok=True)
    there = (out / "checkpoint.pt").exists()
    if world.rank == 0:
        size = sum(p.numel() for p in task.parameters()) / 1e6
        steps = settings.epochs * math.ceil(len(examples) / settings.batch_size)
        print(
            f"{len(examples):,} images, {size:.1f} M parameters, {steps:,} steps of {settings.batch_size} images on "
            f"{world.size} {world.device.type}{' processes' * (world.size > 1)}; log and checkpoints in {out}",
            flush=True,
        )
        if not there:
            (out / "settings.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    names = ("accumulate", "workers", "save_every", "log_every", "compiled", "shard")
    train(task, examples, settings, out, world=world, **{k: options[k] for k in names if k in options})
    return world


def _run_pretrain(args: argparse.Namespace) -> None:
    """Pre-train on a folder of images or on the digits."""
    digits, out = args.data == "digits", args.out
    if digits and (out is None or out.suffix == ".safetensors"):
        others = sorted(_chosen(args).keys() - {"data", "out", "epochs", "seed", "run"})
        if others:
            raise ValueError(f"the shipped model's recipe has no --{others[0].replace('_', '-')}: give --out a folder")
        if out is None and (given := _chosen(args).keys() & {"epochs", "seed"}):
            raise ValueError(f"the shipped model is not overwritten by another: --{min(given)} goes with --out")
        args.out, args.seed = out or PRETRAINED / "digits.safetensors", args.seed or 0
        return pretrain_digits(args)
    if out is None or out.suffix == ".safetensors":
        raise ValueError(f"expected --out FOLDER, for weights, log and checkpoints, got {out}")
    options = _chosen(args, DIGITS if digits else FOLDER, PRETRAIN["digits" if digits else "folder"])
    settings = _make_settings(options)
    patch_size, channels, size = image_layout(settings.model)
    images = open_digits("train") if digits else open_folder(Path(args.data), channels)
    examples = Examples(images, patch_size, size, settings.augment, mask_ratio=settings.mask_ratio, seed=settings.seed)
    model = MaskedAutoencoder(settings.model, generator=torch.Generator().manual_seed(settings.seed))
    task = Pretraining(model, settings.normalized)
    if _run_training(task, examples, settings, options).rank == 0:
        # From the checkpoint, since a process may hold a shard of the model only.
        task = Pretraining(MaskedAutoencoder(settings.model))
        task.load_state_dict(load_checkpoint(out / "checkpoint.pt")["model"])
        task.model.normalized = settings.normalized
        save_model(task.model, out / "model.safetensors")
        print(f"{out / 'model.safetensors'}: done; `python -m mae probe` and `finetune` take it as --weights")


def _run_finetune(args: argparse.Namespace) -> None:
    """Train a classifier from pre-trained weights or from scratch, and score it on held-out images."""
    from mae.evaluate import Classifier, Finetuning, Score

    if args.out.suffix == ".safetensors":
        raise ValueError(f"expected --out FOLDER, for scores, log and checkpoints, got {args.out}")
    scratch = {} if args.weights else {"layer_decay": 1.0, "drop_path": 0.0}
    usual = DIGITS | FINETUNE | FINETUNE_DIGITS if args.data == "digits" else FOLDER | FINETUNE
    options = _chosen(args, usual, scratch)
    if args.weights and (sizes := sorted(_chosen(args).keys() & SIZE_OPTIONS)):
        raise ValueError(f"the weights fix the model: --{sizes[0].replace('_', '-')} goes with --from-scratch only")
    model = _load_weights(args.weights) if args.weights else None
    config = model.config if model else _make_settings(options).model
    patch_size, channels, size = image_layout(config)
    images, held_out = open_split(args.data, channels)
    weights = checksum(model.state_dict()) if model else ""
    settings = _make_settings(options, config, classes=len(images.classes), weights=weights)
    generator = torch.Generator().manual_seed(settings.seed)
    model = model or MaskedAutoencoder(config, generator=generator)
    examples = Examples(images, patch_size, size, settings.augment, noise=config.depth, seed=settings.seed)

    def make_task(model: MaskedAutoencoder) -> Finetuning:
        classifier = Classifier(model, len(images.classes), drop_path=settings.drop_path, generator=generator)
        return Finetuning(classifier, settings.smoothing)

    world = _run_training(make_task(model), examples, settings, options)
    if world.rank == 0:
        task = make_task(MaskedAutoencoder(config)).to(world.device).eval()
        task.load_state_dict(load_checkpoint(args.out / "checkpoint.pt")["model"])
        with torch.inference_mode():
            batches = _in_order(held_out, config, options["workers"], world.device)
            answers = torch.cat([task.classifier(x).argmax(1) for x, *_ in batches]).cpu()
        accuracy = (answers == held_out.labels).double().mean().item()
        score = Score(accuracy, math.nan, answers.numpy())
        record = {"accuracy": accuracy, "error_bar": score.error_bar, "held_out": len(held_out)}
        (args.out / "scores.json").write_text(json.dumps(record | {"classes": images.classes}, indent=1) + "\n")
        print(f"{args.data}: {_describe(score, held_out)}")


def _run_probe(args: argparse.Namespace) -> None:
    """Score a linear classifier on frozen features."""
    import numpy as np

    from mae.evaluate import extract_features, linear_probe

    device = join_world(args.device).device
    model = _load_weights(args.weights).to(device)
    parts = open_split(args.data, image_layout(model.config)[1])
    features = []
    for part in parts:
        batches = _in_order(part, model.config, args.workers, device)
        features.append(np.concatenate([extract_features(model, x, args.pool) for x, *_ in batches]))
    score = linear_probe(features[0], parts[0].labels, features[1], parts[1].labels)
    print(f"{args.data}: {_describe(score, parts[1])}")


def _load_weights(path: Path) -> MaskedAutoencoder:
    """A model from a file of ours or of the published code, with an attribute ``normalized``."""
    if path.suffix == ".pth":
        from mae.official import read_official

        return read_official(path)
    model, settings = load_model(path), path.with_name("settings.json")
    if settings.is_file():  # weights written by older versions do not say it
        model.normalized |= bool(json.loads(settings.read_text()).get("normalized"))
    return model


def _in_order(images: Images, config: MAEConfig, workers: int, device: torch.device) -> Iterator[list[Tensor]]:
    """Batches of patches and labels on a device, each picture once, without augmentation."""
    patch_size, _, size = image_layout(config)
    keys = [[(0, int(i), 1.0) for i in rows] for rows in torch.arange(len(images)).split(100)]
    loader = DataLoader(Examples(images, patch_size, size), batch_sampler=keys, num_workers=workers)
    return ([x.to(device) for x in batch] for batch in loader)


def _describe(score, held_out: Images) -> str:
    """A score in words."""
    return (
        f"accuracy {score.accuracy:.1%} ± {score.error_bar:.1%} (one standard error) "
        f"on {len(held_out):,} held-out images of {len(held_out.classes)} classes"
    )


def _run_reconstruct(args: argparse.Namespace) -> None:
    """Hide patches of an image, and write what is seen and what the model makes of it, side by side."""
    from mae.evaluate import reconstruct

    if args.out.suffix.lower() != ".png":
        raise ValueError(f"expected --out FILE.png, got {args.out}")
    if not args.out.parent.is_dir():
        raise ValueError(f"there is no folder {args.out.parent}: make it first")
    model = _load_weights(args.weights)
    p, channels, size = image_layout(model.config)
    image = centre_crop(open_image(args.image, channels), size)
    patches = patchify(to_tensor(ImageOps.invert(image) if args.invert else image)[None], p)
    generator = torch.Generator().manual_seed(args.seed)
    mask = random_mask(1, patches.shape[1], args.mask_ratio, generator=generator)
    rebuilt = reconstruct(model, patches, mask)
    if model.normalized:
        # Brightness and contrast that were never predicted: the visible patches' mean ones, not the hidden truth.
        _, mean, std = normalize_patches(take(patches, mask.visible))
        hidden = mask.is_hidden[:, :, None]
        rebuilt = torch.where(hidden, rebuilt * std.mean() + mean.mean(), patches)
    grey = to_tensor(Image.new(image.mode, (1, 1), 128 if channels == 1 else (128,) * 3))
    grey = patchify(grey.expand(-1, *size)[None], p)
    masked = torch.where(mask.is_hidden[:, :, None], grey, patches)
    zoom, gap = max(1, 224 // size[0]), 8
    pictures = [to_image(unpatchify(x, p, size)[0]) for x in (patches, masked, rebuilt)]
    height, width = size[0] * zoom, size[1] * zoom
    sheet = Image.new("RGB", (3 * width + 2 * gap, height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (i * (width + gap), 0))
    partial = args.out.with_name(args.out.name + ".partial")
    sheet.save(partial, format="png")
    os.replace(partial, args.out)
    print(f"{args.out}: input, the {mask.visible.shape[1]} of {mask.num_patches} patches seen, and the rest rebuilt")


def _run_experiments(args: argparse.Namespace) -> None:
    """Run the stored experiments that are missing."""
    from mae.anomaly import run_all as run_anomalies
    from mae.augmentation import run_augmentations
    from mae.denoising import run_denoising
    from mae.dense_experiments import run_dense
    from mae.enhancement import run_enhancement
    from mae.experiments import run_all
    from mae.faces import run_faces
    from mae.generation import run_generation
    from mae.properties import run_molecules
    from mae.recognition import run_recognition
    from mae.regularization import run_all as run_regularization
    from mae.replays import run_replays
    from mae.senses import run_senses
    from mae.series import run_series
    from mae.speech import run_speech
    from mae.tables import run_tables
    from mae.text_experiments import run_text
    from mae.upscaling import run_upscaling

    run_all()
    run_replays()
    run_recognition()
    run_anomalies()
    run_regularization()
    run_denoising()
    run_series()
    run_molecules()
    run_speech()
    run_generation()
    run_dense()
    run_tables()
    run_upscaling()
    run_text()
    run_senses()
    run_enhancement()
    run_augmentations()
    run_faces()


def _run_ablations(args: argparse.Namespace) -> None:
    """Run the stored ablations that are missing."""
    from mae.ablations import run_ablations

    run_ablations()


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str):
        self.exit(2, f"mae: {message}; `{self.prog} --help` lists what can be given\n")


def _add_training_options(parser: argparse.ArgumentParser, defaults: dict) -> None:
    """The options that pre-training and fine-tuning share, with what the help says of their defaults."""

    def add(group, name: str, kind, what: str, **kwargs) -> None:
        metavar = {"metavar": {int: "N", float: "X", str: "WORD"}[kind]} if "choices" not in kwargs else {}
        group.add_argument(name, type=kind, help=what, **metavar, **kwargs)

    sizes = parser.add_argument_group("model", "a preset, and what is to differ from it")
    add(sizes, "--size", str, "preset (default: base; for digits, the book's model)", choices=list(SIZES))
    add(sizes, "--image-size", int, "side in pixels that images are brought to (default: 224; digits: 28)")
    add(sizes, "--patch-size", int, "side of a patch in pixels (default: 16; huge: 14; digits: 4)")
    for part, whose in (("", "encoder"), ("decoder_", "decoder")):
        for name, what in (("width", "width of a token"), ("depth", "blocks"), ("heads", "attention heads")):
            add(sizes, f"--{part}{name}".replace("_", "-"), int, f"{what} of the {whose}")
    sizes.add_argument("--grey", action="store_true", default=None, help="one channel instead of RGB")

    learning = parser.add_argument_group("learning", "what decides the result")
    add(learning, "--epochs", int, f"how often each image is seen (default: {defaults['epochs']})")
    add(learning, "--batch-size", int, "images in a step, over all processes (default: 256; digits: 64)")
    rate = defaults["base_learning_rate"]
    add(learning, "--base-learning-rate", float, f"for 256 images in a step, scaled to the batch (default: {rate})")
    add(learning, "--warmup", float, "share of all steps in which the rate rises (default: 0.05)")
    add(learning, "--weight-decay", float, "on all but biases and norms (default: 0.05)")
    add(learning, "--clip", float, "longest gradient allowed (default: 0, no limit)")
    augmentations = ["crop", "affine", "none"]
    add(learning, "--augment", str, "random crops and flips (default), or small rotations", choices=augmentations)
    precisions = ["fp32", "bf16", "fp16"]
    add(learning, "--precision", str, "of matrix products (default: fp32); bf16 needs no care", choices=precisions)
    add(learning, "--seed", int, "fixes weights, order, masks and augmentations (default: 0)")

    running = parser.add_argument_group("running", "what may change when a run goes on")
    add(running, "--device", str, "default: a GPU if there is one", choices=["cpu", "cuda"])
    add(running, "--workers", int, "processes that prepare images (default: 2; digits: 0)")
    add(running, "--accumulate", int, "parts of a step, one after the other, to save memory (default: 1)")
    running.add_argument("--compile", dest="compiled", action="store_true", default=None, help="compile the blocks")
    shard = "spread weights, gradients and optimiser over the processes (FSDP2)"
    running.add_argument("--shard", action="store_true", default=None, help=shard)
    add(running, "--save-every", int, "steps between checkpoints (default: an epoch)")
    add(running, "--log-every", int, "steps between rows of log.jsonl (default: 10)")


def _make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = _Parser(prog="python -m mae", description="Train, judge and use masked autoencoders.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    digits = PRETRAINED / "digits.safetensors"

    def command(name: str, arguments: str, run, what: str, more: str = "") -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        text = f"{what[0].upper()}{what[1:]}.\n\n{more}".strip()
        usage = f"python -m mae {name} {arguments}[options]"
        added = commands.add_parser(
            name, usage=usage, help=what, description=text, formatter_class=form, allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    p = command(
        "pretrain",
        "DATA --out RUN ",
        _run_pretrain,
        "pre-train a model on a folder of images or on the digits",
        "python -m mae pretrain PHOTOS --out RUN                       all images in PHOTOS and below it\n"
        "torchrun --nproc-per-node 2 -m mae pretrain PHOTOS --out RUN  the same run in two processes\n"
        "python -m mae pretrain digits                                 makes the shipped model again\n\n"
        "RUN will hold model.safetensors, log.jsonl, settings.json and checkpoint.pt. Stopped in any way, the same\n"
        "command goes on from the last checkpoint and ends with the same weights.",
    )
    p.add_argument("data", metavar="DATA", help="a folder of JPEG and PNG files, or `digits`")
    p.add_argument("--out", type=Path, metavar="RUN", help="a folder; for `digits` also a file, FILE.safetensors: then "
                   "it is trained by the recipe of the shipped model (default: that model's own file, without --epochs "
                   "and --seed)")  # fmt: skip
    _add_training_options(p, {"epochs": "100; digits: 320", "base_learning_rate": "1.5e-4; digits: 8e-3"})
    p.add_argument("--mask-ratio", type=float, metavar="X", help="share of patches hidden (default: 0.75; digits: 0.7)")
    p.add_argument("--normalized", action="store_true", default=None, help="predict normalised pixels")

    p = command(
        "finetune",
        "DATA --weights FILE --out RUN ",
        _run_finetune,
        "train a classifier from pre-trained weights, or from scratch",
        "DATA holds one folder of images for each class; or train and val, and in each of them the classes. Without\n"
        "these two, every fifth image of each class is held out. Model options are for training from scratch only.",
    )
    p.add_argument("data", metavar="DATA", help="a folder with a folder for each class, or `digits`")
    p.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for scores, log and checkpoints")
    start = p.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--weights", type=Path, metavar="FILE", help="pre-trained weights, such as RUN/model.safetensors"
    )
    start.add_argument("--from-scratch", action="store_true", help="random weights: what pre-training is compared with")
    _add_training_options(p, {"epochs": 50, "base_learning_rate": "5e-4; digits: 4e-3"})
    p.add_argument(
        "--layer-decay",
        type=float,
        metavar="X",
        help="a block's rate over the next one's (default: 0.65; digits: 0.75)",
    )
    p.add_argument("--drop-path", type=float, metavar="X", help="how often the last block is skipped (default: 0.1)")
    p.add_argument("--smoothing", type=float, metavar="X", help="of the labels (default: 0.1)")

    p = command(
        "probe", "DATA --weights FILE ", _run_probe, "score a linear classifier on frozen features, on held-out images"
    )
    p.add_argument("data", metavar="DATA", help="a folder with a folder for each class, or `digits`; as for finetune")
    p.add_argument("--weights", type=Path, default=digits, metavar="FILE", help="default: the digits model")
    p.add_argument("--pool", choices=["mean", "class"], default="mean", help="which tokens (default: mean of patches)")
    p.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    p.add_argument("--workers", type=int, default=0, metavar="N", help="processes that prepare images (default: 0)")

    p = command(
        "reconstruct",
        "IMAGE --out FILE.png ",
        _run_reconstruct,
        "hide patches of an image and draw what a model makes of it",
    )
    p.add_argument("image", type=Path, metavar="IMAGE", help="a JPEG or PNG file")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="input, masked, rebuilt: side by side")
    p.add_argument("--weights", type=Path, default=digits, metavar="FILE", help="default: the digits model")
    p.add_argument("--mask-ratio", type=float, default=0.75, metavar="X", help="share hidden (default: 0.75)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="which patches (default: 0)")
    p.add_argument("--invert", action="store_true", help="dark ink on light paper, for the digits model")

    command("experiments", "", _run_experiments, "run the stored experiments that are missing, of all chapters")
    command("ablate", "", _run_ablations, "run the stored ablations that are missing")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; those of the process, if not given.

    Returns
    -------
    int
        0 if all is well; 2, with one line on standard error, if not; 130 if it was stopped.
    """
    args = _make_parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError, FloatingPointError, SafetensorError) as error:
        return _fail(2, str(error))
    except torch.OutOfMemoryError:
        return _fail(2, "the GPU's memory is full: raise --accumulate, lower --batch-size, or give --precision bf16")
    except KeyboardInterrupt:
        return _fail(130, "stopped; the same command goes on from the last checkpoint")
    except RuntimeError as error:
        # What gloo and NCCL raise in the other processes when one dies.
        if not dist.is_initialized() or not re.search("gloo|nccl|connection|peer", str(error), re.I):
            raise
        return _fail(2, "another process of this run has ended; the same command goes on from the last checkpoint")
    return 0


def _fail(code: int, message: str) -> int:
    """Say in one line what is wrong, and pass on the exit code."""
    print(f"mae: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _terminate(signum, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)  # what a cluster and torchrun send before they kill
    code = main()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(code)
