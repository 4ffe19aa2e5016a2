"""Faces: what 100 small crops can show, and sets with identities for those who have a network (question 21).

``python -m mae.faces`` fills ``results/faces.json``, one run after the other; stopped, it goes on where it was.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from skimage.data import lfw_subset
from sklearn.datasets import fetch_lfw_people, fetch_olivetti_faces
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mae.download import NETWORK
from mae.evaluate import reconstruct
from mae.experiments import run_missing
from mae.losses import masked_mse
from mae.masking import Mask, random_mask
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify, unpatchify
from mae.train import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "faces.json"

_SHA256 = "4168563b3de691b4d00c1af80e0abc1ed3e25d2b2b93d667458281eedd397827"
GRID = (5, 5)
PATCH = 5  # pixels
SIZE = 25
SIDES = (0, 1, 2, 3, 4)  # of the occluding square, in patches
COMPONENTS = (5, 10, 20, 40)


@dataclass(frozen=True, eq=False)
class Faces:
    """Pictures of faces, with the person's number where it is known.

    Parameters
    ----------
    images : Tensor, (B, 1, H, W), float32
        0 is black, 1 is white.
    people : Tensor, (B,), int64, or None
    """

    images: Tensor
    people: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


def load_crops() -> Faces:
    """The 100 faces of 25×25 pixels that come with scikit-image, a random part of LFW without its names.

    Returns
    -------
    Faces
        Its ``people`` are not known.

    Raises
    ------
    ValueError
        If the installed pictures are not the expected ones.
    """
    pixels = lfw_subset()[:100].astype(np.float32)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    if digest != _SHA256:
        raise ValueError(
            f"scikit-image's faces are not the ones this book was written with (SHA-256 {digest}, expected "
            f"{_SHA256}): install the versions in requirements.txt"
        )
    return Faces(torch.from_numpy(pixels)[:, None])


def load_people(name: str = "olivetti", folder: Path | None = None) -> Faces:
    """A set of faces with identities, through scikit-learn, which checks what it downloads.

    Parameters
    ----------
    name : {"olivetti", "lfw"}
        400 pictures of 40 people, 64×64 (about 4 MB), or those of LFW who have at least ten pictures, 62×47 (about
        200 MB).
    folder : Path, optional
        Where the files are kept; scikit-learn's own folder (``SCIKIT_LEARN_DATA``), if not given.

    Returns
    -------
    Faces

    Raises
    ------
    ValueError
        If the name is another.
    ConnectionError
        If the set is not in the folder and there is no network, or MAE_OFFLINE is set.
    """
    fetchers = {
        "olivetti": fetch_olivetti_faces,
        "lfw": lambda **options: fetch_lfw_people(min_faces_per_person=10, **options),
    }
    if name not in fetchers:
        raise ValueError(f'expected "olivetti" or "lfw", got {name!r}')
    offline = bool(os.environ.get("MAE_OFFLINE"))
    try:
        found = fetchers[name](data_home=folder, download_if_missing=not offline)
    except (*NETWORK, OSError) as error:
        cause = "MAE_OFFLINE is set" if offline else str(error)
        raise ConnectionError(
            f"the {name} faces are not in {folder or 'the folder of scikit-learn (sklearn.datasets.get_data_home())'} "
            f"and could not be downloaded ({cause}). With a network, call again; or copy that folder from a computer "
            "that has them"
        ) from error
    images = torch.from_numpy(np.asarray(found.images, dtype=np.float32))[:, None]
    return Faces(images / images.max().clamp(min=1), torch.from_numpy(np.asarray(found.target, dtype=np.int64)))


def halves(seed: int) -> tuple[Tensor, Tensor]:
    """Half of the crops to learn from, and the other half to test on.

    Parameters
    ----------
    seed : int

    Returns
    -------
    (Tensor, Tensor), each (50, 1, 25, 25)
    """
    images = load_crops().images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:50]], images[order[50:]]


def shifted(images: Tensor, *, generator: torch.Generator, pixels: int = 2) -> Tensor:
    """Shift each image by whole pixels; its edge is repeated where nothing comes in.

    Parameters
    ----------
    images : Tensor, (B, C, H, W)
    generator : torch.Generator
    pixels : int
        The largest shift, in each direction.

    Returns
    -------
    Tensor, (B, C, H, W)
    """
    H, W = images.shape[2:]
    wide = F.pad(images, (pixels,) * 4, mode="replicate")
    corners = torch.randint(2 * pixels + 1, (len(images), 2), generator=generator).tolist()
    return torch.stack([x[:, i : i + H, j : j + W] for x, (i, j) in zip(wide, corners, strict=True)])


def brightened(images: Tensor, *, generator: torch.Generator, share: float = 0.3) -> Tensor:
    """Multiply each image by a factor of its own, uniform in 1 ± share, and cut it to 0 … 1.

    Parameters
    ----------
    images : Tensor, (B, C, H, W)
    generator : torch.Generator
    share : float
    """
    factor = 1 + share * (2 * torch.rand(len(images), 1, 1, 1, generator=generator) - 1)
    return (images * factor).clamp(0, 1)


def disturbed(images: Tensor, *, generator: torch.Generator, noise: float = 0.1) -> Tensor:
    """A second look at the same pictures: shifted, brighter or darker, half of them blurred, all with noise.

    Parameters
    ----------
    images : Tensor, (B, 1, H, W)
    generator : torch.Generator
    noise : float
        Standard deviation.

    Returns
    -------
    Tensor, (B, 1, H, W)
        Between 0 and 1.
    """
    x = brightened(shifted(images, generator=generator), generator=generator)
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blurred = F.conv2d(F.pad(x, (2,) * 4, mode="replicate"), (row[:, None] * row)[None, None])
    x = torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, blurred, x)
    return (x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def square_mask(batch: int, side: int, *, generator: torch.Generator) -> Mask:
    """Hide one square of patches, somewhere.

    Parameters
    ----------
    batch : int
        B.
    side : int
        Of the square, in patches: 1 to 4.
    generator : torch.Generator

    Returns
    -------
    Mask
    """
    is_hidden = torch.zeros(batch, *GRID, dtype=torch.bool)
    corners = torch.randint(GRID[0] - side + 1, (batch, 2), generator=generator).tolist()
    for picture, (i, j) in zip(is_hidden, corners, strict=True):
        picture[i : i + side, j : j + side] = True
    return Mask.from_hidden(is_hidden.flatten(1))


def same_or_other(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Compare every picture's first view with every picture's second view.

    Parameters
    ----------
    first, second : Tensor, (B, D)
        Features of two views of the same B pictures.

    Returns
    -------
    scores : ndarray, (B · B,)
        Cosine similarities.
    same : ndarray, (B · B,), bool
        True where both views are of the same picture.
    """
    similarity = F.normalize(first.flatten(1), dim=1) @ F.normalize(second.flatten(1), dim=1).T
    return similarity.flatten().numpy(), np.eye(len(similarity), dtype=bool).flatten()


def auroc(first: Tensor, second: Tensor) -> float:
    """Area under the ROC curve of `same_or_other`: how often the same picture scores higher than another one.

    Parameters
    ----------
    first, second : Tensor, (B, D)
    """
    scores, same = same_or_other(first, second)
    return float(roc_auc_score(same, scores))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run on one pair of halves.

    Parameters
    ----------
    steps : int
        Of pre-training, with batches of 32.
    seed : int
        Draws the halves, the initial weights, the masks and all views.
    """

    steps: int = 1000
    seed: int = 0


SWEEP = [
    *(Setting(seed=seed) for seed in range(5)),
    *(Setting(steps=400, seed=seed) for seed in range(2)),
]


def faces_config() -> MAEConfig:
    """A small model for 25×25 grey faces in 5×5 patches."""
    return MAEConfig(
        grid=GRID,
        patch_values=PATCH * PATCH,
        width=48,
        depth=2,
        heads=4,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=4,
    )


class FaceModel:
    """A masked autoencoder on standardised pixels of faces.

    Parameters
    ----------
    train : Tensor, (B, 1, 25, 25)
        Fix the mean and the deviation of all pixels; `pretrain` learns from them.
    seed : int
    """

    def __init__(self, train: Tensor, seed: int):
        self.train, self.seed = train, seed
        self.mean, self.std = train.mean(), train.std()
        self.model = MaskedAutoencoder(faces_config(), generator=torch.Generator().manual_seed(seed)).eval()

    def patches(self, images: Tensor) -> Tensor:
        """Standardised patches, (B, 25, 25)."""
        return (patchify(images, PATCH) - self.mean) / self.std

    def pretrain(self, steps: int) -> list[dict]:
        """Shifts, mirror images, other brightness; half of the batches hide patches at random, half hide a square.

        Parameters
        ----------
        steps : int

        Returns
        -------
        list of dict
            The log of `fit`.
        """

        def loss_of_batch(batch: Tensor, generator: torch.Generator) -> Tensor:
            x = self.train[batch % len(self.train)]
            x = brightened(shifted(x, generator=generator), generator=generator)
            x = torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(3), x)
            draw = torch.randint(6, (), generator=generator).item()
            if draw < 3:
                mask = random_mask(len(x), GRID[0] * GRID[1], (0.4, 0.6, 0.8)[draw], generator=generator)
            else:
                mask = square_mask(len(x), draw - 1, generator=generator)
            patches = self.patches(x)
            return masked_mse(self.model(patches, mask), patches, mask)

        examples = 320  # an epoch of ten steps
        options = TrainConfig(epochs=steps // 10, batch_size=32, learning_rate=5e-3, seed=self.seed)
        return fit(self.model, loss_of_batch, examples, options, name="pre-training on faces")

    @torch.inference_mode()
    def tokens(self, images: Tensor) -> Tensor:
        """All patch tokens of whole pictures, side by side: (B, N · D)."""
        return self.model.encode(self.patches(images))[:, 1:].flatten(1)

    @torch.inference_mode()
    def fill(self, images: Tensor, mask: Mask) -> Tensor:
        """Pictures (B, 1, 25, 25) with their hidden patches as the model predicts them."""
        patches = self.patches(images)
        filled = reconstruct(self.model, patches, mask)
        return unpatchify((filled * self.std + self.mean).clamp(0, 1), PATCH, SIZE)


def hidden_pixels(mask: Mask) -> Tensor:
    """(B, 1, 25, 25), bool: True where a pixel is hidden.

    Parameters
    ----------
    mask : Mask
    """
    return unpatchify(mask.is_hidden[:, :, None].float().expand(-1, -1, PATCH * PATCH), PATCH, SIZE).bool()


class Eigenfaces:
    """Principal components of faces, and the likeliest hidden pixels given the visible ones.

    The second is what a Gaussian with these components and equal noise in all other directions expects
    (probabilistic PCA).

    Parameters
    ----------
    train : Tensor, (B, 1, H, W)
    components : int
    """

    def __init__(self, train: Tensor, components: int):
        self.pca = PCA(components, random_state=0).fit(train.flatten(1).double().numpy())

    def fill(self, images: Tensor, mask: Mask) -> Tensor:
        """Pictures (B, 1, H, W) with their hidden pixels filled in."""
        mean, vectors = self.pca.mean_, self.pca.components_.T  # (H · W,), (H · W, components)
        prior = np.diag(self.pca.noise_variance_ / self.pca.explained_variance_)
        filled = images.flatten(1).double().numpy().copy()
        for x, hidden in zip(filled, hidden_pixels(mask).flatten(1).numpy(), strict=True):
            seen = vectors[~hidden]
            code = np.linalg.solve(seen.T @ seen + prior, seen.T @ (x[~hidden] - mean[~hidden]))
            x[hidden] = mean[hidden] + vectors[hidden] @ code
        return torch.from_numpy(filled).float().clamp(0, 1).view_as(images)


def best_eigenfaces(train: Tensor, *, generator: torch.Generator) -> Eigenfaces:
    """As many components as fill in squares best, on a fifth of the training faces that the others have not seen.

    Parameters
    ----------
    train : Tensor, (B, 1, 25, 25)
    generator : torch.Generator
    """
    held_out = train[: len(train) // 5]
    mask = square_mask(len(held_out), 3, generator=generator)
    rest = many_views(train[len(train) // 5 :], generator=generator)

    def error(components: int) -> float:
        return filling_error(Eigenfaces(rest, components).fill(held_out, mask), held_out, mask)

    return Eigenfaces(many_views(train, generator=generator), min(COMPONENTS, key=error))


def many_views(images: Tensor, *, generator: torch.Generator, count: int = 10) -> Tensor:
    """Shifted, brighter and darker versions of faces and of their mirror images: what `FaceModel` learns from.

    Parameters
    ----------
    images : Tensor, (B, 1, H, W)
    generator : torch.Generator
    count : int
        Of each picture.

    Returns
    -------
    Tensor, (count · B, 1, H, W)
    """
    views = [brightened(shifted(images, generator=generator), generator=generator) for _ in range(count)]
    return torch.cat([x.flip(3) if i % 2 else x for i, x in enumerate(views)])


def filling_error(filled: Tensor, images: Tensor, mask: Mask) -> float:
    """Mean squared error on hidden pixels.

    Parameters
    ----------
    filled, images : Tensor, (B, 1, 25, 25)
    mask : Mask
    """
    hidden = hidden_pixels(mask)
    return float(((filled - images)[hidden] ** 2).mean())


def whitened(train: Tensor, *components: int) -> list[Callable[[Tensor], Tensor]]:
    """Principal components, all brought to the same variance: what cosine similarity is taken of.

    Parameters
    ----------
    train : Tensor, (B, D)
    *components : int
        One or several numbers k of them.

    Returns
    -------
    list of callable
        For each number, a map (B, D) → (B, k).
    """
    pca = PCA(max(components), whiten=True, random_state=0).fit(train.double().numpy())

    def project(x: Tensor, k: int) -> Tensor:
        return torch.from_numpy(pca.transform(x.double().numpy())[:, :k]).float()

    return [partial(project, k=k) for k in components]


def occluded(images: Tensor, mask: Mask, *, generator: torch.Generator) -> Tensor:
    """Paint the hidden patches of each picture in one random grey.

    Parameters
    ----------
    images : Tensor, (B, 1, 25, 25)
    mask : Mask
    generator : torch.Generator
    """
    return torch.where(hidden_pixels(mask), torch.rand(len(images), 1, 1, 1, generator=generator), images)


@dataclass(frozen=True, eq=False)
class Looks:
    """Disturbed and occluded views of pictures.

    Parameters
    ----------
    images : Tensor, (B, 1, 25, 25)
    mask : Mask or None
        What is occluded; None if nothing is.
    """

    images: Tensor
    mask: Mask | None


def look(images: Tensor, side: int, *, generator: torch.Generator) -> Looks:
    """One disturbed view of each picture, with a square of patches occluded.

    Parameters
    ----------
    images : Tensor, (B, 1, 25, 25)
    side : int
        Of the square, in patches; 0 for none.
    generator : torch.Generator
    """
    x = disturbed(images, generator=generator)
    if not side:
        return Looks(x, None)
    mask = square_mask(len(x), side, generator=generator)
    return Looks(occluded(x, mask, generator=generator), mask)


def representations(model: FaceModel, untrained: FaceModel, eigenfaces: Eigenfaces) -> dict[str, Callable]:
    """What looks are turned into before they are compared; the last three know what is occluded.

    Parameters
    ----------
    model, untrained : FaceModel
    eigenfaces : Eigenfaces

    Returns
    -------
    dict
        For each name, a function `Looks` → (B, D).
    """
    mean = model.train.mean(dim=0, keepdim=True)

    def filled(fill: Callable) -> Callable:
        return lambda looks: (looks.images if looks.mask is None else fill(looks.images, looks.mask)).flatten(1)

    return {
        "pixels": lambda looks: looks.images.flatten(1),
        "untrained encoder": lambda looks: untrained.tokens(looks.images),
        "MAE encoder": lambda looks: model.tokens(looks.images),
        "mean face fills": filled(lambda x, mask: torch.where(hidden_pixels(mask), mean, x)),
        "eigenfaces fill": filled(eigenfaces.fill),
        "MAE fills": filled(model.fill),
    }


def run(setting: Setting) -> dict:
    """Learn from one half of the faces, and verify on the other.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        ``auroc``: for each representation and side of the square, on test faces; ``raw``: the same for plain pixels.
        ``error``: of filling in squares of 3 patches, by each way. ``seconds``.
    """
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(100 + setting.seed)
    train, test = halves(setting.seed)
    model, untrained = FaceModel(train, setting.seed), FaceModel(train, setting.seed)
    model.pretrain(setting.steps)
    eigenfaces = best_eigenfaces(train, generator=generator)
    ways = representations(model, untrained, eigenfaces)
    areas = {name: [] for name in ("plain pixels", *ways)}
    with threadpool_limits(1):
        for side in SIDES:
            fitted = [look(train, side, generator=generator) for _ in range(10)]
            tried = [[look(train, side, generator=generator) for _ in range(2)] for _ in range(2)]
            tested = [[look(test, side, generator=generator) for _ in range(2)] for _ in range(4)]
            for name, way in ways.items():
                features = torch.cat([way(looks) for looks in fitted])
                maps = whitened(features, *COMPONENTS)
                known, new = ([[way(looks) for looks in pair] for pair in pairs] for pairs in (tried, tested))
                best = max(maps, key=partial(mean_auroc, pairs=known))
                areas[name].append(mean_auroc(best, new))
            plain = [[looks.images.flatten(1) - train.mean(dim=0).flatten() for looks in pair] for pair in tested]
            areas["plain pixels"].append(mean_auroc(nn.Identity(), plain))
    mask = square_mask(len(test), 3, generator=generator)
    errors = {
        "mean face": filling_error(train.mean(dim=0).expand_as(test), test, mask),
        "eigenfaces": filling_error(eigenfaces.fill(test, mask), test, mask),
        "MAE": filling_error(model.fill(test, mask), test, mask),
    }
    return {"auroc": areas, "error": errors, "seconds": time.perf_counter() - start}


def mean_auroc(change: Callable, pairs: list) -> float:
    """`auroc`, averaged over pairs of views.

    Parameters
    ----------
    change : callable
        What the features go through, such as a map that `whitened` returns.
    pairs : list of (Tensor, Tensor), each (B, D)
    """
    return float(np.mean([auroc(change(first), change(second)) for first, second in pairs]))


def run_faces(path: Path = RESULTS) -> None:
    """Run the experiments that are missing.

    Parameters
    ----------
    path : Path
    """
    run_missing(SWEEP, run, path)


def stored(steps: int) -> list[dict]:
    """The stored runs of one length, one for each seed.

    Parameters
    ----------
    steps : int
    """
    return [row for row in json.loads(RESULTS.read_text())["rows"] if row["setting"]["steps"] == steps]


if __name__ == "__main__":
    run_faces()
