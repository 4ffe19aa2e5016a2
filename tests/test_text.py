"""The corpus is cut as it says: prose only, no name of a class, no module and no beginning of a sentence twice."""

import gc
import importlib.util

import numpy as np
import pytest
import torch

from mae import text
from mae.text import (
    CODE,
    GIVEAWAYS,
    LIBRARIES,
    NUMBER,
    SHORTEST,
    SPLITS,
    UNKNOWN,
    Vocabulary,
    corpus_versions,
    docstrings,
    load_sentences,
    prose,
    split_of,
    split_words,
)

MODULE = '''"""Of the module."""
class A:
    """Of A."""
    def f(self):
        """Of f."""
        return "not a docstring"
    async def g(self): "Of g."
def h():
    def inner():
        """Of inner."""
x = """no docstring"""
'''

DOCSTRING = """Compute the weighted mean of `x` along the given axis.

It is the sum of ``weights * x``, over their sum; see `numpy.mean`. A mean of
two numbers, e.g. 3 and 4.5, lies between the smaller and larger of them.

Too short to keep.

Where $x$ is negative the mean of all of the values is negative as well.

Parameters
----------
x : array
    The values that the mean of all of the others is taken of.

Notes
-----
The sum of all of the given weights must not be zero.

- Items of a list are no sentences of the text around them.

    Indented text is most of the time code or an example of it.

>>> This is what the prompt looks like to a reader of the examples.
"""


def test_docstrings_come_from_top_to_bottom():
    assert list(docstrings(MODULE)) == ["Of the module.", "Of A.", "Of f.", "Of g.", "Of inner."]


def test_words_hide_what_is_code():
    hidden = {
        "NumPy arrays aren't pd.DataFrame, or tensors (of 3 values).": (
            f"{CODE} arrays aren t {CODE} , or {CODE} ( of {NUMBER} values ) ."
        ),
        "the scikit-learn x_train x2 sample's non-zero": f"the {CODE} sample non zero",
        f"{CODE} {CODE} GridSearchCV and {CODE}": f"{CODE} and {CODE}",
    }
    for sentence, expected in hidden.items():
        assert " ".join(split_words(sentence)) == expected


def test_only_prose_is_kept():
    kept = [" ".join(words) for words in prose(DOCSTRING)]
    assert kept == [
        f"compute the weighted mean of {CODE} along the given axis .",
        f"it is the sum of {CODE} , over their sum ; see {CODE} .",
        f"a mean of two numbers , for example {NUMBER} and {NUMBER} , lies between the smaller and larger of them .",
        "the sum of all of the given weights must not be zero .",
    ]


def test_what_is_mostly_code_is_left_out():
    assert not list(prose("`a` and `b` or `c` are not `d` but `e` here."))


def test_the_corpus_is_cut_once_and_for_all():
    parts = {split: load_sentences(split) for split in SPLITS}
    starts = [words[:SHORTEST] for part in parts.values() for words in part.words]
    assert len(set(starts)) == len(starts) > 15_000
    for split, part in parts.items():
        assert len(part) == len(part.words) == len(part.labels)
        assert part.labels.dtype == np.int64 and np.bincount(part.labels).min() > (100 if split != "train" else 1000)
        assert (np.diff(part.labels) >= 0).all() and len(np.unique(part.labels)) == len(LIBRARIES)
        words = {word for sentence in part.words for word in sentence}
        assert not words & GIVEAWAYS and min(map(len, part.words)) >= SHORTEST
    assert gc.isenabled()
    shares = np.array([len(part) for part in parts.values()]) / len(starts)
    assert np.abs(shares - (0.7, 0.1, 0.2)).max() < 0.04


def test_no_module_is_in_two_parts():
    modules = [name for _, name, _ in text._files()]
    assert len(set(modules)) == len(modules)
    assert {split_of(name) for name in modules} == set(SPLITS)
    assert split_of("scipy/stats/_qmc.py") == split_of("scipy/stats/_qmc.py") == "train"
    assert not any("/tests/" in name or "/externals/" in name for name in modules)


def test_a_length_cuts_and_never_pads():
    whole, cut = load_sentences("validation"), load_sentences("validation", 12)
    assert {len(words) for words in cut.words} == {12}
    long = [i for i, words in enumerate(whole.words) if len(words) >= 12]
    assert cut.words == [whole.words[i][:12] for i in long] and (cut.labels == whole.labels[long]).all()
    some = cut.take([5, 0])
    assert some.words == [cut.words[5], cut.words[0]] and some.labels.tolist() == cut.labels[[5, 0]].tolist()


def test_loading_says_what_it_wants(monkeypatch):
    with pytest.raises(ValueError, match="one of train, validation, test, got 'dev'"):
        load_sentences("dev")
    with pytest.raises(ValueError, match="at least 8.*got 7"):
        load_sentences("test", 7)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="sources of matplotlib.*pip install matplotlib"):
        list(text._files())


def test_versions_are_those_of_the_libraries():
    versions = corpus_versions()
    assert list(versions) == list(LIBRARIES)
    assert versions["torch"] == torch.__version__.split("+")[0] and versions["numpy"] == np.__version__


def test_a_vocabulary_counts_and_encodes():
    sentences = [("b", "a", "b"), ("c", "a", "d")]
    vocabulary = Vocabulary.build(sentences, 4)
    assert vocabulary.words == (UNKNOWN, "a", "b", "c") and len(vocabulary) == 4
    ids = vocabulary.encode([("d", "c", "a"), ("b", "b", "e")])
    assert ids.tolist() == [[0, 3, 1], [2, 2, 0]] and ids.dtype == torch.int64
    assert vocabulary.decode(ids) == [(UNKNOWN, "c", "a"), ("b", "b", UNKNOWN)]
    patches = vocabulary.one_hot(ids)
    assert patches.shape == (2, 3, 4) and patches.dtype == torch.float32
    assert (patches.argmax(dim=2) == ids).all() and (patches.sum(dim=2) == 1).all()
    assert torch.equal(vocabulary.patches(ids), 2 * patches)  # √4
    assert len(Vocabulary.build(sentences, 100)) == 5


def test_a_vocabulary_says_what_it_wants():
    with pytest.raises(ValueError, match="<unknown>.*Vocabulary.build"):
        Vocabulary(("a", UNKNOWN))
    with pytest.raises(ValueError, match="each word once"):
        Vocabulary((UNKNOWN, "a", "a"))
    vocabulary = Vocabulary.build([("a",)], 2)
    for sentences in ([], [("a",), ("a", "a")]):
        with pytest.raises(ValueError, match="one length"):
            vocabulary.encode(sentences)
