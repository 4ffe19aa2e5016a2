"""The index of the interview questions is complete, and says what the notebooks say."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import questions
from questions import LEVELS, PAGE, QUESTIONS, TOPICS, notebooks, page, thirty_seconds


def test_the_page_is_what_the_notebooks_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python tools/questions.py`"


def test_all_questions_are_there_in_order():
    text = PAGE.read_text(encoding="utf-8")
    assert len(QUESTIONS) == 25
    assert re.findall(r"^\| (\d+) \|", text, re.M) == [str(n) for n in range(1, 26)]
    for values in (TOPICS, LEVELS):
        lines = [re.search(rf"^- \*\*{value}\*\*: (.*)$", text, re.M)[1] for value in values]
        numbers = [int(n) for line in lines for n in re.findall(r"(?<![\w/])\d+(?![\w)])", line)]
        assert sorted(numbers) == list(range(1, 26))


def test_every_question_has_a_notebook_and_every_card_a_back():
    assert list(notebooks()) == list(range(1, 26))
    for number, path in notebooks().items():
        assert 30 <= len(thirty_seconds(path).split()) <= 130, number


@pytest.mark.parametrize("path", notebooks().values(), ids=lambda path: path.stem)
def test_titles_bear_the_number(path):
    title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    assert title.startswith(f"# Question {int(path.name[1:3])}: ")


def test_a_notebook_without_an_answer_is_noticed(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "q01_empty.ipynb")
    with pytest.raises(ValueError, match="q01_empty.ipynb has no quotation"):
        questions.thirty_seconds(tmp_path / "q01_empty.ipynb")
