"""Wrong answers to the exercise of question 20."""

import torch

from wrong_answers import wrong


def confusion(truth, guess, num_classes):
    """Rows are the truth, columns the guess."""
    pairs = truth.flatten() * num_classes + guess.flatten()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes).float()


def right(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    union = table.sum(0) + table.sum(1) - table.diag()
    return (table.diag() / union)[union > 0].mean()


@wrong("q20.mean_iou", "mean over pictures")
def picture_by_picture(truth, guess, num_classes):
    return torch.stack([right(t, g, num_classes) for t, g in zip(truth, guess, strict=True)]).mean()


@wrong("q20.mean_iou", "share of right pixels")
def pixel_accuracy(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    return table.diag().sum() / table.sum()


@wrong("q20.mean_iou", "recall")
def mean_recall(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    return (table.diag() / table.sum(1))[table.sum(1) > 0].mean()


@wrong("q20.mean_iou", "precision")
def mean_precision(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    return (table.diag() / table.sum(0))[table.sum(0) > 0].mean()


@wrong("q20.mean_iou", "twice in the union")
def sum_for_union(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    both = table.sum(0) + table.sum(1)
    return (table.diag() / both)[both > 0].mean()


@wrong("q20.mean_iou", "Dice coefficient")
def dice(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    both = table.sum(0) + table.sum(1)
    return (2 * table.diag() / both)[both > 0].mean()


@wrong("q20.mean_iou", "as 0. It says nothing")
def absent_is_nought(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    union = table.sum(0) + table.sum(1) - table.diag()
    return (table.diag() / union.clamp(min=1)).mean()


@wrong("q20.mean_iou", "as 1. It says nothing")
def absent_is_perfect(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    union = table.sum(0) + table.sum(1) - table.diag()
    return (table.diag() / union).nan_to_num(1.0).mean()


@wrong("q20.mean_iou", "guessed and not there")
def classes_of_the_truth_only(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    union = table.sum(0) + table.sum(1) - table.diag()
    return (table.diag() / union)[table.sum(1) > 0].mean()


@wrong("q20.mean_iou", "before you divided")
def all_classes_pooled(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    union = table.sum(0) + table.sum(1) - table.diag()
    return table.diag().sum() / union.sum()


@wrong("q20.mean_iou", "NaN or infinity")
def divides_by_nothing(truth, guess, num_classes):
    table = confusion(truth, guess, num_classes)
    return (table.diag() / (table.sum(0) + table.sum(1) - table.diag())).mean()


@wrong("q20.mean_iou", "Expected shape ()")
def one_for_each_class(truth, guess, num_classes):
    return torch.ones(num_classes)
