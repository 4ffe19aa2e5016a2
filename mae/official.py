"""The published weights: how to get them, their files read and written, pictures in and out."""

import argparse
import math
import os
import pickle
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from mae.download import download, md5_sum
from mae.images import MEAN, STD
from mae.masking import Mask
from mae.model import Encoder, MAEConfig, MaskedAutoencoder, sincos_positions, vit_config
from mae.patches import patchify, unpatchify

BASE = "https://dl.fbaipublicfiles.com/mae"
# Name and variant → address, and the first digits of the MD5 sum where they are published.
FILES = {
    ("vit_base", "encoder"): (f"{BASE}/pretrain/mae_pretrain_vit_base.pth", "8cad7c"),
    ("vit_large", "encoder"): (f"{BASE}/pretrain/mae_pretrain_vit_large.pth", "b8b06e"),
    ("vit_huge", "encoder"): (f"{BASE}/pretrain/mae_pretrain_vit_huge.pth", "9bdbb0"),
    ("vit_base", "full"): (f"{BASE}/pretrain/mae_pretrain_vit_base_full.pth", None),
    ("vit_large", "full"): (f"{BASE}/pretrain/mae_pretrain_vit_large_full.pth", None),
    ("vit_huge", "full"): (f"{BASE}/pretrain/mae_pretrain_vit_huge_full.pth", None),
    ("vit_base", "visualize"): (f"{BASE}/visualize/mae_visualize_vit_base.pth", None),
    ("vit_large", "visualize"): (f"{BASE}/visualize/mae_visualize_vit_large.pth", None),
    ("vit_huge", "visualize"): (f"{BASE}/visualize/mae_visualize_vit_huge.pth", None),
    ("vit_large", "ganloss"): (f"{BASE}/visualize/mae_visualize_vit_large_ganloss.pth", None),
}
# The files do not tell the number of heads; these are the published models'.
HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 32): 16}  # width and depth of the encoder
DECODER_HEADS = {(512, 8): 16}


# Names and layouts


def to_official(model: MaskedAutoencoder, channels: int = 3) -> dict[str, Tensor]:
    """A model's weights under the published names, in the published order.

    Two things differ from ours: the patch embedding is a convolution, and the fixed positions are among the weights,
    with a row of zeros for the class token.

    Parameters
    ----------
    model : MaskedAutoencoder
        With square patches.
    channels : int
        C; the patches' side follows from it.

    Raises
    ------
    ValueError
        If the patches can't be square ones of so many channels.
    """
    state = dict(model.state_dict())
    D, P = model.config.width, model.config.patch_values
    side = math.isqrt(P // channels)
    if side * side * channels != P:
        raise ValueError(f"expected square patches of {channels} channels, got {P} values: say how many channels")
    first = {"cls_token": state["cls_token"], "pos_embed": _table(model.positions)}
    if "mask_token" in state:
        first |= {"mask_token": state["mask_token"], "decoder_pos_embed": _table(model.decoder_positions)}
    weight = state.pop("patch_embed.weight").view(D, side, side, channels).permute(0, 3, 1, 2)  # (D, C, p, p)
    first |= {"patch_embed.proj.weight": weight.contiguous(), "patch_embed.proj.bias": state.pop("patch_embed.bias")}
    return first | state


def _table(positions: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(positions[:1]), positions])[None]  # (1, 1 + N, D)


def from_official(
    weights: dict[str, Tensor],
    *,
    heads: int | None = None,
    decoder_heads: int | None = None,
    grid: tuple[int, int] | None = None,
) -> MaskedAutoencoder:
    """A model with the given weights, in single precision; its sizes follow from their shapes.

    Parameters
    ----------
    weights : dict of str to Tensor
        Under the published names; of a whole model, or of an encoder alone.
    heads, decoder_heads : int, optional
        Shapes don't tell them. Needed unless width and depth are those of a published model.
    grid : (int, int), optional
        Rows and columns of patches, if not square.

    Returns
    -------
    MaskedAutoencoder
        An `Encoder` if there is no decoder among the weights.

    Raises
    ------
    ValueError
        If a tensor is missing, unexpected or of another shape; or if the positions are not the fixed ones.
    """
    if any(name.startswith(("vit.", "embeddings.")) for name in weights):
        raise ValueError("these are Hugging Face's names of the weights: read them with mae.hugging_face")
    config = _config(weights, heads, decoder_heads, grid)
    kind = MaskedAutoencoder if "decoder_embed.weight" in weights else Encoder
    with torch.device("meta"):  # shapes without memory
        model = kind(config)
    _compare(weights, to_official(model, weights["patch_embed.proj.weight"].shape[1]))
    model.to_empty(device="cpu")

    state = dict(weights)
    for name in ("positions", "decoder_positions")[: 1 if kind is Encoder else 2]:
        buffer = getattr(model, name)
        buffer.copy_(_checked(state.pop(name.replace("positions", "pos_embed")), config.grid))
    state["patch_embed.weight"] = state.pop("patch_embed.proj.weight").permute(0, 2, 3, 1).flatten(1)  # (D, P)
    state["patch_embed.bias"] = state.pop("patch_embed.proj.bias")
    model.load_state_dict(state)
    return model.eval()


def _config(weights: dict[str, Tensor], heads, decoder_heads, grid) -> MAEConfig:
    def shape(name: str, ndim: int) -> torch.Size:
        if name not in weights or weights[name].ndim != ndim:
            got = f"its shape is {tuple(weights[name].shape)}" if name in weights else "it is missing"
            raise ValueError(
                f"expected a tensor {name} with {ndim} axes, {got}: these are not the weights of a published masked "
                f"autoencoder under their own names"
            )
        return weights[name].shape

    def count(blocks: str) -> int:
        return len({name.split(".")[1] for name in weights if name.startswith(f"{blocks}.")})

    D, C, p, q = shape("patch_embed.proj.weight", 4)
    if p != q:
        raise ValueError(f"expected square patches, got patch_embed.proj.weight of {p}×{q} pixels")
    N = shape("pos_embed", 3)[1] - 1
    depth, decoder_width, decoder_depth = count("blocks"), 512, 8
    if any(name.startswith(("decoder", "mask_token")) for name in weights):
        decoder_width, decoder_depth = shape("decoder_embed.weight", 2)[0], count("decoder_blocks")
    else:
        decoder_heads = 16
    heads = heads or HEADS.get((D, depth))
    decoder_heads = decoder_heads or DECODER_HEADS.get((decoder_width, decoder_depth))
    if heads is None or decoder_heads is None:
        raise ValueError(
            f"the weights do not tell the number of attention heads, and width and depth ({D}, {depth}; decoder "
            f"{decoder_width}, {decoder_depth}) are not those of a published model: give heads= and decoder_heads="
        )
    grid = grid or (math.isqrt(N), math.isqrt(N))
    if grid[0] * grid[1] != N:
        raise ValueError(f"expected pos_embed for {grid[0]}×{grid[1]} patches, got {N}: give grid=(rows, columns)")
    return MAEConfig(
        grid=grid,
        patch_values=C * p * p,
        width=D,
        depth=depth,
        heads=heads,
        decoder_width=decoder_width,
        decoder_depth=decoder_depth,
        decoder_heads=decoder_heads,
        mlp_ratio=shape("blocks.0.mlp.fc1.weight", 2)[0] // D,
    )


def _compare(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    found = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "of another shape": shapes,
    }
    if any(found.values()):
        faults = "; ".join(f"{what}: {', '.join(names)}" for what, names in found.items() if names)
        raise ValueError(
            f"these are not exactly the weights of a published masked autoencoder ({faults}): download or convert "
            f"them again, and leave out what does not belong to it (a classifier's head, an optimiser's state)"
        )


def _checked(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """The positions of the patches, if they are the fixed ones but for rounding."""
    expected = sincos_positions(grid, table.shape[2])
    if not table.any():
        raise ValueError(
            "the table of positions is all zero, so a decoder can't tell one hidden patch from another: versions of "
            "transformers from 4.52 leave it so in a model made from scratch. Set it before training, and save again"
        )
    difference = max(table[0, 0].abs().max().item(), (table[0, 1:] - expected).abs().max().item())
    if not difference <= max(1e-5, torch.finfo(table.dtype).eps):
        raise ValueError(
            f"the table of positions differs by {difference:.2g} from the fixed sine-cosine positions of a "
            f"{grid[0]}×{grid[1]} grid, a class token's zeros in front: learned or interpolated positions can't be read"
        )
    return table[0, 1:]


# Files


def read_official(path: Path | str, *, normalized: bool | None = None, **sizes) -> MaskedAutoencoder:
    """Read a checkpoint of the published code; no code in it is run.

    Parameters
    ----------
    path : Path or str
        ``{"model": weights}``; what else it holds (an optimiser, the settings of the run) is left aside.
    normalized : bool, optional
        Whether the model predicts normalised pixels. Without it, the settings in the file say, or else it is taken
        to predict pixels.
    **sizes
        ``heads``, ``decoder_heads`` and ``grid``, as for `from_official`.

    Returns
    -------
    MaskedAutoencoder
        With an attribute ``normalized``. An `Encoder` if there is no decoder in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a checkpoint.
    """
    checkpoint = unpickle(Path(path))
    if not isinstance(checkpoint, dict) or not is_weights(checkpoint.get("model")):
        keys = ", ".join(map(str, list(checkpoint)[:5])) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise ValueError(f'expected {path} to hold {{"model": weights}}, got {keys or "nothing"}: is it another file?')
    try:
        model = from_official(checkpoint["model"], **sizes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    stored = getattr(checkpoint.get("args"), "norm_pix_loss", False)
    model.normalized = bool(stored if normalized is None else normalized)
    return model


def write_official(model: MaskedAutoencoder, path: Path | str, channels: int = 3) -> None:
    """Write a checkpoint that the published code reads: ``{"model": weights}``, under its names.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    model : MaskedAutoencoder
        With square patches.
    path : Path or str
        Usually ending in .pth.
    channels : int
        C.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    weights = {name: tensor.cpu() for name, tensor in to_official(model, channels).items()}
    torch.save({"model": weights}, partial)
    os.replace(partial, path)


def is_weights(thing) -> bool:
    """Whether it is a dictionary of tensors, not an empty one.

    Parameters
    ----------
    thing : object
    """
    return isinstance(thing, dict) and bool(thing) and all(isinstance(value, Tensor) for value in thing.values())


def unpickle(path: Path):
    """What a file written by ``torch.save`` holds, if that is tensors and settings; no code in it is run.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # the published code stores its settings so
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and settings, which is not read since it could run code "
            f"({type(error).__name__}: {reason}): download it again"
        ) from error


# Getting them


def load_official(name: str, variant: str = "visualize", *, folder: Path | str | None = None) -> MaskedAutoencoder:
    """A published model of He et al. (2022), trained on ImageNet, for RGB pictures of 224×224 pixels.

    The first call downloads it, the next ones read the kept file. The weights' licence is CC BY-NC 4.0: not for
    commercial use. With the environment variable MAE_OFFLINE, nothing is ever downloaded.

    Parameters
    ----------
    name : {"vit_base", "vit_large", "vit_huge"}
    variant : {"visualize", "full", "encoder", "ganloss"}
        "visualize" predicts pixels: for pictures. "full" predicts normalised pixels, and has the better features.
        "encoder" is the encoder of "full" alone: for features and fine-tuning. "ganloss" predicts pixels, sharper
        ones; it exists for vit_large.
    folder : Path or str, optional
        Where files are kept; by default the user's cache.

    Returns
    -------
    MaskedAutoencoder
        With an attribute ``normalized``. The "encoder" is an `Encoder`.

    Raises
    ------
    ValueError
        If there is no such model, or its file is not the published one.
    ConnectionError
        If it can't be downloaded; the message says how to get it by hand.
    """
    if (name, variant) not in FILES:
        raise ValueError(
            f"there is no published {name!r}, {variant!r}: expected one of "
            f"{', '.join(f'{n} {v}' for n, v in sorted(FILES))}"
        )
    url, md5 = FILES[name, variant]
    path = Path(folder or user_cache_path("mae", appauthor=False)) / url.rsplit("/", 1)[1]
    if not path.is_file():
        download(url, path, md5)
    elif md5 and not md5_sum(path).startswith(md5):
        raise ValueError(f"{path} is not the published file (its MD5 sum does not begin with {md5}): delete it")
    model = read_official(path, normalized=variant in ("full", "encoder"))
    if isinstance(model, Encoder) != (variant == "encoder") or model.config != vit_config(name.removeprefix("vit_")):
        raise ValueError(f"{path} is of another model than {name}, {variant}: delete it")
    return model


# Pictures in, pictures out


def standardize(images: Tensor) -> Tensor:
    """RGB pictures as the published models take them: less ImageNet's mean, divided by its standard deviation.

    Parameters
    ----------
    images : Tensor, (B, 3, H, W), between 0 and 1

    Raises
    ------
    ValueError
        If they are not RGB, or not between 0 and 1.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"expected RGB pictures (B, 3, H, W), got {tuple(images.shape)}: repeat the channel of grey ones with "
            f"images.expand(-1, 3, -1, -1)"
        )
    if images.min() < 0 or images.max() > 1:
        raise ValueError(
            f"expected values between 0 and 1, got {images.min():.3g} to {images.max():.3g}: divide bytes by 255, and "
            f"do not standardise twice"
        )
    return (images - MEAN.to(images.device)) / STD.to(images.device)


def unstandardize(images: Tensor) -> Tensor:
    """The inverse of `standardize`; what is out of range stays so.

    Parameters
    ----------
    images : Tensor, (B, 3, H, W)
    """
    return images * STD.to(images.device) + MEAN.to(images.device)


@torch.inference_mode()
def rebuild(model: MaskedAutoencoder, images: Tensor, mask: Mask) -> Tensor:
    """RGB pictures whose hidden patches a published model has painted; visible ones stay as they are.

    Parameters
    ----------
    model : MaskedAutoencoder
        One that predicts pixels.
    images : Tensor, (B, 3, H, W), between 0 and 1
        Of the size that the model was trained on.
    mask : Mask

    Returns
    -------
    Tensor, (B, 3, H, W), between 0 and 1

    Raises
    ------
    ValueError
        If the model has no decoder, or predicts normalised pixels.
    """
    if getattr(model, "normalized", False) and not isinstance(model, Encoder):
        raise ValueError(
            "this model predicts normalised pixels: every patch with mean 0 and variance 1, so its brightness and "
            'contrast are not in the prediction. Take the variant "visualize", which predicts pixels, for pictures'
        )
    side = math.isqrt(model.config.patch_values // 3)
    patches = patchify(standardize(images), side)
    painted = patches.scatter(1, mask.hidden[:, :, None].expand(-1, -1, patches.shape[2]), model(patches, mask))
    return unstandardize(unpatchify(painted, side, images.shape[2:])).clamp(0, 1)
