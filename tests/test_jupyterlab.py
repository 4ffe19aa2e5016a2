"""A reader at work: exercises solved in JupyterLab, in a real browser, by writing the solution into its cell.

All of the chapters, and of the first interview question for the others, which are made alike.
"""

import ast
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from test_exercises import BOOK, FOUND, imports, top_level_names
from test_html import browser  # noqa: F401 (a fixture)

from mae.explore import EXPLORERS
from notebook_form import NOTEBOOK_METADATA

NOTEBOOKS = sorted({cell.notebook for _, cell in FOUND if not re.match(r"q(?!01)", cell.notebook)})
LIVE = ("faults", "shuffling", "patch_sizes")  # switches, sliders and menus
SETTINGS = {  # all cells in the page, not only those in view; no request for news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab of its own, on copies of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    (home / "book").mkdir()
    for name in NOTEBOOKS:  # without outputs, so that what is seen was done here
        notebook = nbformat.read(BOOK / name, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.execution_count, cell.outputs = None, []
        nbformat.write(notebook, home / "book" / name)
    cells = [nbformat.v4.new_code_cell(f"from mae import explore\n\nexplore.{name}()") for name in LIVE]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=NOTEBOOK_METADATA)
    nbformat.write(notebook, home / "book" / "explorers.ipynb")
    for name, setting in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home / 'book'}", "--allow-root"]
    environment = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "MAE_PROGRESS": str(home / "progress.json"),
    }
    log = open(home / "log", "w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={token}")
                break
            except OSError:
                assert server.poll() is None, (home / "log").read_text()
                time.sleep(0.5)
        yield lambda notebook: f"{address}/lab/tree/{notebook}?reset&token={token}"
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def cells_to_run(notebook, solutions) -> list[int]:
    """The cells that the exercises need: definitions, imports that a solution or check uses, exercises and checks."""
    used = {
        node.id
        for source in [*solutions, "check"]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name)
    }
    wanted = []
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        names = {
            a.asname or a.name.split(".")[0]
            for n in ast.walk(ast.parse(imports(cell.source)))
            for a in getattr(n, "names", ())
        }
        if {"definition", "exercise", "check"} & set(cell.metadata.get("tags", [])) or names & used:
            wanted.append(i)
        used -= top_level_names(cell.source)
    return wanted


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_is_solved_by_hand(name, lab, browser):  # noqa: F811
    solutions = {cell.stub: cell.solution for _, cell in FOUND if cell.notebook == name}
    notebook = nbformat.read(BOOK / name, as_version=4)
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(lab(name))
    cells = page.locator(".jp-NotebookPanel .jp-Notebook-cell")
    cells.nth(len(notebook.cells) - 1).wait_for(state="attached", timeout=120_000)
    page.locator("#jp-main-statusbar", has_text="Idle").wait_for(timeout=120_000)  # the kernel is there
    folds = page.locator("details", has=page.locator("summary", has_text=re.compile("^(Hint [12]|Solution)$")))
    assert folds.count() == 3 * len(solutions) and not page.locator("details[open]").count()
    for count, i in enumerate(cells_to_run(notebook, solutions.values()), 1):
        source, cell = notebook.cells[i].source, cells.nth(i)
        cell.locator(".cm-content").click()
        if source in solutions:
            page.keyboard.press("Control+a")
            page.keyboard.insert_text(solutions[source])
        page.keyboard.press("Control+Enter")
        cell.locator(".jp-InputPrompt", has_text=f"[{count}]:").wait_for(timeout=240_000)
        output = cell.locator(".jp-OutputArea").first
        if "check" in notebook.cells[i].metadata.get("tags", []):
            assert cell.locator(".mae-card strong").inner_text() == "Right", output.inner_text()
        assert not output.locator("[data-mime-type='application/vnd.jupyter.error']").count(), output.inner_text()
    context.close()


SHOWS = "([view, pictures]) => [...view.querySelectorAll('img')].map(img => img.src).join() === pictures.join()"


def test_explorers_are_live(lab, browser):  # noqa: F811
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(lab("explorers.ipynb"))
    cells = page.locator(".jp-NotebookPanel .jp-Notebook-cell")
    cells.nth(len(LIVE) - 1).wait_for(state="attached", timeout=120_000)
    page.locator("#jp-main-statusbar", has_text="Idle").wait_for(timeout=120_000)
    for k, name in enumerate(LIVE):
        explorer, cell = EXPLORERS[name](), cells.nth(k)
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        view = cell.locator(".mae-explorer")
        view.wait_for(timeout=240_000)
        assert view.count() == 1 and view.locator("[data-setting]").count() == 0  # the widget, and it alone
        chosen = {}
        for key, setting in explorer.settings.items():
            chosen[key] = len(setting.options) - 1 - setting.start  # from the first to the last, or the other way
            if setting.kind == "switch":
                view.get_by_label(setting.label).click()
            elif setting.kind == "menu":
                view.locator("select").select_option(setting.options[chosen[key]])
            else:
                slider = view.locator(".widget-hslider", has_text=setting.label).locator(".noUi-handle")
                slider.focus()
                for _ in range(abs(chosen[key] - setting.start)):
                    page.keyboard.press("ArrowRight" if chosen[key] > setting.start else "ArrowLeft")
            frame = explorer.frame(**chosen)
            view.locator(".says", has_text=frame.text).wait_for()
            assert view.locator(".name").all_inner_texts() == list(explorer.panels)
            pictures = re.findall(r'src="([^"]+)"', "".join(frame.panels.values()))
            page.wait_for_function(SHOWS, arg=[view.element_handle(), pictures])  # each panel comes by itself
    context.close()
