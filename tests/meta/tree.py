"""The project's own files, as the meta tests read them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BUILT = {"build", "dist", "__pycache__", "_build", "out"}
OURS_WITH_A_DOT = {".ci", ".clang-format", ".gitignore"}


def files(*suffixes: str, under: str = ".") -> list[Path]:
    """Every file of the project (git's list in a clone, else the folder's), sorted."""
    if (ROOT / ".git").exists():
        command = [
            "git",
            "-C",
            ROOT,
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = [ROOT / name for name in listed.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not _made(path.relative_to(ROOT))]
    base = (ROOT / under).resolve()
    return sorted(
        path
        for path in found
        if path.is_file()
        and path.is_relative_to(base)
        and (path.suffix in suffixes or not suffixes)
    )


def name(path: Path) -> str:
    """The path as a reader of the project writes it."""
    return str(path.relative_to(ROOT))


def _made(path: Path) -> bool:
    """What .gitignore would say, for a tree without git."""
    hidden = {part for part in path.parts if part.startswith(".")} - OURS_WITH_A_DOT
    egg = any(part.endswith(".egg-info") for part in path.parts)
    return bool(hidden) or egg or bool(BUILT & set(path.parts)) or path.suffix in (".so", ".o")
