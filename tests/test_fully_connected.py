"""The source's model has the faults it is said to have, and the mended one has not."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from mae.fully_connected import LOSSES, FullyConnectedAutoencoder, linear_layers, pixel_loss, pixel_mask


@pytest.fixture
def pixels(seeded):
    return torch.rand(5, 784, generator=seeded(1))


@pytest.fixture
def visible(seeded):
    return pixel_mask((5, 784), generator=seeded(2))


@pytest.mark.parametrize(("last", "layers"), [("relu", 12), ("linear", 11)])
def test_layers_are_those_of_the_source(last, layers, seeded):
    model = FullyConnectedAutoencoder(last, generator=seeded())
    stack = [*model.encoder, *model.decoder]
    linear = [layer for layer in stack if isinstance(layer, nn.Linear)]
    sizes = [784, 256, 128, 64, 128, 256, 784]
    assert [(layer.in_features, layer.out_features) for layer in linear] == list(pairwise(sizes))
    assert len(stack) == layers
    assert all(isinstance(layer, nn.ReLU) for layer in stack[1::2])


def test_only_a_linear_end_can_go_below_zero(pixels, visible, seeded):
    relu, linear = (FullyConnectedAutoencoder(last, generator=seeded())(pixels, visible) for last in ("relu", "linear"))
    assert linear.min() < 0
    assert torch.equal(relu, linear.clamp(min=0))  # the same weights, but for the end


def test_hidden_pixels_are_set_to_zero(pixels, visible, seeded):
    model = FullyConnectedAutoencoder(generator=seeded())
    before = model(pixels, visible)
    assert torch.equal(before, model.decoder(model.encoder(pixels * visible)))
    assert torch.equal(model(torch.where(visible == 1, pixels, 9.0), visible), before)
    assert not torch.equal(model(pixels + visible, visible), before)


def test_weights_come_from_the_generator_alone(seeded):
    def weights(seed):
        torch.rand(1)
        return torch.cat([p.flatten() for p in FullyConnectedAutoencoder(generator=seeded(seed)).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    layer = FullyConnectedAutoencoder(generator=seeded()).encoder[0]
    assert 0.99 / 28 < layer.weight.abs().max() <= 1 / 28  # uniform in ±1/√inputs, as nn.Linear has it
    assert 0.9 / 28 < layer.bias.abs().max() <= 1 / 28


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.9])
def test_pixel_masks_keep_each_pixel_with_the_same_chance(keep, seeded):
    mask = pixel_mask((400, 100), keep, generator=seeded(3))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    error = (keep * (1 - keep) / mask.numel()) ** 0.5
    assert mask.mean().item() == pytest.approx(keep, abs=4 * error)
    assert (mask.mean(dim=0) - keep).abs().max() < 5 * error * 100**0.5
    assert torch.equal(mask, pixel_mask((400, 100), keep, generator=seeded(3)))


@pytest.mark.parametrize("keep", [0, 1, -0.5, 1.5, float("nan")])
def test_chances_out_of_range_are_refused(keep, seeded):
    with pytest.raises(ValueError, match=f"expected a probability strictly between 0 and 1, got {keep}"):
        pixel_mask((2, 2), keep, generator=seeded())


@pytest.mark.parametrize("on", ["hidden", "visible", "all"])
def test_loss_is_the_mean_over_the_chosen_pixels(pixels, visible, seeded, on):
    prediction = torch.rand(5, 784, generator=seeded(4))
    chosen = {"hidden": visible == 0, "visible": visible == 1, "all": visible >= 0}[on]
    expected = ((prediction - pixels)[chosen] ** 2).mean().item()
    assert pixel_loss(prediction, pixels, visible, on, generator=seeded()).item() == pytest.approx(expected, rel=1e-5)


def test_two_masks_make_half_the_truth_the_best_answer(seeded):
    # The target is the pixel times an independent coin, so that its mean is half the pixel.
    pixels = torch.rand(2000, 784, generator=seeded(5))
    visible = pixel_mask(pixels.shape, generator=seeded(6))
    square = (pixels**2).mean().item()
    for scale in (0.0, 0.25, 0.5, 0.75, 1.0):
        loss = pixel_loss(scale * pixels, pixels, visible, "two masks", generator=seeded(7)).item()
        assert loss == pytest.approx(square * (0.25 + (scale - 0.5) ** 2), rel=0.01)
    # Nor does it help to know the first mask: at each pixel, the two differ half of the time.
    loss = pixel_loss(pixels * visible, pixels, visible, "two masks", generator=seeded(7)).item()
    assert loss == pytest.approx(square / 2, rel=0.01)


def test_unknown_switches_are_refused(pixels, visible, seeded):
    assert LOSSES == ("two masks", "hidden", "visible", "all")
    with pytest.raises(ValueError, match="expected one of two masks, hidden, visible, all, got 'none'"):
        pixel_loss(pixels, pixels, visible, "none", generator=seeded())
    with pytest.raises(ValueError, match='expected last "relu" or "linear", got \'tanh\''):
        FullyConnectedAutoencoder("tanh", generator=seeded())
    with pytest.raises(ValueError, match=r"expected one mask value per pixel, got \(5, 784\) and \(4, 784\)"):
        FullyConnectedAutoencoder(generator=seeded())(pixels, visible[:4])


def test_linear_layers_end_without_a_relu(seeded):
    layers = linear_layers(6, 5, 2, generator=seeded(0))
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(layer.weight.shape) for layer in layers[::2]] == [(5, 6), (2, 5)]
    assert all((layer.bias == 0).all() for layer in layers[::2])
    assert torch.equal(layers[0].weight, linear_layers(6, 5, 2, generator=seeded(0))[0].weight)
    assert (layers(torch.randn(200, 6, generator=seeded(1))) < 0).any(dim=0).all()
