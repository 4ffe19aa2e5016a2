"""What a checker is made of: an exercise, its verdicts, and comparisons that look for known misconceptions.

A checker is a function of the reader's answer and a `torch.Generator`. It returns a sentence that says what was
verified, or raises `Wrong` with the idea that the answer misses and the smallest input that shows it.
"""

import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

KINDS = ("implement", "predict", "find the bug", "choose", "design")


class Wrong(Exception):
    """The answer is wrong.

    Parameters
    ----------
    idea : str
        What it misses, in terms of the idea; never the solution.
    example : mapping of str to object, optional
        The smallest input that shows it, with the reader's and the expected value, in the order to be shown.
    """

    def __init__(self, idea: str, example: Mapping[str, object] | None = None):
        super().__init__(idea)
        self.idea, self.example = idea, dict(example or {})


class NotAttempted(Exception):
    """The stub is as it was; the message says what to do."""


class Crashed(Exception):
    """The reader's code raised.

    Parameters
    ----------
    error : Exception
    example : mapping of str to object, optional
        The input on which it happened.
    """

    def __init__(self, error: BaseException, example: Mapping[str, object] | None = None):
        super().__init__(str(error))
        self.error, self.example = error, dict(example or {})


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise.

    Parameters
    ----------
    id : str
        ``chapter.name``.
    kind : str
        One of `KINDS`.
    title : str
    minutes : int
        How long a reader may take.
    hints : (str, str)
        Markdown; the notebook shows the same text.
    checker : callable
        Takes the answer and a generator.
    then : str
        What to try after a right answer.
    """

    id: str
    kind: str
    title: str
    minutes: int
    hints: tuple[str, str]
    checker: Callable[[object, torch.Generator], str]
    then: str


EXERCISES: dict[str, Exercise] = {}  # in the book's order


def exercise(id: str, kind: str, title: str, *, minutes: int, hints: tuple[str, str], then: str) -> Callable:
    """Register the decorated checker.

    Parameters
    ----------
    id, kind, title, minutes, hints, then
        As in `Exercise`.
    """
    if id in EXERCISES:
        raise ValueError(f"there is already an exercise {id!r}: choose another name")
    if kind not in KINDS or len(hints) != 2:
        raise ValueError(f"expected a kind of {KINDS} and two hints, got {kind!r} and {len(hints)}")

    def register(checker: Callable) -> Callable:
        EXERCISES[id] = Exercise(
            id=id, kind=kind, title=title, minutes=minutes, hints=hints, checker=checker, then=then
        )
        return checker

    return register


@dataclass
class Verdict:
    """What came of a check.

    Parameters
    ----------
    status : {"right", "wrong", "crashed", "not attempted"}
    text : str
    example : list of (str, str)
        Names and values, ready to be shown.
    where : (str, int, int), optional
        Where the reader's code raised: name and first line of the function, line.
    printed : str
        What the reader's code printed.
    """

    status: str
    text: str
    example: list[tuple[str, str]] = field(default_factory=list)
    where: tuple[str, int, int] | None = None
    printed: str = ""


def judge(id: str, answer: object, seed: int) -> Verdict:
    """Run one checker here, in this process.

    Parameters
    ----------
    id : str
    answer : object
    seed : int
        Of the inputs that the checker draws.

    Returns
    -------
    Verdict
    """
    try:
        if untouched(answer):
            raise NotAttempted("replace the `...` with your answer, run that cell, then this one.")
        text = EXERCISES[id].checker(answer, torch.Generator().manual_seed(seed))
    except NotAttempted as verdict:
        return Verdict("not attempted", f"Not attempted yet: {verdict}")
    except Wrong as verdict:
        return Verdict("wrong", verdict.idea, [(name, show(value)) for name, value in verdict.example.items()])
    except Crashed as verdict:
        error, text = verdict.error, f"{type(verdict.error).__name__}: {verdict.error}"
        if isinstance(error, MemoryError) or "can't allocate memory" in text:
            text = "Your code asked for more memory than a check may take."
        example = [(name, show(value)) for name, value in verdict.example.items()]
        return Verdict("crashed", text, example, readers_line(error))
    return Verdict("right", text)


def _body_is_a_stub(function: types.FunctionType) -> bool:
    def bare(): ...

    def documented():
        """Do nothing."""
        ...

    return function.__code__.co_code in (bare.__code__.co_code, documented.__code__.co_code) and not (
        set(function.__code__.co_consts) - {None, Ellipsis, function.__doc__}
    )


def untouched(answer: object) -> bool:
    """Tell whether an answer is still ``...``: itself, the body of a function, all methods of a class, all items.

    Parameters
    ----------
    answer : object
    """
    if answer is ...:
        return True
    if isinstance(answer, types.FunctionType):
        return _body_is_a_stub(answer)
    if isinstance(answer, type):
        methods = [value for value in vars(answer).values() if isinstance(value, types.FunctionType)]
        return bool(methods) and all(map(_body_is_a_stub, methods))
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    return isinstance(answer, tuple | list) and len(answer) > 0 and all(map(untouched, answer))


def readers_line(error: BaseException) -> tuple[str, int, int] | None:
    """The deepest frame that is the reader's own, neither a library's nor this package's.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    (str, int, int) or None
        Name and first line of the function, and the line that raised.
    """
    libraries = (sys.prefix, os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(__file__)), "<frozen")
    found, frame = None, error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if not code.co_filename.startswith(libraries):
            found = code.co_name, code.co_firstlineno, frame.tb_lineno
        frame = frame.tb_next
    return found


def show(value: object) -> str:
    """A short text of a value: small tensors whole, large ones by their shape.

    Parameters
    ----------
    value : object
    """
    if isinstance(value, np.ndarray | np.generic):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        if value.numel() > 64:
            return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        return _nested(value.detach().tolist())
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "(" + ", ".join(map(show, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list) and any(isinstance(item, Tensor | np.ndarray) for item in value):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, list | float):
        return _nested(value)
    if value is ...:
        return "`...`"
    text = str(value)
    return text if len(text) <= 300 else text[:297] + "..."


def _nested(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_nested, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _copy(value):
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, tuple | list):
        return type(value)(map(_copy, value))
    return value


def call(function: Callable, arguments: Mapping[str, object]) -> object:
    """Call the reader's function on copies; say so if it raises or alters what it was given.

    Parameters
    ----------
    function : callable
    arguments : mapping of str to object
        By name, passed in this order.

    Returns
    -------
    object

    Raises
    ------
    Crashed
        If it raises; the example is the arguments.
    Wrong
        If it is no function, or an argument was altered in place.
    """
    if not callable(function):
        raise Wrong(f"Expected a function, got {show(function)}. Pass its name without calling it.")
    copies = {name: _copy(value) for name, value in arguments.items()}
    try:
        result = function(*copies.values())
    except (Wrong, NotAttempted, Crashed):
        raise
    except (Exception, SystemExit) as error:
        raise Crashed(error, arguments) from error
    for name, value in arguments.items():
        if isinstance(value, Tensor | np.ndarray | list) and not same(copies[name], value, rtol=0, atol=0):
            raise Wrong(
                f"Your function changes `{name}` in place, so its caller's data are gone. Make a new tensor instead.",
                {f"{name} before": value, f"{name} after": copies[name]},
            )
    return result


def same(a: object, b: object, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """Tell whether two results agree in structure, shape and (closely) in value; NaN equals nothing.

    Parameters
    ----------
    a, b : object
    rtol, atol : float
        As in ``torch.allclose``.
    """
    if isinstance(b, tuple | list):
        return (
            isinstance(a, tuple | list)
            and len(a) == len(b)
            and all(same(x, y, rtol, atol) for x, y in zip(a, b, strict=True))
        )
    if isinstance(b, Tensor | np.ndarray | np.generic | bool | int | float):
        a, b = _tensor(a), _tensor(b)
        return a is not None and a.shape == b.shape and torch.allclose(a, b, rtol=rtol, atol=atol)
    return bool(a == b)


def _tensor(value: object) -> Tensor | None:
    """The value in double precision, None if it is no number or array of numbers."""
    try:
        return torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        return None


def compare(
    answer: Callable,
    reference: Callable,
    cases: Iterable[Mapping[str, object]],
    mistakes: Mapping[str, Callable],
    *,
    unchanged: tuple[Callable, str] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> str:
    """Compare the reader's function with a reference; if they differ, look for the misconception that explains it.

    A misconception is recognised if it gives the reader's result in every case. What is shown is the first case
    in which the reader's result is wrong, so give small cases first.

    Parameters
    ----------
    answer, reference : callable
    cases : iterable of mapping
        Arguments by name, freshly drawn.
    mistakes : mapping of str to callable
        For each message, the function that a reader with this misconception writes.
    unchanged : (callable, str), optional
        In "find the bug": the function as it was handed out, and its symptom.
    rtol, atol : float

    Returns
    -------
    str
        What was verified.

    Raises
    ------
    Wrong, Crashed, NotAttempted
    """
    cases = list(cases)
    expected = [reference(*map(_copy, case.values())) for case in cases]
    got = [call(answer, case) for case in cases]
    bad = [i for i in range(len(cases)) if not same(got[i], expected[i], rtol, atol)]
    if not bad:
        return f"{len(cases)} fresh random cases agree with an independent version."
    i = bad[0]
    example = {**cases[i], "yours": got[i], "expected": expected[i]}

    def explains(function: Callable) -> bool:
        try:
            return all(
                same(mine, function(*map(_copy, case.values())), rtol, atol)
                for mine, case in zip(got, cases, strict=True)
            )
        except Exception:  # a misconception that does not even run on these cases explains nothing
            return False

    if unchanged is not None and explains(unchanged[0]):
        raise NotAttempted(f"the function still does what it did. {unchanged[1]}")
    for message, function in mistakes.items():
        if explains(function):
            raise Wrong(message, example)
    raise Wrong(difference(got, expected, cases, i, rtol, atol), example)


def difference(got: list, expected: list, cases: list, i: int, rtol: float, atol: float) -> str:
    """A sentence about how results differ where no known misconception explains it.

    Parameters
    ----------
    got, expected, cases : list
        Of all cases.
    i : int
        The first case in which they differ.
    rtol, atol : float
    """
    mine, wanted = got[i], expected[i]
    if mine is None:
        return "Your function returns None. Is a `return` missing?"
    if mine is ...:
        return "Your function returns `...`. Replace it with a value."
    varied = any(not same(a, expected[0], rtol, atol) for a in expected)
    if varied and len(got) > 1 and all(same(a, got[0], 0, 0) for a in got):
        return "Your function gives the same result whatever it is given: it does not depend on its input."
    for name in cases[0]:
        if all(isinstance(c[name], Tensor) and same(a, c[name], 0, 0) for a, c in zip(got, cases, strict=True)):
            return f"Your function returns `{name}` as it came."
    if isinstance(wanted, tuple | list):
        if not isinstance(mine, tuple | list) or len(mine) != len(wanted):
            count = len(mine) if isinstance(mine, tuple | list) else 1
            return f"Expected {len(wanted)} results, got {count}."
        for k, (a, b) in enumerate(zip(mine, wanted, strict=True)):
            if not same(a, b, rtol, atol):
                return f"Result {k + 1} of {len(wanted)}: {_element(a, b, rtol, atol)}"
    return _element(mine, wanted, rtol, atol)


def _element(mine: object, wanted: object, rtol: float, atol: float) -> str:
    a, b = _tensor(mine), _tensor(wanted)
    if b is None:
        return "This is not the expected result."
    if a is None:
        return f"Expected a tensor or a number, got {type(mine).__name__}."
    if a.shape != b.shape:
        return f"Expected shape {tuple(b.shape)}, got {tuple(a.shape)}."
    if not a.isfinite().all() and b.isfinite().all():
        return "Your result holds NaN or infinity. Where can a division by zero, or an overflow, happen?"
    wrong = ~torch.isclose(a, b, rtol=rtol, atol=atol)
    if a.ndim == 0:
        return "Right kind of result, wrong value."
    at = tuple(wrong.nonzero()[0].tolist())
    share = f"{int(wrong.sum())} of {wrong.numel()} values differ"
    return f"Right shape, but {share}; the first at {list(at)}: yours {a[at]:.4g}, expected {b[at]:.4g}."


def number(
    answer: object, expected: float, tolerance: float, mistakes: Mapping[str, float], *, name: str = "your answer"
) -> None:
    """Judge one number.

    Parameters
    ----------
    answer : object
    expected, tolerance : float
    mistakes : mapping of str to float
        The value that a misconception gives, with the same tolerance, by its message.
    name : str
        What the number is called in a message.

    Raises
    ------
    Wrong
    """
    if isinstance(answer, Tensor | np.ndarray | np.generic) and torch.as_tensor(answer).numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        given = repr(answer) if isinstance(answer, str) else show(answer)
        raise Wrong(f"Expected a number for {name}, got {given}.")
    if abs(answer - expected) <= tolerance:
        return
    for message, value in mistakes.items():
        if abs(answer - value) <= tolerance:
            raise Wrong(message, {name: answer})
    raise Wrong(f"That is too {'high' if answer > expected else 'low'} for {name}.", {name: answer})


def choice(answer: object, right: str, wrong: Mapping[str, str], *, name: str = "your choice") -> None:
    """Judge one choice.

    Parameters
    ----------
    answer : object
        A letter; case does not count.
    right : str
    wrong : mapping of str to str
        Why each of the other letters is wrong.
    name : str
        What the choice is called in a message.

    Raises
    ------
    Wrong
    """
    letters = sorted([right, *wrong])
    given = answer.strip().lower() if isinstance(answer, str) else answer
    if given not in letters:
        raise Wrong(f"Expected one of {', '.join(map(repr, letters))} for {name}, got {answer!r}.")
    if given != right:
        raise Wrong(wrong[given], {name: given})
