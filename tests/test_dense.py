"""Detection and segmentation: targets and answers fit together, and the measures are what their definitions say."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from mae.canvases import NOTHING, SIZE, make_canvases
from mae.dense import (
    DenseHead,
    average_precision,
    box_iou,
    bright_spots,
    detect,
    detection_loss,
    detection_targets,
    match,
    mean_average_precision,
    mean_iou,
    patch_centres,
    pixel_scores,
    segmentation_loss,
    suppress,
    window_tokens,
    with_neighbours,
)
from mae.model import MAEConfig, MaskedAutoencoder
from mae.patches import patchify

GRID, PATCH = (10, 10), 4


@pytest.fixture(scope="module")
def canvases(seeded):
    return make_canvases("test", 40, generator=seeded(0))


@pytest.fixture(scope="module")
def perfect(canvases):
    """Outputs of a head that knows everything."""
    wanted, offsets = detection_targets(canvases.boxes, canvases.classes, GRID, PATCH)
    return torch.cat([20 * torch.nn.functional.one_hot(wanted, 11).float(), offsets], dim=2)


def test_one_window_is_the_encoder(tiny, tiny_images):
    expected = tiny.encode(patchify(tiny_images, 2))[:, 1:]
    assert torch.equal(window_tokens(tiny, tiny_images, 2, 1), expected)


def test_windows_give_each_patch_its_most_central_token(seeded):
    config = MAEConfig(
        grid=(3, 3), patch_values=4, width=8, depth=1, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2
    )
    model = MaskedAutoencoder(config, generator=seeded(0)).eval()
    images = torch.rand(2, 1, 10, 8, generator=seeded(1))  # 5×4 patches
    tokens = window_tokens(model, images, 2, 1).view(2, 5, 4, 8)

    def window(top, left):
        cut = images[:, :, 2 * top : 2 * top + 6, 2 * left : 2 * left + 6]
        return model.encode(patchify(cut, 2))[:, 1:].view(2, 3, 3, 8)

    with torch.no_grad():
        assert torch.allclose(tokens[:, 0, 0], window(0, 0)[:, 0, 0], atol=1e-6)
        assert torch.allclose(tokens[:, 2, 1], window(1, 0)[:, 1, 1], atol=1e-6)
        assert torch.allclose(tokens[:, 3, 2], window(2, 1)[:, 1, 1], atol=1e-6)
        assert torch.allclose(tokens[:, 4, 3], window(2, 1)[:, 2, 2], atol=1e-6)
    with pytest.raises(ValueError, match="don't cover a grid of"):
        window_tokens(model, images, 2, 3)
    with pytest.raises(ValueError, match="10×9 pixels can't be cut into patches of 2×2"):
        window_tokens(model, torch.rand(2, 1, 10, 9), 2, 1)


def test_neighbours_by_hand():
    tokens = torch.arange(6.0).view(1, 6, 1)  # 0 1 2 / 3 4 5
    around = with_neighbours(tokens, (2, 3))
    assert around.shape == (1, 6, 9)
    assert around[0, 4].tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]
    assert around[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 3, 4]
    assert with_neighbours(torch.rand(2, 6, 5), (2, 3)).shape == (2, 6, 45)


def test_head_answers_for_each_patch(seeded):
    head, again = (DenseHead(6, 4, 3, nothing=2, generator=seeded(1)) for _ in range(2))
    features = torch.rand(2, 5, 6, generator=seeded(2))
    assert head(features).shape == (2, 5, 3)
    assert torch.equal(head(features), again(features))
    assert (head(features).argmax(dim=2) == 2).all()  # before training, nothing anywhere


def test_patch_centres():
    assert patch_centres((2, 3), 4).tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]


def test_targets_by_hand():
    boxes = torch.tensor([[[2.0, 8, 10, 16], [0, 0, 0, 0]]])
    wanted, offsets = detection_targets(boxes, torch.tensor([[3, 10]]), (2, 2), 8)
    assert wanted.tolist() == [[10, 10, 3, 10]]  # its centre (6, 12) lies in the second row, first column
    assert offsets[0, 2].tolist() == [0.25, 0, 0, 0]
    assert (offsets[0, [0, 1, 3]] == 0).all()


def test_a_centre_at_the_edge_belongs_to_the_last_patch():
    wanted, _ = detection_targets(torch.tensor([[[14.0, 14, 18, 18]]]), torch.tensor([[1]]), (2, 2), 8)
    assert wanted.tolist() == [[10, 10, 10, 1]]


def test_perfect_answers_score_one(perfect, canvases):
    found = detect(perfect, GRID, PATCH)
    assert mean_average_precision(found, canvases.boxes, canvases.classes) == 1
    for boxes, classes, scores in found:
        assert boxes.shape == (len(classes), 4) and len(scores) == len(classes)
    wanted, offsets = detection_targets(canvases.boxes, canvases.classes, GRID, PATCH)
    assert detection_loss(perfect, wanted, offsets) < 1e-4


def test_wrong_classes_and_shifted_boxes_score_less(perfect, canvases):
    other = (canvases.classes + 1) % 10
    other[canvases.classes == NOTHING] = NOTHING
    found = detect(perfect, GRID, PATCH)
    assert mean_average_precision(found, canvases.boxes, other) < 0.1
    moved = perfect.clone()
    moved[..., -4] += 4  # four patches to the right
    assert mean_average_precision(detect(moved, GRID, PATCH), canvases.boxes, canvases.classes) < 0.1


def test_detection_loss_by_hand():
    outputs = torch.zeros(1, 2, 3 + 4)  # two classes and nothing
    outputs[0, :, 3:] = 5.0
    wanted, offsets = torch.tensor([[1, 2]]), torch.zeros(1, 2, 4)
    offsets[0, 0] = torch.tensor([4.0, 5, 5, 7])
    # Both patches say one third; of the offsets only those of the first count: 1 + 0 + 0 + 2.
    assert detection_loss(outputs, wanted, offsets).item() == pytest.approx(2 * np.log(3) + 3)
    nowhere = torch.full((1, 2), 2)
    assert detection_loss(outputs, nowhere, offsets).item() == pytest.approx(2 * np.log(3))


def test_box_iou_by_hand():
    a = torch.tensor([[0.0, 0, 2, 2]])
    b = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 1, 2], [2, 0, 4, 2], [5, 5, 6, 6]])
    assert torch.allclose(box_iou(a, b), torch.tensor([[1, 1 / 7, 0.5, 0, 0]]))
    assert box_iou(b, a).shape == (5, 1) and box_iou(a[:0], b).shape == (0, 5)


def test_suppression_keeps_the_best_of_those_that_overlap():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 5, 10, 15]])
    scores = torch.tensor([0.6, 0.9, 0.5, 0.7])
    assert suppress(boxes, scores).tolist() == [1, 3, 2]
    assert suppress(boxes, scores, most=0.1).tolist() == [1, 2]
    assert suppress(boxes, scores, most=1.0).tolist() == [1, 3, 0, 2]
    assert suppress(boxes[:0], scores[:0]).tolist() == []


def test_each_object_is_found_once():
    truth = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 10], [30, 30, 40, 40]])
    assert match(boxes, torch.tensor([0.8, 0.9, 0.99]), truth).tolist() == [False, True, False]
    assert match(boxes, torch.tensor([0.8, 0.9, 0.99]), truth[:0]).tolist() == [False] * 3
    assert match(boxes[:0], torch.zeros(0), truth).tolist() == []
    assert match(boxes[:1], torch.ones(1), truth, least=0.95).tolist() == [False]


def test_average_precision_by_hand():
    right, scores = [True, False, True, False], [0.9, 0.8, 0.7, 0.6]
    assert average_precision(right, scores, 2) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(right, scores, 4) == pytest.approx((1 + 2 / 3) / 4)  # two were never found
    # The first precision, 0, is raised to the best at a higher recall.
    assert average_precision([False, True, True], [0.9, 0.8, 0.7], 2) == pytest.approx(2 / 3)
    assert average_precision([], [], 3) == 0
    with pytest.raises(ValueError, match="at least one object"):
        average_precision(right, scores, 0)


def test_average_precision_against_scikit_learn(seeded):
    for seed in range(20):
        scores = torch.rand(30, generator=seeded(seed)).numpy()
        right = torch.rand(30, generator=seeded(100 + seed)).numpy() < 0.4
        plain = average_precision_score(right, scores)  # not raised, and blind to what was never found
        mine = average_precision(right, scores, int(right.sum()))
        assert plain <= mine <= plain + 0.15
        assert average_precision(right, scores, 2 * int(right.sum())) == pytest.approx(mine / 2)


def test_average_precision_against_a_sum_over_recalls(seeded):
    """Area under the raised curve, by brute force."""
    for seed in range(20):
        scores = torch.rand(25, generator=seeded(seed)).numpy()
        right = torch.rand(25, generator=seeded(100 + seed)).numpy() < 0.5
        objects, order = int(right.sum()) + 3, np.argsort(-scores)
        found = right[order].cumsum()
        area = 0.0
        for k in range(1, objects + 1):  # recall k / objects
            reached = [found[i] / (i + 1) for i in range(25) if found[i] >= k]
            area += max(reached, default=0) / objects
        assert average_precision(right, scores, objects) == pytest.approx(area)


def test_classes_that_do_not_occur_are_left_out():
    boxes, classes = torch.tensor([[[0.0, 0, 8, 8]]]), torch.tensor([[4]])
    right = (torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([4]), torch.tensor([0.9]))
    false = (torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([5]), torch.tensor([0.9]))
    assert mean_average_precision([right], boxes, classes) == 1
    assert mean_average_precision([false], boxes, classes) == 0


def test_pixels_go_to_patches_and_back(canvases):
    wanted = patchify(canvases.pixels[:, None].float(), PATCH).long()  # (B, N, p·p)
    outputs = 20 * torch.nn.functional.one_hot(wanted, 11).float().flatten(2)  # (B, N, p·p·11)
    assert segmentation_loss(outputs, wanted) < 1e-4
    assert segmentation_loss(outputs, wanted, torch.tensor([5, 9])) < 1e-4
    assert segmentation_loss(outputs.roll(11, dims=2), wanted) > 0.1
    scores = pixel_scores(outputs, PATCH, SIZE)
    assert scores.shape == (40, 11, SIZE, SIZE)
    assert torch.equal(scores.argmax(dim=1), canvases.pixels)


def test_some_pixels_stand_for_all(seeded):
    outputs = torch.randn(3, 4, 16 * 5, generator=seeded(0))
    wanted = torch.randint(5, (3, 4, 16), generator=seeded(1))
    parts = [segmentation_loss(outputs, wanted, some) for some in torch.arange(16).split(4)]
    assert torch.stack(parts).mean().item() == pytest.approx(segmentation_loss(outputs, wanted).item(), rel=1e-5)


def test_mean_iou_by_hand():
    truth = torch.tensor([[[0, 0], [1, 1]], [[2, 2], [2, 2]]])
    guess = torch.tensor([[[0, 1], [1, 1]], [[2, 2], [2, 0]]])
    # Over both pictures: class 0 has 1 of 3, class 1 has 2 of 3, class 2 has 3 of 4.
    assert mean_iou(truth, guess, 3) == pytest.approx((1 / 3 + 2 / 3 + 3 / 4) / 3)
    assert mean_iou(truth, truth, 3) == 1


def test_bright_spots_by_hand():
    image = torch.zeros(8, 8)
    image[1, 1] = image[2, 2] = image[2, 3] = 1.0  # connected diagonally
    image[6, 6] = 0.9
    assert bright_spots(image, 0.5, 1).tolist() == [[1, 1, 4, 3], [6, 6, 7, 7]]
    assert bright_spots(image, 0.5, 2).tolist() == [[1, 1, 4, 3]]
    assert bright_spots(image, 0.95, 1).tolist() == [[1, 1, 4, 3]]
    assert bright_spots(image, 2.0, 1).shape == (0, 4)
