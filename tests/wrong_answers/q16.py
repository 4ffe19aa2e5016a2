"""Wrong answers to the exercise of question 16."""

from collections import Counter, defaultdict

import torch

from wrong_answers import wrong


def in_groups(scaffolds):
    groups = defaultdict(list)
    for place, scaffold in enumerate(scaffolds.tolist()):
        groups[scaffold].append(place)
    return groups


def filled(groups, size, limit):
    is_test = torch.zeros(size, dtype=torch.bool)
    for group in groups:
        if is_test.sum() + len(group) > limit:
            break
        is_test[group] = True
    return is_test


@wrong("q16.scaffold_split", "the last scaffold is torn")
def molecule_by_molecule(scaffolds, test_size):
    count = Counter(scaffolds.tolist())
    first = [scaffolds.tolist().index(s) for s in scaffolds.tolist()]
    order = sorted(range(len(scaffolds)), key=lambda i: (count[int(scaffolds[i])], first[i]))
    is_test = torch.zeros(len(scaffolds), dtype=torch.bool)
    is_test[order[:test_size]] = True
    return is_test


@wrong("q16.scaffold_split", "You look at the molecules' places")
def the_first_ones(scaffolds, test_size):
    return torch.arange(len(scaffolds)) < test_size


@wrong("q16.scaffold_split", "You take the last molecules")
def the_last_ones(scaffolds, test_size):
    return torch.arange(len(scaffolds)) >= len(scaffolds) - test_size


@wrong("q16.scaffold_split", "made it overflow")
def adds_then_asks(scaffolds, test_size):
    is_test = torch.zeros(len(scaffolds), dtype=torch.bool)
    for group in sorted(in_groups(scaffolds).values(), key=len):
        if is_test.sum() >= test_size:
            break
        is_test[group] = True
    return is_test


@wrong("q16.scaffold_split", "most frequent scaffolds")
def common_ones(scaffolds, test_size):
    return filled(sorted(in_groups(scaffolds).values(), key=len, reverse=True), len(scaffolds), test_size)


@wrong("q16.scaffold_split", "in the order in which they appear")
def as_they_come(scaffolds, test_size):
    return filled(in_groups(scaffolds).values(), len(scaffolds), test_size)


@wrong("q16.scaffold_split", "The number is only a name")
def unique_sorts(scaffolds, test_size):
    names, counts = scaffolds.unique(return_counts=True)
    order = counts.argsort(stable=True)
    groups = [(scaffolds == names[i]).nonzero()[:, 0].tolist() for i in order]
    return filled(groups, len(scaffolds), test_size)


@wrong("q16.scaffold_split", "True is for the test")
def marks_training(scaffolds, test_size):
    return ~filled(sorted(in_groups(scaffolds).values(), key=len), len(scaffolds), test_size)


@wrong("q16.scaffold_split", "True or False for each molecule")
def gives_places(scaffolds, test_size):
    return filled(sorted(in_groups(scaffolds).values(), key=len), len(scaffolds), test_size).nonzero().flatten()


@wrong("q16.scaffold_split", "scaffolds of a single molecule only")
def loners(scaffolds, test_size):
    groups = [group for group in in_groups(scaffolds).values() if len(group) == 1]
    return filled(groups, len(scaffolds), test_size)


@wrong("q16.scaffold_split")
def nobody(scaffolds, test_size):
    return torch.zeros(len(scaffolds), dtype=torch.bool)


@wrong("q16.scaffold_split")
def everybody(scaffolds, test_size):
    return torch.ones(len(scaffolds), dtype=torch.bool)
