# SPDX-License-Identifier: Apache-2.0
"""The reference of the commands, from what they print: `.. commands::` (`--help` of each) and
`.. explanations::` (what `ipcx explain` knows).
"""

import os
import re
import subprocess
import sys

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from ipcx import explain
from ipcx.__main__ import COMMANDS

logger = logging.getLogger(__name__)


def help_of(*command: str) -> str:
    """What a command prints with `--help`, in a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "ipcx", *command, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
    )
    if done.returncode != 0:
        logger.warning("ipcx %s --help ends with %d", " ".join(command), done.returncode)
    return done.stdout


class Commands(SphinxDirective):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for name, command in COMMANDS.items():
            text = help_of(name).rstrip().splitlines()
            title = f"``ipcx {name}``"
            lines += [
                title,
                "-" * len(title),
                "",
                command.help[:1].upper() + command.help[1:] + ".",
            ]
            lines += ["", ".. code-block:: text", "", *("   " + line for line in text), ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Explanations(SphinxDirective):
    """A section for each row of explain_table.h."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for row in explain.rows():
            title = f"``{row['errno'] or row['name']}``"
            lines += [title, "~" * len(title), "", literal(row["what"]), ""]
            if row["causes"]:
                lines += ["Usual causes:", ""]
                lines += [f"- {literal(cause)}" for cause in row["causes"]]
                lines += [""]
            lines += [f"**What to do.** {literal(row['cure'])}" if row["cure"] else "", ""]
            if row["program"]:
                lines += [".. code-block:: python", ""]
                lines += ["   " + line for line in row["program"].splitlines()]
                lines += [""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def literal(text: str) -> str:
    """A text of the table as reStructuredText: `code` as such, the rest as it is."""
    parts = [
        f"``{part}``" if index % 2 else re.sub(r"([\\*_|])", r"\\\1", part)
        for index, part in enumerate(text.split("`"))
    ]
    return "".join(parts)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("commands", Commands)
    app.add_directive("explanations", Explanations)
    return {"parallel_read_safe": True}
