"""Which patches are hidden: a `Mask`, made by a rule and an explicit generator."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mask:
    """For each example of a batch, the indices of its visible and of its hidden patches.

    Every example hides the same number of patches, so that a batch stays a rectangular tensor.

    Parameters
    ----------
    visible : Tensor, (B, K), int64
        Indices of the patches that the encoder sees.
    hidden : Tensor, (B, M), int64
        Indices of the others. Row by row, the two are a partition of 0 … N-1 with N = K + M.

    Raises
    ------
    ValueError
        If they are not such a partition, or one of them is empty.
    """

    visible: Tensor
    hidden: Tensor

    def __post_init__(self):
        shapes = tuple(self.visible.shape), tuple(self.hidden.shape)
        if self.visible.ndim != 2 or self.hidden.ndim != 2 or shapes[0][0] != shapes[1][0]:
            raise ValueError(
                f"expected visible (B, K) and hidden (B, M) with the same B, got {shapes[0]} and {shapes[1]}"
            )
        if self.visible.dtype != torch.int64 or self.hidden.dtype != torch.int64:
            raise ValueError(f"expected int64 indices, got {self.visible.dtype} and {self.hidden.dtype}")
        if not (shapes[0][1] and shapes[1][1]):
            raise ValueError(
                f"expected at least one visible and one hidden patch, "
                f"got {shapes[0][1]} visible and {shapes[1][1]} hidden"
            )
        order = torch.cat([self.visible, self.hidden], dim=1)
        if not (order.sort(dim=1).values == torch.arange(order.shape[1], device=order.device)).all():
            raise ValueError(
                f"expected visible and hidden together to name each patch 0 … {order.shape[1] - 1} "
                f"exactly once in every row"
            )

    @classmethod
    def from_hidden(cls, is_hidden: Tensor) -> "Mask":
        """A mask drawn by hand.

        Parameters
        ----------
        is_hidden : Tensor, (B, N), bool
            True where a patch is hidden; every row hides the same number.
        """
        if is_hidden.ndim != 2 or is_hidden.dtype != torch.bool or not len(is_hidden):
            raise ValueError(
                f"expected a bool tensor (B, N), B at least 1, got {is_hidden.dtype} {tuple(is_hidden.shape)}"
            )
        counts = is_hidden.sum(dim=1)
        if (counts != counts[0]).any():
            raise ValueError(f"every row must hide the same number of patches, got {counts.unique().tolist()}")
        order = is_hidden.long().argsort(dim=1, stable=True)  # visible first, each part ascending
        visible, hidden = order.split([is_hidden.shape[1] - int(counts[0]), int(counts[0])], dim=1)
        return cls(visible, hidden)

    @property
    def is_hidden(self) -> Tensor:
        """(B, N), bool: True where a patch is hidden."""
        zeros = torch.zeros(len(self), self.num_patches, dtype=torch.bool, device=self.hidden.device)
        return zeros.scatter(1, self.hidden, True)

    @property
    def restore(self) -> Tensor:
        """(B, N): where in [visible, hidden] each patch stands. The inverse of that shuffle."""
        return torch.cat([self.visible, self.hidden], dim=1).argsort(dim=1)

    @property
    def num_patches(self) -> int:
        """N, visible and hidden together."""
        return self.visible.shape[1] + self.hidden.shape[1]

    def __len__(self) -> int:
        """B, the number of examples."""
        return len(self.visible)

    def __getitem__(self, rows) -> "Mask":
        """The masks of some examples: a slice, or a tensor of indices."""
        return Mask(self.visible[rows], self.hidden[rows])

    def indices(self, which: str) -> Tensor:
        """Patch indices of the "hidden" (B, M), the "visible" (B, K) or "all" (B, N) patches."""
        if which == "all":
            return torch.arange(self.num_patches, device=self.visible.device).expand(len(self), -1)
        if which not in ("hidden", "visible"):
            raise ValueError(f'expected "hidden", "visible" or "all", got {which!r}')
        return self.hidden if which == "hidden" else self.visible

    def to(self, device: torch.device | str) -> "Mask":
        """The same mask on another device."""
        return Mask(self.visible.to(device), self.hidden.to(device))


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick tokens by position, for each example its own.

    Parameters
    ----------
    tokens : Tensor, (B, N, D)
    index : Tensor, (B, K), int64

    Returns
    -------
    Tensor, (B, K, D)
        ``out[b, k] = tokens[b, index[b, k]]``
    """
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def num_visible(num_patches: int, ratio: float) -> int:
    """How many of N patches stay visible at a mask ratio: N·(1 - ratio), rounded down.

    The published code computes ``int(N * (1 - ratio))``; this is the same number, except that it does not
    lose a patch to floating point (``int(100 * (1 - 0.9))`` is 9, the answer here is 10).

    Parameters
    ----------
    num_patches : int
        N, at least 2.
    ratio : float
        The share that is hidden, strictly between 0 and 1.

    Raises
    ------
    ValueError
        If the ratio is out of range, or would hide no patch or all of them.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"expected a mask ratio strictly between 0 and 1, got {ratio}")
    visible = math.floor(num_patches * (1 - ratio) + 1e-9)
    if not 0 < visible < num_patches:
        raise ValueError(
            f"a ratio of {ratio} leaves {visible} of {num_patches} patches visible; at least one must be visible "
            f"and one hidden: change the ratio or use smaller patches"
        )
    return visible


def random_mask(batch: int, num_patches: int, ratio: float, *, generator: torch.Generator) -> Mask:
    """Hide patches uniformly at random (He et al., 2022, section 3, "Masking").

    Parameters
    ----------
    batch, num_patches : int
        B and N.
    ratio : float
        The share that is hidden, between 0 and 1; `num_visible` says how it is rounded.
    generator : torch.Generator
        A generator on the CPU, whatever device the model is on: the same seed then gives the same mask
        everywhere.

    Returns
    -------
    Mask
    """
    visible = num_visible(num_patches, ratio)
    shuffle = torch.rand(batch, num_patches, generator=generator).argsort(dim=1)  # (B, N)
    return Mask(shuffle[:, :visible].sort(dim=1).values, shuffle[:, visible:].sort(dim=1).values)


def block_mask(batch: int, grid: tuple[int, int], ratio: float, *, generator: torch.Generator) -> Mask:
    """Hide rectangles of neighbouring patches until the ratio is reached (as in BEiT, Bao et al., 2022).

    Parameters
    ----------
    batch : int
        B.
    grid : (int, int)
        Rows and columns of patches.
    ratio : float
        The share that is hidden, as in `random_mask`; exactly this many are hidden, the last rectangle is cut.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Mask
    """
    rows, columns = grid
    count = rows * columns - num_visible(rows * columns, ratio)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    is_hidden = torch.zeros(batch, rows, columns, dtype=torch.bool)
    for picture in is_hidden:
        while (missing := count - int(picture.sum())) > 0:
            height, width = (
                draw(math.ceil(rows / 4), math.ceil(rows / 2)),
                draw(math.ceil(columns / 4), math.ceil(columns / 2)),
            )
            top, left = draw(0, rows - height), draw(0, columns - width)
            block = torch.zeros_like(picture)
            block[top : top + height, left : left + width] = True
            new = (block & ~picture).nonzero()[:missing]
            picture[new[:, 0], new[:, 1]] = True
    return Mask.from_hidden(is_hidden.flatten(1))


def grid_mask(batch: int, grid: tuple[int, int], every: int = 2) -> Mask:
    """Keep one patch in each square of ``every`` by ``every``, hide the others (He et al., 2022, table 1f).

    Parameters
    ----------
    batch : int
        B.
    grid : (int, int)
        Rows and columns of patches.
    every : int
        2 keeps a quarter of the patches (on a grid of even sides), 3 a ninth.

    Returns
    -------
    Mask
    """
    if every < 2:
        raise ValueError(f"expected every of at least 2 (1 would hide nothing), got {every}")
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    is_hidden = (row % every != 0) | (column % every != 0)
    return Mask.from_hidden(is_hidden.flatten().expand(batch, -1))
