# SPDX-License-Identifier: Apache-2.0
"""The C reference, read from the comments of csrc/include/ipcx/: `.. c-header:: clock.h`.

The house's form is enough to read them without a compiler: a header opens with a prologue comment;
a comment that starts in column 0 speaks about the declarations right below it. Whatever is public
and has no such comment is a warning, and `make docs` turns warnings into errors.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

HEADERS = Path(__file__).parents[2] / "csrc" / "include" / "ipcx"
ATTRIBUTES = re.compile(r"\b(IPCX_(?:API|NODISCARD)|extern)\b\s*|\s*IPCX_PRINTF\([^)]*\)")
TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/)
      | (?P<macro>\#define[ ](?P<macro_name>\w+(?:\([^)]*\))?)(?:[^\n]*\\\n)*[^\n]*)
      | (?P<skip>\#[^\n]*|extern[ ]"C"[ ]\{|\})
      | (?P<code>[a-z][^;{]*(?:\{.*?\n\}[^;\n]*;?|;))
      | (?P<blank>\n[ ]*\n)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
logger = logging.getLogger(__name__)


@dataclass
class Item:
    """One public thing of a header: what it is called, its declaration, what is said about it."""

    kind: str  # function, macro, struct, enum, type
    name: str
    code: str
    text: str
    line: int


def read(header: Path) -> tuple[str, list[Item]]:
    """The prologue's text and everything public of one header, in the header's order."""
    source = header.read_text()
    prologue = ""
    comment = ""
    items: list[Item] = []
    at = 0
    while at < len(source):
        match = TOKEN.match(source, at)
        if match is None:
            at += 1
            continue
        line = source.count("\n", 0, match.start()) + 1
        at = match.end()
        if match["comment"]:
            comment = plain(match["comment"])
            if "SPDX-License-Identifier" in comment:
                prologue, comment = comment.split("\n", 1)[1], ""
        elif match["blank"]:
            comment = ""
        elif match["macro"]:
            name = match["macro_name"]
            if is_public(name) and not name.endswith("_H") and not name.startswith("IPCX__"):
                items.append(Item("macro", name, match["macro"], comment, line))
        elif match["code"]:
            item = declaration(match["code"], comment, line)
            if item is not None:
                items.append(item)
    # The prologue speaks about the header's first type or table, unless that has a comment itself.
    if items and not items[0].text and items[0].kind != "function":
        items[0].text = "What this header is about: see above."
    return prologue, items


def declaration(code: str, comment: str, line: int) -> Item | None:
    """What one declaration declares; None for what is internal or only announced."""
    code = ATTRIBUTES.sub("", code).strip()
    if body := re.match(r"typedef (struct|enum|union) \w+ \{.*\} (\w+);$", code, re.DOTALL):
        kind, name = body.groups()
    elif pointer := re.match(r"typedef .*\(\*(\w+)\)\(.*\);$", code, re.DOTALL):
        kind, name = "type", pointer[1]
    elif alias := re.match(r"typedef [^{]*\b(\w+);$", code):
        kind, name = "type", alias[1]
    elif function := re.match(r"[\w *]+?\b(\w+)\(", code):
        kind, name = "function", function[1]
        code = re.sub(r"^static inline ", "", code.split("{")[0].rstrip(" ;\n"))
    else:
        return None
    return Item(kind, name, code, comment, line) if is_public(name) else None


def is_public(name: str) -> bool:
    return re.match(r"ipcx_(?!_)|IPCX_(?!_)", name) is not None


def plain(comment: str) -> str:
    """A comment's text without its frame."""
    lines = comment.removeprefix("/*").removesuffix("*/").splitlines()
    return "\n".join(re.sub(r"^ ?\* ?", "", line, count=1).rstrip() for line in lines).strip()


def undocumented(header: Path) -> list[Item]:
    """What is public in a header and has no comment above it."""
    return [item for item in read(header)[1] if not item.text]


def to_rst(text: str, known: set[str]) -> str:
    """A comment as reStructuredText: `code` as such, names of ipcx as links, the rest literally."""
    parts: list[str] = []
    for index, part in enumerate(re.split(r"`([^`]+)`", text)):
        if index % 2:
            parts.append(f"``{part}``")
            continue
        part = re.sub(r"([\\*_|])", r"\\\1", part)
        parts.append(
            re.sub(
                r"ipcx(?:\\_\w+)+(?:\\_)?\w*",
                lambda match: link(match[0].replace("\\", ""), known) or match[0],
                part,
            )
        )
    # A list needs an empty line before it.
    return re.sub(r"(?<=\S)\n(?=\\\* |- )", "\n\n", "".join(parts)).replace("\n\\* ", "\n* ")


def link(name: str, known: set[str]) -> str | None:
    return rf":c:expr:`{name}`\ " if name in known else None


def status_rows(header: Path) -> list[tuple[str, int, str, str, str]]:
    """The rows of status_table.h: name, value, exception, bases, text."""
    rows = re.findall(
        r'X\((\w+), (-?\d+), "([^"]*)", "([^"]*)",\s*(?:\\\s*)?"([^"]*)"\)', header.read_text()
    )
    return [(name, int(value), *rest) for name, value, *rest in rows]


class CHeader(SphinxDirective):
    """`.. c-header:: clock.h`: prologue and public declarations of one header."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        header = HEADERS / self.arguments[0]
        self.env.note_dependency(str(header))
        known = {item.name for path in HEADERS.glob("*.h") for item in read(path)[1]}
        prologue, items = read(header)
        lines = [to_rst(prologue, known), ""]
        told = ""
        for item in items:
            if not item.text:
                logger.warning(
                    "%s is public and has no comment above it",
                    item.name,
                    location=f"{header}:{item.line}",
                )
            text = "" if item.text == told else to_rst(item.text, known)
            told = item.text
            lines += [*self.directive(item, text), ""]
        return self.parse_text_to_nodes("\n".join(lines))

    @staticmethod
    def directive(item: Item, text: str) -> list[str]:
        lines = [f".. c:{item.kind}:: "]
        if item.kind == "function":
            lines[0] += " ".join(item.code.split())
        elif item.kind == "type":
            lines[0] += " ".join(item.code.removeprefix("typedef ").rstrip(";").split())
        else:
            lines[0] += item.name
        body = text.splitlines()
        if item.kind in ("struct", "union"):
            body += ["", ".. code-block:: c", "", *("   " + row for row in item.code.splitlines())]
        return [*lines, "", *("   " + row for row in body)]


class CStatuses(SphinxDirective):
    """`.. c-statuses::`: the table of outcomes."""

    def run(self) -> list[nodes.Node]:
        header = HEADERS / "status_table.h"
        self.env.note_dependency(str(header))
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "",
            "   * - Status",
            "     - Value",
            "     - What happened",
            "     - In Python",
        ]
        for name, value, exception, bases, text in status_rows(header):
            python = f":exc:`{'ipcx.' if bases else ''}{exception}`" if exception else ""
            lines += [
                f"   * - ``IPCX_{name}``",
                f"     - {value}",
                f"     - {text}",
                f"     - {python}",
            ]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("c-header", CHeader)
    app.add_directive("c-statuses", CStatuses)
    return {"parallel_read_safe": True}
