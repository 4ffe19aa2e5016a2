"""Wrong answers to the exercise of question 11."""

import torch

from wrong_answers import wrong


@wrong("q11.skip", "don't make up for what is skipped")
def no_scale(x, y, rate, noise, training):
    if not training:
        return y
    return torch.where((noise < rate)[:, None, None], x, y)


@wrong("q11.skip", "drop the input as well")
def dropout_of_everything(x, y, rate, noise, training):
    if not training:
        return y
    return y.where((noise >= rate)[:, None, None], torch.zeros(())) / (1 - rate)


@wrong("q11.skip", "You scale the whole output")
def scales_all(x, y, rate, noise, training):
    result = y.clone()
    if training:
        for b in range(len(x)):
            result[b] = x[b] if noise[b] < rate else y[b] / (1 - rate)
    return result


@wrong("q11.skip", "at or above the rate")
def other_way_round(x, y, rate, noise, training):
    keep = (noise < rate).view(-1, 1, 1)
    return x + keep * (y - x) / (1 - rate) if training else y


@wrong("q11.skip", "You divide by the rate")
def divides_by_the_rate(x, y, rate, noise, training):
    keep = (noise >= rate).view(-1, 1, 1)
    return x + keep * (y - x) / rate if training else y


@wrong("q11.skip", "once for the whole batch")
def one_draw(x, y, rate, noise, training):
    if not training:
        return y
    return x if noise[0] < rate else x + (y - x) / (1 - rate)


@wrong("q11.skip", "skip out of training too")
def forgets_training(x, y, rate, noise, training):
    return x + (y - x) * (noise >= rate).float().view(-1, 1, 1) / (1 - rate)


@wrong("q11.skip", "scale in use instead of in training")
def scales_in_use(x, y, rate, noise, training):
    added = y - x
    if training:
        return x + added * (noise >= rate).float().view(-1, 1, 1)
    return x + (1 - rate) * added


@wrong("q11.skip", "always returns the block's output")
def nothing(x, y, rate, noise, training):
    return y + 0


@wrong("q11.skip", "returns None")
def no_return(x, y, rate, noise, training):
    x + (y - x) * (noise >= rate).float().view(-1, 1, 1) / (1 - rate)
