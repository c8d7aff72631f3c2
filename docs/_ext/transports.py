# SPDX-License-Identifier: Apache-2.0
"""`.. transports::`: what each scheme of a URL promises, from ipcx.channel.TRANSPORTS."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ipcx.channel import TRANSPORTS, Transport

COLUMNS = [field for field in Transport._fields if field != "note"]


def cell(value: object) -> str:
    """A value as a reader wants it."""
    if value is None:
        return "any size"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value >> 30} GiB" if isinstance(value, int) else str(value)


class Transports(SphinxDirective):
    """One column a scheme, one row a promise."""

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", "   :stub-columns: 1", "", "   * -"]
        lines += [f"     - ``{scheme}://``" for scheme in TRANSPORTS]
        for name in COLUMNS:
            lines += [f"   * - {name}"]
            lines += [f"     - {cell(getattr(row, name))}" for row in TRANSPORTS.values()]
        lines += ["", "What each row means:", ""]
        lines += [f"- *{name}*: {getattr(Transport, name).__doc__}." for name in COLUMNS]
        lines += ["", *(f"- ``{scheme}://``: {row.note}." for scheme, row in TRANSPORTS.items())]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("transports", Transports)
    return {"parallel_read_safe": True}
