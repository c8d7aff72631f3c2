"""The distribution: sdist, wheel, editable install, and what a build says that cannot work."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from meta.tree import ROOT, files, name

pytestmark = pytest.mark.hang_guard(120)

# Compiling is most of the time here, and what is compared does not depend on the optimiser.
QUICK = {"IPCX_CFLAGS": "-O0 -w", "SOURCE_DATE_EPOCH": "1700000000", "IPCX_WERROR": "0"}


def run(*command: str | os.PathLike, cwd: Path, **environment: str) -> str:
    """The command's output and errors; a failure shows both."""
    outer = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "IPCX_SANITIZE")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**outer, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def copy_tree(target: Path) -> Path:
    """The project as a fresh clone has it."""
    for path in files():
        copy = target / name(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return target


def build_backend(project: Path, hook: str) -> Path:
    """Runs one hook of the build backend, as pip does, and gives what it made."""
    code = f"import setuptools.build_meta as b; print(b.{hook}('made'))"
    made = run(sys.executable, "-c", code, cwd=project, **QUICK).splitlines()[-1]
    return project / "made" / made


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel from the tree, the sdist, and the wheel from that."""
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    sdist = build_backend(tree, "build_sdist")
    from_tree = build_backend(tree, "build_wheel")
    elsewhere = tmp_path_factory.mktemp("sdist")
    run("tar", "-xzf", sdist, cwd=elsewhere)  # tarfile asks for another spelling in each version
    from_sdist = build_backend(elsewhere / sdist.name.removesuffix(".tar.gz"), "build_wheel")
    return from_tree, sdist, from_sdist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A fresh environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder, "install", "-q", "--no-index"]
    run(*pip, built[0], cwd=folder)
    return folder / "bin"


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


def test_the_wheel_from_the_sdist_equals_the_one_from_the_tree(built):
    from_tree, _, from_sdist = map(contents, (built[0], built[0], built[2]))
    assert from_tree.keys() == from_sdist.keys()
    assert [entry for entry in from_tree if from_tree[entry] != from_sdist[entry]] == []
    assert built[0].name == built[2].name
    assert built[0].read_bytes() == built[2].read_bytes()


def test_the_wheel_holds_the_package_the_examples_and_the_notebooks(built):
    entries = {e for e in contents(built[0]) if not e.partition("/")[0].endswith(".dist-info")}
    tree = [*files(".py", ".pyi", ".typed", under="ipcx"), ROOT / "ipcx" / "py.typed"]
    expected = {name(path) for path in tree} | {f"ipcx/{name(p)}" for p in files(under="examples")}
    expected |= {f"ipcx/{name(p)}" for p in files(".ipynb", under="notebooks")}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert entries == expected | {f"ipcx/_core{suffix}"}


def test_the_sdist_is_complete(built):
    with tarfile.open(built[1]) as archive:
        entries = {member.name.partition("/")[2] for member in archive.getmembers()}
    ours = {name(path) for path in files() if path.name != ".gitignore"}
    assert ours - entries == set()
    strays = {e for e in entries - ours if re.search(r"\.(so|o|a|py[cod])$", e)}
    assert strays == set()


def test_the_metadata_names_no_dependency(built):
    entries = contents(built[0])
    metadata = next(e for e in entries if e.endswith(".dist-info/METADATA"))
    text = entries[metadata].decode()
    assert "\nName: libipcx\n" in text
    needed = [line for line in text.splitlines() if line.startswith("Requires-Dist")]
    assert [line for line in needed if "; extra ==" not in line] == []
    assert "Requires-Python: >=3.11" in text


def test_it_works_where_it_is_installed(installed, tmp_path):
    code = (
        "import ipcx, ipcx.socket as s, sys; a, b = s.socketpair(); a.send(b'x'); print(b.recv(1))"
    )
    assert run(installed / "python", "-I", "-c", code, cwd=tmp_path).splitlines()[-1] == "b'x'"
    where = run(installed / "python", "-I", "-c", "import ipcx; print(ipcx.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


@pytest.mark.skipif(not (ROOT / "ipcx" / "__main__.py").exists(), reason="comes with ipcx.__main__")
def test_the_command_works_where_it_is_installed(installed, tmp_path):
    text = run(installed / "ipcx", "--help", cwd=tmp_path)
    assert "tour" in text
    assert run(installed / "python", "-m", "ipcx", "--help", cwd=tmp_path) == text
    assert list(tmp_path.iterdir()) == []


def test_an_editable_install_rebuilds_what_a_header_touches(tmp_path):
    tree = copy_tree(tmp_path / "tree")
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    # setuptools of the running environment, and nothing else of it.
    ours, theirs = (
        Path(sysconfig.get_path("purelib", vars={"base": base}))
        for base in (sys.prefix, environment)
    )
    for part in ours.glob("*setuptools*"):
        (theirs / part.name).symlink_to(part)
    if (ours / "_distutils_hack").exists():
        (theirs / "_distutils_hack").symlink_to(ours / "_distutils_hack")
    python = environment / "bin" / "python"

    run(
        *(sys.executable, "-m", "pip", "--python", environment, "install", "-q", "--no-index"),
        *("--no-build-isolation", "--no-deps", "-e", tree),
        cwd=tree,
        **QUICK,
    )
    ask = (python, "-I", "-c", "import ipcx._core as c; print(c.__file__, c.__doc__)")
    assert str(tree) in run(*ask, cwd=tmp_path)

    build = (python, "setup.py", "-q", "build_ext", "--inplace")
    run(*build, cwd=tree, **QUICK)
    (binary,) = (tree / "ipcx").glob("_core*.so")
    first = binary.stat().st_mtime_ns
    run(*build, cwd=tree, **QUICK)
    assert binary.stat().st_mtime_ns == first, "nothing changed and it was built again"

    header = tree / "csrc" / "py" / "state.h"
    header.write_text(header.read_text() + "\n#define PyModuleDef_Init ipcx_seen\n")
    with pytest.raises(AssertionError, match="ipcx_seen"):
        run(
            *build,
            cwd=tree,
            **{**QUICK, "IPCX_CFLAGS": "-O0 -Werror=implicit-function-declaration"},
        )


# ---------------------------------------------------------------- builds that cannot work


@pytest.fixture(scope="module")
def checks():
    spec = importlib.util.spec_from_file_location("build_checks", ROOT / "tools/build_checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("check", "arguments", "words"),
    [
        ("check_compiler", ["/nonexistent/cc -pthread"], ["C compiler", "apt-get install gcc"]),
        ("check_headers", ["/nonexistent"], ["Python.h", "apt-get install python3-dev"]),
        ("check_system", ["win32"], ["Linux only", "WSL 2", "container", "hosted notebook"]),
        ("check_system", ["darwin"], ["Linux only", "WSL 2", "container", "hosted notebook"]),
        ("check_python", [(3, 10), "cpython"], ["3.11 or newer", "PYTHON="]),
        ("check_python", [(3, 11), "pypy"], ["CPython", "pypy"]),
        ("check_venv", [lambda _: None], ["ensurepip", "apt-get install python3-venv"]),
    ],
)
def test_a_lack_is_one_sentence(checks, check, arguments, words):
    with pytest.raises(checks.Lack) as caught:
        getattr(checks, check)(*arguments)
    sentence = caught.value.code
    assert [word for word in words if word not in sentence] == []
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_this_machine_lacks_nothing(checks):
    checks.require()
    checks.check_venv()


def refusal(*command: str | os.PathLike, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode != 0
    return done.stderr


def test_setup_stops_with_the_sentence_alone(tmp_path):
    build = ("setup.py", "-q", "build_ext", "--build-lib", tmp_path, "--build-temp", tmp_path)
    stderr = refusal(sys.executable, *build, CC="/nonexistent/cc")
    assert stderr.count("\n") == 1
    assert "no C compiler `/nonexistent/cc`" in stderr


def test_make_stops_with_the_sentence_before_it_makes_anything(tmp_path):
    target = tmp_path / "venv"
    stderr = refusal("make", "-s", f"VENV={target}", "build", CC="/nonexistent/cc")
    assert "no C compiler `/nonexistent/cc`" in stderr.splitlines()[0]
    assert not target.exists()
    stderr = refusal("make", "-s", f"VENV={target}", "PYTHON=/nonexistent/python3", "build")
    assert "needs CPython 3.11 or newer" in stderr.splitlines()[0]


def test_make_help_lists_every_target_with_a_comment():
    text = run("make", "-s", "help", cwd=ROOT)
    listed = set(re.findall(r"^  make (\w+)", text, re.MULTILINE))
    assert {"demo", "test", "lint", "fmt", "dist", "clean", "help"} <= listed
    assert len(listed) == len(text.splitlines())
