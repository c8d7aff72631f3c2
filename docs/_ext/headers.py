# SPDX-License-Identifier: Apache-2.0
"""Reading the public headers of csrc/include/ipcx/: what is declared, and what is said about it.

The house's form is enough to read them without a compiler: a header opens with a prologue comment;
a comment that starts in column 0 speaks about the declarations right below it. The standard library
only: `make test` uses it too.
"""

import re
from dataclasses import dataclass
from pathlib import Path

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
    apart = False  # an empty line stands between the comment and what comes now
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
            comment, apart = plain(match["comment"]), False
            if "SPDX-License-Identifier" in comment:
                prologue, comment = comment.split("\n", 1)[1], ""
        elif match["blank"]:
            apart = True
        elif match["macro"]:
            name = match["macro_name"]
            if is_public(name) and not name.endswith("_H") and not name.startswith("IPCX__"):
                text = comment if not apart or names(comment, name) else ""
                items.append(Item("macro", name, match["macro"], text, line))
        elif match["code"]:
            item = declaration(match["code"], line)
            if item is not None:
                item.text = comment if not apart or names(comment, item.name) else ""
                items.append(item)
    # The prologue speaks about the header's first type or table, unless that has a comment itself.
    if items and not items[0].text and items[0].kind != "function":
        items[0].text = prologue
    return prologue, items


def declaration(code: str, line: int) -> Item | None:
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
    return Item(kind, name, code, "", line) if is_public(name) else None


def names(comment: str, name: str) -> bool:
    """Whether a comment is about `name`; "ipcx_x_load16, 32, 64: …" is about all three."""
    return name.rstrip("0123456789") in comment.split(":")[0]


def is_public(name: str) -> bool:
    return re.match(r"ipcx_(?!_)|IPCX_(?!_)", name) is not None


def plain(comment: str) -> str:
    """A comment's text without its frame."""
    lines = comment.removeprefix("/*").removesuffix("*/").splitlines()
    return "\n".join(re.sub(r"^ ?\* ?", "", line, count=1).rstrip() for line in lines).strip()


def undocumented(header: Path) -> list[Item]:
    """What is public in a header and has no comment above it; a function's begins with its name."""
    return [
        item
        for item in read(header)[1]
        if not item.text or (item.kind == "function" and not names(item.text, item.name))
    ]


def status_rows(header: Path) -> list[tuple[str, int, str, str, str]]:
    """The rows of status_table.h: name, value, exception, bases, text."""
    rows = re.findall(
        r'X\((\w+), (-?\d+), "([^"]*)", "([^"]*)",\s*(?:\\\s*)?"([^"]*)"\)', header.read_text()
    )
    return [(name, int(value), *rest) for name, value, *rest in rows]
