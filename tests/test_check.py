"""What surrounds a checker: its process, its cards, the record of what is solved, hints and quizzes."""

import json
import os
import threading
import time
import warnings

import pytest
import torch

from mae import exercises
from mae.exercises import check, hint, progress, quiz, record
from mae.exercises.cards import Card, Progress
from mae.exercises.engine import EXERCISES, Verdict, Wrong, call, choice, compare, judge, number, show, untouched
from mae.exercises.quiz import Option, Question

ID = "principle.unshuffle"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A record of one's own, in a folder that is still to be made."""
    path = tmp_path / "folder" / "progress.json"
    monkeypatch.setenv("MAE_PROGRESS", str(path))
    return path


def right(shuffled, order):
    return torch.stack([tokens[places.argsort()] for tokens, places in zip(shuffled, order, strict=True)])


# --- The process -----------------------------------------------------------------------------------------------


def test_right_answer_is_recorded(place):
    card = check(ID, right)
    assert card.status == "right" and "4 fresh random cases" in repr(card) and EXERCISES[ID].then in repr(card)
    assert list(record.solved()) == [ID]


def test_every_check_draws_new_inputs(place):
    def wrong(shuffled, order):
        return shuffled.flip(1)

    shown = {tuple(check(ID, wrong).verdict.example) for _ in range(4)}
    assert len(shown) > 1


def test_open_stub_needs_no_process(place, monkeypatch):
    monkeypatch.setattr(exercises._worker, "judge", None)

    def stub(shuffled, order):
        """Not written yet."""
        ...

    assert check(ID, stub).status == check(ID, ...).status == "not attempted"
    assert not place.exists()


def test_exception_shows_the_readers_line(place):
    def helper(tokens):
        return tokens.no_such_method()  # this line

    def answer(shuffled, order):
        return [helper(tokens) for tokens in shuffled]

    text = repr(check(ID, answer))
    assert "AttributeError" in text and "`return tokens.no_such_method()  # this line`" in text and "`helper`" in text
    assert "shuffled  [[[" in text  # and the input on which it happened


def test_what_the_reader_prints_is_seen(place, capsys):
    def answer(shuffled, order):
        print("looking at", tuple(order.shape))
        return right(shuffled, order)

    check(ID, answer)
    assert "looking at (1, 4)" in capsys.readouterr().out


def endless(shuffled, order):
    while True:
        try:
            time.sleep(0.01)
        except BaseException:  # it must not help
            continue


def endless_in_c(shuffled, order):
    return sum(iter(int, 1))


@pytest.mark.parametrize("answer", [endless, endless_in_c])
def test_endless_loop_is_stopped(answer, place, monkeypatch):
    check(ID, right)  # the process is ready
    monkeypatch.setattr(exercises._worker.judge.__func__, "__defaults__", (1.0,))
    start = time.perf_counter()
    card = check(ID, answer)
    assert card.status == "crashed" and "never stops" in repr(card)
    assert time.perf_counter() - start < 10
    assert check(ID, right).status == "right"  # a new process takes its place


def one_huge_tensor(shuffled, order):
    return torch.ones(2**40)


def ever_longer_list(shuffled, order):
    kept = []
    while True:
        kept.append(torch.empty(2**26))


@pytest.mark.parametrize("answer", [one_huge_tensor, ever_longer_list])
def test_huge_allocation_is_refused(answer, place):
    assert "more memory than a check may take" in repr(check(ID, answer))
    assert check(ID, right).status == "right"


def test_dying_process_is_told(place):
    def dies(shuffled, order):
        os.abort()

    assert "took its process down" in repr(check(ID, dies))
    assert check(ID, right).status == "right"


def test_an_interrupted_check_does_not_answer_for_the_next_one(place, monkeypatch):
    def interrupted(stream):
        raise KeyboardInterrupt

    check(ID, right)  # the process is ready
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(exercises.worker, "receive", interrupted)
        check(ID, right)
    assert check(ID, lambda shuffled, order: shuffled).status == "wrong"
    assert check(ID, right).status == "right"


def test_exit_is_no_exit(place):
    def leaves(shuffled, order):
        raise SystemExit(0)

    assert "SystemExit" in repr(check(ID, leaves))


def test_answer_that_cant_travel(place):
    def holds_a_lock(shuffled, order, lock=threading.Lock()):  # noqa: B008
        return shuffled

    assert "can't be handed to the checker" in repr(check(ID, holds_a_lock))


def test_kernel_keeps_its_random_numbers(place):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    check(ID, right)
    judge(ID, right, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_exercise_names_its_neighbours():
    with pytest.raises(ValueError, match=r"no exercise 'principle.unshufle'; there are .*principle.unshuffle"):
        check("principle.unshufle", right)


# --- Comparing -------------------------------------------------------------------------------------------------


def doubled(x):
    return 2 * x


CASES = [{"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([3.0, 5.0, 7.0])}]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x + 2, "added"),
        (lambda x: x**2, "Right shape, but 1 of 2"),
        (lambda x: None, "returns None"),
        (lambda x: ..., r"returns `...`"),
        (lambda x: 2 * x.double().nan_to_num() + float("nan"), "NaN"),
        (lambda x: x, "returns `x` as it came"),
        (lambda x: (2 * x)[:1], r"Expected shape \(2,\), got \(1,\)"),
        (lambda x: 1.0, "does not depend on its input"),
        (lambda x: "two", "does not depend on its input"),
        (lambda x: f"{x.sum()}", "Expected a tensor or a number, got str"),
        (lambda x: x.mul_(2), "changes `x` in place"),
        (3, "Expected a function, got 3"),
    ],
)
def test_compare_says_what_differs(answer, message):
    with pytest.raises(Wrong, match=message):
        compare(answer, doubled, CASES, {"You added two.": lambda x: x + 2})


def test_compare_shows_the_first_wrong_case():
    with pytest.raises(Wrong) as caught:
        compare(lambda x: 2 * x if len(x) == 2 else x, doubled, CASES, {})
    assert list(caught.value.example) == ["x", "yours", "expected"]
    assert caught.value.example["yours"].tolist() == [3, 5, 7]


def test_compare_takes_what_equals():
    assert "2 fresh random cases" in compare(lambda x: (2 * x).double().numpy(), doubled, CASES, {})


def test_compare_counts_results():
    with pytest.raises(Wrong, match="Expected 2 results, got 1"):
        compare(lambda x: x * 3, lambda x: (x, x), CASES, {})
    with pytest.raises(Wrong, match="Result 2 of 2: Right shape"):
        compare(lambda x: (x, x + 1), lambda x: (x, x), CASES, {})


def test_call_gives_copies():
    given = {"x": torch.ones(2), "more": [1, 2]}
    call(lambda x, more: x + 1, given)
    with pytest.raises(Wrong, match="changes `more`"):
        call(lambda x, more: more.append(3), given)
    assert given["more"] == [1, 2] and given["x"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("answer", "message"),
    [(5, "that is twice"), (2.7, "too high"), (-1, "too low"), ("a", "Expected a number"), (True, "Expected a number")],
)
def test_number(answer, message):
    number(torch.tensor(2.52), 2.5, 0.05, {})
    with pytest.raises(Wrong, match=message):
        number(answer, 2.5, 0.05, {"that is twice": 5})


def test_choice():
    choice(" B ", "b", {"a": "no"})
    with pytest.raises(Wrong, match="^no$"):
        choice("a", "b", {"a": "no"})
    for answer in ("c", 2, None):
        with pytest.raises(Wrong, match="Expected one of 'a', 'b'"):
            choice(answer, "b", {"a": "no"})


class Open(torch.nn.Module):
    """Every method is a stub."""

    def __init__(self, width): ...

    def forward(self, x): ...


class Begun(torch.nn.Module):
    """One method is written."""

    def __init__(self, width): ...

    def forward(self, x):
        return x


def test_untouched():
    assert untouched(...) and untouched((..., ...)) and untouched({"a": ..., "b": [...]}) and untouched(Open)
    assert not untouched({"a": ..., "b": 1}) and not untouched(Begun) and not untouched(()) and not untouched(None)
    assert not untouched(right) and not untouched(lambda x: 5) and not untouched(lambda x: None if x else 1)


def test_show_is_short():
    assert show(torch.tensor([[1.0, 0.123456]])) == "[[1, 0.1235]]"
    assert show(torch.zeros(100)) == "float32 (100,)"
    assert show((1, torch.tensor(2.5))) == "(1, 2.5)"
    assert len(show("x" * 1000)) == 300


# --- Cards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["right", "wrong", "crashed", "not attempted"])
def test_card_is_text_and_html(status):
    verdict = Verdict(status, "say `a < b`", [("x <", "1 & 2")], where=("f", 1, 3))
    card = Card(EXERCISES[ID], verdict, "return a < b")
    word = {"right": "Right", "wrong": "Not yet", "crashed": "Stopped", "not attempted": "Open"}[status]
    page = card._repr_html_()
    assert word in repr(card) and word in page and 'role="status"' in page
    assert "<code>a &lt; b</code>" in page and "x &lt;" in page and "1 &amp; 2" in page
    assert "line 3" in page and "<code>return a &lt; b</code>" in page
    assert (EXERCISES[ID].then.split("`")[0] in page) == (status == "right")


# --- The record ------------------------------------------------------------------------------------------------


def test_record_is_kept_and_whole(place):
    record.remember("a.b")
    record.remember("a.c")
    record.remember("a.b")
    content = json.loads(place.read_text())
    assert content["version"] == 1 and list(content["solved"]) == ["a.b", "a.c"]
    assert [path.name for path in place.parent.iterdir()] == ["progress.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"version": 1}', '{"version": 1, "solved": 5}', "\x00\xff"])
def test_damaged_record_is_kept_aside(place, text):
    place.parent.mkdir()
    place.write_text(text)
    with pytest.warns(UserWarning, match="damaged"):
        assert record.solved() == {}
    assert place.with_name("progress.json.damaged").read_text() == text
    record.remember("a.b")
    assert list(record.solved()) == ["a.b"]


def test_record_of_a_later_version_is_left_alone(place):
    place.parent.mkdir()
    place.write_text('{"version": 2, "solved": {}}')
    with pytest.warns(UserWarning, match="version 2"):
        record.remember("a.b")
    assert json.loads(place.read_text()) == {"version": 2, "solved": {}}


@pytest.mark.parametrize("what", ["replace", "write_text", "mkdir"])
def test_read_only_folder_is_a_warning(place, monkeypatch, what):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(record.os if what == "replace" else record.Path, what, refuse)
    with pytest.warns(UserWarning, match="can't be saved .*Permission denied"):
        record.remember("a.b")
    assert not place.exists()


def test_record_that_is_a_folder_is_a_warning(place):
    place.mkdir(parents=True)
    with pytest.warns(UserWarning):
        assert check(ID, right).status == "right"
        assert progress().solved == set()


def test_progress_lists_what_is_solved(place):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = progress()
        record.remember(ID)
        after = progress()
    assert before.solved == set() and after.solved == {ID}
    title = EXERCISES[ID].title
    assert f"○ {title}" in repr(before) and f"✓ {title}" in repr(after)
    assert f"1 of {len(EXERCISES)}" in repr(after) and "solved)</li>" in after._repr_html_()


def test_progress_forgets_nothing_it_does_not_know(place):
    record.remember("gone.exercise")
    assert progress().solved == set()
    record.remember(ID)
    assert set(record.solved()) == {"gone.exercise", ID}


def test_every_exercise_has_a_chapter():
    assert {id.split(".")[0] for id in EXERCISES} <= set(exercises.CHAPTERS)
    shown = Progress(list(EXERCISES.values()), {}, exercises.CHAPTERS)
    assert sum(len(part) for part in shown.chapters.values()) == len(EXERCISES)


# --- Hints and quizzes -----------------------------------------------------------------------------------------


def test_hints_come_one_after_the_other(monkeypatch):
    monkeypatch.setattr(exercises, "_hints_given", {})
    first, second = EXERCISES[ID].hints
    assert first in hint(ID).data and second in hint(ID).data and second in hint(ID).data and first in hint(ID, 1).data
    with pytest.raises(ValueError, match="hint 1 or 2, got 3"):
        hint(ID, 3)


def test_question_has_one_right_option():
    wrong, good = Option("a", "b"), Option("c", "d", right=True)
    Question("?", (wrong, good, wrong))
    for options in ((good, wrong), (good, good, wrong), (wrong, wrong, wrong)):
        with pytest.raises(ValueError, match="one of them right"):
            Question("?", options)


@pytest.mark.parametrize("name", exercises.QUIZZES)
def test_quiz_explains_every_option(name):
    shown = quiz(name)
    page = shown._repr_html_()
    for question in shown.questions:
        assert len({option.text for option in question.options}) == len(question.options)
        for option in question.options:
            assert len(option.why.split()) >= 4, option
            assert exercises.cards.inline(option.why) in page and option.text in repr(shown)
    places = {[option.right for option in question.options].index(True) for question in shown.questions}
    assert len(places) > 1, "the right option always stands in the same place"


def test_unknown_quiz_names_the_others():
    with pytest.raises(ValueError, match="no quiz 'principles'; there are .*principle"):
        quiz("principles")
