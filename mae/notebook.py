"""Show code and tables in a notebook, readable in a front end, in the built page and in either theme."""

import inspect
import textwrap
from collections.abc import Mapping, Sequence

from IPython.display import Markdown


def show_source(thing) -> Markdown:
    """The source of a function or class of this package, as it is installed.

    Parameters
    ----------
    thing : function, method or class

    Returns
    -------
    Markdown
        A code block without the docstring, which the reader has just read about in the text.
    """
    source = textwrap.dedent(inspect.getsource(thing))
    if thing.__doc__:
        start = source.index('"""')
        end = source.index('"""', start + 3) + 3
        source = source[:start].rstrip() + "\n" + source[end:].lstrip("\n")
    return Markdown(f"```python\n{source.rstrip()}\n```")


def table(rows: Sequence[Mapping[str, object]]) -> Markdown:
    """A table, one row per mapping; numbers are aligned to the right.

    Parameters
    ----------
    rows : sequence of mapping
        All with the same keys, which become the header. Values are shown as ``str`` gives them: format floats
        before.

    Returns
    -------
    Markdown
    """
    header = list(rows[0])
    if any(list(row) != header for row in rows):
        raise ValueError(f"expected the columns {header} in every row, got {[list(row) for row in rows]}")
    right = [all(str(row[name])[:1] in "0123456789+-−" for row in rows) for name in header]
    lines = [header, ["--:" if r else ":--" for r in right], *([str(row[name]) for name in header] for row in rows)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))
