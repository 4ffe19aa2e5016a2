"""One pre-training step, ours and its peers', in one run: images per second, peak memory, share of the matrix peak.

    python benchmarks/step.py small          # 32×32, patch 4, 192 wide, 12 + 4 blocks
    python benchmarks/step.py base           # ViT-B/16 at 224, decoder 512 wide, 8 blocks

Peers take turns, so that what else the machine does falls on all alike; what counts is the ratio within a round.
Each step is: draw a mask, forward, loss on hidden patches, backward, AdamW. --precision bf16 has all take it under
autocast and adds our step in fp32, --compile adds our step compiled. One more line is our step with PyTorch's own
routines where `mae.linear` and `mae.attention` choose others. The peak is that of a large product in the same
precision, of the faster one where there are two.
"""

import argparse
import functools
import json
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mae.attention
import mae.linear
from mae import MAEConfig, MaskedAutoencoder, masked_mse, patchify, random_mask
from mae.flops import model_flops
from mae.model import vit_config

RATIO = 0.75
CHOICES = mae.linear.use_onednn, mae.attention.LONGEST


def small_config() -> MAEConfig:
    """32×32 RGB in patches of 4."""
    return MAEConfig(
        grid=(8, 8),
        patch_values=48,
        width=192,
        depth=12,
        heads=3,
        decoder_width=192,
        decoder_depth=4,
        decoder_heads=3,
    )


SIZES = {  # config, pixels, patch, batch
    "small": (small_config(), 32, 4, 64),
    "base": (vit_config("base"), 224, 16, 8),
}


def ours(config: MAEConfig, pixels: int, patch: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """This book's model."""
    model, generator = MaskedAutoencoder(config), torch.Generator().manual_seed(0)

    def loss(images: Tensor) -> Tensor:
        patches = patchify(images, patch)
        mask = random_mask(len(images), config.num_patches, RATIO, generator=generator)
        return masked_mse(model(patches, mask), patches, mask)

    return model, loss


@functools.cache
def import_torchvision() -> None:
    """Import torchvision even where its compiled operators don't load: the peers need only its Python part."""
    library = torch.library.Library("torchvision", "DEF")
    import_torchvision.library = library  # or it is unregistered when collected
    while True:
        try:
            import torchvision  # noqa: F401

            return
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]


def transformers(config: MAEConfig, pixels: int, patch: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Hugging Face's ViTMAEForPreTraining."""
    import_torchvision()
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    model = ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=pixels,
            patch_size=patch,
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            decoder_hidden_size=config.decoder_width,
            decoder_num_hidden_layers=config.decoder_depth,
            decoder_num_attention_heads=config.decoder_heads,
            decoder_intermediate_size=4 * config.decoder_width,
            mask_ratio=RATIO,
        )
    )
    return model, lambda images: model(images).loss


def lightly(config: MAEConfig, pixels: int, patch: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Lightly's building blocks on timm's vision transformer, put together as in its documentation."""
    import_torchvision()
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(
        img_size=pixels,
        patch_size=patch,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        num_classes=0,
    )
    model = nn.ModuleDict(
        {
            "backbone": MaskedVisionTransformerTIMM(vit=vit),
            "decoder": MAEDecoderTIMM(
                num_patches=config.num_patches,
                patch_size=patch,
                embed_dim=config.width,
                decoder_embed_dim=config.decoder_width,
                decoder_depth=config.decoder_depth,
                decoder_num_heads=config.decoder_heads,
            ),
        }
    )
    backbone, decoder = model["backbone"], model["decoder"]

    def loss(images: Tensor) -> Tensor:
        size = (len(images), backbone.sequence_length)
        keep, hide = utils.random_token_mask(size=size, mask_ratio=RATIO, device=images.device)
        encoded = decoder.embed(backbone.encode(images=images, idx_keep=keep))
        x = utils.repeat_token(decoder.mask_token, size)
        x = utils.set_at_index(x, keep, encoded.type_as(x))
        x = decoder.predict(utils.get_at_index(decoder.decode(x), hide))
        return F.mse_loss(x, utils.get_at_index(utils.patchify(images, patch), hide - 1))

    return model, loss


def vit_pytorch(config: MAEConfig, pixels: int, patch: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """vit-pytorch's MAE."""
    import_torchvision()
    from vit_pytorch import MAE, ViT

    vit = ViT(
        image_size=pixels,
        patch_size=patch,
        num_classes=1,
        dim=config.width,
        depth=config.depth,
        heads=config.heads,
        dim_head=config.width // config.heads,
        mlp_dim=4 * config.width,
        pool="mean",  # with a class token, its MAE expects another shape of positions than its ViT has
    )
    model = MAE(
        encoder=vit,
        masking_ratio=RATIO,
        decoder_dim=config.decoder_width,
        decoder_depth=config.decoder_depth,
        decoder_heads=config.decoder_heads,
        decoder_dim_head=config.decoder_width // config.decoder_heads,
    )
    return model, model


PEERS = {"transformers": transformers, "lightly": lightly, "vit-pytorch": vit_pytorch}


def make_step(
    build: Callable, size: str, *, bf16: bool = False, compiled: bool = False, plain: bool = False
) -> tuple[Callable[[], float], int]:
    """A function that trains one step on a batch of noise and returns its seconds; and the batch size."""
    config, pixels, patch, batch = SIZES[size]
    torch.manual_seed(0)
    model, loss_of = build(config, pixels, patch)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    images = torch.rand(batch, 3, pixels, pixels)
    model.train()
    if compiled:
        model.compile()

    def step() -> float:
        mae.linear.use_onednn, mae.attention.LONGEST = (False, 0) if plain else CHOICES
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start

    return step, batch


def peak_memory(name: str, size: str, precision: str) -> float:
    """Peak resident memory of a process that trains three steps, MB."""
    command = [sys.executable, __file__, size, "--precision", precision, "--peak-memory-of", name]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def own_peak_memory(name: str, size: str, *, bf16: bool) -> float:
    """Train three steps, then tell the peak resident memory of this process, MB."""
    step, _ = make_step({"ours": ours, **PEERS}[name], size, bf16=bf16)
    for _ in range(3):
        step()
    scale = 2**10 if platform.system() == "Linux" else 2**20  # kilobytes there, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def matrix_peaks(bf16: bool = False) -> dict[str, float]:
    """Floating-point operations per second of a large matrix product, by who multiplies: medians of several."""
    a = torch.rand(2048, 2048, dtype=torch.bfloat16 if bf16 else torch.float32)
    products = {"PyTorch": lambda: a @ a}
    if mae.linear.has_onednn and not bf16:
        products["oneDNN"] = lambda: mae.linear._linear(a, a, None)

    def seconds(product: Callable) -> float:
        start = time.perf_counter()
        product()
        return time.perf_counter() - start

    for product in products.values():
        product()
    return {name: 2 * 2048**3 / statistics.median(seconds(f) for _ in range(7)) for name, f in products.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak-memory-of", metavar="PEER", help=argparse.SUPPRESS)
    parser.add_argument("--out", metavar="FILE", help="put the run into this JSON file, in place of one like it")
    args = parser.parse_args()
    bf16 = args.precision == "bf16"
    if args.peak_memory_of:
        return print(own_peak_memory(args.peak_memory_of, args.size, bf16=bf16))

    contestants = {"ours": ours, **PEERS}
    # First, while this process is small: on Linux a child's peak is at least its parent's size.
    memory = {} if args.no_memory else {name: peak_memory(name, args.size, args.precision) for name in contestants}
    steps = {name: make_step(build, args.size, bf16=bf16)[0] for name, build in contestants.items()}
    steps["ours, PyTorch's routines"] = make_step(ours, args.size, bf16=bf16, plain=True)[0]
    if args.compile:
        steps["ours, compiled"] = make_step(ours, args.size, bf16=bf16, compiled=True)[0]
    if bf16:
        steps["ours, fp32"] = make_step(ours, args.size)[0]
    batch = SIZES[args.size][3]
    for step in steps.values():  # warm up, compile
        step(), step()

    seconds = {name: [] for name in steps}
    peaks = [matrix_peaks(bf16)]
    for turn in range(args.rounds):
        order = list(steps)[turn % len(steps) :] + list(steps)[: turn % len(steps)]
        for name in order:
            seconds[name].append(steps[name]())
        peaks.append(matrix_peaks(bf16))

    peaks = {name: statistics.median(peak[name] for peak in peaks) for name in peaks[0]}
    config = SIZES[args.size][0]
    visible = int(config.num_patches * (1 - RATIO))
    flops = 3 * batch * sum(model_flops(config, encoded=visible, predicted=config.num_patches - visible).values())
    rows = []
    for name, times in seconds.items():
        ratios = sorted(t / u for t, u in zip(times, seconds["ours"], strict=True))
        rows.append(
            {
                "name": name,
                "images_per_second": round(batch / statistics.median(times), 1),
                "speed_of_ours_relative": round(statistics.median(ratios), 2),
                "quartiles": [round(ratios[len(ratios) // 4], 2), round(ratios[-1 - len(ratios) // 4], 2)],
                "share_of_peak": round(flops / statistics.median(times) / max(peaks.values()), 2),
                "peak_MB": round(memory[name]) if name in memory else None,
            }
        )
    print(
        f"{args.size}, {args.precision}, batch {batch}, {torch.get_num_threads()} threads, {args.rounds} rounds, "
        f"torch {torch.__version__}; matrix products: "
        + ", ".join(f"{name} {peak / 1e9:.0f} GFLOP/s" for name, peak in peaks.items())
    )
    print(f"{'':<26}{'images/s':>10}{'ours is':>9}{'quartiles':>14}{'of peak':>9}{'peak MB':>9}")
    for row in rows:
        low, high = row["quartiles"]
        memory = "" if row["peak_MB"] is None else f"{row['peak_MB']}"
        print(
            f"{row['name']:<26}{row['images_per_second']:>10.1f}{row['speed_of_ours_relative']:>8.2f}×"
            f"{f'{low:.2f}–{high:.2f}':>14}{row['share_of_peak']:>8.0%} {memory:>8}"
        )
    if args.out:
        path = Path(args.out)
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
        run = {
            "size": args.size,
            "precision": args.precision,
            "batch": batch,
            "rounds": args.rounds,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
            "GFLOP_per_second": {name: round(peak / 1e9) for name, peak in peaks.items()},
            "rows": rows,
        }
        key = ("size", "precision")
        content["runs"] = [old for old in content["runs"] if any(old[k] != run[k] for k in key)] + [run]
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
