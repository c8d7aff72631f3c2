"""The public names: each module says what it offers, and ipcx itself shows nothing else."""

import importlib
import pkgutil
import tomllib
import types

import pytest

import ipcx
from ipcx import _install
from meta.tree import ROOT

MODULES = sorted(m.name for m in pkgutil.iter_modules(ipcx.__path__) if not m.name.startswith("_"))


@pytest.mark.parametrize("name", ["", *MODULES])
def test_a_module_lists_its_names_once_and_has_them(name):
    module = importlib.import_module(f"ipcx.{name}" if name else "ipcx")
    assert module.__doc__
    names = module.__all__
    assert len(names) == len(set(names))
    assert [n for n in names if not hasattr(module, n)] == []
    if name not in ("socket", "socketserver"):  # the stdlib's own lists, whatever they hold
        assert [n for n in names if n.startswith("_") and n != "__version__"] == []


def test_the_package_shows_nothing_it_does_not_list():
    public = {n for n in vars(ipcx) if not n.startswith("_")}
    modules = {n for n in public if isinstance(getattr(ipcx, n), types.ModuleType)}
    assert modules <= set(MODULES)
    assert public - modules - set(ipcx.__all__) == set()


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ipcx.__version__ == project["version"]
    assert project["name"] == _install.DISTRIBUTION
