"""Every chapter keeps the form, and every rule of the form can fail."""

from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from notebook_form import NOTEBOOK_METADATA, RULES, SECTIONS, faults, prose, typed_numbers
from refresh import normalize

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_chapter_keeps_the_form(path):
    found = faults(path)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_chapter_is_a_valid_notebook(path):
    nbformat.validate(nbformat.read(path, as_version=4))


def test_there_are_chapters():
    assert NOTEBOOKS


PICTURE = {
    "image": {"alt": "A digit, most of it hidden"},
    "figure": {"caption": "A quarter of a digit is enough."},
}


def png(size=300):
    """An output that holds a picture (its content doesn't matter to the rules)."""
    return new_output("display_data", {"image/png": "A" * size, "text/plain": "<Figure size 640x480 with 1 Axes>"})


def html(text):
    """An output that holds HTML."""
    return new_output("display_data", {"text/html": text})


def code(source="x = 1", outputs=(), **metadata):
    """A code cell; `chapter` counts it."""
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def chapter(*cells, sections=SECTIONS, title="# Title\n\nA promise."):
    """A sound chapter with ``cells`` in its middle."""
    heads = [new_markdown_cell(f"## {section}\n\nText.") for section in sections]
    notebook = new_notebook(cells=[new_markdown_cell(title), *heads[:2], *cells, *heads[2:]])
    counted = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(counted, 1):
        cell.execution_count = count
    notebook.metadata.update(deepcopy(NOTEBOOK_METADATA))
    return notebook


def broken(notebook):
    """Names of the rules that a notebook breaks."""
    return {rule.__name__ for rule in RULES if list(rule(notebook, "a.ipynb"))}


def test_a_sound_chapter_breaks_no_rule():
    cells = [
        new_markdown_cell("Hiding 75 % leaves a quarter {cite}`he2022mae`. It reaches 85.9 % {cite}`he2022mae`."),
        code("x", [new_output("stream", name="stdout", text="12 of 16 hidden\n")]),
        code("show(x)", [png()], mystnb=PICTURE),
        code(
            "1 / 0",
            [new_output("error", ename="ZeroDivisionError", evalue="", traceback=["division by zero"])],
        ),
    ]
    cells[-1].metadata.tags = ["raises-exception"]
    assert broken(chapter(*cells)) == set()


def uncounted():
    notebook = chapter(code())
    notebook.cells[3].execution_count = None
    return notebook


def run_twice():
    notebook = chapter(code(), code())
    notebook.cells[4].execution_count = 7
    return notebook


def with_widget_state():
    notebook = chapter(code())
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {}}
    return notebook


def with_language_version():
    notebook = chapter(code())
    notebook.metadata.language_info["version"] = "3.11.7"
    return notebook


ERROR = new_output("error", ename="ValueError", evalue="bad", traceback=["ValueError: bad"])
WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
BROKEN = [
    ("executed_in_order", uncounted()),
    ("executed_in_order", run_twice()),
    ("errors_are_announced", chapter(code("f()", [ERROR]))),
    ("errors_are_announced", chapter(code("f()", tags=["raises-exception"]))),
    ("pictures_are_described", chapter(code("show()", [png()]))),
    ("pictures_are_described", chapter(code("show()", [png()], mystnb={"image": PICTURE["image"]}))),
    ("pictures_are_described", chapter(code("show()", [png()], mystnb={"figure": PICTURE["figure"]}))),
    ("pictures_are_described", chapter(code("show()", [html("<img src='a.png'>")]))),
    ("pictures_are_described", chapter(new_markdown_cell("![](a.png)"))),
    ("pictures_are_light", chapter(code("show()", [png(300_000)], mystnb=PICTURE))),
    ("outputs_are_quiet", chapter(code("f()", [new_output("stream", name="stderr", text="hm")]))),
    (
        "outputs_are_quiet",
        chapter(code("f()", [new_output("stream", name="stdout", text="a.py:1: UserWarning: no")])),
    ),
    (
        "outputs_are_quiet",
        chapter(code("f()", [new_output("stream", name="stdout", text=" 40%|████   | 4/10")])),
    ),
    ("outputs_are_quiet", chapter(code("import warnings\nwarnings.filterwarnings('ignore')"))),
    ("no_widget_state", with_widget_state()),
    ("no_widget_state", chapter(code("slider", [WIDGET]))),
    ("no_machine_path", chapter(code("open('/home/someone/a.txt')"))),
    (
        "no_machine_path",
        chapter(code("f()", [new_output("stream", name="stdout", text=r"saved to C:\Users\me\a")])),
    ),
    ("no_machine_path", chapter(code("f()", [html("<pre>/usr/lib/python3/site-packages/a.py</pre>")]))),
    ("no_machine_path", chapter(new_markdown_cell("The weights are in /tmp/weights."))),
    ("no_request", chapter(code("f()", [html("<script src='https://example.org/a.js'></script>")]))),
    ("no_request", chapter(code("f()", [html("<style>@import 'https://example.org/a.css'</style>")]))),
    ("no_request", chapter(code("f()", [html("<div style='background: url(//example.org/a.png)'></div>")]))),
    ("no_request", chapter(code("f()", [new_output("display_data", {"application/javascript": "1"})]))),
    ("no_request", chapter(new_markdown_cell("![a picture from far](https://example.org/a.png)"))),
    ("cells_are_short", chapter(code("x = 1\n" * 26))),
    ("cells_are_short", chapter(new_markdown_cell("word " * 181))),
    ("has_title_and_sections", chapter(title="Title without a mark\n\nA promise.")),
    ("has_title_and_sections", chapter(title="# Title alone")),
    ("has_title_and_sections", chapter(new_markdown_cell("# A second title"))),
    ("has_title_and_sections", chapter(new_markdown_cell("#### A level left out"))),
    ("has_title_and_sections", chapter(sections=SECTIONS[:-1])),
    ("has_title_and_sections", chapter(sections=SECTIONS[::-1])),
    ("no_typed_numbers", chapter(new_markdown_cell("The probe reaches 97.8 %."))),
    (
        "no_typed_numbers",
        chapter(new_markdown_cell("Known {cite}`he2022mae`. Ours has an error of 0.043 now.")),
    ),
    ("no_typed_numbers", chapter(new_markdown_cell("| a | b |\n|---|---|\n| ours | 94 % |"))),
    (
        "no_typed_numbers",
        chapter(code("f()", [png()], mystnb={**PICTURE, "figure": {"caption": "The probe reaches 94.5 % here."}})),
    ),
    ("metadata_is_normal", with_language_version()),
    ("metadata_is_normal", chapter(code(execution={"iopub.execute_input": "2026"}))),
]


@pytest.mark.parametrize(("rule", "notebook"), BROKEN, ids=lambda v: v if isinstance(v, str) else "")
def test_rule_can_fail(rule, notebook):
    assert broken(notebook) == {rule}


def test_every_rule_is_seen_to_fail():
    assert {rule for rule, _ in BROKEN} == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize(
    "text",
    [
        "Three quarters (75 %) are hidden.",
        "A ratio of 0.75 hides 12 of 16 patches.",
        "ViT-L gains 3.3 points {cite:p}`he2022mae`.",
        "`lr=0.002` in code, $0.5\\,x$ in math.",
        "$$\nE[x] = 0.23\n$$",
        "```python\nx = 0.123\n```",
        "[the table](https://example.org/1.25)",
        "It runs on Python 3.11.",
        "| a | b |\n|---|---|\n| the paper {cite}`he2022mae` | 84.9 % |",
        "The noise has a standard deviation of 0.3. <!-- number: a setting of the experiment below -->",
    ],
)
def test_numbers_that_may_stand(text):
    assert list(typed_numbers(prose(text))) == []


def test_an_escape_must_say_why():
    assert list(typed_numbers("About 0.3. <!-- number: -->")) == ["0.3"]


def test_refresh_makes_metadata_normal():
    notebook = chapter(code(execution={"iopub.execute_input": "2026"}, tags=["exercise"]))
    notebook.metadata.update(widgets={}, toc={})
    notebook.metadata.language_info["version"] = "3.11.7"
    normalize(notebook)
    assert broken(notebook) == set()
    assert notebook.cells[3].metadata == {"tags": ["exercise"]}
