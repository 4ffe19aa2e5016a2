"""A property of molecules, learned from few measurements: splits, baselines and stored runs.

``python -m mae experiments`` fills ``results/molecules.json``; stopped, it goes on where it was.
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
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mae.experiments import run_missing
from mae.model import MaskedAutoencoder
from mae.molecules import (
    SPELLINGS,
    as_ids,
    as_versions,
    load_corpus,
    load_property,
    load_rdkit,
    molecule_config,
    one_hot,
    pretrain_molecules,
)
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, load_model

RESULTS = Path(__file__).parent / "results" / "molecules.json"
WEIGHTS = PRETRAINED / "molecules.safetensors"

# Splits


def scaffold(smiles: str) -> str:
    """The rings of a molecule and what links them (Bemis & Murcko, 1996); empty if it has no ring.

    Parameters
    ----------
    smiles : str

    Returns
    -------
    str
    """
    load_rdkit()
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    return MurckoScaffoldSmiles(smiles)


TEST, VALIDATION = 0.2, 0.1  # shares of the molecules


@cache
def split(name: str, kind: str, seed: int) -> dict[str, np.ndarray]:
    """Which molecules to train on and which to test on.

    Scaffolds of more than a tenth of the molecules are always trained on; of the others, whole scaffolds are tested.
    A tenth of the solubilities, of other scaffolds, is for validation and never tested.

    Parameters
    ----------
    name : {"solubility", "hydration"}
    kind : {"scaffold", "random"}
    seed : int

    Returns
    -------
    dict of str to ndarray of int
        Indices "train", in random order, and "test", without a common one; "validation" is a part of "train".
    """
    if kind not in ("scaffold", "random"):
        raise ValueError(f'expected a split by "scaffold" or "random", got {kind!r}')
    smiles = load_property(name).smiles
    members: dict[str, list[int]] = {}
    for i, text in enumerate(smiles):
        members.setdefault(scaffold(text), []).append(i)
    small = {key: found for key, found in members.items() if len(found) <= len(smiles) / 10}
    validation = _draw_groups(small, VALIDATION * len(smiles), 100) if name == "solubility" else []
    free = {key: found for key, found in small.items() if not set(found) & set(validation)}
    order = np.random.default_rng(seed).permutation(len(smiles))
    if kind == "scaffold":
        test = _draw_groups(free, TEST * len(smiles), seed)
    else:
        test = order[~np.isin(order, validation)][: round(TEST * len(smiles))]
    train = order[~np.isin(order, test)]
    return {"train": train, "test": np.array(test), "validation": np.array(validation, dtype=int)}


def _draw_groups(members: dict[str, list[int]], count: float, seed: int) -> list[int]:
    """Whole groups in random order, as many as there is room for."""
    drawn: list[int] = []
    for key in np.random.default_rng(seed).permutation(sorted(members)):
        if len(drawn) + len(members[key]) <= count:
            drawn += members[key]
    return drawn


# Features and baselines


DESCRIPTORS = (
    "MolLogP MolWt TPSA NumHDonors NumHAcceptors NumRotatableBonds RingCount NumAromaticRings FractionCSP3 "
    "HeavyAtomCount"
).split()


def count_symbols(smiles: Sequence[str]) -> np.ndarray:
    """How often each symbol occurs: the simplest features of a text.

    Parameters
    ----------
    smiles : sequence of str

    Returns
    -------
    ndarray, (B, P)
    """
    return one_hot(as_ids(smiles)).sum(dim=1).double().numpy()


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """Morgan fingerprints: which surroundings of atoms, up to two bonds wide, occur (Rogers & Hahn, 2010).

    Parameters
    ----------
    smiles : sequence of str

    Returns
    -------
    ndarray, (B, 2048)
        0 or 1.
    """
    Chem = load_rdkit()
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=2, fpSize=2048)
    return np.stack([generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(text)) for text in smiles]).astype(float)


def descriptors(smiles: Sequence[str]) -> np.ndarray:
    """Ten numbers that a chemist would ask for, in the order of `DESCRIPTORS`.

    Parameters
    ----------
    smiles : sequence of str

    Returns
    -------
    ndarray, (B, 10)
    """
    Chem = load_rdkit()
    from rdkit.Chem import Descriptors

    functions = [getattr(Descriptors, name) for name in DESCRIPTORS]
    return np.array([[f(molecule) for f in functions] for molecule in map(Chem.MolFromSmiles, smiles)])


class Regressor(nn.Module):
    """An encoder, the mean of its tokens of symbols, and one linear map: (B, N) ids → (B,).

    Parameters
    ----------
    model : MaskedAutoencoder
        Its encoder is used, not copied.
    """

    def __init__(self, model: MaskedAutoencoder):
        super().__init__()
        self.encoder = model
        self.head = nn.Linear(model.config.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(mean_token(self.encoder, ids))[:, 0]


def mean_token(model: MaskedAutoencoder, ids: Tensor) -> Tensor:
    """Features of whole molecules: nothing is hidden, and the mean is over symbols, not over padding.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, N), int64

    Returns
    -------
    Tensor, (B, D)
    """
    real = (ids >= 0)[:, :, None]
    return (model.encode(one_hot(ids))[:, 1:] * real).sum(dim=1) / real.sum(dim=1)


@torch.inference_mode()
def encoder_features(model: MaskedAutoencoder, versions: Tensor) -> np.ndarray:
    """The mean token, averaged over spellings.

    Parameters
    ----------
    model : MaskedAutoencoder
    versions : Tensor, (B, S, N), int64

    Returns
    -------
    ndarray, (B, D), float64
    """
    model.eval()
    found = [mean_token(model, ids) for ids in versions.flatten(0, 1).split(500)]
    return torch.cat(found).view(*versions.shape[:2], -1).mean(dim=1).double().numpy()


ALPHAS = 10.0 ** np.arange(-3, 6.5, 0.5)
SHARES = (0.03, 0.1, 0.3, 1.0)  # of the features that a tree looks at for a cut


def predict_ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge regression on standardised features; the penalty is chosen by leaving out one at a time.

    Parameters
    ----------
    x : ndarray, (B, D)
    y : ndarray, (B,)
    new : ndarray, (C, D)

    Returns
    -------
    predictions : ndarray, (C,)
    penalty : float
    """
    with threadpool_limits(1):
        fitted = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS)).fit(x, y)
        return fitted.predict(new), float(fitted[-1].alpha_)


def predict_forest(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """A random forest of 100 trees; how many features a cut looks at is chosen by the out-of-bag error of 30 trees.

    Parameters
    ----------
    x : ndarray, (B, D)
    y : ndarray, (B,)
    new : ndarray, (C, D)
    seed : int

    Returns
    -------
    predictions : ndarray, (C,)
    share : float
        Of the features.
    """
    x, new = x.astype(np.float32), new.astype(np.float32)
    scores = {}
    for share in SHARES:
        forest = RandomForestRegressor(30, max_features=share, oob_score=True, random_state=seed)
        scores[share] = forest.fit(x, y).oob_score_
    best = max(scores, key=scores.get)
    forest = RandomForestRegressor(100, max_features=best, random_state=seed)
    return forest.fit(x, y).predict(new), best


def rmse(predictions: np.ndarray, values: np.ndarray) -> float:
    """Root of the mean squared error.

    Parameters
    ----------
    predictions, values : ndarray, (B,)
    """
    return float(np.sqrt(np.mean((predictions - values) ** 2)))


# Stored runs


METHODS = (
    "mean",
    "counts",
    "fingerprint ridge",
    "fingerprint forest",
    "descriptor ridge",
    "descriptor forest",
    "random probe",
    "probe",
    "scratch",
    "tuned",
)
TRAINED = ("scratch", "tuned")
EPOCHS = 30
RATIO = 0.3


@dataclass(frozen=True, kw_only=True)
class MoleculeSetting:
    """One prediction of a property.

    Parameters
    ----------
    data : {"solubility", "hydration"}
    kind : {"scaffold", "random"}
        How the test molecules were chosen.
    method : str
        One of `METHODS`: the mean of the training values; ridge regression on counts of symbols; ridge regression or a
        random forest on fingerprints or on descriptors; ridge regression on the mean token of an untrained or of the
        pre-trained encoder; the encoder trained from random weights, or from the pre-trained ones.
    labels : int
        Molecules with a value to train on; 0 is all.
    ratio : float
        Share hidden in pre-training.
    rate : float
        Learning rate of "scratch" and "tuned".
    spelled : int
        Spellings of each molecule to train on and to average over.
    seed : int
        Chooses the test molecules and fixes the training.
    test : bool
        Measure on the test molecules; otherwise on those for validation, which are then not trained on.
    longer : int
        How many times the usual steps "scratch" and "tuned" are trained.
    """

    data: str = "solubility"
    kind: str = "scaffold"
    method: str
    labels: int = 0
    ratio: float = RATIO
    rate: float = 0.0
    spelled: int = SPELLINGS
    seed: int = 0
    test: bool = True
    longer: int = 1

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"expected a method of {METHODS}, got {self.method!r}")
        if self.method in TRAINED and not self.rate > 0:
            raise ValueError(f"expected a learning rate for {self.method!r}, got {self.rate}")


PRETRAINED_SEEDS = 3


@cache
def pretrained(ratio: float, seed: int) -> MaskedAutoencoder:
    """The pre-trained model of a setting: read, if it comes with the package, or trained in a minute.

    Parameters
    ----------
    ratio : float
    seed : int

    Returns
    -------
    MaskedAutoencoder
        Not to be trained further: copy it.
    """
    if ratio == RATIO and seed == 0 and WEIGHTS.exists():
        return load_model(WEIGHTS)
    return pretrain_molecules(load_corpus().train, ratio=ratio, epochs=EPOCHS, seed=seed)


def train_regressor(setting: MoleculeSetting, versions: Tensor, values: np.ndarray) -> Regressor:
    """Train an encoder and a linear map on standardised values.

    Parameters
    ----------
    setting : MoleculeSetting
        With method "scratch" or "tuned".
    versions : Tensor, (B, S, N), int64
    values : ndarray, (B,)

    Returns
    -------
    Regressor
    """
    model = MaskedAutoencoder(molecule_config(), generator=torch.Generator().manual_seed(setting.seed))
    if setting.method == "tuned":
        model.load_state_dict(pretrained(setting.ratio, setting.seed % PRETRAINED_SEEDS).state_dict())
    regressor = Regressor(model)
    target = torch.from_numpy((values - values.mean()) / values.std()).float()

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        ids = versions[batch, torch.randint(versions.shape[1], batch.shape, generator=generator)]
        return F.mse_loss(regressor(ids), target[batch])

    B = len(values)
    steps = setting.longer * (300 if B > 200 else 200)
    epochs = max(steps // -(-B // 32), 1)
    options = TrainConfig(epochs=epochs, batch_size=32, learning_rate=setting.rate, seed=setting.seed)
    fit(regressor, loss_of_batch, B, options, name=setting.method)
    return regressor


@cache
def _versions(name: str) -> Tensor:
    return as_versions(load_property(name).smiles, SPELLINGS)


@cache
def _features(name: str, kind: str) -> np.ndarray:
    smiles = load_property(name).smiles
    return {"counts": count_symbols, "fingerprint": fingerprints, "descriptor": descriptors}[kind](smiles)


@cache
def _encoded(name: str, method: str, ratio: float, seed: int) -> np.ndarray:
    if method == "probe":
        model = pretrained(ratio, seed % PRETRAINED_SEEDS)
    else:
        model = MaskedAutoencoder(molecule_config(), generator=torch.Generator().manual_seed(seed))
    return encoder_features(model, _versions(name))


def predict_property(setting: MoleculeSetting, train: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit on some molecules, predict others.

    Parameters
    ----------
    setting : MoleculeSetting
    train, new : ndarray of int
        Indices into `load_property`.

    Returns
    -------
    predictions : ndarray, (C,)
    choice : float
        The hyper-parameter that was chosen within the training molecules; 0 if there is none.
    """
    values = load_property(setting.data).values[train]
    method, versions = setting.method, _versions(setting.data)[:, : setting.spelled]
    if method == "mean":
        return np.full(len(new), values.mean()), 0.0
    if method in TRAINED:
        regressor = train_regressor(setting, versions[train], values)
        with torch.inference_mode():
            found = regressor(versions[new].flatten(0, 1)).view(len(new), -1).mean(dim=1)
        return found.double().numpy() * values.std() + values.mean(), 0.0
    if method.endswith("probe"):
        x = _encoded(setting.data, method, setting.ratio, setting.seed)
        return predict_ridge(x[train], values, x[new])
    features, _, model_name = method.partition(" ")
    x = _features(setting.data, features)
    if model_name == "forest":
        return predict_forest(x[train], values, x[new], setting.seed)
    return predict_ridge(x[train], values, x[new])


def run(setting: MoleculeSetting) -> dict:
    """Fit one method, then measure it on molecules that it has not seen.

    Parameters
    ----------
    setting : MoleculeSetting

    Returns
    -------
    dict
        ``rmse``; ``choice``, as of `predict_property`; ``molecules``, how many were predicted; ``seconds``.
    """
    parts = split(setting.data, setting.kind, setting.seed)
    new = parts["test"] if setting.test else parts["validation"]
    train = parts["train"][~np.isin(parts["train"], new)]
    train = train[: setting.labels or None]
    if setting.method in ("probe", "tuned"):
        pretrained(setting.ratio, setting.seed % PRETRAINED_SEEDS)
    start = time.perf_counter()
    predictions, choice = predict_property(setting, train, new)
    seconds = time.perf_counter() - start
    error = rmse(predictions, load_property(setting.data).values[new])
    return {"rmse": error, "choice": choice, "molecules": len(new), "seconds": seconds}


RATES = (3e-4, 1e-3, 3e-3, 1e-2)
TRIALS = [
    *(MoleculeSetting(method="probe", ratio=ratio, seed=99, test=False) for ratio in (0.15, RATIO, 0.5)),
    *(
        MoleculeSetting(method=method, rate=rate, spelled=spelled, seed=99, test=False)
        for method in TRAINED
        for spelled in (1, SPELLINGS)
        for rate in RATES
    ),
]
LONGER, LONGER_SEEDS = 3, (93, 96, 99)
SEEDS = 4
LABELS = (50, 200)  # few molecules with a value; 0 is all
TASKS = (
    *(("solubility", "scaffold", labels) for labels in (*LABELS, 0)),
    ("solubility", "random", 0),
    ("hydration", "scaffold", 0),
    ("hydration", "random", 0),
)


def _rows(path: Path) -> list[tuple[MoleculeSetting, dict]]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [(MoleculeSetting(**row["setting"]), row) for row in rows]


def stored_trials(method: str, path: Path = RESULTS) -> dict[MoleculeSetting, float]:
    """The errors of a method's trials on the molecules for validation.

    Parameters
    ----------
    method : {"probe", "scratch", "tuned"}
    path : Path

    Returns
    -------
    dict of MoleculeSetting to float
    """
    found = {setting: row["rmse"] for setting, row in _rows(path) if setting.method == method and setting in TRIALS}
    if not found:
        raise ValueError(f"no stored trial of {method!r}: run `python -m mae experiments`")
    return found


def best_trial(method: str, path: Path = RESULTS) -> MoleculeSetting:
    """The trial of a method with the least error on the molecules for validation.

    Parameters
    ----------
    method : {"probe", "scratch", "tuned"}
    path : Path

    Returns
    -------
    MoleculeSetting
    """
    found = stored_trials(method, path)
    return min(found, key=found.get)


def sweep(path: Path = RESULTS) -> list[MoleculeSetting]:
    """The runs to measure on test molecules: every method with what the trials chose, on every split.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of MoleculeSetting
        Seed by seed.
    """
    chosen = {method: best_trial(method, path) for method in TRAINED}
    settings = []
    for seed in range(SEEDS):
        for data, kind, labels in TASKS:
            for method in METHODS:
                base = chosen[method] if method in chosen else MoleculeSetting(method=method)
                settings.append(replace(base, data=data, kind=kind, labels=labels, seed=seed, test=True))
    return settings


def longer_trials(path: Path = RESULTS) -> list[MoleculeSetting]:
    """Both trained encoders on molecules for validation, as chosen and with `LONGER` times the steps, three seeds.

    Parameters
    ----------
    path : Path
        Holds the trials.
    """
    return [
        replace(best_trial(method, path), seed=seed, longer=longer)
        for method in TRAINED
        for seed in LONGER_SEEDS
        for longer in (1, LONGER)
    ]


def longer_gains(method: str, path: Path = RESULTS) -> np.ndarray:
    """By how much `LONGER` times the steps lower the error on molecules for validation.

    Parameters
    ----------
    method : {"scratch", "tuned"}
    path : Path

    Returns
    -------
    ndarray, (seeds,)
    """
    errors = {setting: row["rmse"] for setting, row in _rows(path)}
    longer = [s for s in longer_trials(path) if s.method == method and s.longer == LONGER]
    return np.array([errors[replace(setting, longer=1)] - errors[setting] for setting in longer])


def run_molecules(path: Path = RESULTS) -> None:
    """Run what is missing: first the trials, then what they chose, then trials of more steps.

    Parameters
    ----------
    path : Path
    """
    run_missing(TRIALS, run, path)
    run_missing(sweep(path), run, path)
    run_missing(longer_trials(path), run, path)


def stored_errors(data: str, kind: str, labels: int, path: Path = RESULTS) -> dict[str, np.ndarray]:
    """The stored errors on test molecules.

    Parameters
    ----------
    data : {"solubility", "hydration"}
    kind : {"scaffold", "random"}
    labels : int
        0 is all.
    path : Path

    Returns
    -------
    dict of str to ndarray, (seeds,)
        For each method, the RMSE on each split.
    """
    found: dict[str, list[float]] = {}
    for setting, row in _rows(path):
        if setting.test and (setting.data, setting.kind, setting.labels) == (data, kind, labels):
            found.setdefault(setting.method, []).append(row["rmse"])
    if not found:
        raise ValueError(f"no stored run of {data!r}, split {kind!r}, {labels} labels: expected one of `sweep`")
    return {method: np.array(errors) for method, errors in found.items()}
