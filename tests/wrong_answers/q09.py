"""Wrong answers to the exercise of question 9."""

import torch

from wrong_answers import wrong


def rows(condition):
    return torch.where(condition)[0]


@wrong("q09.split_views", "views of held-out originals", "train on what you test with")
def everything_else_trains(source, is_view, held_out):
    test = torch.isin(source, held_out) & ~is_view
    return rows(~test), rows(test)


@wrong("q09.split_views", "test rows hold views")
def tests_on_views(source, is_view, held_out):
    test = torch.isin(source, held_out)
    return rows(~test), rows(test)


@wrong("q09.split_views", "no views, so nothing is augmented")
def trains_on_originals(source, is_view, held_out):
    held = torch.isin(source, held_out)
    return rows(~held & ~is_view), rows(held & ~is_view)


@wrong("q09.split_views", "wrong order")
def swapped(source, is_view, held_out):
    held = torch.isin(source, held_out)
    return rows(held & ~is_view), rows(~held)


@wrong("q09.split_views", "all views train")
def views_against_originals(source, is_view, held_out):
    return rows(is_view), rows(~is_view)


@wrong("q09.split_views", "for numbers of rows")
def rows_by_number(source, is_view, held_out):
    test = torch.zeros(len(source), dtype=torch.bool)
    test[held_out[held_out < len(source)]] = True
    return rows(~test), rows(test)


@wrong("q09.split_views", "one True or False for each row")
def conditions(source, is_view, held_out):
    held = torch.isin(source, held_out)
    return ~held, held & ~is_view


@wrong("q09.split_views", "numbers of the originals")
def originals(source, is_view, held_out):
    held = torch.isin(source, held_out)
    return source[~held], source[held & ~is_view]


@wrong("q09.split_views", "Expected two results")
def training_rows_only(source, is_view, held_out):
    return rows(~torch.isin(source, held_out))


@wrong("q09.split_views", "Your function returns None")
def forgets_to_return(source, is_view, held_out):
    held = torch.isin(source, held_out)
    parts = rows(~held), rows(held & ~is_view)  # noqa: F841
