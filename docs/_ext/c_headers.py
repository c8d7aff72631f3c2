# SPDX-License-Identifier: Apache-2.0
"""The C reference: `.. c-header:: clock.h` and `.. c-statuses::`.

Whatever is public and has no comment is a warning, and `make docs` turns warnings into errors.
"""

import re

import headers
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)


def to_rst(text: str, known: set[str]) -> str:
    """A comment as reStructuredText; what is indented is code."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=(?:Invariant|Statuses|Threads): )", text):
        if paragraph.startswith("    "):
            parts.append(".. code-block:: c\n   :force:\n\n" + paragraph)
        else:
            parts.append(words(paragraph, known))
    return "\n\n".join(parts)


def words(text: str, known: set[str]) -> str:
    """A paragraph: `code` as such, names of ipcx as links, the rest literally."""
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


def without_name(item: headers.Item) -> str:
    """The text without the name it begins with, which the declaration says already."""
    return item.text.removeprefix(f"{item.name}: ")


def link(name: str, known: set[str]) -> str | None:
    return rf":c:expr:`{name}`\ " if name in known else None


class CHeader(SphinxDirective):
    """`.. c-header:: clock.h`: prologue and public declarations of one header."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        header = headers.HEADERS / self.arguments[0]
        self.env.note_dependency(str(header))
        known = {
            item.name for path in headers.HEADERS.glob("*.h") for item in headers.read(path)[1]
        }
        prologue, items = headers.read(header)
        lines = [to_rst(prologue, known), ""]
        told = prologue
        for item in items:
            if not item.text:
                logger.warning(
                    "%s is public and has no comment above it",
                    item.name,
                    location=f"{header}:{item.line}",
                )
            text = "" if item.text == told else to_rst(without_name(item), known)
            told = item.text
            lines += [*self.directive(item, text), ""]
        return self.parse_text_to_nodes("\n".join(lines))

    @staticmethod
    def directive(item: headers.Item, text: str) -> list[str]:
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
        header = headers.HEADERS / "status_table.h"
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
        for name, value, exception, bases, text in headers.status_rows(header):
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
