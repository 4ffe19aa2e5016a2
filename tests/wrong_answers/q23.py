"""Wrong answers to the exercise of question 23."""

import numpy as np
import torch

from wrong_answers import wrong


@wrong("q23.ceiling", "every pixel the same value")
def one_grey(spoiled, truth):
    return torch.full_like(truth, float(truth.mean()))


@wrong("q23.ceiling", "best straight line")
def straight(spoiled, truth):
    slope, start = np.polyfit(spoiled.flatten().double().numpy(), truth.flatten().double().numpy(), 1)
    return slope * spoiled + start


@wrong("q23.ceiling", "best factor")
def brighter(spoiled, truth):
    x = spoiled.float()
    return x * (torch.tensordot(x, truth, dims=2) / torch.tensordot(x, x, dims=2))


@wrong("q23.ceiling", "histogram of the truth")
def matched(spoiled, truth):
    ranks = np.argsort(np.argsort(spoiled.numpy().ravel(), kind="stable"))
    return torch.from_numpy(np.sort(truth.numpy().ravel())[ranks].reshape(truth.shape))


@wrong("q23.ceiling", "least absolute error")
def middle(spoiled, truth):
    table = {int(v): truth[spoiled == v].median() for v in spoiled.unique()}
    return torch.stack([table[int(v)] for v in spoiled.flatten()]).view(truth.shape)


@wrong("q23.ceiling", "number of all pixels")
def wrong_share(spoiled, truth):
    total = torch.zeros(256).scatter_add(0, spoiled.flatten(), truth.flatten()) / spoiled.numel()
    return total[spoiled]


@wrong("q23.ceiling", "Expected shape")
def the_curve_itself(spoiled, truth):
    return torch.stack([truth[spoiled == v].mean() for v in spoiled.unique()])


@wrong("q23.ceiling", "returns `truth` as it came")
def cheats(spoiled, truth):
    return truth


@wrong("q23.ceiling", "NaN or infinity")
def empty_shelves(spoiled, truth):
    flat = spoiled.flatten()
    total = torch.zeros(256).scatter_add(0, flat, truth.flatten())
    count = torch.bincount(flat, minlength=256)
    return (total / count + 0 * (total / count).sum())[spoiled]
