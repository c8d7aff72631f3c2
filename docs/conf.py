"""Configuration of `make docs`."""

import builtins
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "ipcx"
author = "the ipcx authors"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "c_headers",
    "commands",
    "displays",
    "transports",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"ipcx {release}"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_use_type_comments = False
# In a signature `bytes` is the type, and not one of the attributes that are called so.
suppress_warnings = ["ref.python"]
nitpicky = True
# Only references into ipcx itself are checked: the stdlib's and the C library's live elsewhere.
nitpick_ignore_regex = [("py:.*", r"(?!ipcx\b).*"), ("c:.*", r"(?!ipcx_).*")]


def our_words_only(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Leaves out what the stdlib says of its own module: it is not reStructuredText."""
    if "The stdlib says:" in lines:
        del lines[lines.index("The stdlib says:") :]


def builtins_are_not_ours(app: Sphinx, page: nodes.document) -> None:
    """Keeps `bytes` in a signature from meaning some field of ours of that name."""
    for reference in list(page.findall(addnodes.pending_xref)):
        if reference.get("refdomain") == "py" and hasattr(builtins, reference["reftarget"]):
            reference.replace_self(reference.children)


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", builtins_are_not_ours)
    app.connect("autodoc-process-docstring", our_words_only)
