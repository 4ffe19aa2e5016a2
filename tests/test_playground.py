"""The playground computes what PyTorch computes, and shows what it computes, to every hand that operates it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_html import FAINT, Visit, browser  # noqa: F401  (a fixture)

import playground as tool
from mae.data import load_digits, random_affine
from mae.evaluate import reconstruct, reconstruction_error
from mae.losses import masked_mse
from mae.masking import Mask, grid_mask, random_mask
from mae.patches import patchify, unpatchify
from mae.weights import load_pretrained

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = tool.OUT
WEIGHTS = [SCRIPTS / f"weights-{epoch}.js" for epoch in tool.STAGES]


def masks_of_all_sizes(count, seed=0):
    """Masks that hide 1 to 48 of 49 patches, one each."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        is_hidden = torch.zeros(1, 49, dtype=torch.bool)
        is_hidden[0, torch.randperm(49, generator=generator)[: 1 + i % 48]] = True
        yield Mask.from_hidden(is_hidden)


# The scripts are what the tool makes


def test_the_scripts_are_small():
    assert SCRIPTS.joinpath(f"weights-{tool.LAST}.js").stat().st_size <= 1_500_000
    assert sum(path.stat().st_size for path in WEIGHTS) <= 6_000_000
    assert len(SCRIPTS.joinpath("mae.js").read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("size", [0, 1, 12, 13, 14, 1000])
def test_bytes_come_back_from_text(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    text = tool.to_text(data)
    assert tool.from_text(text, size) == data
    assert not set(text) & set('\0"\\\r\n')
    assert len(text) == -(-8 * size // 7)
    assert len(text.encode()) <= 1.1 * len(text) + 10


@pytest.mark.parametrize("epoch", [0, tool.LAST])
def test_weights_are_made_anew(epoch, tmp_path):
    model = load_pretrained("digits") if epoch else tool.train_stage(0, tmp_path / "none")
    tool.write_weights(model, epoch, tmp_path / "made.js", tool.FINENESS[epoch])
    made, there = (tool.read_weights(path) for path in (tmp_path / "made.js", SCRIPTS / f"weights-{epoch}.js"))
    pairs = zip(made.state_dict().values(), there.state_dict().values(), strict=True)
    same = [(a == b).float().mean().item() for a, b in pairs]
    assert min(same) > 0.98  # a sum that another processor rounds differently may tip a weight to the next step


def test_rounding_is_finer_than_a_grey_level(tmp_path):
    shipped, rounded = load_pretrained("digits"), tool.read_weights(SCRIPTS / f"weights-{tool.LAST}.js")
    patches = patchify(load_digits("test").images, 4)
    with torch.inference_mode():
        for ratio in (0.5, 0.75):
            mask = random_mask(1000, 49, ratio, generator=torch.Generator().manual_seed(0))
            difference = shipped(patches, mask) - rounded(patches, mask)
            assert difference.square().mean().sqrt() < 1.5e-4
            assert difference.abs().max() < 1 / 255


def test_feedback_makes_rounding_better():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=generator, dtype=torch.double) @ torch.randn(8, 24, generator=generator).double()
    x += 0.1 * torch.randn(x.shape, generator=generator)
    weight = torch.randn(16, 24, generator=generator)
    whole = tool.round_with_feedback(weight, 0.25, x.T @ x)
    assert torch.equal(whole, whole.round())
    error, plain = (
        (x @ (w - weight.double()).T).square().mean() for w in (whole * 0.25, (weight / 0.25).round() * 0.25)
    )
    assert error < 0.25 * plain


def test_the_first_epoch_is_the_recipe(tmp_path):
    trained, stored = tool.train_stage(1, tmp_path / "run.checkpoint"), tool.read_weights(SCRIPTS / "weights-1.js")
    patches = patchify(load_digits("test").images[:100], 4)
    mask = random_mask(100, 49, 0.7, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert (trained(patches, mask) - stored(patches, mask)).square().mean().sqrt() < 0.005


def test_a_checkpoint_that_is_past_a_stage_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "pretrain", lambda *args, **kwargs: [{}] * 10)
    with pytest.raises(ValueError, match=r"x\.checkpoint is already at epoch 10, past 1: delete it to start again"):
        tool.train_stage(1, tmp_path / "x.checkpoint")


def test_stages_are_better_one_after_the_other():
    patches = patchify(load_digits("test").images, 4)
    mask = random_mask(1000, 49, tool.RECIPE.mask_ratio, generator=torch.Generator().manual_seed(0))
    errors = [reconstruction_error(tool.read_weights(path), patches, mask) for path in WEIGHTS]
    assert errors == sorted(errors, reverse=True)


def test_stages_have_the_losses_of_the_recipe():
    images = random_affine(load_digits("train").images[:1000], generator=torch.Generator().manual_seed(1))
    mask = random_mask(1000, 49, tool.RECIPE.mask_ratio, generator=torch.Generator().manual_seed(2))
    for epoch in (10, 100, tool.LAST):
        error = reconstruction_error(tool.read_weights(SCRIPTS / f"weights-{epoch}.js"), patchify(images, 4), mask)
        assert error == pytest.approx(tool.RECORD["log"][epoch - 1]["loss"], rel=0.15)


def test_digits_are_made_anew(tmp_path):
    tool.write_digits(tmp_path / "digits.js")
    assert (tmp_path / "digits.js").read_text() == SCRIPTS.joinpath("digits.js").read_text()


# The page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """The playground's page, built alone with the book's settings."""
    root = tmp_path_factory.mktemp("playground")
    for name in ("_config.yml", "mae/model.py", "book/playground.md", "book/references.bib"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("_static", "_ext", "_extra"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/playground\n")
    command = shutil.which("jupyter-book", path=Path(sys.executable).parent)
    done = subprocess.run([command, "build", "."], cwd=root, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return root / "_build" / "html" / "book" / "playground.html"


class Played(Visit):
    """A visit to a playground that has started, with what tests ask of it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.root = self.page.locator("[data-mae-playground]")
        self.root.scroll_into_view_if_needed()
        self.page.wait_for_selector("[data-ready]", timeout=60_000)
        self.settle()

    def settle(self):
        """Wait until what was asked for is shown."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def state(self):
        """The playground's own account: hidden patches, image, epoch."""
        return self.root.evaluate(
            "e => { const p = e.playground; return { hidden: p.order.slice(0, p.count), image: [...p.image],"
            " epoch: p.epoch } }"
        )

    def mask(self):
        is_hidden = torch.zeros(1, 49, dtype=torch.bool)
        is_hidden[0, self.state()["hidden"]] = True
        return Mask.from_hidden(is_hidden)

    def patches(self):
        return patchify(torch.tensor(self.state()["image"], dtype=torch.float32).view(1, 1, 28, 28), 4)

    def says(self):
        """Visible patches, and the two errors, as the page states them."""
        text = self.root.locator(".says").first.inner_text()
        found = re.fullmatch(
            r"The model sees (\d+) of 49 patches\. Its mean squared error on the hidden ones is (\d\.\d{4}); "
            r"the mean digit's is (\d\.\d{4})\.", text,
        )  # fmt: skip
        assert found, text
        return int(found[1]), float(found[2]), float(found[3])

    def grey(self, name):
        """Pixels of a picture, 0 to 255, (28, 28, 3)."""
        data = self.root.locator(f".{name} canvas").evaluate(
            "e => [...e.getContext('2d').getImageData(0, 0, 28, 28).data]"
        )
        return torch.tensor(data).view(28, 28, 4)[:, :, :3]

    def box(self, n):
        """The middle of a patch, and its size, in pixels of the page."""
        box = self.root.locator(".patches button").nth(n).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"]

    def check(self):
        """What is shown is what Python computes from the same digit and mask."""
        self.settle()
        mask, patches = self.mask(), self.patches()
        model = tool.read_weights(SCRIPTS / f"weights-{self.state()['epoch']}.js")
        with torch.inference_mode():
            error = masked_mse(model(patches, mask), patches, mask).item()
        mean = patchify((load_digits("train").images.mean(dim=0) * 255).round()[None] / 255, 4)
        hidden = mask.hidden[:, :, None].expand(-1, -1, 16)
        expected = mask.visible.shape[1], error, masked_mse(mean.gather(1, hidden), patches, mask).item()
        assert self.says() == pytest.approx(expected, abs=1e-4)

        rebuilt = unpatchify(reconstruct(model, patches, mask).clamp(0, 1), 4, 28)[0, 0] * 255
        assert (self.grey("rebuilds")[:, :, 0] - rebuilt).abs().max() <= 1.5
        shown = mask.is_hidden.view(7, 7).repeat_interleave(4, 0).repeat_interleave(4, 1)
        assert (self.grey("sees")[shown] == torch.tensor([0x9A, 0xA3, 0xAF])).all()
        truth = unpatchify(patches, 4, 28)[0, 0] * 255
        assert (self.grey("sees")[:, :, 0] - truth)[~shown].abs().max() <= 1
        pressed = self.root.locator(".patches button").evaluate_all("all => all.map(e => e.ariaPressed === 'true')")
        assert pressed == mask.is_hidden[0].tolist()

    def done(self):
        assert self.requests == []
        assert self.complaints == []


@pytest.fixture
def played(page_file, browser):  # noqa: F811
    """The page, opened and started; it ends without a complaint or a request to anyone."""
    with Played(browser, page_file) as visit:
        yield visit
        visit.done()


FORWARD = """async ([epoch, items]) => {
  const model = await mae.unpack(maeWeights[epoch]), times = [];
  const all = items.map(([patches, visible]) => {
    const start = performance.now(), out = [...model.forward(Float32Array.from(patches), visible)];
    times.push(performance.now() - start);
    return out;
  });
  return [all, times];
}"""


def in_browser(visit, epoch, patches, masks):
    """The page's predictions of all patches, and the milliseconds each took."""
    items = [[p.flatten().tolist(), mask.visible[0].tolist()] for p, mask in zip(patches, masks, strict=True)]
    out, times = visit.page.evaluate(FORWARD, [epoch, items])
    return torch.tensor(out).view(len(patches), 49, 16), times


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_digits_are_computed_as_in_pytorch(played, seed):
    patches = patchify(load_digits("test").images[100 * seed : 100 * seed + 100], 4)
    masks = list(masks_of_all_sizes(100, seed))
    out, times = in_browser(played, tool.LAST, patches, masks)
    for model, tolerance in ((load_pretrained("digits"), 1e-3), (tool.read_weights(WEIGHTS[-1]), 2e-5)):
        with torch.inference_mode():
            expected = torch.cat([model(p[None], mask, "all") for p, mask in zip(patches, masks, strict=True)])
        assert (out - expected).abs().max() <= tolerance
    assert np.median(times) < 500  # a tenth of that on a quiet machine


@pytest.mark.parametrize("epoch", tool.STAGES[:-1])
def test_other_ages_are_computed_as_in_pytorch(played, epoch):
    played.page.add_script_tag(url=(SCRIPTS / f"weights-{epoch}.js").as_uri())
    patches, masks = patchify(load_digits("test").images[:12], 4), list(masks_of_all_sizes(12, seed=1))
    model = tool.read_weights(SCRIPTS / f"weights-{epoch}.js")
    with torch.inference_mode():
        expected = torch.cat([model(p[None], mask, "all") for p, mask in zip(patches, masks, strict=True)])
    assert (in_browser(played, epoch, patches, masks)[0] - expected).abs().max() <= 1e-4


def attention(model, name, tokens, heads):
    """Shares of attention of a layer, (heads, T, T), worked out from its questions and answers."""
    kept = []
    layer = model.get_submodule(f"{name}.attn.qkv")
    hook = layer.register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.inference_mode():
        tokens()
    hook.remove()
    q, k, _ = kept[0][0].chunk(3, dim=-1)
    q, k = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (q, k))
    return (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)


@pytest.mark.parametrize("layer", ["blocks.0", "blocks.3", "decoder_blocks.0", "decoder_blocks.1"])
def test_attention_is_what_it_is_in_pytorch(played, layer):
    page, root = played.page, played.root
    root.get_by_label("shows attention").check()
    root.get_by_label("Attention in").select_option(layer)
    mask, patches = played.mask(), played.patches()
    model = tool.read_weights(WEIGHTS[-1])
    shares = attention(model, layer, lambda: model(patches, mask, "all"), 4)  # (4, T, T)
    asks = int(mask.visible[0, 3])
    page.mouse.click(*played.box(asks)[:2])
    played.settle()
    inside = root.evaluate("(e, name) => [...e.playground.loaded[320].attention[name]]", f"{layer}.attn")
    assert (torch.tensor(inside).view_as(shares) - shares).abs().max() < 1e-4

    places = mask.visible[0].tolist() if layer.startswith("blocks") else list(range(49))
    for head, row in (("mean", shares.mean(0)), ("h2", shares[2])):
        root.get_by_label("Head").select_option(head)
        played.settle()
        row = row[1 + places.index(asks)]
        most = places[int(row[1:].argmax())]
        where = "itself" if most == asks else f"row {most // 7 + 1}, column {most % 7 + 1}"
        text = root.locator(".look .says").inner_text()
        assert text.startswith(f"The patch in row {asks // 7 + 1}, column {asks % 7 + 1} attends most to {where} (")
        assert [int(n) for n in re.findall(r"(\d+) %", text)] == pytest.approx(
            [100 * row[1:].max().item(), 100 * row[0].item()], abs=0.51
        )
    page.mouse.click(*played.box(int(mask.hidden[0, 0]))[:2])
    played.settle()
    unseen = "The encoder never sees a hidden patch" in root.locator(".look .says").inner_text()
    assert unseen == layer.startswith("blocks")
    assert set(played.state()["hidden"]) == set(mask.hidden[0].tolist())  # such clicks hide nothing


# By mouse, by keyboard, by touch


def test_it_opens_with_an_example(played):
    played.check()
    assert played.says()[0] == 12
    loaded = played.page.evaluate("Object.keys(maeWeights)")
    assert loaded == [str(tool.LAST)], "other ages wait until they are asked for"


def test_patches_are_hidden_by_mouse(played):
    before = set(played.state()["hidden"])
    visible = sorted(set(range(49)) - before)
    played.page.mouse.click(*played.box(visible[0])[:2])
    assert set(played.state()["hidden"]) == before | {visible[0]}
    played.check()
    played.page.mouse.click(*played.box(visible[0])[:2])
    assert set(played.state()["hidden"]) == before
    played.check()


def drag(visit, patches):
    """Press on the first patch, and move over the others."""
    mouse = visit.page.mouse
    mouse.move(*visit.box(patches[0])[:2])
    mouse.down()
    for n in patches[1:]:
        mouse.move(*visit.box(n)[:2], steps=5)
    mouse.up()


def test_a_drag_paints(played):
    played.root.get_by_role("slider").fill("1")
    row = [21, 22, 23, 24, 25, 26, 27]
    if 21 in played.state()["hidden"]:
        played.page.mouse.click(*played.box(21)[:2])
    drag(played, row)
    assert set(row) <= set(played.state()["hidden"])
    played.check()
    drag(played, row)
    assert not set(row) & set(played.state()["hidden"])
    played.check()


def test_a_wide_brush_paints_more_and_one_patch_always_stays(played):
    played.root.get_by_role("slider").fill("1")
    played.root.get_by_label("Brush").select_option("3")
    start = next(n for n in (0, 2) if n not in played.state()["hidden"])
    played.page.mouse.click(*played.box(start)[:2])
    block = {y * 7 + x for y in range(3) for x in range(start, start + 3)}
    assert block <= set(played.state()["hidden"])
    played.check()
    drag(played, [0, 2, 4, 6, 13, 11, 9, 7, 21, 27, 28, 34, 35, 41, 42, 48])
    assert len(played.state()["hidden"]) <= 48
    played.check()


def test_patches_are_hidden_by_keyboard(played):
    page, before = played.page, set(played.state()["hidden"])
    board = played.root.locator(".patches button")
    assert board.evaluate_all("all => all.filter(e => e.tabIndex === 0).length") == 1
    board.first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.ariaLabel").startswith("row 1, column 2, ")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Space")
    assert set(played.state()["hidden"]) == before ^ {1}
    played.check()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert set(played.state()["hidden"]) == before ^ {1, 6}
    played.check()


def test_everything_is_reached_by_keyboard(played):
    page = played.page
    played.root.locator("input").first.evaluate("e => e.focus()")
    names = set()
    for _ in range(30):
        names.add(page.evaluate("document.activeElement.getAttribute('type') ?? document.activeElement.tagName"))
        if not page.evaluate("document.activeElement.closest('[data-mae-playground]') !== null"):
            break
        page.keyboard.press("Tab")
    assert {"radio", "button", "range", "SELECT"} <= names


def test_the_slider_hides_more_and_reveals_again(played):
    slider = played.root.get_by_role("slider")
    before = played.state()["hidden"]
    slider.focus()
    played.page.keyboard.press("ArrowRight")
    assert played.state()["hidden"][:-1] == before
    played.check()
    for key, hidden in (("End", 48), ("Home", 1)):
        played.page.keyboard.press(key)
        assert len(played.state()["hidden"]) == hidden
        played.check()
    assert played.root.locator(".slider .amount").inner_text() == "1 of 49, 2 %"


def test_masks_are_drawn_in_patterns(played):
    seen = []
    for pattern in ("blocks", "grid", "random"):
        played.root.get_by_label(pattern).check()
        played.check()
        for _ in range(2):
            seen.append(frozenset(played.state()["hidden"]))
            played.root.get_by_role("button", name="New mask").click()
            played.check()
    assert seen[2] == seen[3] == set(grid_mask(1, (7, 7)).hidden[0].tolist())
    assert len(set(seen)) == 5
    assert {len(hidden) for hidden in seen[:2]} == {37}


def neighbours(hidden):
    return sum((n % 7 < 6 and n + 1 in hidden) + (n + 7 in hidden) for n in hidden)


def test_blocks_hang_together(played):
    counts = {}
    for pattern in ("random", "blocks"):
        played.root.get_by_label(pattern).check()
        played.root.get_by_role("slider").fill("20")
        counts[pattern] = 0
        for _ in range(10):
            played.root.get_by_role("button", name="New mask").click()
            counts[pattern] += neighbours(set(played.state()["hidden"]))
    assert counts["blocks"] > 1.5 * counts["random"]


def test_digits_are_chosen(played):
    chosen = tool.chosen_digits()
    radio = played.root.locator(".thumbs input")
    assert radio.count() == 13
    radio.first.focus()
    for i in (1, 2):
        played.page.keyboard.press("ArrowRight")
        image = torch.tensor(played.state()["image"]).view(1, 28, 28)
        assert (image - chosen[i]).abs().max() < 1e-6
        played.check()
    played.root.locator(".thumbs label").nth(11).click()
    assert (torch.tensor(played.state()["image"]).view(1, 28, 28) - chosen[11]).abs().max() < 1e-6
    played.check()


def test_patches_are_revealed_one_by_one(played):
    played.page.clock.install(time=0)
    played.page.clock.pause_at(1_000_000)  # from here on, only the test makes time pass
    played.root.get_by_role("button", name="Reveal one by one").click()
    played.page.clock.run_for(200)
    assert len(played.state()["hidden"]) == 47
    played.page.clock.run_for(3000)
    played.root.get_by_role("button", name="Stop").click()
    some = len(played.state()["hidden"])
    assert 20 < some < 32
    played.page.clock.run_for(1000)
    assert len(played.state()["hidden"]) == some
    points = played.root.locator(".curve circle.error").count()
    assert points == 49 - some + 1  # and one in the legend
    heights = played.root.evaluate("e => [...e.playground.curve].map(([k, r]) => [k, r.error])")
    assert {int(k) for k, _ in heights} == set(range(1, 49 - some + 1))
    played.root.get_by_role("button", name="Reveal one by one").click()
    played.page.clock.run_for(10_000)
    assert len(played.state()["hidden"]) == 1
    assert played.root.get_by_role("button", name="Reveal one by one").is_visible()


def test_ages_are_compared(played):
    played.root.get_by_label("1 epoch", exact=False).first.check()
    played.page.wait_for_function(
        "maeWeights[1] && document.querySelector('[data-mae-playground]').playground.loaded[1]"
    )
    assert played.state()["epoch"] == 1
    played.check()
    played.root.get_by_role("button", name="Compare all five").click()
    played.page.wait_for_function(
        "[...document.querySelectorAll('.stages .number')].every(e => e.textContent.trim())", timeout=60_000
    )
    mask, patches = played.mask(), played.patches()
    shown = [float(text) for text in played.root.locator(".stages .number").all_inner_texts()]
    assert shown == pytest.approx(
        [reconstruction_error(tool.read_weights(p), patches, mask) for p in WEIGHTS], abs=1e-4
    )
    assert played.root.get_by_role("button", name="Compare all five").count() == 0


def place_of_ink(image):
    """Centre of mass, and the sides of the box around the ink."""
    image = torch.tensor(image).view(28, 28)
    middle = torch.arange(28) + 0.5
    rows, columns = (image.sum(axis) for axis in (1, 0))
    box = [(ink > 0.5).nonzero() for ink in (image.amax(1), image.amax(0))]
    centre = [((ink * middle).sum() / ink.sum()).item() for ink in (rows, columns)]
    return centre, [(b.max() - b.min() + 1).item() for b in box]


def test_a_digit_is_drawn_by_mouse(played):
    mouse = played.page.mouse
    played.root.locator(".thumbs label").last.click()
    played.settle()
    assert sum(played.state()["image"]) == 0
    pad = played.root.locator(".pad canvas").bounding_box()

    def at(x, y):
        return pad["x"] + x * pad["width"], pad["y"] + y * pad["height"]

    for stroke in ([(0.1, 0.2), (0.4, 0.2)], [(0.4, 0.2), (0.25, 0.6)]):  # a small 7 in the corner
        mouse.move(*at(*stroke[0]))
        mouse.down()
        mouse.move(*at(*stroke[1]), steps=8)
        mouse.up()
    played.check()
    centre, sides = place_of_ink(played.state()["image"])
    assert centre == pytest.approx([14.5, 14.5], abs=0.1)
    assert max(sides) in (19, 20, 21)
    mouse.move(*at(0.8, 0.8))  # no button is down
    assert place_of_ink(played.state()["image"])[1] == sides
    played.root.get_by_role("button", name="Clear").click()
    assert sum(played.state()["image"]) == 0
    played.check()


def test_test_digits_lie_as_drawings_do():
    images = load_digits("test").images
    places = [place_of_ink(image.flatten().tolist()) for image in images[:200]]
    assert np.mean([centre for centre, _ in places], axis=0) == pytest.approx([14.5, 14.5], abs=0.1)
    assert np.median([max(sides) for _, sides in places]) in (19, 20)


def test_a_digit_is_drawn_by_keyboard(played):
    keys = played.page.keyboard
    played.root.locator(".thumbs input").last.focus()
    keys.press("Space")
    played.root.locator(".pad canvas").focus()
    for key in ["ArrowUp"] * 8 + ["Space"] + ["ArrowDown"] * 16 + ["Space"] + ["ArrowRight"] * 4:
        keys.press(key)
    played.check()
    centre, (height, width) = place_of_ink(played.state()["image"])
    assert centre == pytest.approx([14.5, 14.5], abs=0.1)
    assert height in (19, 20, 21) and width <= 4


class Touched:
    """A browser on a device with a touch screen."""

    def __init__(self, browser):  # noqa: F811
        self.browser = browser

    def new_context(self, **settings):
        return self.browser.new_context(has_touch=True, **settings)


def test_fingers_hide_and_draw(page_file, browser):  # noqa: F811
    with Played(Touched(browser), page_file, width=390) as visit:
        before = set(visit.state()["hidden"])
        visible = sorted(set(range(49)) - before)
        visit.page.touchscreen.tap(*visit.box(visible[0])[:2])
        assert set(visit.state()["hidden"]) == before | {visible[0]}
        visit.check()
        touch = visit.context.new_cdp_session(visit.page)
        scrolled = visit.page.evaluate("scrollY")

        def swipe(points):
            for kind, point in [("touchStart", points[0]), *(("touchMove", p) for p in points[1:]), ("touchEnd", None)]:
                where = [{"x": point[0], "y": point[1]}] if point else []
                touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

        column = [3 + 7 * row for row in range(7)]
        hide = 3 not in visit.state()["hidden"]
        swipe([visit.box(n)[:2] for n in column])
        assert {n in visit.state()["hidden"] for n in column} == {hide}
        assert visit.page.evaluate("scrollY") == scrolled  # a finger on the board paints and does not scroll
        visit.check()
        pad = visit.root.locator(".pad canvas")
        for _ in range(5):  # a busy machine may stretch a tap to a long press, which chooses nothing
            visit.root.locator(".thumbs label").last.tap()
            visit.settle()
            if pad.is_visible():
                break
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        swipe([(box["x"] + 50 + 10 * i, box["y"] + 60 + 8 * i) for i in range(8)])
        assert sum(visit.state()["image"]) > 20
        visit.check()
        visit.done()


# For every reader


def test_the_error_is_told_to_screen_readers(played):
    status = played.root.locator("[role=status]")
    played.root.get_by_role("slider").fill("20")
    played.page.wait_for_function(
        "document.querySelector('[data-mae-playground] [role=status]').textContent.includes('29')"
    )
    assert status.text_content() == played.root.locator(".says").first.inner_text()
    unnamed = played.root.evaluate(
        "e => [...e.querySelectorAll('button, input, select, canvas:not([aria-hidden])')].filter(x => !(x.ariaLabel ||"
        " x.textContent.trim() || x.closest('label')?.textContent.trim())).map(x => x.outerHTML)"
    )
    assert unnamed == []


def open_all(visit):
    """Show every part that the playground has."""
    visit.root.get_by_role("button", name="Compare all five").click()
    visit.page.wait_for_function(
        "[...document.querySelectorAll('.stages .number')].every(e => e.textContent.trim())", timeout=60_000
    )
    visit.root.locator(".thumbs label").last.click()
    visit.root.locator("label", has_text="shows attention").click()
    visit.settle()
    assert visit.root.locator(".pad").is_visible() and visit.root.locator(".look").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_readable_in_both_themes(page_file, browser, theme):  # noqa: F811
    with Played(browser, page_file, theme=theme) as visit:
        open_all(visit)
        assert visit.page.locator("html").get_attribute("data-theme") == theme
        faint = visit.page.evaluate(FAINT)
        assert not faint, "\n".join(faint)
        visit.done()


@pytest.mark.parametrize("width", [360, 390])
def test_it_fits_a_phone(page_file, browser, width):  # noqa: F811
    with Played(browser, page_file, width=width) as visit:
        open_all(visit)
        assert visit.page.evaluate("document.scrollingElement.scrollWidth") <= width
        right = visit.root.evaluate(
            "e => Math.max(...[...e.querySelectorAll('*')].map(x => x.getBoundingClientRect().right))"
        )
        assert right <= width
        assert visit.box(0)[2] >= 20
        visit.done()


def test_without_a_script_there_is_a_picture(page_file, browser):  # noqa: F811
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    picture = page.locator("[data-mae-playground] img")
    assert picture.is_visible() and "handwritten 8" in picture.get_attribute("alt")
    assert page.get_by_text("With JavaScript, this picture is a playground").is_visible()
    assert page.locator("[data-mae-playground] button").count() == 0
    context.close()


def test_a_missing_file_is_told(browser, tmp_path):  # noqa: F811
    shutil.copytree(SCRIPTS, tmp_path / "p", ignore=shutil.ignore_patterns("weights-*"))
    (tmp_path / "page.html").write_text(
        '<!doctype html><div data-mae-playground="full">still</div><script defer src="p/playground.js"></script>'
    )
    with Visit(browser, tmp_path / "page.html") as visit:
        alert = visit.page.get_by_role("alert")
        alert.wait_for()
        assert alert.inner_text() == f"The playground does not start: weights-{tool.LAST}.js could not be loaded."


def test_a_small_one_fits_into_another_page(browser, tmp_path):  # noqa: F811
    (tmp_path / "page.html").write_text(
        '<!doctype html><html data-theme="light"><body><main style="width: 600px"><p style="height: 3000px">above</p>'
        '<div data-mae-playground="small">still</div></main>'
        f'<script defer src="{SCRIPTS.as_uri()}/playground.js"></script>'
    )
    with Visit(browser, tmp_path / "page.html") as visit:
        visit.page.wait_for_timeout(300)
        assert visit.page.evaluate("document.scripts.length") == 1, "nothing is loaded before the reader comes near"
    with Played(browser, tmp_path / "page.html") as visit:
        visit.check()
        visit.page.mouse.click(*visit.box(24)[:2])
        visit.check()
        visit.root.get_by_role("button", name="New mask").click()
        visit.check()
        assert visit.root.locator(".pad, .stages, .look").count() == 0
        visit.done()


def test_the_page_names_the_ages_that_there_are():
    text = (ROOT / "book" / "playground.md").read_text(encoding="utf-8")
    assert f"after 1, 10, 100 and {tool.LAST} epochs" in text and tool.STAGES == (0, 1, 10, 100, tool.LAST)
    script = SCRIPTS.joinpath("playground.js").read_text(encoding="utf-8")
    stages = re.search(r"const STAGES = (\{.*?\});", script)[1]
    assert [int(n) for n in re.findall(r"(\d+): ", stages)] == list(tool.STAGES)
