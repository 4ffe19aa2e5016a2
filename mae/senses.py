"""Two senses of one scene, colour and disparity, as tokens of one masked autoencoder.

``python -c "from mae.senses import run_senses; run_senses()"`` fills ``results/senses.json``; stopped, it goes on
where it was.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data as skimage_data
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.experiments import copy_nearest, run_missing
from mae.masking import Mask, take
from mae.model import MAEConfig, MaskedAutoencoder, sincos_positions
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit
from mae.weights import PRETRAINED, load_model, save_model

RESULTS = Path(__file__).parent / "results" / "senses.json"
WEIGHTS = PRETRAINED / "senses.safetensors"  # the first shared run, `SHIPPED`

SIZE, PATCH = 6, 2  # pixels of the reduced picture: sides of a crop and of a patch
PLACES = (SIZE // PATCH) ** 2  # in a crop; each holds one patch of each sense
# Where the two senses stand in tokens (B, 18, 16): which tokens, and which of their values; the others are zero.
SENSES = {
    "colour": (slice(0, PLACES), slice(0, 3 * PATCH**2)),
    "disparity": (slice(PLACES, 2 * PLACES), slice(3 * PATCH**2, 4 * PATCH**2)),
}
SCALE = {"colour": 0.2, "disparity": 5.0}  # about the deviation of what is left without the mean; disparity in pixels
LEAST = 0.25  # of each disparity patch of a crop is known

# Columns of the reduced picture, by the half that is tested. No crop is in two parts, since no two parts touch.
PARTS = {
    "right": {"train": (0, 69), "validation": (70, 90), "test": (95, 185)},
    "left": {"train": (116, 185), "validation": (95, 115), "test": (0, 90)},
}
STEPS = {"train": 2, "validation": 4, "test": SIZE}  # pixels from one crop to the next: those of a test don't overlap
MODELS = ("shared", "even", "colour", "disparity", "to colour", "to disparity", "control")
BASELINES = ("flat", "copy", "crops", "ridge", "ridge alone")
BUDGETS = (2, 4, 9)  # visible tokens of 18 in training
BUDGET = 4  # in the test: less than a quarter


@cache
def _scene() -> Tensor:
    colour, _, disparity = skimage_data.stereo_motorcycle()
    if colour.dtype != np.uint8 or colour.shape != (500, 741, 3) or disparity.shape != (500, 741):
        raise ValueError(
            f"the scene is not the one this book was written with (colour {colour.dtype} {colour.shape}, disparity "
            f"{disparity.shape}): install the versions in requirements.txt"
        )
    scene = torch.cat([torch.from_numpy(colour) / 255, torch.from_numpy(disparity)[:, :, None]], dim=2)
    scene = scene[:, :740].permute(2, 0, 1).float()  # (4, 500, 740)
    known = scene.isfinite().float()
    total = F.avg_pool2d(torch.where(known > 0, scene, 0.0), 4)
    return total / F.avg_pool2d(known, 4)  # the mean of what is known; 0 / 0 is NaN


def load_scene() -> Tensor:
    """A motorcycle in a garage, from the Middlebury stereo data (Scharstein et al., 2014), at a quarter of its size.

    From scikit-image. Each value is the mean of the known ones of 4×4 pixels.

    Returns
    -------
    Tensor, (4, 125, 185)
        Red, green and blue from 0 to 1, and disparity in pixels of the picture as it comes: how far a point lies
        from its image in the right eye, more for what is near. NaN where it is not known.

    Raises
    ------
    ValueError
        If the installed scene is not the expected one.
    """
    return _scene().clone()


def add_sensor(scene: Tensor) -> Tensor:
    """The same scene, its colours replaced by three noisy readings of the disparity: a second sense that must help.

    Parameters
    ----------
    scene : Tensor, (4, 125, 185)

    Returns
    -------
    Tensor, (4, 125, 185)
        The readings in units of 25 pixels, with an error of 2 pixels each; unknown disparities are as the nearest.
    """
    disparity = torch.from_numpy(copy_nearest(scene[3:].numpy(), scene[3:].isnan().numpy())) / 25
    noise = torch.randn(3, *scene.shape[1:], generator=torch.Generator().manual_seed(0))
    return torch.cat([disparity + 2 / 25 * noise, scene[3:]])


def _scene_of(kind: str) -> Tensor:
    return add_sensor(load_scene()) if kind == "control" else load_scene()


def cut(scene: Tensor, part: str, test: str) -> tuple[Tensor, Tensor]:
    """The crops of a part of the scene in which the disparity is known well enough.

    Parameters
    ----------
    scene : Tensor, (4, 125, 185)
    part : {"train", "validation", "test"}
    test : {"left", "right"}
        The half that is tested.

    Returns
    -------
    crops : Tensor, (B, 4, 6, 6)
        From the left to the right, in each column from the top to the bottom.
    column : Tensor, (B,), int64
        Which column of crops each is from.

    Raises
    ------
    ValueError
        If the part or the half is unknown.
    """
    if test not in PARTS or part not in PARTS[test]:
        raise ValueError(f"expected a part of {', '.join(STEPS)} and a half of {', '.join(PARTS)}, got {part}, {test}")
    first, end = PARTS[test][part]
    crops = scene[:, :, first:end].unfold(1, SIZE, STEPS[part]).unfold(2, SIZE, STEPS[part])
    crops = crops.permute(2, 1, 0, 3, 4)  # (columns, rows, 4, 6, 6)
    known = patchify(crops[:, :, 3:].flatten(0, 1).isfinite().float(), PATCH).mean(dim=2)
    kept = (known >= LEAST).all(dim=1)
    column = torch.arange(len(crops)).repeat_interleave(crops.shape[1])
    return crops.flatten(0, 1)[kept].contiguous(), column[kept]


def tokens(crops: Tensor) -> tuple[Tensor, Tensor]:
    """One token for each patch of each sense; the values of the other sense are zero in it.

    One linear map of such tokens is two embeddings, and the model's positions tell the senses apart.

    Parameters
    ----------
    crops : Tensor, (B, 4, 6, 6)
        From `cut`.

    Returns
    -------
    values : Tensor, (B, N, P)
        N = 18, P = 16; in units of `SCALE`. What is unknown is the mean of its patch.
    weight : Tensor, (B, N, P)
        What counts in the loss: the known values of a token share its weight of 1, all others have none.
    """
    colour, disparity = patchify(crops[:, :3], PATCH), patchify(crops[:, 3:].nan_to_num(0.0), PATCH)
    known = patchify(crops[:, 3:].isfinite().float(), PATCH)
    mean = (disparity * known).sum(dim=2, keepdim=True) / known.sum(dim=2, keepdim=True)
    parts = {
        "colour": (colour, torch.ones_like(colour)),
        "disparity": (torch.where(known > 0, disparity, mean), known),
    }
    values, weight = torch.zeros(2, len(crops), 2 * PLACES, 4 * PATCH**2)
    for sense, (x, w) in parts.items():
        rows, columns = SENSES[sense]
        values[:, rows, columns] = x / SCALE[sense]
        weight[:, rows, columns] = w / w.sum(dim=2, keepdim=True)
    return values, weight


def relative(values: Tensor, weight: Tensor, mask: Mask) -> Tensor:
    """Each sense of each crop less the mean of its visible patches, each channel its own.

    A sense of which nothing is visible is taken less its own mean: then only its shape is asked for, since nothing
    tells its level.

    Parameters
    ----------
    values, weight : Tensor, (B, N, P)
        From `tokens`.
    mask : Mask

    Returns
    -------
    Tensor, (B, N, P)
    """
    out = torch.zeros_like(values)
    for rows, columns in SENSES.values():
        seen = ~mask.is_hidden[:, rows]
        seen = seen | ~seen.any(dim=1, keepdim=True)
        x = values[:, rows, columns].unflatten(2, (PATCH**2, -1))  # (B, places, pixels, channels)
        w = weight[:, rows, columns].unflatten(2, (PATCH**2, -1)) * seen[:, :, None, None]
        mean = (x * w).sum(dim=(1, 2), keepdim=True) / w.sum(dim=(1, 2), keepdim=True)
        out[:, rows, columns] = (x - mean).flatten(2)
    return out


def show_counts(colour: Tensor, disparity: Tensor, *, generator: torch.Generator) -> Mask:
    """Of each crop, so many patches of each sense at random places are visible.

    The places are drawn as an order: a larger number shows the same places and more.

    Parameters
    ----------
    colour, disparity : Tensor, (B,), int64
        Their sum is the same in every row.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Mask
    """
    rank = torch.rand(len(colour), 2, PLACES, generator=generator).argsort(dim=2).argsort(dim=2)
    return Mask.from_hidden((rank >= torch.stack([colour, disparity], dim=1)[:, :, None]).flatten(1))


def shared_mask(batch: int, budget: int, *, generator: torch.Generator) -> Mask:
    """One budget of visible patches, shared out at random: every split is as likely, one sense alone included.

    Parameters
    ----------
    batch : int
    budget : int
        Visible patches of both senses together, at most as many as one sense has.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Mask

    Raises
    ------
    ValueError
        If the budget is out of range.
    """
    if not 1 <= budget <= PLACES:
        raise ValueError(f"expected a budget from 1 to {PLACES}, got {budget}")
    colour = torch.randint(budget + 1, (batch,), generator=generator)
    return show_counts(colour, budget - colour, generator=generator)


@dataclass(frozen=True, kw_only=True)
class SensesSetting:
    """One run.

    Parameters
    ----------
    kind : str
        One of `MODELS`: both senses with a budget "shared" at random or halved ("even"), one sense alone, trained for
        one direction only, or "shared" with colours replaced, see `add_sensor` ("control"). Or one of `BASELINES`,
        see `baseline`.
    test : {"left", "right"}
        The half that is tested; training is on the other.
    seed : int
    epochs : int
        Of a model.
    strength : float
        Of a baseline: the penalty of a ridge regression, or how many training crops are averaged.
    part : {"validation", "test"}
        On which it is measured.
    """

    kind: str = "shared"
    test: str = "right"
    seed: int = 0
    epochs: int = 0
    strength: float = 0.0
    part: str = "test"

    def __post_init__(self):
        if self.kind not in MODELS + BASELINES or self.test not in PARTS or self.part not in ("validation", "test"):
            raise ValueError(f"unknown kind {self.kind!r}, half {self.test!r} or part {self.part!r}")


def senses_config(kind: str) -> MAEConfig:
    """A small model of 18 tokens, or of the 9 of one sense.

    Parameters
    ----------
    kind : str
        One of `MODELS`.
    """
    side = SIZE // PATCH
    alone = kind in SENSES
    return MAEConfig(
        grid=(side, side) if alone else (2 * side, side),
        patch_values={"colour": 3, "disparity": 1}.get(kind, 4) * PATCH**2,
        width=32,
        depth=1,
        heads=4,
        decoder_width=32,
        decoder_depth=2,
        decoder_heads=4,
    )


def place_tokens(model: MaskedAutoencoder) -> MaskedAutoencoder:
    """Give the model positions for two senses: to be done once to a new model and to a loaded one.

    Positions are fixed and no part of the weights. Both senses of a place get the same one, except that the slower
    half of its sines, which a small grid leaves idle, changes sign with the sense. All are four times as large as
    usual: else the content of so few, similar tokens drowns them.

    Parameters
    ----------
    model : MaskedAutoencoder
        Changed in place.
    """
    side = SIZE // PATCH
    for positions in (model.positions, model.decoder_positions):
        width = positions.shape[1]
        first = sincos_positions((side, side), width)
        slow = torch.arange(width) % (width // 4) >= width // 8
        both = torch.cat([first, torch.where(slow, -first, first)])
        positions.copy_(4 * both[: len(positions)])
    return model


def look_near(model: MaskedAutoencoder) -> MaskedAutoencoder:
    """Let queries begin equal to keys, both larger: tokens then look at tokens of similar positions first.

    Without this, training spends most of its time on finding out which tokens are neighbours.

    Parameters
    ----------
    model : MaskedAutoencoder
        Changed in place.
    """
    with torch.no_grad():
        for block in (*model.blocks, *model.decoder_blocks):
            queries, keys, _ = block.attn.qkv.weight.chunk(3)
            keys.copy_(queries.mul_(2.5))
    return model


def _own(mask: Mask, sense: str) -> Mask:
    return Mask.from_hidden(mask.is_hidden[:, SENSES[sense][0]])


def _draw(kind: str, batch: int, generator: torch.Generator) -> Mask:
    """What training hides, over the tokens of both senses."""
    if kind in SENSES:  # the other sense is not looked at
        count = torch.randint(1, BUDGET + 1, (), generator=generator).expand(batch)
        return show_counts(count, count, generator=generator)
    if kind.startswith("to "):
        return whole(batch, kind.removeprefix("to "))
    budget = BUDGETS[int(torch.randint(len(BUDGETS), (), generator=generator))]
    if kind in ("shared", "control"):
        return shared_mask(batch, budget, generator=generator)
    half = torch.full((batch,), budget // 2)
    return show_counts(half, half, generator=generator)


def whole(batch: int, hidden: str) -> Mask:
    """Hide one sense and show the other.

    Parameters
    ----------
    batch : int
    hidden : {"colour", "disparity"}

    Returns
    -------
    Mask
    """
    is_hidden = torch.zeros(batch, 2 * PLACES, dtype=torch.bool)
    is_hidden[:, SENSES[hidden][0]] = True
    return Mask.from_hidden(is_hidden)


def train_senses(setting: SensesSetting) -> MaskedAutoencoder:
    """Train one model on the crops of a half.

    Each is mirrored half of the time; what is left of it without its means is scaled at random and may change its
    sign, both senses alike, as if bright were dark and near were far.

    Parameters
    ----------
    setting : SensesSetting
    """
    crops = cut(_scene_of(setting.kind), "train", setting.test)[0]
    sides = [tokens(x) for x in (crops, crops.flip(3))]
    generator = torch.Generator().manual_seed(setting.seed)
    model = look_near(place_tokens(MaskedAutoencoder(senses_config(setting.kind), generator=generator)))

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(batch), 1, 1, generator=generator) < 0.5
        values, weight = (torch.where(mirrored, b[batch], a[batch]) for a, b in zip(*sides, strict=True))
        mask = _draw(setting.kind, len(batch), generator)
        draw = 2 * torch.rand(len(batch), 1, 1, generator=generator) - 1  # sign, and size from 0.5 to 1.5
        x = relative(values, weight, mask) * (draw + 0.5 * draw.sign())
        if setting.kind in SENSES:
            rows, columns = SENSES[setting.kind]
            x, weight, mask = x[:, rows, columns], weight[:, rows, columns], _own(mask, setting.kind)
        w = take(weight, mask.hidden)
        return (w * (model(x, mask) - take(x, mask.hidden)) ** 2).sum() / w.sum()

    options = TrainConfig(epochs=setting.epochs, batch_size=32, learning_rate=5e-3, seed=setting.seed)
    fit(model, loss_of_batch, len(crops), options, name=f"{setting.kind}, {setting.test}, seed {setting.seed}")
    return model


@torch.inference_mode()
def predict_senses(model: MaskedAutoencoder, x: Tensor, mask: Mask) -> Tensor:
    """All patches, as the model sees them from the visible ones.

    Parameters
    ----------
    model : MaskedAutoencoder
        Of both senses, or of one: that neither takes nor predicts anything of the other, and says 0 if it sees nothing.
    x : Tensor, (B, N, P)
        From `relative`.
    mask : Mask

    Returns
    -------
    Tensor, (B, N, P)
    """
    model.eval()
    if model.config.num_patches == 2 * PLACES:
        return model(x, mask, predict="all")
    (sense,) = (s for s in SENSES if senses_config(s).patch_values == model.config.patch_values)
    rows, columns = SENSES[sense]
    out = torch.zeros_like(x)
    if not mask.is_hidden[:, rows].all():
        out[:, rows, columns] = model(x[:, rows, columns], _own(mask, sense), predict="all")
    return out


def squared_error(prediction: Tensor, x: Tensor, weight: Tensor, asked: Tensor, sense: str) -> Tensor:
    """Mean squared error of each crop over the known values of the patches that are asked for.

    Parameters
    ----------
    prediction, x, weight : Tensor, (B, N, P)
        From `predict_senses`, `relative` and `tokens`.
    asked : Tensor, (B, N), bool
    sense : {"colour", "disparity"}

    Returns
    -------
    Tensor, (B,)
        In squared pixels for the disparity; of colours from 0 to 1.
    """
    rows, columns = SENSES[sense]
    counts = ((weight > 0) & asked[:, :, None])[:, rows, columns]
    error = ((prediction - x)[:, rows, columns] * SCALE[sense]) ** 2
    return (error * counts).sum(dim=(1, 2)) / counts.sum(dim=(1, 2))


def baseline(kind: str, strength: float, test: str) -> Callable:
    """What needs no model.

    Parameters
    ----------
    kind : str
        "flat": the mean of what is visible. "copy": the nearest visible pixel of the same sense. "crops": the mean of
        the training crops that are most alike in the visible sense. "ridge": a linear regression on all that is
        visible, or on the same sense only ("ridge alone"), fitted for the mask.
    strength : float
        The penalty of a ridge, the number of crops.
    test : {"left", "right"}
        Fitted on the other half.

    Returns
    -------
    callable
        Takes what `relative` gives, weights and a mask, the same in all rows; returns patches (B, N, P).
    """
    if kind == "flat":
        return lambda x, weight, mask: torch.zeros_like(x)
    if kind == "copy":
        return copy_visible
    crops = cut(load_scene(), "train", test)[0][::2]
    train = tokens(torch.cat([crops, crops.flip(3)]))
    inside = torch.zeros(2 * PLACES, 4 * PATCH**2, dtype=torch.bool)  # values that a token has
    for rows, columns in SENSES.values():
        inside[rows, columns] = True

    def predict(x: Tensor, weight: Tensor, mask: Mask) -> Tensor:
        known = relative(*train, Mask(*(index[:1].expand(len(train[0]), -1) for index in (mask.visible, mask.hidden))))
        out = torch.zeros_like(x)
        for sense in SENSES:
            of_sense = torch.zeros_like(inside)
            of_sense[SENSES[sense]] = True
            seen = inside & ~mask.is_hidden[0][:, None] & (of_sense if kind == "ridge alone" else True)
            asked = inside & of_sense & mask.is_hidden[0][:, None]
            if not seen.any() or not asked.any():
                continue
            linear = Ridge(alpha=strength, solver="cholesky")
            method = KNeighborsRegressor(int(strength)) if kind == "crops" else linear
            with threadpool_limits(1):
                method.fit(known[:, seen].numpy(), known[:, asked].numpy())
                out[:, asked] = torch.from_numpy(method.predict(x[:, seen].numpy())).to(x)
        return out

    return predict


def copy_visible(x: Tensor, weight: Tensor, mask: Mask) -> Tensor:
    """Each hidden pixel becomes the nearest visible one of the same sense; zero, the mean, where none is visible.

    Parameters
    ----------
    x, weight : Tensor, (B, N, P)
    mask : Mask

    Returns
    -------
    Tensor, (B, N, P)
    """
    out = torch.zeros_like(x)
    for rows, columns in SENSES.values():
        hidden = mask.is_hidden[:, rows, None].expand(-1, -1, PATCH**2)
        shown = unpatchify(hidden.to(x), PATCH, SIZE)[:, 0].bool().numpy()
        if not shown.all():
            images = unpatchify(x[:, rows, columns], PATCH, SIZE).permute(0, 2, 3, 1).numpy()
            filled = torch.from_numpy(copy_nearest(images, shown)).permute(0, 3, 1, 2)
            out[:, rows, columns] = patchify(filled, PATCH)
    return out


DRAWS = 8  # masks, the same for all crops


def fill(predict: Callable, crops: Tensor, colour: int) -> dict[str, Tensor]:
    """Errors on five of nine places, with a budget of 4 visible patches at the others; root of the mean over masks.

    Whatever the split of the budget, the same patches are asked for, and a larger number shows the same patches and
    more: errors compare in pairs.

    Parameters
    ----------
    predict : callable
        As from `baseline`.
    crops : Tensor, (B, 4, 6, 6)
    colour : int
        Visible patches of colour; the others of the 4 are of disparity.

    Returns
    -------
    dict of str to Tensor, (B,)
        For each sense, in pixels for the disparity, of colours from 0 to 1.
    """
    values, weight = tokens(crops)
    total = dict.fromkeys(SENSES, 0.0)
    for draw in range(DRAWS):
        mask, half = (
            show_counts(torch.tensor([c]), torch.tensor([d]), generator=torch.Generator().manual_seed(draw))
            for c, d in ((colour, BUDGET - colour), (BUDGET, BUDGET))
        )
        mask = Mask(mask.visible.expand(len(crops), -1), mask.hidden.expand(len(crops), -1))
        x = relative(values, weight, mask)
        prediction = predict(x, weight, mask)
        for sense in SENSES:
            total[sense] = total[sense] + squared_error(prediction, x, weight, half.is_hidden, sense) / DRAWS
    return {sense: error.sqrt() for sense, error in total.items()}


def translate(predict: Callable, crops: Tensor, hidden: str) -> Tensor:
    """Error of each crop in a sense that is wholly hidden, the other being wholly visible.

    Parameters
    ----------
    predict : callable
        As from `baseline`.
    crops : Tensor, (B, 4, 6, 6)
    hidden : {"colour", "disparity"}

    Returns
    -------
    Tensor, (B,)
        As in `fill`; the level does not count, see `relative`.
    """
    values, weight = tokens(crops)
    mask = whole(len(crops), hidden)
    x = relative(values, weight, mask)
    return squared_error(predict(x, weight, mask), x, weight, mask.is_hidden, hidden).sqrt()


def measure(predict: Callable, setting: SensesSetting) -> dict:
    """All errors that make sense for a kind of model or baseline, by column of crops.

    Parameters
    ----------
    predict : callable
        As from `baseline`.
    setting : SensesSetting

    Returns
    -------
    dict
        ``fill disparity`` and ``fill colour``: lists (5, columns), with 0 to 4 of the visible patches showing the sense
        itself; of a model of one sense, the first is None. ``to disparity`` and ``to colour``: lists (columns,).
    """
    crops, column = cut(_scene_of(setting.kind), setting.part, setting.test)

    def means(errors: Tensor) -> list[float]:
        return [round(errors[column == c].mean().item(), 5) for c in column.unique()]

    found, kind = {}, setting.kind
    if not kind.startswith("to ") and kind != "crops":
        errors = [fill(predict, crops, colour) for colour in range(BUDGET + 1)]
        for sense in SENSES:
            if kind not in SENSES or kind == sense:
                rows = [means(e[sense]) for e in (errors if sense == "colour" else errors[::-1])]
                found[f"fill {sense}"] = [None, *rows[1:]] if kind == sense else rows
    if kind not in (*SENSES, "ridge alone", "copy"):
        for sense in SENSES:
            if not kind.startswith("to ") or kind == f"to {sense}":
                found[f"to {sense}"] = means(translate(predict, crops, sense))
    return found


def run(setting: SensesSetting) -> dict:
    """Train one model, or fit one baseline, and measure it.

    Parameters
    ----------
    setting : SensesSetting

    Returns
    -------
    dict
        ``errors``, what `measure` returns on the part of the setting, and ``seconds``: training time.
    """
    start = time.perf_counter()
    if setting.kind in MODELS:
        model = train_senses(setting)
        if setting == SHIPPED and not WEIGHTS.exists():
            save_model(model, WEIGHTS, dtype=torch.float16)
        seconds = time.perf_counter() - start

        def predict(x: Tensor, weight: Tensor, mask: Mask) -> Tensor:
            return predict_senses(model, x, mask)

    else:
        predict, seconds = baseline(setting.kind, setting.strength, setting.test), 0.0
    return {"errors": measure(predict, setting), "seconds": seconds}


# What is tried on the validation part: penalties, numbers of crops, epochs.
TRIED = {
    "ridge": (1e1, 1e2, 1e3, 1e4, 1e5, 1e6),
    "ridge alone": (1e-1, 1e0, 1e1, 1e2, 1e3),
    "crops": (1, 5, 20, 80, 320),
    "shared": (20, 60),
    "disparity": (15, 45),
    "to disparity": (5, 20),
}
AS = {"even": "shared", "control": "shared", "colour": "disparity", "to colour": "to disparity"}  # trained as long as
SHIPPED = SensesSetting(kind="shared", epochs=60)
SEEDS = {"to colour": 1, "control": 1}  # of the other models, three


def _rows(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def trials(kind: str, test: str, what: str, path: Path = RESULTS) -> dict[float, float]:
    """Stored errors on the validation part for each value tried.

    Parameters
    ----------
    kind : str
        One of `TRIED`.
    test : {"left", "right"}
        The half that is tested: of the other one the validation part is, too.
    what : str
        One of the errors that `measure` returns; of fillings, with half of the budget for each sense.
    path : Path

    Returns
    -------
    dict of float to float
        Penalty, number of crops or epochs → mean error.
    """
    found = {}
    for row in _rows(path):
        setting = SensesSetting(**row["setting"])
        if (setting.kind, setting.test, setting.part) == (kind, test, "validation"):
            errors = row["errors"][what]
            mean = np.mean(errors[BUDGET // 2] if what.startswith("fill") else errors)
            found[setting.epochs or setting.strength] = float(mean)
    return found


def chosen(kind: str, test: str, what: str, path: Path = RESULTS) -> float:
    """The value with the least error on the validation part.

    Parameters
    ----------
    kind, test, what, path
        As in `trials`.
    """
    found = trials(kind, test, what, path)
    return min(found, key=found.get)


def _errors_of(kind: str) -> tuple[str, ...]:
    """By which errors a value is chosen: a baseline has a value for each, a model one for all."""
    if kind in MODELS:
        return ("to disparity",) if kind == "to disparity" else ("fill disparity",)
    fillings, others = ("fill disparity", "fill colour"), ("to disparity", "to colour")
    return {"ridge": fillings + others, "ridge alone": fillings, "crops": others}[kind]


def validation_sweep() -> list[SensesSetting]:
    """The runs that are measured on the validation part."""
    found = []
    for test in PARTS:
        for kind, values in TRIED.items():
            name = "epochs" if kind in MODELS else "strength"
            found += [SensesSetting(kind=kind, test=test, part="validation", **{name: value}) for value in values]
    return found


def test_sweep(path: Path = RESULTS) -> list[SensesSetting]:
    """The runs that are measured on the test part, with what was chosen on the validation part.

    Parameters
    ----------
    path : Path
        Holds the runs of `validation_sweep`.
    """
    found = []
    for test in PARTS:
        for kind in BASELINES:
            values = [chosen(kind, test, what, path) for what in _errors_of(kind)] if kind in TRIED else [0.0]
            found += [SensesSetting(kind=kind, test=test, strength=value) for value in sorted(set(values))]
    for seed in range(3):
        for test in PARTS:
            for kind in (k for k in MODELS if seed < SEEDS.get(k, 3)):
                like = AS.get(kind, kind)
                epochs = chosen(like, test, *_errors_of(like), path)
                found.append(SensesSetting(kind=kind, test=test, seed=seed, epochs=epochs))
    return found


def load_senses() -> MaskedAutoencoder:
    """The model that comes with this package: both senses, a shared budget, the right half held out."""
    return place_tokens(load_model(WEIGHTS))


def stored_senses(kind: str, what: str) -> np.ndarray:
    """Stored errors on the test halves.

    Parameters
    ----------
    kind : str
        One of `MODELS` or `BASELINES`.
    what : str
        "fill disparity", "fill colour", "to disparity" or "to colour": see `measure`.

    Returns
    -------
    ndarray, (seeds, columns) or (seeds, 5, columns)
        Columns of crops, those of the right half first. One seed of a baseline; NaN where a model of one sense
        sees nothing.

    Raises
    ------
    ValueError
        If that was not measured.
    """
    found: dict[int, list] = {}
    for row in _rows(RESULTS):
        setting = SensesSetting(**row["setting"])
        if (setting.kind, setting.part) != (kind, "test") or what not in row["errors"]:
            continue
        if kind in BASELINES and kind in TRIED and setting.strength != chosen(kind, setting.test, what):
            continue
        errors = row["errors"][what]
        if what.startswith("fill"):
            errors = [[np.nan] * len(errors[-1]) if e is None else e for e in errors]
        found.setdefault(setting.seed, []).append(np.array(errors))
    if not found:
        raise ValueError(f"nothing stored of {kind!r}, {what!r}: see `measure` for what each kind can do")
    return np.stack([np.concatenate(halves, axis=-1) for halves in found.values()])


def paired(difference: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of a difference of errors: the columns of crops are the observations.

    Parameters
    ----------
    difference : ndarray, (seeds, columns)
        Seeds are averaged first.

    Returns
    -------
    (float, float)
        Neighbouring columns show some of the same things, so the error is rather too small.
    """
    columns = difference.mean(axis=0)
    return float(columns.mean()), float(columns.std(ddof=1) / len(columns) ** 0.5)


def run_senses(path: Path = RESULTS) -> None:
    """Run what is missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(validation_sweep(), run, path)
    run_missing(test_sweep(path), run, path)
