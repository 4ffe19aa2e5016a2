"""Show code, tables and sounds in a notebook, readable in a front end, in the built page and in either theme."""

import base64
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from html import escape

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


class Sounds:
    """Sounds to listen to, each with its name: players that need no other file and no other host.

    Parameters
    ----------
    clips : mapping of str to bytes
        WAV files, as `mae.audio.wav_bytes` makes them.

    Raises
    ------
    ValueError
        If something is not a WAV file.
    """

    def __init__(self, clips: Mapping[str, bytes]):
        for name, content in clips.items():
            if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
                raise ValueError(f"expected a WAV file for {name!r}, got {content[:12]!r}: use `wav_bytes`")
        self.clips = dict(clips)

    def __repr__(self) -> str:
        return f"Sounds to listen to: {', '.join(self.clips)}"

    def _repr_html_(self) -> str:
        rows = "".join(
            '<div style="display:flex;flex-wrap:wrap;align-items:center;gap:.2em 1em;margin:.5em 0">'
            f'<span style="flex:0 0 13em">{escape(name)}</span>'
            f'<audio controls preload="metadata" aria-label="{escape(name)}" style="height:2.5em;max-width:100%" '
            f'src="data:audio/wav;base64,{base64.b64encode(content).decode()}"></audio></div>'
            for name, content in self.clips.items()
        )
        return f'<div class="mae-sounds">{rows}</div>'
