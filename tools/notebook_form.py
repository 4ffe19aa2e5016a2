"""The form every chapter keeps: one function per rule, each naming the cell at fault and what to do about it.

A rule takes a notebook and its file name. For each fault it yields the cell's position (None for the notebook
as a whole) and a sentence. By hand or from a commit hook: ``python tools/notebook_form.py book/start.ipynb``.
"""

import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat

MAX_CODE_LINES = 25
MAX_MARKDOWN_WORDS = 180
MAX_FIGURE_BYTES = 150_000

# Headings that a chapter has, in this order; other sections stand in between.
SECTIONS = ("You will be able to", "Before you start", "What to remember", "Go further")
# Chapters with an order of their own.
SECTIONS_OF = {
    "start.ipynb": ("You will be able to",),
    "05_summary.ipynb": ("What to remember", "Go further"),
}
# Interview questions (q01_....ipynb) answer in the order of an interview.
SECTIONS_OF_QUESTIONS = (
    "Thirty seconds",
    "Whiteboard",
    "Show me",
    "Follow-ups",
    "Mistakes that sink candidates",
    "Exercise",
    "Go further",
)

# Numbers that are settings, not findings: mask ratios and the like may be typed into prose.
SETTINGS = {
    "0.1",
    "0.25",
    "0.5",
    "0.7",
    "0.75",
    "0.9",
    "10 %",
    "25 %",
    "50 %",
    "70 %",
    "75 %",
    "90 %",
    "100 %",
}
# Numbers that belong to a name: "Python 3.11", "CC BY 4.0", "Section 2.1".
NAMED_NUMBER = re.compile(r"\b(?:Python|PyTorch|Jupyter Book|CC BY|[Vv]ersion|[Ss]ection|[Cc]hapter)s? \d+(?:\.\d+)*")
NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?\s?(?:%|per ?cent)|\d+\.\d+)(?![\w]|\.\d)")
# Written in a paragraph, this comment lets its numbers stand. It says why, and no reader sees it.
ESCAPE = re.compile(r"<!--\s*number:\s*\S.*?-->", re.S)

MACHINE_PATH = re.compile(
    r"(?<![\w./:-])(?:/(?:home|root|Users|tmp|work|mnt|opt|var|usr|private|content)/\w|[A-Za-z]:\\{1,2}\w)|site-packages|dist-packages"
)
PROGRESS = re.compile(r"\d+%\|| it/s\b|\d(?:it/s|s/it)\b|\r(?!\n)|█|FloatProgress|IntProgress|HBox\(children")
WARNING = re.compile(r"\b[A-Z]\w*Warning\b")
# What a browser loads by itself, as opposed to a link that a reader may follow.
REMOTE = re.compile(
    r"""<(?!a\b)[a-z]+\b[^>]*?\b(?:src|href|data|poster)\s*=\s*["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import\s+["']|!\[[^\]]*\]\(\s*(?:https?:)?//""",
    re.I,
)
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"tags", "mystnb", "jupyter"}


def code_cells(notebook):
    """Yield ``(position, cell)`` for every code cell that has a source."""
    for i, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and cell.source.strip():
            yield i, cell


def markdown_cells(notebook):
    """Yield ``(position, cell)`` for every Markdown cell."""
    for i, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            yield i, cell


def output_texts(cell):
    """Yield every text that the outputs of a code cell store, pictures left out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join(output.traceback)
        else:
            for mime, data in output.data.items():
                if not mime.startswith("image/") or mime == "image/svg+xml":
                    yield data if isinstance(data, str) else str(data)


def has_picture(cell):
    """Tell whether a code cell stores an image."""
    return any(mime.startswith("image/") for output in cell.outputs for mime in output.get("data", {}))


def prose(source):
    """Markdown without code (blocks and spans), math and link targets; directives keep their text."""
    source = re.sub(r"^(`{3,}|~{3,})(?!\s*\{(?!math|code)).*?^\1\s*$", "", source, flags=re.S | re.M)
    source = re.sub(r"^\s*(?:`{3,}|~{3,}|:{3,}).*$", "", source, flags=re.M)
    source = re.sub(r"\$\$.*?\$\$", "", source, flags=re.S)
    source = re.sub(r"(?<![\\$])\$(?:[^$\n]|\n(?!\s*\n))+\$", "", source)
    source = re.sub(r"\]\([^)]*\)", "]", source)
    # A role keeps its name, since {cite} is one; what stands between backticks goes.
    return re.sub(r"(`+)(?!`)(?:(?!\n\s*\n).)*?\1", "", source, flags=re.S)


def headings(notebook):
    """Yield ``(position, level, text)`` for every heading."""
    for i, cell in markdown_cells(notebook):
        for line in prose(cell.source).splitlines():
            if match := re.match(r"(#{1,6})\s+(.*?)\s*#*$", line):
                yield i, len(match[1]), match[2]


def executed_in_order(notebook, name):
    """Every code cell was run, from top to bottom in one go."""
    for expected, (i, cell) in enumerate(code_cells(notebook), 1):
        if cell.execution_count != expected:
            yield (
                i,
                f"execution count {cell.execution_count}, expected {expected}. "
                f"Run `make refresh NOTEBOOK=book/{name}`.",
            )


def errors_are_announced(notebook, name):
    """No stored error but in cells tagged raises-exception, and always one there."""
    for i, cell in code_cells(notebook):
        stored = any(output.output_type == "error" for output in cell.outputs)
        tagged = "raises-exception" in cell.metadata.get("tags", [])
        if stored and not tagged:
            yield i, "stores an error. Mend the cell, or tag it raises-exception if the error is the point."
        if tagged and not stored:
            yield i, "is tagged raises-exception but stores no error. Remove the tag or run it again."


def pictures_are_described(notebook, name):
    """Every picture has alt text and a caption, in the cell's metadata."""
    for i, cell in code_cells(notebook):
        if has_picture(cell):
            mystnb = cell.metadata.get("mystnb", {})
            if len(mystnb.get("image", {}).get("alt", "").split()) < 3:
                yield i, "the picture has no alt text. Say what it shows in metadata mystnb.image.alt."
            if len(mystnb.get("figure", {}).get("caption", "").split()) < 3:
                yield i, "the picture has no caption. State its finding in metadata mystnb.figure.caption."
        for text in output_texts(cell):
            if any("alt=" not in tag for tag in re.findall(r"<img\b[^>]*>", text)):
                yield i, "an <img> in the output has no alt attribute. Give it one."
    for i, cell in markdown_cells(notebook):
        if re.search(r"!\[\s*\]\(", cell.source):
            yield i, "an image has no alt text. Write it between the square brackets."


def pictures_are_light(notebook, name):
    """No picture is heavier than a page can bear."""
    for i, cell in code_cells(notebook):
        for output in cell.outputs:
            for mime, data in output.get("data", {}).items():
                size = len(data) * 3 // 4 if mime.startswith("image/") and mime != "image/svg+xml" else 0
                if size > MAX_FIGURE_BYTES:
                    yield (
                        i,
                        f"a picture of {size // 1000} kB; at most {MAX_FIGURE_BYTES // 1000} kB. "
                        "Draw fewer points, or lower the dpi.",
                    )


def outputs_are_quiet(notebook, name):
    """Nothing on stderr, no warning, no progress bar; and warnings are not filtered away."""
    for i, cell in code_cells(notebook):
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield i, "stores text from stderr. Mend its cause and run the cell again."
        for text in output_texts(cell):
            if WARNING.search(text):
                yield i, f"stores a warning ({WARNING.search(text)[0]}). Mend its cause."
            if PROGRESS.search(text):
                yield i, "stores a progress bar. Run `make refresh`, which silences tqdm."
        if re.search(r"\b(?:filterwarnings|simplefilter|catch_warnings)\b", cell.source):
            yield i, "filters warnings. Mend their cause instead."


def no_widget_state(notebook, name):
    """No widget state, and no widget without a static version that works in a page."""
    if "widgets" in notebook.metadata:
        yield None, "stores widget state. Run `make refresh`, which drops it."
    for i, cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data and "text/html" not in data:
                yield i, "shows a widget that is dead in a page. Display text/html beside it."


def no_machine_path(notebook, name):
    """No path of the machine that the notebook was run on."""
    for i, cell in enumerate(notebook.cells, 1):
        for text in [cell.source, *(output_texts(cell) if cell.cell_type == "code" else [])]:
            if match := MACHINE_PATH.search(text):
                where = text[max(0, match.start() - 10) : match.end() + 20]
                yield i, f"names a place on one machine ({where!r}). Use a path relative to the notebook."


def no_request(notebook, name):
    """Nothing that a browser would fetch from another host."""
    for i, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            texts = list(output_texts(cell))
            if any("application/javascript" in output.get("data", {}) for output in cell.outputs):
                yield i, "stores JavaScript that runs on display. Put it into text/html, self-contained."
        else:
            texts = [cell.source]
        for text in texts:
            if match := REMOTE.search(text):
                yield i, f"loads something from another host ({match[0]!r}). Bring it into the book."


def cells_are_short(notebook, name):
    """One idea per cell."""
    for i, cell in code_cells(notebook):
        lines = len(cell.source.strip().splitlines())
        if lines > MAX_CODE_LINES:
            yield i, f"{lines} lines of code; at most {MAX_CODE_LINES}. Split it, or move part into mae."
    for i, cell in markdown_cells(notebook):
        read = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.S)  # folds are opened one at a time
        words = sum(len(line.split()) for line in read.splitlines() if not line.startswith("|"))  # tables looked up
        if words > MAX_MARKDOWN_WORDS:
            yield i, f"{words} words; at most {MAX_MARKDOWN_WORDS}. Split it, or say less."


def has_title_and_sections(notebook, name):
    """One title with a promise under it, the sections of the template in order, no heading level left out."""
    found = list(headings(notebook))
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not re.match(r"# \S", first.source):
        yield 1, "does not begin with the title. Make the first line of the first cell `# Title`."
    elif len(first.source.strip().splitlines()) < 2:
        yield 1, "has no promise. Say below the title, in one sentence, what the reader gets."
    if titles := [i for i, level, _ in found[1:] if level == 1]:
        yield titles[0], "a second title. Use `##` for sections."
    for (_, before, _), (i, level, text) in pairwise(found):
        if level > before + 1:
            yield i, f"heading {text!r} skips a level. Use {'#' * (before + 1)}."
    sections = [text.strip("*").rstrip(":").lower() for _, level, text in found if level > 1]
    question = re.match(r"q\d\d_", name)
    wanted = SECTIONS_OF_QUESTIONS if question else SECTIONS_OF.get(name, SECTIONS)
    for section in wanted:
        if section.lower() not in sections:
            yield None, f"has no section {section!r}. Add the heading `## {section}`."
    places = [sections.index(s.lower()) for s in wanted if s.lower() in sections]
    if places != sorted(places):
        yield None, f"sections out of order. The order is {', '.join(wanted)}."


def typed_numbers(text):
    """Decimals and percentages in sentences of Markdown that neither cite a source nor are settings."""
    for block in re.split(r"\n\s*\n", text):
        if ESCAPE.search(block):
            continue
        block = re.sub(r"<!--.*?-->", "", block, flags=re.S)
        is_table = re.search(r"^\s*\|?[\s:|-]*-{3}[\s:|-]*$", block, re.M) and "|" in block
        # A table is one statement (its header or its caption may cite), a list is one statement per item.
        sentences = [block] if is_table else re.split(r"(?<=[.!?])\s+(?=[A-Z*_\"'(\[])|\n\s*(?:[-*+]|\d+[.)])\s", block)
        for sentence in sentences:
            if re.search(r"\{(?:cite|footcite)[\w:]*\}", sentence):
                continue
            for number in NUMBER.findall(NAMED_NUMBER.sub("", re.sub(r"<[^>]+>", "", sentence))):
                if re.sub(r"\s?(%|per ?cent)", " %", number) not in SETTINGS:
                    yield number


def no_typed_numbers(notebook, name):
    """A number in prose comes with a citation; a result comes out of a cell."""
    for i, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            texts = [prose(cell.source)]
        else:
            mystnb = cell.metadata.get("mystnb", {})
            texts = [
                prose(t) for t in (mystnb.get("image", {}).get("alt"), mystnb.get("figure", {}).get("caption")) if t
            ]
        for number in (n for text in texts for n in typed_numbers(text)):
            yield (
                i,
                f"the number {number!r} is typed into prose. Print it in a cell, cite its source in the "
                "same sentence with {cite}, or, if it is a setting or a definition, add "
                "<!-- number: why --> to the paragraph.",
            )


def metadata_is_normal(notebook, name):
    """Only metadata that is the same wherever the notebook is run."""
    kept = {key: value for key, value in notebook.metadata.items() if key != "widgets"}
    if kept != NOTEBOOK_METADATA:
        extra = set(kept) - set(NOTEBOOK_METADATA)
        yield (
            None,
            f"metadata {sorted(extra) or 'of kernel or language'} differs from the norm. Run `make refresh`.",
        )
    for i, cell in enumerate(notebook.cells, 1):
        if extra := set(cell.metadata) - CELL_METADATA:
            yield i, f"metadata {sorted(extra)} says nothing to a reader. Run `make refresh`."


RULES = (
    executed_in_order,
    errors_are_announced,
    pictures_are_described,
    pictures_are_light,
    outputs_are_quiet,
    no_widget_state,
    no_machine_path,
    no_request,
    cells_are_short,
    has_title_and_sections,
    no_typed_numbers,
    metadata_is_normal,
)


def faults(path):
    """Return every fault of the notebook at ``path``, as sentences."""
    path = Path(path)
    notebook = nbformat.read(path, as_version=4)
    return [
        f"{path.name}{f', cell {cell}' if cell else ''}: {sentence}"
        for rule in RULES
        for cell, sentence in rule(notebook, path.name)
    ]


if __name__ == "__main__":
    found = [sentence for argument in sys.argv[1:] for sentence in faults(argument)]
    sys.exit("\n".join(found) or None)
