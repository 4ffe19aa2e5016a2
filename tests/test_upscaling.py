"""Super-resolution: means and details make a picture, what is known is kept, stored runs are what the code gives."""

import json

import pytest
import torch

from mae import upscaling
from mae.model import MaskedAutoencoder
from mae.patches import unpatchify
from mae.photographs import SPLITS, assemble, centre, load_photographs, quality, windows
from mae.upscaling import (
    BASELINES,
    FILTERS,
    LEVEL,
    RESULTS,
    SHIPPED,
    SIDE,
    SWEEP,
    LinearUpscaler,
    Setting,
    beneath,
    consistent,
    details,
    enlarge,
    one_sense,
    run_upscaling,
    shrink,
    stored,
    tokens,
    train,
    training_windows,
    upscale,
    upscaling_config,
    weights_path,
)
from mae.weights import load_model


@pytest.fixture
def rocket():
    return centre(load_photographs("validation")["rocket"])


def fresh(factor, seeded):
    return MaskedAutoencoder(upscaling_config(factor), generator=seeded(0)).eval()


def test_shrink_takes_means(seeded):
    image = torch.rand(2, 1, 4, 8, generator=seeded(0))
    small = shrink(image, 4)
    assert small.shape == (2, 1, 1, 2)
    assert torch.allclose(small[1, 0, 0, 1], image[1, 0, :, 4:].mean())


@pytest.mark.parametrize("factor", [2, 4])
def test_small_picture_and_details_are_the_picture(seeded, factor):
    image = torch.rand(3, 1, 8, 16, generator=seeded(0))
    parts = details(image, factor)
    assert parts.shape == (3, 128 // factor**2, factor**2)
    assert torch.allclose(parts.mean(dim=2), torch.zeros(3, 128 // factor**2), atol=1e-6)
    means = enlarge(shrink(image, factor)[:1], factor, "nearest")
    assert torch.allclose(means + unpatchify(parts[:1], factor, (8, 16)), image[:1], atol=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_enlarge_keeps_a_grey_picture_and_turns_with_the_picture(seeded, name):
    small = torch.rand(1, 1, 5, 7, generator=seeded(0))
    assert enlarge(small, 4, name).shape == (1, 1, 20, 28)
    assert torch.allclose(enlarge(torch.full_like(small, 0.3), 4, name), torch.tensor(0.3), atol=1e-6)
    turned = enlarge(small.transpose(2, 3).contiguous(), 2, name).transpose(2, 3)
    assert torch.allclose(turned, enlarge(small, 2, name), atol=1e-5)


def test_consistent_keeps_what_is_known_and_never_errs_more(seeded):
    draw = seeded(0)
    truth, guess = torch.rand(2, 4, 1, 8, 8, generator=draw)
    result = consistent(guess, shrink(truth, 4))
    assert torch.allclose(shrink(result, 4), shrink(truth, 4), atol=1e-6)
    assert torch.allclose(consistent(truth, shrink(truth, 4)), truth, atol=1e-6)
    squared = [((a - b) ** 2).sum() for a, b in ((guess, truth), (result, truth), (guess, result))]
    assert torch.allclose(squared[0], squared[1] + squared[2])  # Pythagoras: the closest one


@pytest.mark.parametrize("base", ["bicubic", "mean"])
def test_what_is_there_without_a_model(seeded, base):
    small = torch.rand(2, 1, SIDE, SIDE, generator=seeded(0))
    start = beneath(small, 2, base)
    assert start.shape == (2, SIDE**2, 4)
    assert torch.allclose(start.mean(dim=2), torch.zeros(2, SIDE**2), atol=1e-6)
    assert (start.abs().max() > 0.01) == (base == "bicubic")


def test_tokens_of_two_senses(seeded):
    small = torch.rand(3, 1, SIDE, SIDE, generator=seeded(0))
    x = tokens(small, 4)
    assert x.shape == (3, 72, 17)
    assert torch.allclose(x[:, :36, 0] / LEVEL + small.mean(dim=(1, 2, 3))[:, None], small.flatten(1), atol=1e-6)
    assert not x[:, :, 1:].any() and not x[:, 36:].any()
    assert torch.allclose(tokens(small + 0.2, 4), x, atol=1e-5)  # brightness is taken away
    assert one_sense(3).hidden.tolist() == [list(range(36, 72))] * 3


def test_upscaling_sees_the_small_picture_only_and_keeps_it(seeded):
    small = torch.rand(1, 1, 8, 12, generator=seeded(1))
    for factor in (2, 4):
        image = upscale(fresh(factor, seeded), small, factor)
        assert image.shape == (1, 1, 8 * factor, 12 * factor)
        assert torch.allclose(shrink(image, factor), small, atol=1e-5)


def test_windows_side_by_side_are_upscaled_one_by_one(seeded):
    small, model = torch.rand(1, 1, 6, 12, generator=seeded(1)), fresh(2, seeded)
    whole = upscale(model, small, 2, stride=6)
    parts = [upscale(model, piece[None], 2, stride=6) for piece in windows(small, 6, 6)]
    assert torch.allclose(whole, assemble(torch.cat(parts), (12, 24), 12), atol=1e-5)


def test_least_squares_finds_what_is_linear(rocket):
    """On photographs it is better than the filter it contains, and it knows no brightness."""
    for factor in (2, 4):
        linear, small = LinearUpscaler(factor, crops=1024), shrink(rocket, factor)
        image = linear(small)
        assert torch.allclose(shrink(image, factor), small, atol=1e-5)
        assert quality(image, rocket)["psnr"] > quality(enlarge(small, factor, "bicubic"), rocket)["psnr"]
        assert torch.allclose(linear(small + 0.1), image + 0.1, atol=1e-4)


def test_training_windows_come_from_training_photographs(seeded, monkeypatch):
    asked, picture = [], {"grey": torch.full((1, 1, 30, 30), 0.5)}
    monkeypatch.setattr("mae.upscaling.load_photographs", lambda split: asked.append(split) or picture)
    assert torch.equal(training_windows(4, 3, generator=seeded(0)), torch.full((3, 1, 24, 24), 0.5))
    assert asked == ["train"]


def test_training_lowers_the_error(rocket):
    small = shrink(rocket, 2)
    scores = [quality(upscale(train(Setting(base="mean", epochs=1), n), small, 2, base="mean"), rocket)["psnr"]
              for n in (64, 2048)]  # fmt: skip
    assert scores[1] > scores[0] + 0.5
    assert scores[1] > quality(enlarge(small, 2, "nearest"), rocket)["psnr"] - 0.1  # one grey is where it starts from


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(set(found)) and set(found) == set(SWEEP)
    for row in content["rows"]:
        for split in ("validation", "test"):
            assert tuple(row[split]) == SPLITS[split]
            assert all(15 < scores["psnr"] < 45 and 0 < scores["ssim"] < 1 for scores in row[split].values())
    assert set(content["versions"]) == {"torch", "python", "threads"}


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("method", BASELINES)
def test_a_stored_baseline_can_be_recomputed(factor, method):
    image = centre(load_photographs("test")["coins"])
    small = shrink(image, factor)
    if method == "least squares":
        again = quality(LinearUpscaler(factor)(small), image)
    elif method == "no network":
        again = quality(upscale(None, small, factor), image)
    else:
        again = enlarge(small, factor, method.removesuffix(", shifted"))
        again = quality(consistent(again, small) if "shifted" in method else again, image)
    for measure, tolerance in (("psnr", 0.01), ("ssim", 0.001)):
        assert abs(again[measure] - stored(Setting(factor=factor, method=method), measure=measure)["coins"]) < tolerance


@pytest.mark.parametrize("factor", [2, 4])
def test_the_shipped_weights_give_the_stored_scores(factor):
    model = load_model(weights_path(factor))
    for name, psnr in stored(SHIPPED[factor]).items():
        image = centre(load_photographs("test")[name])
        again = quality(upscale(model, shrink(image, factor), factor, base=SHIPPED[factor].base), image)
        assert abs(again["psnr"] - psnr) < 0.05  # weights in half precision


def test_missing_weights_are_made_though_all_results_are_stored(seeded, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(upscaling, "train", lambda setting: trained.append(setting) or fresh(setting.factor, seeded))
    monkeypatch.setattr(upscaling, "load_photographs", lambda split: {})
    monkeypatch.setattr(upscaling, "weights_path", lambda factor: tmp_path / f"{factor}.safetensors")
    for _ in range(2):
        run_upscaling()
        assert trained == list(SHIPPED.values())
        assert load_model(tmp_path / "4.safetensors").config == upscaling_config(4)


def test_missing_runs_are_named():
    with pytest.raises(ValueError, match="no stored run of Setting"):
        stored(Setting(epochs=99))
