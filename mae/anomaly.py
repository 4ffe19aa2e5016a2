"""Finding what does not belong: a digit of a class never seen, a defect in a texture.

``python -m mae experiments`` fills ``results/anomaly.json``, one run after the other; stopped, it goes on where it was.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor

from mae.data import load_digits
from mae.evaluate import extract_features, hidden_errors
from mae.experiments import PATCH, run_missing, small_config
from mae.losses import masked_mse
from mae.masking import random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "anomaly.json"
TEXTURES = ("brick", "gravel", "grass")
DEFECTS = ("scratch", "blob", "patch of another texture")
CROP, TILE = 32, 16  # pixels
COUNTS = (1, 2, 4, 8, 16, 32)  # of masks
# Candidates for the baselines, from which `baselines` chooses on validation examples.
COMPONENTS = {"digits": (5, 10, 20, 40, 80, 160), "texture": (2, 4, 8, 16, 32)}
NEIGHBORS = (1, 5, 20)
SAMPLES = (256, 1000)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run.

    Parameters
    ----------
    normal : {"digits", "brick", "gravel", "grass"}
        What the model is trained on.
    held_out : int
        The class that it never sees; of digits only.
    ratio : float
        Share hidden, in training and in scoring.
    validation : bool
        Score validation examples, which come from the training part, to choose a ratio.
    seed : int
        Of the weights, the order and the masks; for textures of the crops and defects as well.
    """

    normal: str = "digits"
    held_out: int = 0
    ratio: float = 0.75
    validation: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.normal not in ("digits", *TEXTURES) or self.held_out not in range(10):
            raise ValueError(f"expected digits without a class of 0 to 9, or one of {TEXTURES}, got {self}")


RATIOS = {"digits": (0.25, 0.5, 0.75), "brick": (0.25, 0.5)}  # tried on validation examples
CHOSEN = {"digits": 0.25, "texture": 0.25}
SWEEP = [
    *(
        Setting(normal=name, held_out=2, ratio=ratio, validation=True)
        for name, ratios in RATIOS.items()
        for ratio in ratios
    ),
    *(Setting(held_out=digit, ratio=CHOSEN["digits"]) for digit in range(10)),
    *(Setting(normal=name, ratio=CHOSEN["texture"]) for name in TEXTURES),
]


@dataclass(frozen=True, eq=False)
class Problem:
    """Normal examples to learn from, and examples to tell apart.

    Parameters
    ----------
    train : Tensor, (B, 1, H, W)
        Normal ones only.
    test : Tensor, (B, 1, H, W)
    kind : list of str
        For each test example, "normal" or what is wrong with it.
    where : Tensor, (B, H, W), bool
        Which pixels are defective; none, where whole examples are.
    """

    train: Tensor
    test: Tensor
    kind: list[str]
    where: Tensor

    def standardized(self) -> "Problem":
        """The same with mean 0 and deviation 1 over the training pixels: the models learn much faster so."""
        mean, std = self.train.mean(), self.train.std()
        return replace(self, train=(self.train - mean) / std, test=(self.test - mean) / std)


def load_texture(name: str) -> Tensor:
    """A photograph of a texture, from scikit-image (van der Walt et al., 2014).

    Parameters
    ----------
    name : {"brick", "gravel", "grass"}

    Returns
    -------
    Tensor, (512, 512), float
        From 0 to 1.
    """
    if name not in TEXTURES:
        raise ValueError(f"expected one of {', '.join(TEXTURES)}, got {name!r}")
    from skimage import data

    return torch.from_numpy(getattr(data, name)()).float() / 255


def random_crops(picture: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """Squares from anywhere in a picture.

    Parameters
    ----------
    picture : Tensor, (H, W)
        At least `CROP` high and wide.
    count : int
        B.
    generator : torch.Generator

    Returns
    -------
    Tensor, (B, 1, CROP, CROP)
    """
    height, width = picture.shape
    top = torch.randint(height - CROP + 1, (count,), generator=generator)
    left = torch.randint(width - CROP + 1, (count,), generator=generator)
    return torch.stack([picture[t : t + CROP, x : x + CROP] for t, x in zip(top.tolist(), left.tolist(), strict=True)])[
        :, None
    ]


def add_defects(crops: Tensor, kind: str, other: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Give each crop one small defect.

    Parameters
    ----------
    crops : Tensor, (B, 1, CROP, CROP)
    kind : {"scratch", "blob", "patch of another texture"}
        A line two pixels wide, a soft spot, both 0.15 brighter or darker; or a disc of another texture.
    other : Tensor, (B, 1, CROP, CROP)
        Crops of another texture, of which the third kind is made; their brightness is fitted to the place.
    generator : torch.Generator

    Returns
    -------
    defective : Tensor, (B, 1, CROP, CROP)
        From 0 to 1.
    where : Tensor, (B, CROP, CROP), bool
    """
    if kind not in DEFECTS:
        raise ValueError(f"expected one of {', '.join(DEFECTS)}, got {kind!r}")
    B = len(crops)
    centre = 8 + (CROP - 16) * torch.rand(B, 2, 1, 1, generator=generator)
    angle = torch.pi * torch.rand(B, 1, 1, generator=generator)
    sign = 2.0 * (torch.rand(B, 1, 1, generator=generator) < 0.5) - 1
    axis = torch.arange(CROP).float()
    y, x = axis[:, None] - centre[:, 0], axis - centre[:, 1]  # (B, CROP, CROP)
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    if kind == "scratch":
        weight = ((across.abs() <= 1) & (along.abs() <= 8)).float()
    else:
        radius = (x**2 + y**2) ** 0.5
        weight = (1.5 - radius / 4).clamp(0, 1) if kind == "blob" else (radius <= 5).float()
    weight = weight[:, None]
    changed = crops + 0.15 * sign[:, None]
    if kind == DEFECTS[2]:
        total = weight.sum(dim=(2, 3), keepdim=True)
        shift = ((crops - other) * weight).sum(dim=(2, 3), keepdim=True) / total
        changed = other + shift
    return (crops + weight * (changed - crops)).clamp(0, 1), weight[:, 0] > 0.5


def digits_problem(held_out: int, validation: bool = False) -> Problem:
    """One class is missing from the training digits; the test digits of all classes are scored.

    Parameters
    ----------
    held_out : int
    validation : bool
        Without the test split: three more classes are missing, and play the anomalies; of the others a fifth of the
        training digits is kept for scoring.
    """
    digits = load_digits("train")
    if not validation:
        test, seen = load_digits("test"), digits.labels != held_out
        kind = ["normal" if label != held_out else str(held_out) for label in test.labels.tolist()]
        return Problem(digits.images[seen], test.images, kind, torch.zeros(len(kind), 28, 28, dtype=torch.bool))
    strange = (digits.labels[:, None] == torch.tensor([(held_out + step) % 10 for step in (1, 4, 7)])).any(dim=1)
    normal, last = ~strange & (digits.labels != held_out), torch.arange(len(digits.labels)) >= 3200
    scored = last & (strange | normal)
    kind = [str(y) if s else "normal" for y, s in zip(digits.labels[scored].tolist(), strange[scored], strict=True)]
    images = digits.images
    return Problem(images[normal & ~last], images[scored], kind, torch.zeros(len(kind), 28, 28, dtype=torch.bool))


def texture_problem(name: str, seed: int = 0, validation: bool = False) -> Problem:
    """The left part of a texture is normal; crops of the right part are scored, with and without defects.

    Parameters
    ----------
    name : {"brick", "gravel", "grass"}
    seed : int
        Of crops and defects.
    validation : bool
        Score crops of a strip between the two parts instead.
    """
    generator = torch.Generator().manual_seed(seed)
    texture = load_texture(name)
    left, strip, right = texture[:, :192], texture[:, 192:256], texture[:, 256:]
    foreign = load_texture(TEXTURES[(TEXTURES.index(name) + 1) % 3])
    train = random_crops(left, 2000, generator=generator)
    source = strip if validation else right
    test, where = [random_crops(source, 200, generator=generator)], [torch.zeros(200, CROP, CROP, dtype=torch.bool)]
    for kind in DEFECTS:
        crops, other = (random_crops(picture, 60, generator=generator) for picture in (source, foreign))
        defective, place = add_defects(crops, kind, other, generator=generator)
        test.append(defective)
        where.append(place)
    kinds = ["normal"] * 200 + [kind for kind in DEFECTS for _ in range(60)]
    return Problem(train, torch.cat(test), kinds, torch.cat(where))


def make_problem(setting: Setting) -> Problem:
    """The problem of a setting.

    Parameters
    ----------
    setting : Setting
    """
    if setting.normal == "digits":
        return digits_problem(setting.held_out, setting.validation)
    return texture_problem(setting.normal, setting.seed, setting.validation)


def aurocs(scores: np.ndarray, kind: list[str]) -> dict[str, float]:
    """Area under the ROC curve of each kind of anomaly against the normal examples.

    Parameters
    ----------
    scores : array-like, (B,)
        Higher is stranger.
    kind : list of str
        As in `Problem`.
    """
    scores, kind = np.asarray(scores), np.array(kind)
    return {
        name: float(roc_auc_score(kind[rows] == name, scores[rows]))
        for name in dict.fromkeys(kind.tolist())
        if name != "normal" and (rows := (kind == name) | (kind == "normal")) is not None
    }


def pooled(errors: np.ndarray, images: Tensor) -> dict[str, np.ndarray]:
    """Three ways to make one score of the scores of places.

    Parameters
    ----------
    errors : array-like, (B, N)
    images : Tensor, (B, 1, H, W)

    Returns
    -------
    dict
        ``mean``, ``max``, and ``relative``: the mean by the variance of the image; (B,) each.
    """
    errors, mean = np.asarray(errors), np.asarray(errors).mean(axis=1)
    return {"mean": mean, "max": errors.max(axis=1), "relative": mean / images.flatten(1).var(dim=1).numpy()}


def windows(images: Tensor, side: int, stride: int) -> np.ndarray:
    """Overlapping squares of images: what the baselines look at.

    Parameters
    ----------
    images : Tensor, (B, 1, H, W)
    side, stride : int
        In pixels.

    Returns
    -------
    ndarray, (B, N, side · side)
    """
    return F.unfold(images, side, stride=stride).transpose(1, 2).numpy()


def detectors(train: np.ndarray, test: np.ndarray, kind: str, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Scores of the baselines, with each of their candidates.

    Parameters
    ----------
    train, test : ndarray, (B, P)
    kind : {"digits", "texture"}
    seed : int

    Yields
    ------
    name : str
    choice : int
    scores : ndarray, (B,)
        Higher is stranger.
    """
    pca = PCA(max(COMPONENTS[kind]), svd_solver="covariance_eigh").fit(train)
    centred = test - pca.mean_
    for k in COMPONENTS[kind]:
        axes = pca.components_[:k]
        yield "PCA", k, ((centred - centred @ axes.T @ axes) ** 2).mean(axis=1)
    for samples in SAMPLES:
        forest = IsolationForest(n_estimators=100, max_samples=samples, random_state=seed).fit(train)
        yield "isolation forest", samples, -forest.score_samples(test)
    distances = NearestNeighbors(algorithm="brute").fit(train).kneighbors(test, max(NEIGHBORS))[0]
    for k in NEIGHBORS:
        yield "nearest neighbours", k, distances[:, :k].mean(axis=1)


def score_baselines(setting: Setting, problem: Problem) -> dict[tuple[str, int, str], dict[str, float]]:
    """AUROC by kind of anomaly of every baseline, candidate and way of pooling.

    On digits a baseline looks at the whole picture, on textures at windows of 8×8 pixels.

    Parameters
    ----------
    setting : Setting
    problem : Problem
    """
    kind = "digits" if setting.normal == "digits" else "texture"
    side, stride = (28, 28) if kind == "digits" else (8, 4)
    train, test = windows(problem.train, side, stride), windows(problem.test, side, stride)
    flat = train.reshape(-1, train.shape[2])
    if kind == "texture":
        flat = flat[:: max(len(flat) // 5000, 1)]
    found = {}
    with threadpool_limits(1):
        for name, choice, scores in detectors(flat, test.reshape(-1, test.shape[2]), kind, setting.seed):
            for pool, score in pooled(scores.reshape(test.shape[:2]), problem.test).items():
                found[name, choice, pool] = aurocs(score, problem.kind)
    return found


def development(normal: str) -> Setting:
    """The validation problem on which choices are made: the same for the model and for all baselines.

    Parameters
    ----------
    normal : str
        As in `Setting`; choices for all textures are made on brick.
    """
    name = "digits" if normal == "digits" else "brick"
    return Setting(normal=name, held_out=2, validation=True, ratio=CHOSEN["digits" if name == "digits" else "texture"])


@cache
def chosen_baselines(normal: str) -> dict[str, tuple[str, int, str]]:
    """For each baseline what is best on `development`, by the mean AUROC over kinds of anomalies.

    Parameters
    ----------
    normal : str
        As in `Setting`.
    """
    setting = development(normal)
    tried = score_baselines(setting, make_problem(setting))
    names = dict.fromkeys(name for name, _, _ in tried)
    return {
        name: max((key for key in tried if key[0] == name), key=lambda key: np.mean(list(tried[key].values())))
        for name in names
    }


def baselines(setting: Setting) -> dict[str, dict]:
    """Score a problem with PCA, an isolation forest and nearest neighbours.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        For each baseline ``auroc`` by kind, ``choice`` and ``pool``.
    """
    final = score_baselines(setting, make_problem(setting))
    chosen = chosen_baselines("digits" if setting.normal == "digits" else "brick")
    return {name: {"auroc": final[key], "choice": key[1], "pool": key[2]} for name, key in chosen.items()}


def digits_config() -> MAEConfig:
    """The model of `mae.experiments` with half of its blocks: so that ten classes can be held out in turn."""
    return replace(small_config(), depth=2, decoder_depth=1)


def texture_config() -> MAEConfig:
    """A model of tiles of 16×16 pixels in patches of 4×4."""
    return replace(digits_config(), patch_values=16)


def to_patches(setting: Setting, images: Tensor) -> Tensor:
    """What the model sees: digits in patches of 7×7 pixels; crops of textures as four tiles in patches of 4×4.

    Parameters
    ----------
    setting : Setting
    images : Tensor, (B, 1, H, W)

    Returns
    -------
    Tensor, (B or 4 · B, 16, P)
    """
    if setting.normal == "digits":
        return patchify(images, PATCH)
    return patchify(patchify(images, TILE).reshape(-1, 1, TILE, TILE), 4)


def train(setting: Setting, images: Tensor) -> MaskedAutoencoder:
    """Train a small masked autoencoder on normal examples.

    Parameters
    ----------
    setting : Setting
    images : Tensor, (B, 1, H, W)
        Standardised.
    """
    digits = setting.normal == "digits"
    config = digits_config() if digits else texture_config()
    model = MaskedAutoencoder(config, generator=torch.Generator().manual_seed(setting.seed))
    patches = to_patches(setting, images)

    def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
        mask = random_mask(len(batch), config.num_patches, setting.ratio, generator=generator)
        return masked_mse(model(patches[batch], mask), patches[batch], mask)

    options = TrainConfig(epochs=16 if digits else 8, seed=setting.seed)
    fit(model, loss_of_batch, len(patches), options, name=f"{setting.normal}, {setting.ratio:.0%}")
    return model


def mae_errors(setting: Setting, model: MaskedAutoencoder, images: Tensor, count: int = max(COUNTS)) -> Tensor:
    """Errors of each patch under many random masks.

    Parameters
    ----------
    setting : Setting
    model : MaskedAutoencoder
    images : Tensor, (B, 1, H, W)
        Standardised.
    count : int
        S, masks per image.

    Returns
    -------
    Tensor, (S, B, N)
        NaN where a patch was visible. Patches run by row, in tiles of textures by tile first.
    """
    generator = torch.Generator().manual_seed(1000 + setting.seed)
    errors = hidden_errors(model, to_patches(setting, images), setting.ratio, count, generator=generator)
    return errors.reshape(count, len(images), -1)


def texture_map(errors: Tensor) -> Tensor:
    """Scores of the patches of crops, as pictures.

    Parameters
    ----------
    errors : Tensor, (B, 64)
        Tile by tile, as `mae_errors` has them.

    Returns
    -------
    Tensor, (B, 8, 8)
    """
    tiles = errors.reshape(-1, 4, 16)  # patches of one value in tiles of 4×4
    return unpatchify(tiles, 4, 8)[:, 0]


def feature_distance(setting: Setting, model: MaskedAutoencoder, problem: Problem) -> np.ndarray:
    """Distance of each example's features from those of the nearest training example; of tiles, the largest.

    Parameters
    ----------
    setting : Setting
    model : MaskedAutoencoder
    problem : Problem
        Standardised.

    Returns
    -------
    ndarray, (B,)
    """
    train, test = (extract_features(model, to_patches(setting, x)) for x in (problem.train, problem.test))
    with threadpool_limits(1):
        neighbors = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train)
        return neighbors.kneighbors(test)[0].reshape(len(problem.test), -1).max(axis=1)


def run(setting: Setting) -> dict:
    """Train and score one setting, and its baselines.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``mae``: AUROC by way of pooling, number of masks and kind; ``features``: of `feature_distance`, by kind;
        ``baselines``: what `baselines` returns (not for validation); ``seconds``: training time.
    """
    problem = make_problem(setting).standardized()
    start = time.perf_counter()
    model = train(setting, problem.train)
    seconds = time.perf_counter() - start
    errors = mae_errors(setting, model, problem.test)
    found: dict = {}
    for count in COUNTS:
        some = errors[:count].nanmean(dim=0)
        for pool, scores in pooled(some.nan_to_num(0), problem.test).items():
            found.setdefault(pool, {})[str(count)] = aurocs(scores, problem.kind)
    return {
        "mae": found,
        "features": aurocs(feature_distance(setting, model, problem), problem.kind),
        "baselines": {} if setting.validation else baselines(setting),
        "seconds": seconds,
    }


def run_all(path: Path = RESULTS) -> None:
    """Run what is missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored(**wanted) -> list[dict]:
    """The stored runs with the given settings.

    Parameters
    ----------
    **wanted
        Fields of `Setting`; those not given are free.
    """
    rows = json.loads(RESULTS.read_text())["rows"]
    return [row for row in rows if all(row["setting"][name] == value for name, value in wanted.items())]


def chosen_pool(normal: str) -> str:
    """The way to pool the model's errors that is best on the stored validation examples.

    Parameters
    ----------
    normal : str
        As in `Setting`; the textures share what is best on brick.
    """
    (row,) = [row for row in stored(validation=True) if Setting(**row["setting"]) == development(normal)]
    last = str(COUNTS[-1])
    return max(row["mae"], key=lambda pool: np.mean(list(row["mae"][pool][last].values())))


def collected(count: int = COUNTS[-1], **wanted) -> dict[str, dict[tuple[str, str], list[float]]]:
    """Stored areas under the ROC curve on test examples.

    Parameters
    ----------
    count : int
        S, masks per image, of the model's errors.
    **wanted
        Fields of `Setting`, as for `stored`.

    Returns
    -------
    dict of str to dict
        For each method, and for what is normal and the kind of anomaly: one number for each seed.
    """
    found: dict = {}
    for row in stored(validation=False, **wanted):
        normal = row["setting"]["normal"]
        methods = {"MAE, error": row["mae"][chosen_pool(normal)][str(count)], "MAE, features": row["features"]}
        methods |= {name: baseline["auroc"] for name, baseline in row["baselines"].items()}
        for method, areas in methods.items():
            for kind, area in areas.items():
                found.setdefault(method, {}).setdefault((normal, kind), []).append(area)
    return found
