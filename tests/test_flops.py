"""The formulas for cost agree with PyTorch's counter, to the operation."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae.flops import block_flops, model_flops
from mae.masking import random_mask
from mae.model import Block, MAEConfig, MaskedAutoencoder, digits_config, tiny_config, vit_config

# Nothing in it is equal to anything else, so that no two terms can be exchanged.
ODD = MAEConfig(
    grid=(3, 5),
    patch_values=7,
    width=24,
    depth=3,
    heads=2,
    decoder_width=20,
    decoder_depth=2,
    decoder_heads=5,
    mlp_ratio=3,
)


def counted(function, *args, **kwargs):
    """Operations that PyTorch counts; its fused attention on the CPU would go uncounted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function(*args, **kwargs)
    return counter.get_total_flops()


@pytest.mark.parametrize(("tokens", "width", "mlp_ratio"), [(1, 8, 1), (5, 8, 4), (13, 128, 4), (50, 64, 3)])
def test_block(tokens, width, mlp_ratio):
    block = Block(width, 2, mlp_ratio)
    assert counted(block, torch.zeros(1, tokens, width)) == block_flops(tokens, width, mlp_ratio)


@pytest.mark.parametrize("config", [tiny_config(), digits_config(), ODD], ids=["tiny", "digits", "odd"])
@pytest.mark.parametrize("ratio", [0.5, 0.75])
@pytest.mark.parametrize("predict", ["hidden", "visible", "all"])
def test_each_part(config, ratio, predict):
    N = config.num_patches
    model = MaskedAutoencoder(config, generator=torch.Generator().manual_seed(0))
    patches = torch.zeros(1, N, config.patch_values)
    mask = random_mask(1, N, ratio, generator=torch.Generator().manual_seed(0))
    index = mask.indices(predict)
    parts = model_flops(config, mask.visible.shape[1], index.shape[1])
    latent = model.encode(patches, mask)
    assert counted(model.embed, patches, mask) == parts["embed"]
    assert counted(model.encode, patches, mask) == parts["embed"] + parts["encoder"]
    assert counted(model.decode, latent, mask, index) == parts["decoder"]
    assert counted(model.predict, model.decode(latent, mask, index)) == parts["predict"]
    assert counted(model, patches, mask, predict=predict) == sum(parts.values())
    full = model_flops(config, mask.visible.shape[1], index.shape[1], full=True)
    assert counted(model.decode, latent, mask) == full["decoder"]
    assert {**full, "decoder": parts["decoder"]} == parts


def test_features_cost_no_decoder():
    model = MaskedAutoencoder(ODD, generator=torch.Generator().manual_seed(0))
    parts = model_flops(ODD, ODD.num_patches)
    assert counted(model.encode, torch.zeros(1, 15, 7)) == sum(parts.values())
    assert parts["decoder"] == parts["predict"] == 0


def test_mask_tokens_cost_what_the_paper_says():
    """He et al., 2022, table 1c: 3.3 times the operations when the encoder gets mask tokens (ViT-L, 75 %).

    They do not say which operations they count; ours come out at 3.25.
    """
    config = vit_config("large")
    dropped, tokens = (sum(model_flops(config, encoded, 147).values()) for encoded in (49, 196))
    assert tokens / dropped == pytest.approx(3.3, rel=0.02)


@pytest.mark.parametrize(("encoded", "predicted"), [(0, 1), (16, 1), (4, 16), (4, -1)])
def test_impossible_counts(encoded, predicted):
    with pytest.raises(ValueError, match=rf"1 to 15 encoded .* got {encoded} and {predicted}"):
        model_flops(ODD, encoded, predicted)
