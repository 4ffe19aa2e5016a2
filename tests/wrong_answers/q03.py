"""Wrong answers to the exercise of question 3."""

import math

import torch
import torch.nn.functional as F

from wrong_answers import wrong


@wrong("q03.attend", "A score of 0 is not a weight of 0")
def multiplies_scores(q, k, v, hidden):
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[3])
    return torch.softmax(scores * (~hidden)[:, None, None].float(), dim=3) @ v


@wrong("q03.attend", "A score of 0 is not a weight of 0")
def blackens_the_keys(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k * (~hidden)[:, None, :, None], v)


@wrong("q03.attend", "no longer adds up to 1")
def clears_the_weights(q, k, v, hidden):
    weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[3]), dim=3)
    return (weights * (~hidden)[:, None, None]) @ v


@wrong("q03.attend", "no longer adds up to 1")
def blackens_the_values(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, torch.where(hidden[:, None, :, None], 0.0, v))


@wrong("q03.attend", "ignore the visible ones")
def takes_the_polarity_of_pytorch(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=hidden[:, None, None, :])  # True takes part


@wrong("q03.attend", "mask queries")
def masks_the_rows(q, k, v, hidden):
    scores = q @ k.mT / math.sqrt(q.shape[3]) - 1e9 * hidden[:, None, :, None]
    return torch.softmax(scores, dim=3) @ v


@wrong("q03.attend", "You clear what hidden tokens receive")
def clears_the_output(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, v) * (~hidden)[:, None, :, None]


@wrong("q03.attend", "the mask makes no difference")
def forgets_the_mask(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, v)


@wrong("q03.attend", "mask of the first example for all")
def one_mask_for_all(q, k, v, hidden):
    visible = (~hidden[0]).nonzero()[:, 0]
    return F.scaled_dot_product_attention(q, k[:, :, visible], v[:, :, visible])


@wrong("q03.attend", "forgot to divide")
def forgets_the_scale(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden[:, None, None, :], scale=1.0)


@wrong("q03.attend", "by d, not by √d")
def divides_by_the_width(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden[:, None, None, :], scale=1 / q.shape[3])


@wrong("q03.attend", "runs over the queries")
def softmax_over_queries(q, k, v, hidden):
    scores = (q @ k.mT / math.sqrt(q.shape[3])).masked_fill(hidden[:, None, None], float("-inf"))
    return torch.softmax(scores, dim=2) @ v


@wrong("q03.attend", "mask queries")
def masks_the_queries(q, k, v, hidden):
    scores = (q @ k.mT / math.sqrt(q.shape[3])).masked_fill(hidden[:, None, :, None], float("-inf"))
    return torch.softmax(scores, dim=3) @ v


@wrong("q03.attend", "Expected shape")
def drops_the_outputs_too(q, k, v, hidden):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=~hidden[:, None, None])[:, :, 1:]
