"""Regularisation: options do what they say, defaults change nothing, and the stored results come again."""

import json
from dataclasses import replace

import pytest
import torch

from mae import regularization
from mae.losses import masked_mse, uniformity
from mae.masking import random_mask
from mae.regularization import (
    BASE,
    CHANGES,
    RESULTS,
    SWEEP,
    Setting,
    digits,
    drop_path,
    loss_of,
    mask_of,
    measure,
    run,
    stored,
    train,
)


@pytest.fixture
def patches():
    return torch.rand(40, 4, 4, generator=torch.Generator().manual_seed(3))


def test_drop_path_skips_examples_and_keeps_the_mean(tiny, seeded):
    from mae.model import MaskedAutoencoder, tiny_config

    model = MaskedAutoencoder(replace(tiny_config(), depth=2), generator=seeded())
    x = torch.rand(1, 4, 4, generator=seeded(1)).expand(2000, -1, -1)
    with torch.no_grad():
        for p in model.norm.parameters():
            p.zero_().add_(1.0)
        model.norm = torch.nn.Identity()
        plain = model.encode(x)
        with drop_path(model, 0.25, generator=seeded(2)):
            dropped = model.encode(x)
        after = model.encode(x)
    assert torch.equal(after, plain)  # nothing is left behind
    before = torch.cat([model.cls_token.expand(2000, -1, -1), model.embed(x)], dim=1)
    skipped = model.blocks[0](before)  # the first block is never skipped, the second in one case of four
    is_skipped = ((dropped - skipped).abs() < 1e-6).all(dim=(1, 2))
    assert is_skipped.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert torch.allclose(dropped.mean(dim=0), plain[0], atol=0.05)


def test_hooks_are_removed_even_after_an_error(tiny, seeded):
    with pytest.raises(RuntimeError), drop_path(tiny, 0.5, generator=seeded()):
        raise RuntimeError
    assert not tiny.blocks[-1]._forward_hooks
    with pytest.raises(ValueError, match="rate from 0 to below 1, got 1"), drop_path(tiny, 1, generator=seeded()):
        pass


def test_without_options_the_loss_is_the_plain_one(tiny, patches, seeded):
    mask = random_mask(40, 4, 0.5, generator=seeded(1))
    assert torch.equal(loss_of(tiny, patches, mask), masked_mse(tiny(patches, mask), patches, mask))
    with drop_path(tiny, 0.0, generator=seeded(9)):
        assert not tiny.blocks[-1]._forward_hooks
    features = tiny.encode(patches, mask)[:, 1:].mean(dim=1)
    expected = masked_mse(tiny(patches, mask), patches, mask) + 0.3 * uniformity(features)
    assert loss_of(tiny, patches, mask, 0.3).item() == pytest.approx(expected.item(), rel=1e-5)
    everything = tiny.predict(tiny.decode(tiny.encode(patches)))
    assert loss_of(tiny, patches, None).item() == pytest.approx(((everything - patches) ** 2).mean().item(), rel=1e-5)


def test_fixed_masks_belong_to_their_pictures(seeded):
    setting, batch = Setting(masks="fixed"), torch.tensor([7, 3, 200])
    first, second = (mask_of(setting, batch, 16, seeded(seed)) for seed in (1, 2))
    assert torch.equal(first.hidden, second.hidden)
    assert torch.equal(mask_of(setting, batch[1:], 16, seeded()).hidden, first.hidden[1:])
    new = [mask_of(Setting(), batch, 16, seeded(seed)).hidden for seed in (1, 2)]
    assert not torch.equal(*new)
    assert mask_of(Setting(ratio=0.0), batch, 16, seeded()) is None


@pytest.mark.parametrize(
    ("wrong", "message"), [({"masks": "old"}, 'expected masks "new" or "fixed"'), ({"ratio": 1.0}, "from 0 to below 1")]
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Setting(**wrong)


def test_digits_are_standardised_by_the_training_part():
    known = digits("train")
    assert known.shape == (500, 16, 49) and digits("test").shape == (1000, 16, 49)
    assert known.mean().abs() < 1e-5 and known.std() == pytest.approx(1, abs=1e-4)


def test_settings_reach_the_optimiser_and_the_loss(monkeypatch, seeded):
    kept = []
    monkeypatch.setattr(
        regularization, "fit", lambda model, loss, count, config, **k: kept.append((model, loss, count, config))
    )
    batch = torch.arange(30)
    losses = []
    for change in ({}, {"drop_path": 0.2}, {"uniformity": 1.0}, {"weight_decay": 1.0}, {"ratio": 0.0}):
        train(replace(BASE, **change))
        loss, count, config = kept[-1][1:]
        assert count == 500 and config.weight_decay == change.get("weight_decay", 0.05)
        losses.append(loss(batch, seeded(4)).item())
    assert losses[0] == losses[3] and len(set(losses)) == 4


def test_stored_results_are_of_the_sweep_and_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(set(found)) and set(found) == set(SWEEP)
    names = {"train", "test", "same", "test_same", "rank", "probe"}
    assert all(set(row) == {"setting", "seconds", *names} for row in content["rows"])
    assert all(len(stored(name, "probe")) == len(stored("75 % hidden", "probe")) for name in CHANGES)
    with pytest.raises(ValueError, match="expected one of no mask"):
        stored("dropout", "probe")


def test_measures_of_a_model_that_knows_nothing():
    untrained = replace(BASE, epochs=0)
    found = measure(untrained, train(untrained))
    assert set(found) == {"train", "test", "same", "test_same", "rank", "probe"}
    assert found["train"] == found["same"] and found["test"] == found["test_same"]  # base masks are those of "same"
    for name, tolerance in (("train", 0.01), ("test", 0.01), ("rank", 1), ("probe", 0.02)):
        assert found[name] == pytest.approx(stored("untrained", name)[0], abs=tolerance)


def test_a_stored_run_gives_its_numbers_again():
    again = run(replace(BASE, masks="fixed", seed=1))  # fifteen seconds on one core
    for name, tolerance in (("train", 0.05), ("test", 0.05), ("rank", 4), ("probe", 0.05)):
        assert again[name] == pytest.approx(stored("fixed masks", name)[1], abs=tolerance)
