"""Question 14: features of a sound that keep its bands apart."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Tokens whose level differs from band to band and drifts in time."""
    cases = []
    for B, grid, D in ((1, (2, 3), 1), (2, (3, 2), 2), (2, (3, 3), 2), (3, (4, 5), 3), (2, (1, 4), 2)):
        rows, columns = grid
        level = 5 * torch.randn(B, rows, 1, D, generator=generator)
        drift = torch.arange(columns)[:, None] * torch.randn(B, 1, 1, D, generator=generator)
        tokens = level + drift + torch.randn(B, rows, columns, D, generator=generator)
        first = 10 * torch.randn(B, 1, D, generator=generator)
        cases.append({"tokens": torch.cat([first, tokens.flatten(1, 2)], dim=1), "grid": grid})
    return cases


def _both(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return x.mean(dim=dim), x.std(dim=dim, correction=0)


def _split(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return tokens[:, 1:].reshape(len(tokens), *grid, tokens.shape[2])


def _reference(tokens: Tensor, grid: tuple[int, int]):
    rows, columns = grid
    means, deviations = [], []
    for r in range(rows):
        band = tokens[:, 1 + r * columns : 1 + (r + 1) * columns]  # (B, columns, D)
        means.append(band.mean(dim=1))
        deviations.append(((band - means[-1][:, None]) ** 2).mean(dim=1) ** 0.5)
    return torch.stack(means, dim=1), torch.stack(deviations, dim=1)


def _bands(tokens, grid):
    return _both(_split(tokens, grid), 1)


def _transposed(tokens, grid):
    return _both(_split(tokens, grid[::-1]), 1)


def _transposed_twice(tokens, grid):
    return _both(_split(tokens, grid[::-1]), 2)


def _all(tokens, grid):
    mean, std = _both(tokens[:, 1:], 1)
    return mean[:, None].expand(-1, grid[0], -1), std[:, None].expand(-1, grid[0], -1)


def _one_vector(tokens, grid):
    return _both(tokens[:, 1:], 1)


def _last_dropped(tokens, grid):
    return _both(_split(tokens.roll(1, dims=1), grid), 2)


def _sample(tokens, grid):
    x = _split(tokens, grid)
    return x.mean(dim=2), x.std(dim=2)


def _variance(tokens, grid):
    x = _split(tokens, grid)
    return x.mean(dim=2), x.var(dim=2, correction=0)


def _deviation_of_all(tokens, grid):
    return _split(tokens, grid).mean(dim=2), _all(tokens, grid)[1]


def _square(tokens, grid):
    x = _split(tokens, grid)
    return x.mean(dim=2), (x**2).mean(dim=2) ** 0.5


def _swapped(tokens, grid):
    return _reference(tokens, grid)[::-1]


MISTAKES = {
    "You averaged over the bands and kept the times apart: features then change when a word comes a moment later. Keep "
    "the rows, average over the columns.": _bands,
    "Your reshape takes the tokens column by column. They come row by row: all times of the lowest band first.": (
        _transposed
    ),
    "Your reshape has as many rows as the grid has columns. The grid is (rows, columns), bands first.": (
        _transposed_twice
    ),
    "You averaged over all patches, bands as well: what is left says how much, not where in frequency.": _all,
    "You give one vector for the whole clip: bands and times are averaged. Keep a vector for each row.": _one_vector,
    "You dropped the last token. The class token, which is no patch, comes first.": _last_dropped,
    "Your deviation divides by the number of columns less one; here it is the root of the plain mean square.": _sample,
    "You return the variance. The deviation is its root.": _variance,
    "Your deviation is that of all patches: it mixes differences between bands with change in time.": (
        _deviation_of_all
    ),
    "Your deviation is the size of the tokens: take each row's mean off before you square.": _square,
    "Both are right, and in the wrong order: first the mean, then the deviation.": _swapped,
}


@exercise(
    "q14.pool_time",
    "implement",
    "Pool over time, keep the bands",
    minutes=8,
    hints=(
        "The class token stands first and is no patch. What is left runs row by row: the first C tokens are the lowest "
        "bands at all times, C being the number of columns.",
        "After `tokens[:, 1:].unflatten(1, grid)` the axes are (B, R, C, D). Over which of them runs time? `std` "
        "divides by C − 1 unless you say `correction=0`.",
    ),
    then="shuffle the columns of a clip's tokens. Does either result change? What does a probe on them not hear?",
)
def pool_time(answer, generator: torch.Generator) -> str:
    """Against one band at a time."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    return (
        f"{len(cases)} fresh batches on grids of other shapes: your mean and deviation are those of each band over "
        "time, without the class token."
    )
