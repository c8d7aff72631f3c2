# SPDX-License-Identifier: Apache-2.0
"""What the displays of `ipcx.lab` have in common: one picture, as SVG and as text.

A `Display` is static: no script, no widget, nothing to be loaded, so it is still there when a
notebook was converted, printed or pushed to a code host. Its SVG has a title and a description for
those who do not see it, paints its own paper, and follows the reader's light or dark theme. The
colours are those of Okabe and Ito, which colour-blind eyes can tell apart, and whatever a colour
says is said by a shape, a dash or a word as well.

>>> from ipcx.lab.display import Display, Drawing
>>> class Greeting(Display):
...     title = "A greeting"
...     description = "One word in a picture."
...     def draw(self):
...         drawing = Drawing(120, 40)
...         drawing.text(20, 25, "hello")
...         return drawing
...     def text(self):
...         return "hello"
>>> print(Greeting())
hello
>>> Greeting().svg().startswith("<svg")
True

Invariants: the same facts make the same bytes, so that two displays can be compared; and what came
from outside reaches a picture or a terminal through `visible` alone.
"""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

__all__ = [
    "MOST_BYTES",
    "PALETTE",
    "Display",
    "Drawing",
    "duration",
    "hex_lines",
    "printable",
    "quantity",
    "short",
    "table",
    "visible",
    "width_of",
]

MOST_BYTES = 200_000  # of a display's SVG, however much it shows

# Each colour on light and on dark paper. Okabe and Ito's eight, but for blue on black, which their
# own light blue replaces, and greys.
PALETTE = {
    "paper": ("#ffffff", "#15181c"),
    "ink": ("#1a1a1a", "#f0f0f0"),
    "quiet": ("#595959", "#b4b9bf"),
    "faint": ("#c9cccf", "#454b52"),
    "blue": ("#0072b2", "#56b4e9"),
    "sky": ("#56b4e9", "#56b4e9"),
    "green": ("#009e73", "#009e73"),
    "orange": ("#e69f00", "#e69f00"),
    "yellow": ("#f0e442", "#f0e442"),
    "red": ("#d55e00", "#e8741a"),
    "purple": ("#cc79a7", "#cc79a7"),
}
SANS = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
HALO = {"stroke-width": "4", "paint-order": "stroke", "stroke-linejoin": "round"}
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


# ---- words and numbers


def visible(text: str) -> str:
    r"""The text with everything in it that is no printed character as an escape, such as ``\x1b``.

    XML forbids most control characters, a terminal obeys them, and marks for the direction of
    writing would turn around what stands beside them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one
        if one == " " or unicodedata.category(one)[0] not in "CZ"
        else one.encode("unicode_escape").decode()
        for one in text
    )


def printable(data: bytes) -> str:
    """Bytes as the right column of a hex dump shows them: a dot for what is no letter."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def hex_lines(data: bytes, a_line: int = 16) -> list[str]:
    """A hex dump: offset, bytes, letters."""
    return [
        f"{at:04x}  {data[at : at + a_line].hex(' '):{3 * a_line - 1}}  "
        + printable(data[at : at + a_line])
        for at in range(0, len(data), a_line)
    ]


def _wide(one: str) -> bool:
    return unicodedata.east_asian_width(one) in "WF"


def width_of(text: str, size: float = 12, mono: bool = False) -> float:
    """How wide the text is at most, in pixels; fonts differ, so it is a little more than it is."""
    if text.isascii():
        return len(text) * size * 0.61
    return sum(
        (1.0 if _wide(one) else 0.0 if unicodedata.combining(one) else 0.61) for one in text
    ) * size  # fmt: skip


def short(text: str, most: int) -> str:
    """The text, made `visible`, in `most` columns: what is too much is cut from its middle."""
    text = visible(text)
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return text[:head] + "…" + text[len(text) - (most - 1 - head) :]


def duration(seconds: float) -> str:
    """A time as people read it: 340 µs, 1.25 ms, 2.3 s."""
    if seconds < 0:
        return "-" + duration(-seconds)
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    unit, name = next((one for one in units if seconds >= one[0] * 0.9995), units[-1])
    value = seconds / unit
    return f"{value:.0f} {name}" if value >= 99.95 else f"{value:.3g} {name}"


def quantity(count: int, one: str, many: str = "") -> str:
    """A number and its noun: 1 byte, 2 bytes."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in aligned columns; the first is the head."""
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


# ---- the picture


def _number(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _dashes(dashed: bool | str) -> str:
    return dashed if isinstance(dashed, str) else "5 4"


def _style() -> str:
    """The colours by name, for light and dark, whoever says which: the system, or the notebook."""
    light, dark = (
        "".join(f"--i-{name}:{pair[i]};" for name, pair in PALETTE.items()) + f"color-scheme:{word}"
        for i, word in enumerate(("light", "dark"))
    )
    rules = [f"svg.ipcx{{{light}}}", f"@media (prefers-color-scheme:dark){{svg.ipcx{{{dark}}}}}"]
    for theme, word, colours in (("light", "true", light), ("dark", "false", dark)):
        # JupyterLab, Visual Studio Code, and pages made by Sphinx.
        hosts = f'[data-jp-theme-light="{word}"]', f".vscode-{theme}", f'[data-theme="{theme}"]'
        rules.append(",".join(f"{host} svg.ipcx" for host in hosts) + f"{{{colours}}}")
    for name in PALETTE:
        rules.append(f"svg.ipcx .f-{name}{{fill:var(--i-{name})}}")
        rules.append(f"svg.ipcx .s-{name}{{stroke:var(--i-{name})}}")
    return "".join(rules)


class Drawing:
    """A picture that grows piece by piece. Escaping is ElementTree's.

    Each shape can say its `kind`, a class that the structure is known by, and `hint`, what is shown
    when the pointer rests on it. Colours are names of `PALETTE`. What is given as `into`, a
    `group`, takes the shape in.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._root = ET.Element("g", {"fill": PALETTE["ink"][0], "class": "f-ink"})

    def group(
        self, kind: str = "", hint: str = "", into: ET.Element | None = None, halo: bool = False
    ) -> ET.Element:
        """Shapes that belong together; with `halo`, lines keep off the letters of all its texts."""
        classes = [*([kind] if kind else []), *(["s-paper"] if halo else [])]
        attributes = {"class": " ".join(classes)} if classes else {}
        if halo:
            attributes |= {"stroke": PALETTE["paper"][0], **HALO}
        made = ET.SubElement(self._root if into is None else into, "g", attributes)
        if hint:
            ET.SubElement(made, "title").text = "\n".join(map(visible, hint.split("\n")))
        return made

    def _shape(
        self,
        name: str,
        into: ET.Element | None,
        kind: str,
        fill: str,
        stroke: str,
        **attributes: float | str,
    ) -> ET.Element:
        made = ET.SubElement(self._root if into is None else into, name)
        classes = [kind] if kind else []
        for letter, attribute, colour in (("f", "fill", fill), ("s", "stroke", stroke)):
            if colour == "none":
                made.set(attribute, "none")
            elif colour:
                # For whoever drops the style sheet, as code hosts do.
                made.set(attribute, PALETTE[colour][0])
                classes.append(f"{letter}-{colour}")
        if classes:
            made.set("class", " ".join(classes))
        for key, value in attributes.items():
            made.set(key.replace("_", "-"), value if isinstance(value, str) else _number(value))
        return made

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        colour: str = "ink",
        width: float = 1.5,
        dashed: bool | str = False,
        kind: str = "",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """A straight line; `dashed` may say how, as SVG's ``stroke-dasharray`` does."""
        extra = {"stroke_dasharray": _dashes(dashed)} if dashed else {}
        return self._shape(
            "line", into, kind, "", colour, x1=x1, y1=y1, x2=x2, y2=y2, stroke_width=width, **extra
        )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str = "none",
        stroke: str = "",
        round: float = 0,
        opacity: float = 1,
        kind: str = "",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """A rectangle; `opacity` is its filling's."""
        extra: dict[str, float | str] = {"rx": round} if round else {}
        if opacity != 1:
            extra["fill_opacity"] = f"{opacity:g}"
        return self._shape(
            "rect", into, kind, fill, stroke, x=x, y=y, width=width, height=height, **extra
        )

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: str = "paper",
        stroke: str = "ink",
        kind: str = "",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """A circle."""
        return self._shape(
            "circle", into, kind, fill, stroke,
            cx=x, cy=y, r=radius, stroke_width=1.5, paint_order="normal",
        )  # fmt: skip

    def path(
        self,
        points: str,
        fill: str = "none",
        stroke: str = "ink",
        width: float = 1.5,
        dashed: bool | str = False,
        kind: str = "",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """Whatever else: `points` as in SVG's ``d``."""
        extra: dict[str, float | str] = {"stroke_dasharray": _dashes(dashed)} if dashed else {}
        if stroke not in ("", "none"):
            extra["stroke_width"] = width
        return self._shape("path", into, kind, fill, stroke, d=points, **extra)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 12,
        colour: str = "ink",
        anchor: str = "start",
        bold: bool = False,
        mono: bool = False,
        halo: bool = False,
        turn: float = 0,
        kind: str = "",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """A line of text, its letters standing on `y`; `turn` in degrees around (x, y).

        `halo`: it stands before lines, which keep off its letters.
        """
        extra: dict[str, float | str] = {}
        if anchor != "start":
            extra["text_anchor"] = anchor
        if size != 12:
            extra["font_size"] = size
        if bold:
            extra["font_weight"] = "600"
        if mono:
            extra["font_family"] = MONO
            extra["xml:space"] = "preserve"
        if halo:
            extra |= HALO
        if turn:
            extra["transform"] = f"rotate({_number(turn)} {_number(x)} {_number(y)})"
        stroke = "paper" if halo else ""
        fill = "" if colour == "ink" else colour  # as the whole picture has it
        made = self._shape("text", into, kind, fill, stroke, x=x, y=y, **extra)
        made.text = visible(text)
        return made

    def cells(
        self,
        y: float,
        cells: Iterable[tuple[float, str]],
        size: float = 12,
        kind: str = "",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """Short texts in a row, each around its own x, of letters that are all as wide."""
        made = self._shape(
            "text", into, kind, "", "", y=y, font_size=size, font_family=MONO, text_anchor="middle"
        )
        for x, text in cells:
            ET.SubElement(made, "tspan", {"x": _number(x)}).text = visible(text)
        return made

    def arrow(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        colour: str = "blue",
        width: float = 1.5,
        dashed: bool | str = False,
        head: float = 9,
        kind: str = "arrow",
        into: ET.Element | None = None,
    ) -> ET.Element:
        """A line that points to (x2, y2). No SVG marker: code hosts drop what is referred to."""
        made = self.group(kind, into=into)
        length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 0.1)
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        bx, by = x2 - ux * head, y2 - uy * head
        self.line(x1, y1, bx, by, colour, width, dashed, into=made)
        wing = head * 0.42
        corners = ((x2, y2), (bx - uy * wing, by + ux * wing), (bx + uy * wing, by - ux * wing))
        points = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in corners) + "Z"
        self.path(points, fill=colour, stroke="none", into=made)
        return made

    def note(self, x: float, y: float, text: str, most: int = 110) -> float:
        """Quiet words in lines of at most `most` characters; the `y` behind them."""
        line = ""
        for word in [*visible(text).split(" "), ""]:
            if line and (not word or len(line) + 1 + len(word) > most):
                self.text(x, y, line, 11, "quiet", kind="note")
                y, line = y + 15, ""
            line = f"{line} {word}" if line else word
        return y

    def svg(self, title: str, description: str) -> str:
        """The picture, with its title and its description."""
        title, description = visible(title), visible(description)
        inner = ET.tostring(self._root, encoding="unicode")
        # An id of its own wherever it is shown: several may stand on one page.
        key = f"i{zlib.crc32((title + description + inner).encode()):08x}"
        width, height = _number(self.width), _number(self.height)
        root = ET.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": "ipcx",
                "role": "img",
                "aria-labelledby": f"{key}t {key}d",
                "viewBox": f"0 0 {width} {height}",
                "width": width,
                "height": height,
                "style": "max-width:100%;height:auto",
                "font-family": SANS,
                "font-size": "12",
            },
        )
        ET.SubElement(root, "title", {"id": f"{key}t"}).text = title
        ET.SubElement(root, "desc", {"id": f"{key}d"}).text = description
        ET.SubElement(root, "style").text = _style()
        paper = {"width": "100%", "height": "100%", "fill": PALETTE["paper"][0], "class": "f-paper"}
        ET.SubElement(root, "rect", paper)
        root.append(self._root)
        return ET.tostring(root, encoding="unicode")


class Display:
    """A picture of what happened: `svg` for eyes, `text` for terminals, both saved by `save`.

    A notebook shows the picture, ``print()`` the text. Who makes a new one gives `title`,
    `description`, `draw` and `text`.
    """

    title: str = ""
    description: str = ""

    def draw(self) -> Drawing:
        """The picture, without its title."""
        raise NotImplementedError

    def svg(self) -> str:
        """The picture as a file of its own: static, without scripts, under 200 kB."""
        return self.draw().svg(self.title, self.description)

    def text(self) -> str:
        """The same facts for a terminal."""
        raise NotImplementedError

    def html(self) -> str:
        """A page with the picture, and the text folded below it."""
        title, text = ET.Element("title"), ET.Element("pre")
        title.text, text.text = visible(self.title), self.text()
        return (
            '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
            '<meta name="color-scheme" content="light dark">'
            f"{ET.tostring(title, 'unicode')}</head>\n<body>\n{self.svg()}\n"
            f"<details><summary>as text</summary>{ET.tostring(text, 'unicode')}</details>\n"
            "</body>\n</html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it to `path`, whose end says as what: .svg, .html or .txt."""
        target = Path(path)
        forms = {".svg": self.svg, ".html": self.html, ".txt": self.text}
        form = forms.get(target.suffix.lower())
        if form is None:
            raise ValueError(f"a display is saved as .svg, .html or .txt, not as {target.name!r}")
        target.write_text(form().rstrip("\n") + "\n", encoding="utf-8")
        return target

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, str]:
        # JupyterLab shows image/svg+xml as an image, in which nothing can be pointed at; within
        # text/html the same SVG tells what is under the pointer.
        svg = self.svg()
        bundle = {
            "text/html": f"<div>{svg}</div>",
            "image/svg+xml": svg,
            "text/plain": self.text(),
        }
        return {
            kind: bundle[kind]
            for kind in bundle
            if (include is None or kind in include) and kind not in (exclude or ())
        }

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {visible(self.title)}>"
