"""Quizzes that need no kernel: radio buttons and style sheets, so that they work in a page without a network.

Choosing an option shows why it is right or wrong, without a script; a few lines of script count and tell a screen
reader.
"""

from dataclasses import dataclass

from mae.exercises.cards import inline


@dataclass(frozen=True)
class Option:
    """One answer to a question.

    Parameters
    ----------
    text : str
        Backticks mark code.
    why : str
        Why it is right or wrong.
    right : bool
    """

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with one right option.

    Parameters
    ----------
    text : str
    options : tuple of Option
    """

    text: str
    options: tuple[Option, ...]

    def __post_init__(self):
        if sum(option.right for option in self.options) != 1 or len(self.options) < 3:
            raise ValueError(f"expected three or more options, one of them right, for {self.text!r}")


STYLE = """
.mae-quiz fieldset { border: 1px solid #808080; border-radius: 6px; margin: 0 0 1em; padding: .4em .9em .7em; }
.mae-quiz legend { font-weight: 600; font-size: 1em; padding: 0 .3em; float: none; width: auto; }
.mae-quiz .option { display: grid; grid-template-columns: 1.6em 1fr; margin: .35em 0; }
.mae-quiz input { width: 1em; height: 1em; margin: .3em 0 0; }
.mae-quiz label { cursor: pointer; }
.mae-quiz .why { display: none; grid-column: 2; margin: .2em 0; border-left: 4px solid #c8553d; padding-left: .6em; }
.mae-quiz .why.right { border-color: #2e8b57; }
.mae-quiz input:checked ~ .why { display: block; }
.mae-quiz output { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""

SCRIPT = """
(function (quiz) {
  var score = quiz.querySelector(".score"), said = quiz.querySelector("output");
  var sets = quiz.querySelectorAll("fieldset").length;
  quiz.addEventListener("change", function (event) {
    var right = quiz.querySelectorAll("input:checked ~ .why.right").length;
    var done = quiz.querySelectorAll("input:checked").length;
    score.textContent = done + " of " + sets + " answered, " + right + " right";
    said.textContent = event.target.parentNode.querySelector(".why").textContent + " " + score.textContent;
  });
})(document.getElementById("%s"));
"""


class Quiz:
    """The questions at the end of a chapter.

    Parameters
    ----------
    name : str
        Of the chapter.
    questions : tuple of Question
    """

    def __init__(self, name: str, questions: tuple[Question, ...]):
        self.name, self.questions = name, questions

    def __repr__(self) -> str:
        lines = []
        for i, question in enumerate(self.questions, 1):
            lines.append(f"{i}. {question.text}")
            lines += [f"   {letter}) {option.text}" for letter, option in zip("abcdef", question.options, strict=False)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        id, fields = f"mae-quiz-{self.name}", []
        for i, question in enumerate(self.questions, 1):
            options = "".join(
                f'<div class="option"><input type="radio" name="{id}-{i}" id="{id}-{i}-{j}">'
                f'<label for="{id}-{i}-{j}">{inline(option.text)}</label>'
                f'<p class="why{" right" if option.right else ""}"><strong>'
                f"{'Right.' if option.right else 'No.'}</strong> {inline(option.why)}</p></div>"
                for j, option in enumerate(question.options, 1)
            )
            fields.append(f"<fieldset><legend>{i}. {inline(question.text)}</legend>{options}</fieldset>")
        return (
            f'<div class="mae-quiz" id="{id}"><style>{STYLE}</style>{"".join(fields)}'
            f'<p class="score"></p><output aria-live="polite"></output><script>{SCRIPT % id}</script></div>'
        )


QUIZZES: dict[str, Quiz] = {}


def add_quiz(name: str, *questions: Question) -> None:
    """Register a chapter's quiz.

    Parameters
    ----------
    name : str
    *questions : Question
    """
    if name in QUIZZES or len(questions) != 5:
        raise ValueError(f"expected five questions, once per chapter, got {len(questions)} for {name!r}")
    QUIZZES[name] = Quiz(name, questions)
