"""The exercises: solutions are right, stubs are open, and every wrong answer is told why it is wrong."""

import ast
import re
import time
import types
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import torch
from wrong_answers import WRONG

from mae.exercises import CHAPTERS, EXERCISES
from mae.exercises.engine import judge
from mae.exercises.quiz import QUIZZES

BOOK = Path(__file__).parents[1] / "book"
SEEDS = range(20)
FEWEST_WRONG = {"implement": 4, "find the bug": 4, "predict": 2, "choose": 2, "design": 3}
CHAPTERS_PROPER = {name for name in CHAPTERS if name != "start" and not re.fullmatch(r"q\d\d", name)}
FOLD = re.compile(r"<details><summary>(.*?)</summary>\n\n(.*?)\n\n</details>", re.S)


@dataclass
class Cell:
    """One exercise as it stands in a notebook."""

    notebook: str
    stub: str
    answer: str  # the expression that is checked
    folds: dict[str, str]
    setting: str  # imports and definitions of the notebook above it

    @property
    def solution(self) -> str:
        return re.fullmatch(r"```python\n(.*?)\n```(?:\n\n.*)?", self.folds["Solution"], re.S)[1]

    def run(self, source: str) -> object:
        """The value that is checked, with `source` in place of the stub."""
        names = {"__name__": "exercise"}
        exec(self.setting, names)
        exec(compile(source, f"<{self.notebook}>", "exec"), names)
        return eval(self.answer, names)


def imports(source: str) -> str:
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, nodes))


def cells() -> list[tuple[str, Cell]]:
    found = []
    for path in sorted(BOOK.glob("*.ipynb")):
        setting, notebook = [], nbformat.read(path, as_version=4)
        for i, cell in enumerate(notebook.cells):
            tags = cell.metadata.get("tags", [])
            if "exercise" in tags:
                call = ast.parse(notebook.cells[i + 1].source).body[-1].value
                assert call.func.id == "check" and "check" in notebook.cells[i + 1].metadata["tags"], path.name
                id, answer = call.args[0].value, ast.unparse(call.args[1])
                folds = dict(FOLD.findall(notebook.cells[i + 2].source))
                found.append((id, Cell(path.name, cell.source, answer, folds, "\n".join(setting))))
            elif cell.cell_type == "code":
                setting.append(cell.source if "definition" in tags else imports(cell.source))
    return found


FOUND = cells()
CELLS = dict(FOUND)
BY_ID = pytest.mark.parametrize("id", list(CELLS))


def test_every_exercise_stands_once_in_a_notebook():
    assert sorted(id for id, _ in FOUND) == sorted(EXERCISES)


def test_there_are_enough_of_every_kind():
    kinds = [exercise.kind for exercise in EXERCISES.values()]
    assert len(kinds) >= 24 and kinds.count("find the bug") >= 6
    assert set(kinds) == {"implement", "predict", "find the bug", "choose", "design"}
    for name in CHAPTERS_PROPER - {"official", "ablations", "cluster"}:  # these end in a run of the reader's own
        assert max(e.minutes for e in EXERCISES.values() if e.id.startswith(f"{name}.")) >= 45, name


def test_every_chapter_has_a_quiz():
    assert set(QUIZZES) == CHAPTERS_PROPER


def top_level_names(source: str) -> set[str]:
    """What a cell binds, imports left out: they mean the same in every cell."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
            found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.ipynb")), ids=lambda path: path.stem)
def test_answers_change_nothing_else(path):
    """No other cell uses a name that an answer binds: so a solved notebook runs like the untouched one."""
    notebook = nbformat.read(path, as_version=4)
    bound, used = set(), set()
    for _, cell in ((id, cell) for id, cell in FOUND if cell.notebook == path.name):
        bound |= top_level_names(cell.stub) | top_level_names(cell.solution)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not {"exercise", "check"} & set(tags):
            nodes = ast.walk(ast.parse(cell.source))
            used |= {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not bound & used


@BY_ID
def test_hints_are_the_same_in_notebook_and_package(id):
    folds = CELLS[id].folds
    assert list(folds) == ["Hint 1", "Hint 2", "Solution"]
    assert (folds["Hint 1"], folds["Hint 2"]) == EXERCISES[id].hints


@BY_ID
def test_stub_is_not_attempted(id, record_property):
    verdicts = [judge(id, CELLS[id].run(CELLS[id].stub), seed) for seed in SEEDS]
    assert {verdict.status for verdict in verdicts} == {"not attempted"}, verdicts
    assert len({verdict.text for verdict in verdicts}) == 1  # the notebook stores it
    record_property("exercise", (id, "stub", True))


@BY_ID
def test_solution_is_accepted(id, record_property):
    longest = 0.0
    for seed in SEEDS:
        answer = CELLS[id].run(CELLS[id].solution)
        start = time.perf_counter()
        verdict = judge(id, answer, seed)
        longest = max(longest, time.perf_counter() - start)
        assert verdict.status == "right", f"seed {seed}: {verdict}"
    record_property("exercise", (id, "accepted", (len(SEEDS), longest)))


@BY_ID
def test_wrong_answers_are_told_why(id, record_property):
    answers = WRONG.get(id, [])
    assert len(answers) >= FEWEST_WRONG[EXERCISES[id].kind], f"{len(answers)} wrong answers to {id}"
    outcomes, faults = [], []
    for parts, name, answer in answers:
        verdicts = [judge(id, answer, seed) for seed in range(5)]
        if any(verdict.status in ("right", "not attempted") for verdict in verdicts):
            outcomes.append("accepted")
        else:
            said = all(part in verdict.text for part in parts for verdict in verdicts)
            outcomes.append("matching" if said else "another")
        if outcomes[-1] != "matching":
            faults.append(f"{name}: {outcomes[-1]}: {[(v.status, v.text) for v in verdicts]}")
    record_property("exercise", (id, "wrong", [outcomes.count(kind) for kind in ("matching", "another", "accepted")]))
    assert not faults, "\n".join(faults)


def functions() -> list[str]:
    """Exercises whose answer is a function or a class."""
    return [id for id in CELLS if isinstance(CELLS[id].run(CELLS[id].solution), types.FunctionType | type)]


def altered(answer, change):
    """The answer, with `change` applied to each of its results."""
    if isinstance(answer, type):
        forward = answer.forward
        return type(answer.__name__, (answer,), {"forward": lambda self, *a, **k: change(forward(self, *a, **k), a)})
    return lambda *a, **k: change(answer(*a, **k), a)


def one_element(result):
    """The result with one of its numbers changed."""
    if isinstance(result, tuple | list):
        return type(result)([one_element(result[0]), *result[1:]])
    if isinstance(result, torch.Tensor):
        result = result.detach().clone()
        if result.dtype == torch.bool:
            result.view(-1)[-1] ^= True
        else:
            result.view(-1)[-1] += 1
        return result
    if isinstance(result, dict):
        key = list(result)[-1]
        return {**result, key: one_element(result[key])}
    return result + 1


@pytest.mark.parametrize("id", functions())
def test_cheating_is_rejected(id, record_property):
    solution = CELLS[id].run(CELLS[id].solution)
    remembered = []
    judge(id, altered(solution, lambda result, a: remembered.append(result) or result), 0)
    replayed = iter(remembered)
    cheats = {
        "zero": altered(solution, lambda result, a: 0.0),
        "a constant tensor": altered(solution, lambda result, a: torch.zeros(2, 4)),
        "nothing": altered(solution, lambda result, a: None),
        "its input": altered(solution, lambda result, a: a[0] if a else None),
        "what was right last time": altered(solution, lambda result, a: next(replayed, remembered[-1])),
        "one element changed": altered(solution, lambda result, a: one_element(result)),
    }
    for name, cheat in cheats.items():
        verdict = judge(id, cheat, 1)
        assert verdict.status in ("wrong", "crashed"), f"{name}: {verdict}"
    record_property("exercise", (id, "cheats", len(cheats)))
