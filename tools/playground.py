"""Make what the playground loads: weights of the digits model at five ages, a few digits, a still picture.

``python tools/playground.py`` trains the shipped recipe again for its first 100 epochs (about ten minutes, resumable)
unless those scripts are there, and writes into ``book/_extra/playground``. A page opened from a folder may not fetch a
file, but it may load a script: so weights are JavaScript files that hold one long text.
"""

import base64
import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mae.data import load_digits
from mae.evaluate import reconstruct
from mae.masking import Mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify
from mae.plot import as_pictures, gallery
from mae.train import TrainConfig, pretrain
from mae.weights import PRETRAINED, load_pretrained

OUT = Path(__file__).resolve().parent.parent / "book" / "_extra" / "playground"
RECORD = json.loads((PRETRAINED / "digits.json").read_text(encoding="utf-8"))
RECIPE = TrainConfig(**RECORD["recipe"])
LAST = RECIPE.epochs  # the shipped model
STAGES = (0, 1, 10, 100, LAST)
# Bits of large maps, and of everything else. The shipped model's pixels may differ by a thousandth.
FINENESS = dict.fromkeys(STAGES, (9.0, 14)) | {LAST: (12.08, 16)}
# Measured, map by map: how much finer or coarser than the others it is to be, for the least error at a given size.
EXTRA_BITS = {"decoder": 2.5, "blocks.0.attn.qkv": -1.5, "blocks.1.attn.qkv": -1, "blocks.0.attn.proj": 2}
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)


def step_of(name: str, weight: Tensor, fineness: tuple[float, int]) -> float:
    """The distance of neighbouring values of a rounded tensor: finer where an error weighs more on the pixels."""
    if weight.ndim < 2 or weight.numel() < 10_000:  # a hundredth of all numbers: nearly free, so nearly exact
        return weight.abs().max().item() / 2 ** fineness[1] or 1.0
    extra = next((bits for part, bits in EXTRA_BITS.items() if name.startswith(part)), 0)
    return 2.0 ** -(fineness[0] + extra)


def second_moments(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """For each linear map, by the name of its weight: the sum of x·xᵀ over its inputs x on training digits."""
    moments, hooks = {}, []

    def watch(name: str, layer: nn.Linear):
        def add(_, inputs, __):
            x = inputs[0].flatten(0, -2).double()  # (B·T, I)
            moments[name] = moments.get(name, 0) + x.T @ x

        hooks.append(layer.register_forward_hook(add))

    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            watch(f"{name}.weight", layer)
    generator = torch.Generator().manual_seed(0)
    patches = patchify(load_digits("train").images[:600], 4)
    with torch.inference_mode():
        for part, ratio in zip(patches.split(100), RATIOS, strict=True):
            model(part, random_mask(len(part), part.shape[1], ratio, generator=generator), predict="all")
    for hook in hooks:
        hook.remove()
    return moments


def round_with_feedback(weight: Tensor, step: float, moment: Tensor) -> Tensor:
    """Whole multiples of a step whose map differs least on the inputs that occur.

    Column by column; what rounding does to the output is taken back, as far as possible, by the columns that follow.
    """
    rest = weight.double().clone()
    damped = moment + 1e-4 * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.double)
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)  # (I, I)
    whole = torch.zeros_like(rest)
    for i in range(rest.shape[1]):
        whole[:, i] = (rest[:, i] / step).round()
        error = (rest[:, i] - whole[:, i] * step) / upper[i, i]
        rest[:, i:] -= error[:, None] * upper[i, i:]
    return whole


def to_text(data: bytes) -> str:
    """Bytes as characters of 7 bits: what UTF-8 holds in one byte each.

    The five that may not stand in a text of JavaScript (NUL, line feed, carriage return, quote, backslash) are moved
    up by 128, to two bytes.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    codes = np.pad(bits, (0, -len(bits) % 7)).reshape(-1, 7) @ (1 << np.arange(7))
    return bytes(codes.astype(np.uint8)).decode("ascii").translate({ord(c): ord(c) + 128 for c in '\0\n\r"\\'})


def from_text(text: str, size: int) -> bytes:
    """The inverse of `to_text`."""
    codes = np.frombuffer(text.encode("latin-1"), np.uint8)
    return np.packbits(codes[:, None] >> np.arange(7) & 1, bitorder="little")[:size].tobytes()


def write_weights(model: MaskedAutoencoder, epoch: int, path: Path, fineness: tuple[float, int]) -> None:
    """Round a model's weights and write them as a script.

    Of a whole number q, the leading bits, q >> shift, are a byte; these bytes come first and are compressed. The low
    bits, shift of them, are noise that nothing compresses: they follow, packed.
    """
    moments = second_moments(model)
    tensors, coarse, fine = [], [], []
    for name, weight in model.state_dict().items():
        step = step_of(name, weight, fineness)
        if name in moments:
            whole = round_with_feedback(weight, step, moments[name])
        else:
            whole = (weight.double() / step).round()
        whole = whole.flatten().numpy().astype(np.int32)
        shift = max(3, int(np.abs(whole).max()).bit_length() - 7)
        coarse.append((whole >> shift).astype(np.int8).view(np.uint8))
        fine.append((whole[:, None] >> np.arange(shift) & 1).astype(np.uint8).ravel())
        tensors.append([name, list(weight.shape), step, shift])
    squeeze = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    data = squeeze.compress(np.concatenate([*coarse, np.packbits(np.concatenate(fine), bitorder="little")]).tobytes())
    data += squeeze.flush()
    c = model.config
    script = {"epoch": epoch, "heads": [c.heads, c.decoder_heads], "tensors": tensors, "size": len(data)}
    path.write_text(
        f"// The digits model {f'after {epoch} epochs' if epoch else 'before training'}, "
        "made by tools/playground.py; `unpack` in mae.js reads it.\n"
        f'(window.maeWeights ??= {{}})["{epoch}"] = {{\n'
        + "".join(f' "{key}": {json.dumps(value)},\n' for key, value in script.items())
        + f' "data": "{to_text(data)}"\n}};\n',
        encoding="utf-8",
        newline="\n",
    )


def read_weights(path: Path) -> MaskedAutoencoder:
    """The model that a script made by `write_weights` holds, ready to evaluate: what the page computes with."""
    text = path.read_bytes().decode("utf-8")
    script = json.loads(re.search(r"\] = (\{.*\});", text, re.S)[1], strict=False)  # control characters are meant
    data = np.frombuffer(zlib.decompress(from_text(script["data"], script["size"])), np.uint8)
    sizes = [int(np.prod(shape)) for _, shape, *_ in script["tensors"]]
    coarse, fine = data[: sum(sizes)].view(np.int8), np.unpackbits(data[sum(sizes) :], bitorder="little")
    weights = {}
    for size, (name, shape, step, shift) in zip(sizes, script["tensors"], strict=True):
        low = fine[: size * shift].reshape(size, shift) @ (1 << np.arange(shift))
        whole = (coarse[:size].astype(np.int32) << shift) + low
        coarse, fine = coarse[size:], fine[size * shift :]
        weights[name] = torch.from_numpy((whole * step).astype(np.float32)).view(shape)
    model = MaskedAutoencoder(MAEConfig(**RECORD["model"]))
    model.load_state_dict(weights)
    return model.eval()


def train_stage(epoch: int, checkpoint: Path) -> MaskedAutoencoder:
    """The digits model at an epoch of its recipe: the same first weights, order, masks and schedule."""
    model = MaskedAutoencoder(MAEConfig(**RECORD["model"]), generator=torch.Generator().manual_seed(RECIPE.seed))
    if epoch:
        images = load_digits("train").images
        log = pretrain(model, images, RECIPE, checkpoint=checkpoint, stop=epoch, name=f"to epoch {epoch}")
        if len(log) > epoch:
            raise ValueError(f"{checkpoint} is already at epoch {len(log)}, past {epoch}: delete it to start again")
    return model.eval()


def chosen_digits() -> Tensor:
    """Twelve digits that no model has met, (12, 1, 28, 28): of each class the first test digit, and two more."""
    test = load_digits("test")
    first = [int((test.labels == label).nonzero()[0]) for label in range(10)]
    more = [int((test.labels == label).nonzero()[1]) for label in (4, 8)]
    return test.images[first + more]


def write_digits(path: Path) -> None:
    """Write the twelve digits and the mean training digit, one byte a pixel, as a script."""

    def encode(images: Tensor) -> str:
        return base64.b64encode((images * 255).round().to(torch.uint8).numpy().tobytes()).decode()

    path.write_text(
        "// Made by tools/playground.py: twelve test digits, and the mean training digit. A byte a pixel.\n"
        f'window.maeDigits = {{\n "images": "{encode(chosen_digits())}",\n'
        f' "mean": "{encode(load_digits("train").images.mean(dim=0))}"\n}};\n',
        encoding="ascii",
        newline="\n",
    )


def draw_still(path: Path) -> None:
    """Draw the picture for readers without JavaScript: one digit, more and more of it revealed."""
    patches = patchify(chosen_digits()[8:9], 4)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(3))
    seen, rebuilt = [], []
    for visible in (3, 6, 12, 24, 36):
        is_hidden = torch.ones(1, 49, dtype=torch.bool)
        is_hidden[0, order[:visible]] = False
        mask = Mask.from_hidden(is_hidden)
        seen.append(as_pictures(patches, 4, 28, mask)[0])
        rebuilt.append(as_pictures(reconstruct(load_pretrained("digits"), patches, mask), 4, 28)[0])
    rows = {"what the\nmodel sees": seen, "what it\nrebuilds": rebuilt}
    figure = gallery(rows, [f"{visible} of 49" for visible in (3, 6, 12, 24, 36)], size=1.1)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> None:
    """Train the stages whose scripts are missing, and write everything else anew."""
    checkpoint = OUT / "stages.checkpoint"
    for epoch in STAGES[:-1]:
        if not (path := OUT / f"weights-{epoch}.js").exists():
            write_weights(train_stage(epoch, checkpoint), epoch, path, FINENESS[epoch])
    checkpoint.unlink(missing_ok=True)
    write_weights(load_pretrained("digits"), LAST, OUT / f"weights-{LAST}.js", FINENESS[LAST])
    write_digits(OUT / "digits.js")
    draw_still(OUT / "still.png")


if __name__ == "__main__":
    main()
