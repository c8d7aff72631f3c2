"""What our binaries show to the linker: `ipcx_*`, and of the extension its one init function."""

import subprocess
import sys
from pathlib import Path

import pytest

import ipcx._core
from meta.tree import ROOT, files


def defined(binary: Path, *options: str) -> set[str]:
    listing = subprocess.run(
        ["nm", "--defined-only", "--format=posix", *options, binary],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return {row[0] for row in rows if len(row) > 2}


def test_the_extension_exports_its_init_function_and_ipcx_names_only():
    names = defined(Path(ipcx._core.__file__), "--dynamic", "--extern-only")
    assert "PyInit__core" in names
    assert {n for n in names if not n.startswith("ipcx_")} == {"PyInit__core"}


@pytest.mark.hang_guard(60)
def test_every_global_of_the_core_is_prefixed(tmp_path):
    """Also what stays hidden: a static library shows it all to the program that links it."""
    sources = [p for p in files(".c", under="csrc") if "py" not in p.relative_to(ROOT).parts]
    compiler = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O0", "-I", ROOT / "csrc/include", "-I"]
    subprocess.run([*compiler, ROOT / "csrc", "-c", *sources], cwd=tmp_path, check=True)
    for built in tmp_path.glob("*.o"):
        strays = {n for n in defined(built, "--extern-only") if not n.startswith("ipcx_")}
        assert strays == set(), built.name


def test_the_extension_needs_nothing_but_the_c_library():
    listing = subprocess.run(
        ["readelf", "--dynamic", ipcx._core.__file__], capture_output=True, text=True, check=True
    ).stdout
    needed = {line.split("[")[1].rstrip("]") for line in listing.splitlines() if "(NEEDED)" in line}
    libraries = {n.split(".so")[0] for n in needed}
    own = f"libpython{sys.version_info[0]}.{sys.version_info[1]}"
    if "asan" in " ".join(libraries):
        pytest.skip("a sanitizer's build needs the sanitizer's library")
    assert libraries <= {"libc", "libpthread", "libm", "ld-linux-x86-64", own}
