"""Write the index of the interview questions: ``python tools/questions.py``.

`book/questions.md` is made of the list below and of the notebooks: the back of a flash card is what stands under
"Thirty seconds" in the notebook of its question.
"""

from pathlib import Path
from typing import NamedTuple

import nbformat

BOOK = Path(__file__).resolve().parent.parent / "book"
PAGE = BOOK / "questions.md"
TEMPLATE = Path(__file__).with_name("questions.txt")
LEVELS = ("warm-up", "medium", "hard")
TOPICS = ("foundations", "representations", "vision", "restoration", "sequences", "several senses")


class Interview(NamedTuple):
    """A question of the interview.

    Parameters
    ----------
    wording : str
        As the source asks it, translated.
    topic, level : str
    """

    wording: str
    topic: str
    level: str


QUESTIONS = (
    Interview("What is an autoencoder? Explain its basic principle.", "foundations", "warm-up"),
    Interview("What is a convolutional autoencoder? Explain how it works.", "foundations", "medium"),
    Interview("Explain what masking is. How is it done in MAE?", "foundations", "medium"),
    Interview("Explain what mean squared error (MSE) is. What is its part in MAE?", "foundations", "warm-up"),
    Interview("Design a simple MAE model, and explain its main parts.", "foundations", "hard"),
    Interview("Explain how to use MAE for dimensionality reduction.", "representations", "medium"),
    Interview("Explain how to use MAE for denoising data.", "restoration", "medium"),
    Interview("Explain how to use MAE for image super-resolution.", "restoration", "medium"),
    Interview("Explain how to use MAE for data augmentation.", "representations", "medium"),
    Interview("Explain how to use MAE for anomaly detection.", "representations", "medium"),
    Interview("Explain how to use regularisation in MAE.", "representations", "hard"),
    Interview("Explain how to use MAE for time-series forecasting.", "sequences", "medium"),
    Interview("Explain how to use MAE for text generation.", "sequences", "hard"),
    Interview("Explain how to use MAE for audio processing.", "sequences", "medium"),
    Interview("Explain how to use MAE for multimodal data fusion.", "several senses", "hard"),
    Interview("Explain how to use MAE for drug discovery.", "several senses", "hard"),
    Interview("Explain how to use MAE for image recognition.", "vision", "warm-up"),
    Interview("Explain how to use MAE for text classification.", "sequences", "warm-up"),
    Interview("Explain how to use MAE for object detection.", "vision", "hard"),
    Interview("Explain how to use MAE for semantic segmentation.", "vision", "hard"),
    Interview("Explain how to use MAE for face recognition.", "vision", "medium"),
    Interview("Explain how to use MAE for image style transfer.", "restoration", "hard"),
    Interview("Explain how to use MAE for image enhancement.", "restoration", "medium"),
    Interview("Explain how to use MAE for image denoising.", "restoration", "medium"),
    Interview("Explain how to use MAE for image super-resolution.", "restoration", "medium"),
)


def notebooks() -> dict[int, Path]:
    """The notebook of each question."""
    return {int(path.name[1:3]): path for path in sorted(BOOK.glob("q[0-9][0-9]_*.ipynb"))}


def thirty_seconds(path: Path) -> str:
    """The answer that a notebook gives under that heading."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## Thirty seconds"):
            return " ".join(line.removeprefix(">").strip() for line in cell.source.splitlines() if line[:1] == ">")
    raise ValueError(f"{path.name} has no quotation under the heading '## Thirty seconds': write the answer there")


def links(numbers: list[int]) -> str:
    """Numbers, each a link to its notebook."""
    return ", ".join(f"[{n}]({notebooks()[n].name})" for n in numbers)


def page() -> str:
    """What `book/questions.md` must be."""
    found = notebooks()
    rows, cards = [], []
    for number, question in enumerate(QUESTIONS, 1):
        rows.append(f"| {number} | [{question.wording}]({found[number].name}) | {question.topic}, {question.level} |")
        answer = thirty_seconds(found[number])
        more = f"\n\n[The experiment, the follow-ups and an exercise]({found[number].name})"
        cards.append(
            f'<details data-card="{number}" data-topic="{question.topic}" data-level="{question.level}">'
            f"<summary>{number}. {question.wording}</summary>\n\n{answer}{more}\n\n</details>"
        )

    def groups(field: str, values: tuple[str, ...]) -> list[str]:
        members = [[n for n, q in enumerate(QUESTIONS, 1) if getattr(q, field) == value] for value in values]
        return [f"- **{value}**: {links(numbers)}" for value, numbers in zip(values, members, strict=True)]

    text = TEMPLATE.read_text(encoding="utf-8")
    parts = {"TABLE": rows, "TOPICS": groups("topic", TOPICS), "LEVELS": groups("level", LEVELS), "CARDS": cards}
    for name, lines in parts.items():
        text = text.replace(f"@{name}@", ("\n\n" if name == "CARDS" else "\n").join(lines))
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name}: {len(QUESTIONS)} questions")
