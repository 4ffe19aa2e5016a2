"""Wrong answers to the exercise of question 17."""

from wrong_answers import wrong


def steps(name, depth):
    """How many layers stand above this parameter's."""
    first, *rest = name.split(".")
    if first == "blocks":
        return depth - int(rest[0])
    return depth + 1 if first in ("patch_embed", "cls_token") else 0


@wrong("q17.layer_rates", "You turned it round")
def decays_upwards(names, depth, rate, decay):
    return [rate * decay ** (depth + 1 - steps(name, depth)) for name in names]


@wrong("q17.layer_rates", "as fast as the head")
def last_block_at_full_rate(names, depth, rate, decay):
    return [rate * decay ** max(steps(name, depth) - 1, 0) for name in names]


@wrong("q17.layer_rates", "The head is slowed down too")
def head_decays(names, depth, rate, decay):
    return [rate * decay * decay ** steps(name, depth) for name in names]


@wrong("q17.layer_rates", "They are the first layer")
def blocks_only(names, depth, rate, decay):
    rates = []
    for name in names:
        if "blocks" in name:
            rates.append(rate * decay ** (depth - int(name.split(".")[1])))
        else:
            rates.append(rate)
    return rates


@wrong("q17.layer_rates", "The class token gets the full rate")
def forgets_the_class_token(names, depth, rate, decay):
    return [rate if "cls" in name else rate * decay ** steps(name, depth) for name in names]


@wrong("q17.layer_rates", "norms inside the blocks")
def takes_every_norm_for_the_last(names, depth, rate, decay):
    return [rate if "norm" in name else rate * decay ** steps(name, depth) for name in names]


@wrong("q17.layer_rates", "one digit of a block's number")
def reads_one_digit(names, depth, rate, decay):
    return [
        rate * decay ** (depth - int(name[7])) if name.startswith("blocks") else rate * decay ** steps(name, depth)
        for name in names
    ]


@wrong("q17.layer_rates", "as fast as the first block")
def embedding_with_the_first_block(names, depth, rate, decay):
    return [rate * decay ** min(steps(name, depth), depth) for name in names]


@wrong("q17.layer_rates", "*multiplies*")
def takes_off_the_same(names, depth, rate, decay):
    return [rate - rate * (1 - decay) * steps(name, depth) for name in names]


@wrong("q17.layer_rates", "All parameters get one rate")
def one_rate(names, depth, rate, decay):
    return [rate for _ in names]


@wrong("q17.layer_rates", "the rate itself is missing")
def factors_only(names, depth, rate, decay):
    return [decay ** steps(name, depth) for name in names]
