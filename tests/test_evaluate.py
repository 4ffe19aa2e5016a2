"""Scores are what they say, and nothing but the final score ever looks at the test split."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mae.evaluate import (
    Classifier,
    Score,
    effective_rank,
    extract_features,
    hidden_errors,
    linear_probe,
    nearest_neighbors,
    reconstruct,
    reconstruction_error,
)
from mae.losses import masked_mse
from mae.masking import random_mask, take
from mae.model import MaskedAutoencoder, tiny_config
from mae.patches import patchify


@pytest.fixture(scope="module")
def blobs():
    """Training and test features of three classes that overlap, and their labels."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6))
    train_y, test_y = np.repeat(np.arange(3), 40), np.repeat(np.arange(3), 30)
    train_x, test_x = (centres[y] + 0.9 * rng.normal(size=(len(y), 6)) for y in (train_y, test_y))
    return train_x, train_y, test_x, test_y


@pytest.fixture
def patches(tiny_images):
    return patchify(tiny_images, 2)


PROBES = [
    pytest.param(linear_probe, (1e-4, 0.1, 10.0), id="linear_probe"),
    pytest.param(nearest_neighbors, (1, 5, 25), id="nearest_neighbors"),
]


@pytest.mark.parametrize(("probe", "choices"), PROBES)
def test_choices_never_look_at_the_test_split(probe, choices, blobs):
    train_x, train_y, test_x, test_y = blobs
    score = probe(*blobs, choices=choices)
    predictions = {c: probe(*blobs, choices=(c,)).predictions for c in choices}
    # Whatever candidate the test labels speak for, the choice and the predictions stay.
    for candidate in choices:
        again = probe(train_x, train_y, test_x, predictions[candidate], choices=choices)
        assert again.choice == score.choice
        assert np.array_equal(again.predictions, score.predictions)
        assert again.accuracy == np.mean(score.predictions == predictions[candidate])
    assert len({tuple(p) for p in predictions.values()}) == len(choices)  # so each of them would have won once
    shuffled = np.random.default_rng(1).permutation(test_y)
    assert probe(train_x, train_y, test_x, shuffled, choices=choices).choice == score.choice
    # And other test features change the predictions, but not the choice.
    assert probe(train_x, train_y, 2 - test_x, test_y, choices=choices).choice == score.choice


@pytest.mark.parametrize(("probe", "choices"), PROBES)
def test_the_choice_is_the_best_on_held_out_training_examples(probe, choices, blobs):
    train_x, train_y, *_ = blobs
    # A candidate that is clearly poor on one half of the training set is not chosen by cross-validation on all of it.
    accuracy = {
        c: probe(train_x[::2], train_y[::2], train_x[1::2], train_y[1::2], choices=(c,)).accuracy for c in choices
    }
    worst = min(accuracy, key=accuracy.get)
    assert max(accuracy.values()) - accuracy[worst] > 0.04
    assert probe(*blobs, choices=choices).choice != worst


@pytest.mark.parametrize(("probe", "choices"), PROBES)
def test_a_score_is_the_share_of_right_predictions(probe, choices, blobs):
    score = probe(*blobs, choices=choices)
    assert score.accuracy == np.mean(score.predictions == blobs[3])
    assert score.choice in choices
    assert score.predictions.shape == (90,)
    assert 0.6 < score.accuracy < 1  # a third by chance


def test_the_final_fit_has_the_whole_training_set(blobs):
    train_x, train_y, *_ = blobs
    # Each training example is its own nearest neighbour, whatever part the choice was made on.
    assert nearest_neighbors(train_x, train_y, train_x, train_y, choices=(1, 1)).accuracy == 1


def test_neighbours_are_near_in_angle_and_five_by_default():
    train_x = np.array([[10.0, 0.0]] * 3 + [[0.0, 1.0]] * 5)
    train_y = np.array([0] * 3 + [1] * 5)
    test_x, test_y = np.array([[1.0, 0.2], [0.2, 1.0]]), [0, 1]  # by distance, both are nearer to the second class
    score = nearest_neighbors(train_x, train_y, test_x, test_y)
    assert score.predictions.tolist() == [0, 1] and score.choice == 5
    assert nearest_neighbors(train_x, train_y, test_x, test_y, choices=(8,)).predictions.tolist() == [1, 1]
    assert nearest_neighbors(train_x, train_y, test_x, test_y, metric="euclidean").predictions.tolist() == [1, 1]


def test_the_probe_does_not_care_for_units(blobs):
    train_x, train_y, test_x, test_y = blobs
    scale = np.array([1e-3, 1, 1e3, 1, 10, 1])
    scaled = linear_probe(7 + train_x * scale, train_y, 7 + test_x * scale, test_y)
    assert np.array_equal(scaled.predictions, linear_probe(*blobs).predictions)


def test_tensors_and_arrays_score_alike(blobs):
    tensors = [torch.as_tensor(part) for part in blobs]
    assert nearest_neighbors(*tensors).accuracy == nearest_neighbors(*blobs).accuracy


def test_error_bar_is_binomial():
    assert Score(0.9, 5, np.zeros(1000)).error_bar == pytest.approx((0.9 * 0.1 / 1000) ** 0.5)


@pytest.mark.parametrize("probe", [linear_probe, nearest_neighbors])
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(6, 2), 5, (3, 2), 3], r"train \(6, 2\) and \(5,\), test \(3, 2\) and \(3,\)"),
        ([(6, 2), 6, (3, 2), 4], r"train \(6, 2\) and \(6,\), test \(3, 2\) and \(4,\)"),
        ([(6, 2), 6, (3, 1), 3], r"train \(6, 2\) and \(6,\), test \(3, 1\) and \(3,\)"),
    ],
)
def test_features_and_labels_that_do_not_fit_are_refused(probe, shapes, message):
    with pytest.raises(ValueError, match=f"features and labels don't fit together: {message}"):
        probe(*(np.zeros(shape) for shape in shapes))


# Features


def test_features_are_pooled_from_an_encoder_that_sees_everything(tiny, patches):
    with torch.no_grad():
        latent = tiny.encode(patches)
    assert np.allclose(extract_features(tiny, patches), latent[:, 1:].mean(dim=1).numpy(), atol=1e-6)
    assert np.allclose(extract_features(tiny, patches, pool="class"), latent[:, 0].numpy(), atol=1e-6)
    assert extract_features(tiny, patches).dtype == np.float32
    with pytest.raises(ValueError, match='expected pool "mean" or "class", got \'max\''):
        extract_features(tiny, patches, pool="max")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float64, 1e-6)])
def test_models_of_other_precision_are_measured(dtype, tolerance, tiny, patches, seeded):
    model, x = copy.deepcopy(tiny).to(dtype), patches.to(dtype)
    features = extract_features(model, x)
    assert features.dtype == np.float32
    assert np.allclose(features, extract_features(tiny, patches), atol=tolerance)
    errors = hidden_errors(model, x, 0.5, 2, generator=seeded(7))
    assert errors.dtype == dtype
    expected = hidden_errors(tiny, patches, 0.5, 2, generator=seeded(7))
    assert torch.allclose(errors.float(), expected, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("batch_size", [1, 5, 16, 100])
def test_batches_do_not_change_the_results(tiny, patches, seeded, batch_size):
    mask = random_mask(16, 4, 0.5, generator=seeded(2))
    assert np.allclose(
        extract_features(tiny, patches, batch_size=batch_size), extract_features(tiny, patches), atol=1e-6
    )
    error = reconstruction_error(tiny, patches, mask, batch_size=batch_size)
    assert error == pytest.approx(reconstruction_error(tiny, patches, mask), rel=1e-6)


# Reconstructions


@pytest.mark.parametrize("on", ["hidden", "visible", "all"])
def test_reconstruction_error_is_the_loss_in_pixels(tiny, patches, seeded, on):
    mask = random_mask(16, 4, 0.5, generator=seeded(2))
    with torch.no_grad():
        loss = masked_mse(tiny(patches, mask, predict=on), patches, mask, on=on).item()
    assert reconstruction_error(tiny, patches, mask, on=on, batch_size=7) == pytest.approx(loss, rel=1e-6)
    assert reconstruction_error(tiny, patches, mask, on=on) == reconstruction_error(tiny, patches, mask, on=on)


def test_reconstructions_keep_what_is_visible(tiny, patches, seeded):
    mask = random_mask(16, 4, 0.5, generator=seeded(2))
    before = patches.clone()
    rebuilt = reconstruct(tiny, patches, mask)
    with torch.no_grad():
        assert torch.equal(take(rebuilt, mask.hidden), tiny(patches, mask))
        assert torch.equal(reconstruct(tiny, patches, mask, paste=False), tiny(patches, mask, predict="all"))
    assert torch.equal(take(rebuilt, mask.visible), take(patches, mask.visible))
    assert torch.equal(patches, before)


def test_hidden_pixels_do_not_leak_into_reconstructions(tiny, patches, seeded):
    mask = random_mask(16, 4, 0.5, generator=seeded(2))
    changed = torch.where(mask.is_hidden[:, :, None], torch.nan, patches)
    assert torch.equal(reconstruct(tiny, changed, mask), reconstruct(tiny, patches, mask))


@pytest.mark.parametrize("call", [reconstruct, reconstruction_error])
@pytest.mark.parametrize("count", [15, 17])
def test_masks_of_another_batch_are_refused(call, count, tiny, patches, seeded):
    mask = random_mask(count, 4, 0.5, generator=seeded(2))
    with pytest.raises(ValueError, match=f"expected a mask for 16 examples.*, got one for {count}"):
        call(tiny, patches, mask)


def test_errors_of_hidden_patches_are_those_of_the_loss(tiny, patches, seeded):
    errors = hidden_errors(tiny, patches, 0.5, 6, generator=seeded(7), batch_size=5)
    assert errors.shape == (6, 16, 4)
    generator = seeded(7)
    for some in errors:
        mask = random_mask(16, 4, 0.5, generator=generator)
        assert torch.equal(some.isnan(), ~mask.is_hidden)
        with torch.inference_mode():
            loss = masked_mse(tiny(patches, mask), patches, mask)
        assert some.nanmean().item() == pytest.approx(loss.item(), rel=1e-5)
    with pytest.raises(ValueError, match="at least one mask, got 0"):
        hidden_errors(tiny, patches, 0.5, 0, generator=seeded())


def test_a_classifier_says_what_it_needs(tiny, patches, seeded):
    classifier = Classifier(MaskedAutoencoder(replace(tiny_config(), depth=2)), 3, drop_path=0.5)
    for wrong in (patches[:, :1], torch.rand(16, 4, 12)):  # one patch would be broadcast to all places
        with pytest.raises(ValueError, match=r"expected patches \(B, 4, 4\) for this model, got \(16, "):
            classifier.eval()(wrong)
    assert classifier(patches).shape == (16, 3)
    for noise, got in ((None, "none"), (torch.rand(16, 1), r"\(16, 1\)")):
        with pytest.raises(ValueError, match=rf"expected noise \(16, 2\) in training, for drop_path, got {got}"):
            classifier.train()(patches, noise)
    assert classifier(patches, torch.rand(16, 2, generator=seeded())).shape == (16, 3)
    assert Classifier(tiny, 3).train()(patches).shape == (16, 3)  # without drop path, none is needed


def test_effective_rank_counts_directions():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    for k in (1, 3, 8):
        spread = np.concatenate([np.eye(k), -np.eye(k)]) @ axes[:k]  # the same in k directions
        assert effective_rank(spread) == pytest.approx(k)
        assert effective_rank(5 + 3 * spread) == pytest.approx(k)  # neither place nor scale matter
    values = np.array([3.0, 1.0])  # entropy by hand
    share = values / 4
    uneven = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])
    assert effective_rank(torch.tensor(uneven)) == pytest.approx(np.exp(-(share * np.log(share)).sum()))


@pytest.mark.parametrize(
    ("features", "message"), [(np.ones((1, 3)), "at least two examples"), (np.full((5, 3), 0.1), "their rank is 0")]
)
def test_effective_rank_says_what_it_needs(features, message):
    with pytest.raises(ValueError, match=message):
        effective_rank(features)
