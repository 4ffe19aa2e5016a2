"""Wrong answers to the exercise of question 12."""

import torch

from wrong_answers import wrong


def seen_statistics(patches, is_hidden):
    mean = torch.stack([x[~h].mean() for x, h in zip(patches, is_hidden, strict=True)]).view(-1, 1, 1)
    std = torch.stack([x[~h].std(correction=0) for x, h in zip(patches, is_hidden, strict=True)]).view(-1, 1, 1)
    return mean, std


@wrong("q12.normalize_visible", "nobody could compute them")
def leaks(patches, is_hidden):
    mean = patches.mean(dim=(1, 2), keepdim=True)
    std = patches.std(dim=(1, 2), keepdim=True, correction=0)
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "True where a patch is hidden")
def wrong_polarity(patches, is_hidden):
    mean, std = seen_statistics(patches, ~is_hidden)
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "zero is a temperature, too")
def counts_zeros(patches, is_hidden):
    x = patches.masked_fill(is_hidden[:, :, None], 0)
    mean = x.mean(dim=(1, 2), keepdim=True)
    std = x.std(dim=(1, 2), keepdim=True, correction=0)
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "still count, as zeros")
def zeros_in_the_deviation(patches, is_hidden):
    mean, _ = seen_statistics(patches, is_hidden)
    x = patches.masked_fill(is_hidden[:, :, None], 0)
    std = (x - mean).square().mean(dim=(1, 2), keepdim=True) ** 0.5
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "one mean and one deviation for the whole batch")
def over_the_batch(patches, is_hidden):
    seen = patches[~is_hidden]
    mean, std = (value.view(1, 1, 1).repeat(len(patches), 1, 1) for value in (seen.mean(), seen.std(correction=0)))
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "your deviation looks at the future")
def half_a_leak(patches, is_hidden):
    mean, _ = seen_statistics(patches, is_hidden)
    std = patches.std(dim=(1, 2), keepdim=True, correction=0)
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "less one")
def default_std(patches, is_hidden):
    mean, _ = seen_statistics(patches, is_hidden)
    std = torch.stack([x[~h].std() for x, h in zip(patches, is_hidden, strict=True)]).view(-1, 1, 1)
    return (patches - mean) / std, mean, std


@wrong("q12.normalize_visible", "divided by the variance")
def by_the_variance(patches, is_hidden):
    mean, std = seen_statistics(patches, is_hidden)
    return (patches - mean) / std.square(), mean, std.square()


@wrong("q12.normalize_visible", "normalised the visible patches only")
def target_left_alone(patches, is_hidden):
    mean, std = seen_statistics(patches, is_hidden)
    out = patches.clone()
    out[~is_hidden] = ((patches - mean) / std)[~is_hidden]
    return out, mean, std


@wrong("q12.normalize_visible", "set the hidden patches to zero")
def target_gone(patches, is_hidden):
    mean, std = seen_statistics(patches, is_hidden)
    return ((patches - mean) / std).masked_fill(is_hidden[:, :, None], 0), mean, std


@wrong("q12.normalize_visible", "did not take the mean off")
def only_scaled(patches, is_hidden):
    mean, std = seen_statistics(patches, is_hidden)
    return patches / std, mean, std


@wrong("q12.normalize_visible", "Expected 3 results")
def forgets_the_deviation(patches, is_hidden):
    mean, std = seen_statistics(patches, is_hidden)
    return (patches - mean) / std, mean


@wrong("q12.normalize_visible", "Result 2 of 3", "Expected shape")
def flat_statistics(patches, is_hidden):
    mean, std = seen_statistics(patches, is_hidden)
    return (patches - mean) / std, mean.flatten(), std.flatten()
