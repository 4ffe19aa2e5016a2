"""Wrong answers to the exercise of question 19."""

import numpy as np
import torch

from wrong_answers import wrong


def curve(right, scores):
    order = torch.argsort(-scores)
    hits = right[order].float()
    precision = hits.cumsum(0) / (torch.arange(len(hits)) + 1)
    return hits, precision


def raised(precision):
    return torch.from_numpy(np.maximum.accumulate(precision.numpy()[::-1])[::-1].copy())


@wrong("q19.average_precision", "divided by the objects that were found")
def of_those_found(right, scores, objects):
    hits, precision = curve(right, scores)
    return (raised(precision) * hits).sum() / hits.sum()


@wrong("q19.average_precision", "divided by the number of detections")
def of_all_detections(right, scores, objects):
    hits, precision = curve(right, scores)
    return (raised(precision) * hits).mean()


@wrong("q19.average_precision", "in the order in which they came")
def unsorted(right, scores, objects):
    hits = right.float()
    precision = hits.cumsum(0) / (torch.arange(len(hits)) + 1)
    return (raised(precision) * hits).sum() / objects


@wrong("q19.average_precision", "from the least certain detection up")
def sorted_upwards(right, scores, objects):
    hits, precision = curve(right, -scores)
    return (raised(precision) * hits).sum() / objects


@wrong("q19.average_precision", "did not raise the precisions")
def not_raised(right, scores, objects):
    hits, precision = curve(right, scores)
    return (precision * hits).sum() / objects


@wrong("q19.average_precision", "averaged the precision over all detections")
def mean_precision(right, scores, objects):
    return curve(right, scores)[1].mean()


@wrong("q19.average_precision", "precision at the end of the list")
def final_precision(right, scores, objects):
    return right.sum() / len(right)


@wrong("q19.average_precision", "recall at the end of the list")
def final_recall(right, scores, objects):
    return right.float().sum() / objects


@wrong("q19.average_precision", "Expected shape ()")
def the_whole_curve(right, scores, objects):
    return curve(right, scores)[1]


@wrong("q19.average_precision", "changes `right` in place")
def sorts_in_place(right, scores, objects):
    right.copy_(right[torch.argsort(-scores)])
    hits = right.float()
    precision = hits.cumsum(0) / (torch.arange(len(hits)) + 1)
    return (raised(precision) * hits).sum() / objects
