"""Wrong answers to the exercise of question 22."""

import torch

from wrong_answers import wrong


def gram(x):
    return torch.einsum("nd,ne->de", x, x) / len(x)


@wrong("q22.style_distance", "without dividing by the number of tokens")
def sums(a, b):
    return (torch.einsum("nd,ne->de", a, a) - torch.einsum("nd,ne->de", b, b)).pow(2).sum()


@wrong("q22.style_distance", "compare the mean tokens")
def means(a, b):
    return (a.mean(0) - b.mean(0)).square().sum()


@wrong("q22.style_distance", "as a covariance does")
def covariances(a, b):
    return (torch.cov(a.T, correction=0) - torch.cov(b.T, correction=0)).square().sum()


@wrong("q22.style_distance", "You took a root")
def frobenius(a, b):
    return torch.linalg.norm(gram(a) - gram(b))


@wrong("q22.style_distance", "mean over the D·D entries")
def mean_squared(a, b):
    return torch.nn.functional.mse_loss(gram(a), gram(b))


@wrong("q22.style_distance", "The mean goes over tokens")
def by_features(a, b):
    return ((a.T @ a / a.size(1) - b.T @ b / b.size(1)) ** 2).sum()


@wrong("q22.style_distance", "positive and negative ones cancel")
def not_squared(a, b):
    return torch.sum(gram(a) - gram(b))


@wrong("q22.style_distance", "only the diagonals")
def energies(a, b):
    return ((a**2).mean(dim=0) - (b**2).mean(dim=0)).square().sum()


@wrong("q22.style_distance", "Expected shape ()")
def the_matrix(a, b):
    return (gram(a) - gram(b)) ** 2
