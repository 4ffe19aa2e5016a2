"""Style as a Gram matrix of features, and a picture optimised towards one (question 22)."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mae.denoising import PATCH, SCALE, WINDOW, photograph_config
from mae.masking import random_mask, take
from mae.model import MaskedAutoencoder
from mae.patches import patchify
from mae.photographs import random_crops, windows
from mae.train import TrainConfig, fit, progress

STRIDE = 4  # pixels from one window to the next


def _without_level(pixels: Tensor) -> Tensor:
    """Windows (B, 1, H, W) as differences from their means, of the order of 1."""
    return (pixels - pixels.mean(dim=(1, 2, 3), keepdim=True)) * SCALE


def train_encoder(pictures: Mapping[str, Tensor], *, seed: int = 0, crops: int = 16384) -> MaskedAutoencoder:
    """A small MAE on clean windows of 8×8 pixels, half of the patches hidden, each window seen once.

    Parameters
    ----------
    pictures : mapping of str to Tensor, (1, 1, H, W)
    seed : int
        Of weights, crops and masks.
    crops : int
        How many windows.
    """
    generator = torch.Generator().manual_seed(seed)
    patches = patchify(_without_level(random_crops(pictures, WINDOW, crops, generator=generator)), PATCH)
    model = MaskedAutoencoder(photograph_config(), generator=generator)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        mask = random_mask(len(batch), patches.shape[1], 0.5, generator=generator)
        return F.mse_loss(model(patches[batch], mask), take(patches[batch], mask.hidden))

    fit(model, loss_of_batch, crops, TrainConfig(epochs=1, learning_rate=6e-3, seed=seed), name="encoder")
    return model


def window_pixels(image: Tensor) -> Tensor:
    """All windows of a picture, each without its mean: features that need no model.

    Parameters
    ----------
    image : Tensor, (1, 1, H, W)

    Returns
    -------
    Tensor, (B, 1, P)
        B windows of P = 64 pixels.
    """
    return _without_level(windows(image, WINDOW, STRIDE)).flatten(2)


def window_tokens(model: MaskedAutoencoder, image: Tensor) -> Tensor:
    """What an encoder makes of all windows of a picture, nothing hidden. Gradients reach the picture.

    Parameters
    ----------
    model : MaskedAutoencoder
        On windows of 8×8 pixels in patches of 2×2.
    image : Tensor, (1, 1, H, W)

    Returns
    -------
    Tensor, (B, N, D)
        B windows; without the class token.
    """
    return model.encode(patchify(_without_level(windows(image, WINDOW, STRIDE)), PATCH))[:, 1:]


def gram(features: Tensor) -> Tensor:
    """Which features occur together, wherever they stand: the mean of their outer products.

    Parameters
    ----------
    features : Tensor, (..., D)

    Returns
    -------
    Tensor, (D, D)
    """
    x = features.flatten(0, -2)
    return x.T @ x / len(x)


def phase_twin(image: Tensor, *, generator: torch.Generator) -> Tensor:
    """A picture with the same spectrum, so the same correlations between its pixels, and random phases.

    Parameters
    ----------
    image : Tensor, (1, 1, H, W)
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor, (1, 1, H, W)
        With the same mean and variance; values may leave 0 … 1.
    """
    noise = torch.fft.rfft2(torch.randn(image.shape, generator=generator))  # its phases suit a real picture
    phases = noise / noise.abs()
    phases[..., 0, 0] = 1  # the mean
    return torch.fft.irfft2(torch.fft.rfft2(image).abs() * phases, s=image.shape[-2:])


def style_loss(found: Tensor, aim: Tensor) -> Tensor:
    """The squared difference of two Gram matrices, in relation to the second: 0 if equal, 1 if the first is zero.

    Parameters
    ----------
    found, aim : Tensor, (D, D)

    Returns
    -------
    Tensor, ()
    """
    return (found - aim).square().sum() / aim.square().sum()


def stylise(
    content: Tensor,
    style: Tensor,
    features: Callable[[Tensor], Tensor],
    *,
    weight: float = 10.0,
    steps: int = 60,
    learning_rate: float = 0.02,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Change the pixels of one picture until its Gram matrix is like that of another (after Gatys et al., 2016).

    The content loss is the squared change of the features in their places, in relation to their mean square; to it
    comes `style_loss`.

    Parameters
    ----------
    content, style : Tensor, (1, 1, H, W)
        The start, and the picture whose Gram matrix is the aim; sizes may differ.
    features : callable
        Takes a picture, returns features (B, N, D); differentiable.
    weight : float
        Of the style loss.
    steps : int
    learning_rate : float
        Of Adam, in grey values.
    generator : torch.Generator, optional
        On the CPU. With it, each step looks through windows whose grid is shifted by 0 to 3 pixels each way.

    Returns
    -------
    Tensor, (1, 1, H, W)
        Values between 0 and 1.
    """
    with torch.no_grad():
        aim = gram(features(style))
    image = content.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=learning_rate)
    H, W = content.shape[-2:]
    rows, columns = slice(0, H), slice(0, W)
    for _ in progress(range(steps), desc="pixels", unit="step"):
        if generator is not None:
            i, j = torch.randint(STRIDE, (2,), generator=generator).tolist()
            rows, columns = slice(i, i + H - STRIDE), slice(j, j + W - STRIDE)
        with torch.no_grad():
            in_place = features(content[..., rows, columns])
        found = features(image[..., rows, columns])
        change = F.mse_loss(found, in_place) / in_place.square().mean()
        (image.grad,) = torch.autograd.grad(change + weight * style_loss(gram(found), aim), image)
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()
