"""Denoising: blind means blind, the mixture is the best one, the stored runs are complete and what the code gives."""

import json

import numpy as np
import pytest
import torch

from mae import denoising
from mae.denoising import (
    CANDIDATES,
    MODELS,
    RESULTS,
    SIGMA,
    SWEEP,
    WEIGHTS,
    Setting,
    best,
    blind,
    classical,
    combine,
    denoise,
    disjoint_masks,
    evaluate,
    noisy_photographs,
    photograph_config,
    predict,
    run_denoising,
    stored,
    train,
)
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.photographs import SPLITS, quality
from mae.weights import load_model


@pytest.fixture
def model(seeded):
    return MaskedAutoencoder(photograph_config(), generator=seeded(0)).eval()


def test_predictions_do_not_depend_on_what_is_hidden(model, seeded):
    noisy = torch.rand(3, 16, 4, generator=seeded(1))
    mask = random_mask(3, 16, 0.25, generator=seeded(2))
    other = noisy.scatter(1, mask.hidden[:, :, None].expand(-1, -1, 4), 9.0)
    assert torch.equal(predict(model, noisy, mask), predict(model, other, mask))
    assert predict(model, noisy, mask).shape == (3, 4, 4) and predict(model, noisy).shape == (3, 16, 4)


def test_predictions_move_with_the_brightness(model, seeded):
    noisy = torch.rand(3, 16, 4, generator=seeded(1))
    mask = random_mask(3, 16, 0.25, generator=seeded(2))
    assert torch.allclose(predict(model, noisy + 0.5, mask), predict(model, noisy, mask) + 0.5, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.5, 0.25])
def test_disjoint_masks_hide_each_patch_once(seeded, ratio):
    masks = list(disjoint_masks(5, 16, ratio, generator=seeded(0)))
    assert len(masks) == round(1 / ratio)
    assert (sum(mask.is_hidden.long() for mask in masks) == 1).all()


def test_disjoint_masks_need_a_fitting_ratio(seeded):
    with pytest.raises(ValueError, match="choose a ratio such as 1/2 or 1/4"):
        list(disjoint_masks(1, 16, 0.4, generator=seeded(0)))


def test_blind_is_the_mean_over_rounds(model, seeded):
    noisy = torch.rand(2, 16, 4, generator=seeded(1))
    draw = seeded(3)
    single = [blind(model, noisy, 0.25, 1, generator=draw) for _ in range(2)]
    assert torch.allclose(blind(model, noisy, 0.25, 2, generator=seeded(3)), (single[0] + single[1]) / 2, atol=1e-6)


def test_denoise_gives_a_picture_of_the_same_size(model, seeded):
    noisy = torch.rand(1, 1, 16, 24, generator=seeded(1))
    for ratio in (None, 0.5):
        assert denoise(model, noisy, ratio, 1, generator=seeded(0)).shape == noisy.shape


def test_combine_is_better_than_both(seeded):
    draw = seeded(0)
    truth = torch.rand(1, 1, 64, 64, generator=draw)
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=draw)
    for error in (0.05, 0.1, 0.3):
        guess = truth + error * torch.randn(truth.shape, generator=draw)
        mixed, best_error = combine(guess, noisy, 0.1, 63), 1 / (1 / 0.1**2 + 1 / error**2)
        assert abs(((mixed - truth) ** 2).mean() / best_error - 1) < 0.1
    for sigma in (0.1, 0.0):
        assert torch.equal(combine(noisy, noisy, sigma), noisy)
    assert torch.allclose(combine(guess, noisy, 0.0), noisy, atol=1e-6)


@pytest.mark.parametrize("method", CANDIDATES)
def test_classical_methods_remove_noise(method):
    image, noisy = noisy_photographs("validation")["rocket"]
    cleaned = classical(method, noisy, best(method).parameter)
    assert cleaned.shape == image.shape and cleaned.dtype == image.dtype
    assert quality(cleaned, image)["psnr"] > quality(noisy, image)["psnr"] + 4


def test_unknown_method():
    with pytest.raises(ValueError, match="expected one of Gaussian filter"):
        classical("magic", torch.zeros(1, 1, 8, 8), 1.0)


def test_the_noise_is_always_the_same():
    again = noisy_photographs("test")
    for name, (image, noisy) in noisy_photographs("test").items():
        assert torch.equal(noisy, again[name][1]) and abs((noisy - image).std() - SIGMA) < 0.005


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert len(found) == len(set(found)) and set(found) == set(SWEEP)
    for row in content["rows"]:
        for split in ("validation", "test"):
            assert tuple(row[split]) == SPLITS[split]
            assert all(10 < scores["psnr"] < 40 and 0 < scores["ssim"] < 1 for scores in row[split].values())
    assert {setting.seed for setting in SWEEP if setting.method in ("mae", "autoencoder")} == {0, 1, 2}
    assert set(content["versions"]) == {"torch", "python", "threads"}


def test_parameters_are_chosen_on_validation_photographs_and_lie_inside():
    for method, parameters in CANDIDATES.items():
        means = {
            p: np.mean(list(stored(Setting(method=method, parameter=p), "validation").values())) for p in parameters
        }
        assert best(method).parameter == max(means, key=means.get)
        assert best(method).parameter not in (min(parameters), max(parameters))


def test_a_stored_classical_run_can_be_recomputed():
    for method in CANDIDATES:
        image, noisy = noisy_photographs("test")["coins"]
        again = quality(classical(method, noisy, best(method).parameter), image)
        assert abs(again["psnr"] - stored(best(method))["coins"]) < 0.01
        assert abs(again["ssim"] - stored(best(method), measure="ssim")["coins"]) < 0.001


def test_the_shipped_weights_give_the_stored_scores():
    again = evaluate(Setting(), "test", load_model(WEIGHTS))
    for name, psnr in stored(Setting()).items():
        assert abs(again[name]["psnr"] - psnr) < 0.05  # weights in half precision
        assert abs(again[name]["blind"]["psnr"] - stored(Setting(), blind=True)[name]) < 0.05


def test_training_lowers_the_error():
    image, noisy = noisy_photographs("validation")["rocket"]
    setting = Setting(epochs=1)
    scores = []
    for crops in (64, 8192):
        model = train(setting, crops)
        guess = denoise(model, noisy, setting.ratio, 1, generator=torch.Generator().manual_seed(0))
        scores.append(quality(guess, image)["psnr"])
    assert scores[1] > scores[0] + 2 and scores[1] > 20


def test_missing_weights_are_made_though_all_results_are_stored(model, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(denoising, "train", lambda setting: trained.append(setting) or model)
    monkeypatch.setattr(denoising, "evaluate", lambda *arguments: {})
    monkeypatch.setattr(denoising, "WEIGHTS", tmp_path / "denoising.safetensors")
    for _ in range(2):
        run_denoising()
        assert trained == [Setting()] and load_model(denoising.WEIGHTS).config == photograph_config()


def test_missing_runs_are_named():
    assert set(MODELS) == {"mae, noisy target", "mae, clean target", "autoencoder"}
    with pytest.raises(ValueError, match="no stored run of Setting"):
        stored(Setting(epochs=99))
