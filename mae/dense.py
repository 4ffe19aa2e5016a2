"""An answer for each patch: boxes of objects (detection), or a class for each of its pixels (segmentation)."""

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label, regionprops
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from mae.model import MaskedAutoencoder
from mae.patches import patch_grid, patchify, unpatchify


def window_tokens(model: MaskedAutoencoder, images: Tensor, patch_size: int, step: int) -> Tensor:
    """Patch tokens of images larger than the model's: attention stays within overlapping windows.

    A patch that several windows see takes its token from the one in which it lies furthest from the edge.

    Parameters
    ----------
    model : MaskedAutoencoder
    images : Tensor, (B, C, H, W)
        One or two steps larger than a window in each direction, or as large.
    patch_size : int
    step : int
        From one window to the next, in patches.

    Returns
    -------
    Tensor, (B, N, D)
        N patches of the image, row by row.

    Raises
    ------
    ValueError
        If patches or windows do not end at the edge of the image.
    """
    window, grid = model.config.grid, patch_grid(tuple(images.shape[2:]), patch_size)
    if any((g - w) % step or g < w for g, w in zip(grid, window, strict=True)):
        raise ValueError(f"windows of {window} patches, {step} apart, don't cover a grid of {grid} patches exactly")
    tokens = images.new_zeros(len(images), *grid, model.config.width)
    depth = torch.full(grid, -1)  # of a patch's place in the window that its token came from
    rows, columns = (torch.minimum(torch.arange(w), w - 1 - torch.arange(w)) for w in window)
    inside = torch.minimum(rows[:, None], columns[None])
    for top in range(0, grid[0] - window[0] + 1, step):
        for left in range(0, grid[1] - window[1] + 1, step):
            place = (slice(top, top + window[0]), slice(left, left + window[1]))
            cut = images[:, :, top * patch_size :, left * patch_size :]
            cut = cut[:, :, : window[0] * patch_size, : window[1] * patch_size]
            new = torch.cat([model.encode(x)[:, 1:] for x in patchify(cut, patch_size).split(100)])
            better = inside > depth[place]
            tokens[:, place[0], place[1]] = torch.where(
                better[..., None], new.unflatten(1, window), tokens[:, place[0], place[1]]
            )
            depth[place] = torch.where(better, inside, depth[place])
    return tokens.flatten(1, 2)


def with_neighbours(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Each token together with the eight around it; zeros beyond the edge.

    Parameters
    ----------
    tokens : Tensor, (B, N, D)
    grid : (int, int)

    Returns
    -------
    Tensor, (B, N, 9·D)
    """
    maps = tokens.transpose(1, 2).unflatten(2, grid)  # (B, D, rows, columns)
    return F.unfold(maps, 3, padding=1).transpose(1, 2)


class DenseHead(nn.Module):
    """Two linear maps on the features of each patch: (B, N, F) → (B, N, outputs).

    Parameters
    ----------
    features, hidden, outputs : int
    nothing : int, optional
        An output that begins high: the class that most patches have.
    generator : torch.Generator, optional
        Draws the initial weights.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        outputs: int,
        *,
        nothing: int | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
        nn.init.xavier_uniform_(self.fc1.weight, generator=generator)
        nn.init.normal_(self.fc2.weight, std=0.01, generator=generator)
        for layer in (self.fc1, self.fc2):
            nn.init.zeros_(layer.bias)
        if nothing is not None:
            nn.init.constant_(self.fc2.bias[nothing], 5.0)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(features)))


def patch_centres(grid: tuple[int, int], patch_size: int) -> Tensor:
    """Where the centres of the patches lie.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns.
    patch_size : int

    Returns
    -------
    Tensor, (N, 2)
        x and y in pixels.
    """
    y, x = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return (torch.stack([x.flatten(), y.flatten()], dim=1) + 0.5) * patch_size


def detection_targets(
    boxes: Tensor, classes: Tensor, grid: tuple[int, int], patch_size: int, num_classes: int = 10
) -> tuple[Tensor, Tensor]:
    """What each patch should answer: the object whose centre it holds, or nothing.

    Parameters
    ----------
    boxes : Tensor, (B, M, 4)
        Left, top, right, bottom in pixels.
    classes : Tensor, (B, M), int64
        ``num_classes`` where an entry is empty.
    grid : (int, int)
    patch_size : int
    num_classes : int

    Returns
    -------
    wanted : Tensor, (B, N), int64
        A class, or ``num_classes`` for "nothing".
    offsets : Tensor, (B, N, 4)
        From the patch's centre to the box's, x and y in patches, and the logarithm of width and height in patches;
        zeros where there is nothing.
    """
    B, N = len(boxes), grid[0] * grid[1]
    wanted, offsets = torch.full((B, N), num_classes), torch.zeros(B, N, 4)
    b, m = (classes < num_classes).nonzero(as_tuple=True)
    box = boxes[b, m]  # (objects, 4)
    centre, sides = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    column, row = (centre / patch_size).long().unbind(dim=1)
    n = row.clamp(max=grid[0] - 1) * grid[1] + column.clamp(max=grid[1] - 1)
    shift = (centre - patch_centres(grid, patch_size)[n]) / patch_size
    wanted[b, n] = classes[b, m]
    offsets[b, n] = torch.cat([shift, (sides / patch_size).log()], dim=1)
    return wanted, offsets


def detection_loss(outputs: Tensor, wanted: Tensor, offsets: Tensor) -> Tensor:
    """Cross-entropy on all patches, and absolute error of the offsets where there is an object.

    Parameters
    ----------
    outputs : Tensor, (B, N, classes + 1 + 4)
        Scores of the classes and of "nothing", then the offsets.
    wanted, offsets : Tensor, (B, N) and (B, N, 4)
        What `detection_targets` gave.

    Returns
    -------
    Tensor, ()
        Both sums divided by the number of objects.
    """
    scores, guess = outputs[..., :-4], outputs[..., -4:]
    is_object = wanted < scores.shape[-1] - 1
    count = is_object.sum().clamp(min=1)
    recognition = F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="sum")
    return (recognition + (guess - offsets)[is_object].abs().sum()) / count


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box of `a` with each of `b`.

    Parameters
    ----------
    a, b : Tensor, (n, 4) and (m, 4)
        Left, top, right, bottom.

    Returns
    -------
    Tensor, (n, m)
    """
    sides = torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])
    both = sides.clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(dim=1) for x in (a, b))
    return both / (area_a[:, None] + area_b[None] - both)


def suppress(boxes: Tensor, scores: Tensor, most: float = 0.4) -> Tensor:
    """Non-maximum suppression: of boxes that overlap, keep the best.

    Parameters
    ----------
    boxes : Tensor, (n, 4)
    scores : Tensor, (n,)
    most : float
        The highest IoU with a better box at which a box is kept.

    Returns
    -------
    Tensor, (kept,), int64
        Indices, the best first.
    """
    order = scores.argsort(descending=True, stable=True)
    iou = box_iou(boxes[order], boxes[order])
    keep: list[int] = []
    for i in range(len(order)):
        if not keep or iou[i, keep].max() <= most:
            keep.append(i)
    return order[keep]


def detect(
    outputs: Tensor, grid: tuple[int, int], patch_size: int, lowest: float = 0.02
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Boxes from what the head says about each patch.

    Parameters
    ----------
    outputs : Tensor, (B, N, classes + 1 + 4)
    grid : (int, int)
    patch_size : int
    lowest : float
        Patches whose best class is less likely than this say nothing.

    Returns
    -------
    list of (boxes, classes, scores)
        For each picture (n, 4), (n,) and (n,), the most certain first. A patch names one class; of boxes that overlap,
        whatever their class, one stays (`suppress`).
    """
    probability, classes = outputs[..., :-4].softmax(dim=-1)[..., :-1].max(dim=-1)  # (B, N)
    centre = patch_centres(grid, patch_size) + outputs[..., -4:-2] * patch_size
    sides = outputs[..., -2:].clamp(-4, 4).exp() * patch_size
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], dim=-1)  # (B, N, 4)
    found = []
    for box, name, score in zip(boxes, classes, probability, strict=True):
        some = (score > lowest).nonzero()[:, 0]
        keep = some[suppress(box[some], score[some])]
        found.append((box[keep], name[keep], score[keep]))
    return found


def match(boxes: Tensor, scores: Tensor, truth: Tensor, least: float = 0.5) -> Tensor:
    """Which detections in a picture are right: each true box is given to one detection, the most certain first.

    Parameters
    ----------
    boxes : Tensor, (n, 4)
    scores : Tensor, (n,)
    truth : Tensor, (m, 4)
    least : float
        The IoU that counts as found.

    Returns
    -------
    Tensor, (n,), bool
    """
    right = torch.zeros(len(boxes), dtype=torch.bool)
    iou, free = box_iou(boxes, truth), torch.ones(len(truth), dtype=torch.bool)
    for i in scores.argsort(descending=True, stable=True).tolist():
        best = iou[i].argmax() if len(truth) else None
        if best is not None and iou[i, best] >= least and free[best]:
            right[i], free[best] = True, False
    return right


def average_precision(right: np.ndarray, scores: np.ndarray, objects: int) -> float:
    """Area under the curve of precision over recall, each precision raised to the best at a higher recall.

    Parameters
    ----------
    right : ndarray, (n,), bool
        Which detections found an object.
    scores : ndarray, (n,)
    objects : int
        How many there were to find, those that nobody found included.

    Returns
    -------
    float
    """
    if objects < 1:
        raise ValueError(f"expected at least one object to find, got {objects}")
    right = np.asarray(right, dtype=bool)[np.argsort(-np.asarray(scores), kind="stable")]
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / objects)  # each object found is a step of 1 / objects in recall


def mean_average_precision(
    found: list[tuple[Tensor, Tensor, Tensor]],
    boxes: Tensor,
    classes: Tensor,
    num_classes: int = 10,
    least: float = 0.5,
) -> float:
    """Average precision of each class over all pictures, then the mean over the classes.

    Parameters
    ----------
    found : list of (boxes, classes, scores)
        What `detect` gave.
    boxes, classes : Tensor, (B, M, 4) and (B, M)
        The truth.
    num_classes : int
    least : float
        The IoU that counts as found.
    """
    values = []
    for c in range(num_classes):
        right, scores = [], []
        for (box, name, score), true_box, true_name in zip(found, boxes, classes, strict=True):
            mine = name == c
            right.append(match(box[mine], score[mine], true_box[true_name == c], least))
            scores.append(score[mine])
        objects = int((classes == c).sum())
        if objects:
            values.append(average_precision(torch.cat(right).numpy(), torch.cat(scores).numpy(), objects))
    return float(np.mean(values))


def pixel_scores(outputs: Tensor, patch_size: int, image_size: int | tuple[int, int]) -> Tensor:
    """Scores for each pixel from those of each patch: `unpatchify`, with classes for channels.

    Parameters
    ----------
    outputs : Tensor, (B, N, p·p·classes)
    patch_size : int
    image_size : int or (int, int)

    Returns
    -------
    Tensor, (B, classes, H, W)
    """
    return unpatchify(outputs, patch_size, image_size)


def segmentation_loss(outputs: Tensor, wanted: Tensor, some: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over pixels.

    Parameters
    ----------
    outputs : Tensor, (B, N, p·p·classes)
    wanted : Tensor, (B, N, p·p), int64
        The class of each pixel: ``patchify(pixels[:, None].float(), p).long()``.
    some : Tensor, (n,), int64, optional
        Places in a patch that count, all of them without it. A random few in each step cost less, and mean the same.

    Returns
    -------
    Tensor, ()
    """
    scores = outputs.unflatten(2, (wanted.shape[2], -1))  # (B, N, p·p, classes)
    if some is not None:
        scores, wanted = scores[:, :, some], wanted[:, :, some]
    return F.cross_entropy(scores.flatten(0, 2), wanted.flatten())


def bright_spots(image: Tensor, threshold: float, least: int) -> Tensor:
    """Boxes of connected bright regions: detection without learning.

    Parameters
    ----------
    image : Tensor, (H, W)
    threshold : float
        What is brighter belongs to a region; regions connect diagonally, too.
    least : int
        The fewest pixels of a region.

    Returns
    -------
    Tensor, (n, 4), float32
    """
    regions = regionprops(label((image > threshold).numpy(), connectivity=2))
    boxes = [(r.bbox[1], r.bbox[0], r.bbox[3], r.bbox[2]) for r in regions if r.area >= least]
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4)


def mean_iou(truth: Tensor, guess: Tensor, num_classes: int = 11) -> float:
    """Mean over the classes of intersection over union, each counted over the pixels of all pictures together.

    Parameters
    ----------
    truth, guess : Tensor, (B, H, W), int64
    num_classes : int
        The background counts as one.
    """
    labels = list(range(num_classes))
    return float(jaccard_score(truth.flatten(), guess.flatten(), labels=labels, average="macro", zero_division=0))
