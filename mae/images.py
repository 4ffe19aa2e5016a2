"""Images from folders: found, opened, augmented and cut into patches, one example at a time."""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mae.data import load_digits, random_affine
from mae.masking import random_mask
from mae.model import MAEConfig
from mae.patches import patchify

SUFFIXES = {".jpg", ".jpeg", ".png"}
# Mean and standard deviation of ImageNet's red, green and blue, as the published models expect them.
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures on disk or in memory, opened one at a time, with their classes if they have any.

    Parameters
    ----------
    pictures : list of Path, or Tensor (B, 1, H, W) between 0 and 1
    channels : {1, 3}
        Grey or RGB; files of the other kind are converted.
    labels : Tensor, (B,), int64, optional
    classes : tuple of str
        Their names.
    name : str
        Tells one data set from another, wherever it lies: number and names of the files, or the pixels, in one hash.
    """

    pictures: list[Path] | Tensor
    channels: int
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    name: str = ""

    def __len__(self) -> int:
        return len(self.pictures)

    def open(self, index: int) -> Image.Image:
        """One picture, upright, in 8 bits a channel.

        Parameters
        ----------
        index : int

        Raises
        ------
        ValueError
            If its file is not a readable image.
        """
        picture = self.pictures[index]
        if isinstance(picture, Tensor):
            return Image.fromarray((picture[0] * 255).round().byte().numpy())
        return open_image(picture, self.channels)

    def only(self, rows: Tensor) -> "Images":
        """Some of the pictures.

        Parameters
        ----------
        rows : Tensor, (n,), int64
        """
        pictures = self.pictures[rows] if isinstance(self.pictures, Tensor) else [self.pictures[i] for i in rows]
        return Images(
            pictures, self.channels, None if self.labels is None else self.labels[rows], self.classes, self.name
        )


def open_image(path: Path, channels: int) -> Image.Image:
    """Open an image file, upright, in 8 bits a channel.

    Parameters
    ----------
    path : Path
    channels : {1, 3}
        Grey or RGB.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a readable image, or one of 16 bits.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"mode {image.mode}: convert it to 8 bits a channel")
            return ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable image ({error}): mend it or take it away") from error


def _files(folder: Path) -> Iterator[Path]:
    """Files in a folder and below it, also behind links; none that is hidden or in a hidden folder."""
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place).absolute()
        above = {p.resolve() for p in (here, *here.parents)}  # a link to one of these would lead in circles
        folders[:] = [f for f in folders if not f.startswith(".") and (here / f).resolve() not in above]
        yield from (Path(place, f) for f in files if not f.startswith("."))


def open_folder(folder: Path, channels: int = 3, labelled: bool = False) -> Images:
    """All JPEG and PNG files in a folder and below it, in alphabetical order.

    Links are followed, but not back to a folder they lie in. Files and folders whose names begin with a dot are left
    out.

    Parameters
    ----------
    folder : Path
    channels : {1, 3}
    labelled : bool
        The folders directly inside are the classes.

    Returns
    -------
    Images

    Raises
    ------
    ValueError
        If there is no such folder, no image in it, or fewer than two classes.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: give a folder of images, or `digits`")
    paths = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"there is no JPEG or PNG file in {folder} or below it")
    names = [path.relative_to(folder).as_posix() for path in paths]
    name = f"{len(names)} files, {hashlib.sha256('/'.join(names).encode()).hexdigest()[:16]}"
    if not labelled:
        return Images(paths, channels, name=name)
    classes = sorted({file.split("/")[0] for file in names if "/" in file})
    if len(classes) < 2 or any("/" not in file for file in names):
        raise ValueError(
            f"expected {folder} to hold one folder of images for each class, at least two and no image beside them, "
            f"got {len(classes)} folder{'s' * (len(classes) != 1)} and "
            f"{sum('/' not in file for file in names)} images beside them"
        )
    number = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([number[file.split("/")[0]] for file in names])
    return Images(paths, channels, labels, tuple(classes), name)


def open_digits(split: str) -> Images:
    """The digits of `load_digits`.

    Parameters
    ----------
    split : {"train", "test"}
    """
    digits = load_digits(split)
    name = f"digits, {hashlib.sha256(digits.images.numpy().tobytes()).hexdigest()[:16]}"
    return Images(digits.images, 1, digits.labels, tuple("0123456789"), name)


def open_split(data: str, channels: int = 3) -> tuple[Images, Images]:
    """Pictures with classes, and others of the same classes that are held out from training.

    Parameters
    ----------
    data : str
        ``digits``, or a folder with one folder for each class. If it has the folders ``train`` and ``val`` (or
        ``test``), these are the two parts; otherwise every fifth picture of each class is held out, chosen once and
        for all.
    channels : {1, 3}

    Returns
    -------
    train, held_out : Images
    """
    if data == "digits":
        return open_digits("train"), open_digits("test")
    folder = Path(data)
    held_out = next((folder / name for name in ("val", "test") if (folder / name).is_dir()), None)
    if held_out and (folder / "train").is_dir():
        parts = open_folder(folder / "train", channels, True), open_folder(held_out, channels, True)
        if parts[0].classes != parts[1].classes:
            raise ValueError(f"{folder}/train and {held_out} have different classes: make them the same")
        return parts
    images = open_folder(folder, channels, True)
    order = torch.randperm(len(images), generator=example_generator(0))
    is_held_out = torch.zeros(len(images), dtype=torch.bool)
    for label in range(len(images.classes)):
        is_held_out[order[images.labels[order] == label][::5]] = True
    if len(set(images.labels[~is_held_out].tolist())) < len(images.classes):
        raise ValueError(f"expected at least two images of each class in {folder}: one is held out")
    return images.only((~is_held_out).nonzero()[:, 0]), images.only(is_held_out.nonzero()[:, 0])


def example_generator(*numbers: int) -> torch.Generator:
    """A generator that depends on these numbers, such as seed, epoch and example, and on nothing else.

    Parameters
    ----------
    *numbers : int
        Not negative.
    """
    seed = np.random.SeedSequence([len(numbers), *numbers]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed))


def image_layout(config: MAEConfig) -> tuple[int, int, tuple[int, int]]:
    """The images that a model takes, if its patches are square and grey or RGB.

    Parameters
    ----------
    config : MAEConfig

    Returns
    -------
    patch_size, channels : int
    size : (int, int)
        Height and width in pixels.

    Raises
    ------
    ValueError
        If a patch of this model is no such square.
    """
    for channels in (1, 3):  # p² and 3·q² are never the same number
        p = math.isqrt(config.patch_values // channels)
        if p * p * channels == config.patch_values:
            return p, channels, (config.grid[0] * p, config.grid[1] * p)
    raise ValueError(f"expected a model of square grey or RGB patches, got one of {config.patch_values} values")


def random_crop(image: Image.Image, size: tuple[int, int], *, generator: torch.Generator) -> Image.Image:
    """A random rectangle of 20 to 100 % of the area, resized, flipped half of the time (He et al., 2022, table 8).

    Its sides are as 3:4 to 4:3; it is cut where it would be larger than the image.

    Parameters
    ----------
    image : PIL image
    size : (int, int)
        Height and width of the result.
    generator : torch.Generator

    Returns
    -------
    PIL image
    """
    width, height = image.size
    area, shape, left, top, flip = torch.rand(5, generator=generator).tolist()
    area = width * height * (0.2 + 0.8 * area)
    aspect = (3 / 4) ** (1 - 2 * shape)  # from 3:4 to 4:3, as often upright as lying
    w, h = min(math.sqrt(area * aspect), width), min(math.sqrt(area / aspect), height)
    left, top = left * (width - w), top * (height - h)
    image = image.resize(size[::-1], Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip < 0.5 else image


def centre_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest rectangle of the right shape in the middle of an image, resized.

    Parameters
    ----------
    image : PIL image
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    PIL image
    """
    return image if image.size == size[::-1] else ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)


def to_tensor(image: Image.Image) -> Tensor:
    """Pixels as a model takes them: grey between 0 and 1, RGB with ImageNet's mean 0 and variance 1.

    Parameters
    ----------
    image : PIL image

    Returns
    -------
    Tensor, (C, H, W)
    """
    x = torch.from_numpy(np.array(image)).float() / 255
    return x[None] if x.ndim == 2 else (x.permute(2, 0, 1) - MEAN) / STD


def to_image(x: Tensor) -> Image.Image:
    """The inverse of `to_tensor`; what lies out of range is clipped.

    Parameters
    ----------
    x : Tensor, (C, H, W)
    """
    x = x[0] if len(x) == 1 else (x * STD + MEAN).permute(1, 2, 0)
    return Image.fromarray((x.clamp(0, 1) * 255).round().byte().numpy())


@dataclass(frozen=True, eq=False)
class Examples(torch.utils.data.Dataset):
    """What the loader's workers compute: from an epoch and an index, the tensors of one example.

    Everything random in an example comes from ``(seed, epoch, index)``, so it does not matter which worker or process
    computes it, or when.

    Parameters
    ----------
    images : Images
    patch_size : int
    size : (int, int)
        Height and width that pictures are brought to.
    augment : {"crop", "affine", "none"}
        `random_crop`; or the `random_affine` of the digits; or nothing but `centre_crop`.
    mask_ratio : float, optional
        Share of patches that a mask hides; without it, an example has its label instead of a mask.
    noise : int
        How many random numbers between 0 and 1 go with the label.
    seed : int
    """

    images: Images
    patch_size: int
    size: tuple[int, int]
    augment: str = "none"
    mask_ratio: float | None = None
    noise: int = 0
    seed: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int, float]) -> tuple[Tensor | int | float, ...]:
        """Patches (N, P), then visible (K,) and hidden (M,) indices or label and noise, then the weight.

        Parameters
        ----------
        key : (int, int, float)
            Epoch, index, and the example's weight, which is handed through.
        """
        epoch, index, weight = key
        generator = example_generator(self.seed, epoch, index)
        image = self.images.open(index)
        if self.augment == "crop":
            x = to_tensor(random_crop(image, self.size, generator=generator))[None]
        else:
            x = to_tensor(centre_crop(image, self.size))[None]
        if self.augment == "affine":
            x = random_affine(x, generator=generator)
        patches = patchify(x, self.patch_size)
        if self.mask_ratio is None:
            return patches[0], self.images.labels[index], torch.rand(self.noise, generator=generator), weight
        mask = random_mask(1, patches.shape[1], self.mask_ratio, generator=generator)
        return patches[0], mask.visible[0], mask.hidden[0], weight
