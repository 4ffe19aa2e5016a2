"""What every test run needs, set before torch or a notebook kernel starts."""

import os
import tempfile

os.environ.setdefault("TQDM_DISABLE", "1")  # a progress bar must not count as a cell's output
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or each kernel warns about frozen modules

os.environ.setdefault("MAE_OFFLINE", "1")  # no test downloads weights
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The exercises' record of what is solved: a file that isn't there, not the reader's own.
os.environ["MAE_PROGRESS"] = os.path.join(tempfile.gettempdir(), "mae-tests-no-such-folder", "progress.json")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: one thread each is faster than several that wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_terminal_summary(terminalreporter):
    """Print what tests/test_exercises.py proved, one line per exercise."""
    table = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "exercise":
                    table.setdefault(value[0], {})[value[1]] = value[2]
    if not table:
        return
    terminalreporter.section("exercises")
    row = "{:<28}{:>6}{:>10}{:>9}{:>12}{:>8}{:>10}".format
    terminalreporter.line("wrong answers rejected: with the matching message, with another, accepted (must be 0)")
    terminalreporter.line(row("exercise", "seeds", "seconds", "matching", "another", "accept", "cheats"))
    total = [0, 0, 0]
    for id, found in sorted(table.items()):
        wrong = found.get("wrong", [0, 0, 0])
        total = [a + b for a, b in zip(total, wrong, strict=True)]
        seeds, seconds = found.get("accepted", (0, 0.0))
        terminalreporter.line(row(id, seeds, f"{seconds:.2f}", *wrong, found.get("cheats", "-")))
    times = [(found["accepted"][1], id) for id, found in table.items() if "accepted" in found]
    longest = max(times, default=(0.0, "-"))
    accepted = sum("accepted" in found for found in table.values())
    terminalreporter.line(
        f"{len(table)} exercises, {accepted} solutions accepted; wrong answers: {total[0]} matching, {total[1]} with "
        f"another message, {total[2]} accepted; longest check: {longest[0]:.2f} s ({longest[1]})"
    )
