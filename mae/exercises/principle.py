"""Chapter 3: masks, the masked loss and its targets."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise
from mae.exercises.quiz import Option, Question, add_quiz
from mae.masking import take


def _shuffled(generator: torch.Generator) -> Iterator[dict]:
    """Shuffled tokens and the order they were put into; no order is its own inverse, or all would look alike."""
    for B, N, D in ((1, 4, 1), (2, 5, 2), (3, 9, 4), (4, 16, 3)):
        while True:
            order = torch.rand(B, N, generator=generator).argsort(dim=1)
            if (order != order.argsort(dim=1)).any(dim=1).all():
                break
        tokens = torch.randint(0, 100, (B, N, D), generator=generator).float()
        yield {"shuffled": take(tokens, order), "order": order}


@exercise(
    "principle.unshuffle",
    "implement",
    "Put shuffled tokens back",
    minutes=10,
    hints=(
        "Position `i` of `shuffled` holds the token of place `order[i]`. Where does the token of place 0 stand?",
        "`order.argsort()` answers that question for all places at once; then gather along the second axis.",
    ),
    then="write it with `scatter` instead of a second sort, and compare the time for a million tokens.",
)
def unshuffle(answer, generator: torch.Generator) -> str:
    """Un-shuffling gathers by the inverse permutation."""
    mistakes = {
        "This is the shuffle again, not its inverse: you gather by `order`, but place j must get the token that "
        "stands where `order` equals j.": take,
        "You sort by the values of the tokens. Only `order` knows where they came from.": lambda shuffled, order: (
            shuffled.sort(dim=1).values
        ),
        "You un-shuffle all examples by the order of the first. Each example has an order of its own.": (
            lambda shuffled, order: shuffled[:, order[0].argsort()]
        ),
        "You turn the sequence around. That undoes only one order in N!.": lambda shuffled, order: shuffled.flip(1),
        "You get the order right but return the indices, not the tokens.": lambda shuffled, order: order.argsort(dim=1),
    }
    return compare(
        answer,
        lambda shuffled, order: torch.zeros_like(shuffled).scatter(1, order[:, :, None].expand_as(shuffled), shuffled),
        _shuffled(generator),
        mistakes,
    )


def _losses(generator: torch.Generator) -> Iterator[dict]:
    """Predictions, targets and masks with a different number of hidden patches in each example."""
    for B, N, P in ((1, 3, 1), (2, 4, 2), (3, 9, 4), (5, 16, 8)):
        hidden = torch.rand(B, N, generator=generator) < 0.6
        hidden[:, 0], hidden[:, 1] = True, False  # never all, never none
        if B > 1:
            hidden[0, 2:] = False  # the examples differ in how many are hidden
            hidden[1, 2:] = True
        prediction, target = (torch.randint(-5, 6, (B, N, P), generator=generator).float() for _ in range(2))
        yield {"prediction": prediction, "target": target, "hidden": hidden}


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    return ((prediction - target) ** 2).mean(dim=-1)  # (B, N)


@exercise(
    "principle.masked_loss",
    "implement",
    "The loss on hidden patches",
    minutes=10,
    hints=(
        "First the mean squared error of every patch, (B, N). Which of these numbers count?",
        "Multiply by the mask and divide by the number of hidden patches in the whole batch; or index with it.",
    ),
    then="what does the loss become if you average per example first, and which examples then weigh more?",
)
def masked_loss(answer, generator: torch.Generator) -> str:
    """The mean over hidden patches only, however many each example has."""
    mistakes = {
        "You averaged over all patches; only hidden ones count.": lambda p, t, h: _error(p, t).mean(),
        "You took the visible patches: the mask is True where a patch is hidden.": lambda p, t, h: _error(p, t)[
            ~h
        ].mean(),
        "You divided by all patches, not by the mask: visible patches add nothing to the sum, but still count in "
        "the mean.": lambda p, t, h: (_error(p, t) * h).mean(),
        "You divided by the batch, not by the number of hidden patches.": lambda p, t, h: (
            (_error(p, t) * h).sum() / len(p)
        ),
        "You averaged within each example first. With a varying number of hidden patches, an example with few of "
        "them then weighs as much as one with many.": lambda p, t, h: ((_error(p, t) * h).sum(1) / h.sum(1)).mean(),
        "You summed over the hidden patches; divide by how many there are.": lambda p, t, h: (_error(p, t) * h).sum(),
        "You summed over the values in a patch; the error of a patch is their mean.": lambda p, t, h: (
            (p - t).pow(2).sum(-1)[h].mean()
        ),
        "You took the absolute error, not the square.": lambda p, t, h: (p - t).abs().mean(-1)[h].mean(),
        "You return one loss per example; the loss of a batch is one number.": lambda p, t, h: (
            (_error(p, t) * h).sum(1) / h.sum(1)
        ),
    }
    reference = lambda prediction, target, hidden: _error(prediction[hidden], target[hidden]).mean()  # noqa: E731
    return compare(answer, reference, _losses(generator), mistakes)


add_quiz(
    "principle",
    *(
        Question(
            "placeholder",
            (Option("a", "b", True), Option("c", "d"), Option("e", "f")),
        )
        for _ in range(5)
    ),
)
