"""Lines, masks, the likelihood bound, n-grams, the ways to write, and stored runs."""

import itertools
import json
import math
from collections import Counter

import pytest
import torch

from mae import generation
from mae.generation import (
    MEASURED,
    ORDERS,
    RESULTS,
    SAMPLE_SWEEP,
    SAMPLES,
    SHIPPED,
    SWEEP,
    SYMBOLS,
    WEIGHTS,
    N,
    NGram,
    SampleSetting,
    V,
    WritingSetting,
    bound,
    generate,
    hidden_bits,
    hide,
    known_words,
    left_to_right,
    load_lines,
    measured_lines,
    predict_symbols,
    run,
    run_generation,
    run_sample,
    stored_samples,
    stored_writers,
    text_of,
    train_writer,
    tune_ngram,
    word_scores,
)
from mae.masking import Mask
from mae.model import MaskedAutoencoder
from mae.text import SPLITS
from mae.weights import load_model


@pytest.fixture(scope="module")
def model():
    return load_model(WEIGHTS)


@pytest.fixture(scope="module")
def parts():
    return {split: load_lines(split) for split in SPLITS}


def ids_of(*lines):
    return torch.tensor([[0] + [SYMBOLS.index(symbol) for symbol in line.ljust(N)] for line in lines])


# Lines


def test_lines_begin_alike_and_stand_in_one_part_only(parts):
    seen = [text for ids in parts.values() for text in text_of(ids)]
    assert len(set(seen)) == len(seen)
    for split, least in (("train", 9000), ("validation", 1000), ("test", 2000)):
        ids = parts[split]
        assert ids.shape[1:] == (1 + N,) and len(ids) > least
        assert (ids[:, 0] == 0).all() and (ids[:, 1:] > 0).all() and (ids < V).all()
    assert len(measured_lines()) == MEASURED
    with pytest.raises(ValueError, match="expected one of train"):
        load_lines("all")


def test_hidden_symbols_are_low_lines():
    ids = ids_of("as it is.")
    ids[0, 3] = -1
    assert text_of(ids) == ["as_it is.".ljust(N)]


# Masks


def test_the_begin_is_never_hidden(seeded):
    for count in (1, 5, N):
        mask = hide(count, 200, generator=seeded(0))
        assert mask.hidden.shape == (200, count) and not mask.is_hidden[:, 0].any()
    often = hide(8, 4000, generator=seeded(1)).is_hidden.float().mean(dim=0)[1:]
    assert often.sub(8 / N).abs().max() < 0.035
    for count in (0, N + 1):
        with pytest.raises(ValueError, match="hidden symbols"):
            hide(count, 2, generator=seeded(0))


def test_hidden_symbols_and_the_begin_are_out_of_the_game(model, parts, seeded):
    ids, mask = parts["test"][:4], hide(9, 4, generator=seeded(2))
    with torch.inference_mode():
        logits = predict_symbols(model, ids, mask)
        other = predict_symbols(model, ids.scatter(1, mask.hidden, -1), mask)
    assert torch.equal(logits, other) and (logits[:, :, 0] == -math.inf).all()
    assert logits.softmax(dim=2).sum(dim=2).sub(1).abs().max() < 1e-5


# The bound


def test_the_mean_over_orders_is_the_weighted_mean_over_masks(model, parts):
    ids, places = parts["test"][5:6], (4, 11, 20)

    def bits(hidden):
        is_hidden = torch.zeros(1, 1 + N, dtype=torch.bool)
        is_hidden[0, list(hidden)] = True
        return dict(zip(sorted(hidden), hidden_bits(model, ids, Mask.from_hidden(is_hidden))[0].tolist(), strict=True))

    orders = [sum(bits(order[i:])[order[i]] for i in range(3)) for order in itertools.permutations(places)]
    by_count = []
    for m in (1, 2, 3):
        sums = [sum(bits(subset).values()) * 3 / m for subset in itertools.combinations(places, m)]
        by_count.append(sum(sums) / len(sums))
    assert sum(by_count) / 3 == pytest.approx(sum(orders) / 6, rel=1e-4)


def test_bound_and_left_to_right_of_a_model_that_knows_nothing(seeded):
    blank = MaskedAutoencoder(generation.writing_config(), generator=seeded(0)).eval()
    torch.nn.init.zeros_(blank.decoder_pred.weight)
    ids = ids_of("a line", "another")
    for bits in (bound(blank, ids, generator=seeded(1)), left_to_right(blank, ids)):
        assert bits.shape == (2, N) and torch.allclose(bits, torch.tensor(math.log2(V - 1)))


def test_left_to_right_never_looks_ahead(model, parts):
    ids = parts["test"][:2]
    changed = ids.clone()
    changed[:, 20:] = 5
    before, after = left_to_right(model, ids), left_to_right(model, changed)
    assert torch.equal(before[:, :19], after[:, :19]) and not torch.equal(before, after)


# n-grams


def test_ngrams_by_hand():
    train = ids_of("abab", "abac")
    d, counts = 0.4, Counter(text_of(train)[0] + text_of(train)[1])
    first = NGram(train, 1, d)
    expected = (counts["b"] - d) / (2 * N) + d * len(counts) / (2 * N) / (V - 1)
    assert first.bits(ids_of("b"))[0, 0].item() == pytest.approx(-math.log2(expected))
    # After an "a" came "b" three times and "c" once.
    second = NGram(train, 2, d)
    p = (3 - d) / 4 + d * 2 / 4 * expected
    assert second.bits(ids_of("ab"))[0, 1].item() == pytest.approx(-math.log2(p))
    # Nothing ever came after an "x": the shorter context decides.
    assert second.bits(ids_of("xb"))[0, 1].item() == pytest.approx(-math.log2(expected))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_chances_of_ngrams_sum_to_one(parts, n):
    model = NGram(parts["train"][:500], n, 0.7)
    ids = parts["test"][:1].repeat(V - 1, 1)
    ids[:, 7] = torch.arange(1, V)
    assert (2 ** -model.bits(ids)[:, 6]).sum().item() == pytest.approx(1)


def test_ngrams_write_what_they_have_read(seeded):
    train = ids_of("abcabcabc", "abcabcabc")
    assert text_of(NGram(train, 9, 1e-6).generate(3, generator=seeded(0)))[0].startswith("abcabcabc ")


def test_the_discount_is_that_of_the_validation_part(parts):
    train, validation = parts["train"][:2000], parts["validation"][:300]
    best = tune_ngram(train, validation, 4, (0.1, 0.7, 0.95))
    scores = {d: NGram(train, 4, d).bits(validation).mean() for d in (0.1, 0.7, 0.95)}
    assert best.discount == min(scores, key=scores.get) == 0.7
    for n, discount in ((0, 0.5), (11, 0.5), (3, 0), (3, 1)):
        with pytest.raises(ValueError, match="expected n from 1 to 10"):
            NGram(train, n, discount)


# Writing


@pytest.mark.parametrize("order", ORDERS)
def test_each_step_unmasks_its_share_and_changes_nothing_else(model, seeded, order):
    states = generate(model, 3, 5, order, generator=seeded(0))
    assert states.shape == (6, 3, 1 + N)
    assert [int((s < 0).sum(dim=1).unique()) for s in states] == [32, 25, 18, 12, 6, 0]
    for before, after in itertools.pairwise(states):
        assert torch.equal(after[before >= 0], before[before >= 0])
    if order == "left to right":
        assert (states[2, :, :15] >= 0).all() and (states[2, :, 15:] < 0).all()


def test_confident_keeps_the_most_probable_draws(model, seeded):
    state = generate(model, 4, N, "confident", generator=seeded(1))[1]
    with torch.inference_mode():
        nothing = Mask.from_hidden(torch.arange(1 + N).expand(4, -1) > 0)
        chances = predict_symbols(model, state, nothing).softmax(dim=2)
    drawn = torch.multinomial(chances.flatten(0, 1), 1, generator=seeded(1)).view(4, N)
    best = chances.gather(2, drawn[:, :, None])[:, :, 0].argmax(dim=1, keepdim=True)
    assert torch.equal(state[:, 1:].gather(1, best), drawn.gather(1, best))


def test_wrong_ways_to_write_are_named(model, seeded):
    for steps, order in ((0, "random"), (N + 1, "random"), (4, "backwards")):
        with pytest.raises(ValueError, match="1 to 32 steps, got"):
            generate(model, 1, steps, order, generator=seeded(0))
    for ratio in (0, 1.5):
        with pytest.raises(ValueError, match="expected a ratio"):
            WritingSetting(ratio=ratio)


def test_words_are_counted_without_the_one_that_is_cut():
    ids = ids_of("the zzz, the mean. of all thin th"[:N], "the the the the the the the the ")
    assert word_scores(ids, frozenset({"the", "mean", "of", "all", "thin"})) == {"real": 14 / 15, "distinct": 5 / 15}
    assert {"return", "array"} <= known_words()


def test_a_fixed_ratio_hides_its_share(monkeypatch, parts):
    counts = set()
    monkeypatch.setattr(generation, "hide", lambda m, *a, **k: counts.add(m) or hide(m, *a, **k))
    for ratio, expected in ((0.3, {10}), (None, set(range(1, 33)))):
        counts.clear()
        train_writer(WritingSetting(ratio=ratio, epochs=1), parts["train"][:128])
        assert counts <= expected and len(counts) >= min(len(expected), 5)


# Stored runs


def test_stored_runs_are_complete():
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    assert [WritingSetting(**row["setting"]) for row in rows] == SWEEP
    for row in rows:
        assert len(row["bound"]) == N and len(row["bound_of_line"]) == len(row["left_of_line"]) == MEASURED
        assert sum(row["bound"]) / N == pytest.approx(sum(row["bound_of_line"]) / MEASURED, abs=1e-3)
    rows = json.loads(SAMPLES.read_text(encoding="utf-8"))["rows"]
    assert [SampleSetting(**row["setting"]) for row in rows] == SAMPLE_SWEEP
    assert len(stored_writers()) == len(stored_writers(0.3)) == 2
    assert set(stored_samples("random")) == {1, 2, 4, 8, 16, 32}
    with pytest.raises(ValueError, match="no stored run with ratio 0.5"):
        stored_writers(0.5)
    with pytest.raises(ValueError, match="expected one of random"):
        stored_samples("backwards")


def test_what_is_stored_is_not_run_again(monkeypatch):
    for name in ("run", "run_sample"):
        monkeypatch.setattr(generation, name, lambda setting: pytest.fail("runs again"))
    run_generation()


def test_stored_weights_are_those_of_the_shipped_run(model, seeded):
    (row,) = [row for row in stored_writers(SHIPPED.ratio) if row["setting"]["seed"] == SHIPPED.seed]
    left = left_to_right(model, measured_lines()[:40]).mean(dim=1)
    assert left.tolist() == pytest.approx(row["left_of_line"][:40], abs=0.02)  # half precision
    assert WEIGHTS.stat().st_size < 350_000


def test_a_stored_sampling_gives_its_numbers_again():
    again, stored = run_sample(SampleSetting(order="random", steps=4)), stored_samples("random")[4]
    for name, within in {"bits": 0.2, "real": 0.05, "distinct": 0.03}.items():
        assert again[name] == pytest.approx(stored[name], abs=within)


def test_a_stored_training_gives_its_numbers_again(monkeypatch):
    lines = measured_lines()[:80]
    monkeypatch.setattr(generation, "measured_lines", lambda: lines)
    monkeypatch.setattr(generation, "generate", lambda *args, **kwargs: lines[None])  # what it writes is not compared
    again, (stored,) = run(SWEEP[0]), stored_writers(epochs=1)  # six seconds on one core
    for name in ("bound_of_line", "left_of_line"):
        assert sum(again[name]) / 80 == pytest.approx(sum(stored[name][:80]) / 80, abs=0.06)
