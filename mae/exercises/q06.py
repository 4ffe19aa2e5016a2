"""Question 6: dimensionality reduction, and how far to trust a map."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> Iterator[dict]:
    """Points, and codes that keep some of their neighbourhoods and lose others."""
    for n, k in ((5, 1), (7, 2), (12, 3), (30, 5), (40, 3)):
        x = torch.randn(n, 6, generator=generator)
        z = x[:, :2] + 0.7 * torch.randn(n, 2, generator=generator)
        yield {"x": x, "z": z, "k": k}


def _ranks(points: Tensor) -> list[list[int]]:
    """ranks[i][j]: 1 if j is the nearest to i, 2 if the next, and so on; 0 is the point itself."""
    ranks = []
    for i, point in enumerate(points):
        distance = ((points - point) ** 2).sum(dim=1).tolist()
        order = sorted(range(len(points)), key=lambda j, i=i, distance=distance: (j != i, distance[j]))
        row = [0] * len(points)
        for rank, j in enumerate(order):
            row[j] = rank
        ranks.append(row)
    return ranks


def _pairs(x: Tensor, z: Tensor, k: int) -> list[int]:
    """For each point and each of its k neighbours in z: the neighbour's rank in x."""
    in_x, in_z = _ranks(x), _ranks(z)
    n = len(x)
    return [in_x[i][j] for i in range(n) for j in range(n) if 1 <= in_z[i][j] <= k]


def _scale(n: int, k: int) -> float:
    return 2 / (n * k * (2 * n - 3 * k - 1))


def _trust(x: Tensor, z: Tensor, k: int) -> float:
    return 1 - _scale(len(x), k) * sum(max(rank - k, 0) for rank in _pairs(x, z, k))


def _itself_is_nearest(x: Tensor, z: Tensor, k: int) -> float:
    return 1 - _scale(len(x), k) * sum(max(rank - k, 0) for rank in _pairs(x, z, k - 1))


@exercise(
    "q06.trustworthiness",
    "implement",
    "How far to trust a map",
    minutes=20,
    hints=(
        "Two tables do it: who are the k nearest of each point in `z`, and what rank has each point, seen from each "
        "other one, in `x`? `torch.cdist` gives the distances. A point is no neighbour of itself.",
        "Sorting twice gives ranks: `d.argsort(dim=1).argsort(dim=1)` is 0 for the point itself and 1 for its nearest. "
        "Pick the ranks in `x` of the neighbours in `z` with `gather`, and let those of at most k cost nothing.",
    ),
    then="exchange `x` and `z`. The result is called continuity: what does it punish that trustworthiness forgives?",
)
def trustworthiness(answer, generator: torch.Generator) -> str:
    """The measure agrees with a slow version that sorts point by point."""
    mistakes = {
        "You exchanged the spaces: this asks whether neighbours in `x` stay neighbours in `z`. Trust is about those "
        "who are neighbours in `z`.": lambda x, z, k: _trust(z, x, k),
        "You counted each point as its own nearest neighbour in `z`, so one real neighbour is missing.": (
            _itself_is_nearest
        ),
        "Your ranks in `x` begin with 0 at the nearest neighbour. The nearest has rank 1.": lambda x, z, k: (
            1 - _scale(len(x), k) * sum(max(rank - 1 - k, 0) for rank in _pairs(x, z, k))
        ),
        "This is the penalty. A perfect map has trustworthiness 1.": lambda x, z, k: 1 - _trust(x, z, k),
        "This is the share of neighbours that were kept. It does not ask how far away the intruders come from.": (
            lambda x, z, k: sum(rank <= k for rank in _pairs(x, z, k)) / (len(x) * k)
        ),
        "Every intruder costs you the same. One that comes from far away must cost more.": lambda x, z, k: (
            1 - _scale(len(x), k) * sum(rank > k for rank in _pairs(x, z, k))
        ),
        "An intruder costs you its whole rank. It costs only what its rank exceeds k by.": lambda x, z, k: (
            1 - _scale(len(x), k) * sum(rank for rank in _pairs(x, z, k) if rank > k)
        ),
        "True neighbours earn you something: their rank minus k is negative. They must cost nothing.": (
            lambda x, z, k: 1 - _scale(len(x), k) * sum(rank - k for rank in _pairs(x, z, k))
        ),
        "You divided by the number of neighbours, n · k. The factor of the formula makes the worst map come out as "
        "0.": lambda x, z, k: 1 - sum(max(rank - k, 0) for rank in _pairs(x, z, k)) / (len(x) * k),
        "The sum is not scaled. The factor of the formula makes the worst map come out as 0.": lambda x, z, k: (
            1 - sum(max(rank - k, 0) for rank in _pairs(x, z, k))
        ),
    }
    return compare(answer, _trust, _cases(generator), mistakes)
