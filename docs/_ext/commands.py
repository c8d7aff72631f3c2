# SPDX-License-Identifier: Apache-2.0
"""The reference of the commands, from what each prints with `--help`: `.. commands::`."""

import os
import subprocess
import sys

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

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


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
