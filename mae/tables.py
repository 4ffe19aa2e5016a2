"""Missing and noisy entries of a table: one token per column.

``python -m mae experiments`` fills ``results/tables.json``; stopped, it goes on where it was.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_breast_cancer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the next import possible)
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.experiments import run_missing
from mae.masking import Mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.series import DAY, PARTS, load_temperatures, repair
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "tables.json"
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
NOISE = 0.5  # deviation of the noise, in deviations of a column


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers, standardised by the training rows: each column has mean 0 and deviation 1 there.

    Parameters
    ----------
    train, validation, test : Tensor, (B, N), float32
        The validation rows choose hyper-parameters; the columns are standardised without them and without the test.
    columns : tuple of str
        N names.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    columns: tuple[str, ...]


def load_table(name: str, seed: int = 0) -> Table:
    """A table without missing entries.

    Parameters
    ----------
    name : {"cells", "days"}
        "cells": 30 measurements on the nuclei in each of 569 images of breast tissue, which come with scikit-learn
        (rows split at random). "days": the 24 hourly temperatures of each day at three airports (split in time).
    seed : int
        Of the random split; "days" have one split only.

    Returns
    -------
    Table
    """
    if name == "cells":
        data = load_breast_cancer()
        columns = tuple(map(str, data.feature_names))
        rest, test = train_test_split(data.data, test_size=0.3, random_state=seed, stratify=data.target)
        train, validation = train_test_split(rest, test_size=0.2, random_state=seed)
    elif name == "days":
        hours = repair(load_temperatures())[:, 23:]  # from the first midnight in New York, 05:00 UTC, on
        parts = []
        for first, end in PARTS.values():
            some = hours[:, first // DAY * DAY : end // DAY * DAY]
            whole = some.shape[1] // DAY * DAY
            parts.append(some[:, :whole].reshape(-1, DAY).double().numpy())
        train, validation, test = parts
        columns = tuple(f"{hour:02d}:00" for hour in range(DAY))
    else:
        raise ValueError(f'expected table "cells" or "days", got {name!r}')
    mean, std = train.mean(axis=0), train.std(axis=0)
    parts = [torch.from_numpy(((part - mean) / std).astype(np.float32)) for part in (train, validation, test)]
    return Table(*parts, columns)


def table_config(columns: int) -> MAEConfig:
    """A small model for rows of this many numbers.

    Parameters
    ----------
    columns : int
        N.
    """
    return MAEConfig(
        grid=(1, columns),
        patch_values=columns,
        width=32,
        depth=2,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=4,
    )


def as_tokens(rows: Tensor) -> Tensor:
    """Each entry in the place of its column, zeros elsewhere: the linear embedding then has a vector for each column.

    Parameters
    ----------
    rows : Tensor, (B, N)

    Returns
    -------
    Tensor, (B, N, N)
    """
    return torch.diag_embed(rows)


def predict_hidden(model: MaskedAutoencoder, rows: Tensor, mask: Mask) -> Tensor:
    """The hidden entries; of the values that a hidden token predicts, the one of its column.

    Parameters
    ----------
    model : MaskedAutoencoder
        From `train_table`.
    rows : Tensor, (B, N)
        Hidden entries are never looked at, but must be finite.
    mask : Mask

    Returns
    -------
    Tensor, (B, M)
    """
    return model(as_tokens(rows), mask).gather(2, mask.hidden[:, :, None])[:, :, 0]


def train_table(rows: Tensor, *, seed: int, steps: int = 1500, noise: float = 0.0) -> MaskedAutoencoder:
    """Train a masked autoencoder on rows; each batch hides another share of the entries, from a tenth to nine tenths.

    Parameters
    ----------
    rows : Tensor, (B, N)
        Complete.
    seed : int
    steps : int
        About this many batches of 32 rows.
    noise : float
        Deviation of noise that is added once, to input and target alike: what a table that was measured with noise
        has to offer.

    Returns
    -------
    MaskedAutoencoder
    """
    B, N = rows.shape
    generator = torch.Generator().manual_seed(seed)
    model = MaskedAutoencoder(table_config(N), generator=generator)
    rows = rows + noise * torch.randn(rows.shape, generator=generator)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        ratio = min(0.1 + 0.8 * torch.rand((), generator=generator).item(), 1 - 1 / N)  # one is left to see
        mask = random_mask(len(batch), N, ratio, generator=generator)
        return ((predict_hidden(model, rows[batch], mask) - rows[batch].gather(1, mask.hidden)) ** 2).mean()

    epochs = max(steps * 32 // B, 1)
    fit(model, loss_of_batch, B, TrainConfig(epochs=epochs, batch_size=32, seed=seed, weight_decay=0.1), name="rows")
    return model


@torch.inference_mode()
def fill(model: MaskedAutoencoder, rows: Tensor, mask: Mask) -> Tensor:
    """Rows with their hidden entries predicted.

    Parameters
    ----------
    model : MaskedAutoencoder
    rows : Tensor, (B, N)
    mask : Mask

    Returns
    -------
    Tensor, (B, N)
    """
    return rows.scatter(1, mask.hidden, predict_hidden(model, rows, mask))


@torch.inference_mode()
def from_others(model: MaskedAutoencoder, rows: Tensor) -> Tensor:
    """Every entry predicted from all others of its row, never from itself.

    Parameters
    ----------
    model : MaskedAutoencoder
    rows : Tensor, (B, N)

    Returns
    -------
    Tensor, (B, N)
    """
    B, N = rows.shape
    columns = []
    for column in range(N):
        mask = Mask.from_hidden((torch.arange(N) == column).expand(B, -1))
        columns.append(predict_hidden(model, rows, mask)[:, 0])
    return torch.stack(columns, dim=1)


def combine(noisy: Tensor, predicted: Tensor, noise: float, doubt: Tensor) -> Tensor:
    """The weighted mean of an observation and a prediction, each by the inverse of its variance.

    Parameters
    ----------
    noisy, predicted : Tensor, (B, N)
    noise : float
        Deviation of the noise on an observation.
    doubt : Tensor, (N,)
        Deviation of the error of a prediction, column by column.

    Returns
    -------
    Tensor, (B, N)
    """
    weight = doubt**2 / (doubt**2 + noise**2)  # of the observation
    return weight * noisy + (1 - weight) * predicted


def fill_neighbors(train: Tensor, rows: Tensor, mask: Mask, k: int) -> Tensor:
    """Hidden entries as the mean of the k nearest training rows, by the entries that are visible.

    Parameters
    ----------
    train, rows : Tensor, (B, N)
    mask : Mask
    k : int

    Returns
    -------
    Tensor, (B, N)
    """
    holes = rows.masked_fill(mask.is_hidden, torch.nan).numpy()
    return torch.from_numpy(KNNImputer(n_neighbors=k).fit(train.numpy()).transform(holes)).to(rows)


def fill_iterative(train: Tensor, rows: Tensor, mask: Mask, *, seed: int) -> Tensor:
    """Hidden entries by a regression of each column on the others, repeated until they agree (scikit-learn).

    It learns from training rows with the same share of holes: without holes it would not fit anything.

    Parameters
    ----------
    train, rows : Tensor, (B, N)
    mask : Mask
    seed : int
        Of the holes in the training rows.

    Returns
    -------
    Tensor, (B, N)
    """
    ratio = mask.hidden.shape[1] / mask.num_patches
    holes = random_mask(len(train), mask.num_patches, ratio, generator=torch.Generator().manual_seed(seed))
    learn = train.masked_fill(holes.is_hidden, torch.nan).double().numpy()
    imputer = IterativeImputer(max_iter=20, tol=0.1, random_state=0)
    imputer.fit(np.concatenate([learn, train.double().numpy()]))
    return torch.from_numpy(imputer.transform(rows.masked_fill(mask.is_hidden, torch.nan).double().numpy())).to(rows)


def fill_gaussian(train: Tensor, rows: Tensor, mask: Mask) -> Tensor:
    """Hidden entries as the conditional mean of one normal distribution, its covariance shrunk (Ledoit & Wolf, 2004).

    Parameters
    ----------
    train, rows : Tensor, (B, N)
    mask : Mask

    Returns
    -------
    Tensor, (B, N)
    """
    fitted = LedoitWolf().fit(train.double().numpy())
    mean, covariance = fitted.location_, fitted.covariance_
    filled = rows.double().numpy().copy()
    for row, visible, hidden in zip(filled, mask.visible.numpy(), mask.hidden.numpy(), strict=True):
        inner = np.linalg.solve(covariance[np.ix_(visible, visible)], row[visible] - mean[visible])
        row[hidden] = mean[hidden] + covariance[np.ix_(hidden, visible)] @ inner
    return torch.from_numpy(filled).to(rows)


def smooth_gaussian(noisy_train: Tensor, noisy: Tensor, noise: float) -> Tensor:
    """Noisy rows drawn towards what a normal distribution makes likely: the Wiener filter.

    Parameters
    ----------
    noisy_train, noisy : Tensor, (B, N)
        The covariance is that of noisy rows; the noise's is taken off.
    noise : float
        Deviation of the noise.

    Returns
    -------
    Tensor, (B, N)
    """
    fitted = LedoitWolf().fit(noisy_train.double().numpy())
    mean, covariance = fitted.location_, fitted.covariance_
    gain = np.eye(len(mean)) - noise**2 * np.linalg.inv(covariance)
    return torch.from_numpy(mean + (noisy.double().numpy() - mean) @ gain.T).to(noisy)


def straight_lines(rows: Tensor, mask: Mask) -> Tensor:
    """Hidden entries on straight lines between the nearest visible columns: for rows that are signals.

    Parameters
    ----------
    rows : Tensor, (B, N)
    mask : Mask

    Returns
    -------
    Tensor, (B, N)
    """
    places = np.arange(rows.shape[1])
    hidden = mask.is_hidden.numpy()
    lines = [np.interp(places, places[~h], row[~h]) for row, h in zip(rows.numpy(), hidden, strict=True)]
    return torch.from_numpy(np.stack(lines)).to(rows)


def rmse(filled: Tensor, rows: Tensor, mask: Mask | None = None) -> float:
    """Root mean squared error of the hidden entries; of all, without a mask.

    Parameters
    ----------
    filled, rows : Tensor, (B, N)
    mask : Mask, optional
    """
    squared = (filled - rows) ** 2
    return (squared if mask is None else squared[mask.is_hidden]).mean().sqrt().item()


@dataclass(frozen=True, kw_only=True)
class TableSetting:
    """One run.

    Parameters
    ----------
    data : {"cells", "days"}
    seed : int
        Of the split, the weights, the masks and the noise.
    """

    data: str
    seed: int = 0


SWEEP = [TableSetting(data=data, seed=seed) for seed in range(3) for data in ("cells", "days")]


def fillings(table: Table, model: MaskedAutoencoder, rate: float, seed: int) -> dict[str, float]:
    """Errors on the test rows at one rate of missing entries, of all ways to fill them in.

    Parameters
    ----------
    table : Table
    model : MaskedAutoencoder
        From `train_table`.
    rate : float
    seed : int
        Of the holes.

    Returns
    -------
    dict of str to float
        Root mean squared errors, in deviations of a column.
    """
    N = len(table.columns)
    generator = torch.Generator().manual_seed(1000 + seed)
    test, trial = table.test, table.validation
    mask, trial_mask = (random_mask(len(x), N, rate, generator=generator) for x in (test, trial))
    with threadpool_limits(1):
        errors = {k: rmse(fill_neighbors(table.train, trial, trial_mask, k), trial, trial_mask) for k in (1, 3, 10, 30)}
        filled = {
            "masked autoencoder": fill(model, test, mask),
            "iterative": fill_iterative(table.train, test, mask, seed=seed),
            "normal distribution": fill_gaussian(table.train, test, mask),
            "nearest rows": fill_neighbors(table.train, test, mask, min(errors, key=errors.get)),
            "mean": test.masked_fill(mask.is_hidden, 0),
            "straight line": straight_lines(test, mask),
        }
    return {name: rmse(x, test, mask) for name, x in filled.items()}


def denoisings(table: Table, model: MaskedAutoencoder, seed: int) -> dict[str, float]:
    """Errors on the test rows after noise on every entry, of all ways to take it off.

    Parameters
    ----------
    table : Table
    model : MaskedAutoencoder
        Trained on rows with this noise.
    seed : int
        Of the noise.

    Returns
    -------
    dict of str to float
        Root mean squared errors against the clean rows, in deviations of a column.
    """
    generator = torch.Generator().manual_seed(2000 + seed)
    train, trial, test = (
        x + NOISE * torch.randn(x.shape, generator=generator) for x in (table.train, table.validation, table.test)
    )
    predicted = from_others(model, test)
    # What a prediction errs by, against noisy validation rows: that is its own error and their noise.
    doubt = ((from_others(model, trial) - trial) ** 2).mean(dim=0).sub(NOISE**2).clamp(min=1e-4).sqrt()
    cleaned = {
        "as measured": test,
        "masked autoencoder alone": predicted,
        "masked autoencoder, combined": combine(test, predicted, NOISE, doubt),
        "normal distribution": smooth_gaussian(train, test, NOISE),
    }
    return {name: rmse(x, table.test) for name, x in cleaned.items()}


def run(setting: TableSetting) -> dict:
    """Train two models, one on clean rows and one on noisy ones, and measure them and all baselines.

    Parameters
    ----------
    setting : TableSetting

    Returns
    -------
    dict
        ``missing``: errors by rate and method; ``noisy``: errors by method; ``seconds``: training time.
    """
    table = load_table(setting.data, setting.seed)
    start = time.perf_counter()
    clean = train_table(table.train, seed=setting.seed)
    noisy = train_table(table.train, seed=setting.seed, noise=NOISE)
    seconds = time.perf_counter() - start
    return {
        "missing": {str(rate): fillings(table, clean, rate, setting.seed) for rate in RATES},
        "noisy": denoisings(table, noisy, setting.seed),
        "seconds": seconds,
    }


def run_tables(path: Path = RESULTS) -> None:
    """Run what is missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored_tables(data: str) -> list[dict]:
    """The stored runs on one table, one per seed.

    Parameters
    ----------
    data : {"cells", "days"}
    """
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["setting"]["data"] == data]
