"""Wrong answers to the exercise of question 14."""

import torch

from wrong_answers import wrong


def split(tokens, grid):
    B, _, D = tokens.shape
    return tokens[:, 1:].view(B, grid[0], grid[1], D)


@wrong("q14.pool_time", "kept the times apart")
def over_the_bands(tokens, grid):
    x = split(tokens, grid)
    return x.mean(1), x.std(1, correction=0)


@wrong("q14.pool_time", "column by column")
def column_major(tokens, grid):
    x = tokens[:, 1:].unflatten(1, (grid[1], grid[0])).transpose(1, 2)
    return x.mean(2), x.std(2, correction=0)


@wrong("q14.pool_time", "as many rows as the grid has columns")
def grid_the_wrong_way_round(tokens, grid):
    columns, rows = grid
    x = tokens[:, 1:].unflatten(1, (rows, columns))
    return x.mean(2), x.std(2, correction=0)


@wrong("q14.pool_time", "says how much, not where in frequency")
def over_everything(tokens, grid):
    x = split(tokens, grid).flatten(1, 2)
    ones = torch.ones(len(x), grid[0], 1)
    return ones * x.mean(1, keepdim=True), ones * x.std(1, correction=0, keepdim=True)


@wrong("q14.pool_time", "one vector for the whole clip")
def as_for_images(tokens, grid):
    return tokens[:, 1:].mean(dim=1), tokens[:, 1:].std(dim=1, correction=0)


@wrong("q14.pool_time", "The class token, which is no patch, comes first")
def class_token_counts(tokens, grid):
    x = tokens[:, : grid[0] * grid[1]].unflatten(1, grid)
    return x.mean(2), x.std(2, correction=0)


@wrong("q14.pool_time", "less one")
def default_std(tokens, grid):
    x = tokens[:, 1:].unflatten(1, grid)
    return x.mean(dim=2), x.std(dim=2)


@wrong("q14.pool_time", "The deviation is its root")
def forgets_the_root(tokens, grid):
    x = split(tokens, grid)
    mean = x.mean(2)
    return mean, (x - mean[:, :, None]).square().mean(2)


@wrong("q14.pool_time", "mixes differences between bands")
def one_deviation(tokens, grid):
    x = split(tokens, grid)
    std = tokens[:, 1:].std(dim=1, correction=0)
    return x.mean(2), torch.stack([std] * grid[0], dim=1)


@wrong("q14.pool_time", "take each row's mean off")
def root_mean_square(tokens, grid):
    x = split(tokens, grid)
    return x.mean(2), x.square().mean(2).sqrt()


@wrong("q14.pool_time", "first the mean, then the deviation")
def wrong_order(tokens, grid):
    x = split(tokens, grid)
    return x.std(2, correction=0), x.mean(2)


@wrong("q14.pool_time", "Expected 2 results")
def joined(tokens, grid):
    x = split(tokens, grid)
    return torch.cat([x.mean(2), x.std(2, correction=0)], dim=2)
