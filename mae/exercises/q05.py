"""Question 5: a masked autoencoder designed from requirements."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mae.exercises.engine import NotAttempted, Wrong, exercise
from mae.flops import model_flops
from mae.losses import masked_mse, normalize_patches
from mae.masking import num_visible, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patch_grid, patchify

IMAGE = (48, 64)  # pixels, grey
EXAMPLES = 30_000
SPEED = 50e9  # operations a second
HOURS = 8
SIZES = ("patch", "width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads", "epochs")
PARTS = {
    "encoder_sees": {
        "visible patches": "",
        "all, hidden ones black": "An encoder that gets black patches takes them for dark ones, and works on all "
        "places. Give it the visible ones only.",
        "all, hidden ones as mask tokens": "Mask tokens in the encoder cost its full price at every place, and it "
        "never meets them in use. They belong in the decoder.",
    },
    "loss_on": {
        "hidden": "",
        "visible": "A loss on visible patches asks the model to copy its input. Nothing need be understood for that.",
        "all": "A loss on all patches spends a part of the model on copying what it sees.",
    },
    "mask": {
        "new at each step": "",
        "one per image": "With one mask per image for good, every epoch asks for the same places: the model can learn "
        "them by heart.",
        "one for input, one for loss": "If the mask of the loss knows nothing of the mask of the input, a part of the "
        "hidden places is not asked for, and visible ones are.",
    },
    "last_layer": {"linear": "", "relu": ""},  # depends on the target
    "target": {"pixels": "", "normalized pixels": ""},
}
KEYS = (*SIZES, "mask_ratio", *PARTS)


def _well_formed(answer: object) -> dict:
    """The design, with keys and types as asked for."""
    if not isinstance(answer, Mapping) or set(answer) != set(KEYS):
        raise Wrong(f"Keep the dictionary of the stub, with the keys {', '.join(map(repr, KEYS))}.")
    design = dict(answer)
    for name, value in design.items():
        if value is ...:
            raise NotAttempted(f"replace the `...` of `{name}` too.")
        if name in SIZES and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise Wrong(f"Expected a whole number of at least 1 for {name}, got {value!r}.")
        if name in PARTS and value not in PARTS[name]:
            raise Wrong(f"Expected one of {', '.join(map(repr, PARTS[name]))} for {name}, got {value!r}.")
    return design


def _pictures(generator: torch.Generator) -> Tensor:
    """Four pictures with a slope of brightness, so that there is something to predict."""
    y, x = torch.meshgrid(torch.linspace(0, 1, IMAGE[0]), torch.linspace(0, 1, IMAGE[1]), indexing="ij")
    a, b = torch.rand(2, 4, 1, 1, generator=generator)
    noise = 0.1 * torch.rand(4, *IMAGE, generator=generator)
    return ((a * x + b * y) / 2.2 + noise)[:, None]


def _train(design: dict, config: MAEConfig, patches: Tensor, generator: torch.Generator) -> tuple[float, float, int]:
    """The loss before and after a few steps on one batch, and the number of parameters."""
    model = MaskedAutoencoder(config, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    mask = random_mask(len(patches), config.num_patches, design["mask_ratio"], generator=generator)
    losses = []
    for _ in range(5):
        loss = masked_mse(model(patches, mask), patches, mask, normalized=design["target"] == "normalized pixels")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1], sum(p.numel() for p in model.parameters())


def _relu_fault(design: dict, patches: Tensor) -> str:
    if design["last_layer"] != "relu":
        return ""
    if design["target"] == "pixels":
        return "A ReLU at the end has no gradient wherever it says 0: such pixels can't learn any more. End linearly."
    below = (normalize_patches(patches)[0] < 0).double().mean().item()
    return (
        f"{below:.0%} of the normalised targets are negative on a drawn batch, and a ReLU can't say anything below 0: "
        "the loss stops at a floor."
    )


@exercise(
    "q05.design",
    "design",
    "Design from requirements",
    minutes=25,
    hints=(
        "Begin with the patch: it must divide 48 and 64, and N = (48 / p)·(64 / p). Then the ratio gives K. Only then "
        "come the widths, and the epochs last.",
        "Hours = 3 · operations per image · 30,000 · epochs / (50·10⁹) / 3,600. Count with `model_flops(config, K, "
        "N − K)`. The encoder's cost goes with K, the decoder's with N: make the decoder narrow.",
    ),
    then="halve the side of the patch and keep the night: what do you have to give up, and would you?",
)
def design(answer, generator: torch.Generator) -> str:
    """The design is counted, built and trained for a few steps; every requirement that it breaks is named."""
    design = _well_formed(answer)
    sizes = {name: design[name] for name in SIZES if name not in ("patch", "epochs")}
    try:
        config = MAEConfig(grid=patch_grid(IMAGE, design["patch"]), patch_values=design["patch"] ** 2, **sizes)
        N = config.num_patches
        K = num_visible(N, design["mask_ratio"])
    except (TypeError, ValueError) as error:
        raise Wrong(f"Such a model can't be built: {error}.") from None
    costs = model_flops(config, K, N - K)
    total = sum(costs.values())
    hours = 3 * total * EXAMPLES * design["epochs"] / SPEED / 3600
    patches = patchify(_pictures(generator), design["patch"])
    unmet = {
        "Fewer than 48 patches: a patch is then so large that hiding it hides whole animals.": N < 48,
        "Fewer than 12 patches stay visible: there is too little to predict from. Smaller patches, or hide less.": (
            K < 12
        ),
        "Less than 60 % is hidden: pictures repeat themselves, and most holes can be filled from next door.": (
            N - K < 0.6 * N
        ),
        "Features of fewer than 128 numbers: the encoder is too narrow.": config.width < 128,
        "An encoder of fewer than four blocks.": config.depth < 4,
        "The decoder takes more than a third of the operations. It is thrown away later, and works at all N places: "
        "make it narrower or shallower.": 3 * costs["decoder"] > total,
        "Fewer than 100 epochs.": design["epochs"] < 100,
        "It does not fit into one night. Cost grows with the number of patches, with depth, and with the square of "
        "the width.": hours > HOURS,
    }
    faults = [message for message, broken in unmet.items() if broken]
    faults += filter(None, [PARTS[name][design[name]] for name in PARTS])
    faults += filter(None, [_relu_fault(design, patches)])
    measured = {
        "patches": N,
        "visible": K,
        "operations per image": f"{total / 1e6:.1f} million",
        "decoder's share": f"{costs['decoder'] / total:.0%}",
        "hours": f"{hours:.1f}",
    }
    if faults:
        numbered = " ".join(f"({i}) {fault}" for i, fault in enumerate(faults, 1))
        raise Wrong(numbered if len(faults) > 1 else faults[0], measured)
    before, after, parameters = _train(design, config, patches, generator)
    if not after < before:
        raise Wrong("The model was built, but its loss did not fall in five steps on one batch.", measured)
    numbers = "; ".join(f"{name}: {value}" for name, value in measured.items())
    return (
        f"The model was built ({parameters:,} parameters) and trained for five steps on a drawn batch: the loss fell "
        f"from {before:.3f} to {after:.3f}. It meets every requirement ({numbers})."
    )
