"""Wrong answers to the exercise of question 18."""

import torch
from torch.nn.utils.rnn import pad_sequence

from wrong_answers import wrong


def words_of(tokens, lengths):
    return [row[1:][:n] for row, n in zip(tokens, lengths.tolist(), strict=True)]


@wrong("q18.mean_of_words", "the padding counts")
def pools_everything(tokens, lengths):
    return tokens[:, 1:].sum(1) / (tokens.shape[1] - 1)


@wrong("q18.mean_of_words", "padding and class token included")
def pools_class_token_as_well(tokens, lengths):
    return torch.einsum("bnd->bd", tokens) / tokens.shape[1]


@wrong("q18.mean_of_words", "gave back the class token")
def as_in_bert(tokens, lengths):
    return tokens.select(1, 0)


@wrong("q18.mean_of_words", "class token counts")
def forgets_to_drop_the_class_token(tokens, lengths):
    keep = torch.arange(tokens.shape[1]) <= lengths[:, None]
    return (tokens * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True)


@wrong("q18.mean_of_words", "shifted by one")
def last_word_lost(tokens, lengths):
    keep = torch.arange(tokens.shape[1]) < lengths[:, None]
    return (tokens * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True).clamp(min=1)


@wrong("q18.mean_of_words", "divided by all N places")
def zeros_then_mean(tokens, lengths):
    x = tokens[:, 1:].clone()
    for row, n in zip(x, lengths.tolist(), strict=True):
        row[n:] = 0
    return x.mean(1)


@wrong("q18.mean_of_words", "gave back the sum")
def adds_up(tokens, lengths):
    return pad_sequence(words_of(tokens, lengths), batch_first=True).sum(1)


@wrong("q18.mean_of_words", "averaged the padding")
def wrong_side(tokens, lengths):
    keep = torch.arange(tokens.shape[1] - 1) >= lengths[:, None]
    return (tokens[:, 1:] * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True).clamp(min=1)


@wrong("q18.mean_of_words", "Each sentence has its own length")
def one_length_for_all(tokens, lengths):
    summed = torch.stack([words.sum(0) for words in words_of(tokens, lengths)])
    return summed * len(lengths) / lengths.sum()


@wrong("q18.mean_of_words", "largest value of the words")
def max_pooling(tokens, lengths):
    rows = [w.max(0).values if len(w) else torch.full(w.shape[1:], -torch.inf) for w in words_of(tokens, lengths)]
    return torch.stack(rows)


@wrong("q18.mean_of_words", "without words became NaN or infinity")
def mean_of_nothing(tokens, lengths):
    return torch.stack([words.mean(0) for words in words_of(tokens, lengths)])


@wrong("q18.mean_of_words", "Expected shape")
def keeps_the_axis(tokens, lengths):
    keep = (torch.arange(tokens.shape[1] - 1) < lengths[:, None])[:, :, None]
    return (tokens[:, 1:] * keep).sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp(min=1)
