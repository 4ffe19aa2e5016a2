"""Chapter 4b writes the model anew, to teach it: its own definitions must give what the package gives."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

import mae
from mae.masking import take
from mae.train import TrainConfig, learning_rate, pretrain

NOTEBOOK = Path(__file__).parents[1] / "book" / "04b_real_mae.ipynb"
SIZES = {"D": 16, "depth": 2, "heads": 2, "decoder_D": 8, "decoder_depth": 1, "decoder_heads": 2}


def definitions() -> str:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if "definition" in cell.metadata.get("tags", []))


@pytest.fixture(scope="module")
def chapter():
    names = {}
    exec(compile(definitions(), str(NOTEBOOK), "exec"), names)
    return SimpleNamespace(**names)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def models(chapter):
    """The chapter's model and the package's, each made with the same seed, on a 3×5 grid of 2×2 RGB patches."""
    own = chapter.MaskedAutoencoder(rows=3, columns=5, P=12, **SIZES, generator=generator())
    config = mae.MAEConfig(
        grid=(3, 5), patch_values=12, width=16, depth=2, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2
    )
    return own, mae.MaskedAutoencoder(config, generator=generator())


@pytest.fixture
def patches():
    return torch.rand(4, 15, 12, generator=generator(1))


def test_the_chapter_is_at_most_150_lines():
    lines = [line for line in definitions().splitlines() if line.strip()]
    assert 80 < len(lines) <= 150


def test_patches_are_the_same(chapter):
    images = torch.rand(2, 3, 6, 10, generator=generator())
    assert torch.equal(chapter.patchify(images, 2), mae.patchify(images, 2))
    assert torch.equal(chapter.unpatchify(chapter.patchify(images, 2), 2, 6, 10), images)


@pytest.mark.parametrize("ratio", [0.1, 0.6, 0.75, 0.9])
def test_masks_are_the_same(chapter, ratio):
    visible, hidden = chapter.random_mask(5, 40, ratio, generator(3))
    mask = mae.random_mask(5, 40, ratio, generator=generator(3))
    assert torch.equal(visible, mask.visible) and torch.equal(hidden, mask.hidden)


def test_positions_are_the_same(chapter):
    assert torch.equal(chapter.sincos_positions(3, 5, 16), mae.model.sincos_positions((3, 5), 16))


def test_weights_begin_the_same(models):
    own, packaged = models
    own = {name.split(".", 1)[1]: tensor for name, tensor in own.state_dict().items()}
    packaged = packaged.state_dict()
    assert own.keys() == packaged.keys()
    assert all(torch.equal(own[name], packaged[name]) for name in own)


def test_predictions_loss_and_gradients_are_the_same(chapter, models, patches):
    own, packaged = models
    mask = mae.random_mask(4, 15, 0.6, generator=generator(2))
    predictions = own(patches, mask.visible, mask.hidden), packaged(patches, mask)
    torch.testing.assert_close(*predictions, rtol=1e-5, atol=1e-6)
    losses = (
        chapter.reconstruction_loss(predictions[0], patches, mask.hidden),
        mae.masked_mse(predictions[1], patches, mask),
    )
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    for loss in losses:
        loss.backward()
    gradients = {name: p.grad for name, p in packaged.named_parameters()}
    for name, p in own.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name.split(".", 1)[1]], rtol=1e-4, atol=1e-6)


def test_features_of_whole_images_are_the_same(models, patches):
    own, packaged = models
    torch.testing.assert_close(own.encoder(patches), packaged.encode(patches), rtol=1e-5, atol=1e-6)


def test_take_is_the_same(chapter, patches):
    index = torch.randint(15, (4, 6), generator=generator())
    assert torch.equal(chapter.take(patches, index), take(patches, index))


def test_training_is_the_same(chapter, models):
    """Three epochs, by the chapter's loop and by the package's: the same losses and the same weights."""
    own, packaged = models
    images = torch.rand(20, 3, 6, 10, generator=generator(4))
    config = TrainConfig(epochs=3, batch_size=8, patch_size=2, mask_ratio=0.6)
    log = pretrain(packaged, images, config)

    groups = chapter.parameter_groups(own, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, betas=config.betas, fused=True)
    run = generator(config.seed)
    settings = {"batch_size": 8, "peak": config.learning_rate, "ratio": 0.6}
    losses = [
        chapter.train_epoch(own, optimizer, mae.patchify(images, 2), epoch, 3, run, **settings) for epoch in range(3)
    ]
    assert losses == pytest.approx([row["loss"] for row in log], rel=1e-5)
    ours = dict(packaged.named_parameters())
    for name, p in own.named_parameters():
        # The keys' biases have no gradient but rounding, which AdamW makes into steps: hence the tolerance.
        torch.testing.assert_close(p, ours[name.split(".", 1)[1]], rtol=1e-3, atol=1e-3)


def test_the_schedule_is_the_same(chapter):
    config = TrainConfig(epochs=1, warmup=0.05)
    for step in range(100):
        ours = learning_rate(step, 100, config)
        assert chapter.learning_rate(step, 100, peak=config.learning_rate) == pytest.approx(ours)


def test_the_chapter_does_not_import_the_package_in_its_definitions():
    assert "mae" not in {
        line.split()[1].split(".")[0] for line in definitions().splitlines() if line.startswith(("import", "from"))
    }
