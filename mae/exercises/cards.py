"""What a check, a hint and the list of progress look like: HTML in a front end, plain text elsewhere.

Colours are borders only, and text takes the colour of its page, so that one card is readable in every theme.
"""

import linecache
import re
import types
from collections.abc import Mapping, Sequence
from html import escape

from mae.exercises.engine import Exercise, Verdict

# Symbol, word, and a border that has a contrast of at least 3 with white and with black.
LOOKS = {
    "right": ("✓", "Right", "#2e8b57"),
    "wrong": ("✗", "Not yet", "#c8553d"),
    "crashed": ("⚠", "Stopped", "#b7791f"),
    "not attempted": ("○", "Open", "#808080"),
}


def inline(text: str) -> str:
    """HTML of one line of text in which backticks mark code.

    Parameters
    ----------
    text : str
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def source_line(answer: object, where: tuple[str, int, int] | None) -> str:
    """The text of a line of the reader's code; empty if it can't be found.

    Parameters
    ----------
    answer : object
        The answer, whose code or globals hold the function.
    where : (str, int, int), optional
        As in `Verdict`.
    """
    methods = list(vars(answer).values()) if isinstance(answer, type) else [answer]
    functions = [method for method in methods if isinstance(method, types.FunctionType)]
    for function in functions[:1]:  # a helper from another cell may be what raised
        functions += [f for f in function.__globals__.values() if isinstance(f, types.FunctionType)]
        functions += [
            f
            for kind in function.__globals__.values()
            if isinstance(kind, type)
            for f in vars(kind).values()
            if isinstance(f, types.FunctionType)
        ]
    codes = [function.__code__ for function in functions]
    for code in codes:
        if where and (code.co_name, code.co_firstlineno) == where[:2]:
            return linecache.getline(code.co_filename, where[2]).strip()
        codes += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    return ""


class Card:
    """The reply to a check.

    Parameters
    ----------
    exercise : Exercise
    verdict : Verdict
    line : str
        The reader's line that raised, if one did.
    """

    def __init__(self, exercise: Exercise, verdict: Verdict, line: str = ""):
        self.exercise, self.verdict, self.line = exercise, verdict, line

    @property
    def status(self) -> str:
        """ "right", "wrong", "crashed" or "not attempted"."""
        return self.verdict.status

    def _sentences(self) -> list[str]:
        lines = [self.verdict.text]
        if self.verdict.where:
            name, _, number = self.verdict.where
            lines.append(f"In `{name}`, line {number}" + (f": `{self.line}`" if self.line else "."))
        if self.status == "right":
            lines.append(f"Next: {self.exercise.then}")
        return lines

    def __repr__(self) -> str:
        symbol, word, _ = LOOKS[self.status]
        lines = [f"{symbol} {word} · {self.exercise.title}", *self._sentences()]
        width = max((len(name) for name, _ in self.verdict.example), default=0)
        lines += [f"  {name:<{width}}  {value}" for name, value in self.verdict.example]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        symbol, word, colour = LOOKS[self.status]
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left"><code>{escape(value)}</code></td></tr>'
            for name, value in self.verdict.example
        )
        table = f'<div style="overflow-x:auto"><table style="margin:.4em 0">{rows}</table></div>' if rows else ""
        text = "".join(f'<p style="margin:.3em 0">{inline(line)}</p>' for line in self._sentences())
        return (
            f'<div class="mae-card" role="status" style="border-left:5px solid {colour};padding:.2em 0 .2em .8em">'
            f'<p style="margin:.2em 0"><span aria-hidden="true">{symbol}</span> <strong>{word}</strong> · '
            f"{inline(self.exercise.title)}</p>{text}{table}</div>"
        )


class Progress:
    """Which exercises are solved, by chapter.

    Parameters
    ----------
    exercises : sequence of Exercise
    solved : mapping of str to str
        When, by id.
    chapters : mapping of str to str
        Their titles, by the first part of an id.
    """

    def __init__(self, exercises: Sequence[Exercise], solved: Mapping[str, str], chapters: Mapping[str, str]):
        self.solved = {e.id for e in exercises if e.id in solved}
        self.total = len(exercises)
        self.chapters = {
            title: [e for e in exercises if e.id.split(".")[0] == name] for name, title in chapters.items()
        }

    def _mark(self, exercise: Exercise) -> str:
        return LOOKS["right" if exercise.id in self.solved else "not attempted"][0]

    def _count(self, exercises: Sequence[Exercise]) -> str:
        return f"{sum(e.id in self.solved for e in exercises)} of {len(exercises)}"

    def __repr__(self) -> str:
        lines = [f"{len(self.solved)} of {self.total} exercises solved"]
        for title, exercises in self.chapters.items():
            lines.append(f"{title}: {self._count(exercises)}")
            lines += [f"  {self._mark(e)} {e.title} ({e.kind}, {e.minutes} min)" for e in exercises]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        folds = []
        for title, exercises in self.chapters.items():
            items = "".join(
                f'<li><span aria-hidden="true">{self._mark(e)}</span> {inline(e.title)} '
                f"({e.kind}, {e.minutes} min{', solved' if e.id in self.solved else ''})</li>"
                for e in exercises
            )
            folds.append(
                f"<details><summary>{inline(title)}: {self._count(exercises)} solved</summary>"
                f'<ul style="list-style:none;padding-left:1em">{items}</ul></details>'
            )
        head = f"<p><strong>{len(self.solved)} of {self.total}</strong> exercises solved.</p>"
        return f'<div class="mae-progress">{head}{"".join(folds)}</div>'
