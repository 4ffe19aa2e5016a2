"""Classifiers with few labels: what is trained, on which digits, and that the stored results come out again."""

import json

import numpy as np
import pytest
import torch

from mae import recognition
from mae.data import Digits, load_digits
from mae.patches import patchify
from mae.recognition import (
    EPOCHS,
    LABELS,
    METHODS,
    RATES,
    RESULTS,
    SEEDS,
    TRIALS,
    VALIDATION,
    Setting,
    accuracies,
    best_rate,
    draw_labelled,
    make_classifier,
    run,
    run_recognition,
    sweep,
    train,
    trials,
)


def test_as_many_of_each_class_as_are_wanted():
    digits = load_digits("train")
    few = draw_labelled(digits, 3, seed=0)
    assert few.labels.tolist() == [digit for digit in range(10) for _ in range(3)]
    pairs = {(image.numpy().tobytes(), label.item()) for image, label in zip(digits.images, digits.labels, strict=True)}
    drawn = {(image.numpy().tobytes(), label.item()) for image, label in zip(few.images, few.labels, strict=True)}
    assert drawn <= pairs and len(drawn) == 30
    assert torch.equal(few.images, draw_labelled(digits, 3, seed=0).images)
    assert not torch.equal(few.images, draw_labelled(digits, 3, seed=1).images)
    # Fewer labels are the first of more.
    assert torch.equal(draw_labelled(digits, 5, seed=0).images.view(10, 5, -1)[:, :3], few.images.view(10, 3, -1))
    with pytest.raises(ValueError, match="expected 401 digits of class 0, there are 400"):
        draw_labelled(digits, 401, seed=0)


@pytest.mark.parametrize(("method", "blocks"), [("probe", 0), ("partial", 1), ("full", 4), ("scratch", 4)])
def test_a_method_trains_its_blocks(method, blocks):
    classifier = make_classifier(method, seed=0)
    trained = [all(p.requires_grad for p in block.parameters()) for block in classifier.blocks]
    frozen = [not any(p.requires_grad for p in block.parameters()) for block in classifier.blocks]
    assert trained == [False] * (4 - blocks) + [True] * blocks and frozen == [not t for t in trained]
    assert all(p.requires_grad for part in (classifier.norm, classifier.head) for p in part.parameters())
    first = [*classifier.patch_embed.parameters(), classifier.cls_token]
    assert all(p.requires_grad == (blocks == 4) for p in first)
    pretrained = make_classifier("probe", seed=0).patch_embed.weight
    assert torch.equal(classifier.patch_embed.weight, pretrained) == (method != "scratch")


def test_pixels_get_one_weight_each(seeded):
    classifier = make_classifier("pixels", seed=0)
    assert sum(p.numel() for p in classifier.parameters()) == 784 * 10 + 10
    assert (classifier(torch.rand(2, 49, 16, generator=seeded(0))) == 0).all()


def test_convolutions_see_the_image(seeded):
    classifier = make_classifier("convolutions", seed=0)
    image = torch.rand(1, 1, 28, 28, generator=seeded(0))
    assert torch.allclose(classifier(patchify(image, 4)), classifier.layers(image))
    assert sum(p.numel() for p in classifier.parameters()) == 26 * 16 + 401 * 32 + 1569 * 10


@pytest.fixture
def captured(monkeypatch):
    """What `train` hands to `fit`, which trains nothing."""
    kept = {}

    def fit(model, loss_of_batch, num_examples, config, **kwargs):
        kept.update(loss=loss_of_batch, examples=num_examples, config=config)

    monkeypatch.setattr(recognition, "fit", fit)
    return kept


def test_training_sees_its_few_labels_only(captured, monkeypatch, seeded):
    def losses(change):
        digits = load_digits("train")
        labels = digits.labels.clone()
        change(labels)
        with monkeypatch.context() as patch:
            patch.setattr(recognition, "load_digits", {"train": Digits(digits.images, labels)}.__getitem__)
            torch.nn.init.normal_(train(Setting(method="pixels", labels=1, rate=0.1)).head.weight, generator=seeded(0))
        return captured["loss"](torch.arange(10), seeded(1)).item()

    kept = losses(lambda labels: None)
    assert captured["examples"] == 10 and captured["config"].learning_rate == 0.1
    assert captured["config"].epochs == EPOCHS[1] * 5
    # The validation digits are not among those that can be drawn.
    assert losses(lambda labels: labels[-VALIDATION:].fill_(0)) == kept


@pytest.mark.parametrize(("test", "split", "part"), [(True, "test", slice(None)), (False, "train", slice(-500, None))])
def test_what_is_measured_on(monkeypatch, test, split, part):
    asked = {}
    monkeypatch.setattr(recognition, "train", lambda setting: None)

    def predict(classifier, images):
        asked["images"] = images
        return load_digits(split).labels[part].clone()

    monkeypatch.setattr(recognition, "predict", predict)
    assert run(Setting(method="pixels", labels=1, rate=0.1, test=test))["accuracy"] == 1
    assert torch.equal(asked["images"], load_digits(split).images[part])


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="expected a method"):
        Setting(method="forest", labels=1, rate=0.1)
    with pytest.raises(ValueError, match="expected .* labels per class, got 7"):
        Setting(method="pixels", labels=7, rate=0.1)


def test_the_best_trial_gives_the_rate(tmp_path, monkeypatch):
    path, ran = tmp_path / "recognition.json", []

    def quick(setting):
        ran.append(setting)
        good = setting.rate == RATES[setting.method][1]
        return {"accuracy": 0.5 + 0.1 * good + 0.01 * setting.seed * setting.test, "seconds": 1.0}

    monkeypatch.setattr(recognition, "run", quick)
    run_recognition(path)
    assert list(trials("full", path)) == sorted(RATES["full"])
    assert ran == [*TRIALS, *sweep(path)] and len(set(ran)) == len(ran)
    assert all(best_rate(method, path) == RATES[method][1] for method in METHODS)
    assert trials("full", path) == pytest.approx({rate: 0.5 + 0.1 * (i == 1) for i, rate in enumerate(RATES["full"])})
    assert accuracies("full", 10, path=path) == pytest.approx([0.6, 0.61, 0.62])
    assert accuracies("scratch", 10, path=path) == pytest.approx([0.6, 0.61, 0.62])
    run_recognition(path)
    assert len(ran) == len(TRIALS) + len(sweep(path))


def test_stored_results_are_complete():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    found = [Setting(**row["setting"]) for row in content["rows"]]
    assert sorted(map(str, found)) == sorted(map(str, [*TRIALS, *sweep()]))
    assert len(sweep()) == len(LABELS) * len(SEEDS) * len(METHODS)
    for row in content["rows"]:
        assert set(row) == {"setting", "accuracy", "seconds"}
        assert 0 < row["accuracy"] <= 1 and np.isfinite(row["seconds"])
    assert set(content["versions"]) == {"torch", "python", "threads"}


@pytest.mark.parametrize(("method", "labels"), [("partial", 1), ("pixels", 10)])
def test_a_stored_run_gives_its_accuracy_again(method, labels):
    again = run(Setting(method=method, labels=labels, rate=best_rate(method)))
    assert again["accuracy"] == pytest.approx(accuracies(method, labels)[0], abs=0.04)
