"""What the project's files say of one another holds."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
project = pyproject["project"]


def tracked(*patterns):
    """Paths of the files that git knows, as text files of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *patterns],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def pinned():
    """Requirements of the exact set, by canonical name."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-e"))]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def direct():
    """Requirements that pyproject.toml names, the optional groups included."""
    groups = project["optional-dependencies"].values()
    return [Requirement(line) for line in [*project["dependencies"], *(r for group in groups for r in group)]]


def test_pins_lie_in_the_ranges():
    pins = pinned()
    for requirement in direct():
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement} does not admit {pin.version}"


def test_pins_are_exact_and_name_no_build():
    for name, requirement in pinned().items():
        (pin,) = requirement.specifier
        assert pin.operator == "==", name
        assert Version(pin.version).local is None, f"{name}: write the version without a build suffix"


def test_the_package_itself_is_installed_last():
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8").rstrip().endswith("\n-e .")


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    source = (ROOT / "mae" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{project["version"]}"' in source
    assert citation["version"] == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_commands_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    named = set(re.findall(r"\bmake ([a-z]+)", "\n".join(re.findall(r"`[^`]+`|```.*?```", text, re.S))))
    assert named
    assert named <= targets, f"{name} names {named - targets}, which the Makefile has not"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text):
        assert (ROOT / target).exists(), f"{name} links to {target}"


PLACES = re.compile(r"(?<![\w./:-])/(?:home|root|Users|tmp|work)/\w")
# Shows such paths to the rule that forbids them.
EXEMPT = {"tests/test_notebooks_form.py"}


def test_no_file_names_a_place_on_one_machine():
    for path in tracked():
        if path.relative_to(ROOT).as_posix() in EXEMPT:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path.suffix == ".ipynb":
            text = re.sub(r'"image/png": "[^"]*"', "", text)
        assert not PLACES.search(text), f"{path.relative_to(ROOT)}: {PLACES.search(text)[0]!r}"


def test_chapters_are_in_the_contents():
    listed = set(re.findall(r"\b(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8")))
    there = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (ROOT / "book").iterdir()
        if path.suffix in (".ipynb", ".md")
    }
    assert there == listed


def test_references_are_cited_and_cited_works_are_references():
    bib = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{([^,\s]+),", bib, re.M)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")]
    for path in (ROOT / "book").glob("*.ipynb"):
        sources += [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(sources))
    cited = {key.strip() for role in roles for key in role.split(",")}
    assert len(entries) == len(set(entries)), "an entry stands twice"
    assert cited - set(entries) == set(), "cited, but not in book/references.bib"
    assert set(entries) - cited == set(), "in book/references.bib, but cited nowhere"


def test_python_versions_agree():
    assert project["requires-python"] == ">=3.11,<3.14"
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert re.findall(r'"(3\.\d+)"', workflow) == ["3.11", "3.12", "3.13"]
    assert sys.version_info[:2] in {(3, 11), (3, 12), (3, 13)}
