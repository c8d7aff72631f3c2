"""Configuration of `make docs`."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "ipcx"
author = "the ipcx authors"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "c_headers"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"ipcx {release}"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_use_type_comments = False
nitpicky = True
# Only references into ipcx itself are checked: the stdlib's and the C library's live elsewhere.
nitpick_ignore_regex = [("py:.*", r"(?!ipcx\b).*"), ("c:.*", r"(?!ipcx_).*")]
