"""The reconstruction loss and its target."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae.masking import Mask, take


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor, Tensor]:
    """Give each patch mean 0 and variance 1: the normalised-pixel target (He et al., 2022, section 3).

    Parameters
    ----------
    patches : Tensor, (B, N, P)
    eps : float
        Added to the (unbiased) variance, so that a flat patch gives zeros and not NaN.

    Returns
    -------
    normalized : Tensor, (B, N, P)
    mean, std : Tensor, (B, N, 1)
        ``normalized * std + mean`` gives the patches back.

    Raises
    ------
    ValueError
        If the patches are not floating point, or have a single value: its variance is not defined.
    """
    if patches.ndim != 3 or patches.shape[2] < 2 or not patches.is_floating_point():
        raise ValueError(
            f"expected floating-point patches (B, N, P) of at least two values, "
            f"got {patches.dtype} {tuple(patches.shape)}"
        )
    mean = patches.mean(dim=2, keepdim=True)
    std = (patches.var(dim=2, keepdim=True) + eps) ** 0.5
    return (patches - mean) / std, mean, std


def masked_mse(prediction: Tensor, patches: Tensor, mask: Mask, on: str = "hidden", normalized: bool = False) -> Tensor:
    """Mean squared error over the chosen patches (He et al., 2022, section 3, "Reconstruction target").

    Parameters
    ----------
    prediction : Tensor, (B, M, P)
        What the model predicts for the chosen patches: ``model(patches, mask, predict=on)``.
    patches : Tensor, (B, N, P)
        The true patches, hidden ones included.
    mask : Mask
    on : {"hidden", "visible", "all"}
        Which patches count. A masked autoencoder is trained on the hidden ones.
    normalized : bool
        Compare with normalised pixels (`normalize_patches`) instead of pixels.

    Returns
    -------
    Tensor, ()
        The mean over all values of the chosen patches.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the patches are not floating point.
    """
    if patches.ndim != 3 or patches.shape[:2] != (len(mask), mask.num_patches):
        raise ValueError(
            f"expected patches ({len(mask)}, {mask.num_patches}, P) for this mask, got {tuple(patches.shape)}"
        )
    if not patches.is_floating_point():
        raise ValueError(f"expected floating-point patches, got {patches.dtype}")
    index = mask.indices(on)
    target = take(normalize_patches(patches)[0] if normalized else patches, index)
    if prediction.shape != target.shape:
        raise ValueError(
            f"expected predictions of the {on} patches, {tuple(target.shape)}, got {tuple(prediction.shape)}: "
            f'ask the model for them with predict="{on}"'
        )
    return ((prediction - target) ** 2).mean()


def masked_cross_entropy(prediction: Tensor, ids: Tensor, mask: Mask, on: str = "hidden") -> Tensor:
    """Cross-entropy over the chosen patches, where a patch is one of V things: a word, a letter, an atom.

    Parameters
    ----------
    prediction : Tensor, (B, M, V)
        Logits for the chosen patches: ``model(patches, mask, predict=on)``, the patches being one-hot.
    ids : Tensor, (B, N), int64
        Which of the V each patch is, hidden ones included; -100 for padding, which does not count.
    mask : Mask
    on : {"hidden", "visible", "all"}
        Which patches count. A masked autoencoder is trained on the hidden ones.

    Returns
    -------
    Tensor, ()
        The mean over the chosen patches, in nats; ln V for a predictor that finds all V equally likely.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the ids are not integers.
    """
    if ids.shape != (len(mask), mask.num_patches) or ids.dtype != torch.int64:
        raise ValueError(
            f"expected int64 ids ({len(mask)}, {mask.num_patches}) for this mask, got {ids.dtype} {tuple(ids.shape)}"
        )
    target = ids.gather(1, mask.indices(on))
    if prediction.ndim != 3 or prediction.shape[:2] != target.shape:
        raise ValueError(
            f"expected logits (B, M, V) of the {on} patches, (B, M) being {tuple(target.shape)}, "
            f"got {tuple(prediction.shape)}: "
            f'ask the model for them with predict="{on}"'
        )
    return F.cross_entropy(prediction.flatten(0, 1), target.flatten())


def uniformity(features: Tensor) -> Tensor:
    """How alike the features of different examples are: the mean squared cosine over all pairs (Zhang et al., 2022).

    Added to the loss with a small weight, it keeps features from collapsing onto few directions.

    Parameters
    ----------
    features : Tensor, (B, D)

    Returns
    -------
    Tensor, ()
        From 0, all at right angles, to 1, all on one line. More examples than directions, B > D, come no lower than
        (B - D) / (D (B - 1)), when they are evenly spread; that is nearly 1 / D for many.

    Raises
    ------
    ValueError
        If there are fewer than two examples.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"expected features (B, D) of at least two examples, got {tuple(features.shape)}")
    directions = F.normalize(features, dim=1)
    squares = (directions @ directions.T) ** 2  # (B, B), 1 on the diagonal
    B = len(features)
    return (squares.sum() - squares.diagonal().sum()) / (B * (B - 1))
