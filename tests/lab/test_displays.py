"""What the displays of ipcx.lab have in common: words, shapes, escaping, and how they are saved."""

import doctest
import importlib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ipcx.lab import display
from ipcx.lab.display import PALETTE, Display, Drawing, duration, short, table, visible, width_of

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>&\"'\x00\x1b[31m\u202eevil\udc80\ufffe]]>\n"


class Sample(Display):
    title = HOSTILE
    description = HOSTILE

    def draw(self):
        drawing = Drawing(200, 100)
        group = drawing.group("thing", hint=HOSTILE)
        drawing.text(10, 20, HOSTILE, into=group)
        drawing.text(10, 40, "turned", bold=True, mono=True, halo=True, turn=30, anchor="end")
        drawing.line(0, 0, 10, 10, dashed=True)
        drawing.rect(0, 0, 10, 10, "blue", "ink", 2, 0.5)
        drawing.circle(5, 5, 3)
        drawing.path("M0 0L5 5", kind="way")
        drawing.arrow(0, 0, 50, 50)
        drawing.note(10, 60, "a word " * 40)
        return drawing

    def text(self):
        return visible(HOSTILE)


def test_doctest():
    assert doctest.testmod(importlib.import_module("ipcx.lab.display")).failed == 0


def test_whatever_comes_from_outside_is_escaped():
    svg = Sample().svg()
    root = ET.fromstring(svg)  # well-formed, in spite of it all
    assert "<script" not in svg
    assert {"\x00", "\x1b", "\u202e"}.isdisjoint(svg)
    svg.encode()  # no half of a surrogate
    words = [one.text for one in root.iter(f"{SVG}text")]
    assert words[0] == r"""<script>alert(1)</script>&"'\x00\x1b[31m\u202eevil\udc80\ufffe]]>\n"""
    html = Sample().html()
    assert "<script" not in html


def test_title_description_and_role():
    root = ET.fromstring(Sample().svg())
    assert root.get("role") == "img"
    title, description = root[0], root[1]
    assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text.startswith("<script>")


def test_the_same_facts_make_the_same_bytes():
    assert Sample().svg() == Sample().svg()
    other = Sample()
    other.title = "another"
    assert ET.fromstring(other.svg())[0].get("id") != ET.fromstring(Sample().svg())[0].get("id")


def test_colours_follow_the_theme_and_stay_without_a_style_sheet():
    svg = Sample().svg()
    assert "prefers-color-scheme:dark" in svg
    assert '[data-jp-theme-light="false"]' in ET.fromstring(svg).find(f"{SVG}style").text
    for shape in ET.fromstring(svg).iter():
        for letter, attribute in (("f", "fill"), ("s", "stroke")):
            for name in (shape.get("class") or "").split():
                if name.startswith(letter + "-"):
                    assert shape.get(attribute) == PALETTE[name[2:]][0]
    assert "url(" not in svg
    assert "marker" not in svg


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "least"), [("ink", 7), ("quiet", 4.5), ("blue", 4.5), ("red", 3)])
def test_words_and_arrows_can_be_read(theme, name, least):
    """The contrast that WCAG 2 asks for: 4.5 of text, 3 of shapes."""
    one, two = sorted((luminance(PALETTE["paper"][theme]), luminance(PALETTE[name][theme])))
    assert (two + 0.05) / (one + 0.05) >= least


def test_a_notebook_gets_what_it_asks_for():
    bundle = Sample()._repr_mimebundle_()
    assert list(bundle) == ["text/html", "image/svg+xml", "text/plain"]
    assert bundle["image/svg+xml"] in bundle["text/html"]
    assert list(Sample()._repr_mimebundle_(include=["text/plain"])) == ["text/plain"]
    assert "text/html" not in Sample()._repr_mimebundle_(exclude=["text/html"])
    assert str(Sample()) == bundle["text/plain"]
    assert repr(Sample()).startswith("<Sample: <script>")


@pytest.mark.parametrize("end", [".svg", ".html", ".txt"])
def test_saved_by_its_name(tmp_path: Path, end):
    path = Sample().save(tmp_path / f"picture{end}")
    told = path.read_text()
    assert path == tmp_path / f"picture{end}"
    assert {".svg": "<svg", ".html": "<!doctype html>", ".txt": "<script>"}[end] in told[:20]


def test_saved_as_something_else(tmp_path: Path):
    with pytest.raises(ValueError, match=r"saved as \.svg, \.html or \.txt, not as 'picture\.png'"):
        Sample().save(tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_a_display_of_ones_own_says_how_it_is_drawn():
    for method in ("draw", "text"):
        with pytest.raises(NotImplementedError):
            getattr(Display(), method)()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ns"), (4e-8, "40 ns"), (3.4e-4, "340 µs"), (9.999e-4, "1 ms"), (1.25e-3, "1.25 ms"),
        (0.9999, "1 s"), (120, "120 s"), (-0.002, "-2 ms"),
    ],
)  # fmt: skip
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_words():
    assert visible("grüß dich – 漢字") == "grüß dich – 漢字"
    assert visible("a\tb\u2028\xa0") == r"a\tb\u2028\xa0"
    assert short("abcdefghij", 10) == "abcdefghij"
    assert short("abcdefghijk", 7) == "abcd…jk"
    assert width_of("漢字", 10) == 20 > width_of("ab", 10) > width_of("a\u0301", 10)
    assert display.quantity(1, "byte") == "1 byte"
    assert display.quantity(0, "process", "processes") == "0 processes"
    assert table([("a", "b"), ("long", "\x1b")]) == "a     b\nlong  \\x1b"
    assert display.hex_lines(b"IX\x01" + bytes(15))[0].startswith("0000  49 58 01 00")
    assert display.hex_lines(b"IX\x01" + bytes(15))[0].endswith("IX..............")
    assert len(display.hex_lines(bytes(17))) == 2
