"""Text as patches: sentences from the docstrings of installed libraries, each word a one-hot patch (B, N, V).

The sentences are read from the source files with `ast`; nothing is imported. They depend on the versions of the
libraries, which requirements.txt pins and `corpus_versions` reports.
"""

import ast
import gc
import hashlib
import importlib.metadata
import importlib.util
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Names of the distributions; where in the package is read ("" is all of it).
LIBRARIES = {
    "matplotlib": ("matplotlib", ("",)),
    "numpy": ("numpy", ("",)),
    "pandas": ("pandas", ("core", "plotting", "errors", "tseries")),
    "scikit-learn": ("sklearn", ("",)),
    "scipy": ("scipy", ("stats", "signal", "optimize", "linalg", "interpolate", "ndimage")),
    "torch": ("torch", ("nn", "optim", "distributions", "autograd", "utils", "ao")),
}
SPLITS = ("train", "validation", "test")
UNKNOWN, CODE, NUMBER = "<unknown>", "<code>", "<number>"
# What would name the class: the libraries, their nicknames, and the types that only one of them has.
GIVEAWAYS = frozenset(
    "matplotlib mpl pyplot plt numpy np pandas pd sklearn scikit scipy torch pytorch "
    "tensor tensors dataframe dataframes ndarray ndarrays".split()
)
SHORTEST = 8  # words; what is shorter is no sentence to learn from

_NOT_READ = re.compile(
    r"(?:^|/)(?:tests?|testing|_?externals?|_vendored|extern|array_api_\w+|_lib|io|backends|distutils|f2py)/"
)
_HEADING = re.compile(r"\A[^\n]+\n[-=~^*]{3,}\s*\n")
_TABLE = re.compile(r"^\s|^[-=~^*]{3,}", re.M)  # indented, or ruled
_INLINE_CODE = re.compile(r":[\w:.+-]+:`[^`]*`|(`+)[^`]+\1`*|\[\w+\]_")
_END = re.compile(r"(?<=[a-z>)]\.)\s+(?=[A-Z<])")
_MARKUP = re.compile(r"[\\{}=$|@#~^>/%]")
_TOKEN = re.compile(r"<code>|[A-Za-z][\w.'-]*\w|[A-Za-z]|\d[\d.]*|[,.;:()]")
_IDENTIFIER = re.compile(r"[_\d]|\w\.\w|[a-z][A-Z]")


def docstrings(source: str) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, from top to bottom.

    Parameters
    ----------
    source : str
        Python code; it is parsed, not run.
    """
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if text := ast.get_docstring(node):
            yield text
        inner = [n for n in node.body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
        todo.extend(reversed(inner))


def split_words(sentence: str) -> tuple[str, ...]:
    """Lower-case words and punctuation marks; what is code becomes one word, as do numbers.

    Parameters
    ----------
    sentence : str

    Returns
    -------
    tuple of str
        Identifiers, names in mixed case and `GIVEAWAYS` are code, too.
    """
    found: list[str] = []
    for piece in _TOKEN.findall(sentence):
        for word in _words_of(piece):
            if word != CODE or found[-1:] != [CODE]:  # code beside code is one piece of it
                found.append(word)
    return tuple(found)


@cache
def _words_of(piece: str) -> tuple[str, ...]:
    if piece[0].isdigit():
        return (NUMBER,)
    if piece == CODE or _IDENTIFIER.search(piece):
        return (CODE,)
    if not piece[0].isalpha():
        return (piece,)
    words = re.findall("[a-z]+", piece.lower().replace("'s", ""))
    return (CODE,) if GIVEAWAYS.intersection(words) else tuple(words)


def prose(docstring: str) -> Iterator[tuple[str, ...]]:
    """The sentences of a docstring, as words; parameters, examples, lists, headings and mathematics are left out.

    Parameters
    ----------
    docstring : str
        Cleaned of its indentation.

    Yields
    ------
    tuple of str
        At least `SHORTEST` words, at most a quarter of them code.
    """
    for paragraph in re.split(r"\n\s*\n", docstring):
        paragraph = _HEADING.sub("", paragraph)
        if not re.match(r"[A-Z`]", paragraph) or _TABLE.search(paragraph):
            continue
        text = _INLINE_CODE.sub(CODE, paragraph.replace("\n", " "))
        text = text.replace("e.g.", "for example").replace("i.e.", "that is")
        for sentence in _END.split(text):
            if sentence.rstrip().endswith(".") and not _MARKUP.search(sentence.replace(CODE, "")):
                words = split_words(sentence)
                if len(words) >= SHORTEST and words.count(CODE) <= len(words) / 4:
                    yield words


def split_of(module: str) -> str:
    """Which part a module belongs to: of 20, 14 go into training, 2 into validation, 4 into the test.

    Parameters
    ----------
    module : str
        Its file, such as "numpy/lib/_index_tricks_impl.py".
    """
    place = int.from_bytes(hashlib.sha256(module.encode()).digest()[:4], "big") % 20
    return "train" if place < 14 else "validation" if place < 16 else "test"


def _files() -> Iterator[tuple[int, str, Path]]:
    for label, (package, parts) in enumerate(LIBRARIES.values()):
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(
                f"the text is read from the sources of {package}, which is not installed: "
                f"`pip install {list(LIBRARIES)[label]}`"
            )
        root = Path(spec.submodule_search_locations[0])
        for part in parts:
            for path in sorted((root / part).rglob("*.py")):
                name = path.relative_to(root).as_posix()
                if not _NOT_READ.search(name):
                    yield label, f"{package}/{name}", path


@cache
def _corpus() -> dict[str, tuple[list[tuple[str, ...]], list[int]]]:
    """Sentences and labels of each part. A sentence begins like no other, or it is left out but for the first."""
    seen: dict[tuple[str, ...], int] = {}
    found = []
    collects = gc.isenabled()
    gc.disable()  # syntax trees are many small objects and no cycles: to look for cycles takes longer than to parse
    try:
        for label, module, path in _files():
            split = split_of(module)
            for text in docstrings(path.read_text(encoding="utf-8")):
                for words in prose(text):
                    start = words[:SHORTEST]
                    if start not in seen:
                        found.append((split, label, words))
                        seen[start] = label
                    elif seen[start] != label:
                        seen[start] = -1  # two libraries say it: nobody could tell which
    finally:
        if collects:
            gc.enable()
    parts: dict[str, tuple[list, list]] = {split: ([], []) for split in SPLITS}
    for split, label, words in found:
        if seen[words[:SHORTEST]] == label:
            parts[split][0].append(words)
            parts[split][1].append(label)
    return parts


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences, and the library that each is from.

    Parameters
    ----------
    words : list of tuple of str
    labels : ndarray, (B,), int64
        Positions in `LIBRARIES`.
    """

    words: list[tuple[str, ...]]
    labels: np.ndarray

    def __len__(self) -> int:
        """B."""
        return len(self.words)

    def take(self, rows: Iterable[int]) -> "Sentences":
        """Some of them.

        Parameters
        ----------
        rows : iterable of int
        """
        rows = np.asarray(list(rows), dtype=int)
        return Sentences([self.words[i] for i in rows], self.labels[rows])


def load_sentences(split: str, length: int | None = None) -> Sentences:
    """Sentences from the docstrings of six libraries; no module lends to two parts, no two sentences begin alike.

    Parameters
    ----------
    split : {"train", "validation", "test"}
    length : int, optional
        Only sentences of at least so many words, cut to the first so many: all equally long, none is padded.

    Returns
    -------
    Sentences
        In the order of libraries, files and lines.

    Raises
    ------
    ValueError
        If there is no such part, or the length is below `SHORTEST`.
    ModuleNotFoundError
        If a library is not installed.
    """
    if split not in SPLITS:
        raise ValueError(f"expected one of {', '.join(SPLITS)}, got {split!r}")
    if length is not None and length < SHORTEST:
        raise ValueError(
            f"expected a length of at least {SHORTEST}, below which sentences may begin alike, got {length}"
        )
    words, labels = _corpus()[split]
    kept = [i for i, sentence in enumerate(words) if length is None or len(sentence) >= length]
    return Sentences([words[i][:length] for i in kept], np.array([labels[i] for i in kept]))


def corpus_versions() -> dict[str, str]:
    """The installed version of each library: another one has other sentences."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in LIBRARIES}


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; all others are one, `UNKNOWN`.

    Parameters
    ----------
    words : tuple of str
        The word of each id; `UNKNOWN` is id 0.

    Raises
    ------
    ValueError
        If a word stands twice, or `UNKNOWN` is not the first.
    """

    words: tuple[str, ...]

    def __post_init__(self):
        if self.words[:1] != (UNKNOWN,) or len(set(self.words)) != len(self.words):
            raise ValueError(f"expected {UNKNOWN!r} first and each word once: use Vocabulary.build")
        object.__setattr__(self, "_ids", {word: i for i, word in enumerate(self.words)})

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], size: int) -> "Vocabulary":
        """The most frequent words of a text; of equally frequent ones those that come first in the alphabet.

        Parameters
        ----------
        sentences : iterable of sequence of str
            Training sentences only.
        size : int
            V, `UNKNOWN` included.

        Returns
        -------
        Vocabulary
            Smaller, if the text has fewer words.
        """
        counts = Counter(word for sentence in sentences for word in sentence)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls((UNKNOWN, *ranked[: size - 1]))

    def __len__(self) -> int:
        """V."""
        return len(self.words)

    def encode(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Ids of words.

        Parameters
        ----------
        sentences : sequence of sequence of str
            B sentences of N words each.

        Returns
        -------
        Tensor, (B, N), int64

        Raises
        ------
        ValueError
            If there is no sentence, or they are not equally long.
        """
        lengths = {len(sentence) for sentence in sentences}
        if len(lengths) != 1:
            raise ValueError(
                f"expected sentences of one length, got {sorted(lengths)[:5]}: "
                "`load_sentences(split, length)` gives such"
            )
        return torch.tensor([[self._ids.get(word, 0) for word in sentence] for sentence in sentences])

    def decode(self, ids: Tensor) -> list[tuple[str, ...]]:
        """Words of ids.

        Parameters
        ----------
        ids : Tensor, (B, N), int64

        Returns
        -------
        list of tuple of str
        """
        return [tuple(self.words[i] for i in row) for row in ids.tolist()]

    def one_hot(self, ids: Tensor) -> Tensor:
        """Words as patches: 1 at the id, 0 elsewhere. A linear map of such a patch looks a vector up in a table.

        Parameters
        ----------
        ids : Tensor, (B, N), int64

        Returns
        -------
        Tensor, (B, N, V), float32
        """
        return F.one_hot(ids, len(self)).float()

    def patches(self, ids: Tensor) -> Tensor:
        """One-hot patches for a model: √V at the id, so that their mean square is 1.

        A patch of pixels has many values that add up in its embedding, a word has one. With a 1 there, positions,
        which are added, would drown the words.

        Parameters
        ----------
        ids : Tensor, (B, N), int64

        Returns
        -------
        Tensor, (B, N, V), float32
        """
        return self.one_hot(ids) * len(self) ** 0.5
