"""Labels are drawn fairly, choices use validation modules only, and stored runs give their numbers again."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from mae import text_experiments
from mae.masking import random_mask
from mae.text import load_sentences
from mae.text_experiments import (
    DRAWS,
    EPOCHS,
    LABELS,
    LENGTH,
    LONGER,
    METHODS,
    NETWORKS,
    RATIOS,
    RESULTS,
    SEEDS,
    SIZE,
    VALUES,
    WEIGHTS,
    TextSetting,
    accuracies,
    best_ratio,
    classify,
    draw_labelled,
    encode,
    final_settings,
    fine_tune,
    longer_trials,
    make_model,
    pretrain_text,
    ratio_trials,
    run,
    run_text,
    sentence_features,
    text_config,
    text_vocabulary,
    tried_lengths,
    tried_ratios,
    tried_values,
    value_trials,
    windows,
)
from mae.weights import load_model

STORED = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]


def test_labels_are_drawn_equally_and_anew():
    labels = np.array([0, 1, 2, 3, 4, 5] * 30)
    drawn = draw_labelled(labels, 10, 1)
    assert Counter(labels[drawn].tolist()) == dict.fromkeys(range(6), 10) and len(set(drawn.tolist())) == 60
    assert (drawn == draw_labelled(labels, 10, 1)).all() and (drawn != draw_labelled(labels, 10, 2)).any()
    with pytest.raises(ValueError, match="expected 31 sentences.*there are 30 of 0"):
        draw_labelled(labels, 31, 1)


def test_settings_say_what_they_want():
    with pytest.raises(ValueError, match="a method of.*'svm'"):
        TextSetting(method="svm", labels=10, value=1.0)
    with pytest.raises(ValueError, match="labels of each library, got 11"):
        TextSetting(method="tf-idf", labels=11, value=1.0)
    for method, ratio in (("frozen", 0.0), ("scratch", 0.5)):
        with pytest.raises(ValueError, match="a mask ratio with pre-training and none without"):
            TextSetting(method=method, labels=10, value=1.0, ratio=ratio)


def test_windows_are_whole_and_of_training_sentences():
    found = windows()
    assert {len(words) for words in found} == {LENGTH} and len(found) > 20_000
    train = load_sentences("train", LENGTH)
    assert set(train.words) <= set(found)
    assert not set(load_sentences("test", LENGTH).words) & set(found)
    ids = encode(train.take(range(5)))
    assert ids.shape == (5, LENGTH) and len(text_vocabulary()) == SIZE


@pytest.fixture(scope="module")
def few():
    """Ids and labels of a dozen sentences, two of each library."""
    train = load_sentences("train", LENGTH)
    some = train.take(draw_labelled(train.labels, 2, 0))
    return encode(some), torch.from_numpy(some.labels)


def test_pretraining_learns_and_repeats(few):
    ids, _ = few
    first, again = (pretrain_text(ids, 0.5, 3, epochs=20) for _ in range(2))
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    mask = random_mask(len(ids), LENGTH, 0.5, generator=torch.Generator().manual_seed(1))
    untrained = make_model(TextSetting(method="untrained", labels=10, value=1.0, seed=3))
    losses = []
    for model in (first, untrained):
        with torch.inference_mode():
            prediction = model(text_vocabulary().patches(ids), mask)
        losses.append(text_experiments.masked_cross_entropy(prediction, ids, mask).item())
    assert losses[0] < losses[1] - 1 and losses[1] == pytest.approx(np.log(SIZE), abs=0.7)


def test_a_dozen_sentences_can_be_learnt_by_heart(few):
    ids, labels = few
    model = make_model(TextSetting(method="scratch", labels=10, value=1e-3))
    classifier = fine_tune(model, ids, labels, 1e-3, 40, 0)
    assert (classify(classifier, ids) == labels.numpy()).all()


def test_features_are_means_of_words(few):
    model = make_model(TextSetting(method="untrained", labels=10, value=1.0))
    sentences = load_sentences("validation", LENGTH).take(range(3))
    with torch.inference_mode():
        expected = model.encode(text_vocabulary().patches(encode(sentences)))[:, 1:].mean(dim=1)
    assert np.allclose(sentence_features(model, sentences), expected.numpy(), atol=1e-5)
    assert model.config == text_config(SIZE)


# Stored runs


def test_stored_runs_are_complete():
    settings = [TextSetting(**row["setting"]) for row in STORED]
    wanted = [*ratio_trials(), *value_trials(best_ratio()), *final_settings(), *longer_trials()]
    assert set(settings) == set(wanted) and len(settings) == len(set(settings))
    assert all(0.1 < row["accuracy"] < 0.8 and row["seconds"] < 200 for row in STORED)
    versions = json.loads(RESULTS.read_text(encoding="utf-8"))["versions"]
    assert set(versions) == {"torch", "python", "threads"}


def test_longer_training_is_longer_and_kept_apart(monkeypatch):
    asked = []

    def learn(model, ids, labels, rate, epochs, seed):
        asked.append(epochs)
        return fine_tune(model, ids[:6], labels[:6], rate, 1, seed)

    monkeypatch.setattr(text_experiments, "fine_tune", learn)
    for longer in (1, *LONGER):
        run(TextSetting(method="scratch", labels=10, value=1e-3, test=False, longer=longer))
    assert asked == [n * EPOCHS[10] for n in (1, *LONGER)]
    for method in NETWORKS:
        usual = np.mean([tried_lengths(method, labels)[1] for labels in LABELS])
        assert usual == pytest.approx(max(tried_values(method).values()))


def test_choices_are_made_on_validation_modules_with_other_draws():
    for setting in (*ratio_trials(), *value_trials(best_ratio()), *longer_trials()):
        assert not setting.test and setting.draw in DRAWS and setting.draw not in SEEDS
    for setting in final_settings():
        assert setting.test and setting.draw in SEEDS
        tried = tried_values(setting.method)
        assert set(tried) == set(VALUES[setting.method]) and setting.value == max(tried, key=tried.get)
    assert list(tried_ratios()) == list(RATIOS) and best_ratio() not in (RATIOS[0], RATIOS[-1])


def test_accuracies_come_one_for_each_seed():
    assert {(m, n): accuracies(m, n).shape for m in METHODS for n in LABELS} == {
        (m, n): (len(SEEDS),) for m in METHODS for n in LABELS
    }
    assert set(EPOCHS) == set(LABELS)
    with pytest.raises(ValueError, match="expected one of"):
        accuracies("svm", 10)
    with pytest.raises(ValueError, match="a method of.*'svm'"):
        tried_values("svm")


def test_what_is_stored_is_not_run_again(monkeypatch):
    monkeypatch.setattr(text_experiments, "run", lambda setting: pytest.fail("runs again"))
    run_text()


@pytest.mark.parametrize("method", ["tf-idf", "scratch"])
def test_a_stored_run_gives_its_numbers_again(method):
    setting = next(s for s in final_settings() if (s.method, s.labels) == (method, 10))
    again = run(setting)["accuracy"]
    assert again == pytest.approx(accuracies(method, 10)[0], abs=0.005 if method == "tf-idf" else 0.04)


def test_the_shipped_weights_are_those_of_the_first_seed():
    setting = next(s for s in final_settings() if (s.method, s.labels) == ("fine-tuned", 10))
    train, test = (load_sentences(split, LENGTH) for split in ("train", "test"))
    labelled = train.take(draw_labelled(train.labels, 10, setting.draw))
    model, labels = load_model(WEIGHTS), torch.from_numpy(labelled.labels)
    classifier = fine_tune(model, encode(labelled), labels, setting.value, EPOCHS[10], setting.seed)
    accuracy = balanced_accuracy_score(test.labels, classify(classifier, encode(test)))
    assert accuracy == pytest.approx(accuracies("fine-tuned", 10)[0], abs=0.03)
    assert WEIGHTS.stat().st_size < 301_000
