# SPDX-License-Identifier: Apache-2.0
"""`.. display::`: Python whose last line is a display of ipcx.lab; the page shows both.

So no picture is stored, and none is older than the code beside it.
"""

import ast
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)


def shown(source: str) -> Any:
    """The value of the last line, after all lines before it."""
    tree = ast.parse(source)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), "the last line is what is shown"
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(tree, "display", "exec"), names)
    return eval(compile(ast.Expression(last.value), "display", "eval"), names)


class Display(SphinxDirective):
    """The code, and what a notebook shows below it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        source = "\n".join(self.content)
        try:
            picture = shown(source).svg()
        except Exception as error:
            logger.warning("a display failed: %r", error, location=self.get_location())
            picture = ""
        return [
            nodes.literal_block(source, source, language="python"),
            nodes.raw("", f'<p class="display">{picture}</p>', format="html"),
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("display", Display)
    # Not in parallel: they start processes and take ports.
    return {"parallel_read_safe": False}
