"""Explorers: pure functions of their settings; in a page and in Jupyter, they show what Python computes."""

import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from test_html import Visit, browser  # noqa: F401 (a fixture)

from mae import Mask, load_digits, load_pretrained, patchify, random_mask
from mae.evaluate import reconstruct, reconstruction_error
from mae.explore import BLENDS, DIGITS, DRAWS, EXPLORERS, RATIOS, SHARES, SIZES, WIDTHS, attention_maps, spread_mask
from mae.interactive import MARK, PALETTES, SPECIAL, Explorer, Frame, Setting, image, pixels
from mae.replays import FAULT_SWEEP, LOSSES, STOPS, from_hex, shown_digits, stored_faults, stored_paths
from notebook_form import faults
from refresh import normalize

BOOK = Path(__file__).resolve().parent.parent / "book"
MAX_BYTES = 300_000
names = pytest.mark.parametrize("name", EXPLORERS)


@pytest.fixture(scope="module")
def made():
    """Explorers by name, each made once."""
    known = {}
    return lambda name: known.setdefault(name, known.get(name) or EXPLORERS[name]())


def named(explorer, choice):
    return dict(zip(explorer.settings, choice, strict=True))


def decoded(html):
    """The colours of the pictures in a piece of HTML, (H, W, 3) each."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def colours(levels, palette="grey"):
    return np.array(PALETTES[palette]).reshape(-1, 3)[levels]


def stored_frames(html):
    """Options, and for each frame its parts, as the script in a page puts them together."""
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html)[1])
    parts = [[p["head"] + p["middle"].split("\n")[k + 1] + p["tail"] for k in p["of"]] for p in data["parts"]]
    return data["options"], list(zip(*parts, strict=True))


# The engine.


def counter(rows=False):
    """A small explorer that counts how often it is drawn."""

    def render(a: int, b: int, c: int) -> Frame:
        drawn.append((a, b, c))
        return Frame({"sum": f"<b>{a + b}</b>", "c": f"<i>{'xy'[c]}</i>", "still": "<u>same</u>"}, f"{a}, {b} & {c}")

    drawn = []
    settings = {
        "a": Setting("Number", ("0", "1", "2"), start=1),
        "b": Setting("Choice <b>", ("none", "one"), "menu"),
        "c": Setting("Switch", ("off", "on"), "switch", 1),
    }
    return Explorer("counter", "Count", settings, render, rows=rows), drawn


def test_frames_are_drawn_once():
    explorer, drawn = counter()
    assert explorer.frame() is explorer.frame(a=1, b=0, c=1)
    assert explorer.frame(a=2).panels["sum"] == "<b>2</b>"
    assert drawn == [(1, 0, 1), (2, 0, 1)]
    explorer.html(), explorer.html(), explorer.widget()
    assert sorted(drawn) == explorer.choices() and len(drawn) == 12


def test_html_holds_every_frame_in_the_order_of_the_choices():
    explorer, _ = counter()
    options, frames = stored_frames(explorer.html())
    assert options == [["0", "1", "2"], ["none", "one"], ["off", "on"]]
    for choice, parts in zip(explorer.choices(), frames, strict=True):
        frame = explorer.frame(**named(explorer, choice))
        assert parts == (*frame.panels.values(), frame.text)
    assert "Choice &lt;b&gt;" in explorer.html() and "Choice <b>" not in explorer.html()


def test_same_parts_are_stored_once():
    explorer, _ = counter()
    data = json.loads(re.search(r"json\">(.*?)</script>", explorer.html())[1])
    assert [part["middle"].count("\n") for part in data["parts"]] == [4, 2, 1, 12]
    assert data["parts"][0]["head"] == "<b>" and data["parts"][0]["tail"] == "</b>"


def test_nothing_in_the_data_looks_like_an_address_or_ends_the_script():
    tail = Explorer("t", "T", {"a": Setting("A", ("0", "1"))}, lambda a: Frame({"p": f"{a}//x</script>"}, "//"))
    data = re.search(r'<script type="application/json">(.*?)</script>', tail.html())[1]
    assert not re.search(r"[\"']//", data) and "<" not in data
    assert stored_frames(tail.html())[1] == [("0//x</script>", "//"), ("1//x</script>", "//")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Setting("A", ("0", "1"), "knob"), "slider"),
        (lambda: Setting("A", ("0", "1", "2"), "switch"), "two options"),
        (lambda: Setting("A", ("0", "1"), start=2), "from 0 to 1, got 2"),
        (lambda: counter()[0].frame(d=1), "among a, b, c, got d"),
        (lambda: Explorer("n", "N", {}, lambda: Frame({"p": "a\nb"}, "")), "without line breaks"),
    ],
)
def test_errors_say_what_is_wrong(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


def test_widget_touches_only_what_changes():
    explorer, drawn = counter(rows=True)
    view = explorer.widget()
    _, controls, panels, says = view.children
    assert [type(c).__name__ for c in controls.children] == ["SelectionSlider", "Dropdown", "Checkbox"]
    assert [c.value for c in controls.children] == [1, 0, True]
    touched = []
    for panel in panels.children:
        panel.observe(lambda change: touched.append(change["new"]), "value")
    for choice in explorer.choices():
        for control, at in zip(controls.children, choice, strict=True):
            control.value = at
        frame = explorer.frame(**named(explorer, choice))
        for panel, (name, part) in zip(panels.children, frame.panels.items(), strict=True):
            assert panel.value == f'<div class="panel"><div>{part}</div><div class="name">{name}</div></div>'
        assert f">{frame.text}</p>" in says.value
    assert len(drawn) == 12 and not any("same" in value for value in touched)


def test_display_has_both_versions_and_nothing_but_html_is_stored():
    explorer, _ = counter()
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == "<Explorer 'counter': 3 a × 2 b × 2 c = 12 pictures>"
    output = nbformat.v4.new_output("execute_result", data=bundle)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    normalize(notebook)
    assert set(notebook.cells[0].outputs[0].data) == {"text/plain", "text/html"}


def test_pictures_come_back_pixel_by_pixel(seeded):
    values = torch.rand(5, 7, generator=seeded()).numpy() * 1.4 - 0.2
    special = np.eye(5, 7, dtype=bool)
    levels = pixels(values, special)
    assert levels.max() == SPECIAL and (levels == SPECIAL).sum() == 5
    for palette in PALETTES:
        (found,) = decoded(image(levels, "Five & more", palette))
        assert (found == colours(levels, palette)).all()
    assert 'alt="Five &amp; more"' in image(levels, "Five & more")
    assert (pixels(np.array([[-1, 0, 0.5, 1, 2]])) == [[0, 0, 7, 14, 14]]).all()


# The book's explorers.


@names
def test_explorers_are_pure_and_complete(name, made):
    explorer = made(name)
    assert explorer.name == name
    for choice in explorer.choices():
        frame, again = explorer.frame(**named(explorer, choice)), explorer.render(**named(explorer, choice))
        assert frame == again
        assert tuple(frame.panels) == explorer.panels
        assert len(frame.text.split()) > 5 and "nan" not in frame.text
        assert "alt=" in "".join(frame.panels.values()) or "<img" not in "".join(frame.panels.values())
    assert len(explorer.html().encode()) <= MAX_BYTES


@names
def test_every_setting_matters(name, made):
    explorer = made(name)
    for setting, at in explorer.settings.items():
        seen = {str(explorer.frame(**{setting: k})) for k in range(len(at.options))}
        assert len(seen) == len(at.options), f"{setting}: {len(seen)} different frames"


@names
def test_pictures_are_as_the_widget_and_the_page_have_them(name, made):
    explorer = made(name)
    _, frames = stored_frames(explorer.html())
    for choice, parts in zip(explorer.choices(), frames, strict=True):
        frame = explorer.frame(**named(explorer, choice))
        assert parts == (*frame.panels.values(), frame.text)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("digit", range(len(DIGITS)))
def test_masks_show_what_the_model_does(ratio, digit, made):
    frame = made("masks").frame(ratio=RATIOS.index(ratio), pattern=0, digit=digit)
    patches = patchify(load_digits("test").images[:100], 4)
    mask = random_mask(100, 49, ratio, generator=torch.Generator().manual_seed(1))
    model = load_pretrained("digits")
    raw = reconstruct(model, patches, mask, paste=False)
    pasted = reconstruct(model, patches, mask)
    i = DIGITS[digit]

    def shown(p, hide=None):
        # By hand: patch n lies in row n // 7 and column n % 7.
        picture, hidden = np.zeros((28, 28)), np.zeros((28, 28), bool)
        for n in range(49):
            y, x = 4 * (n // 7), 4 * (n % 7)
            picture[y : y + 4, x : x + 4] = p[i, n].view(4, 4)
            hidden[y : y + 4, x : x + 4] = hide is not None and bool(hide[i, n])
        return pixels(picture, hidden)

    expected = {
        "seen by the encoder": colours(shown(patches, mask.is_hidden)),
        "predicted": colours(shown(raw, ~mask.is_hidden)),
        "pasted together": colours(shown(pasted)),
        "error": colours(shown((pasted - patches).abs()), "heat"),
        "truth": colours(shown(patches)),
    }
    for name, picture in expected.items():
        (found,) = decoded(frame.panels[name])
        # A value on the border between two levels may fall on either side.
        assert abs(found.astype(int) - picture).max() <= 20, name
        assert (found != picture).any(axis=2).mean() < 0.01, name
    said = [float(n) for n in re.findall(r"\d+\.\d+(?!\d)", frame.text)]
    one = reconstruction_error(model, patches[i : i + 1], mask[i : i + 1])
    assert said[:2] == pytest.approx([one, reconstruction_error(model, patches, mask)], abs=6e-4)
    assert f"{mask.visible.shape[1]} of 49" in frame.text


@pytest.mark.parametrize("ratio", RATIOS)
def test_spread_patches_are_far_apart(ratio):
    mask = spread_mask(2, (7, 7), ratio)
    assert mask.visible.shape == random_mask(2, 49, ratio, generator=torch.Generator()).visible.shape
    assert (mask.visible[0] == mask.visible[1]).all()

    def nearest(mask):
        place = torch.stack([mask.visible[0] // 7, mask.visible[0] % 7], dim=1).float()
        return (torch.cdist(place, place) + 99 * torch.eye(len(place))).min(dim=1).values.mean()

    by_chance = [nearest(random_mask(1, 49, ratio, generator=torch.Generator().manual_seed(s))) for s in range(20)]
    assert nearest(mask) >= np.mean(by_chance) * (1.15 if ratio >= 0.5 else 0.99)


@pytest.mark.parametrize("draw", range(len(DRAWS)))
def test_shuffling_ends_where_it_began(draw, made):
    numbers, keep = list(DRAWS.values())[draw]
    steps = [made("shuffling").frame(step=k, draw=draw) for k in range(6)]

    def letters(panel):
        return re.findall(r"line-height:[\d.]+em\">(\w)<", panel)

    rows = [letters(part) for part in steps[-1].panels.values()]
    N = len(numbers)
    in_order = sorted(range(N), key=lambda i: numbers[i])
    assert rows[0] == list("ABCDEFGH"[:N])
    assert rows[1] == rows[2] == ["ABCDEFGH"[i] for i in in_order]
    assert rows[3] == [letter.lower() for letter in rows[1][:keep]]
    assert rows[4] == rows[3] + ["m"] * (N - keep)
    visible = sorted(in_order[:keep])
    mask = Mask(torch.tensor([in_order[:keep]]), torch.tensor([in_order[keep:]]))
    assert rows[5] == ["abcdefgh"[i] if i in visible else "m" for i in range(N)]
    assert str(mask.restore[0].tolist()) in steps[-1].text
    for k, frame in enumerate(steps):  # later rows are still empty
        assert [bool(letters(part)) for part in frame.panels.values()] == [j <= k for j in range(6)]


@pytest.mark.parametrize("size", range(4))
def test_patch_sizes_copy_the_nearest_pixel(size, made):
    p, explorer = SIZES[size], made("patch_sizes")
    truth = load_digits("test").images[:100, 0].numpy()
    mean = load_digits("train").images.mean(dim=(0, 1)).numpy()
    for k, ratio in enumerate(SHARES):
        mask = random_mask(100, (28 // p) ** 2, ratio, generator=torch.Generator().manual_seed(2))
        hidden = np.kron(mask.is_hidden.view(100, 28 // p, 28 // p).numpy(), np.ones((p, p))).astype(bool)
        frame = explorer.frame(size=size, ratio=k)
        i = DIGITS[0]
        assert (decoded(frame.panels["hidden"])[0] == colours(pixels(truth[i], hidden[i]))).all()
        (copied,) = decoded(frame.panels["nearest pixel copied"])
        seen = np.argwhere(~hidden[i])
        for y, x in np.argwhere(hidden[i])[::17]:  # every nearest visible pixel will do
            distance = ((seen - [y, x]) ** 2).sum(axis=1)
            near = pixels(truth[i][tuple(seen[distance == distance.min()].T)][None])
            assert (colours(near)[0] == copied[y, x]).all(axis=1).any()
        error, baseline = (float(n) for n in re.findall(r"\d\.\d+", frame.text))
        assert baseline == pytest.approx(((mean - truth) ** 2)[hidden].mean(), abs=6e-4)
        assert ("better" in frame.text) == (error < baseline) or error == baseline
    errors = [float(re.search(r"\d\.\d+", explorer.frame(size=k, ratio=2).text)[0]) for k in range(4)]
    assert errors == sorted(errors)  # larger patches are harder to copy into


@pytest.mark.parametrize("width", range(3))
def test_similarity_of_positions_is_a_sum_of_cosines(width, made):
    n = WIDTHS[width] // 4
    frequency = 10000.0 ** (-np.arange(n) / n)
    grid = np.arange(7)
    wave = np.cos(np.subtract.outer(grid, grid)[:, :, None] * frequency).mean(axis=2)  # (7, 7), by distance
    expected = (wave[:, None, :, None] + wave[None, :, None, :]) / 2
    for row, column in ((0, 0), (3, 3), (6, 2)):
        frame = made("positions").frame(row=row, column=column, width=width)
        levels = pixels(
            (expected[row, column] - expected.min()) / (1 - expected.min()), np.eye(49)[7 * row + column].reshape(7, 7)
        )
        found = decoded(frame.panels["similarity"])[0].astype(int)
        assert abs(found - colours(levels, "heat")).max() <= 20
        beside = expected[row, column, row, column + 1]
        assert f"row: {beside:.2f}" in frame.text and f"lightest {expected.min():.2f}" in frame.text


def test_attention_maps_are_what_the_blocks_use(seeded):
    model = load_pretrained("digits")
    patches = torch.rand(2, 49, 16, generator=seeded())
    maps = attention_maps(model, patches)
    x = torch.cat([model.cls_token.expand(2, -1, -1), model.embed(patches)], dim=1)
    for block, weights in zip(model.blocks, maps, strict=True):
        assert weights.shape == (2, 4, 50, 50) and torch.allclose(weights.sum(dim=3), torch.ones(2, 4, 50), atol=1e-5)
        y = block.norm1(x)
        v = block.attn.qkv(y)[..., 256:].unflatten(-1, (4, 32)).transpose(1, 2)
        by_hand = block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
        assert torch.allclose(by_hand, block.attn(y), atol=1e-4)
        x = block(x)


@pytest.mark.parametrize("choice", [(0, 3, 3, 0), (3, 0, 6, 1), (2, 6, 1, 0)])
def test_attention_shows_the_asking_patch(choice, made):
    layer, row, column, digit = choice
    frame = made("attention").frame(layer=layer, row=row, column=column, digit=digit)
    patches = patchify(load_digits("test").images[[DIGITS[digit]]], 4)
    share = attention_maps(load_pretrained("digits"), patches)[layer][0, :, 1 + 7 * row + column, 1:].view(4, 7, 7)
    for head in range(4):
        (found,) = decoded(frame.panels[f"head {head + 1}"])
        expected = colours(pixels((share[head] / share[head].max()).numpy()), "heat")
        assert abs(found.astype(int) - expected).max() <= 20
    (digit,) = decoded(frame.panels["patch that asks"])
    framed = np.argwhere((digit == MARK).all(axis=2))
    assert framed.min(axis=0).tolist() == [4 * row, 4 * column] and framed.max(axis=0).tolist() == [
        4 * row + 3,
        4 * column + 3,
    ]
    rows, columns = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
    near = (100 * share[:, rows, columns].sum(dim=(1, 2))).tolist()
    said = [int(n) for n in re.search(r"heads 1 to 4, ([\d, ]+) %", frame.text)[1].split(",")]
    assert said == pytest.approx(near, abs=0.51)


@pytest.mark.parametrize("share", [0, 5, 10])
def test_the_linear_guess_is_the_best_one(share, made):
    """Against a regression on the blended training digits, which has to find the same rule from 4,000 examples."""
    from sklearn.linear_model import LinearRegression

    data = [patchify(load_digits(split).images, 4).flatten(1) for split in ("train", "test")]
    generator = torch.Generator().manual_seed(0)
    grain = data[0].mean() + data[0].std() * torch.randn(300, 784, generator=generator)
    hide = random_mask(1, 49, 0.75, generator=generator).is_hidden[0].repeat_interleave(16)
    test = share / 10 * data[1][:300] + (1 - share / 10) * grain
    noise = data[0].mean() + data[0].std() * torch.randn(4000, 784, generator=generator)
    train = share / 10 * data[0] + (1 - share / 10) * noise
    rule = LinearRegression().fit(train[:, ~hide].numpy(), train[:, hide].numpy())
    by_regression = ((rule.predict(test[:, ~hide].numpy()) - test[:, hide].numpy()) ** 2).mean()
    by_mean = ((train.mean(dim=0) - test)[:, hide] ** 2).mean().item()
    linear, ours = (float(n) for n in re.findall(r"\d\.\d\d", made("noise").frame(share=share).text))
    assert linear - 0.02 < by_regression / by_mean < linear + 0.08
    assert (linear > 0.98) == (share == 0) and (ours > 1) == (share < 10)


def test_noise_gives_way_gradually(made):
    said = [float(re.search(r"\d\.\d\d", made("noise").frame(share=k).text)[0]) for k in range(len(BLENDS))]
    assert all(a >= b for a, b in pairwise(said)) and said[-1] < 0.75


def test_faults_show_the_stored_trainings(made):
    rows = stored_faults()
    test, visible = shown_digits()
    for choice in made("faults").choices():
        switches = dict(zip(("relu", "code", "masks", "noise"), choice, strict=True))
        found = [row for setting, row in zip(FAULT_SWEEP, rows, strict=True)
                 if all(getattr(setting, name) == bool(on) for name, on in switches.items())]  # fmt: skip
        assert len(found) == 3
        frame = made("faults").frame(**switches)
        shares = sorted(row["share"] for row in found)
        assert f"is {shares[0]:.2f} to {shares[2]:.2f} times" in frame.text
        assert frame.values["share"] == pytest.approx(np.mean(shares))
        assert frame.values["loss"] == pytest.approx(np.mean([row["loss"] for row in found]))
        for name, on in {"the end": choice[0], "the code": choice[1], "target": choice[2], "vector": choice[3]}.items():
            assert (name in frame.text.split(": the")[0]) == bool(on)
        for k, part in enumerate(frame.panels.values()):
            seen, output = decoded(part)
            expected = colours(pixels(test[k].view(28, 28).numpy(), (visible[k] == 0).view(28, 28).numpy()))
            assert (seen == expected).all()
            stored = next(row for row in found if "pictures" in row)["pictures"][k]
            assert (output == colours(pixels(from_hex(stored).view(28, 28).numpy()))).all()


def test_losses_replay_the_stored_paths(made):
    found = stored_paths()
    for epoch, on in ((0, 0), (4, 1), (STOPS - 1, 2)):
        name = LOSSES[on]
        frame = made("losses").frame(epoch=epoch, on=on)
        for loss, path in found["paths"].items():
            assert f"{path['losses'][epoch][name]:.4f} (trained on {loss})" in frame.text
            assert frame.values[loss] == path["losses"][epoch][name]
            (picture,) = decoded(frame.panels[f"loss on {loss}"])
            expected = pixels(from_hex(path["pictures"][epoch]).view(28, 28).numpy())
            assert (picture == colours(expected)).all()
        drawn = frame.panels["map of the chosen loss: light is low"]
        assert drawn.count("<circle") == 3
        assert [len(p.split()) for p in re.findall(r'stroke="#fff".*?/>|points="([^"]+)" fill', drawn) if p] == [
            epoch + 1
        ] * 6
        data = re.search(r'href="data:image/png;base64,([^"]+)"', drawn)[1]
        ground = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")).astype(int)
        values = np.array(found["map"][name])[::-1]  # the axis points up, rows of pixels go down
        assert ground.shape == values.shape
        assert ground[values == values.min()].min() == 255 and ground[values == values.max()].max() == 0
        order = np.argsort(values.flatten())
        assert (np.diff(ground.flatten()[order]) <= 0).all()


# In a browser, without a network.


def page_of(explorers, path):
    body = "".join(explorer.html() for explorer in explorers)
    path.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><main>{body}</main></html>')
    return path


def operate(page, root, explorer, choice):
    """Set the controls as a reader does who has only a keyboard."""
    for control, setting, at in zip(
        root.locator("[data-setting]").all(), explorer.settings.values(), choice, strict=True
    ):
        if setting.kind == "switch":
            if control.is_checked() != bool(at):
                control.focus()
                page.keyboard.press("Space")
        elif setting.kind == "menu":
            control.select_option(index=at)
        else:
            now = int(control.input_value())
            control.focus()
            for _ in range(abs(at - now)):
                page.keyboard.press("ArrowRight" if at > now else "ArrowLeft")


SHOWN = "root => [...root.querySelectorAll('[data-part]')].map(part => part.innerHTML)"
AS_PARSED = "parts => parts.map(p => { const d = document.createElement('div'); d.innerHTML = p; return d.innerHTML; })"
COLOURS = """root => [...root.querySelectorAll('img')].map(img => {
  const canvas = document.createElement('canvas');
  canvas.width = img.naturalWidth; canvas.height = img.naturalHeight;
  const context = canvas.getContext('2d');
  context.drawImage(img, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 < 3);
})"""


@names
def test_a_page_shows_what_python_computes(name, made, browser, tmp_path):  # noqa: F811
    explorer = made(name)
    choices = explorer.choices()
    some = choices[:: max(1, len(choices) // 60)]
    with Visit(browser, page_of([explorer], tmp_path / "page.html")) as visit:
        root = visit.page.locator(".mae-explorer")
        assert root.locator(".controls").is_visible()
        for choice in [tuple(s.start for s in explorer.settings.values()), *some, choices[-1]]:
            operate(visit.page, root, explorer, choice)
            frame = explorer.frame(**named(explorer, choice))
            expected = visit.page.evaluate(AS_PARSED, [*frame.panels.values(), frame.text])
            assert root.evaluate(SHOWN) == expected
        visit.page.wait_for_function("[...document.images].every(img => img.complete)")
        for found, picture in zip(root.evaluate(COLOURS), decoded("".join(frame.panels.values())), strict=True):
            assert found == picture.flatten().tolist()
        for control, setting in zip(root.locator("label").all(), explorer.settings.values(), strict=True):
            assert setting.label in control.inner_text()  # each control stands in its label
        assert visit.requests == []
        assert visit.complaints == []


@names
def test_a_page_switches_at_once(name, made, browser, tmp_path):  # noqa: F811
    measure = """() => {
      const control = document.querySelector('[data-setting]'), times = [];
      for (let i = 0; i < 20; i++) {
        if (control.type === 'checkbox') control.checked = i % 2;
        else control.value = i % 2 ? (control.max || control.length - 1) : 0;
        const start = performance.now();
        control.dispatchEvent(new Event('input', {bubbles: true}));
        document.body.getBoundingClientRect();
        times.push(performance.now() - start);
      }
      return times.sort((a, b) => a - b)[10];
    }"""
    with Visit(browser, page_of([made(name)], tmp_path / "page.html")) as visit:
        assert visit.page.evaluate(measure) < 100


def test_a_slider_can_be_dragged(made, browser, tmp_path):  # noqa: F811
    explorer = made("masks")
    with Visit(browser, page_of([explorer], tmp_path / "page.html")) as visit:
        slider = visit.page.locator("input[type=range]").first
        box = slider.bounding_box()
        visit.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        visit.page.mouse.down()
        visit.page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=5)
        visit.page.mouse.up()
        assert slider.get_attribute("aria-valuetext") == "90%"
        assert visit.page.locator(".says").inner_text() == explorer.frame(ratio=len(RATIOS) - 1).text


def test_explorers_on_one_page_do_not_disturb_each_other(made, browser, tmp_path):  # noqa: F811
    first, other = made("shuffling"), made("masks")
    with Visit(browser, page_of([first, other, first], tmp_path / "page.html")) as visit:
        roots = visit.page.locator(".mae-explorer")
        operate(visit.page, roots.nth(2), first, (3, 1))
        operate(visit.page, roots.nth(1), other, (1, 1, 1))
        said = [roots.nth(i).locator(".says").inner_text() for i in range(3)]
        assert said == [
            first.frame().text,
            other.frame(ratio=1, pattern=1, digit=1).text,
            first.frame(step=3, draw=1).text,
        ]


@names
def test_without_a_script_the_first_picture_stays(name, made, browser, tmp_path):  # noqa: F811
    explorer = made(name)
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(page_of([explorer], tmp_path / "page.html").as_uri())
    assert page.locator(".says").inner_text() == explorer.frame().text
    assert page.locator("noscript").is_visible() and "JavaScript" in page.locator("noscript").inner_text()
    assert not page.locator(".controls").is_visible()
    assert page.locator("img").count() == len(decoded("".join(explorer.frame().panels.values())))
    context.close()


@names
def test_a_telephone_has_room(name, made, browser, tmp_path):  # noqa: F811
    with Visit(browser, page_of([made(name)], tmp_path / "page.html"), width=360) as visit:
        assert visit.page.evaluate("document.scrollingElement.scrollWidth") <= 360


# In the chapters.

STORED = [
    (path.name, i, match[1])
    for path in sorted(BOOK.glob("*.ipynb"))
    for i, cell in enumerate(nbformat.read(path, as_version=4).cells)
    if cell.cell_type == "code" and (match := re.search(r"explore\.(\w+)\(\)", cell.source))
]


def test_every_explorer_stands_in_one_chapter():
    assert sorted(name for _, _, name in STORED) == sorted(EXPLORERS)
    for path in {path for path, _, _ in STORED}:
        assert faults(BOOK / path) == []


def shell(html):
    """The page around the frames: controls, style and script."""
    html = re.sub(r'<script type="application/json">.*?</script>|src="[^"]+"', "", html)
    return re.sub(r"\d+\.\d+", "0", html)


@pytest.mark.parametrize(("path", "i", "name"), STORED)
def test_the_stored_version_is_what_the_code_gives(path, i, name, made):
    cell = nbformat.read(BOOK / path, as_version=4).cells[i]
    (output,) = cell.outputs
    assert set(output.data) == {"text/plain", "text/html"}
    explorer = made(name)
    assert output.data["text/plain"] == repr(explorer)
    html = output.data["text/html"]
    assert shell(html) == shell(explorer.html())
    options, frames = stored_frames(html)
    assert options == [list(setting.options) for setting in explorer.settings.values()]
    number = re.compile(r"-?\d+\.\d+")
    for choice, parts in zip(explorer.choices(), frames, strict=True):
        frame = explorer.frame(**named(explorer, choice))
        for before, now in zip(parts, [*frame.panels.values(), frame.text], strict=True):
            for a, b in zip(decoded(before), decoded(now), strict=True):
                assert abs(a.astype(int) - b).mean() < 2  # rounding differs between processors
            before, now = (re.sub(r'src="[^"]+"', "", text) for text in (before, now))
            assert number.sub("0", before) == number.sub("0", now)
            for a, b in zip(number.findall(before), number.findall(now), strict=True):
                assert float(a) == pytest.approx(float(b), rel=0.02, abs=0.002)
