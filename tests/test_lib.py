"""The library without Python: what it exports, what is installed, and a C program that uses it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEADERS = sorted(path.name for path in (ROOT / "csrc/include/ipcx").glob("*.h"))

PROGRAM = r"""
#include <ipcx/ipcx.h>
#include <stdio.h>

int main(void)
{
    char text[IPCX_ADDR_TEXT_MAX];
    ipcx_addr addr;
    ipcx_error err;
    if (ipcx_addr_ip(&addr, "127.0.0.1", 80, &err) != IPCX_OK) {
        return 1;
    }
    ipcx_addr_format(&addr, text, sizeof text);
    if (ipcx_addr_ip(&addr, "nobody", 80, &err) != IPCX_INVALID) {
        return 1;
    }
    printf("%s %s %08x\n", text, ipcx_status_name(err.status),
           (unsigned)ipcx_crc32c_update(0, "123456789", 9));
    return 0;
}
"""


def run(*command, env=None, **options):
    outer = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, env={**outer, **(env or {})}, **options,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "warning" not in done.stderr, done.stderr
    return done.stdout


def make(*arguments):
    return run("make", "-s", "--no-print-directory", "-j2", *arguments, cwd=ROOT)


def tool(name):
    """The tool's path; every machine with a C compiler has it, pkg-config perhaps not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}")
    return found


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    make("install", f"PREFIX={folder}")
    yield folder
    shutil.rmtree(folder)


def symbols(*arguments):
    """Names that nm lists as defined and global."""
    output = run(tool("nm"), "--defined-only", "--extern-only", *arguments)
    return {line.split()[-1] for line in output.splitlines() if re.match(r"[0-9a-f]+ \w ", line)}


@pytest.mark.hang_guard(120)
def test_the_shared_library_exports_the_public_names_only(prefix):
    exported = symbols("-D", prefix / "lib/libipcx.so")
    assert exported
    assert not [name for name in exported if not re.match("ipcx_(?!_)", name)]
    declared = set()
    for header in HEADERS:
        text = (ROOT / "csrc/include/ipcx" / header).read_text()
        text = re.sub(r"#ifdef IPCX_TEST_ALLOC.*?#endif", "", text, flags=re.S)
        declared |= set(re.findall(r"^IPCX_API [^;{]*?\b(ipcx_\w+)\(", text, re.M))
    assert exported == declared


@pytest.mark.hang_guard(120)
def test_the_static_library_has_no_unprefixed_name(prefix):
    assert not [n for n in symbols(prefix / "lib/libipcx.a") if not n.startswith("ipcx_")]


@pytest.mark.hang_guard(120)
def test_what_is_installed(prefix):
    found = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    version = re.search('^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert found == {
        "lib/libipcx.a",
        f"lib/libipcx.so.{version}",
        "lib/libipcx.so.0",
        "lib/libipcx.so",
        "lib/pkgconfig/ipcx.pc",
        *(f"include/ipcx/{name}" for name in HEADERS),
    }
    assert (prefix / "lib/libipcx.so").resolve().name == f"libipcx.so.{version}"
    assert "Python" not in run(tool("ldd"), prefix / "lib/libipcx.so")


@pytest.mark.hang_guard(120)
def test_destdir_is_not_in_what_is_installed(tmp_path):
    make("install", "PREFIX=/opt/ipcx", f"DESTDIR={tmp_path}")
    text = (tmp_path / "opt/ipcx/lib/pkgconfig/ipcx.pc").read_text()
    assert text.startswith("prefix=/opt/ipcx\n")
    assert str(tmp_path) not in text


@pytest.mark.hang_guard(120)
@pytest.mark.parametrize("kind", ["shared", "static"])
def test_a_program_built_with_pkg_config(prefix, kind, tmp_path):
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(PROGRAM)
    env = {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
    pkg_config = tool("pkg-config")
    cflags = run(pkg_config, "--cflags", "ipcx", env=env).split()
    if kind == "shared":
        libs = run(pkg_config, "--libs", "ipcx", env=env).split()
    else:
        libs = run(pkg_config, "--static", "--libs", "ipcx", env=env).split()
        libs = [f"-l:lib{part[2:]}.a" if part == "-lipcx" else part for part in libs]
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", *cflags, source, *libs, "-o", program)
    output = run(program, env={"LD_LIBRARY_PATH": str(prefix / "lib") if kind == "shared" else ""})
    assert output == "127.0.0.1:80 INVALID e3069283\n"
    assert ("libipcx.so.0" in run(tool("ldd"), program)) == (kind == "shared")


@pytest.mark.parametrize("language", ["c11", "c++17"])
def test_each_header_compiles_alone(language):
    compilers = ["cc"] if language == "c11" else ["c++", "clang++"]
    compiler = next(filter(None, map(shutil.which, compilers)), None) or tool(compilers[0])
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]
    flags += [f"-std={language}", "-xc" if language == "c11" else "-xc++"]
    for header in HEADERS:
        # Twice: the guard works too.
        text = f"#include <ipcx/{header}>\n#include <ipcx/{header}>\nextern int ipcx_unused;\n"
        run(compiler, *flags, f"-I{ROOT}/csrc/include", "-fsyntax-only", "-", input=text)


def test_ipcx_h_is_the_list_of_all():
    text = (ROOT / "csrc/include/ipcx/ipcx.h").read_text()
    listed = re.findall(r'^#include "ipcx/(\w+\.h)"', text, re.M)
    assert sorted([*listed, "ipcx.h"]) == HEADERS
