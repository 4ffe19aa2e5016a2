"""The model is the published one, looks at what is visible only, and says what it was not built for."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from mae.losses import masked_mse
from mae.masking import Mask, grid_mask, random_mask, take
from mae.model import (
    MAEConfig,
    MaskedAutoencoder,
    digits_config,
    sincos_positions,
    tiny_config,
    vit_config,
)

ODD = MAEConfig(  # neither square nor grey, and nothing equal that could be mixed up
    grid=(2, 3),
    patch_values=5 * 2 * 4,
    width=24,
    depth=2,
    heads=3,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
)


@pytest.fixture
def odd(seeded):
    """An untrained model of odd sizes in double precision, its biases and norms made to matter."""
    generator = seeded(0)
    model = MaskedAutoencoder(ODD, generator=generator).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def patches(seeded):
    return torch.randn(3, 6, 40, generator=seeded(1), dtype=torch.float64)


@pytest.fixture
def mask(seeded):
    return random_mask(3, 6, 0.6, generator=seeded(2))


# The published architecture


def reference(weights, config, patches, visible, hidden):
    """Predictions for the hidden patches of one example, after the paper and with nothing but sums and products."""

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdim=True)
        return x / ((x**2).mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(x):
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))

    def attention(x, name, heads):
        q, k, v = linear(x, f"{name}.qkv").chunk(3, dim=-1)
        size = q.shape[-1] // heads
        out = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = (q[:, part] @ k[:, part].T / size**0.5).exp()
            out.append(scores / scores.sum(-1, keepdim=True) @ v[:, part])
        return linear(torch.cat(out, dim=-1), f"{name}.proj")

    def transformer(x, name, depth, heads):
        for i in range(depth):
            x = x + attention(norm(x, f"{name}.{i}.norm1"), f"{name}.{i}.attn", heads)
            x = x + linear(gelu(linear(norm(x, f"{name}.{i}.norm2"), f"{name}.{i}.mlp.fc1")), f"{name}.{i}.mlp.fc2")
        return x

    x = linear(patches, "patch_embed") + sincos_positions(config.grid, config.width)
    x = torch.cat([weights["cls_token"][0], x[visible]])
    x = norm(transformer(x, "blocks", config.depth, config.heads), "norm")
    x = linear(x, "decoder_embed")
    full = weights["mask_token"][0].repeat(config.num_patches, 1)
    full[visible] = x[1:]
    full = full + sincos_positions(config.grid, config.decoder_width)
    x = transformer(torch.cat([x[:1], full]), "decoder_blocks", config.decoder_depth, config.decoder_heads)
    return linear(norm(x, "decoder_norm"), "decoder_pred")[1:][hidden]


def test_model_agrees_with_a_slow_reference(odd, patches, mask):
    prediction = odd(patches, mask)
    assert prediction.shape == (3, mask.hidden.shape[1], 40)
    for b in range(3):
        expected = reference(odd.state_dict(), ODD, patches[b], mask.visible[b], mask.hidden[b])
        assert torch.allclose(prediction[b], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "total", "millions", "tensors"),
    [("base", 111_907_840, 111.9, 254), ("large", 329_541_888, 329.5, 398), ("huge", 657_074_508, 657.1, 494)],
)
def test_published_models_have_the_published_size(size, total, millions, tensors):
    config = vit_config(size)
    with torch.device("meta"):
        model = MaskedAutoencoder(config)
    # The published counts include two frozen tables of positions, class token and all; here they are no weights.
    tables = (config.num_patches + 1) * (config.width + config.decoder_width)
    assert sum(p.numel() for p in model.parameters()) == total - tables
    assert round(total / 1e6, 1) == millions
    assert len(model.state_dict()) == tensors - 2 == 12 + 12 * (config.depth + config.decoder_depth)


def test_names_are_the_published_ones(tiny):
    blocks = [
        f"{part}.0.{layer}.{kind}"
        for part in ("blocks", "decoder_blocks")
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    ]
    layers = ("patch_embed", "norm", "decoder_embed", "decoder_norm", "decoder_pred")
    ends = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert set(tiny.state_dict()) == {"cls_token", "mask_token", *blocks, *ends}


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="expected one of base, large, huge, got 'small'"):
        vit_config("small")


def test_digits_model_fits_its_budget():
    config = digits_config()
    assert config.grid == (28 // 4, 28 // 4) and config.patch_values == 4 * 4
    assert sum(p.numel() for p in MaskedAutoencoder(config).parameters()) <= 1_500_000


@pytest.mark.parametrize(("grid", "width"), [((3, 5), 12), ((1, 4), 4), ((7, 7), 64)])
def test_positions_follow_the_formula_column_first(grid, width):
    table = sincos_positions(grid, width)
    assert table.shape == (grid[0] * grid[1], width) and table.dtype == torch.float32
    quarter = width // 4
    for n, row_of_table in enumerate(table.tolist()):
        row, column = n // grid[1], n % grid[1]
        for i in range(quarter):
            angles = [torch.tensor(c / 10000 ** (i / quarter), dtype=torch.float64) for c in (column, row)]
            expected = [f(angle).item() for angle in angles for f in (torch.sin, torch.cos)]
            assert row_of_table[i::quarter] == pytest.approx(expected, abs=1e-7)
    assert len(table.unique(dim=0)) == len(table)


def test_positions_of_odd_widths_are_refused():
    with pytest.raises(ValueError, match="expected a width divisible by 4, got 6"):
        sincos_positions((2, 2), 6)


def test_initial_weights_are_xavier_and_small_tokens(seeded):
    model = MaskedAutoencoder(replace(digits_config(), width=256, decoder_width=128), generator=seeded(0))
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            bound = (6 / (module.in_features + module.out_features)) ** 0.5
            assert 0.95 * bound < module.weight.abs().max() <= bound
            assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            assert not module.bias.any()
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == 1e-6
            assert (module.weight == 1).all() and not module.bias.any()
    for token in (model.cls_token, model.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.25)


def test_a_generator_fixes_the_weights(seeded):
    models = []
    for seed in (3, 3, 4):
        torch.rand(1)  # the global generator is elsewhere each time
        models.append(MaskedAutoencoder(tiny_config(), generator=seeded(seed)).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["patch_embed.weight"], models[2]["patch_embed.weight"])


# What it looks at


@pytest.mark.parametrize("junk", [0.0, 1e6, float("nan"), float("inf")])
def test_hidden_pixels_leave_the_encoder_bit_identical(odd, patches, mask, junk):
    changed = patches.clone()
    changed[mask.is_hidden] = junk
    assert torch.equal(odd.encode(changed, mask), odd.encode(patches, mask))
    assert torch.equal(odd(changed, mask, predict="all"), odd(patches, mask, predict="all"))


def test_each_visible_patch_matters(odd, patches, mask):
    before = odd(patches, mask)
    for k in range(mask.visible.shape[1]):
        changed = patches.clone()
        changed[torch.arange(3), mask.visible[:, k]] += 1
        assert ((odd(changed, mask) - before).abs().amax(dim=(1, 2)) > 1e-6).all()


def test_examples_do_not_see_one_another(odd, patches, mask):
    alone = torch.cat([odd(patches[b : b + 1], mask[b : b + 1]) for b in range(3)])
    assert torch.allclose(odd(patches, mask), alone, rtol=1e-12, atol=1e-12)


def test_encoder_tokens_follow_the_order_of_the_mask(odd, patches, mask):
    assert odd.encode(patches, mask).shape == (3, 1 + mask.visible.shape[1], 24)
    assert odd.encode(patches).shape == (3, 1 + 6, 24)
    turned = Mask(mask.visible.flip(1), mask.hidden.flip(1))
    latent, other = odd.encode(patches, mask), odd.encode(patches, turned)
    assert torch.allclose(other[:, 1:].flip(1), latent[:, 1:], rtol=1e-10)
    assert torch.allclose(other[:, 0], latent[:, 0], rtol=1e-10)
    assert torch.allclose(odd(patches, turned).flip(1), odd(patches, mask), rtol=1e-9)


def test_predictions_for_hidden_visible_and_all_are_the_same_ones(odd, patches, mask):
    everything = odd(patches, mask, predict="all")
    assert everything.shape == (3, 6, 40)
    for which in ("hidden", "visible"):
        assert torch.allclose(odd(patches, mask, predict=which), take(everything, mask.indices(which)), rtol=1e-12)
    with pytest.raises(ValueError, match='expected "hidden", "visible" or "all", got \'masked\''):
        odd(patches, mask, predict="masked")


def test_predictions_at_two_hidden_positions_differ_before_training(seeded):
    model = MaskedAutoencoder(digits_config(), generator=seeded(0)).eval()
    patches = torch.rand(2, 49, 16, generator=seeded(1))
    mask = random_mask(2, 49, 0.75, generator=seeded(2))
    with torch.no_grad():
        prediction = model(patches, mask)
        distance = torch.cdist(prediction, prediction)[:, *torch.triu_indices(37, 37, offset=1)]
        assert distance.min() > 1e-3
        # Only the positions tell hidden patches apart.
        model.decoder_positions.zero_()
        prediction = model(patches, mask)
        assert torch.allclose(prediction, prediction[:, :1].expand_as(prediction), atol=1e-5)


def test_permuting_patches_with_their_positions_permutes_the_output(odd, patches, mask, seeded):
    order = torch.randperm(6, generator=seeded(3))
    back = order.argsort()
    tokens, everything = odd.encode(patches), odd(patches, mask, predict="all")
    moved = Mask(back[mask.visible], back[mask.hidden])  # patch n now stands at back[n]
    without = odd(patches[:, order], moved, predict="all")
    odd.positions, odd.decoder_positions = odd.positions[order], odd.decoder_positions[order]
    assert torch.allclose(odd.encode(patches[:, order])[:, 1:], tokens[:, 1:][:, order], rtol=1e-9, atol=1e-12)
    assert torch.allclose(odd.encode(patches[:, order])[:, 0], tokens[:, 0], rtol=1e-9, atol=1e-12)
    together = odd(patches[:, order], moved, predict="all")
    assert torch.allclose(together, everything[:, order], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(without, everything[:, order], atol=1e-3)  # without their positions, it does not


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    channels=st.integers(1, 5),
    batch=st.integers(1, 3),
    data=st.data(),
)
def test_every_grid_channel_count_and_mask_is_served(rows, columns, channels, batch, data):
    N = rows * columns
    if N == 1:
        return
    hidden = data.draw(st.integers(1, N - 1))
    generator = torch.Generator().manual_seed(0)
    config = replace(tiny_config(), grid=(rows, columns), patch_values=2 * 3 * channels)
    model = MaskedAutoencoder(config, generator=generator)
    mask = random_mask(batch, N, hidden / N, generator=generator)
    prediction = model(torch.rand(batch, N, 6 * channels, generator=generator), mask)
    assert mask.hidden.shape[1] == hidden
    assert prediction.shape == (batch, hidden, 6 * channels)
    assert prediction.isfinite().all()


# Gradients


def test_gradients_agree_with_finite_differences(seeded):
    model = MaskedAutoencoder(tiny_config(), generator=seeded(0)).double()
    patches = torch.randn(2, 4, 4, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    mask = random_mask(2, 4, 0.5, generator=seeded(2))
    assert torch.autograd.gradcheck(lambda x: model(x, mask), patches)

    names, values = zip(*model.named_parameters(), strict=True)
    target = patches.detach()

    def loss(*parameters):
        prediction = functional_call(model, dict(zip(names, parameters, strict=True)), (target, mask))
        return masked_mse(prediction, target, mask, normalized=True)

    assert torch.autograd.gradcheck(loss, values, fast_mode=True)  # along a random direction in each tensor


def test_every_weight_gets_a_gradient_and_hidden_pixels_get_none(odd, patches, mask):
    patches.requires_grad_()
    odd(patches, mask).square().sum().backward()
    assert all(parameter.grad.any() for parameter in odd.parameters())
    assert not patches.grad[mask.is_hidden].any()
    assert (patches.grad[~mask.is_hidden] != 0).all()


def test_half_precision_training_runs(tiny, seeded):
    patches = torch.rand(3, 4, 4, generator=seeded(1))
    mask = random_mask(3, 4, 0.5, generator=seeded(2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = masked_mse(tiny(patches, mask), patches, mask)
    loss.backward()
    assert loss.item() == pytest.approx(masked_mse(tiny(patches, mask), patches, mask).item(), rel=0.05)
    assert tiny.patch_embed.weight.grad.isfinite().all()


def test_inputs_are_left_alone(odd, patches, mask):
    before = patches.clone(), mask.visible.clone(), mask.hidden.clone()
    odd(patches, mask, predict="all")
    assert all(torch.equal(a, b) for a, b in zip(before, (patches, mask.visible, mask.hidden), strict=True))


# What it refuses


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        (torch.zeros(4, 4), r"expected patches \(B, 4, 4\) for this model, got \(4, 4\): .*grid of 2×2 patches of 4"),
        (torch.zeros(2, 5, 4), r"expected patches \(B, 4, 4\) for this model, got \(2, 5, 4\)"),
        (torch.zeros(2, 4, 12), r"expected patches \(B, 4, 4\) for this model, got \(2, 4, 12\)"),
        (torch.zeros(2, 1, 4, 4), r"expected patches \(B, 4, 4\) for this model, got \(2, 1, 4, 4\)"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), r"expected floating-point patches, got torch\.uint8"),
        (torch.zeros(2, 4, 4).double(), r"expected patches of the model's torch\.float32, got torch\.float64"),
        (torch.zeros(2, 4, 4).half(), r"expected patches of the model's torch\.float32, got torch\.float16"),
    ],
)
def test_patches_of_another_kind_are_refused(tiny, patches, message):
    mask = grid_mask(2, (2, 2))
    for call in (lambda: tiny(patches, mask), lambda: tiny.encode(patches)):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(("mask", "got"), [(grid_mask(3, (2, 2)), "3 of 4"), (grid_mask(2, (2, 3)), "2 of 6")])
def test_masks_of_another_batch_are_refused(tiny, mask, got):
    with pytest.raises(ValueError, match=f"expected a mask for 2 examples of 4 patches, got one for {got}"):
        tiny(torch.zeros(2, 4, 4), mask)


@pytest.mark.parametrize("shape", [(2, 3, 8), (3, 2, 8), (2, 2, 4), (2, 2), (2, 5, 8)])
def test_latents_of_another_mask_are_refused(tiny, shape):
    with pytest.raises(ValueError) as error:
        tiny.decode(torch.zeros(shape), grid_mask(2, (2, 2)))
    assert str(error.value) == f"expected a latent (2, 2, 8) for this mask, got {shape}"


def test_latents_without_a_mask_hold_every_patch(tiny):
    assert tiny.decode(torch.zeros(2, 5, 8)).shape == (2, 4, 8)
    with pytest.raises(ValueError, match=r"expected a latent \(2, 5, 8\) for this mask, got \(2, 4, 8\)"):
        tiny.decode(torch.zeros(2, 4, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 6}, "width must be divisible by 4 and by its 2 heads, got 6"),
        ({"heads": 3}, "width must be divisible by 4 and by its 3 heads, got 8"),
        ({"decoder_heads": 5}, "decoder_width must be divisible by 4 and by its 5 heads, got 8"),
        ({"grid": (0, 2)}, r"expected grid of at least 1, got \(0, 2\)"),
        ({"grid": (4,)}, r"expected a grid \(rows, columns\), got \(4,\)"),
        ({"grid": 7}, r"expected a grid \(rows, columns\), got 7"),
        *[
            ({name: 0}, f"expected {name} of at least 1, got 0")
            for name in ("patch_values", "width", "depth", "heads", "decoder_width", "decoder_depth", "mlp_ratio")
        ],
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny_config(), **change)
