"""Every notebook in which the exercises are solved runs from top to bottom, and every check says "Right"."""

import nbformat
import pytest
from nbclient import NotebookClient
from test_exercises import BOOK, FOUND

NOTEBOOKS = sorted({cell.notebook for _, cell in FOUND})


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_solved_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_PROGRESS", str(tmp_path / "progress.json"))
    solutions = {cell.stub: cell.solution for _, cell in FOUND if cell.notebook == name}
    notebook = nbformat.read(BOOK / name, as_version=4)
    for cell in notebook.cells:
        cell.source = solutions.get(cell.source, cell.source)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(BOOK)}}).execute()
    cards = [
        output.data["text/plain"]
        for cell in notebook.cells
        if "check" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(cards) == len(solutions) and all(card.startswith("✓ Right") for card in cards), cards
