"""Wrong answers to the exercises of the summary."""

import torch

from wrong_answers import wrong, wrong_value


@wrong("summary.best_epoch", "You report the split that chose", "% on the simulated runs")
def reports_validation(valid, test):
    best = valid.argmax(dim=1)
    return valid[torch.arange(len(valid)), best].mean()


@wrong("summary.best_epoch", "You report the best seed")
def reports_the_best_seed(valid, test):
    best = valid.argmax(dim=1)
    return max(row[i] for row, i in zip(test, best, strict=True))


@wrong("summary.best_epoch", "still takes part in the choice")
def chooses_by_both(valid, test):
    best = torch.stack([valid, test]).mean(dim=0).argmax(dim=1)
    return test.gather(1, best[:, None]).mean()


@wrong("summary.best_epoch", "it is still the test split that chooses")
def chooses_by_the_mean_test_curve(valid, test):
    return test[:, test.mean(dim=0).argmax()].mean()


@wrong("summary.best_epoch", "of another rule", "epoch of its own")
def chooses_one_epoch_for_all(valid, test):
    best = torch.argmax(valid.sum(dim=0))
    return test[:, best].mean()


@wrong("summary.best_epoch", "of another rule", "the last epoch")
def takes_the_last_epoch(valid, test):
    return sum(row[-1] for row in test) / len(test)


@wrong("summary.best_epoch", "the roles are exchanged")
def exchanges_the_splits(valid, test):
    best = test.argmax(dim=1)
    return valid.gather(1, best[:, None]).mean()


@wrong("summary.best_epoch", "a number for each seed")
def forgets_the_mean(valid, test):
    return torch.stack([row[valid[i].argmax()] for i, row in enumerate(test)])


wrong_value("summary.reviewer", {"choice": "a", "because": "c"}, "two different tasks")
wrong_value("summary.reviewer", {"choice": "c", "because": "b"}, "whether the features are worth anything")
wrong_value("summary.reviewer", {"choice": "D", "because": "d"}, "another question, about longer runs")
wrong_value("summary.reviewer", {"choice": "b", "because": "a"}, "don't go together")
wrong_value("summary.reviewer", {"choice": "b", "because": "b"}, "a reason to ask for baselines")
wrong_value("summary.reviewer", {"choice": "b", "because": "d"}, "Nobody knows from these numbers")
wrong_value("summary.reviewer", {"choice": "b", "because": ...}, "Expected one of", "for your reason")
wrong_value("summary.reviewer", "b", "a letter for each")


def other(**changes):
    """A sound plan with some of its fields changed."""
    return {
        "patch": 8,
        "mask_ratio": 0.7,
        "encoder": (96, 4, 4),
        "decoder": (48, 2, 4),
        "epochs": 200,
        "seeds": 4,
        "split": (0.7, 0.15, 0.15),
        "split_by": "plant",
        "pretrain_on": ["training"],
        "choose_on": "validation",
        "report_on": "test",
        "baselines": ["pixels", "PCA", "untrained encoder", "mean image", "supervised"],
        **changes,
    }


wrong_value("summary.plan", other(patch=7), "don't divide images of 64×96")
wrong_value("summary.plan", other(patch=16), "The encoder sees 7 patches")
wrong_value("summary.plan", other(patch=16, mask_ratio=0.3), "Less than half is hidden")
wrong_value("summary.plan", other(patch=4, encoder=(192, 8, 6)), "the night has 8")
wrong_value("summary.plan", other(decoder=(128, 6, 4)), "thrown away, does half of the work or more")
wrong_value("summary.plan", other(epochs=20), "20 epochs may end")
wrong_value("summary.plan", other(encoder=(98, 4, 4)), "can't be built", "divisible by 4")
wrong_value("summary.plan", other(mask_ratio=0.999), "can't be built")
wrong_value("summary.plan", other(split_by="image"), "to know a plant again", "% on plants that are new")
wrong_value("summary.plan", other(split=(0.8, 0.1, 0.1)), "With 120 test plants")
wrong_value("summary.plan", other(split=(0.45, 0.15, 0.4)), "at least half of the data for training")
wrong_value("summary.plan", other(pretrain_on=["training", "test"]), "sees the test images")
wrong_value("summary.plan", other(pretrain_on=["training", "validation"]), "sees the validation images")
wrong_value("summary.plan", other(choose_on="test"), "What is chosen on the test split")
wrong_value("summary.plan", other(choose_on="training"), "the longest run and the weakest penalty always win")
wrong_value("summary.plan", other(report_on="validation"), "The validation split has been used before")
wrong_value("summary.plan", other(seeds=1), "1 run can't show how much seeds differ")
wrong_value("summary.plan", other(baselines=["pixels", "chance"]), "Without PCA", "Without the untrained encoder")
wrong_value("summary.plan", other(seeds=2, choose_on="test"), "(1) What is chosen", "(2) 2 runs")
wrong_value("summary.plan", other(split=(70, 15, 15)), "three shares that sum to 1")
wrong_value("summary.plan", other(encoder=96), "Expected (width, depth, heads) for `encoder`")
wrong_value("summary.plan", other(seeds=..., epochs=...), "Still open: `epochs`, `seeds`")
wrong_value("summary.plan", other(ratio=0.7), "No field of a plan: `ratio`")
