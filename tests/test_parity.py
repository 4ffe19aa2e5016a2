"""Same weights, same mask: transformers' ViTMAEForPreTraining and this package compute the same.

Run as a program, it prints the table of largest differences: ``python tests/test_parity.py``.
"""

from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from mae.hugging_face import from_hugging_face, read_hugging_face
from mae.losses import masked_mse
from mae.masking import Mask
from mae.official import Encoder
from mae.patches import patchify

# Largest difference of two tensors, relative to the largest value of theirs. In single precision.
TOLERANCE = 1e-5
# Image, patch, width, depth, heads, MLP ratio; decoder's width, depth, heads, of any ratio; examples.
SIZES = {
    "small, 32/8": (32, 8, 48, 3, 4, 4, 32, 2, 2, 4),
    "two blocks, 224/16": (224, 16, 768, 2, 12, 4, 512, 1, 16, 2),
    "ViT-B, 224/16": (224, 16, 768, 12, 12, 4, 512, 8, 16, 1),
}
CASES = [(size, normalized) for size in SIZES for normalized in (False, True)]


def positions(side, width):
    """The published table, one number at a time; it repeats what the code computes, not how."""
    table = np.zeros((1 + side * side, width))
    for n in range(side * side):
        row, column = divmod(n, side)
        for i in range(width // 4):
            frequency = 1 / 10000 ** (i / (width / 4))
            for part, value in enumerate(
                (
                    np.sin(column * frequency),
                    np.cos(column * frequency),
                    np.sin(row * frequency),
                    np.cos(row * frequency),
                )
            ):
                table[1 + n, part * (width // 4) + i] = value
    return torch.from_numpy(table).float()[None]


def reference(size, normalized=False, seed=0):
    """transformers' model, every weight of it random and none at a value that could hide a mistake."""
    image, patch, width, depth, heads, ratio, decoder_width, decoder_depth, decoder_heads, _ = SIZES[size]
    theirs = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=image,
            patch_size=patch,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=ratio * width,
            decoder_hidden_size=decoder_width,
            decoder_num_hidden_layers=decoder_depth,
            decoder_num_attention_heads=decoder_heads,
            decoder_intermediate_size=ratio * decoder_width,
            layer_norm_eps=1e-6,  # as published; transformers' default is 1e-12
            norm_pix_loss=normalized,
        )
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.ndim == 1:  # a norm's weights around 1, biases around 0
                parameter.normal_(float("norm" in name and name.endswith("weight")), 0.1, generator=generator)
            elif parameter.requires_grad:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        theirs.vit.embeddings.position_embeddings.copy_(positions(image // patch, width))
        theirs.decoder.decoder_pos_embed.copy_(positions(image // patch, decoder_width))
    return theirs.eval()


def their_gradients(theirs):
    """Their gradients, by the name and in the layout of our parameters; written down apart from what is tested."""
    found = {}
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            name = name.removeprefix("vit.").removeprefix("embeddings.").removeprefix("decoder.")
            name = name.replace("decoder_layers.", "decoder_blocks.").replace("layernorm_before", "norm1")
            name = name.replace("layernorm_after", "norm2").replace("layernorm", "norm").replace("o_proj", "proj")
            name = name if name.startswith("decoder") else name.replace("layers.", "blocks.")
            found[name.replace("attention.", "attn.")] = parameter.grad
    weight = found.pop("patch_embeddings.projection.weight")  # (D, C, p, p)
    found["patch_embed.weight"] = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
    found["patch_embed.bias"] = found.pop("patch_embeddings.projection.bias")
    # Three tensors of theirs are one of ours. (A bias of the keys has no effect: alone, its gradient is rounding.)
    for q in [name for name in found if ".q_proj." in name]:
        parts = [found.pop(q.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        found[q.replace("q_proj", "qkv")] = torch.cat(parts)
    return found


def difference(ours, theirs):
    """The largest one, relative to the largest value of theirs."""
    assert ours.shape == theirs.shape and theirs.abs().max() > 0
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@cache
def compare(size, normalized):
    """Largest relative differences of latent, prediction, loss and each gradient, by name."""
    image, patch, *_, examples = SIZES[size]
    theirs = reference(size, normalized)
    heads = {"heads": theirs.config.num_attention_heads, "decoder_heads": theirs.config.decoder_num_attention_heads}
    ours = from_hugging_face(theirs.state_dict(), **heads)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(examples, 3, image, image, generator=generator)
    noise = torch.rand(examples, (image // patch) ** 2, generator=generator)

    shuffle = noise.argsort(dim=1)  # the lowest stay visible
    keep = int(noise.shape[1] * (1 - theirs.config.mask_ratio))
    mask = Mask(shuffle[:, :keep], shuffle[:, keep:])
    patches = patchify(images, patch)
    latent = ours.encode(patches, mask)
    everything = ours.predict(ours.decode(latent, mask))
    loss = masked_mse(ours(patches, mask), patches, mask, normalized=normalized)
    loss.backward()

    result = theirs(images, noise=noise)
    result.loss.backward()
    gradients = their_gradients(theirs)
    own = dict(ours.named_parameters())
    assert set(own) == set(gradients)
    assert torch.equal(result.mask.bool(), mask.is_hidden)
    return {
        "latent": difference(latent, theirs.vit(images, noise=noise).last_hidden_state),
        "prediction": difference(everything, result.logits),
        "loss": difference(loss, result.loss),
        "gradients": {name: difference(own[name].grad, gradients[name]) for name in own},
    }


@pytest.mark.parametrize(("size", "normalized"), CASES)
def test_latent_prediction_and_loss_agree(size, normalized):
    found = compare(size, normalized)
    assert max(found["latent"], found["prediction"], found["loss"]) < TOLERANCE


@pytest.mark.parametrize(("size", "normalized"), CASES)
def test_every_gradient_agrees(size, normalized):
    found = compare(size, normalized)["gradients"]
    depth, decoder_depth = SIZES[size][3], SIZES[size][7]
    assert len(found) == 12 + 12 * (depth + decoder_depth)  # all but the two fixed tables
    assert {name: value for name, value in found.items() if not value < TOLERANCE} == {}


# Files that transformers writes


@pytest.fixture
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def same_model(ours, theirs, images):
    """Whether both predict the same on one mask."""
    noise = torch.rand(len(images), 16, generator=torch.Generator().manual_seed(6))
    shuffle = noise.argsort(dim=1)
    mask = Mask(shuffle[:, :4], shuffle[:, 4:])
    with torch.no_grad():
        prediction = ours.predict(ours.decode(ours.encode(patchify(images, 8), mask), mask))
        return difference(prediction, theirs(images, noise=noise).logits) < TOLERANCE


def as_published(name):
    """A name in memory as it is in the published files, which versions 4 wrote."""
    for new, old in (
        ("vit.layers.", "vit.encoder.layer."),
        ("q_proj", "attention.query"),
        ("k_proj", "attention.key"),
        ("v_proj", "attention.value"),
        ("o_proj", "output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ):
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("normalized", [False, True])
def test_saved_folders_are_read(tmp_path, images, normalized):
    theirs = reference("small, 32/8", normalized)
    theirs.save_pretrained(tmp_path)
    ours = read_hugging_face(tmp_path)  # heads come from config.json
    assert same_model(ours, theirs, images) and ours.normalized is normalized
    assert same_model(read_hugging_face(tmp_path / "model.safetensors"), theirs, images)


def test_published_files_are_read(tmp_path, images):
    theirs = reference("small, 32/8")
    published = {as_published(name): tensor.clone() for name, tensor in theirs.state_dict().items()}
    assert "decoder.decoder_layers.1.attention.attention.query.weight" in published
    torch.save(published, tmp_path / "pytorch_model.bin")
    assert same_model(read_hugging_face(tmp_path, heads=4, decoder_heads=2), theirs, images)
    save_file(published, tmp_path / "other.safetensors")
    assert same_model(read_hugging_face(tmp_path / "other.safetensors", heads=4, decoder_heads=2), theirs, images)


def test_an_encoder_alone_is_read():
    theirs = reference("small, 32/8")
    ours = from_hugging_face(theirs.vit.state_dict(), heads=4)  # of the class ViTMAEModel: no prefix
    assert isinstance(ours, Encoder)
    assert torch.equal(ours.norm.weight, theirs.vit.layernorm.weight)


def test_zero_positions_are_refused():
    theirs = reference("small, 32/8")
    torch.nn.init.zeros_(theirs.decoder.decoder_pos_embed)
    with pytest.raises(ValueError, match="table of positions is all zero"):
        from_hugging_face(theirs.state_dict(), heads=4, decoder_heads=2)


def test_each_missing_or_unknown_tensor_is_refused():
    weights = reference("small, 32/8").state_dict()
    for name in weights:
        with pytest.raises(ValueError, match="missing|got only some"):
            from_hugging_face({key: weights[key] for key in weights if key != name}, heads=4, decoder_heads=2)
    with pytest.raises(ValueError, match="unexpected: classifier.weight"):
        from_hugging_face({**weights, "classifier.weight": torch.zeros(1)}, heads=4, decoder_heads=2)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither model.safetensors nor pytorch_model.bin"):
        read_hugging_face(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_hugging_face(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="is damaged"):
        read_hugging_face(tmp_path)
    torch.save({"model": 1}, tmp_path / "other.bin")
    with pytest.raises(ValueError, match="named tensors and nothing else"):
        read_hugging_face(tmp_path / "other.bin")


def table():
    """The largest differences, one row for each case."""
    rows = ["| model | target | latent | prediction | loss | gradients | the worst of them |"]
    rows.append("|:--|:--|--:|--:|--:|--:|:--|")
    for size, normalized in CASES:
        found = compare(size, normalized)
        worst = max(found["gradients"], key=found["gradients"].get)
        numbers = [found["latent"], found["prediction"], found["loss"], found["gradients"][worst]]
        target = "normalised pixels" if normalized else "pixels"
        rows.append(f"| {size} | {target} | {' | '.join(f'{number:.1e}' for number in numbers)} | {worst} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
