"""``python -m mae``: train the model that ships with this book, or rerun its stored experiments."""

import argparse
import json
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from mae.data import load_digits
from mae.evaluate import extract_features, linear_probe, nearest_neighbors
from mae.model import MaskedAutoencoder, digits_config
from mae.patches import patchify
from mae.train import TrainConfig, pretrain
from mae.weights import PRETRAINED, load_model, save_model

RECIPE = TrainConfig(epochs=320, mask_ratio=0.7, augment=True)


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


def run_experiments(args: argparse.Namespace) -> None:
    """Run the stored experiments that are missing.

    Parameters
    ----------
    args : argparse.Namespace
        Nothing in it is used.
    """
    from mae.experiments import run_all

    run_all()


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; those of the process, if not given.

    Returns
    -------
    int
        0 if all is well; 2, with one line on standard error, if not.
    """
    parser = argparse.ArgumentParser(prog="python -m mae", description=__doc__.split(": ", 1)[1])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("pretrain", help="pre-train a model on a built-in data set")
    train.add_argument("data", choices=["digits"], help="the data set: 4,000 handwritten digits")
    train.add_argument(
        "--out",
        type=Path,
        default=PRETRAINED / "digits.safetensors",
        metavar="FILE",
        help="where the weights go (default: the package), recipe and scores beside them",
    )
    train.add_argument("--epochs", type=int, metavar="N", help=f"default: {RECIPE.epochs}")
    train.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    train.set_defaults(run=pretrain_digits)

    experiments = commands.add_parser("experiments", help="run the stored experiments that are missing")
    experiments.set_defaults(run=run_experiments)

    args = parser.parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"mae: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
