"""Wrong answers to the exercise of question 25."""

import torch
import torch.nn.functional as F

from wrong_answers import wrong


def parts(image, small):
    s = image.shape[0] // small.shape[0]
    return s, F.avg_pool2d(image[None], s)[0]


def up(x, s):
    return torch.kron(x, torch.ones(s, s))


@wrong("q25.consistent", "You scale each square")
def scales(image, small):
    s, mean = parts(image, small)
    return image * up(small, s) / up(mean, s)


@wrong("q25.consistent", "into one pixel of each square")
def corner(image, small):
    s, mean = parts(image, small)
    unit = torch.zeros(s, s)
    unit[0, 0] = s**2
    return image + torch.kron(small - mean, unit)


@wrong("q25.consistent", "not a sample")
def samples(image, small):
    s, _ = parts(image, small)
    return image + up(small - image[::s, ::s], s)


@wrong("q25.consistent", "picture as a whole")
def shifts_all(image, small):
    return image - image.mean() + small.mean()


@wrong("q25.consistent", "divide the difference")
def divides(image, small):
    s, mean = parts(image, small)
    return image + up((small - mean) / s / s, s)


@wrong("q25.consistent", "the sign is wrong")
def wrong_way(image, small):
    s, mean = parts(image, small)
    return image + up(mean - small, s)


@wrong("q25.consistent", "in one grey")
def flat(image, small):
    s, _ = parts(image, small)
    return F.interpolate(small[None, None], scale_factor=s)[0, 0]


@wrong("q25.consistent", "side by side")
def tiles(image, small):
    s, mean = parts(image, small)
    return image + torch.tile(small - mean, (s, s))


@wrong("q25.consistent", "returns `image` as it came")
def leaves_it(image, small):
    return image
