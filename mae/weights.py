"""Save and load models without executing code (safetensors)."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mae.model import Encoder, MAEConfig, MaskedAutoencoder

PRETRAINED = Path(__file__).parent / "pretrained"


def checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of weights, in the order of their names; on whatever device they are.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Such as a model's ``state_dict()``.
    """
    digest = hashlib.sha256()
    for _, tensor in sorted(tensors.items()):
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def save_model(model: MaskedAutoencoder, path: Path | str, *, dtype: torch.dtype | None = None) -> None:
    """Write a model's weights and sizes to one file, and whether it predicts normalised pixels.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    model : MaskedAutoencoder
        Or an `Encoder`. It predicts pixels, unless its attribute ``normalized`` is true.
    path : Path or str
        Usually ending in .safetensors.
    dtype : torch.dtype, optional
        Store the weights in this type, such as torch.float16, to halve the file.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().to(dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    partial = path.with_name(path.name + ".partial")
    metadata = {
        "config": json.dumps(asdict(model.config)),
        "normalized": json.dumps(bool(getattr(model, "normalized", False))),
        "sha256": checksum(tensors),
    }
    save_file(tensors, partial, metadata=metadata)
    os.replace(partial, path)


def load_model(path: Path | str) -> MaskedAutoencoder:
    """Read a model written by `save_model`, in single precision, ready to evaluate.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    MaskedAutoencoder
        With an attribute ``normalized``; false if the file, an older one, doesn't say. An `Encoder` if there is no
        decoder in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a complete file of this kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: train some with `python -m mae pretrain digits --out {path}`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        with torch.random.fork_rng(devices=[]):  # new weights are drawn, and overwritten
            kind = MaskedAutoencoder if "decoder_embed.weight" in tensors else Encoder
            model = kind(MAEConfig(**json.loads(metadata["config"])))
        model.normalized = json.loads(metadata.get("normalized", "false"))
        model.load_state_dict(tensors)
        if metadata.get("sha256", checksum(tensors)) != checksum(tensors):
            raise ValueError(f"expected SHA-256 {metadata['sha256']}, got {checksum(tensors)}")
    except Exception as error:
        raise ValueError(
            f"{path} does not hold a masked autoencoder written by save_model, or is damaged "
            f"({type(error).__name__}: {error}): copy it again or train anew"
        ) from error
    return model.eval()


def load_pretrained(name: str) -> MaskedAutoencoder:
    """A model that comes with this package.

    Parameters
    ----------
    name : {"digits"}
        The 28×28 digits model; its recipe and scores are in the .json file beside its weights.

    Returns
    -------
    MaskedAutoencoder
        Takes patches ``patchify(images, 4)`` of digits between 0 and 1.
    """
    if name != "digits":
        raise ValueError(f'expected "digits", got {name!r}')
    return load_model(PRETRAINED / f"{name}.safetensors")
