"""Tables are split without leaks; fillings and filters do what they say; stored runs hold."""

import json

import numpy as np
import pytest
import torch

from mae import tables
from mae.masking import Mask, random_mask
from mae.tables import (
    RATES,
    RESULTS,
    SWEEP,
    TableSetting,
    as_tokens,
    combine,
    fill,
    fill_gaussian,
    fill_iterative,
    fill_neighbors,
    fillings,
    from_others,
    load_table,
    predict_hidden,
    rmse,
    run_tables,
    smooth_gaussian,
    stored_tables,
    straight_lines,
    train_table,
)


@pytest.fixture(scope="module")
def line():
    """Rows on one line in four dimensions, with a little noise: every entry tells all others."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(300, 1, generator=generator)
    rows = common * torch.tensor([1.0, -1.0, 1.0, -1.0])
    return rows + 0.05 * torch.randn(rows.shape, generator=generator)


@pytest.fixture(scope="module")
def model(line):
    return train_table(line[:200], seed=0, steps=20)


@pytest.mark.parametrize(("name", "sizes", "columns"), [("cells", (318, 80, 171), 30), ("days", (699, 138, 249), 24)])
def test_tables_are_standardised_by_their_training_rows(name, sizes, columns):
    found = load_table(name)
    parts = (found.train, found.validation, found.test)
    assert [tuple(part.shape) for part in parts] == [(size, columns) for size in sizes]
    assert len(found.columns) == columns and not any(part.isnan().any() for part in parts)
    assert found.train.mean(dim=0).abs().max() < 1e-5 and (found.train.std(dim=0) - 1).abs().max() < 2e-2
    assert found.test.mean(dim=0).abs().max() > 1e-2
    assert len(torch.cat(parts).unique(dim=0)) == sum(sizes)  # no row in two parts


def test_seeds_split_cells_anew_and_days_in_time():
    assert not torch.equal(load_table("cells", 0).test, load_table("cells", 1).test)
    assert torch.equal(load_table("days", 0).test, load_table("days", 1).test)
    assert load_table("days").columns[14] == "14:00"
    assert load_table("days").train.std(dim=1).mean() < 0.6  # the hours of a day are alike
    with pytest.raises(ValueError, match='"cells" or "days"'):
        load_table("wine")


def test_tokens_stand_in_their_columns():
    assert as_tokens(torch.tensor([[2.0, 3.0]])).tolist() == [[[2, 0], [0, 3]]]


def test_hidden_entries_are_not_looked_at(model, line, seeded):
    mask = random_mask(5, 4, 0.5, generator=seeded(1))
    before = predict_hidden(model, line[:5], mask)
    assert before.shape == (5, 2)
    changed = line[:5].masked_fill(mask.is_hidden, 99.0)
    assert torch.equal(predict_hidden(model, changed, mask), before)
    filled = fill(model, line[:5], mask)
    assert torch.equal(filled[~mask.is_hidden], line[:5][~mask.is_hidden])
    assert torch.equal(filled.gather(1, mask.hidden), before)
    alone = from_others(model, line[:5])
    changed = line[:5].clone()
    changed[:, 2] = 99
    assert torch.equal(from_others(model, changed)[:, 2], alone[:, 2])
    assert not torch.equal(from_others(model, changed)[:, 1], alone[:, 1])


def test_a_model_learns_the_line(line):
    trained = train_table(line[:200], seed=0, steps=300)
    mask = random_mask(100, 4, 0.5, generator=torch.Generator().manual_seed(2))
    assert rmse(fill(trained, line[200:], mask), line[200:], mask) < 0.4


@pytest.mark.parametrize("way", ["gaussian", "iterative", "neighbors"])
def test_baselines_find_the_line(way, line):
    mask = random_mask(100, 4, 0.5, generator=torch.Generator().manual_seed(2))
    train, test = line[:200], line[200:]
    filled = {
        "gaussian": lambda: fill_gaussian(train, test, mask),
        "iterative": lambda: fill_iterative(train, test, mask, seed=0),
        "neighbors": lambda: fill_neighbors(train, test, mask, 3),
    }[way]()
    assert torch.equal(filled[~mask.is_hidden], test[~mask.is_hidden])
    assert rmse(filled, test, mask) < 0.15


def test_straight_lines_join_visible_columns():
    mask = Mask.from_hidden(torch.tensor([[True, False, True, True, False]]))
    assert straight_lines(torch.tensor([[9.0, 1, 9, 9, 4]]), mask).tolist() == [[1, 1, 2, 3, 4]]


def test_rmse_is_of_hidden_entries():
    mask = Mask.from_hidden(torch.tensor([[True, False]]))
    assert rmse(torch.tensor([[3.0, 9.0]]), torch.tensor([[1.0, 0.0]]), mask) == 2
    assert rmse(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)) == pytest.approx(12.5**0.5)


def test_combining_is_better_than_both_and_the_filter_better_than_nothing(seeded):
    truth = torch.randn(4000, 2, generator=seeded(1))
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=seeded(2))
    predicted = truth + 1.0 * torch.randn(truth.shape, generator=seeded(3))
    both = combine(noisy, predicted, 0.5, torch.tensor([1.0, 1.0]))
    assert rmse(both, truth) == pytest.approx((0.25 * 1 / 1.25) ** 0.5, rel=0.03)
    assert rmse(smooth_gaussian(noisy, noisy, 0.5), truth) == pytest.approx((0.25 / 1.25) ** 0.5, rel=0.03)


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert [TableSetting(**row["setting"]) for row in content["rows"]] == SWEEP
    for row in content["rows"]:
        assert set(row) == {"setting", "missing", "noisy", "seconds"}
        assert list(row["missing"]) == [str(rate) for rate in RATES]
    assert len(stored_tables("cells")) == len(stored_tables("days")) == 3


def test_what_is_stored_is_not_run_again(monkeypatch):
    monkeypatch.setattr(tables, "run", lambda setting: pytest.fail("runs again"))
    run_tables()


def test_stored_errors_come_out_again():
    table = load_table("cells")
    model = train_table(table.train, seed=0)
    again = fillings(table, model, 0.5, 0)
    stored = stored_tables("cells")[0]["missing"]["0.5"]
    for name, error in again.items():
        assert error == pytest.approx(stored[name], abs=0.06 if name == "masked autoencoder" else 0.01), name
    assert np.isfinite(list(again.values())).all()
