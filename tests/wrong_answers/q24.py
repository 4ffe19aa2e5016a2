"""Wrong answers to the exercise of question 24."""

import torch

from wrong_answers import wrong


@wrong("q24.combine", "give both the same weight")
def plain_mean(prediction, noisy, sigma):
    return torch.stack([prediction, noisy]).mean(dim=0)


@wrong("q24.combine", "weights are swapped")
def swapped(prediction, noisy, sigma):
    error = max(float(torch.mean((prediction - noisy) ** 2)) - sigma**2, 0)
    return (prediction * error + noisy * sigma**2) / (error + sigma**2)


@wrong("q24.combine", "standard deviations")
def by_deviation(prediction, noisy, sigma):
    error = torch.clamp(((prediction - noisy) ** 2).mean() - sigma**2, min=0).sqrt()
    return (noisy / sigma + prediction / error) / (1 / sigma + 1 / error) if error > 0 else prediction


@wrong("q24.combine", "The noise is in it as well")
def forgets_the_noise(prediction, noisy, sigma):
    error = torch.nn.functional.mse_loss(prediction, noisy)
    return (noisy * error + prediction * sigma**2) / (error + sigma**2)


@wrong("q24.combine", "No squared error is below 0")
def no_floor(prediction, noisy, sigma):
    difference = noisy - prediction
    return noisy - sigma**2 / (difference**2).mean() * difference


@wrong("q24.combine", "at each pixel by that pixel alone")
def pixel_by_pixel(prediction, noisy, sigma):
    error = torch.relu((noisy - prediction).square() - sigma**2)
    return (noisy * error + prediction * sigma**2) / (error + sigma**2)


@wrong("q24.combine", "returns `prediction` as it came")
def trusts_the_model(prediction, noisy, sigma):
    return prediction


@wrong("q24.combine", "Expected shape")
def one_number(prediction, noisy, sigma):
    return ((prediction - noisy) ** 2).mean() - sigma**2
