"""Text from a masked autoencoder: letters as one-hot patches, any share of them hidden, unmasked step by step.

``python -c "from mae.generation import run_generation; run_generation()"`` fills ``results/generation.json`` and
``results/generation_samples.json``; stopped, it goes on where it was.
"""

import json
import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae.experiments import run_missing
from mae.losses import masked_cross_entropy
from mae.masking import Mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.text import SPLITS, load_sentences
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, load_model, save_model

RESULTS = Path(__file__).parent / "results" / "generation.json"
SAMPLES = RESULTS.with_name("generation_samples.json")
WEIGHTS = PRETRAINED / "generation.safetensors"

SYMBOLS = (
    "^ abcdefghijklmnopqrstuvwxyz,."  # the first begins every line: it is always visible, so that m = N is allowed
)
N = 32  # symbols of a line after the first
V = len(SYMBOLS)
SCALE = 12.0  # a one-hot patch has small values: at 1, its embedding drowns in the positions; 6 does about as well
LEARNING_RATE = 3e-3  # chosen on held-out lines, as are the depths and the batch
BATCH = 64
MEASURED = 400  # test lines on which bounds are measured


@cache
def _lines() -> dict[str, list[str]]:
    """The first N symbols of each sentence that has no other symbols there; no line stands twice, in no two parts."""
    seen: set[str] = set()
    parts: dict[str, list[str]] = {}
    for split in SPLITS:
        found = []
        for words in load_sentences(split).words:
            line = re.sub(r" ([.,])", r"\1", " ".join(words))[:N]
            if len(line) == N and line not in seen and not set(line) - set(SYMBOLS[1:]):
                seen.add(line)
                found.append(line)
        parts[split] = found
    return parts


def load_lines(split: str) -> Tensor:
    """Beginnings of sentences, as ids of symbols; the first id is that of the begin.

    Parameters
    ----------
    split : {"train", "validation", "test"}

    Returns
    -------
    Tensor, (B, 1 + N), int64

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if split not in SPLITS:
        raise ValueError(f"expected one of {', '.join(SPLITS)}, got {split!r}")
    return torch.tensor([[SYMBOLS.index(symbol) for symbol in SYMBOLS[0] + line] for line in _lines()[split]])


def text_of(ids: Tensor) -> list[str]:
    """Lines to read; what is still hidden is a low line.

    Parameters
    ----------
    ids : Tensor, (B, 1 + N), int64
        -1 where hidden.

    Returns
    -------
    list of str
    """
    return ["".join("_" if i < 0 else SYMBOLS[i] for i in row[1:]) for row in ids.tolist()]


def hide(count: int, lines: int, *, generator: torch.Generator) -> Mask:
    """Hide so many symbols of each line, all places equally likely; the begin stays visible.

    Parameters
    ----------
    count : int
        m, from 1 to N: N is a line of which nothing is known.
    lines : int
        B.
    generator : torch.Generator

    Returns
    -------
    Mask
    """
    if not 1 <= count <= N:
        raise ValueError(f"expected 1 to {N} hidden symbols, got {count}")
    shuffle = 1 + torch.rand(lines, N, generator=generator).argsort(dim=1)
    visible = torch.cat([torch.zeros(lines, 1, dtype=torch.int64), shuffle[:, count:].sort(dim=1).values], dim=1)
    return Mask(visible, shuffle[:, :count].sort(dim=1).values)


def predict_symbols(model: MaskedAutoencoder, ids: Tensor, mask: Mask) -> Tensor:
    """Logits of the hidden symbols.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, 1 + N), int64
        What stands at hidden places is never looked at.
    mask : Mask

    Returns
    -------
    Tensor, (B, M, V)
        Minus infinity for the begin, which stands nowhere else.
    """
    logits = model(SCALE * F.one_hot(ids.clamp(min=0), V).float(), mask)
    return logits.masked_fill(torch.arange(V) == 0, -math.inf)


@dataclass(frozen=True, kw_only=True)
class WritingSetting:
    """One training.

    Parameters
    ----------
    ratio : float, optional
        Share of the symbols hidden in training; without it, every number from 1 to N is as likely.
    epochs : int
    seed : int
        Of the weights and of the training.
    """

    ratio: float | None = None
    epochs: int = 16
    seed: int = 0

    def __post_init__(self):
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ValueError(f"expected a ratio above 0, at most 1, or None for all of them, got {self.ratio}")


def writing_config() -> MAEConfig:
    """A small model for a begin and N symbols."""
    return MAEConfig(
        grid=(1, 1 + N),
        patch_values=V,
        width=64,
        depth=1,
        heads=4,
        decoder_width=64,
        decoder_depth=2,
        decoder_heads=4,
        mlp_ratio=3,
    )


def train_writer(setting: WritingSetting, ids: Tensor) -> MaskedAutoencoder:
    """Train one model on the cross-entropy of hidden symbols.

    Parameters
    ----------
    setting : WritingSetting
    ids : Tensor, (B, 1 + N), int64
        From `load_lines`.
    """
    model = MaskedAutoencoder(writing_config(), generator=torch.Generator().manual_seed(setting.seed))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        losses = []
        for part in batch.chunk(4):  # a mask hides as many symbols in each of its lines: four numbers a batch
            if setting.ratio is None:
                count = int(torch.randint(1, N + 1, (), generator=generator))
            else:
                count = max(1, round(setting.ratio * N))
            mask = hide(count, len(part), generator=generator)
            loss = masked_cross_entropy(predict_symbols(model, ids[part], mask), ids[part], mask)
            losses.append(loss * len(part) / len(batch))
        return sum(losses)

    options = TrainConfig(epochs=setting.epochs, batch_size=BATCH, learning_rate=LEARNING_RATE, seed=setting.seed)
    fit(model, loss_of_batch, len(ids), options, name=f"ratio {setting.ratio or 'any'}, seed {setting.seed}")
    return model


@torch.inference_mode()
def hidden_bits(model: MaskedAutoencoder, ids: Tensor, mask: Mask) -> Tensor:
    """Bits that each hidden symbol costs, given the visible ones: minus log₂ of its probability.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, 1 + N), int64
    mask : Mask

    Returns
    -------
    Tensor, (B, M)
    """
    logits = predict_symbols(model, ids, mask)
    return F.cross_entropy(logits.transpose(1, 2), ids.gather(1, mask.hidden), reduction="none") / math.log(2)


def bound(model: MaskedAutoencoder, ids: Tensor, *, generator: torch.Generator) -> Tensor:
    """The likelihood bound, part by part: mean bits a hidden symbol, with 1, 2, …, N symbols hidden at random.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, 1 + N), int64
    generator : torch.Generator

    Returns
    -------
    Tensor, (B, N)
        The mean of a row is, on average over masks, at least the bits a symbol that the model's samplings in random
        order need for that line.
    """
    parts = [hidden_bits(model, ids, hide(m, len(ids), generator=generator)).mean(dim=1) for m in range(1, N + 1)]
    return torch.stack(parts, dim=1)


def left_to_right(model: MaskedAutoencoder, ids: Tensor) -> Tensor:
    """Bits of each symbol, given those before it: exact for a model that writes from left to right.

    Parameters
    ----------
    model : MaskedAutoencoder
    ids : Tensor, (B, 1 + N), int64

    Returns
    -------
    Tensor, (B, N)
    """
    place = torch.arange(1 + N).expand(len(ids), -1)
    return torch.cat([hidden_bits(model, ids, Mask.from_hidden(place >= i))[:, :1] for i in range(1, N + 1)], dim=1)


ORDERS = ("random", "confident", "left to right")


@torch.inference_mode()
def generate(model: MaskedAutoencoder, lines: int, steps: int, order: str, *, generator: torch.Generator) -> Tensor:
    """Write lines: all symbols hidden at first, some unmasked at each step.

    At each step every hidden symbol is drawn from its own distribution; those that the order puts first are kept.

    Parameters
    ----------
    model : MaskedAutoencoder
    lines : int
        B.
    steps : int
        From 1, all symbols at once, to N, one after the other.
    order : {"random", "confident", "left to right"}
        "confident" keeps the symbols whose draw was the most probable.
    generator : torch.Generator

    Returns
    -------
    Tensor, (1 + steps, B, 1 + N), int64
        Ids before the first step and after each; -1 where still hidden.

    Raises
    ------
    ValueError
        If there is no such order, or the steps are out of range.
    """
    if order not in ORDERS or not 1 <= steps <= N:
        raise ValueError(f"expected one of {', '.join(ORDERS)} and 1 to {N} steps, got {order!r} and {steps}")
    ids = torch.full((lines, 1 + N), -1)
    ids[:, 0] = 0
    states = [ids]
    for step in range(steps):
        mask = Mask.from_hidden(ids < 0)
        M = mask.hidden.shape[1]
        chances = predict_symbols(model, ids, mask).softmax(dim=-1)  # (B, M, V)
        drawn = torch.multinomial(chances.flatten(0, 1), 1, generator=generator).view(lines, M)
        if order == "random":
            score = torch.rand(lines, M, generator=generator)
        elif order == "confident":
            score = chances.gather(2, drawn[:, :, None])[:, :, 0]
        else:
            score = -mask.hidden.float()
        kept = score.topk(math.ceil(M / (steps - step)), dim=1).indices
        ids = ids.scatter(1, mask.hidden.gather(1, kept), drawn.gather(1, kept))
        states.append(ids)
    return torch.stack(states)


class NGram:
    """A model of n-grams: counts of each symbol after the n - 1 before it, mixed with those after fewer.

    A discount d is taken off every count; what is gained goes to the next shorter context:
    p(x | c) = max(n(c, x) - d, 0) / n(c) + d · t(c) / n(c) · p(x | c less its first symbol), where t(c) is the number
    of different symbols seen after c. The last resort is a uniform choice.

    Parameters
    ----------
    ids : Tensor, (B, 1 + N), int64
        Training lines.
    n : int
        1 for single symbols, 2 for pairs, …, at most 10.
    discount : float
        d, between 0 and 1.

    Raises
    ------
    ValueError
        If n or the discount is out of range.
    """

    def __init__(self, ids: Tensor, n: int, discount: float):
        if not (1 <= n <= 10 and 0 < discount < 1):
            raise ValueError(f"expected n from 1 to 10 and a discount between 0 and 1, got {n} and {discount}")
        self.n, self.discount = n, discount
        self.tables = []
        pieces = self._pieces(ids).reshape(-1, n)
        for length in range(1, n + 1):  # of context and symbol together
            keys, counts = np.unique(_key(pieces[:, n - length :]), return_counts=True)
            contexts, place = np.unique(keys // V, return_inverse=True)
            total = np.bincount(place, counts)
            self.tables.append((keys, counts, contexts, total, np.bincount(place)))

    def _pieces(self, ids: Tensor) -> np.ndarray:
        """(B, 1 + N) → (B, N, n): each symbol behind those before it, begins where there are none."""
        padded = np.pad(ids.numpy(), ((0, 0), (self.n - 1, 0)))
        return np.lib.stride_tricks.sliding_window_view(padded, self.n, axis=1)[:, 1:]

    def _chances(self, pieces: np.ndarray) -> np.ndarray:
        """(R, n) → (R,): the probability of the last symbol after the others."""
        p = np.where(pieces[:, -1] == 0, 0.0, 1 / (V - 1))
        for length, (keys, counts, contexts, total, types) in enumerate(self.tables, 1):
            key = _key(pieces[:, self.n - length :])
            count = _look_up(keys, counts, key)
            n, t = _look_up(contexts, total, key // V), _look_up(contexts, types, key // V)
            mixed = (np.maximum(count - self.discount, 0) + self.discount * t * p) / np.maximum(n, 1)
            p = np.where(n > 0, mixed, p)
        return p

    def bits(self, ids: Tensor) -> Tensor:
        """Bits of each symbol, given those before it; exact.

        Parameters
        ----------
        ids : Tensor, (B, 1 + N), int64

        Returns
        -------
        Tensor, (B, N)
        """
        pieces = self._pieces(ids)
        return torch.from_numpy(-np.log2(self._chances(pieces.reshape(-1, self.n)))).view(pieces.shape[:2])

    def generate(self, lines: int, *, generator: torch.Generator) -> Tensor:
        """Write lines from left to right.

        Parameters
        ----------
        lines : int
            B.
        generator : torch.Generator

        Returns
        -------
        Tensor, (B, 1 + N), int64
        """
        ids = torch.zeros(lines, self.n + N, dtype=torch.int64)  # n begins
        for i in range(self.n, self.n + N):
            before = ids[:, None, i - self.n + 1 : i].expand(-1, V, -1)
            pieces = torch.cat([before, torch.arange(V).expand(lines, -1)[:, :, None]], dim=2)
            chances = torch.from_numpy(self._chances(pieces.reshape(-1, self.n).numpy())).view(lines, V)
            ids[:, i] = torch.multinomial(chances, 1, generator=generator)[:, 0]
        return ids[:, self.n - 1 :]


def _key(pieces: np.ndarray) -> np.ndarray:
    """(R, length) → (R,): one whole number for each piece; the last symbol is the last digit."""
    return pieces @ V ** np.arange(pieces.shape[1], dtype=np.int64)[::-1]


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values of sorted keys, 0 for a key that is not there."""
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def tune_ngram(train: Tensor, validation: Tensor, n: int, discounts: Iterable[float]) -> NGram:
    """The model of n-grams whose discount does best on the validation lines.

    Parameters
    ----------
    train, validation : Tensor, (B, 1 + N), int64
    n : int
    discounts : iterable of float
        To choose from.

    Returns
    -------
    NGram
    """
    model = NGram(train, n, 0.5)
    scores = {}
    for model.discount in discounts:
        scores[model.discount] = model.bits(validation).mean().item()
    model.discount = min(scores, key=scores.get)
    return model


def known_words() -> frozenset[str]:
    """All words of the training sentences."""
    return frozenset(word for words in load_sentences("train").words for word in words if word.isalpha())


def word_scores(ids: Tensor, known: frozenset[str]) -> dict[str, float]:
    """How many words of the lines exist, and how many differ; the last word of each line, which is cut, is left out.

    Parameters
    ----------
    ids : Tensor, (B, 1 + N), int64
    known : frozenset of str
        Words that exist, from `known_words`.

    Returns
    -------
    dict of str to float
        ``real``, the share of words that are known; ``distinct``, of different known words among all words.
    """
    words = [word for line in text_of(ids) for word in re.findall("[a-z]+", line.rpartition(" ")[0])]
    real = [word for word in words if word in known]
    return {"real": len(real) / max(len(words), 1), "distinct": len(set(real)) / max(len(words), 1)}


def measure_samples(ids: Tensor, judge: NGram, known: frozenset[str]) -> dict[str, float]:
    """What `word_scores` says of lines, and the bits a symbol that a model of n-grams needs for them.

    Parameters
    ----------
    ids : Tensor, (B, 1 + N), int64
    judge : NGram
    known : frozenset of str

    Returns
    -------
    dict of str to float
        ``bits``, ``real`` and ``distinct``.
    """
    return {"bits": judge.bits(ids).mean().item()} | word_scores(ids, known)


JUDGE, DISCOUNT = 5, 0.8  # the model of n-grams that judges samples; chosen on the validation lines
LINES = 400  # lines that are written to be judged


@cache
def _judge() -> tuple[NGram, frozenset[str]]:
    return NGram(load_lines("train"), JUDGE, DISCOUNT), known_words()


def run(setting: WritingSetting) -> dict:
    """Train one model, measure it on test lines and judge what it writes in random order.

    Parameters
    ----------
    setting : WritingSetting

    Returns
    -------
    dict
        ``bound``, bits a symbol with 1 … N hidden; ``bound_of_line``, their mean for each of the measured lines;
        ``left_of_line``, bits a symbol of each line from left to right; ``samples``, from `measure_samples`;
        ``text``, the first of them; and ``seconds``: training time. The model of `SHIPPED` is stored.
    """
    test = measured_lines()
    start = time.perf_counter()
    model = train_writer(setting, load_lines("train"))
    seconds = time.perf_counter() - start
    if setting == SHIPPED and not WEIGHTS.exists():
        save_model(model, WEIGHTS, dtype=torch.float16)
    generator = torch.Generator().manual_seed(setting.seed)
    parts = bound(model, test, generator=generator)
    left = left_to_right(model, test).mean(dim=1)
    written = generate(model, LINES, N, "random", generator=generator)[-1]
    return {
        "bound": _rounded(parts.mean(dim=0)),
        "bound_of_line": _rounded(parts.mean(dim=1)),
        "left_of_line": _rounded(left),
        "samples": measure_samples(written, *_judge()),
        "text": text_of(written[:6]),
        "seconds": seconds,
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def measured_lines() -> Tensor:
    """The test lines on which bounds are measured.

    Returns
    -------
    Tensor, (MEASURED, 1 + N), int64
        Evenly taken from all.
    """
    test = load_lines("test")
    return test[:: len(test) // MEASURED][:MEASURED]


@dataclass(frozen=True, kw_only=True)
class SampleSetting:
    """One way to write with the stored model.

    Parameters
    ----------
    order : {"random", "confident", "left to right"}
    steps : int
        From 1 to N.
    """

    order: str
    steps: int


def run_sample(setting: SampleSetting) -> dict:
    """Write lines with the stored model and judge them.

    Parameters
    ----------
    setting : SampleSetting

    Returns
    -------
    dict
        As from `measure_samples`; and ``text``: the first lines.
    """
    generator = torch.Generator().manual_seed(0)
    written = generate(load_model(WEIGHTS), LINES, setting.steps, setting.order, generator=generator)[-1]
    return measure_samples(written, *_judge()) | {"text": text_of(written[:6])}


SHIPPED = WritingSetting(ratio=0.3, seed=1)
SWEEP = [
    WritingSetting(epochs=1),
    *(WritingSetting(ratio=ratio, seed=seed) for ratio in (None, 0.3) for seed in (0, 1)),
]
SAMPLE_SWEEP = [SampleSetting(order=order, steps=steps) for order in ORDERS for steps in (1, 2, 4, 8, 16, 32)]


def run_generation(path: Path = RESULTS, samples: Path = SAMPLES) -> None:
    """Run what is missing.

    Parameters
    ----------
    path, samples : Path
        Results of trainings, and of ways to write.
    """
    run_missing(SWEEP, run, path)
    run_missing(SAMPLE_SWEEP, run_sample, samples)


def stored_writers(ratio: float | None = None, epochs: int = WritingSetting.epochs) -> list[dict]:
    """The stored results of `run`, one per seed.

    Parameters
    ----------
    ratio : float, optional
    epochs : int
    """
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    found = [row for row in rows if row["setting"]["ratio"] == ratio and row["setting"]["epochs"] == epochs]
    if not found:
        raise ValueError(f"no stored run with ratio {ratio} and {epochs} epochs: expected one of those in SWEEP")
    return found


def stored_samples(order: str) -> dict[int, dict]:
    """The stored results of `run_sample`, by number of steps.

    Parameters
    ----------
    order : {"random", "confident", "left to right"}
    """
    rows = json.loads(SAMPLES.read_text(encoding="utf-8"))["rows"]
    found = {row["setting"]["steps"]: row for row in rows if row["setting"]["order"] == order}
    if not found:
        raise ValueError(f"expected one of {', '.join(ORDERS)}, got {order!r}")
    return found
