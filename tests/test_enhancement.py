"""Enhancement: light and its curves, what models see, the stored runs complete and what the code gives."""

import json
import math

import numpy as np
import pytest
import torch

from mae import enhancement
from mae.enhancement import (
    CAMERAS,
    CANDIDATES,
    RESULTS,
    SHIPPED,
    SWEEP,
    UNIT,
    WEIGHTS,
    Setting,
    best,
    enhance,
    enhancement_config,
    predict,
    restore,
    run,
    run_enhancement,
    spoiled_photographs,
    stored,
    train,
)
from mae.exposure import (
    CURVES,
    FLOOR,
    Camera,
    adjust,
    ceiling,
    estimate_noise,
    guess,
    spoil,
    to_grey,
    to_linear,
    undo,
)
from mae.masking import random_mask
from mae.model import MaskedAutoencoder
from mae.photographs import SPLITS, centre, load_photographs, quality
from mae.weights import load_model


@pytest.fixture
def model(seeded):
    return MaskedAutoencoder(enhancement_config(), generator=seeded(0)).eval()


@pytest.fixture(scope="module")
def rocket():
    return centre(load_photographs("validation")["rocket"])


# Light


def test_grey_values_and_light_are_inverse():
    grey = torch.linspace(0, 1, 256)
    assert torch.allclose(to_grey(to_linear(grey)), grey, atol=1e-5)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.2140, abs=1e-4)  # mid grey is a fifth of the light
    assert to_grey(torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize("camera", [Camera(1 / 8), Camera(1.0, 0.5), Camera(0.5, 0.7)])
def test_without_noise_the_curve_can_be_undone(camera, rocket, seeded):
    spoiled = spoil(rocket, camera, generator=seeded(0))
    assert torch.equal((spoiled * 255).round() / 255, spoiled)
    assert quality(undo(spoiled, *camera.curve), rocket)["psnr"] > 38
    assert quality(spoiled, rocket)["psnr"] < 20


def test_noise_is_that_of_photons(seeded):
    grey = torch.full((1, 1, 200, 200), 0.8)
    for photons in (1e3, 1e5):
        light = to_linear(spoil(grey, Camera(0.25, 1.0, photons), generator=seeded(1)))
        expected = 0.25 * to_linear(grey[0, 0, 0, 0])
        assert light.mean() == pytest.approx(expected.item(), rel=0.01)
        deviation = math.sqrt(expected * photons + 9) / photons
        assert light.std() == pytest.approx(deviation, rel=0.05 if photons == 1e3 else 0.4)  # plus the rounding


def test_the_noise_is_found(rocket, seeded):
    assert estimate_noise(torch.zeros(1, 1, 32, 32)) == FLOOR
    noisy = rocket + 0.05 * torch.randn(rocket.shape, generator=seeded(2))
    assert estimate_noise(noisy) == pytest.approx(0.05, rel=0.15)


def test_a_scene_from_black_to_white_is_guessed(seeded):
    scene = torch.linspace(0, 1, 64).expand(1, 1, 64, -1)
    for camera in (Camera(1 / 8), Camera(1.0, 0.5)):
        assert guess(spoil(scene, camera, generator=seeded(0))) == pytest.approx(camera.curve, abs=0.02)


def test_no_curve_is_above_the_ceiling(rocket, seeded):
    spoiled = spoil(rocket, Camera(0.25, 1.0, 1e3), generator=seeded(3))
    best_of_all = quality(ceiling(spoiled, rocket), rocket)["psnr"]
    for name in CURVES:
        if name != "CLAHE":  # which is no curve: it differs from place to place
            parameter = best(name).parameter if name in CANDIDATES else 0.0
            assert quality(adjust(name, spoiled, parameter), rocket)["psnr"] < best_of_all
    assert quality(undo(spoiled, 0.25, 0.0), rocket)["psnr"] < best_of_all


@pytest.mark.parametrize("name", CURVES)
def test_curves_leave_the_shape(name):
    picture = 0.1 + 0.2 * torch.rand(1, 1, 64, 80, generator=torch.Generator().manual_seed(0))
    changed = adjust(name, picture, best(name).parameter if name in CANDIDATES else 0.0)
    assert changed.shape == picture.shape and changed.dtype == torch.float32
    assert 0 <= changed.min() and changed.max() <= 1.001
    assert name == "nothing" or changed.mean() > picture.mean()


def test_curves_do_what_they_say():
    ramp = torch.linspace(0.2, 0.4, 100).view(1, 1, 10, 10)
    assert adjust("gamma to a mean", ramp, 0.45).mean() == pytest.approx(0.45, abs=0.02)
    assert torch.allclose(adjust("stretch", ramp, 0.0), torch.linspace(0, 1, 100).view(1, 1, 10, 10), atol=1e-5)
    assert adjust("stretch of light", ramp, 0.0).min() == 0
    with pytest.raises(ValueError, match="expected one of nothing, gamma"):
        adjust("magic", ramp, 0.0)


# The model


def test_hidden_patches_do_not_enter(model, seeded):
    seen = torch.rand(3, 16, 4, generator=seeded(1))
    sigma = torch.full((3, 1, 1), 0.05)
    mask = random_mask(3, 16, 0.25, generator=seeded(2))
    other = seen.scatter(1, mask.hidden[:, :, None].expand(-1, -1, 4), 9.0)
    (first, unit), (second, _) = (predict(model, x, sigma, mask) for x in (seen, other))
    assert first.shape == (3, 16, 4) and torch.allclose(first, second)
    assert (unit[mask.is_hidden] == UNIT).all() and (unit[~mask.is_hidden] == 0.05).all()


def test_a_residual_begins_at_what_is_seen(model, seeded):
    seen = torch.rand(2, 16, 4, generator=seeded(1))
    tiny = torch.full((2, 1, 1), 1e-6)
    assert torch.allclose(predict(model, seen, tiny)[0], seen, atol=1e-4)
    assert not torch.allclose(predict(model, seen, tiny, target="picture")[0], seen, atol=0.05)


def test_enhance_gives_a_picture_of_the_same_size(model):
    picture = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    assert enhance(model, picture).shape == picture.shape


def test_training_lowers_the_noise():
    camera, (truth, spoiled) = CAMERAS[7], spoiled_photographs("validation")[7][1]
    assert camera == Camera(1 / 8, 1.0, 1e3)
    model = train(Setting(), crops=4096)
    before = quality(undo(spoiled, *camera.curve), truth)["psnr"]
    assert quality(restore(Setting(), spoiled, camera, model), truth)["psnr"] > before + 2.5
    other = train(Setting(epochs=1, pretrained=True, ratio=0.25), crops=4096)
    assert quality(restore(Setting(), spoiled, camera, other), truth)["psnr"] > before + 0.2


# Stored runs


def test_stored_runs_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert [Setting(**row["setting"]) for row in content["rows"]] == SWEEP
    for row in content["rows"]:
        assert len(row["validation"]) == len(row["psnr"]) == len(CAMERAS)
        assert {len(row["ssim"]), len(row["contrast"]), *map(len, row["psnr"])} == {len(SPLITS["test"])}
        assert all(3 < psnr < 60 for values in row["psnr"] for psnr in values)
    assert set(content["versions"]) == {"torch", "python", "threads"}
    with pytest.raises(ValueError, match="no stored run of Setting"):
        stored(Setting(epochs=99))


def test_parameters_are_chosen_on_validation_photographs_and_lie_inside():
    for method, parameters in CANDIDATES.items():
        means = {s.parameter: stored(s)["validation"].mean() for s in SWEEP if s.method == method and s.parameter >= 0}
        assert best(method).parameter in means
        # No stretch cuts off less than nothing, and the least limit leaves CLAHE no equalisation.
        if method not in ("stretch", "stretch of light", "CLAHE"):
            assert best(method).parameter not in (min(parameters), max(parameters))
    assert best("non-local means").parameter == 0.8  # in `guess`, and after it


@pytest.mark.parametrize("method", ["stretch of light", "non-local means", "wavelets"])
def test_a_stored_run_without_training_can_be_recomputed(method):
    setting = best(method)
    again = [quality(restore(setting, y, CAMERAS[6]), x)["psnr"] for x, y in spoiled_photographs("test")[6]]
    assert np.abs(np.array(again) - stored(setting)["psnr"][6]).max() < 0.02


def test_the_shipped_weights_give_the_stored_scores():
    model = load_model(WEIGHTS)
    for i in (0, 6, 11):
        pictures = spoiled_photographs("test")[i]
        again = [quality(restore(SHIPPED, y, CAMERAS[i], model), x)["psnr"] for x, y in pictures]
        assert np.abs(np.array(again) - stored(SHIPPED)["psnr"][i]).max() < 0.1  # weights in half precision


def test_missing_weights_are_made_though_all_results_are_stored(model, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(enhancement, "_trained", lambda setting: trained.append(setting) or model)
    monkeypatch.setattr(enhancement, "restore", lambda setting, spoiled, *_: spoiled)
    monkeypatch.setattr(enhancement, "WEIGHTS", tmp_path / "enhancement.safetensors")
    for _ in range(2):
        run_enhancement()
        assert trained == [SHIPPED] and load_model(enhancement.WEIGHTS).config == enhancement_config()


def test_run_measures_all():
    row = run(Setting(method="curve", curve="guessed"))
    assert row["psnr"][3] == pytest.approx(stored(Setting(method="curve", curve="guessed"))["psnr"][3], abs=0.02)
