"""Linear maps by oneDNN are those of PyTorch, in value, derivative, memory of weights and cost."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

import mae.linear
from mae.linear import SMALLEST, Linear, has_onednn

needs_onednn = pytest.mark.skipif(not has_onednn, reason="this build of PyTorch has no oneDNN")


@pytest.fixture(params=[pytest.param(True, marks=needs_onednn), False], ids=["oneDNN", "PyTorch"])
def way(request, monkeypatch):
    """Both ways, whatever the processor."""
    monkeypatch.setattr(mae.linear, "use_onednn", request.param)
    return request.param


def pair(inputs=256, outputs=192, bias=True):
    generator = torch.Generator().manual_seed(0)
    ours = Linear(inputs, outputs, bias=bias)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, generator=generator)
    plain = nn.Linear(inputs, outputs, bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def both(ours, plain, x):
    """Outputs and all gradients of both maps, for the same gradient of the output."""
    out = []
    for layer in (ours, plain):
        x_ = x.clone().requires_grad_()
        y = layer(x_)
        gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        y.backward(gradient.to(y.dtype))
        out.append([y.detach(), x_.grad, *(p.grad for p in layer.parameters())])
    return zip(*out, strict=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(100,), (8, 20), (2, 3, 20)])
def test_values_and_derivatives_are_those_of_pytorch(way, shape, bias):
    x = torch.randn(*shape, 256, generator=torch.Generator().manual_seed(2))
    assert x.numel() * 192 >= SMALLEST
    for mine, expected in both(*pair(bias=bias), x):
        assert mine.shape == expected.shape
        assert (mine - expected).abs().max() <= 2e-6 * expected.abs().max()


@needs_onednn
def test_large_products_go_another_way_and_small_ones_do_not(monkeypatch):
    monkeypatch.setattr(mae.linear, "use_onednn", True)
    ours, _ = pair()
    grad_fns = {n: type(ours(torch.randn(n, 256)).grad_fn).__name__ for n in (1, 100)}
    assert "Addmm" in grad_fns[1] and "Addmm" not in grad_fns[100]
    assert "Addmm" in type(ours.double()(torch.randn(100, 256, dtype=torch.double)).grad_fn).__name__


def test_lower_precision_stays_pytorchs(way):
    ours, plain = pair()
    x = torch.randn(100, 256)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        assert torch.equal(ours(x), plain(x))


def test_what_is_not_laid_out_in_a_row_is_multiplied_right(way):
    ours, plain = pair()
    x = torch.randn(256, 4, 50).transpose(0, 2)  # (50, 4, 256)
    assert torch.allclose(ours(x), plain(x), rtol=1e-5, atol=1e-4)
    expanded = torch.randn(1, 256).expand(200, -1)
    assert torch.allclose(ours(expanded), plain(expanded), rtol=1e-5, atol=1e-4)


def test_only_what_is_asked_for_is_derived(way):
    ours, _ = pair()
    ours.weight.requires_grad_(False)
    x = torch.randn(100, 256)
    ours(x).sum().backward()
    assert ours.weight.grad is None and ours.bias.grad.tolist() == [100.0] * 192
    with torch.inference_mode():
        assert not ours(x).requires_grad


def test_transforms_and_forward_mode_are_pytorchs(way):
    ours, plain = pair()
    x = torch.randn(3, 100, 256, generator=torch.Generator().manual_seed(4))

    def forward_mode(layer):
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x))).tangent

    for transform in (
        forward_mode,
        lambda layer: torch.func.jvp(layer, (x,), (x,))[1],
        lambda layer: torch.func.grad(lambda x: layer(x).square().sum())(x),
        lambda layer: torch.func.vmap(layer)(x),
    ):
        assert torch.equal(transform(ours), transform(plain))


def test_one_token_alone(way, monkeypatch):
    monkeypatch.setattr(mae.linear, "SMALLEST", 0)
    for mine, expected in both(*pair(), torch.ones(256)):
        assert torch.allclose(mine, expected, rtol=1e-5, atol=1e-4)


def test_the_same_product_comes_out_twice(way):
    ours, _ = pair()
    x = torch.randn(300, 256, generator=torch.Generator().manual_seed(3))
    first, second = (list(both(ours_, ours_, x)) for ours_ in (copy.deepcopy(ours), copy.deepcopy(ours)))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))


def test_its_cost_is_counted(way):
    ours, plain = pair()
    x, costs = torch.randn(100, 256, requires_grad=True), []
    for layer in (ours, plain):
        with FlopCounterMode(display=False) as counter:
            layer(x).sum().backward()
        costs.append(counter.get_total_flops())
    assert costs == [3 * 2 * 100 * 256 * 192] * 2


@needs_onednn
def test_it_compiles(monkeypatch):
    monkeypatch.setattr(mae.linear, "use_onednn", True)
    ours, plain = pair()
    ours.compile(backend="aot_eager", fullgraph=True)
    for mine, expected in both(ours, plain, torch.randn(100, 256)):
        assert (mine - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_any_model_is_accelerated_in_place():
    class Mine(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(256, 192), nn.ReLU(), nn.Sequential(Mine(192, 10)))
    x, weights = torch.randn(100, 256), [id(p) for p in model.parameters()]
    before = model(x)
    assert mae.linear.accelerate(model) is model
    assert [type(m).__name__ for m in model.modules()] == ["Sequential", "Linear", "ReLU", "Sequential", "Mine"]
    assert isinstance(model[0], Linear) and [id(p) for p in model.parameters()] == weights
    assert torch.allclose(model(x), before, rtol=1e-5, atol=1e-5)
