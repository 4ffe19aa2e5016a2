"""Folders become examples; what is random in one depends on seed, epoch and index only."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mae.images import (
    Examples,
    centre_crop,
    example_generator,
    image_layout,
    open_digits,
    open_folder,
    open_image,
    open_split,
    random_crop,
    to_image,
    to_tensor,
)
from mae.masking import num_visible
from mae.model import digits_config, tiny_config, vit_config
from mae.patches import patchify


@pytest.fixture
def folder(tmp_path):
    """Eleven pictures of two classes, one of them further down, and what is no picture."""
    rng = np.random.default_rng(0)
    for name in [*(f"cat/{i}.png" for i in range(5)), *(f"dog/{i}.JPG" for i in range(5)), "dog/more/a.jpeg"]:
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
    (tmp_path / "pets" / "notes.txt").write_text("no picture")
    (tmp_path / "pets" / "cat" / "._0.png").write_bytes(b"what macOS leaves behind")
    return tmp_path / "pets"


def test_pictures_are_found_below_the_folder_in_order(folder, tmp_path):
    images = open_folder(folder)
    names = [path.relative_to(folder).as_posix() for path in images.pictures]
    assert names == [*(f"cat/{i}.png" for i in range(5)), *(f"dog/{i}.JPG" for i in range(5)), "dog/more/a.jpeg"]
    assert images.labels is None and len(images) == 11
    assert [images.open(0).mode, open_folder(folder, channels=1).open(0).mode] == ["RGB", "L"]
    moved = folder.rename(tmp_path / "elsewhere")
    assert open_folder(moved).name == images.name
    (moved / "cat" / "0.png").rename(moved / "cat" / "9.png")
    assert open_folder(moved).name != images.name


def test_folders_inside_are_the_classes(folder):
    images = open_folder(folder, labelled=True)
    assert images.classes == ("cat", "dog") and images.labels.tolist() == [0] * 5 + [1] * 6
    some = images.only(torch.tensor([0, 10]))
    assert [p.name for p in some.pictures] == ["0.png", "a.jpeg"] and some.labels.tolist() == [0, 1]


def test_links_are_followed_and_hidden_folders_are_not_classes(folder, tmp_path):
    hidden = folder / ".ipynb_checkpoints" / "a-checkpoint.png"
    hidden.parent.mkdir()
    Image.new("RGB", (4, 4)).save(hidden)
    before = open_folder(folder, labelled=True)
    assert before.classes == ("cat", "dog") and len(before) == 11
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "elsewhere" / "x.png")
    try:
        (folder / "horse").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("this system makes no links")
    for place in (folder / "dog" / "up", tmp_path / "elsewhere" / "back"):
        place.symlink_to(folder)  # leads back to where it lies
    images = open_folder(folder, labelled=True)
    assert images.classes == ("cat", "dog", "horse") and images.labels.bincount().tolist() == [5, 6, 1]
    assert images.pictures[-1] == folder / "horse" / "x.png"


def test_every_fifth_picture_of_a_class_is_held_out(folder):
    train, held_out = open_split(str(folder))
    assert held_out.labels.tolist() == [0, 1, 1] and len(train) == 8
    assert not set(train.pictures) & set(held_out.pictures)
    assert [p.name for p in open_split(str(folder))[1].pictures] == [p.name for p in held_out.pictures]
    assert [len(part) for part in open_split("digits")] == [4000, 1000]


@pytest.mark.parametrize("name", ["val", "test"])
def test_folders_train_and_val_are_taken_as_they_are(name, folder, tmp_path):
    data = tmp_path / "split"
    data.mkdir()
    folder.rename(data / "train")
    with pytest.raises(ValueError, match="got 1 folder and 0 images beside them"):
        open_split(str(data))
    for animal in ("cat", "dog"):
        (data / name / animal).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(data / name / animal / "x.png")
    train, held_out = open_split(str(data))
    assert len(train) == 11 and len(held_out) == 2 and held_out.labels.tolist() == [0, 1]
    (data / name / "dog").rename(data / name / "mouse")
    with pytest.raises(ValueError, match=f"split/train and .*{name} have different classes"):
        open_split(str(data))


def test_what_is_no_folder_of_pictures_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="there is no folder nowhere: give a folder of images, or `digits`"):
        open_folder(tmp_path.relative_to(tmp_path) / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there is no JPEG or PNG file in .*empty or below it"):
        open_folder(tmp_path / "empty")
    Image.new("L", (3, 3)).save(folder / "beside.png")
    with pytest.raises(ValueError, match="one folder of images for each class.* got 2 folders and 1 images beside"):
        open_folder(folder, labelled=True)


def test_unreadable_pictures_are_named(folder, tmp_path):
    path = folder / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"cat/0\.png is not a readable image \(.*truncated.*\): mend it"):
        open_folder(folder).open(0)
    path.write_text("words")
    with pytest.raises(ValueError, match=r"0\.png is not a readable image"):
        open_image(path, 3)
    Image.fromarray(np.full((3, 3), 40000, dtype=np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"0\.png is not a readable image \(mode I.*: convert it to 8 bits"):
        open_image(path, 1)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_image(tmp_path / "none.png", 3)


def test_a_camera_s_turn_is_undone(tmp_path):
    image = Image.new("RGB", (6, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.png", exif=exif)
    turned = open_image(tmp_path / "a.png", 1)
    assert turned.size == (4, 6) and turned.getpixel((3, 0)) == 255


def test_pixels_go_there_and_back():
    rng = np.random.default_rng(0)
    for shape, mode in (((5, 6, 3), "RGB"), ((5, 6), "L")):
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        x = to_tensor(image)
        assert x.shape == (len(image.getbands()), 5, 6) and image.mode == mode
        assert to_image(x).tobytes() == image.tobytes()
    white, black = (to_tensor(Image.new("RGB", (1, 1), color)).flatten() for color in ("white", "black"))
    assert torch.allclose(white, torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-4)  # (1 - mean) / std of ImageNet
    assert torch.allclose(black, torch.tensor([-2.1179, -2.0357, -1.8044]), atol=1e-4)
    digits = open_digits("test")
    assert torch.equal(to_tensor(digits.open(3)), digits.pictures[3])


def test_crops_have_the_published_areas_and_shapes(seeded, monkeypatch):
    image = Image.fromarray(np.arange(200 * 300, dtype=np.uint32).reshape(200, 300).astype(np.uint8))
    boxes = []
    resize = Image.Image.resize
    record = lambda self, size, method, box: (boxes.append(box), resize(self, size, method, box))[1]  # noqa: E731
    monkeypatch.setattr(Image.Image, "resize", record)
    generator = seeded(0)
    flips = sum(
        random_crop(image, (8, 6), generator=generator).tobytes() == resize(image, (6, 8), 3, boxes[-1]).tobytes()
        for _ in range(500)
    )
    assert 200 < flips < 300
    left, top, right, bottom = np.array(boxes).T
    width, height = right - left, bottom - top
    assert (left >= 0).all() and (top >= 0).all() and (right <= 300 + 1e-9).all() and (bottom <= 200 + 1e-9).all()
    area, aspect = width * height / 60000, width / height
    fits = (width < 300) & (height < 200)  # not cut by the border
    assert 0.19 < area[fits].min() < 0.22 and area.max() <= 1
    assert 0.75 <= aspect[fits].min() < 0.77 and 1.30 < aspect[fits].max() <= 1.3334
    assert abs(np.log(aspect[area < 0.4]).mean()) < 0.05
    assert random_crop(image, (8, 6), generator=generator).size == (6, 8)


def test_the_centre_is_the_largest_box_of_the_shape():
    image = Image.new("L", (30, 10), 0)
    image.paste(255, (8, 0, 22, 10))  # and what the edges are smoothed with
    assert centre_crop(image, (5, 5)).tobytes() == b"\xff" * 25


@pytest.mark.parametrize("augment", ["crop", "affine", "none"])
def test_an_example_depends_on_seed_epoch_and_index_only(augment, folder):
    images = open_folder(folder)
    examples = Examples(images, 4, (8, 8), augment, mask_ratio=0.5, seed=1)
    torch.manual_seed(0)
    first = examples[2, 3, 0.5]
    torch.manual_seed(1)
    examples[0, 0, 1.0]
    assert all(torch.equal(a, b) for a, b in zip(first[:3], examples[2, 3, 0.5][:3], strict=True)) and first[3] == 0.5
    patches, visible, hidden, _ = first
    assert patches.shape == (4, 48) and len(visible) == num_visible(4, 0.5)
    assert sorted(torch.cat([visible, hidden]).tolist()) == [0, 1, 2, 3]
    if augment == "none":
        assert torch.equal(patches, patchify(to_tensor(centre_crop(images.open(3), (8, 8)))[None], 4)[0])
    else:
        assert not torch.equal(patches, examples[1, 3, 0.5][0])
        assert not torch.equal(patches, Examples(images, 4, (8, 8), augment, mask_ratio=0.5, seed=2)[2, 3, 0.5][0])
    masks = {tuple(examples[epoch, 3, 1.0][2].tolist()) for epoch in range(30)}
    assert len(masks) == 6  # all pairs out of four turn up


def test_labelled_examples_have_label_and_noise(folder):
    examples = Examples(open_folder(folder, labelled=True), 4, (8, 8), noise=3)
    patches, label, noise, weight = examples[0, 10, 0.25]
    assert patches.shape == (4, 48) and label == 1 and noise.shape == (3,) and weight == 0.25
    assert not torch.equal(noise, examples[1, 10, 0.25][2])


def test_generators_of_different_numbers_differ():
    draws = [
        torch.rand(1, generator=example_generator(*n)).item() for n in [(1,), (1, 0), (1, 0, 0), (0, 1), (0, 0, 1)]
    ]
    assert len(set(draws)) == 5


def test_layouts_follow_from_the_sizes():
    assert image_layout(digits_config()) == (4, 1, (28, 28))
    assert image_layout(vit_config("huge")) == (14, 3, (224, 224))
    assert image_layout(tiny_config()) == (2, 1, (4, 4))
    with pytest.raises(ValueError, match="expected a model of square grey or RGB patches, got one of 50 values"):
        image_layout(replace(tiny_config(), patch_values=50))
