"""Start here: two warm-ups that show how an exercise works."""

import torch

from mae.exercises.engine import Wrong, choice, exercise, number, show
from mae.masking import num_visible
from mae.patches import patchify


@exercise(
    "start.counts",
    "predict",
    "Count the patches",
    minutes=2,
    hints=(
        "How many patches stand side by side in a picture that is 28 pixels wide? How many below one another?",
        "A quarter of N is not a whole number here. K is rounded down, and every patch is either visible or hidden.",
    ),
    then="with patches of 2×2 pixels, by which factor does each of the three numbers grow?",
)
def counts(answer, generator: torch.Generator) -> str:
    """N, K and M of a colour picture that is not square."""
    C, H, W, p = 3, 52, 28, 4
    N, P = patchify(torch.zeros(1, C, H, W), p).shape[1:]
    K = num_visible(N, 0.75)
    if not isinstance(answer, dict) or set(answer) != {"N", "K", "M"}:
        raise Wrong(f"Expected a dictionary with N, K and M, got {show(answer)}.")
    number(
        answer["N"],
        N,
        0,
        {
            "You counted pixels. A patch is a square of 4×4 of them.": H * W,
            "You counted the values of all pixels and channels. A patch holds 4×4 pixels with all their channels.": (
                C * H * W
            ),
            "You counted each channel by itself. A patch is a place: it holds all three channels.": C * N,
            "That is P, the number of values in one patch. N is how many patches there are.": P,
            "You added rows and columns of patches. They form a grid.": H // p + W // p,
            "You divided by the side of a patch only once. A patch is as high as it is wide.": H * W // p,
        },
        name="N",
    )
    number(
        answer["K"],
        K,
        0,
        {
            "K is how many stay visible; you counted the hidden ones.": N - K,
            "You rounded up. K is rounded down, so that never less than three quarters are hidden.": K + 1,
            "The number of patches is whole, and K is too: round down.": N / 4,
            "You took a quarter of the pixels. Whole patches are hidden, not single pixels.": H * W // 4,
        },
        name="K",
    )
    number(
        answer["M"],
        N - K,
        0,
        {
            "You rounded M down as well. Then one patch is neither visible nor hidden.": N - K - 1,
            "M is how many are hidden; you counted the visible ones.": K,
            "M is whole, as K is: what is not visible is hidden.": 3 * N / 4,
        },
        name="M",
    )
    return f"`patchify` cuts such a picture into {N} patches, `random_mask` leaves {K} visible and hides {N - K}."


@exercise(
    "start.evidence",
    "choose",
    "What does the table prove?",
    minutes=3,
    hints=(
        "The sceptic grants the numbers, and doubts their cause. What would have to be changed, and what kept?",
        "Keep the network, the digits and the classifier as they are. Take away the one thing that is in doubt.",
    ),
    then="predict how the missing row comes out, above or below the pixels; chapter 1 measures it.",
)
def evidence(answer, generator: torch.Generator) -> str:
    """An untrained network is the control for what training did."""
    if not isinstance(answer, dict) or set(answer) != {"choice", "because"}:
        raise Wrong(f'Expected a dictionary with "choice" and "because", got {show(answer)}.')
    choice(
        answer["choice"],
        "c",
        {
            "a": "More test digits make the same numbers more exact. The sceptic does not doubt the numbers, but "
            "what they come from.",
            "b": "A small error shows that the model can fill in. It does not tell whether filling in made the "
            "features good: a network may be good at one and useless for the other.",
            "d": "On digits that the classifier was fitted to, both rows go up. That says how well it memorises, and "
            "nothing about the training of the network.",
        },
    )
    choice(
        answer["because"],
        "f",
        {
            "e": "An average over more cases shrinks chance errors. Here the doubt is about a cause, and that needs a "
            "comparison, not an average.",
            "g": "The features of both networks have the same size, so the number of features explains no "
            "difference between them. What is the only thing that does differ?",
        },
        name="your reason",
    )
    return "The row with random weights is the control: it has the architecture without the training."
