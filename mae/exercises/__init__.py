"""Exercises that say why an answer is wrong: `check`, `hint`, `progress` and `quiz`.

A file per chapter holds its checkers and its quiz; `engine` holds what they are made of.
"""

import secrets

from IPython.display import Markdown

from mae.exercises import (  # noqa: F401
    ablations,
    cluster,
    official,
    principle,
    q01,
    q02,
    q03,
    q04,
    q05,
    q06,
    q07,
    q08,
    q09,
    q10,
    q11,
    q12,
    q13,
    q14,
    q15,
    q16,
    q17,
    q18,
    q19,
    q20,
    q21,
    q22,
    q23,
    q24,
    q25,
    real,
    source,
    start,
    structure,
    summary,
    what,
)
from mae.exercises.cards import Card, Progress, source_line
from mae.exercises.engine import EXERCISES, Exercise, judge, untouched
from mae.exercises.quiz import QUIZZES, Quiz
from mae.exercises.record import remember, solved
from mae.exercises.worker import Worker

__all__ = ["CHAPTERS", "check", "hint", "progress", "quiz"]

CHAPTERS = {
    "start": "Start here",
    "what": "1 What is a masked autoencoder?",
    "structure": "2 Structure",
    "principle": "3 Principle",
    "source": "4a The source's model, taken apart",
    "real": "4b The real model, line by line",
    "summary": "5 Summary",
    "official": "6 The official weights",
    "ablations": "7 The paper's ablations on your laptop",
    "cluster": "8 From laptop to cluster",
    "q01": "Question 1: What is an autoencoder?",
    "q02": "Question 2: What is a convolutional autoencoder?",
    "q03": "Question 3: What is masking?",
    "q04": "Question 4: What is mean squared error?",
    "q05": "Question 5: Design a simple MAE",
    "q06": "Question 6: How do you use MAE for dimensionality reduction?",
    "q07": "Question 7: How do you use MAE for denoising data?",
    "q09": "Question 9: How do you use MAE for data augmentation?",
    "q08": "Question 8: How do you use MAE for image super-resolution?",
    "q10": "Question 10: How do you use MAE for anomaly detection?",
    "q11": "Question 11: How do you use regularisation in MAE?",
    "q12": "Question 12: How do you use MAE for time-series forecasting?",
    "q13": "Question 13: How do you use MAE for text generation?",
    "q14": "Question 14: How do you use MAE for audio processing?",
    "q15": "Question 15: How do you use MAE for multimodal data fusion?",
    "q16": "Question 16: How do you use MAE for drug discovery?",
    "q17": "Question 17: How do you use MAE for image recognition?",
    "q18": "Question 18: How do you use MAE for text classification?",
    "q19": "Question 19: How do you use MAE for object detection?",
    "q20": "Question 20: How do you use MAE for semantic segmentation?",
    "q21": "Question 21: How do you use MAE for face recognition?",
    "q22": "Question 22: How do you use MAE for image style transfer?",
    "q23": "Question 23: How do you use MAE for image enhancement?",
    "q24": "Question 24: How do you use MAE for image denoising?",
    "q25": "Question 25: How do you use MAE for super-resolution of photographs?",
}

_worker = Worker()
_hints_given: dict[str, int] = {}


def _find(id: str) -> Exercise:
    if id not in EXERCISES:
        near = [name for name in EXERCISES if name.split(".")[0] == str(id).split(".")[0]] or list(EXERCISES)
        raise ValueError(f"there is no exercise {id!r}; there are {', '.join(near)}")
    return EXERCISES[id]


def check(id: str, answer: object) -> Card:
    """Check an answer, on inputs drawn anew each time.

    The answer runs in another process and is stopped after a few seconds.

    Parameters
    ----------
    id : str
        The name of the exercise, as its check cell gives it.
    answer : object
        A function or class, a number, a choice or a small dictionary, as the exercise asks.

    Returns
    -------
    Card
        What to show the reader; ``status`` is "right", "wrong", "crashed" or "not attempted".

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    found = _find(id)
    if untouched(answer):
        _worker.start()  # ready by the time there is an answer
        return Card(found, judge(id, answer, 0))
    verdict = _worker.judge(id, answer, secrets.randbits(32))
    if verdict.printed:
        print(verdict.printed, end="")
    if verdict.status == "right":
        remember(id)
    return Card(found, verdict, source_line(answer, verdict.where))


def hint(id: str, number: int | None = None) -> Markdown:
    """The first hint of an exercise, and the second when asked again.

    Parameters
    ----------
    id : str
    number : {1, 2}, optional
        Which one; the next one, if not given.

    Returns
    -------
    Markdown

    Raises
    ------
    ValueError
        If there is no such exercise or hint.
    """
    hints = _find(id).hints
    if number not in (None, 1, 2):
        raise ValueError(f"expected hint 1 or 2, got {number}")
    number = number or min(_hints_given.get(id, 0) + 1, 2)
    _hints_given[id] = number
    last = "" if number == 1 else "\n\nThe solution stands in the fold below the check."
    return Markdown(f"**Hint {number} of 2.** {hints[number - 1]}{last}")


def progress() -> Progress:
    """Which exercises are solved."""
    return Progress(list(EXERCISES.values()), solved(), CHAPTERS)


def quiz(name: str) -> Quiz:
    """The five questions at the end of a chapter.

    Parameters
    ----------
    name : str
        The chapter's name, as in the names of its exercises.

    Raises
    ------
    ValueError
        If there is no such quiz.
    """
    if name not in QUIZZES:
        raise ValueError(f"there is no quiz {name!r}; there are {', '.join(QUIZZES)}")
    return QUIZZES[name]
