"""Attention in bfloat16 on a CPU is PyTorch's but for rounding, and all other attention is PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

import mae.attention
from mae import patchify, random_mask
from mae.attention import LONGEST, attention
from mae.data import load_digits
from mae.model import Attention
from mae.weights import load_pretrained


def tokens(asking, answering, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(0)
    numbers = (asking, answering, answering)
    return [torch.randn(2, n, 3, 16, generator=generator).transpose(1, 2).to(dtype) for n in numbers]


def run(function, qkv, dtype):
    """The output and three gradients, for the same gradient of the output."""
    leaves = [t.detach().to(dtype).requires_grad_() for t in qkv]
    out = function(*leaves)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype))
    return [out.detach(), *(t.grad for t in leaves)]


@pytest.mark.parametrize(("asking", "answering"), [(30, 30), (20, 30), (1, 30), (30, LONGEST)])
def test_values_and_derivatives_are_those_of_pytorch(asking, answering):
    qkv = tokens(asking, answering)
    mine = run(attention, qkv, torch.bfloat16)
    exact = run(F.scaled_dot_product_attention, qkv, torch.float64)
    for a, b in zip(mine, exact, strict=True):
        assert a.shape == b.shape and a.dtype == torch.bfloat16
        assert (a - b).norm() <= 0.02 * b.norm()


def test_a_model_loses_hardly_more_precision_than_with_pytorchs(monkeypatch):
    model, patches = load_pretrained("digits"), patchify(load_digits("test").images[:64], 4)
    mask = random_mask(64, 49, 0.75, generator=torch.Generator().manual_seed(0))

    def predict(bf16=True):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(patches, mask).float()

    exact, ours = predict(bf16=False), predict()
    monkeypatch.setattr(mae.attention, "LONGEST", 0)
    pytorchs = predict()
    ours, pytorchs = ((prediction - exact).norm() / exact.norm() for prediction in (ours, pytorchs))
    assert ours <= 1.5 * pytorchs and 0.001 < pytorchs < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("answering", [1, LONGEST, LONGEST + 1])
def test_only_short_sequences_in_bfloat16_hold_their_scores(dtype, answering):
    q, k, v = tokens(4, answering, dtype)
    assert torch.equal(attention(q, k, v), F.scaled_dot_product_attention(q, k, v)) == (
        dtype != torch.bfloat16 or answering != LONGEST
    )


def test_it_compiles():
    layer, x = Attention(32, 2), torch.randn(3, 20, 32)
    expected = layer(x)
    layer.compile(backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert (layer(x) - expected).norm() <= 0.02 * expected.norm()
