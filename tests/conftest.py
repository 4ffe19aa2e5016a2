"""What several tests need: generators, a model small enough to check every weight of, pictures of its size."""

import pytest
import torch

from mae.model import MaskedAutoencoder, tiny_config


@pytest.fixture(scope="session")
def seeded():
    """A function: seed → a new generator on the CPU."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def tiny(seeded):
    """An untrained model for four patches of four values."""
    return MaskedAutoencoder(tiny_config(), generator=seeded()).eval()


@pytest.fixture(scope="session")
def tiny_images(seeded):
    """Sixteen images that the tiny model takes, in patches of 2×2 pixels."""
    return torch.rand(16, 1, 4, 4, generator=seeded(1))
