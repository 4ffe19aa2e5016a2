"""What notebooks show of the package is its code, and tables that Markdown reads."""

import ast
import base64
import re

import pytest
import torch

from mae.audio import wav_bytes
from mae.masking import Mask, random_mask
from mae.model import MaskedAutoencoder
from mae.notebook import Sounds, show_source, table
from mae.patches import _pair


def code(thing):
    """The code that is shown, out of its fence."""
    lines = show_source(thing).data.split("\n")
    assert lines[0] == "```python" and lines[-1] == "```"
    return "\n".join(lines[1:-1])


def test_source_is_shown_without_its_docstring():
    shown = code(random_mask)
    assert shown.startswith("def random_mask(batch: int")
    assert '"""' not in shown and "He et al." not in shown
    assert ast.get_docstring(ast.parse(shown).body[0]) is None


def test_what_is_shown_is_what_runs(seeded):
    scope = dict(random_mask.__globals__)
    exec(code(random_mask), scope)
    mask, again = (rule(3, 8, 0.5, generator=seeded()) for rule in (random_mask, scope["random_mask"]))
    assert torch.equal(mask.hidden, again.hidden)


def test_methods_classes_and_bare_functions_are_shown():
    assert code(MaskedAutoencoder.forward).startswith("def forward(self, patches: Tensor")
    shown = ast.parse(code(Mask)).body[0]
    assert isinstance(shown, ast.ClassDef) and ast.get_docstring(shown) is None
    assert code(_pair).startswith("def _pair(size")  # has no docstring


def test_tables_align_numbers_to_the_right():
    shown = table([{"name": "drop", "error": "0.03", "change": "−2 %"}, {"name": "zero", "error": 1, "change": "+4 %"}])
    assert shown.data.split("\n") == [
        "| name | error | change |",
        "| :-- | --: | --: |",
        "| drop | 0.03 | −2 % |",
        "| zero | 1 | +4 % |",
    ]


def test_tables_with_other_columns_are_refused():
    with pytest.raises(ValueError, match=r"expected the columns \['a'\] in every row, got .*\['b'\]"):
        table([{"a": 1}, {"b": 2}])


def test_sounds_are_players_with_names():
    sounds = Sounds({"as spoken": wav_bytes(torch.zeros(10)), "<filled>": wav_bytes(torch.ones(10))})
    shown = sounds._repr_html_()
    assert shown.count("<audio controls") == 2 and "autoplay" not in shown
    assert 'aria-label="&lt;filled&gt;"' in shown and "<filled>" not in shown
    data = re.findall(r'src="data:audio/wav;base64,([^"]+)"', shown)
    assert [base64.b64decode(content) for content in data] == list(sounds.clips.values())
    assert repr(sounds) == "Sounds to listen to: as spoken, <filled>"
    with pytest.raises(ValueError, match="expected a WAV file for 'noise'.*`wav_bytes`"):
        Sounds({"noise": b"123"})
