"""Wrong answers of the kinds that learners write, a file per chapter, and what the checker must say of each."""

from collections.abc import Callable
from importlib import import_module

from mae.exercises import CHAPTERS

WRONG: dict[str, list[tuple[str, str, object]]] = {}  # id: (what the reply must contain, its name here, the answer)


def wrong(id: str, *parts: str) -> Callable:
    """Register the decorated function or class as a wrong answer; the reply must contain all parts."""

    def register(answer):
        WRONG.setdefault(id, []).append((parts, answer.__name__, answer))
        return answer

    return register


def wrong_value(id: str, answer: object, *parts: str) -> None:
    """Register a wrong number, choice or configuration."""
    WRONG.setdefault(id, []).append((parts, repr(answer), answer))


for chapter in CHAPTERS:
    import_module(f"wrong_answers.{chapter}")
