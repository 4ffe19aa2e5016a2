"""Every notebook in which the exercises are solved runs from top to bottom, and every check says "Right"."""

import nbformat
import pytest
from nbclient import NotebookClient
from test_exercises import BOOK, FOUND


def run_solved(name, record):
    """Run the notebook with its solutions in place of the stubs; give back what its checks said."""
    solutions = {cell.stub: cell.solution for _, cell in FOUND if cell.notebook == name}
    notebook = nbformat.read(BOOK / name, as_version=4)
    for cell in notebook.cells:
        cell.source = solutions.get(cell.source, cell.source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAE_PROGRESS", str(record))
        where = {"metadata": {"path": str(BOOK)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    cards = [
        output.data["text/plain"]
        for cell in notebook.cells
        if "check" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(cards) == len(solutions)
    return cards


# A class for each notebook: parallel workers share out tests by class.
for name in sorted({cell.notebook for _, cell in FOUND}):

    class Solved:
        notebook = name

        def test_solved_notebook_runs(self, tmp_path):
            cards = run_solved(self.notebook, tmp_path / "progress.json")
            assert all(card.startswith("✓ Right") for card in cards), cards

    globals()[f"Test_{name.removesuffix('.ipynb')}"] = Solved
del Solved
