"""Weights of transformers' ``ViTMAEForPreTraining``, read without transformers."""

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mae.model import MaskedAutoencoder
from mae.official import from_official, is_weights, unpickle

# Hugging Face's names of a block's parts: as published, as in memory since version 5, and here.
RENAMED = [
    (r"^(vit\.)?(encoder\.layer|layers)\.", "blocks."),
    (r"^decoder\.decoder_(layers|encoder\.layer)\.", "decoder_blocks."),
    (r"attention\.(attention\.query|q_proj)\.", "attn.q."),
    (r"attention\.(attention\.key|k_proj)\.", "attn.k."),
    (r"attention\.(attention\.value|v_proj)\.", "attn.v."),
    (r"attention\.(output\.dense|o_proj)\.", "attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^(vit\.)?embeddings\.position_embeddings$", "pos_embed"),
    (r"^(vit\.)?embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(vit\.)?embeddings\.", ""),
    (r"^(vit\.)?layernorm\.", "norm."),
    (r"^decoder\.", ""),
]


def from_hugging_face(weights: dict[str, Tensor], **sizes) -> MaskedAutoencoder:
    """A model with the weights of transformers' ``ViTMAEForPreTraining``.

    Its layer norms use whatever epsilon its configuration says, 1e-12 by default; ours use the published 1e-6.

    Parameters
    ----------
    weights : dict of str to Tensor
        Under the names of published files, or of ``state_dict()`` in versions 4 and 5.
    **sizes
        ``heads``, ``decoder_heads`` and ``grid``, as for `from_official`.

    Returns
    -------
    MaskedAutoencoder

    Raises
    ------
    ValueError
        As `from_official`, with the published names.
    """
    renamed = {}
    for name, tensor in weights.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    for q in [name for name in renamed if ".attn.q." in name]:
        parts = [renamed.pop(q.replace(".q.", f".{part}."), None) for part in "qkv"]
        if any(part is None for part in parts):
            raise ValueError(f"expected queries, keys and values beside one another, got only some at {q}")
        renamed[q.replace(".q.", ".qkv.")] = torch.cat(parts)
    return from_official(renamed, **sizes)


def read_hugging_face(path: Path | str, **sizes) -> MaskedAutoencoder:
    """Read a model of Hugging Face's class ``ViTMAEForPreTraining``; neither transformers nor a network is needed.

    Parameters
    ----------
    path : Path or str
        A folder as ``save_pretrained`` writes it, or a file of weights (.safetensors, .bin).
    **sizes
        ``heads``, ``decoder_heads`` and ``grid``, as for `from_official`. A config.json beside the weights says them.

    Returns
    -------
    MaskedAutoencoder
        With an attribute ``normalized``, from the configuration.

    Raises
    ------
    FileNotFoundError
        If there are no weights.
    ValueError
        If they are not of this class.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        files = [path / name for name in ("model.safetensors", "pytorch_model.bin") if (path / name).is_file()]
        if not files:
            raise FileNotFoundError(f"there is neither model.safetensors nor pytorch_model.bin in {path}")
        path = files[0]
    settings = {}
    if (folder / "config.json").is_file():
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name, key in (("heads", "num_attention_heads"), ("decoder_heads", "decoder_num_attention_heads")):
        if key in settings:
            sizes.setdefault(name, settings[key])
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else unpickle(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): download it again") from error
    if not is_weights(weights):
        raise ValueError(f"expected {path} to hold named tensors and nothing else")
    try:
        model = from_hugging_face(weights, **sizes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model.normalized = bool(settings.get("norm_pix_loss", False))
    return model
