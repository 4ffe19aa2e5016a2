"""Question 22: how far two pictures are apart in style."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _gram(tokens: Tensor) -> Tensor:
    N, D = tokens.shape
    total = torch.zeros(D, D)
    for token in tokens:
        total += torch.outer(token, token)
    return total / N


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return ((_gram(a) - _gram(b)) ** 2).sum()


def _around_the_mean(tokens: Tensor) -> Tensor:
    return tokens - tokens.mean(dim=0)


MISTAKES = {
    "You add the outer products up without dividing by the number of tokens: a picture of the same style and twice the "
    "size is then far away.": lambda a, b: ((a.T @ a - b.T @ b) ** 2).sum(),
    "You compare the mean tokens. Style is which features occur *together*: products of two features of one token.": (
        lambda a, b: ((a.mean(dim=0) - b.mean(dim=0)) ** 2).sum()
    ),
    "You took the mean token away first, as a covariance does. How strong each feature is belongs to a Gram matrix.": (
        lambda a, b: _distance(_around_the_mean(a), _around_the_mean(b))
    ),
    "You took a root. The sum of the squares itself is asked for.": lambda a, b: _distance(a, b).sqrt(),
    "You took the mean over the D·D entries; their sum is asked for.": lambda a, b: _distance(a, b) / a.shape[1] ** 2,
    "You divided by the number of features D. The mean goes over tokens.": lambda a, b: (
        ((a.T @ a - b.T @ b) / a.shape[1]) ** 2
    ).sum(),
    "You added the differences of the entries without squaring them: positive and negative ones cancel.": lambda a, b: (
        _gram(a) - _gram(b)
    ).sum(),
    "You compare only the diagonals, each feature with itself. What two features do together stands off the "
    "diagonal.": lambda a, b: ((_gram(a).diag() - _gram(b).diag()) ** 2).sum(),
}


@exercise(
    "q22.style_distance",
    "implement",
    "A distance of styles",
    minutes=10,
    hints=(
        "The Gram matrix has a row and a column for each feature, whatever the number of tokens. Which of `x @ x.T` "
        "and `x.T @ x` has this shape?",
        "A matrix product sums over tokens. Two pictures may have different numbers of them: make the sum a mean "
        "before you compare.",
    ),
    then="shuffle the tokens of one picture. Does the distance change? And if you shuffle its features?",
)
def style_distance(answer, generator: torch.Generator) -> str:
    """Gram matrices against a slow sum of outer products, for different numbers of tokens."""
    cases = [
        {"a": torch.randn(n, d, generator=generator) + 0.5, "b": torch.randn(m, d, generator=generator)}
        for n, m, d in ((2, 3, 2), (3, 2, 2), (4, 6, 3), (40, 25, 8))
    ]
    compare(answer, _distance, cases, MISTAKES)
    return f"{len(cases)} fresh pairs of pictures: your distance compares what their features do together."
