"""Sphinx extension: an HTML book that is complete in its folder, and no heavier than it must be."""

from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, rmtree

# What can be loaded while an equation is set. The rest of MathJax (other inputs and outputs, speech) is 20 MB
# that no page asks for.
MATHJAX = ["tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions"]

# Never loaded by a page: source maps, a second format of the icon fonts, translations, other services' logos.
UNUSED = ["**/*.map", "**/*.ttf", "**/locales", "images/logo_*", "**/*webpack-macros.html"]


def finish(app, error):
    """Put MathJax into the built book and take out what its pages never load."""
    if error is not None or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for name in MATHJAX:
        target = static / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            copytree(source / name, target, dirs_exist_ok=True)
        else:
            target.write_bytes((source / name).read_bytes())
    for pattern in UNUSED:
        for path in list(static.glob(pattern)):
            rmtree(path) if path.is_dir() else path.unlink()


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("build-finished", finish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
