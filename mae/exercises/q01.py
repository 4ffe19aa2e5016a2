"""Question 1: autoencoders and PCA."""

from collections.abc import Iterator

import torch
from scipy.linalg import subspace_angles
from torch import Tensor
from torch.nn.functional import normalize

from mae.exercises.engine import Wrong, call, compare, exercise


def _draw(D: int, k: int, generator: torch.Generator) -> Tensor:
    """(D, k): skew columns of different lengths."""
    skew = torch.randn(k, k, generator=generator, dtype=torch.float64) + 2 * torch.eye(k, dtype=torch.float64)
    return torch.randn(D, k, generator=generator, dtype=torch.float64) @ skew


def _subspaces(generator: torch.Generator) -> Iterator[dict]:
    """Two lines, planes, subspaces that share a direction, the same subspace in two bases, larger ones."""
    line = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    tilt = torch.rand(1, generator=generator, dtype=torch.float64).item() + 0.5
    yield {"A": line, "B": torch.tensor([[-2.0], [2.0 * tilt]], dtype=torch.float64)}  # obtuse, as vectors
    for D, k in ((4, 2), (9, 3), (30, 5)):
        A, B = _draw(D, k, generator), _draw(D, k, generator)
        yield {"A": A, "B": B}
        shared = torch.cat([A[:, :1] + 0.5 * A[:, -1:], B[:, 1:]], dim=1)
        yield {"A": A, "B": shared}
        yield {"A": A, "B": A @ torch.randn(k, k, generator=generator, dtype=torch.float64)}


def _angles(A: Tensor, B: Tensor) -> Tensor:
    return torch.from_numpy(subspace_angles(A.numpy(), B.numpy())[::-1].copy())


def _from_products(P: Tensor, Q: Tensor) -> Tensor:
    """Take the singular values of all inner products for cosines."""
    return torch.linalg.svdvals(P.T @ Q).clamp(max=1).acos()


def _pair_by_pair(P: Tensor, Q: Tensor, absolute: bool) -> Tensor:
    """The angle of the first columns, of the second ones, and so on."""
    cosine = (normalize(P, dim=0) * normalize(Q, dim=0)).sum(dim=0).clamp(-1, 1)
    return (cosine.abs() if absolute else cosine).acos().sort().values


@exercise(
    "q01.angles",
    "implement",
    "The angles between two subspaces",
    minutes=15,
    hints=(
        "The angle between two *unit* vectors has their inner product for a cosine. Give each subspace a basis in "
        "which inner products mean angles: `torch.linalg.qr` makes one.",
        "With orthonormal bases `P` and `Q`, the singular values of `P.T @ Q` are the cosines of the principal angles. "
        "Then mind what rounding does to a cosine of 1.",
    ),
    then="train the linear autoencoder with six and with eight numbers. Why does the last angle of eight take so long?",
)
def angles(answer, generator: torch.Generator) -> str:
    """The angles are those of the subspaces, whatever their bases, and exist where rounding hurts."""
    for _ in range(16):  # a cosine of 1 is rounded up in about every second basis
        A = _draw(6, 3, generator)
        case = {"A": A, "B": A @ _draw(3, 3, generator)}
        result = call(answer, case)
        if isinstance(result, Tensor) and result.is_floating_point() and result.isnan().any():
            raise Wrong(
                "An angle is NaN. Here both matrices span the same subspace: rounding makes a cosine a hair larger "
                "than 1, and no angle has such a cosine.",
                {**case, "yours": result},
            )
    mistakes = {
        "These are the cosines. The angles are asked for.": lambda A, B: _angles(A, B).cos(),
        "These are degrees. The angles are asked for in radians.": lambda A, B: _angles(A, B).rad2deg(),
        "Right angles, wrong order: the smallest comes first.": lambda A, B: _angles(A, B).flip(0),
        "This is the largest angle only. Two subspaces of k dimensions have k angles.": lambda A, B: _angles(A, B)[-1],
        "This is the smallest angle only. Two subspaces of k dimensions have k angles.": lambda A, B: _angles(A, B)[0],
        "Inner products are cosines only for unit vectors. The columns you were given have other lengths, and are not "
        "at right angles to each other.": _from_products,
        "You gave the columns length 1, but they still lean on each other. Two columns of a basis must be at right "
        "angles too, or the result depends on the basis.": lambda A, B: _from_products(
            normalize(A, dim=0), normalize(B, dim=0)
        ),
        "You compare column with column: the angles change when a subspace gets another basis. Any direction of one "
        "subspace may pair with any direction of the other.": lambda A, B: _pair_by_pair(A, B, True),
        "You compare column with column, and by sign. A subspace has neither columns of its own nor a sense of "
        "direction.": lambda A, B: _pair_by_pair(A, B, False),
        "You made orthonormal bases and then paired their columns in order. Which direction goes with which is part of "
        "the question.": lambda A, B: _pair_by_pair(torch.linalg.qr(A).Q, torch.linalg.qr(B).Q, True),
    }
    # Close to zero, the arc cosine is exact to half of the digits only: in single precision, to a thousandth.
    text = compare(answer, _angles, _subspaces(generator), mistakes, rtol=1e-3, atol=1e-3)
    return text + " Among them: another basis of the same subspace, and subspaces that share a direction."
