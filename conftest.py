"""What every test run needs, set before torch or a notebook kernel starts."""

import os
import tempfile

os.environ.setdefault("TQDM_DISABLE", "1")  # a progress bar must not count as a cell's output
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or each kernel warns about frozen modules

# The exercises' record of what is solved: a file that isn't there, not the reader's own.
os.environ["MAE_PROGRESS"] = os.path.join(tempfile.gettempdir(), "mae-tests-no-such-folder", "progress.json")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: one thread each is faster than several that wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
