"""Masked autoencoders, one idea per module.

Shapes are written in the same letters everywhere: B batch, N patches, K visible patches, M hidden patches
(K + M = N), P values in a patch, D width of a token.
"""

from mae.data import load_digits
from mae.losses import masked_mse, normalize_patches
from mae.masking import Mask, block_mask, grid_mask, num_visible, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, pretrain
from mae.weights import load_pretrained

__version__ = "0.1.0"

__all__ = [
    "MAEConfig",
    "Mask",
    "MaskedAutoencoder",
    "TrainConfig",
    "block_mask",
    "grid_mask",
    "load_digits",
    "load_pretrained",
    "masked_mse",
    "normalize_patches",
    "num_visible",
    "patchify",
    "pretrain",
    "random_mask",
    "unpatchify",
]
