"""The faces are the expected ones, views and fillings do what they say, and no test needs a network."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from mae import faces
from mae.faces import (
    RESULTS,
    SIDES,
    SWEEP,
    Eigenfaces,
    FaceModel,
    Setting,
    auroc,
    brightened,
    disturbed,
    filling_error,
    halves,
    hidden_pixels,
    load_crops,
    load_people,
    look,
    many_views,
    run,
    run_faces,
    same_or_other,
    shifted,
    square_mask,
    stored,
    whitened,
)
from mae.masking import Mask


@pytest.fixture(scope="module")
def crops():
    return load_crops()


def test_the_crops_are_a_hundred_faces_without_names(crops):
    assert len(crops) == 100 and crops.people is None
    assert crops.images.shape == (100, 1, 25, 25) and crops.images.dtype == torch.float32
    assert crops.images.min() >= 0 and crops.images.max() <= 1
    assert len({x.numpy().tobytes() for x in crops.images}) == 100


def test_other_crops_are_refused(monkeypatch):
    monkeypatch.setattr(faces, "lfw_subset", lambda: np.zeros((200, 25, 25)))
    with pytest.raises(ValueError, match=r"not the ones this book was written with .*: install the versions"):
        load_crops()


def test_halves_share_no_picture(crops):
    train, test = ({x.numpy().tobytes() for x in part} for part in halves(3))
    assert len(train) == len(test) == 50 and not train & test
    assert not torch.equal(halves(0)[0], halves(1)[0])


# A set with identities, without a network


def olivetti(**options):
    """Three people of two pictures each, as scikit-learn gives them."""
    return SimpleNamespace(images=np.linspace(0, 1, 6 * 16).reshape(6, 4, 4), target=np.repeat([0, 1, 2], 2))


def test_people_come_with_their_numbers(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.delenv("MAE_OFFLINE", raising=False)
    monkeypatch.setattr(faces, "fetch_olivetti_faces", lambda **options: asked.update(options) or olivetti())
    found = load_people("olivetti", tmp_path)
    assert found.images.shape == (6, 1, 4, 4) and found.images.dtype == torch.float32 and found.images.max() == 1
    assert found.people.tolist() == [0, 0, 1, 1, 2, 2] and found.people.dtype == torch.int64
    assert asked == {"data_home": tmp_path, "download_if_missing": True}


def test_the_large_set_asks_for_people_with_ten_pictures(monkeypatch):
    asked = {}
    monkeypatch.setattr(faces, "fetch_lfw_people", lambda **options: asked.update(options) or olivetti())
    load_people("lfw")
    assert asked == {"data_home": None, "download_if_missing": False, "min_faces_per_person": 10}  # MAE_OFFLINE is set


@pytest.mark.parametrize("name", ["olivetti", "lfw"])
def test_offline_says_what_to_do(monkeypatch, tmp_path, name):
    monkeypatch.setenv("MAE_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=rf"the {name} faces are not in .*MAE_OFFLINE is set.*copy that folder"):
        load_people(name, tmp_path)


def test_a_broken_network_says_what_to_do(monkeypatch):
    def broken(**options):
        raise TimeoutError("timed out")

    monkeypatch.delenv("MAE_OFFLINE", raising=False)
    monkeypatch.setattr(faces, "fetch_olivetti_faces", broken)
    with pytest.raises(ConnectionError, match=r"could not be downloaded \(timed out\). With a network, call again"):
        load_people()


def test_unknown_sets_are_refused():
    with pytest.raises(ValueError, match='expected "olivetti" or "lfw", got \'celebrities\''):
        load_people("celebrities")


# Views


def test_shifts_move_whole_pixels_and_repeat_the_edge(crops, seeded):
    image = torch.arange(25.0).view(1, 1, 5, 5).expand(40, -1, -1, -1)
    moved = shifted(image, generator=seeded(0))
    assert moved.shape == image.shape and len(moved.flatten(1).unique(dim=0)) > 10
    for x in moved[:, 0]:
        di, dj = int(x[2, 2]) // 5 - 2, int(x[2, 2]) % 5 - 2
        rows, columns = (torch.arange(5) + d for d in (di, dj))
        assert torch.equal(x, image[0, 0][rows.clamp(0, 4)][:, columns.clamp(0, 4)])


def test_views_stay_between_black_and_white_and_change_nothing_in_place(crops, seeded):
    before = crops.images.clone()
    for change in (brightened, disturbed):
        views = change(crops.images, generator=seeded(1))
        assert views.shape == before.shape and views.min() >= 0 and views.max() <= 1
        assert not torch.equal(views, before) and torch.equal(change(crops.images, generator=seeded(1)), views)
    assert torch.equal(crops.images, before)
    assert many_views(crops.images[:3], generator=seeded(1), count=4).shape == (12, 1, 25, 25)


@pytest.mark.parametrize("side", [1, 3, 4])
def test_a_square_is_hidden_and_painted_in_one_grey(crops, seeded, side):
    looks = look(crops.images, side, generator=seeded(2))
    assert (looks.mask.is_hidden.sum(dim=1) == side**2).all()
    for image, hidden in zip(looks.images[:, 0], hidden_pixels(looks.mask)[:, 0], strict=True):
        rows, columns = hidden.any(dim=1).nonzero(), hidden.any(dim=0).nonzero()
        assert len(rows) == len(columns) == 5 * side == int(rows[-1] - rows[0]) + 1
        assert len(image[hidden].unique()) == 1
    assert len(square_mask(100, side, generator=seeded(2)).hidden.unique(dim=0)) == (6 - side) ** 2


def test_no_square_leaves_all_visible(crops, seeded):
    assert look(crops.images, 0, generator=seeded(2)).mask is None


# Verification


def test_scores_say_which_pairs_are_the_same_picture(seeded):
    a, b = torch.randn(7, 5, generator=seeded(0)), torch.randn(7, 5, generator=seeded(1))
    scores, same = same_or_other(a, b)
    assert scores.shape == same.shape == (49,) and same.sum() == 7
    for i in range(7):
        for j in range(7):
            expected = torch.cosine_similarity(a[i], b[j], dim=0).item()
            assert scores[7 * i + j] == pytest.approx(expected, abs=1e-6) and same[7 * i + j] == (i == j)
    assert auroc(a, b) == pytest.approx(roc_auc_score(same, scores))
    assert auroc(a, a) == 1


def test_whitened_components_have_equal_variances(seeded):
    x = torch.randn(200, 6, generator=seeded(0)) * torch.tensor([9.0, 5, 3, 2, 1, 0.1])
    two, three = (project(x) for project in whitened(x, 2, 3))
    assert three.shape == (200, 3) and torch.allclose(three.T.cov(), torch.eye(3), atol=1e-3)
    assert torch.equal(two, three[:, :2])


# Filling in


def test_eigenfaces_find_what_lies_in_their_plane(seeded):
    basis = torch.rand(3, 625, generator=seeded(0)) * 0.3
    images = (torch.rand(60, 3, generator=seeded(1)) @ basis).view(-1, 1, 25, 25)
    noisy = images + 1e-4 * torch.randn(images.shape, generator=seeded(2))
    mask = square_mask(60, 3, generator=seeded(3))
    spoiled = images.masked_fill(hidden_pixels(mask), 1.0)
    filled = Eigenfaces(noisy, 3).fill(spoiled, mask)
    assert filling_error(filled, images, mask) < 1e-5 < filling_error(spoiled, images, mask)
    assert torch.allclose(filled[~hidden_pixels(mask)], images[~hidden_pixels(mask)], atol=1e-6)


def test_the_model_fills_hidden_pixels_without_looking_at_them(crops, seeded):
    model = FaceModel(crops.images[:50], 0)
    images, mask = crops.images[50:60], square_mask(10, 2, generator=seeded(3))
    filled, hidden = model.fill(images, mask), hidden_pixels(mask)
    assert torch.allclose(filled[~hidden], images[~hidden], atol=1e-5)
    assert torch.allclose(model.fill(images.masked_fill(hidden, 0.9), mask), filled, atol=1e-5)
    assert model.tokens(images).shape == (10, 25 * 48)


def test_errors_count_hidden_pixels_only():
    images = torch.zeros(1, 1, 25, 25)
    mask = Mask.from_hidden((torch.arange(25) < 5)[None])
    filled = torch.full_like(images, 5.0)
    filled[:, :, :5] = 0.5
    assert filling_error(filled, images, mask) == pytest.approx(0.25)


# The stored runs


def test_the_experiments_go_on_where_they_were(tmp_path, monkeypatch):
    path, ran = tmp_path / "faces.json", []
    monkeypatch.setattr(faces, "SWEEP", SWEEP[:2])
    monkeypatch.setattr(faces, "run", lambda setting: ran.append(setting) or {"seconds": 1.0})
    run_faces(path)
    run_faces(path)
    assert ran == SWEEP[:2]


def test_stored_results_are_complete():
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    assert [Setting(**row["setting"]) for row in rows] == SWEEP
    for row in rows:
        assert set(row) == {"setting", "auroc", "error", "seconds"}
        assert all(len(areas) == len(SIDES) and 0.4 < min(areas) and max(areas) <= 1 for areas in row["auroc"].values())
    assert len(stored(400)) == 2 and len(stored(1000)) == 5


def test_a_stored_run_gives_its_numbers_again():
    row, again = stored(400)[1], run(Setting(steps=400, seed=1))
    for name, areas in row["auroc"].items():
        assert again["auroc"][name] == pytest.approx(areas, abs=0.03)
    assert again["error"] == pytest.approx(row["error"], rel=0.1)
