"""What features are worth: nearest neighbours, a linear probe, fine-tuning."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mae.losses import masked_mse
from mae.masking import Mask, random_mask, take
from mae.model import MaskedAutoencoder


@dataclass(frozen=True, eq=False)
class Score:
    """Accuracy on a test split.

    Parameters
    ----------
    accuracy : float
        Share of right answers, 0 to 1.
    choice : float
        The hyper-parameter that was chosen by cross-validation within the training set.
    predictions : ndarray, (B,)
        The predicted label of each test example.
    """

    accuracy: float
    choice: float
    predictions: np.ndarray

    @property
    def error_bar(self) -> float:
        """Standard error of the accuracy, from the number of test examples (binomial)."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.predictions)))


@torch.inference_mode()
def extract_features(
    model: MaskedAutoencoder, patches: Tensor, pool: str = "mean", batch_size: int = 500
) -> np.ndarray:
    """Features of whole images: the encoder sees all patches, nothing is hidden.

    Parameters
    ----------
    model : MaskedAutoencoder
    patches : Tensor, (B, N, P)
    pool : {"mean", "class"}
        The mean of the patch tokens, or the class token.
    batch_size : int
        How many examples go through the encoder at a time.

    Returns
    -------
    ndarray, (B, D), float32
    """
    if pool not in ("mean", "class"):
        raise ValueError(f'expected pool "mean" or "class", got {pool!r}')
    model.eval()
    latents = (model.encode(batch) for batch in patches.split(batch_size))
    pooled = torch.cat([z[:, 1:].mean(dim=1) if pool == "mean" else z[:, 0] for z in latents])
    return pooled.float().cpu().numpy()


def linear_probe(train_x, train_y, test_x, test_y, choices=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0)) -> Score:
    """Accuracy of a linear classifier on frozen features.

    Logistic regression on standardised features. Its inverse penalty C is chosen by three-fold cross-validation
    within the training set; the test split is used once, for the score.

    Parameters
    ----------
    train_x, test_x : array-like, (B, D)
    train_y, test_y : array-like, (B,)
    choices : sequence of float
        Candidates for C.

    Returns
    -------
    Score
    """

    def classifier(c: float):
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))

    return _best(classifier, choices, train_x, train_y, test_x, test_y)


def nearest_neighbors(train_x, train_y, test_x, test_y, choices=(5,), metric: str = "cosine") -> Score:
    """Accuracy of the vote of the k nearest training examples, by cosine similarity unless told otherwise.

    Parameters
    ----------
    train_x, test_x : array-like, (B, D)
    train_y, test_y : array-like, (B,)
    choices : sequence of int
        Candidates for k; with more than one, cross-validation within the training set chooses.
    metric : str
        One of scikit-learn's, such as "euclidean", the right one for codes whose origin means nothing.

    Returns
    -------
    Score
    """

    def classifier(k: int):
        return KNeighborsClassifier(n_neighbors=k, metric=metric)

    return _best(classifier, choices, train_x, train_y, test_x, test_y)


def _best(classifier, choices, train_x, train_y, test_x, test_y) -> Score:
    train_x, train_y, test_x, test_y = (np.asarray(a) for a in (train_x, train_y, test_x, test_y))
    if len(train_x) != len(train_y) or len(test_x) != len(test_y) or train_x.shape[1:] != test_x.shape[1:]:
        raise ValueError(
            f"features and labels don't fit together: train {train_x.shape} and {train_y.shape}, "
            f"test {test_x.shape} and {test_y.shape}"
        )
    choice = choices[0]
    with threadpool_limits(1):  # the products are small: threads would wait for one another, several times as long
        if len(choices) > 1:
            folds = StratifiedKFold(3, shuffle=True, random_state=0)
            choice = max(choices, key=lambda c: cross_val_score(classifier(c), train_x, train_y, cv=folds).mean())
        predictions = classifier(choice).fit(train_x, train_y).predict(test_x)
    return Score(float((predictions == test_y).mean()), choice, predictions)


@torch.inference_mode()
def reconstruction_error(
    model: MaskedAutoencoder, patches: Tensor, mask: Mask, on: str = "hidden", batch_size: int = 500
) -> float:
    """Mean squared error of a model's predictions, in pixel units, on given masks.

    Parameters
    ----------
    model : MaskedAutoencoder
        One that predicts pixels, not normalised ones.
    patches : Tensor, (B, N, P)
    mask : Mask
        One for each example, so that two models can be compared on the same masks.
    on : {"hidden", "visible", "all"}
        Which patches count.
    batch_size : int
        How many examples go through the model at a time.

    Raises
    ------
    ValueError
        If there is not one mask for each example.
    """
    if len(mask) != len(patches):
        raise ValueError(f"expected a mask for {len(patches)} examples, got one for {len(mask)}")
    model.eval()
    total = 0.0
    for rows in torch.arange(len(patches)).split(batch_size):
        prediction = model(patches[rows], mask[rows], predict=on)
        total += masked_mse(prediction, patches[rows], mask[rows], on=on).item() * len(rows)
    return total / len(patches)


@torch.inference_mode()
def reconstruct(model: MaskedAutoencoder, patches: Tensor, mask: Mask, paste: bool = True) -> Tensor:
    """All patches as the model rebuilds them.

    Parameters
    ----------
    model : MaskedAutoencoder
        One that predicts pixels.
    patches : Tensor, (B, N, P)
    mask : Mask
    paste : bool
        Keep the true visible patches (the model was never asked to predict them); otherwise predict all.

    Returns
    -------
    Tensor, (B, N, P)
    """
    model.eval()
    if not paste:
        return model(patches, mask, predict="all")
    index = mask.hidden[:, :, None].expand(-1, -1, patches.shape[2])
    return patches.scatter(1, index, model(patches, mask))


@torch.inference_mode()
def hidden_errors(
    model: MaskedAutoencoder,
    patches: Tensor,
    ratio: float,
    count: int,
    *,
    generator: torch.Generator,
    batch_size: int = 500,
) -> Tensor:
    """Squared error of each patch under several random masks: how badly the rest of its image predicts it.

    ``nanmean(dim=0)`` is a map of what is strange in each image (Schwartz et al., 2024).

    Parameters
    ----------
    model : MaskedAutoencoder
        One that predicts pixels, not normalised ones.
    patches : Tensor, (B, N, P)
    ratio : float
        Share hidden, as in `random_mask`.
    count : int
        S, the masks of each image; no two images have the same ones.
    generator : torch.Generator
        On the CPU.
    batch_size : int
        How many examples go through the model at a time.

    Returns
    -------
    Tensor, (S, B, N), of the patches' type
        Mean over the P values of a patch; NaN where it was visible.
    """
    if count < 1:
        raise ValueError(f"expected at least one mask, got {count}")
    model.eval()
    B, N, _ = patches.shape
    errors = patches.new_full((count, B, N), torch.nan)
    for some in errors:
        mask = random_mask(B, N, ratio, generator=generator).to(patches.device)
        for rows in torch.arange(B).split(batch_size):
            hidden = mask.hidden[rows]
            error = (model(patches[rows], mask[rows]) - take(patches[rows], hidden)) ** 2
            some[rows] = some[rows].scatter(1, hidden, error.mean(dim=2))
    return errors


def effective_rank(features) -> float:
    """How many directions features use: the exponential of the entropy of their singular values (Roy & Vetterli, 2007).

    Parameters
    ----------
    features : array-like, (B, D)
        Their mean is taken off first.

    Returns
    -------
    float
        From 1, all on a line, to min(B - 1, D), equally spread in all directions.

    Raises
    ------
    ValueError
        If there are fewer than two examples, or all are the same.
    """
    x = np.asarray(features, dtype=float)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"expected features (B, D) of at least two examples, got {x.shape}")
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    if not values[0] > 1e-12 * np.abs(x).max():
        raise ValueError("all examples have the same features: their rank is 0")
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


class Classifier(nn.Module):
    """A pre-trained encoder with a linear classifier on its mean patch token, to be fine-tuned as a whole.

    It sees all patches; nothing is hidden (He et al., 2022, appendix A.1).

    Parameters
    ----------
    model : MaskedAutoencoder
        Its encoder is used, not copied; the decoder is left out.
    classes : int
    drop_path : float
        How often the last block is skipped in training; linearly less in earlier ones (stochastic depth, Huang et
        al., 2016).
    generator : torch.Generator, optional
        Draws the classifier's initial weights.
    """

    _check = MaskedAutoencoder._check  # takes what the model takes

    def __init__(
        self,
        model: MaskedAutoencoder,
        classes: int,
        *,
        drop_path: float = 0.0,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.config = model.config
        depth, width = len(model.blocks), model.config.width
        self.patch_embed, self.cls_token, self.blocks = model.patch_embed, model.cls_token, model.blocks
        self.register_buffer("positions", model.positions, persistent=False)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=2e-5, generator=generator)
        nn.init.zeros_(self.head.bias)
        self.drop = [drop_path * i / max(depth - 1, 1) for i in range(depth)]

    def forward(self, patches: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scores of the classes.

        Parameters
        ----------
        patches : Tensor, (B, N, P)
        noise : Tensor, (B, depth), optional
            Numbers between 0 and 1 that decide which examples skip which blocks; needed in training with drop path.

        Returns
        -------
        Tensor, (B, classes)

        Raises
        ------
        ValueError
            If the patches are not such as the model takes, or noise is missing or of another shape.
        """
        self._check(patches, None)
        shape = len(patches), len(self.drop)
        if self.training and any(self.drop) and (noise is None or noise.shape != shape):
            got = "none" if noise is None else tuple(noise.shape)
            raise ValueError(f"expected noise {shape} in training, for drop_path, got {got}: draw it with torch.rand")
        x = self.patch_embed(patches) + self.positions
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        for i, (block, rate) in enumerate(zip(self.blocks, self.drop, strict=True)):
            y = block(x)
            if self.training and rate:
                y = x + (y - x) * ((noise[:, i, None, None] >= rate) / (1 - rate))  # the mean stays what it is
            x = y
        return self.head(self.norm(x[:, 1:].mean(dim=1)))


class Finetuning(nn.Module):
    """The loss of a classifier on a batch: patches, labels and noise → cross-entropy.

    Parameters
    ----------
    classifier : Classifier
    smoothing : float
        Share of the target that is spread over all classes.
    """

    def __init__(self, classifier: Classifier, smoothing: float = 0.0):
        super().__init__()
        self.classifier, self.smoothing = classifier, smoothing

    def forward(self, patches: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        return F.cross_entropy(self.classifier(patches, noise), labels, label_smoothing=self.smoothing)
