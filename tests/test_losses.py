"""The loss counts the patches it should, and is what theory says for a predictor that theory covers."""

import math

import pytest
import torch
import torch.nn.functional as F

from mae.losses import masked_cross_entropy, masked_mse, normalize_patches, uniformity
from mae.masking import Mask, random_mask, take


@pytest.fixture
def patches(seeded):
    return 3 * torch.randn(6, 8, 5, generator=seeded(1), dtype=torch.float64) + 2


@pytest.fixture
def mask(seeded):
    return random_mask(6, 8, 0.75, generator=seeded(2))


@pytest.mark.parametrize("on", ["hidden", "visible", "all"])
@pytest.mark.parametrize("normalized", [False, True])
def test_loss_is_the_mean_square_over_the_chosen_patches(patches, mask, seeded, on, normalized):
    count = {"hidden": 6, "visible": 2, "all": 8}[on]
    prediction = torch.randn(6, count, 5, generator=seeded(3), dtype=torch.float64)
    index = {"hidden": mask.hidden, "visible": mask.visible, "all": torch.arange(8).expand(6, -1)}[on]
    total = 0.0
    for b in range(6):
        for k in range(count):
            target = patches[b, index[b, k]]
            if normalized:
                target = (target - target.mean()) / (target.var(correction=1) + 1e-6).sqrt()
            total += ((prediction[b, k] - target) ** 2).sum().item()
    loss = masked_mse(prediction, patches, mask, on=on, normalized=normalized)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(total / (6 * count * 5), rel=1e-12)


def test_hidden_patches_are_what_counts_by_default(patches, mask):
    exact = take(patches, mask.hidden)
    assert masked_mse(exact, patches, mask) == 0
    assert masked_mse(exact + 2, patches, mask).item() == pytest.approx(4)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("junk", [7.0, float("nan"), float("inf")])
def test_visible_pixels_do_not_enter_the_loss(patches, mask, seeded, normalized, junk):
    prediction = torch.randn(6, 6, 5, generator=seeded(3), dtype=torch.float64)
    before = masked_mse(prediction, patches, mask, normalized=normalized)
    changed = patches.clone()
    changed[~mask.is_hidden] = junk
    assert torch.equal(masked_mse(prediction, changed, mask, normalized=normalized), before)
    hidden_changed = patches.clone()
    hidden_changed[0, mask.hidden[0, 0], 0] += 1
    assert not torch.equal(masked_mse(prediction, hidden_changed, mask, normalized=normalized), before)


def test_gradient_reaches_the_prediction_only_through_the_chosen_patches(patches, mask, seeded):
    prediction = torch.randn(6, 8, 5, generator=seeded(3), dtype=torch.float64, requires_grad=True)
    masked_mse(take(prediction, mask.hidden), patches, mask).backward()
    expected = 2 * (prediction.detach() - patches) / (6 * 6 * 5)
    assert torch.equal(prediction.grad[~mask.is_hidden], torch.zeros(6 * 2, 5, dtype=torch.float64))
    assert torch.allclose(prediction.grad[mask.is_hidden], expected[mask.is_hidden], rtol=1e-12)


def test_the_mean_predictor_loses_the_variance(patches):
    # Eight masks that hide each patch six times: the mean over them is a mean over all patches.
    prediction = patches.mean(dim=0, keepdim=True).expand_as(patches)
    losses = []
    for shift in range(8):
        order = ((torch.arange(8) + shift) % 8).expand(6, -1)
        mask = Mask(order[:, :2], order[:, 2:])
        losses.append(masked_mse(take(prediction, mask.hidden), patches, mask))
    variance = patches.var(dim=0, correction=0).mean()
    assert torch.stack(losses).mean().item() == pytest.approx(variance.item(), rel=1e-12)


def test_the_best_constant_on_noise_loses_its_variance(seeded):
    sigma, mu = 3.0, 2.0
    patches = sigma * torch.randn(400, 16, 25, generator=seeded(4)) + mu
    mask = random_mask(400, 16, 0.75, generator=seeded(5))
    spread = sigma**2 * (2 / (400 * 12 * 25)) ** 0.5  # standard error of a mean of squares of normal numbers
    prediction = torch.full((400, 12, 25), mu)
    assert masked_mse(prediction, patches, mask).item() == pytest.approx(sigma**2, abs=4 * spread)
    # Any other constant loses the square of the difference more.
    assert masked_mse(prediction + 1, patches, mask).item() == pytest.approx(sigma**2 + 1, abs=6 * spread)


@pytest.mark.parametrize("P", [2, 5, 16])
def test_zeros_lose_p_minus_one_over_p_on_normalised_pixels(seeded, P):
    # The published target divides by the unbiased variance, so that its mean square is (P - 1) / P.
    patches = 5 * torch.randn(7, 9, P, generator=seeded(6), dtype=torch.float64)
    mask = random_mask(7, 9, 0.6, generator=seeded(7))
    prediction = torch.zeros(7, mask.hidden.shape[1], P, dtype=torch.float64)
    assert masked_mse(prediction, patches, mask, normalized=True).item() == pytest.approx((P - 1) / P, abs=1e-3)


def test_normalised_patches_go_back(patches):
    normalized, mean, std = normalize_patches(patches)
    assert mean.shape == std.shape == (6, 8, 1)
    assert torch.allclose(normalized.mean(dim=2), torch.zeros(6, 8, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(normalized.var(dim=2), torch.ones(6, 8, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(normalized * std + mean, patches, rtol=1e-12)


def test_flat_patches_become_zeros():
    normalized, mean, std = normalize_patches(torch.full((1, 2, 4), 0.5))
    assert torch.equal(normalized, torch.zeros(1, 2, 4))
    assert (mean == 0.5).all() and (std > 0).all()


@pytest.mark.parametrize(
    ("patches", "got"),
    [
        (torch.zeros(2, 4, 1), r"torch.float32 \(2, 4, 1\)"),
        (torch.zeros(4, 4), r"torch.float32 \(4, 4\)"),
        (torch.zeros(2, 4, 4, dtype=torch.int64), r"torch.int64 \(2, 4, 4\)"),
    ],
)
def test_what_can_not_be_normalised_is_refused(patches, got):
    message = rf"expected floating-point patches \(B, N, P\) of at least two values, got {got}"
    with pytest.raises(ValueError, match=message):
        normalize_patches(patches)


@pytest.mark.parametrize(
    ("prediction", "patches", "message"),
    [
        ((6, 6, 5), (5, 8, 5), r"expected patches \(6, 8, P\) for this mask, got \(5, 8, 5\)"),
        ((6, 6, 5), (6, 9, 5), r"expected patches \(6, 8, P\) for this mask, got \(6, 9, 5\)"),
        ((6, 6, 5), (8, 5), r"expected patches \(6, 8, P\) for this mask, got \(8, 5\)"),
        ((6, 8, 5), (6, 8, 5), r"the hidden patches, \(6, 6, 5\), got \(6, 8, 5\): .*predict=\"hidden\""),
        ((6, 6, 1), (6, 8, 5), r"the hidden patches, \(6, 6, 5\), got \(6, 6, 1\)"),
        ((1, 6, 5), (6, 8, 5), r"the hidden patches, \(6, 6, 5\), got \(1, 6, 5\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(mask, prediction, patches, message):
    with pytest.raises(ValueError, match=message):
        masked_mse(torch.zeros(prediction), torch.zeros(patches), mask)


def test_integer_patches_and_unknown_targets_are_refused(mask):
    prediction = torch.zeros(6, 6, 5)
    with pytest.raises(ValueError, match=r"expected floating-point patches, got torch.int64"):
        masked_mse(prediction, torch.zeros(6, 8, 5, dtype=torch.int64), mask)
    with pytest.raises(ValueError, match='expected "hidden", "visible" or "all", got \'both\''):
        masked_mse(prediction, torch.zeros(6, 8, 5), mask, on="both")


def test_uniformity_is_the_mean_squared_cosine_of_pairs(seeded):
    x = torch.randn(5, 3, generator=seeded(0))
    pairs = [F.cosine_similarity(x[i], x[j], dim=0) ** 2 for i in range(5) for j in range(5) if i != j]
    assert uniformity(x).item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)
    assert uniformity(torch.eye(4)).item() == pytest.approx(0)
    assert uniformity(torch.eye(3).repeat(4, 1)).item() == pytest.approx((12 - 3) / (3 * 11))  # evenly spread
    assert uniformity(torch.tensor([[1.0, 2], [-3, -6], [2, 4]])).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="at least two examples, got \\(1, 3\\)"):
        uniformity(x[:1])


# Cross-entropy


@pytest.mark.parametrize("on", ["hidden", "visible", "all"])
def test_cross_entropy_is_the_mean_surprise_at_the_chosen_words(mask, seeded, on):
    ids = torch.randint(5, (6, 8), generator=seeded(4))
    index = mask.indices(on)
    logits = torch.randn(6, index.shape[1], 5, generator=seeded(5), dtype=torch.float64)
    share = logits.exp() / logits.exp().sum(dim=2, keepdim=True)
    surprise = [-share[b, k, ids[b, n]].log().item() for b in range(6) for k, n in enumerate(index[b])]
    loss = masked_cross_entropy(logits, ids, mask, on=on)
    assert loss.shape == () and loss.item() == pytest.approx(sum(surprise) / len(surprise))
    even = masked_cross_entropy(torch.zeros_like(logits), ids, mask, on=on)
    assert even.item() == pytest.approx(math.log(5))


def test_cross_entropy_wants_ids_and_logits_that_fit(mask):
    ids, logits = torch.zeros(6, 8, dtype=torch.int64), torch.zeros(6, 6, 5)
    with pytest.raises(ValueError, match=r"int64 ids \(6, 8\).*got torch.float32"):
        masked_cross_entropy(logits, ids.float(), mask)
    with pytest.raises(ValueError, match=r"int64 ids \(6, 8\).*got torch.int64 \(6, 7\)"):
        masked_cross_entropy(logits, ids[:, :7], mask)
    with pytest.raises(ValueError, match=r'logits.*hidden.*\(6, 6\).*got \(6, 8, 5\).*predict="hidden"'):
        masked_cross_entropy(torch.zeros(6, 8, 5), ids, mask)


def test_padding_has_no_cross_entropy(mask, seeded):
    ids = torch.randint(5, (6, 8), generator=seeded(6))
    logits = torch.randn(6, 6, 5, generator=seeded(7))
    padded = ids.clone()
    padded[3:] = -100
    alone = masked_cross_entropy(logits[:3], ids[:3], mask[:3])
    assert masked_cross_entropy(logits, padded, mask).item() == pytest.approx(alone.item())
