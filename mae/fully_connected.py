"""A fully connected masked autoencoder, 784-256-128-64 and back: as a popular tutorial has it, and put right.

Chapter 4a takes it apart. The layer sizes are those of the source; the switches are its faults.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

LOSSES = ("two masks", "hidden", "visible", "all")


class FullyConnectedAutoencoder(nn.Module):
    """Three linear layers down, three up, a ReLU after each but perhaps the last.

    Parameters
    ----------
    last : {"relu", "linear"}
        What follows the last layer. The source has a ReLU, so its output can't be negative.
    sizes : tuple of int
        Widths from the input to the code.
    generator : torch.Generator
        Draws the initial weights, from the distribution that `nn.Linear` uses.

    Raises
    ------
    ValueError
        If `last` is none of these.
    """

    def __init__(
        self,
        last: str = "linear",
        sizes: tuple[int, ...] = (784, 256, 128, 64),
        *,
        generator: torch.Generator,
    ):
        super().__init__()
        if last not in ("relu", "linear"):
            raise ValueError(f'expected last "relu" or "linear", got {last!r}')
        self.encoder = self._stack(sizes)
        self.decoder = self._stack(sizes[::-1])
        if last == "linear":
            self.decoder = self.decoder[:-1]
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    @staticmethod
    def _stack(sizes: tuple[int, ...]) -> nn.Sequential:
        layers = []
        for wide, narrow in pairwise(sizes):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, pixels: Tensor, visible: Tensor) -> Tensor:
        """Set hidden pixels to zero, encode, decode.

        Parameters
        ----------
        pixels : Tensor, (B, 784)
        visible : Tensor, (B, 784)
            1 where a pixel is kept, 0 where it is hidden.

        Returns
        -------
        Tensor, (B, 784)
        """
        if pixels.shape != visible.shape:
            raise ValueError(f"expected one mask value per pixel, got {tuple(pixels.shape)} and {tuple(visible.shape)}")
        return self.decoder(self.encoder(pixels * visible))


def linear_layers(*sizes: int, generator: torch.Generator) -> nn.Sequential:
    """Linear layers with a ReLU between them, none at the end: a code may be negative.

    Parameters
    ----------
    *sizes : int
        Widths from the input to the output.
    generator : torch.Generator
        Draws the initial weights (Glorot's uniform ones); biases are 0.

    Returns
    -------
    Sequential
    """
    layers = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
        nn.init.xavier_uniform_(layers[-2].weight, generator=generator)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def pixel_mask(shape: tuple[int, ...], keep: float = 0.5, *, generator: torch.Generator) -> Tensor:
    """Keep each pixel on its own with a given probability: the source's masking.

    Parameters
    ----------
    shape : tuple of int
    keep : float
        Probability that a pixel is visible, strictly between 0 and 1.
    generator : torch.Generator

    Returns
    -------
    Tensor, of 0 (hidden) and 1 (visible)
    """
    if not 0 < keep < 1:
        raise ValueError(f"expected a probability strictly between 0 and 1, got {keep}")
    return torch.bernoulli(torch.full(shape, keep), generator=generator)


def pixel_loss(prediction: Tensor, pixels: Tensor, visible: Tensor, on: str, *, generator: torch.Generator) -> Tensor:
    """Squared error with one of four targets.

    Parameters
    ----------
    prediction, pixels, visible : Tensor, (B, 784)
    on : {"two masks", "hidden", "visible", "all"}
        "two masks" is the source's: the target is the image times a second mask, drawn without regard to the
        first. The others take the mean over those pixels.
    generator : torch.Generator
        Draws the second mask.

    Returns
    -------
    Tensor, ()
    """
    if on not in LOSSES:
        raise ValueError(f"expected one of {', '.join(LOSSES)}, got {on!r}")
    if on == "two masks":
        return ((prediction - pixels * pixel_mask(pixels.shape, generator=generator)) ** 2).mean()
    weight = {"hidden": 1 - visible, "visible": visible, "all": torch.ones_like(visible)}[on]
    return ((prediction - pixels) ** 2 * weight).sum() / weight.sum()
