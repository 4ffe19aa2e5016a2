"""Every public name of the package is documented, modules import in one direction only, and importing is silent."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mae

FOLDER = Path(mae.__file__).parent
# From the ground up: a module imports only from modules before it.
ORDER = [
    "patches",
    "masking",
    "losses",
    "linear",
    "attention",
    "model",
    "flops",
    "fully_connected",
    "data",
    "text",
    "audio",
    "canvases",
    "images",
    "photographs",
    "train",
    "evaluate",
    "dense",
    "weights",
    "download",
    "official",
    "hugging_face",
    "trainer",
    "experiments",
    "ablations",
    "augmentation",
    "series",
    "tables",
    "anomaly",
    "regularization",
    "generation",
    "denoising",
    "speech",
    "molecules",
    "properties",
    "upscaling",
    "senses",
    "exposure",
    "enhancement",
    "style",
    "recognition",
    "text_experiments",
    "faces",
    "replays",
    "dense_experiments",
    "plot",
    "interactive",
    "explore",
    "notebook",
    "__main__",
]


def public(module):
    """Functions and classes that the module defines for others."""
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield name, thing


def public_methods(cls):
    """Methods and properties that the class itself defines for others."""
    for name, thing in vars(cls).items():
        thing = getattr(thing, "__func__", getattr(thing, "fget", thing))
        if not name.startswith("_") and inspect.isfunction(thing):
            yield name, thing


MODULES = [importlib.import_module(f"mae.{name}") for name in ORDER]
NAMES = [pytest.param(thing, id=f"{module.__name__}.{name}") for module in MODULES for name, thing in public(module)]
METHODS = [
    pytest.param(cls.values[0], name, method, id=f"{cls.id}.{name}")
    for cls in NAMES
    if inspect.isclass(cls.values[0])
    for name, method in public_methods(cls.values[0])
]


def parameters(thing):
    """Names that a caller passes; stars as numpydoc has them."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(thing).parameters.values()
    return [stars.get(p.kind, "") + p.name for p in found if p.name not in ("self", "cls")]


def documented(docstring):
    """Names in the Parameters section; none if there is no such section."""
    section = re.search(r"^Parameters\n-{10}\n(.*?)(?=\n\n\S|\Z)", docstring, re.M | re.S)
    if section is None:
        return []
    heads = [line.split(" : ")[0] for line in section[1].split("\n") if re.match(r"\S", line)]
    return [name.strip() for head in heads for name in head.split(",")]


def test_there_is_something_to_check():
    assert len(NAMES) > 40 and len(METHODS) > 15
    assert {module.__name__ for module in MODULES} == {
        f"mae.{path.stem}" for path in FOLDER.glob("*.py") if path.stem != "__init__"
    }


@pytest.mark.parametrize("thing", NAMES)
def test_public_names_document_each_parameter(thing):
    text = inspect.getdoc(thing)
    assert text, "no docstring"
    assert thing.__doc__ in inspect.getsource(thing), "not its own docstring"
    assert text.split("\n")[0].endswith(tuple(".:")), "the first line is a sentence"
    assert sorted(documented(text)) == sorted(parameters(thing))


@pytest.mark.parametrize(("cls", "name", "method"), METHODS)
def test_public_methods_are_documented(cls, name, method):
    if name == "forward" and "→" in cls.__doc__:
        return  # a building block, whose docstring says what goes in and out
    text = inspect.getdoc(method) if method.__doc__ else None
    assert text, "no docstring"
    if "Parameters\n---" in text:
        assert sorted(documented(text)) == sorted(parameters(method))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_modules_say_what_they_are(module):
    assert module.__doc__ and module.__doc__.split("\n")[0].endswith((".", ":", "."))


def test_public_names_of_the_package_are_listed_and_documented():
    assert mae.__all__ == sorted(mae.__all__)
    for name in mae.__all__:
        assert getattr(mae, name).__doc__
    assert re.fullmatch(r"\d+\.\d+\.\d+", mae.__version__)


def imported(path):
    """Modules that the file imports anywhere, in full."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: write imports in full"
            yield node.module
            if node.module == "mae":
                yield from (f"mae.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name):
    before = {f"mae.{other}" for other in ORDER[: ORDER.index(name)]}
    own = {module for module in imported(FOLDER / f"{name}.py") if module.split(".")[0] == "mae"}
    assert own <= before, f"mae.{name} imports {own - before}"


@pytest.mark.parametrize("name", [name for name in ORDER if name != "plot"])
def test_only_plot_imports_plotting(name):
    others = {module.split(".")[0] for module in imported(FOLDER / f"{name}.py")}
    assert not others & {"matplotlib", "seaborn"}
    assert name == "interactive" or "ipywidgets" not in others
    assert name == "notebook" or "IPython" not in others


def test_importing_is_silent_and_seeds_nothing():
    check = """
import json, random, sys
import numpy, sklearn.linear_model, torch  # scikit-learn imports rich where it is installed, and that draws a number
warnings = []
def states():
    return [random.getstate()[1], numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
before, threads = states(), torch.get_num_threads()
import mae
import mae.evaluate, mae.experiments, mae.fully_connected
loaded = sorted({name.split(".")[0] for name in sys.modules} & {"matplotlib", "IPython", "ipywidgets"})
import mae.plot
same = states() == before and torch.get_num_threads() == threads and torch.get_default_dtype() == torch.float32
import matplotlib
settings = {k: v for k, v in matplotlib.rcParams.items() if v != matplotlib.rcParamsDefault[k] and k != "backend"}
print(json.dumps([same, loaded, list(settings)]))
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == [True, [], []]


FORBIDDEN = re.compile(r"\bprint\(|plt\.show\(|rcParams|set_num_threads|filterwarnings")


@pytest.mark.parametrize("name", ORDER)
def test_the_library_is_quiet_and_seeds_generators_only(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert set(FORBIDDEN.findall(source)) <= ({"print("} if name == "__main__" else set())
    assert "seed(" not in source.replace("torch.Generator().manual_seed(", "")
