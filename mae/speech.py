"""Spoken digits by many voices: what a masked autoencoder learns of them, probed on voices it never heard.

``python -m mae experiments`` fills ``results/speech.json`` and makes ``pretrained/speech.safetensors``; stopped, it
goes on where it was.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.audio import BANDS, FLOOR, FRAMES, clip, log_mel, mfcc, mfcc_statistics, speak
from mae.evaluate import reconstruct
from mae.experiments import run_missing
from mae.losses import masked_mse
from mae.masking import Mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patch_grid, patchify, unpatchify
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, load_model, save_model

RESULTS = Path(__file__).parent / "results" / "speech.json"
WEIGHTS = PRETRAINED / "speech.safetensors"

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-029")
# Variants of one voice, such as steph and steph2, are in one part.
VOICES = {
    "train": (
        "f1 f3 f5 m1 m2 m4 m6 m8 Alex Andy Gene Gene2 Henrique Hugo Jacky Lee Michael Nguyen RicishayMax RicishayMax2 "
        "adam antonio aunty belinda boris ed iven iven2 iven3 john linda marcelo norbert pablo quincy rob steph steph2 "
        "steph3 victor"
    ).split(),
    "validation": "f4 m5 Annie Mario caleb edward edward2 kaukovalta paul travis".split(),
    "test": (
        "f2 m3 m7 Alicia Andrea Denis Diogo Mike Storm anika david grandma grandpa gustave ian max pedro robert sandro "
        "zac"
    ).split(),
}
TAKES = {"train": 4, "validation": 2, "test": 2}  # of each digit by each voice, at other pitches and speeds

PATCH = (10, 8)  # bands and frames: 93 ms
GRID = patch_grid((BANDS, FRAMES), PATCH)
COUNTS = (2, 4, 8, 40)  # voices with labels
DRAWS = 5  # choices of voices, where not all are used


# The data


@dataclass(frozen=True, eq=False)
class Speech:
    """Clips of one part.

    Parameters
    ----------
    waves : Tensor, (B, 8064)
    spectrograms : Tensor, (B, 1, 40, 64)
        In dB, from `mae.audio.log_mel`.
    digits : ndarray, (B,)
        What is said.
    voices : ndarray, (B,)
        Who says it: the place of the voice in the part's list.
    """

    waves: Tensor
    spectrograms: Tensor
    digits: np.ndarray
    voices: np.ndarray


@cache
def _load_all() -> dict[str, Speech]:
    rng = np.random.default_rng(0)
    parts = {part: list(product(range(len(voices)), range(10), range(TAKES[part]))) for part, voices in VOICES.items()}
    requests, places = [], []
    for part, rows in parts.items():
        for voice, digit, _ in rows:
            accent = ACCENTS[voice % len(ACCENTS)]
            pitch, rate = int(rng.integers(30, 71)), int(rng.integers(150, 216))
            requests.append((DIGITS[digit], f"{accent}+{VOICES[part][voice]}", pitch, rate))
            places.append(rng.random())
    waves = torch.stack([clip(*pair) for pair in zip(speak(requests), places, strict=True)])
    loaded = {}
    for (part, rows), some in zip(parts.items(), waves.split([len(rows) for rows in parts.values()]), strict=True):
        voices, digits, _ = np.array(rows).T
        loaded[part] = Speech(some, log_mel(some), digits, voices)
    return loaded


def load_speech(part: str) -> Speech:
    """The ten digits by the voices of a part, each voice with an accent of its own, pitch and speed varied.

    Made by eSpeak NG within seconds, once per process; the same in each.

    Parameters
    ----------
    part : {"train", "validation", "test"}
        40, 10 and 20 voices; 1,600, 200 and 400 clips.

    Returns
    -------
    Speech

    Raises
    ------
    ModuleNotFoundError
        If espeakng-loader is not installed.
    ValueError
        If there is no such part.
    """
    if part not in VOICES:
        raise ValueError(f"expected one of {', '.join(VOICES)}, got {part!r}")
    return _load_all()[part]


MEAN, DEVIATION = -50.0, 16.0  # dB: rounded from the training part


def to_patches(spectrograms: Tensor) -> Tensor:
    """Spectrograms as the model takes them.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)
        In dB.

    Returns
    -------
    Tensor, (B, N, P)
        N = 32 patches of P = 80 values.
    """
    return patchify((spectrograms - MEAN) / DEVIATION, PATCH)


def to_spectrograms(patches: Tensor) -> Tensor:
    """The inverse of `to_patches`; what lies outside of the scale is cut.

    Parameters
    ----------
    patches : Tensor, (B, N, P)

    Returns
    -------
    Tensor, (B, 1, 40, 64)
    """
    return (unpatchify(patches, PATCH, (BANDS, FRAMES)) * DEVIATION + MEAN).clamp(FLOOR, 0)


def shift_in_time(spectrograms: Tensor, most: int, *, generator: torch.Generator) -> Tensor:
    """Move each clip earlier or later; the frame at the border is repeated.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, F, T)
    most : int
        Frames.
    generator : torch.Generator

    Returns
    -------
    Tensor, (B, 1, F, T)
    """
    B, _, F, T = spectrograms.shape
    by = torch.randint(-most, most + 1, (B, 1), generator=generator)
    frame = (torch.arange(T) - by).clamp(0, T - 1)  # (B, T)
    return spectrograms.gather(3, frame[:, None, None].expand(-1, 1, F, -1))


# Masks


def _columns_mask(first: Tensor, length: int, grid: tuple[int, int]) -> Mask:
    column = torch.arange(grid[1])
    hidden = (column >= first[:, None]) & (column < first[:, None] + length)  # (B, columns)
    return Mask.from_hidden(hidden[:, None].expand(-1, grid[0], -1).flatten(1))


def stretch_mask(batch: int, grid: tuple[int, int], ratio: float, *, generator: torch.Generator) -> Mask:
    """Hide one stretch of time, all bands of it, somewhere in the clip.

    Parameters
    ----------
    batch : int
        B.
    grid : (int, int)
        Rows (bands) and columns (time) of patches.
    ratio : float
        Share of the columns.
    generator : torch.Generator

    Returns
    -------
    Mask
    """
    length = round(ratio * grid[1])
    if not 0 < length < grid[1]:
        raise ValueError(f"a ratio of {ratio} hides {length} of {grid[1]} columns; hide at least one, and not all")
    return _columns_mask(torch.randint(0, grid[1] - length + 1, (batch,), generator=generator), length, grid)


def middle_mask(spectrograms: Tensor, length: int = 2) -> Mask:
    """Hide the middle of each word: the columns around the centre of its loudness.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)
    length : int
        Columns of patches.

    Returns
    -------
    Mask
    """
    loud = (spectrograms[:, 0] - FLOOR).sum(dim=1)  # (B, 64)
    centre = (loud * torch.arange(FRAMES)).sum(dim=1) / loud.sum(dim=1) / PATCH[1]
    return _columns_mask((centre - length / 2).round().long().clamp(0, GRID[1] - length), length, GRID)


# The model


@dataclass(frozen=True, kw_only=True)
class SpeechSetting:
    """One run.

    Parameters
    ----------
    features : str
        "mae", or what needs no training, one of `PLAIN`.
    masks : {"patches", "stretch"}
        What training hides: patches at random, or one stretch of time.
    ratio : float
        Share hidden.
    seed : int
    epochs : int
        0: untrained.
    """

    features: str = "mae"
    masks: str = "patches"
    ratio: float = 0.5
    seed: int = 0
    epochs: int = 20

    def __post_init__(self):
        if self.masks not in ("patches", "stretch"):
            raise ValueError(f'expected masks "patches" or "stretch", got {self.masks!r}')
        if self.features not in ("mae", *PLAIN):
            raise ValueError(f"expected one of mae, {', '.join(PLAIN)}, got {self.features!r}")


def _average(spectrograms: Tensor) -> np.ndarray:
    return spectrograms[:, 0].unflatten(2, (FRAMES // 4, 4)).mean(dim=3).flatten(1).numpy()


PLAIN = {
    "mfcc_statistics": mfcc_statistics,
    "mfcc": lambda spectrograms: mfcc(spectrograms).reshape(len(spectrograms), -1),
    "log_mel": _average,
}

BATCH = 16  # small: with 1,600 clips, more steps do more than a truer gradient
LEARNING_RATE = 1e-3
LONG = 40  # epochs of the runs that count; those of 20 epochs choose the masks
TRIED = [("patches", 0.25), ("patches", 0.5), ("patches", 0.75), ("stretch", 0.25)]
SHORT = SpeechSetting(epochs=1)
SWEEP = [
    *(SpeechSetting(features=name) for name in PLAIN),
    SHORT,
    *(SpeechSetting(epochs=0, seed=seed) for seed in range(3)),
    *(SpeechSetting(masks=masks, ratio=ratio) for masks, ratio in TRIED),
]


def speech_config() -> MAEConfig:
    """A small model for 4 × 8 patches of a spectrogram."""
    return MAEConfig(
        grid=GRID,
        patch_values=PATCH[0] * PATCH[1],
        width=64,
        depth=2,
        heads=4,
        decoder_width=48,
        decoder_depth=1,
        decoder_heads=4,
    )


def train_speech(setting: SpeechSetting, spectrograms: Tensor) -> MaskedAutoencoder:
    """Train one model, without labels; each clip is moved in time by up to eight frames at each step.

    Parameters
    ----------
    setting : SpeechSetting
    spectrograms : Tensor, (B, 1, 40, 64)
        In dB.
    """
    model = MaskedAutoencoder(speech_config(), generator=torch.Generator().manual_seed(setting.seed))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        if setting.masks == "stretch":
            mask = stretch_mask(len(batch), GRID, setting.ratio, generator=generator)
        else:
            mask = random_mask(len(batch), GRID[0] * GRID[1], setting.ratio, generator=generator)
        patches = to_patches(shift_in_time(spectrograms[batch], PATCH[1], generator=generator))
        return masked_mse(model(patches, mask), patches, mask)

    if setting.epochs:
        options = TrainConfig(epochs=setting.epochs, batch_size=BATCH, learning_rate=LEARNING_RATE, seed=setting.seed)
        fit(model, loss_of_batch, len(spectrograms), options, name=f"{setting.masks}, seed {setting.seed}")
    return model.eval()


@torch.inference_mode()
def pool_over_time(model: MaskedAutoencoder, spectrograms: Tensor, bands: bool = True) -> np.ndarray:
    """Features of whole clips, nothing hidden: tokens averaged.

    Parameters
    ----------
    model : MaskedAutoencoder
    spectrograms : Tensor, (B, 1, 40, 64)
    bands : bool
        Average over time only: mean and deviation for each row of patches, as is done with MFCC. Otherwise one mean
        over all patches, as is done with images.

    Returns
    -------
    ndarray, (B, 8 · D) or (B, D)
    """
    tokens = torch.cat([model.encode(some)[:, 1:] for some in to_patches(spectrograms).split(500)])
    if not bands:
        return tokens.mean(dim=1).numpy()
    rows = tokens.unflatten(1, GRID)  # (B, rows, columns, D)
    return torch.cat([rows.mean(dim=2), rows.std(dim=2)], dim=2).flatten(1).numpy()


# The probe


def fit_probe(features: np.ndarray, digits: np.ndarray, voices: np.ndarray):
    """Logistic regression on standardised features; its penalty is chosen by leaving out voices.

    Parameters
    ----------
    features : ndarray, (B, D)
    digits, voices : ndarray, (B,)

    Returns
    -------
    fitted estimator
        Of scikit-learn.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    choices = {"logisticregression__C": 10.0 ** np.arange(-3, 2)}
    folds = GroupKFold(min(len(np.unique(voices)), 4))
    with threadpool_limits(1):
        return GridSearchCV(classifier, choices, cv=folds).fit(features, digits, groups=voices)


def labelled(count: int, draw: int) -> np.ndarray:
    """Which clips of the training part have labels: two of each digit, by some of the voices.

    Parameters
    ----------
    count : int
        Voices.
    draw : int
        Which choice of them.

    Returns
    -------
    ndarray, (1600,), bool
    """
    total = len(VOICES["train"])
    chosen = np.random.default_rng(draw).permutation(total)[:count]
    shape = (total, 10, TAKES["train"])
    voice, _, take = np.indices(shape)
    return (np.isin(voice, chosen) & (take < 2)).reshape(-1)


def probe(features: dict[str, np.ndarray]) -> dict:
    """How well a linear classifier reads digits from features, of voices that it was not trained on.

    Parameters
    ----------
    features : dict of str to ndarray, (B, D)
        Of the three parts.

    Returns
    -------
    dict
        ``validation``: accuracy with the labels of all training voices; on the test part, ``voices``: accuracy for
        each number in `COUNTS`, a list over draws; ``by_voice``: accuracy of each test voice with all labels.
    """
    parts = {part: load_speech(part) for part in VOICES}
    train, test = parts["train"], parts["test"]
    found: dict = {"voices": {}}
    for count in COUNTS:
        found["voices"][str(count)] = []
        for draw in range(DRAWS if count < len(VOICES["train"]) else 1):
            use = labelled(count, draw)
            fitted = fit_probe(features["train"][use], train.digits[use], train.voices[use])
            right = fitted.predict(features["test"]) == test.digits
            found["voices"][str(count)].append(float(right.mean()))
    found["by_voice"] = [float(right[test.voices == voice].mean()) for voice in range(len(VOICES["test"]))]
    found["validation"] = float(fitted.score(features["validation"], parts["validation"].digits))
    found["C"] = float(fitted.best_params_["logisticregression__C"])
    return found


# Filling


@torch.inference_mode()
def fill(model: MaskedAutoencoder, spectrograms: Tensor, mask: Mask) -> Tensor:
    """Spectrograms with hidden patches as the model predicts them.

    Parameters
    ----------
    model : MaskedAutoencoder
    spectrograms : Tensor, (B, 1, 40, 64)
    mask : Mask

    Returns
    -------
    Tensor, (B, 1, 40, 64)
    """
    return to_spectrograms(reconstruct(model, to_patches(spectrograms), mask))


def hidden_points(mask: Mask) -> Tensor:
    """Which points of the spectrograms a mask hides.

    Parameters
    ----------
    mask : Mask

    Returns
    -------
    Tensor, (B, 1, 40, 64), bool
    """
    values = mask.is_hidden[:, :, None].float().expand(-1, -1, PATCH[0] * PATCH[1])
    return unpatchify(values, PATCH, (BANDS, FRAMES)).bool()


def fill_linear(spectrograms: Tensor, hidden: Tensor, mean: Tensor) -> Tensor:
    """In each band a straight line in time, from the visible frame before to the one after.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)
    hidden : Tensor, (B, 1, 40, 64), bool
    mean : Tensor, (1, 40, 64)
        For a band without any visible frame.

    Returns
    -------
    Tensor, (B, 1, 40, 64)
    """
    filled, time_ = spectrograms.clone().numpy(), np.arange(FRAMES)
    for image, hide in zip(filled, hidden.numpy(), strict=True):
        for band in range(BANDS):
            off = hide[0, band]
            if off.all():
                image[0, band] = mean[0, band]
            else:
                image[0, band, off] = np.interp(time_[off], time_[~off], image[0, band, ~off])
    return torch.from_numpy(filled)


def fill_nearest(spectrograms: Tensor, mask: Mask, train: Tensor, count: int) -> Tensor:
    """The mean of the training clips that are nearest on what is visible.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)
    mask : Mask
    train : Tensor, (A, 1, 40, 64)
    count : int
        How many.

    Returns
    -------
    Tensor, (B, 1, 40, 64)
    """
    hidden = hidden_points(mask)
    x, known, others = spectrograms.flatten(1), (~hidden).flatten(1).float(), train.flatten(1)
    x = x * known
    # |x - t|² over visible points, without a tensor (B, A, 2560).
    distance = x.square().sum(dim=1, keepdim=True) - 2 * x @ others.T + known @ others.square().T
    near = distance.topk(count, dim=1, largest=False).indices  # (B, count)
    guess = others[near].mean(dim=1).view_as(spectrograms)
    return torch.where(hidden, guess, spectrograms)


def fill_pca(spectrograms: Tensor, mask: Mask, train: Tensor, count: int) -> Tensor:
    """The best linear guess: what probabilistic PCA (Tipping & Bishop, 1999) expects, given what is visible.

    Parameters
    ----------
    spectrograms : Tensor, (B, 1, 40, 64)
    mask : Mask
    train : Tensor, (A, 1, 40, 64)
    count : int
        Principal components.

    Returns
    -------
    Tensor, (B, 1, 40, 64)
    """
    with threadpool_limits(1):
        pca = PCA(count, random_state=0).fit(train.flatten(1).numpy())
    size = (pca.explained_variance_ - pca.noise_variance_).clip(0) ** 0.5
    loadings = torch.from_numpy(pca.components_ * size[:, None]).float()  # (count, 2560)
    mean = torch.from_numpy(pca.mean_).float()
    pieces = patchify(loadings.view(-1, *train.shape[1:]), PATCH)  # (count, N, P)
    products = torch.einsum("anp,bnp->nab", pieces, pieces).flatten(1)  # each patch's share of the Gram matrix
    gram = ((~mask.is_hidden).float() @ products).view(-1, count, count)
    hidden = hidden_points(mask)
    centred = (spectrograms.flatten(1) - mean) * (~hidden).flatten(1)
    code = torch.linalg.solve(gram + pca.noise_variance_ * torch.eye(count), centred @ loadings.T)
    guess = (code @ loadings + mean).clamp(FLOOR, 0).view_as(spectrograms)
    return torch.where(hidden, guess, spectrograms)


def decibels_off(filled: Tensor, truth: Tensor, hidden: Tensor) -> Tensor:
    """Root mean square error of each clip over its hidden points.

    Parameters
    ----------
    filled, truth : Tensor, (B, 1, 40, 64)
    hidden : Tensor, (B, 1, 40, 64), bool

    Returns
    -------
    Tensor, (B,)
        In dB.
    """
    squares = ((filled - truth).square() * hidden).flatten(1).sum(dim=1)
    return (squares / hidden.flatten(1).sum(dim=1)).sqrt()


def fill_masks(part: str) -> dict[str, Mask]:
    """The masks that filling is measured with.

    Parameters
    ----------
    part : {"train", "validation", "test"}

    Returns
    -------
    dict of str to Mask
        ``patches``: half of them at random; ``middle``: a quarter of the clip in the middle of the word.
    """
    clips = load_speech(part).spectrograms
    patches = random_mask(len(clips), GRID[0] * GRID[1], 0.5, generator=torch.Generator().manual_seed(1000))
    return {"patches": patches, "middle": middle_mask(clips)}


NEIGHBORS, COMPONENTS = (1, 2, 3, 5, 8, 12), (40, 80, 160, 320, 640)
# By mask: how many neighbours and components fill the validation part best; `choose_baselines` finds them again.
CHOSEN = {"patches": (8, 320), "middle": (5, 320)}


def choose_baselines() -> dict[str, tuple[int, int]]:
    """For each mask the numbers of neighbours and of components that fill the clips of the validation part best."""
    train, clips = load_speech("train").spectrograms, load_speech("validation").spectrograms
    chosen = {}
    for name, mask in fill_masks("validation").items():
        hidden = hidden_points(mask)
        numbers = []
        for method, choices in ((fill_nearest, NEIGHBORS), (fill_pca, COMPONENTS)):
            errors = [decibels_off(method(clips, mask, train, n), clips, hidden).mean().item() for n in choices]
            numbers.append(choices[int(np.argmin(errors))])
        chosen[name] = tuple(numbers)
    return chosen


def baselines(part: str, mask: str) -> dict[str, Tensor]:
    """Clips filled without a network, with the numbers of neighbours and of components in `CHOSEN`.

    Parameters
    ----------
    part : {"validation", "test"}
    mask : {"patches", "middle"}
        One of `fill_masks`.

    Returns
    -------
    dict of str to Tensor, (B, 1, 40, 64)
        By method.
    """
    clips, train = load_speech(part).spectrograms, load_speech("train").spectrograms
    chosen, mean = fill_masks(part)[mask], train.mean(dim=0)
    hidden = hidden_points(chosen)
    neighbors, components = CHOSEN[mask]
    return {
        "mean spectrogram": torch.where(hidden, mean, clips),
        "line in time": fill_linear(clips, hidden, mean),
        "nearest clips": fill_nearest(clips, chosen, train, neighbors),
        "linear (PCA)": fill_pca(clips, chosen, train, components),
    }


# Stored runs


def measure_model(model: MaskedAutoencoder) -> dict:
    """What a model is worth on the test part.

    Parameters
    ----------
    model : MaskedAutoencoder

    Returns
    -------
    dict
        What `probe` returns; ``mean_of_all``: accuracies on the validation and test part with one mean over all
        patches; ``fill``: for each mask of `fill_masks`, the error in dB on the test part, a mean over clips.
    """
    clips = {part: load_speech(part) for part in VOICES}
    found = probe({part: pool_over_time(model, speech.spectrograms) for part, speech in clips.items()})
    plain = {part: pool_over_time(model, speech.spectrograms, bands=False) for part, speech in clips.items()}
    use = labelled(COUNTS[-1], 0)
    fitted = fit_probe(plain["train"][use], clips["train"].digits[use], clips["train"].voices[use])
    found["mean_of_all"] = {
        part: float(fitted.score(plain[part], clips[part].digits)) for part in ("validation", "test")
    }
    found["fill"] = {}
    test = clips["test"].spectrograms
    for name, mask in fill_masks("test").items():
        off = decibels_off(fill(model, test, mask), test, hidden_points(mask))
        found["fill"][name] = off.mean().item()
    return found


def run(setting: SpeechSetting) -> dict:
    """Train one model, or take plain features, and measure.

    Parameters
    ----------
    setting : SpeechSetting

    Returns
    -------
    dict
        What `probe` or `measure_model` return, and ``seconds``: training time.
    """
    if setting.features in PLAIN:
        features = {part: PLAIN[setting.features](load_speech(part).spectrograms) for part in VOICES}
        return {**probe(features), "seconds": 0.0}
    clips = load_speech("train").spectrograms
    start = time.perf_counter()
    model = train_speech(setting, clips)
    return {"seconds": time.perf_counter() - start, **measure_model(model)}


def stored_speech(**wanted) -> list[dict]:
    """The stored runs with the given settings, one per seed.

    Parameters
    ----------
    **wanted
        Fields of `SpeechSetting`; those not given are at their defaults, the seed is free.

    Returns
    -------
    list of dict
        As `run` returns them.

    Raises
    ------
    ValueError
        If there is none.
    """
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    found = [
        row for row in rows if SpeechSetting(**row["setting"]) == SpeechSetting(**wanted, seed=row["setting"]["seed"])
    ]
    if not found:
        raise ValueError(f"no stored run with {wanted}: expected one of those in SWEEP")
    return found


def long_runs() -> list[SpeechSetting]:
    """The runs that count: three seeds, with the masks whose features read digits of the validation voices best."""
    masks, ratio = max(TRIED, key=lambda tried: stored_speech(masks=tried[0], ratio=tried[1])[0]["validation"])
    return [SpeechSetting(masks=masks, ratio=ratio, seed=seed, epochs=LONG) for seed in range(3)]


def accuracies(rows: Sequence[dict], count: int) -> np.ndarray:
    """Accuracy on the test voices with the labels of some training voices.

    Parameters
    ----------
    rows : sequence of dict
        From `stored_speech`.
    count : int
        One of `COUNTS`.

    Returns
    -------
    ndarray, (draws,)
        The mean over seeds, for each choice of voices.
    """
    return np.mean([row["voices"][str(count)] for row in rows], axis=0)


def load_speech_model() -> MaskedAutoencoder:
    """The model that comes with this package: the first of `long_runs`."""
    return load_model(WEIGHTS)


def run_speech(path: Path = RESULTS, weights: Path = WEIGHTS) -> None:
    """Run what is missing, and make the weights if they are not there.

    Parameters
    ----------
    path, weights : Path
    """
    run_missing(SWEEP, run, path)
    chosen = long_runs()
    run_missing(chosen, run, path)
    if not weights.exists():
        model = train_speech(chosen[0], load_speech("train").spectrograms)
        save_model(model, weights, dtype=torch.float16)
