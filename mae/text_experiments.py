"""Text classification: which library is a sentence from, by the number of labels; words hidden, against counting words.

``python -m mae experiments`` fills ``results/text.json``, one run after the other; stopped, it goes on where it was.
All that is chosen (mask ratio, penalties, learning rates) is chosen with the same code on the validation modules.
"""

import json
import time
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.evaluate import Classifier, extract_features
from mae.experiments import run_missing
from mae.losses import masked_cross_entropy
from mae.masking import random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.text import LIBRARIES, Sentences, Vocabulary, load_sentences
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, save_model

RESULTS = Path(__file__).parent / "results" / "text.json"
WEIGHTS = PRETRAINED / "text.safetensors"  # of the first seed, with the chosen mask ratio

LENGTH = 12  # words of a sentence that are looked at: all are equally long, and none is padded
STEP = 6  # pre-training also sees what comes later in a sentence: a window begins at every sixth word
SIZE = 860  # words that the model knows
LABELS = (10, 100, 1000)  # sentences of each library
SEEDS = (0, 1, 2)
DRAWS = (100, 101, 102)  # of the labelled sentences that choices are made with; one only with 1,000 labels
RATIOS = (0.15, 0.3, 0.5, 0.75, 0.9)
COUNTING = ("tf-idf", "lsa")
FEATURES = ("untrained", "frozen")
NETWORKS = ("scratch", "fine-tuned")
METHODS = (*COUNTING, *FEATURES, *NETWORKS)
VALUES = {  # of the inverse penalty C, or of the learning rate
    "tf-idf": (0.1, 1.0, 10.0, 100.0, 1000.0),
    "lsa": (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
    "untrained": (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
    "frozen": (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
    "scratch": (1e-3, 3e-3, 1e-2, 3e-2, 0.1),
    "fine-tuned": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
EPOCHS = {10: 40, 100: 10, 1000: 5}  # of fine-tuning, by labels
LONGER = (3, 10)  # times as many, to see whether they are enough
COMPONENTS = 200  # of LSA


@dataclass(frozen=True, kw_only=True)
class TextSetting:
    """One classifier of sentences.

    Parameters
    ----------
    method : {"tf-idf", "lsa", "untrained", "frozen", "scratch", "fine-tuned"}
        Logistic regression on weighted counts of words and pairs, on their principal components, on features of an
        encoder that is untrained, or pre-trained; or the whole encoder, from random weights or pre-trained ones.
    labels : int
        Labelled sentences of each library.
    value : float
        Inverse penalty C of the regression; learning rate of the last two.
    ratio : float
        Share of words hidden in pre-training; 0 where there is none.
    draw : int
        Draws the labelled sentences.
    seed : int
        Of pre-training, weights and training; 0 where there is nothing to draw, and where choices are made.
    test : bool
        Measure on the test modules; otherwise on the validation modules.
    longer : int
        How many times the usual `EPOCHS` a network is trained.
    """

    method: str
    labels: int
    value: float
    ratio: float = 0.0
    draw: int = 0
    seed: int = 0
    test: bool = True
    longer: int = 1

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"expected a method of {METHODS}, got {self.method!r}")
        if self.labels not in EPOCHS:
            raise ValueError(f"expected {tuple(EPOCHS)} labels of each library, got {self.labels}")
        if (self.method in ("frozen", "fine-tuned")) != (self.ratio > 0):
            raise ValueError(f"expected a mask ratio with pre-training and none without, got {self.ratio}")


def text_config(words: int) -> MAEConfig:
    """A small model for twelve words.

    Parameters
    ----------
    words : int
        V, the size of the vocabulary.
    """
    return MAEConfig(
        grid=(1, LENGTH),
        patch_values=words,
        width=64,
        depth=1,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=4,
    )


@cache
def text_vocabulary() -> Vocabulary:
    """The most frequent words of the training sentences."""
    return Vocabulary.build(load_sentences("train").words, SIZE)


def encode(sentences: Sentences) -> Tensor:
    """Word ids of sentences of twelve words.

    Parameters
    ----------
    sentences : Sentences

    Returns
    -------
    Tensor, (B, N), int64
    """
    return text_vocabulary().encode(sentences.words)


def windows() -> list[tuple[str, ...]]:
    """What is learnt from without labels: twelve words in a row, from the training sentences."""
    return [
        words[i : i + LENGTH]
        for words in load_sentences("train").words
        for i in range(0, len(words) - LENGTH + 1, STEP)
    ]


def pretrain_text(ids: Tensor, ratio: float, seed: int, *, epochs: int = 14) -> MaskedAutoencoder:
    """Hide words at random and learn to predict them.

    Parameters
    ----------
    ids : Tensor, (B, N), int64
        Of `windows`, for one.
    ratio : float
        Share of words that is hidden.
    seed : int
    epochs : int

    Returns
    -------
    MaskedAutoencoder
    """
    vocabulary = text_vocabulary()
    model = MaskedAutoencoder(text_config(len(vocabulary)), generator=torch.Generator().manual_seed(seed))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        words = ids[batch]
        mask = random_mask(len(words), LENGTH, ratio, generator=generator)
        return masked_cross_entropy(model(vocabulary.patches(words), mask), words, mask)

    options = TrainConfig(epochs=epochs, batch_size=256, learning_rate=4e-3, seed=seed)
    fit(model, loss_of_batch, len(ids), options, name=f"{ratio:.0%} of the words hidden")
    return model


@cache
def _pretrained(ratio: float, seed: int) -> MaskedAutoencoder:
    return pretrain_text(text_vocabulary().encode(windows()), ratio, seed)


def draw_labelled(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which sentences get a label: equally many of each library.

    Parameters
    ----------
    labels : ndarray, (B,)
    count : int
        Of each library.
    seed : int

    Returns
    -------
    ndarray, (classes · count,), int64

    Raises
    ------
    ValueError
        If a library has too few.
    """
    generator = np.random.default_rng(seed)
    chosen = []
    for label in range(len(LIBRARIES)):
        of_class = np.flatnonzero(labels == label)
        if len(of_class) < count:
            raise ValueError(f"expected {count} sentences of each library, there are {len(of_class)} of {label}")
        chosen.append(generator.permutation(of_class)[:count])
    return np.concatenate(chosen)


def _texts(sentences) -> list[str]:
    return [" ".join(words) for words in sentences]


@cache
def counter() -> TfidfVectorizer:
    """Weights of single words and of pairs (TF-IDF), fitted on the unlabelled text that pre-training sees."""
    counts = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True)
    return counts.fit(_texts(windows()))


@cache
def _components() -> TruncatedSVD:
    fitted = TruncatedSVD(COMPONENTS, random_state=0)
    return fitted.fit(counter().transform(_texts(windows())))


def fine_tune(model: MaskedAutoencoder, ids: Tensor, labels: Tensor, rate: float, epochs: int, seed: int) -> Classifier:
    """Train an encoder and a linear classifier on labelled sentences; nothing is hidden.

    Parameters
    ----------
    model : MaskedAutoencoder
        Its encoder is trained in place.
    ids : Tensor, (B, N), int64
    labels : Tensor, (B,), int64
    rate : float
        Learning rate.
    epochs : int
    seed : int

    Returns
    -------
    Classifier
    """
    classifier = Classifier(model, len(LIBRARIES), generator=torch.Generator().manual_seed(seed))
    vocabulary = text_vocabulary()

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        return F.cross_entropy(classifier(vocabulary.patches(ids[batch])), labels[batch])

    options = TrainConfig(epochs=epochs, batch_size=50, learning_rate=rate, seed=seed)
    fit(classifier, loss_of_batch, len(ids), options, name=f"{len(ids)} labelled sentences")
    return classifier


@torch.inference_mode()
def classify(classifier: Classifier, ids: Tensor) -> np.ndarray:
    """The likeliest library of each sentence.

    Parameters
    ----------
    classifier : Classifier
    ids : Tensor, (B, N), int64

    Returns
    -------
    ndarray, (B,), int64
    """
    parts = ids.split(500)
    return torch.cat([classifier(text_vocabulary().patches(part)).argmax(dim=1) for part in parts]).numpy()


def sentence_features(model: MaskedAutoencoder, sentences: Sentences) -> np.ndarray:
    """The mean token of each sentence, no word hidden.

    Parameters
    ----------
    model : MaskedAutoencoder
    sentences : Sentences

    Returns
    -------
    ndarray, (B, D), float32
    """
    return extract_features(model, text_vocabulary().patches(encode(sentences)))


def regression(inverse_penalty: float, *, scale: bool) -> object:
    """Logistic regression; dense features are standardised first.

    Parameters
    ----------
    inverse_penalty : float
        C.
    scale : bool
    """
    classifier = LogisticRegression(C=inverse_penalty, max_iter=1000)
    return make_pipeline(StandardScaler(), classifier) if scale else classifier


def make_model(setting: TextSetting) -> MaskedAutoencoder:
    """The encoder that a setting begins with: untrained, or pre-trained.

    Parameters
    ----------
    setting : TextSetting
    """
    if setting.ratio == 0:
        config = text_config(len(text_vocabulary()))
        return MaskedAutoencoder(config, generator=torch.Generator().manual_seed(setting.seed))
    model = MaskedAutoencoder(text_config(len(text_vocabulary())))
    model.load_state_dict(_pretrained(setting.ratio, setting.seed).state_dict())
    return model


def predictions(setting: TextSetting, sentences: Sentences) -> np.ndarray:
    """Train one classifier on a few labelled training sentences, and ask it about others.

    Parameters
    ----------
    setting : TextSetting
    sentences : Sentences
        Of twelve words each.

    Returns
    -------
    ndarray, (B,), int64
    """
    train = load_sentences("train", LENGTH)
    labelled = train.take(draw_labelled(train.labels, setting.labels, setting.draw))
    if setting.method in NETWORKS:
        model, labels = make_model(setting), torch.from_numpy(labelled.labels)
        epochs = setting.longer * EPOCHS[setting.labels]
        fitted = fine_tune(model, encode(labelled), labels, setting.value, epochs, setting.seed)
        return classify(fitted, encode(sentences))
    if setting.method in COUNTING:
        x, y = (counter().transform(_texts(part.words)) for part in (labelled, sentences))
        if setting.method == "lsa":
            x, y = (_components().transform(part) for part in (x, y))
    else:
        model = make_model(setting)
        x, y = (sentence_features(model, part) for part in (labelled, sentences))
    with threadpool_limits(1):
        fitted = regression(setting.value, scale=setting.method in FEATURES)
        return fitted.fit(x, labelled.labels).predict(y)


def run(setting: TextSetting) -> dict:
    """Train one classifier and measure it.

    Parameters
    ----------
    setting : TextSetting

    Returns
    -------
    dict
        ``accuracy``: the mean of the accuracies of the six libraries, which have unequally many sentences; a guess
        has one sixth. ``seconds`` of training, pre-training included when it is the first to need it.
    """
    sentences = load_sentences("test" if setting.test else "validation", LENGTH)
    start = time.perf_counter()
    predicted = predictions(setting, sentences)
    return {
        "accuracy": float(balanced_accuracy_score(sentences.labels, predicted)),
        "seconds": time.perf_counter() - start,
    }


def ratio_trials() -> list[TextSetting]:
    """Frozen features of one pre-training with each ratio, on the validation modules."""
    return [
        TextSetting(method="frozen", labels=100, value=value, ratio=ratio, draw=draw, test=False)
        for ratio in RATIOS
        for value in VALUES["frozen"]
        for draw in DRAWS
    ]


def value_trials(ratio: float) -> list[TextSetting]:
    """Each method with each of its values and numbers of labels, on the validation modules.

    Parameters
    ----------
    ratio : float
        Of the words, hidden in pre-training.
    """
    trials = []
    for method in METHODS:
        trained = method in ("frozen", "fine-tuned")
        base = TextSetting(
            method=method,
            labels=10,
            value=VALUES[method][0],
            ratio=ratio if trained else 0.0,
            test=False,
        )
        for labels in LABELS:
            for value in VALUES[method]:
                for draw in DRAWS if labels < 1000 else DRAWS[:1]:
                    trials.append(replace(base, labels=labels, value=value, draw=draw))
    return trials


def _scores(path: Path) -> dict[TextSetting, float]:
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, _changed: int) -> dict[TextSetting, float]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {TextSetting(**row["setting"]): row["accuracy"] for row in rows}


def tried_ratios(path: Path = RESULTS) -> dict[float, float]:
    """The validation accuracy with each mask ratio, at the best of the penalties.

    Parameters
    ----------
    path : Path
    """
    scores = _scores(path)
    means: dict[tuple[float, float], list[float]] = {}
    for setting in ratio_trials():
        means.setdefault((setting.ratio, setting.value), []).append(scores[setting])
    best = {ratio: 0.0 for ratio in RATIOS}
    for (ratio, _), found in means.items():
        best[ratio] = max(best[ratio], float(np.mean(found)))
    return best


def best_ratio(path: Path = RESULTS) -> float:
    """The mask ratio with the highest stored validation accuracy.

    Parameters
    ----------
    path : Path
    """
    tried = tried_ratios(path)
    return max(tried, key=tried.get)


def tried_values(method: str, path: Path = RESULTS) -> dict[float, float]:
    """The validation accuracy with each penalty, or learning rate: the mean over the numbers of labels.

    One value serves all numbers of labels: with ten labels the choice would be a matter of luck.

    Parameters
    ----------
    method : str
    path : Path

    Raises
    ------
    ValueError
        If the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"expected a method of {METHODS}, got {method!r}")
    scores, found = _scores(path), {}
    for setting in value_trials(best_ratio(path)):
        if setting.method == method:
            found.setdefault((setting.value, setting.labels), []).append(scores[setting])
    means = {key: float(np.mean(values)) for key, values in found.items()}  # over draws
    return {value: float(np.mean([means[value, labels] for labels in LABELS])) for value in VALUES[method]}


def final_settings(path: Path = RESULTS) -> list[TextSetting]:
    """The runs on the test modules, with what was chosen; one seed after the other.

    Parameters
    ----------
    path : Path
        Holds the trials.
    """
    ratio = best_ratio(path)
    tried = {method: tried_values(method, path) for method in METHODS}
    return [
        TextSetting(
            method=method,
            labels=labels,
            value=max(tried[method], key=tried[method].get),
            ratio=ratio if method in ("frozen", "fine-tuned") else 0.0,
            draw=seed,
            seed=0 if method in COUNTING else seed,
        )
        for seed in SEEDS
        for labels in LABELS
        for method in METHODS
    ]


def longer_trials(path: Path = RESULTS) -> list[TextSetting]:
    """Both networks on the validation modules, with the chosen rate and more epochs.

    Parameters
    ----------
    path : Path
        Holds the trials.
    """
    best = {method: max(tried := tried_values(method, path), key=tried.get) for method in NETWORKS}
    chosen = [s for s in value_trials(best_ratio(path)) if s.value == best.get(s.method)]
    return [replace(setting, longer=longer) for longer in LONGER for setting in chosen]


def tried_lengths(method: str, labels: int, path: Path = RESULTS) -> dict[int, float]:
    """The validation accuracy after so many times the usual epochs, the mean over draws.

    Parameters
    ----------
    method : {"scratch", "fine-tuned"}
    labels : int
    path : Path
    """
    scores = _scores(path)
    longer = [s for s in longer_trials(path) if (s.method, s.labels) == (method, labels)]
    return {
        n: float(np.mean([scores[replace(s, longer=n)] for s in longer if s.longer == LONGER[0]])) for n in (1, *LONGER)
    }


def run_text(path: Path = RESULTS) -> None:
    """Run what is missing: trials of mask ratios, of penalties and rates, the tests, and trials of more epochs.

    Parameters
    ----------
    path : Path
    """
    run_missing(ratio_trials(), run, path)
    run_missing(value_trials(best_ratio(path)), run, path)
    run_missing(final_settings(path), run, path)
    run_missing(longer_trials(path), run, path)
    if not WEIGHTS.exists():
        save_model(_pretrained(best_ratio(path), SEEDS[0]), WEIGHTS, dtype=torch.float16)


def accuracies(method: str, labels: int, path: Path = RESULTS) -> np.ndarray:
    """The stored accuracies on the test modules.

    Parameters
    ----------
    method : str
    labels : int
    path : Path

    Returns
    -------
    ndarray, (seeds,)
        Methods share the labelled sentences of a seed, so their differences may be taken one by one.
    """
    scores = _scores(path)
    rows = [s for s in scores if s.test and (s.method, s.labels) == (method, labels)]
    if not rows:
        raise ValueError(f"expected one of {METHODS} and of {LABELS} labels, got {method!r} and {labels}")
    return np.array([scores[setting] for setting in sorted(rows, key=lambda setting: setting.draw)])
