"""Run notebooks from top to bottom and store their outputs: ``python tools/refresh.py [NOTEBOOK ...]``.

Each notebook runs in a fresh kernel, in its own folder, without progress bars. It is written back only if
every cell ran, and without what differs from one run to the next (versions, timings, widget state). What the
form of a chapter still asks for is printed.
"""

import os
import sys
import tempfile
import time
from copy import deepcopy
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from notebook_form import CELL_METADATA, NOTEBOOK_METADATA, faults

BOOK = Path(__file__).resolve().parent.parent / "book"


def normalize(notebook):
    """Drop metadata that only says where and when the notebook was run; works in place."""
    notebook.metadata.clear()
    notebook.metadata.update(deepcopy(NOTEBOOK_METADATA))
    for cell in notebook.cells:
        for key in set(cell.metadata) - CELL_METADATA:
            del cell.metadata[key]
        for output in cell.get("outputs", ()):  # a widget whose kernel is gone would hide the static version beside it
            if "text/html" in output.get("data", {}):
                output["data"].pop("application/vnd.jupyter.widget-view+json", None)


def refresh(path):
    """Execute the notebook at ``path`` and write it back with its new outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(path.parent))
    normalize(notebook)
    _, notebook = nbformat.validator.normalize(notebook)
    unfinished = path.with_suffix(".tmp")
    nbformat.write(notebook, unfinished)
    unfinished.replace(path)


def main(arguments):
    """Refresh the named notebooks, or every one in the book."""
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["MAE_OFFLINE"] = "1"  # what is stored is what a reader without a network sees
    os.environ["MAE_PROGRESS"] = os.path.join(tempfile.gettempdir(), "mae-no-such-folder", "progress.json")
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    for path in [Path(a).resolve() for a in arguments] or sorted(BOOK.glob("*.ipynb")):
        start = time.perf_counter()
        refresh(path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", *faults(path), sep="\n  ", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
