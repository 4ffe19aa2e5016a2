"""The scene is the expected one; parts don't touch; masks keep the budget; nothing hidden leaks; stored runs hold."""

import json

import numpy as np
import pytest
import torch

from mae import senses
from mae.masking import Mask
from mae.model import MaskedAutoencoder
from mae.senses import (
    AS,
    BUDGET,
    BUDGETS,
    MODELS,
    PARTS,
    PATCH,
    PLACES,
    RESULTS,
    SENSES,
    SHIPPED,
    SIZE,
    WEIGHTS,
    SensesSetting,
    add_sensor,
    baseline,
    chosen,
    copy_visible,
    cut,
    fill,
    load_scene,
    load_senses,
    look_near,
    paired,
    place_tokens,
    predict_senses,
    relative,
    run,
    run_senses,
    senses_config,
    shared_mask,
    show_counts,
    squared_error,
    stored_senses,
    tokens,
    train_senses,
    translate,
    trials,
    validation_sweep,
    whole,
)

N, P = 2 * PLACES, 4 * PATCH**2


@pytest.fixture
def crops(seeded):
    made = torch.rand(6, 4, SIZE, SIZE, generator=seeded(1))
    made[:, 3] = 30 + 5 * made[:, 3]
    made[0, 3, :1, :1] = torch.nan
    return made


# The scene


def test_the_scene_is_reduced_and_knows_what_it_does_not_know():
    scene = load_scene()
    assert scene.shape == (4, 125, 185) and scene[:3].isfinite().all()
    assert scene[:3].min() >= 0 and scene[:3].max() <= 1
    assert 0.003 < scene[3].isnan().float().mean() < 0.007
    known = scene[3][scene[3].isfinite()]
    assert 7 < known.min() < 8 and 58 < known.max() < 60
    scene.zero_()
    assert load_scene().isnan().any()


def test_another_scene_is_refused(monkeypatch):
    senses._scene.cache_clear()
    wrong = np.zeros((4, 4, 3), np.uint8), None, np.zeros((4, 4), np.float32)
    monkeypatch.setattr(senses.skimage_data, "stereo_motorcycle", lambda: wrong)
    with pytest.raises(ValueError, match="not the one this book was written with.*requirements.txt"):
        load_scene()


@pytest.mark.parametrize("test", PARTS)
def test_no_crop_is_in_two_parts(test):
    where = torch.arange(185.0).expand(4, 125, -1).clone()  # each pixel says its column
    found = {}
    for part, (first, end) in PARTS[test].items():
        crops, column = cut(where, part, test)
        assert crops.shape[1:] == (4, SIZE, SIZE) and len(column) == len(crops)
        assert first <= crops.min() and crops.max() < end
        assert (crops[:, 0, 0, 0].diff() >= 0).all() and (column.diff() >= 0).all()
        found[part] = set(crops.unique().tolist())
    assert not found["train"] & found["test"] and not found["validation"] & (found["train"] | found["test"])
    assert max(found["test"]) - min(found["test"]) < 90


def test_crops_with_too_many_unknown_pixels_are_left_out():
    scene = torch.zeros(4, 125, 185)
    whole_part = cut(scene, "test", "right")[0]
    scene[3, :1, 95:97] = torch.nan  # half of a patch of the first crop
    assert len(cut(scene, "test", "right")[0]) == len(whole_part)
    scene[3, :2, 95:97] = torch.nan
    assert len(cut(scene, "test", "right")[0]) == len(whole_part) - 1
    with pytest.raises(ValueError, match="a half of right, left"):
        cut(scene, "test", "top")


def test_a_second_sensor_reads_the_disparity():
    scene = load_scene()
    doubled = add_sensor(scene)
    assert doubled[:3].isfinite().all() and torch.equal(doubled[3].nan_to_num(), scene[3].nan_to_num())
    error = (25 * doubled[:3] - scene[3])[:, scene[3].isfinite()]
    assert error.std(dim=1) == pytest.approx([2, 2, 2], abs=0.05) and error.mean().abs() < 0.02
    assert np.corrcoef(error.numpy())[0, 1] == pytest.approx(0, abs=0.03)  # each reading errs by itself


# Tokens


def test_a_token_holds_one_sense_and_the_weights_of_its_known_values_sum_to_one(crops):
    values, weight = tokens(crops)
    assert values.shape == weight.shape == (6, N, P)
    for rows, columns in SENSES.values():
        other = torch.ones(P, dtype=torch.bool)
        other[columns] = False
        assert not values[:, rows][..., other].any() and not weight[:, rows][..., other].any()
    assert torch.allclose(weight.sum(dim=2), torch.ones(6, N))
    unknown = weight[0, PLACES, SENSES["disparity"][1]] == 0
    assert unknown.sum() == 1
    patch = values[0, PLACES, SENSES["disparity"][1]]
    assert torch.allclose(patch[unknown], patch[~unknown].mean())  # from its own patch, not from a hidden one


def test_the_mean_is_that_of_the_visible_patches(crops, seeded):
    values, weight = tokens(crops)
    mask = shared_mask(6, 4, generator=seeded(2))
    x = relative(values, weight, mask)
    changed = values + 7 * mask.is_hidden[:, :, None] * (weight > 0)
    assert torch.allclose(relative(changed, weight, mask)[~mask.is_hidden], x[~mask.is_hidden], atol=1e-5)
    rows, columns = SENSES["disparity"]
    for i in range(6):
        seen = ~mask.is_hidden[i, rows]
        if seen.any():
            known = weight[i, rows, columns][seen] > 0
            level = (x[i, rows, columns][seen] * known).sum(1) / known.sum(1)
            assert abs(level.mean()) < 1e-5


def test_the_level_of_a_sense_that_is_wholly_hidden_does_not_count(crops):
    values, weight = tokens(crops)
    rows, columns = SENSES["disparity"]
    mask, higher = whole(6, "disparity"), values.clone()
    higher[:, rows, columns] += 3
    assert mask.is_hidden.sum(dim=1).tolist() == [PLACES] * 6
    assert torch.allclose(relative(values, weight, mask), relative(higher, weight, mask), atol=1e-5)


# Masks


def test_the_budget_is_kept_and_every_split_is_as_likely(seeded):
    mask = shared_mask(5000, 4, generator=seeded(3))
    assert mask.visible.shape == (5000, 4)
    colour = (~mask.is_hidden[:, :PLACES]).sum(dim=1)
    assert (colour.bincount(minlength=5) - 1000).abs().max() < 150
    assert ((~mask.is_hidden).float().mean(dim=0) - 2 / 9).abs().max() < 0.03  # no place is preferred
    with pytest.raises(ValueError, match="from 1 to 9"):
        shared_mask(2, 10, generator=seeded(3))


def test_a_larger_number_shows_the_same_places_and_more(seeded):
    small, large = (
        show_counts(torch.tensor([a]), torch.tensor([4 - a]), generator=seeded(4)).is_hidden for a in (1, 3)
    )
    assert (~small[:, :PLACES] <= ~large[:, :PLACES]).all()
    assert (~large[:, PLACES:] <= ~small[:, PLACES:]).all()


@pytest.mark.parametrize("kind", MODELS)
def test_each_kind_draws_what_it_is_named_for(kind, seeded):
    for seed in range(20):
        hidden = senses._draw(kind, 5, seeded(seed)).is_hidden
        colour, disparity = ((~hidden[:, rows]).sum(dim=1) for rows, _ in SENSES.values())
        if kind == "to colour":
            assert not colour.any() and (disparity == PLACES).all()
        elif kind == "to disparity":
            assert not disparity.any() and (colour == PLACES).all()
        elif kind in SENSES:
            assert (1 <= colour).all() and (colour <= BUDGET).all() and torch.equal(colour, disparity)
        elif kind == "even":
            assert torch.equal(colour, disparity) and int(colour.unique()) in [budget // 2 for budget in BUDGETS]
        else:
            assert int((colour + disparity).unique()) in BUDGETS


# Models


def test_a_place_has_one_position_and_the_sense_is_in_its_slow_half():
    model = place_tokens(MaskedAutoencoder(senses_config("shared")))
    alone = place_tokens(MaskedAutoencoder(senses_config("disparity")))
    first, second = model.positions.split(PLACES)
    same = (first == second).all(dim=0)
    assert same.sum() == first.shape[1] // 2 and torch.equal(first[:, ~same], -second[:, ~same])
    assert torch.equal(alone.positions, first) and alone.decoder_positions.abs().max() == 4
    assert (torch.cdist(first[:, same], first[:, same]) + 9 * torch.eye(PLACES)).min() > 1  # places differ


def test_tokens_look_near_at_first():
    model = look_near(MaskedAutoencoder(senses_config("shared"), generator=torch.Generator().manual_seed(0)))
    for block in (*model.blocks, *model.decoder_blocks):
        queries, keys, values = block.attn.qkv.weight.chunk(3)
        assert torch.equal(queries, keys) and queries.std() > 2 * values.std()


@pytest.mark.parametrize("kind", ["shared", "disparity"])
def test_predictions_do_not_know_what_is_hidden(kind, crops, seeded):
    model = look_near(place_tokens(MaskedAutoencoder(senses_config(kind), generator=seeded(5))))
    values, weight = tokens(crops)
    mask = show_counts(torch.full((6,), 2), torch.full((6,), 2), generator=seeded(6))
    x = relative(values, weight, mask)
    before = predict_senses(model, x, mask)
    assert before.shape == (6, N, P)
    assert torch.equal(predict_senses(model, x + 9 * mask.is_hidden[:, :, None], mask), before)
    if kind == "disparity":
        assert not before[:, SENSES["colour"][0]].any()
        other = x.clone()
        other[:, SENSES["colour"][0]] = 5
        assert torch.equal(predict_senses(model, other, mask), before)


def test_training_repeats():
    first, second = (train_senses(SensesSetting(kind="disparity", epochs=1, seed=3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_unknown_settings_are_refused():
    for wrong in ({"kind": "smell"}, {"test": "top"}, {"part": "train"}):
        with pytest.raises(ValueError, match="unknown kind"):
            SensesSetting(**wrong)
    with pytest.raises(ValueError, match="nothing stored"):
        stored_senses("crops", "fill disparity")


# Errors and baselines


def test_unknown_pixels_do_not_count(crops):
    values, weight = tokens(crops)
    everything = torch.ones(6, N, dtype=torch.bool)
    wrong = values + 2 * (weight == 0)
    assert not squared_error(wrong, values, weight, everything, "disparity").any()
    assert torch.allclose(
        squared_error(values + 1, values, weight, everything, "disparity"), torch.tensor(25.0), rtol=1e-4
    )


def test_the_flat_guess_errs_by_the_deviation(crops):
    flat = baseline("flat", 0, "right")
    for sense, channels in (("colour", slice(0, 3)), ("disparity", slice(3, 4))):
        x = crops[1:, channels].flatten(2)
        deviation = (x - x.mean(dim=2, keepdim=True)).square().mean(dim=(1, 2)).sqrt()
        assert torch.allclose(translate(flat, crops[1:], sense), deviation, rtol=1e-3)


def test_the_same_patches_are_asked_for_whatever_the_split(crops):
    asked = []
    for colour in (0, 1, 4):
        fill(lambda x, weight, mask: asked.append(mask.is_hidden[0]) or x, crops, colour)
    hidden = torch.stack(asked).view(3, senses.DRAWS, N)
    assert (hidden.sum(dim=2) == N - BUDGET).all()
    assert (hidden.all(dim=0).sum(dim=1) >= 2 * (PLACES - BUDGET)).all()
    assert fill(lambda x, weight, mask: x, crops, 2)["colour"].max() == 0


def test_copies_come_from_the_nearest_visible_patch(crops):
    values, weight = tokens(crops)
    hidden = torch.ones(1, N, dtype=torch.bool)
    hidden[0, [0, PLACES - 1]] = False
    mask = Mask.from_hidden(hidden.expand(6, -1))
    x = relative(values, weight, mask)
    filled = copy_visible(x, weight, mask)
    _, columns = SENSES["colour"]
    first, second = (v[:, i, columns].view(6, PATCH, PATCH, 3) for v, i in ((x, 0), (filled, 1)))
    assert torch.allclose(second[:, 0, 0], first[:, 0, -1])  # the nearest pixel of the patch on its left
    assert not filled[:, SENSES["disparity"][0]].any()


def test_ridge_alone_does_not_look_at_the_other_sense():
    crops = cut(load_scene(), "test", "right")[0][:5]
    values, weight = tokens(crops)
    mask = show_counts(torch.tensor([2]), torch.tensor([2]), generator=torch.Generator().manual_seed(0))
    mask = Mask(mask.visible.expand(5, -1), mask.hidden.expand(5, -1))
    x = relative(values, weight, mask)
    other = x.clone()
    other[:, SENSES["colour"][0]] *= -1
    for kind, same in (("ridge alone", True), ("ridge", False)):
        predict = baseline(kind, 100.0, "right")
        a, b = (predict(v, weight, mask)[:, SENSES["disparity"][0]] for v in (x, other))
        assert torch.equal(a, b) == same and a.any()


# Stored runs


def test_paired_takes_columns_as_observations():
    mean, error = paired(np.array([[1.0, 3.0, 2.0], [1.0, 5.0, 0.0]]))
    assert mean == 2 and error == pytest.approx(np.std([1, 4, 1], ddof=1) / np.sqrt(3))


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [SensesSetting(**row["setting"]) for row in content["rows"]]
    assert found == validation_sweep() + senses.test_sweep() and SHIPPED in found
    assert stored_senses("shared", "to disparity").shape == (3, 30)
    assert stored_senses("disparity", "fill disparity").shape == (3, 5, 30)
    assert np.isnan(stored_senses("disparity", "fill disparity")[:, 0]).all()
    assert stored_senses("ridge", "fill colour").shape == (1, 5, 30)
    assert stored_senses("even", "fill colour").shape == (3, 5, 30)


def test_choices_are_those_of_the_validation_part():
    for test in PARTS:
        found = trials("shared", test, "fill disparity")
        assert len(found) == 2 and chosen("shared", test, "fill disparity") == min(found, key=found.get)
        for row in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]:
            setting = SensesSetting(**row["setting"])
            if setting.test == test and setting.part == "test" and AS.get(setting.kind, setting.kind) == "shared":
                assert setting.epochs == min(found, key=found.get)


def test_a_stored_run_gives_its_numbers_again():
    shortest = min((s for s in senses.test_sweep() if s.kind in MODELS), key=lambda s: s.epochs)
    again = run(shortest)["errors"][shortest.kind]  # a few seconds
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    (stored,) = (row["errors"][shortest.kind] for row in rows if SensesSetting(**row["setting"]) == shortest)
    assert np.mean(again) == pytest.approx(np.mean(stored), abs=0.1)


def test_what_is_stored_is_not_run_again(monkeypatch):
    monkeypatch.setattr(senses, "run", lambda setting: pytest.fail("runs again"))
    run_senses()


def test_the_shipped_model_is_the_first_stored_run():
    assert WEIGHTS.stat().st_size < 300_000
    model = load_senses()
    crops, column = cut(load_scene(), "test", SHIPPED.test)
    error = fill(lambda x, weight, mask: predict_senses(model, x, mask), crops, 2)["disparity"]
    columns = [error[column == c].mean().item() for c in column.unique()]
    stored = stored_senses("shared", "fill disparity")[0, 2, : len(columns)]
    assert columns == pytest.approx(stored, abs=0.02)
