"""Wrong answers to the exercises of chapter 6."""

import torch

from wrong_answers import wrong, wrong_value


def other(**changes):
    """The right files, with some of them changed."""
    return {"corner": "visualize", "leaves": "encoder", "x-rays": "full", "breed": "none"} | changes


wrong_value("official.files", other(corner="encoder"), "can't paint", "coloured noise")
wrong_value("official.files", other(corner="full"), "the mean and the deviation of what was torn off")
wrong_value("official.files", other(corner="none"), "what these models were trained for")
wrong_value("official.files", other(leaves="full"), "a decoder that you download and throw away")
wrong_value("official.files", other(leaves="visualize"), "learned from pixels")
wrong_value("official.files", other(leaves="none"), "But you have labels")
wrong_value("official.files", other(**{"x-rays": "Encoder"}), "Pre-training needs a decoder")
wrong_value("official.files", other(**{"x-rays": "visualize"}), "another target")
wrong_value("official.files", other(**{"x-rays": "none"}), "three equal channels solve that")
wrong_value("official.files", other(breed="encoder"), "Names of breeds come from a classifier")
wrong_value("official.files", other(breed="full"), "no label took part")
wrong_value("official.files", other(breed="visualize"), "no label took part")
wrong_value("official.files", other(breed=...), "Expected one of 'encoder', 'full', 'none', 'visualize'")
wrong_value("official.files", other(corner="mae_visualize_vit_base.pth"), "Expected one of")
wrong_value("official.files", "visualize", "Expected a dictionary with 'corner'")


def last(x):
    """Channels to the end, and flat."""
    return torch.moveaxis(x, 1, -1).reshape(len(x), -1)


def shift(weight, mean, std):
    """What the means add up to in each number of a token."""
    return torch.einsum("dcij,c->d", weight, mean / std)


@wrong("official.fold", "in the kernel's order", "A change of shape moves no number")
def reshapes(weight, bias, mean, std):
    D, C, p, _ = weight.shape
    scaled = weight / std.view(1, C, 1, 1)
    return scaled.view(D, p, p, C).reshape(D, -1), bias - shift(weight, mean, std)


@wrong("official.fold", "in the kernel's order", "A change of shape moves no number")
def reshapes_and_forgets_the_bias(weight, bias, mean, std):
    return (weight / std[:, None, None]).reshape(len(weight), -1), bias


@wrong("official.fold", "in the kernel's order", "no account of the deviations")
def flattens_only(weight, bias, mean, std):
    return weight.flatten(1), bias


@wrong("official.fold", "Rows and columns have changed places")
def transposes_everything(weight, bias, mean, std):
    scaled = weight / std[:, None, None]
    return scaled.transpose(1, 3).flatten(1), bias - shift(weight, mean, std)


@wrong("official.fold", "order (row, channel, column)")
def moves_the_channel_by_one(weight, bias, mean, std):
    scaled = weight / std[:, None, None]
    return scaled.transpose(1, 2).flatten(1), bias - shift(weight, mean, std)


@wrong("official.fold", "those for standardised pictures")
def changes_the_order_only(weight, bias, mean, std):
    return last(weight), bias


@wrong("official.fold", "those for standardised pictures")
def puts_only_the_means_in(weight, bias, mean, std):
    return last(weight), bias - shift(weight, mean, std)


@wrong("official.fold", "You multiply by the deviations")
def undoes_a_standardisation(weight, bias, mean, std):
    return last(weight * std[:, None, None]), bias + torch.einsum("dcij,c->d", weight, mean)


@wrong("official.fold", "the channel changes with every value")
def divides_in_runs(weight, bias, mean, std):
    pixels = weight.shape[2] * weight.shape[3]
    every_value = torch.stack([std] * pixels, dim=1).flatten()
    return last(weight) / every_value, bias - shift(weight, mean, std)


@wrong("official.fold", "transposed", "(out, in)")
def gives_inputs_first(weight, bias, mean, std):
    return last(weight / std[:, None, None]).T, bias - shift(weight, mean, std)


@wrong("official.fold", "still have the axes of a kernel")
def forgets_to_flatten(weight, bias, mean, std):
    return (weight / std[:, None, None]).permute(0, 2, 3, 1), bias - shift(weight, mean, std)


@wrong("official.fold", "the bias is as it was")
def leaves_the_bias(weight, bias, mean, std):
    return last(weight / std[:, None, None]), bias


@wrong("official.fold", "wrong sign")
def adds_the_means(weight, bias, mean, std):
    weights = last(weight / std[:, None, None])
    return weights, bias + weights @ mean.repeat(weight[0, 0].numel())


@wrong("official.fold", "not divided by the deviations")
def means_undivided(weight, bias, mean, std):
    return last(weight / std[:, None, None]), bias - last(weight) @ mean.repeat(weight[0, 0].numel())


@wrong("official.fold", "divided by the deviations twice")
def divides_twice(weight, bias, mean, std):
    scaled = weight / std[:, None, None]
    return last(scaled), bias - (scaled.sum(dim=(2, 3)) * (mean / std)).sum(dim=1)


@wrong("official.fold", "your shift is a mean over a patch")
def averages_the_shift(weight, bias, mean, std):
    scaled = weight / std[:, None, None]
    return last(scaled), bias - (scaled * mean[:, None, None]).flatten(1).mean(dim=1)


@wrong("official.fold", "subtracted from pixels, before the kernel")
def shifts_the_tokens(weight, bias, mean, std):
    return last(weight / std[:, None, None]), bias - torch.sum(mean / std)


@wrong("official.fold", "the bias is wrong", "the channel changes with every value")
def shifts_in_runs(weight, bias, mean, std):
    weights = last(weight / std[:, None, None])
    return weights, bias - weights @ mean.repeat_interleave(weight[0, 0].numel())


@wrong("official.fold", "Expected two results, weights and a bias")
def gives_weights_only(weight, bias, mean, std):
    return last(weight / std[:, None, None])


@wrong("official.fold", "changes `weight` in place")
def divides_in_place(weight, bias, mean, std):
    weight /= std[:, None, None]
    return last(weight), bias - torch.einsum("dcij,c->d", weight, mean)


@wrong("official.fold", "RuntimeError", "size")
def standardises_the_kernel(weight, bias, mean, std):
    return last((weight - mean) / std), bias


@wrong("official.fold", "You standardise the kernel")
def standardises_the_kernel_by_channel(weight, bias, mean, std):
    return last((weight - mean[:, None, None]) / std[:, None, None]), bias


@wrong("official.fold", "values differ")
def subtracts_before_it_divides(weight, bias, mean, std):
    return last(weight / std[:, None, None] - mean[:, None, None]), bias
