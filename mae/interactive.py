"""Explorers: what a reader sets, what it shows. Live in Jupyter, and in a built page, without a kernel or a network.

An `Explorer` is a pure function of a few settings. Jupyter shows it as widgets; a page shows the same frames, all drawn
beforehand, with the browser's own sliders and menus and a few lines of script. Without a script, the first frame stays.
"""

import base64
import io
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np
from PIL import Image


def _mix(low: tuple[int, ...], high: tuple[int, ...], steps: int) -> list[int]:
    return np.linspace(low, high, steps).round().astype(int).flatten().tolist()


# Fifteen shades of one colour, then one for what is hidden (grey) or marked (orange).
HIDDEN, MARK = (0x9A, 0xA3, 0xAF), (0xD5, 0x5E, 0x00)
PALETTES = {
    "grey": [*_mix((0, 0, 0), (255, 255, 255), 15), *HIDDEN],
    "marked": [*_mix((0, 0, 0), (255, 255, 255), 15), *MARK],
    "heat": [*_mix((245, 248, 251), (0, 72, 130), 15), *MARK],
}
SPECIAL = 15


def pixels(picture: np.ndarray, special: np.ndarray | None = None) -> np.ndarray:
    """The sixteen levels of a small picture: what `image` stores and a browser shows.

    Parameters
    ----------
    picture : ndarray, (H, W)
        Values between 0 and 1; others are clipped.
    special : ndarray, (H, W), bool, optional
        Where to show the palette's last colour instead: grey for what is hidden, orange for a mark.

    Returns
    -------
    ndarray, (H, W), uint8
        0 to 14, and 15 where special.
    """
    levels = (np.clip(np.asarray(picture, dtype=float), 0, 1) * (SPECIAL - 1)).round().astype(np.uint8)
    return levels if special is None else np.where(np.asarray(special), SPECIAL, levels).astype(np.uint8)


def image(levels: np.ndarray, alt: str, palette: str = "grey") -> str:
    """A small picture as HTML, enlarged without smoothing.

    Parameters
    ----------
    levels : ndarray, (H, W), uint8
        As `pixels` gives them.
    alt : str
        What the picture shows.
    palette : {"grey", "marked", "heat"}
    """
    picture = Image.fromarray(levels)
    picture = picture.convert("P") if picture.mode != "P" else picture
    picture.putpalette(PALETTES[palette])
    file = io.BytesIO()
    picture.save(file, "PNG", bits=4, optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img decoding="sync" alt="{escape(alt)}" src="data:image/png;base64,{data}">'


@dataclass(frozen=True)
class Setting:
    """One thing that the reader sets.

    Parameters
    ----------
    label : str
    options : tuple of str
        What can be chosen, in order. A switch has two, for off and on.
    kind : {"slider", "menu", "switch"}
    start : int
        The option that is chosen at first.
    """

    label: str
    options: tuple[str, ...]
    kind: str = "slider"
    start: int = 0

    def __post_init__(self):
        object.__setattr__(self, "options", tuple(self.options))
        if self.kind not in ("slider", "menu", "switch") or (self.kind == "switch" and len(self.options) != 2):
            raise ValueError(f'expected kind "slider", "menu", or "switch" with two options, got {self.kind!r}')
        if not 0 <= self.start < len(self.options):
            raise ValueError(f"expected a start from 0 to {len(self.options) - 1}, got {self.start}")


@dataclass(frozen=True)
class Frame:
    """What an explorer shows for one choice of settings.

    Parameters
    ----------
    panels : mapping of str to str
        HTML under its name: pictures by `image`, SVG, or text. Each frame of an explorer has the same names.
    text : str
        A sentence that says what is seen, for those who see it and for those who don't.
    values : mapping of str to float
        Numbers behind the sentence, not rounded.
    """

    panels: Mapping[str, str]
    text: str
    values: Mapping[str, float] = field(default_factory=dict)


STYLE = (
    ".mae-explorer{border:1px solid #808080;border-radius:6px;padding:.7em .9em;margin:0 0 1em;max-width:44em}"
    ".mae-explorer .controls{display:flex;flex-wrap:wrap;gap:.4em 1.6em;margin:0 0 .7em}"
    ".mae-explorer .controls[hidden]{display:none}"
    ".mae-explorer label{display:flex;gap:.5em;align-items:center;cursor:pointer}"
    ".mae-explorer select{font:inherit;max-width:14em}"
    ".mae-explorer input[type=range]{width:9em}"
    ".mae-explorer output{min-width:3em}"
    ".mae-explorer .panels{display:flex;flex-wrap:wrap;gap:.8em}"
    ".mae-explorer .name{font-size:.85em;line-height:1.4}"
    ".mae-explorer img{width:7.4em;max-width:none!important;height:auto;image-rendering:pixelated;display:block;"
    "margin:0!important;padding:0!important;border-radius:0!important;background:none!important;filter:none!important}"
    ".mae-explorer.rows .panel{flex:1 1 100%;display:flex;flex-wrap:wrap;align-items:center;gap:0 .8em}"
    ".mae-explorer.rows .panels{gap:0}"
    ".mae-explorer.rows .name{order:-1;width:5em}"
    ".mae-explorer .says{margin:.6em 0 0;line-height:1.4}"
    ".mae-explorer svg{display:block;max-width:100%;height:auto}"
    ".mae-explorer svg text{fill:currentColor;font-size:11px}"
)

# Shows the parts of the chosen frame; a part that stays the same is not touched.
SCRIPT = """(function(root){
var data=JSON.parse(root.querySelector("script[type='application/json']").textContent);
var inputs=root.querySelectorAll("[data-setting]"),places=root.querySelectorAll("[data-part]"),shown=[];
data.parts.forEach(function(part){part.middle=part.middle.split("\\n");});
function show(){
var frame=0;
inputs.forEach(function(input,i){
var at=input.type==="checkbox"?+input.checked:+input.value,said=input.parentNode.querySelector("output");
frame=frame*data.options[i].length+at;
if(said){said.textContent=data.options[i][at];input.setAttribute("aria-valuetext",data.options[i][at]);}
});
data.parts.forEach(function(part,i){
var k=part.of[frame];
if(shown[i]!==k){shown[i]=k;places[i].innerHTML=part.head+part.middle[k+1]+part.tail;}
});
}
root.addEventListener("input",show);
root.querySelector(".controls").hidden=false;
show();
})(document.currentScript.closest(".mae-explorer"));"""

WITHOUT_SCRIPT = "To move the controls, this page needs JavaScript; without it, you see the first picture."


def _beginning(texts: list[str]) -> str:
    """What all texts begin with."""
    low, high = min(texts), max(texts)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
    return "".join(letter for letter, _ in same)


def _shared(texts: list[str]) -> tuple[str, str]:
    """The beginning and the end that all texts have in common."""
    head = _beginning(texts)
    head = "" if head.startswith("/") else head  # behind a quotation mark, "//" would look like an address
    tail = _beginning([text[len(head) :][::-1] for text in texts])[::-1]
    return head, tail.lstrip("/")


class Explorer:
    """A picture that follows a few settings.

    Parameters
    ----------
    name : str
        Unique in the book.
    title : str
        What it lets the reader explore; read out for the group of its controls.
    settings : mapping of str to Setting
        By the names under which `render` takes them.
    render : callable
        Takes the number of the chosen option of each setting, by name, and returns a `Frame`. The same numbers give
        the same frame.
    rows : bool
        Give each panel a line of its own.
    """

    def __init__(
        self,
        name: str,
        title: str,
        settings: Mapping[str, Setting],
        render: Callable[..., Frame],
        *,
        rows: bool = False,
    ):
        self.name, self.title, self.settings, self.render = name, title, dict(settings), render
        self._classes = ("mae-explorer", "rows") if rows else ("mae-explorer",)
        self._frames: dict[tuple[int, ...], Frame] = {}
        self.panels = tuple(self.frame().panels)

    def __repr__(self) -> str:
        sizes = " × ".join(f"{len(setting.options)} {name}" for name, setting in self.settings.items())
        return f"<Explorer {self.name!r}: {sizes} = {len(self.choices())} pictures>"

    def choices(self) -> list[tuple[int, ...]]:
        """Every choice of settings, the last setting changing fastest."""
        return list(itertools.product(*(range(len(setting.options)) for setting in self.settings.values())))

    def frame(self, **chosen: int) -> Frame:
        """The frame of a choice; drawn once, then remembered.

        Parameters
        ----------
        **chosen : int
            The number of an option, by setting; a setting that is not named is at its start.
        """
        if unknown := set(chosen) - set(self.settings):
            raise ValueError(f"expected settings among {', '.join(self.settings)}, got {', '.join(sorted(unknown))}")
        key = tuple(chosen.get(name, setting.start) for name, setting in self.settings.items())
        if key not in self._frames:
            frame = self.render(**dict(zip(self.settings, key, strict=True)))
            for part in (*frame.panels.values(), frame.text):
                if "\n" in part:
                    raise ValueError(f"expected HTML without line breaks, got {part[:60]!r}")
            self._frames[key] = frame
        return self._frames[key]

    def html(self) -> str:
        """A version that needs no kernel: all frames, and a script that shows the chosen one."""
        frames = [self.frame(**dict(zip(self.settings, choice, strict=True))) for choice in self.choices()]
        parts = []
        for texts in ([f.panels[name] for f in frames] for name in self.panels):
            parts.append(self._packed(texts))
        parts.append(self._packed([f.text for f in frames]))
        options = [setting.options for setting in self.settings.values()]
        data = json.dumps({"options": options, "parts": parts}, ensure_ascii=False, separators=(",", ":"))
        data = data.replace("<", "\\u003c")
        first = self.frame()
        figures = "".join(
            f'<div class="panel"><div data-part>{part}</div><div class="name">{escape(name)}</div></div>'
            for name, part in first.panels.items()
        )
        controls = "".join(self._control(setting) for setting in self.settings.values())
        return (
            f'<div class="{" ".join(self._classes)}" data-explorer="{self.name}" role="group"'
            f' aria-label="{escape(self.title)}"><style>{STYLE}</style>'
            f'<div class="controls" hidden>{controls}</div><div class="panels">{figures}</div>'
            f'<p class="says" role="status" aria-live="polite" data-part>{first.text}</p>'
            f"<noscript>{WITHOUT_SCRIPT}</noscript>"
            f'<script type="application/json">{data}</script><script>{SCRIPT}</script></div>'
        )

    @staticmethod
    def _packed(texts: list[str]) -> dict:
        """Different texts once, without what all have in common, and which of them each frame shows."""
        kinds = list(dict.fromkeys(texts))
        head, tail = _shared(kinds)
        # A line break before each, so that no address-like text ("//…") comes to stand behind a quotation mark.
        middle = "".join("\n" + text[len(head) : len(text) - len(tail)] for text in kinds)
        place = {text: i for i, text in enumerate(kinds)}
        return {"head": head, "middle": middle, "tail": tail, "of": [place[text] for text in texts]}

    @staticmethod
    def _control(setting: Setting) -> str:
        label = escape(setting.label)
        if setting.kind == "switch":
            checked = " checked" if setting.start else ""
            return f'<label><input type="checkbox" data-setting{checked}>{label}</label>'
        if setting.kind == "slider":
            return (
                f'<label>{label}<input type="range" min="0" max="{len(setting.options) - 1}" value="{setting.start}"'
                f' data-setting aria-valuetext="{escape(setting.options[setting.start])}">'
                f"<output>{escape(setting.options[setting.start])}</output></label>"
            )
        options = "".join(
            f'<option value="{i}"{" selected" if i == setting.start else ""}>{escape(option)}</option>'
            for i, option in enumerate(setting.options)
        )
        return f"<label>{label}<select data-setting>{options}</select></label>"

    def widget(self):
        """The live version.

        Returns
        -------
        ipywidgets.VBox
            Its controls in the order of the settings; a panel is touched only when what it shows has changed.
        """
        import ipywidgets as widgets

        layout = widgets.Layout(width="auto", max_width="100%")
        wide = {"description_width": "initial"}
        controls = {}
        for name, setting in self.settings.items():
            options = [(option, i) for i, option in enumerate(setting.options)]
            common = {"description": setting.label, "style": wide, "layout": layout}
            if setting.kind == "switch":
                controls[name] = widgets.Checkbox(value=bool(setting.start), indent=False, **common)
            elif setting.kind == "slider":
                controls[name] = widgets.SelectionSlider(options=options, value=setting.start, **common)
            else:
                controls[name] = widgets.Dropdown(options=options, value=setting.start, **common)
        panels = {name: widgets.HTML() for name in self.panels}
        says = widgets.HTML()

        def show(_=None) -> None:
            frame = self.frame(**{name: int(control.value) for name, control in controls.items()})
            for name, part in frame.panels.items():
                panels[name].value = f'<div class="panel"><div>{part}</div><div class="name">{escape(name)}</div></div>'
            says.value = f'<p class="says" role="status" aria-live="polite">{frame.text}</p>'

        show()
        for control in controls.values():
            control.observe(show, "value")
        row = {"display": "flex", "flex_flow": "row wrap", "grid_gap": "0.4em 1.4em"}
        view = widgets.VBox(
            [
                widgets.HTML(f"<style>{STYLE}</style>"),
                widgets.Box(list(controls.values()), layout=widgets.Layout(**row)),
                widgets.Box(list(panels.values()), layout=widgets.Layout(**row)),
                says,
            ]
        )
        for name in self._classes:
            view.add_class(name)
        return view

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """Both versions at once: a front end with a kernel shows the widget, a page shows the HTML."""
        bundle = {"text/plain": repr(self), "text/html": self.html()}
        try:
            live = self.widget()._repr_mimebundle_()
        except ImportError:  # without ipywidgets, the HTML is all there is
            return bundle
        kind = "application/vnd.jupyter.widget-view+json"
        return {**bundle, kind: live[kind]} if kind in live else bundle
