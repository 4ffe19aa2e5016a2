"""Wrong answers to the exercise of question 1."""

import torch
from scipy.linalg import orth, subspace_angles

from wrong_answers import wrong


@wrong("q01.angles", "These are the cosines")
def stops_at_the_cosines(A, B):
    P, _ = torch.linalg.qr(A)
    Q, _ = torch.linalg.qr(B)
    return torch.linalg.svd(P.T @ Q)[1]


@wrong("q01.angles", "asked for in radians")
def answers_in_degrees(A, B):
    cosines = torch.linalg.svdvals(torch.linalg.qr(A)[0].T @ torch.linalg.qr(B)[0])
    return torch.arccos(cosines.clamp(0, 1)) * 180 / torch.pi


@wrong("q01.angles", "the smallest comes first")
def largest_first(A, B):
    return subspace_angles(A.numpy(), B.numpy())


@wrong("q01.angles", "the largest angle only")
def one_number(A, B):
    cosines = torch.linalg.svdvals(torch.from_numpy(orth(A.numpy()).T @ orth(B.numpy())))
    return cosines.clamp(max=1).min().acos()


@wrong("q01.angles", "only for unit vectors")
def no_orthonormal_basis(A, B):
    return torch.arccos(torch.linalg.svd(A.mT @ B).S.clamp(-1, 1))


@wrong("q01.angles", "still lean on each other")
def only_normalises(A, B):
    P, Q = A / A.norm(dim=0, keepdim=True), B / B.norm(dim=0, keepdim=True)
    return torch.arccos(torch.linalg.svd(P.mT @ Q).S.clamp(-1, 1))


@wrong("q01.angles", "column with column")
def column_by_column(A, B):
    cosines = torch.stack([torch.cosine_similarity(a, b, dim=0).abs() for a, b in zip(A.T, B.T, strict=True)])
    return cosines.clamp(max=1).arccos().sort()[0]


@wrong("q01.angles", "a hair larger than 1")
def forgets_rounding(A, B):
    P, Q = torch.linalg.qr(A).Q, torch.linalg.qr(B).Q
    return torch.linalg.svdvals(P.T @ Q).acos()


@wrong("q01.angles", "paired their columns in order")
def pairs_in_order(A, B):
    P, Q = torch.linalg.qr(A)[0], torch.linalg.qr(B)[0]
    return (P * Q).sum(0).abs().clamp(max=1).arccos().sort()[0]


@wrong("q01.angles", "changes `A` in place")
def normalises_in_place(A, B):
    A /= A.norm(dim=0)
    return torch.linalg.svdvals(torch.linalg.qr(A).Q.T @ torch.linalg.qr(B).Q).clamp(max=1).acos()
