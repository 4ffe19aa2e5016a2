"""Question 12: normalise a series without looking ahead."""

import torch
from torch import Tensor

from mae.exercises.engine import compare, exercise


def _cases(generator: torch.Generator) -> list[dict]:
    """Series of different levels and swings; each hides another number of patches."""
    cases = []
    for B, N, P in ((1, 3, 2), (2, 4, 2), (3, 6, 4), (4, 8, 3)):
        level = 20 * torch.randn(B, 1, 1, generator=generator)
        swing = 1 + 4 * torch.rand(B, 1, 1, generator=generator)
        walk = torch.randn(B, N * P, generator=generator).cumsum(dim=1).view(B, N, P)
        hidden = torch.rand(B, N, generator=generator).argsort(dim=1) < torch.arange(B)[:, None] % (N - 2) + 1
        cases.append({"patches": level + swing * walk, "is_hidden": hidden})
    return cases


def _statistics(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and deviation over the last two axes: (B, N, P) → (B, 1, 1), twice."""
    weight = weight.expand_as(values)
    count = weight.sum(dim=(1, 2), keepdim=True)
    mean = (values * weight).sum(dim=(1, 2), keepdim=True) / count
    return mean, (((values - mean) ** 2 * weight).sum(dim=(1, 2), keepdim=True) / count).sqrt()


def _scaled(patches: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (patches - mean) / std, mean, std


def _visible(is_hidden: Tensor) -> Tensor:
    return (~is_hidden)[:, :, None].float()


def _reference(patches: Tensor, is_hidden: Tensor):
    parts = []
    for x, hide in zip(patches, is_hidden, strict=True):
        seen = x[~hide]
        parts.append((seen.mean(), ((seen - seen.mean()) ** 2).mean() ** 0.5))
    mean, std = (torch.stack(column)[:, None, None] for column in zip(*parts, strict=True))
    return _scaled(patches, mean, std)


def _all(patches, is_hidden):
    return _scaled(patches, *_statistics(patches, torch.ones(1, 1, 1)))


def _hidden_only(patches, is_hidden):
    return _scaled(patches, *_statistics(patches, 1 - _visible(is_hidden)))


def _zeros(patches, is_hidden):
    return _scaled(patches, *_statistics(patches * _visible(is_hidden), torch.ones(1, 1, 1)))


def _zeros_divided(patches, is_hidden):
    x, visible = patches * _visible(is_hidden), _visible(is_hidden)
    mean = _statistics(patches, visible)[0]
    std = ((x - mean) ** 2).mean(dim=(1, 2), keepdim=True).sqrt()
    return _scaled(patches, mean, std)


def _batch(patches, is_hidden):
    seen = patches[~is_hidden]
    shape = (len(patches), 1, 1)
    return _scaled(patches, seen.mean().expand(shape), seen.std(correction=0).expand(shape))


def _std_of_all(patches, is_hidden):
    return _scaled(patches, _statistics(patches, _visible(is_hidden))[0], _statistics(patches, torch.ones(1, 1, 1))[1])


def _sample(patches, is_hidden):
    mean, std = _statistics(patches, _visible(is_hidden))
    count = (_visible(is_hidden).sum(dim=(1, 2), keepdim=True)) * patches.shape[2]
    return _scaled(patches, mean, std * (count / (count - 1)).sqrt())


def _variance(patches, is_hidden):
    mean, std = _statistics(patches, _visible(is_hidden))
    return _scaled(patches, mean, std**2)


def _visible_only(patches, is_hidden):
    normalized, mean, std = _reference(patches, is_hidden)
    return torch.where(is_hidden[:, :, None], patches, normalized), mean, std


def _hidden_zero(patches, is_hidden):
    normalized, mean, std = _reference(patches, is_hidden)
    return normalized * _visible(is_hidden), mean, std


def _not_centred(patches, is_hidden):
    _, mean, std = _reference(patches, is_hidden)
    return patches / std, mean, std


MISTAKES = {
    "Your mean and deviation are those of the whole series, hidden part included. In use the hidden part is the "
    "future: nobody could compute them. The test error looks better than it is.": _all,
    "Your mean and deviation are those of the hidden patches. `is_hidden` is True where a patch is hidden.": (
        _hidden_only
    ),
    "You set hidden values to zero and let them count: zero is a temperature, too. Leave them out of the sums and of "
    "the count.": _zeros,
    "Your mean is right; in the deviation hidden values still count, as zeros.": _zeros_divided,
    "You took one mean and one deviation for the whole batch. Each series has its own level and swing.": _batch,
    "Your mean looks at the visible part only, but your deviation looks at the future.": _std_of_all,
    "Your deviation divides by the number of values less one; here it is the root of the plain mean square.": _sample,
    "You divided by the variance. The deviation, its root, has the unit of the data.": _variance,
    "You normalised the visible patches only. The target must be on the same scale as the input: apply the visible "
    "part's numbers to all patches.": _visible_only,
    "You set the hidden patches to zero. They are the target of the training: normalise them with the visible part's "
    "numbers.": _hidden_zero,
    "You divided, but did not take the mean off.": _not_centred,
}


@exercise(
    "q12.normalize_visible",
    "implement",
    "Normalise without looking ahead",
    minutes=10,
    hints=(
        "Each series hides another number of patches, so `patches[~is_hidden]` forgets which series a value is from. "
        "A weight of 1 or 0 for each value keeps them apart: what are its sum, and the sum of weight times value?",
        "`visible = (~is_hidden)[:, :, None].expand_as(patches)` has the shape of the patches. For the deviation take "
        "the mean off first, then weight the squares, so that hidden values add nothing.",
    ),
    then="change a hidden value by a thousand degrees. Which of your three results may change, and where?",
)
def normalize_visible(answer, generator: torch.Generator) -> str:
    """Against one series at a time; and hidden values may not reach what is visible."""
    cases = _cases(generator)
    compare(answer, _reference, cases, MISTAKES)
    return (
        f"{len(cases)} fresh batches, each series with another number of hidden patches: your numbers are those of the "
        "visible part alone, and put on all patches."
    )
