"""Wrong answers to the exercise of question 6."""

import torch
from sklearn.manifold import trustworthiness as library

from wrong_answers import wrong


def tables(x, z, k):
    """Ranks in x of the k nearest in z."""
    ranks = torch.cdist(x, x).argsort(dim=1).argsort(dim=1)
    near = torch.cdist(z, z).argsort(dim=1)[:, 1 : k + 1]
    return ranks.gather(1, near)


def factor(x, k):
    n = len(x)
    return 2 / (n * k * (2 * n - 3 * k - 1))


@wrong("q06.trustworthiness", "exchanged the spaces")
def continuity(x, z, k):
    return float(library(z.numpy(), x.numpy(), n_neighbors=k))


@wrong("q06.trustworthiness", "its own nearest neighbour")
def is_its_own_neighbour(x, z, k):
    ranks = torch.cdist(x, x).argsort(dim=1).argsort(dim=1)
    near = torch.cdist(z, z).topk(k, largest=False).indices
    return 1 - factor(x, k) * (ranks.gather(1, near) - k).clamp(min=0).sum()


@wrong("q06.trustworthiness", "begin with 0")
def ranks_from_zero(x, z, k):
    return 1 - factor(x, k) * torch.relu(tables(x, z, k) - 1.0 - k).sum()


@wrong("q06.trustworthiness", "This is the penalty")
def forgets_one_minus(x, z, k):
    return factor(x, k) * (tables(x, z, k) - k).clamp(min=0).sum()


@wrong("q06.trustworthiness", "share of neighbours that were kept")
def overlap(x, z, k):
    kept = [
        len(set(a.tolist()) & set(b.tolist()))
        for a, b in zip(
            torch.cdist(x, x).argsort(dim=1)[:, 1 : k + 1], torch.cdist(z, z).argsort(dim=1)[:, 1 : k + 1], strict=True
        )
    ]
    return sum(kept) / (k * len(x))


@wrong("q06.trustworthiness", "costs you the same")
def counts_intruders(x, z, k):
    return 1 - factor(x, k) * (tables(x, z, k) > k).sum()


@wrong("q06.trustworthiness", "its whole rank")
def whole_rank(x, z, k):
    ranks = tables(x, z, k)
    return 1 - factor(x, k) * ranks[ranks > k].sum()


@wrong("q06.trustworthiness", "must cost nothing")
def rewards_true_neighbours(x, z, k):
    return 1 - factor(x, k) * (tables(x, z, k) - k).sum()


@wrong("q06.trustworthiness", "divided by the number of neighbours")
def mean_excess(x, z, k):
    return 1 - (tables(x, z, k) - k).clamp(min=0).float().mean()


@wrong("q06.trustworthiness", "not scaled")
def unscaled(x, z, k):
    return 1 - (tables(x, z, k) - k).clamp(min=0).sum()


@wrong("q06.trustworthiness", "same result whatever")
def always_trusts(x, z, k):
    return 1.0
