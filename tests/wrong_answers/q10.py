"""Wrong answers to the exercise of question 10."""

import torch

from wrong_answers import wrong


def right(errors, is_hidden):
    count = is_hidden.float().sum(0)
    found = torch.where(count > 0, (errors * is_hidden).sum(0) / count.clamp(min=1), torch.zeros(()))
    return found, found.sum(1) / (count > 0).sum(1)


@wrong("q10.anomaly_map", "never asked for it")
def all_masks(errors, is_hidden):
    return errors.mean(0), right(errors, is_hidden)[1]


@wrong("q10.anomaly_map", "divide by the number of masks")
def divides_by_all_masks(errors, is_hidden):
    return torch.einsum("sbn,sbn->bn", errors, is_hidden.float()) / len(errors), right(errors, is_hidden)[1]


@wrong("q10.anomaly_map", "because it was hidden often")
def adds_up(errors, is_hidden):
    return torch.einsum("sbn,sbn->bn", errors, is_hidden.float()), right(errors, is_hidden)[1]


@wrong("q10.anomaly_map", "masks in which the patch was visible")
def other_polarity(errors, is_hidden):
    return right(errors, ~is_hidden)


@wrong("q10.anomaly_map", "One unlucky mask")
def worst_mask(errors, is_hidden):
    found = torch.where(is_hidden, errors, torch.zeros(())).max(0).values
    return found, found.mean(1)


@wrong("q10.anomaly_map", "One lucky mask")
def best_mask(errors, is_hidden):
    found = torch.where(is_hidden, errors, torch.tensor(torch.inf)).min(0).values
    return torch.where(found.isinf(), torch.zeros(()), found), right(errors, is_hidden)[1]


@wrong("q10.anomaly_map", "NaN where a patch was never hidden")
def divides_by_zero(errors, is_hidden):
    found = (errors * is_hidden).sum(0) / is_hidden.sum(0)
    return found, found.nanmean(1)


@wrong("q10.anomaly_map", "no mask hid as perfectly predicted")
def zeros_count(errors, is_hidden):
    found = right(errors, is_hidden)[0]
    return found, found.mean(1)


@wrong("q10.anomaly_map", "hidden often counts more")
def pools_everything(errors, is_hidden):
    scores = [errors[:, b][is_hidden[:, b]].mean() for b in range(errors.shape[1])]
    return right(errors, is_hidden)[0], torch.stack(scores)


@wrong("q10.anomaly_map", "the worst patch")
def worst_patch(errors, is_hidden):
    found = right(errors, is_hidden)[0]
    return found, found.max(dim=1).values


@wrong("q10.anomaly_map", "one number for the batch")
def one_score(errors, is_hidden):
    found, score = right(errors, is_hidden)
    return found, score.mean()


@wrong("q10.anomaly_map", "Expected two results")
def only_the_map(errors, is_hidden):
    return right(errors, is_hidden)[0]
