"""Style: Gram matrices forget places, twins keep correlations, and a picture moves towards its aim."""

import pytest
import torch

from mae.denoising import photograph_config
from mae.model import MaskedAutoencoder
from mae.photographs import load_photographs
from mae.style import gram, phase_twin, style_loss, stylise, train_encoder, window_pixels, window_tokens


@pytest.fixture
def model(seeded):
    return MaskedAutoencoder(photograph_config(), generator=seeded(0)).eval()


def test_a_gram_matrix_is_a_mean_of_outer_products_and_forgets_places(seeded):
    x = torch.randn(3, 4, 5, generator=seeded(0))
    tokens = x.reshape(12, 5)
    assert torch.allclose(gram(x), torch.stack([torch.outer(t, t) for t in tokens]).mean(dim=0), atol=1e-6)
    assert torch.allclose(gram(x), gram(tokens[torch.randperm(12, generator=seeded(1))]), atol=1e-6)


def test_features_have_a_row_for_each_window_and_no_brightness(model, seeded):
    image = torch.rand(1, 1, 16, 24, generator=seeded(0))
    for features, shape in (
        (window_pixels, (15, 1, 64)),
        (lambda x: window_tokens(model, x), (15, 16, model.config.width)),
    ):
        assert features(image).shape == shape
        assert torch.allclose(features(image), features(image + 0.3), atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (15, 20)])
def test_a_twin_has_the_same_spectrum_and_another_look(seeded, size):
    image = torch.rand(1, 1, *size, generator=seeded(0))
    twin = phase_twin(image, generator=seeded(1))
    assert twin.shape == image.shape
    assert torch.allclose(torch.fft.fft2(twin).abs(), torch.fft.fft2(image).abs(), atol=1e-3)
    assert (twin - image).abs().mean() > 0.1


def test_style_loss(seeded):
    aim = gram(torch.randn(10, 4, generator=seeded(0)))
    assert style_loss(aim, aim) == 0 and style_loss(torch.zeros(4, 4), aim) == 1


@pytest.mark.parametrize("moving", [False, True])
def test_stylise_comes_closer_and_leaves_its_arguments_alone(model, seeded, moving):
    content, style = (torch.rand(1, 1, 16, 16, generator=seeded(i)) * (1, 0.3)[i] for i in (0, 1))
    before, weights = content.clone(), [p.clone() for p in model.parameters()]

    def features(image):
        return window_tokens(model, image)

    made = stylise(content, style, features, steps=15, generator=seeded(2) if moving else None)
    with torch.no_grad():
        aim = gram(features(style))
        assert style_loss(gram(features(made)), aim) < 0.8 * style_loss(gram(features(content)), aim)
    assert torch.equal(content, before) and made.min() >= 0 and made.max() <= 1 and not made.requires_grad
    assert all(torch.equal(p, w) and p.grad is None for p, w in zip(model.parameters(), weights, strict=True))


def test_an_encoder_is_the_same_each_time():
    pictures = load_photographs("validation")
    first, second = (train_encoder(pictures, seed=1, crops=128) for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
