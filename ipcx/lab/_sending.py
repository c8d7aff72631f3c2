# SPDX-License-Identifier: Apache-2.0
"""Copies of what the notebook has, for a process that has nothing of it.

A value goes as a pickle, which only our own process reads. A function or class that is defined in
the notebook goes as its source, after the names that it needs; a module goes as its name. Whatever
cannot be sent is refused in a sentence, before anything is started.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import importlib.util
import inspect
import io
import linecache
import pickle
import sys
import textwrap
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any

from ipcx._core import Channel

__all__: list[str] = []

CAN = (
    "What can: None, numbers, texts, bytes, lists, tuples, sets and dicts of them; objects whose "
    "class can be imported or is defined in the notebook; functions (def) and modules; unused ends "
    "of channels."
)
_FUTURE = 0
for _feature in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _feature).compiler_flag


class CannotSend(ValueError):
    """In a sentence, what cannot be sent and why."""

    def _render_traceback_(self) -> list[str]:
        """For notebooks: our own frames tell a reader nothing."""
        return [f"CannotSend: {self}"]


class Parcel:
    """What is sent: items in the order in which the other process makes them."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.namespace = namespace  # the notebook's
        self.items: list[tuple[str, str, Any]] = []  # kind, name, what
        self.ends: list[Channel] = []
        self._ids: dict[str, int] = {}  # of what goes under a name

    def add(self, name: str, value: Any) -> None:
        """`value` shall be there under this name."""
        if name in self._ids:
            if self._ids[name] != id(value):
                raise CannotSend(
                    f"two different things are called {name} here, and both would be sent: "
                    "rename one"
                )
            return
        self._ids[name] = id(value)
        if isinstance(value, types.ModuleType):
            self._module(name, value)
        elif _defined_here(value):
            self._definition(name, value)
        else:
            self.items.append(("value", name, self.pickled(value, name)))

    def pickled(self, value: Any, name: str) -> bytes:
        out = io.BytesIO()
        try:
            _Pickler(out, self, name).dump(value)
        except CannotSend:
            raise
        except Exception as error:
            raise CannotSend(f"{name} cannot be sent: {_why(value, error)}") from None
        return out.getvalue()

    def _module(self, name: str, module: types.ModuleType) -> None:
        if module.__name__ == "__main__" or not _found(module.__name__):
            raise CannotSend(
                f"{name} cannot be sent: {module.__name__} is a module that another process could "
                "not import. Put it into a file of its own."
            )
        self.items.append(("import", name, module.__name__))

    def _definition(self, name: str, thing: types.FunctionType | type) -> None:
        text = _source(thing, name, self.namespace)
        for needed, value in self._needed(thing, text):
            if value is thing and needed == thing.__name__:
                continue
            try:
                self.add(needed, value)
            except CannotSend as error:
                raise CannotSend(f"{name} needs {needed}: {error}") from None
        inner = _inner(thing)
        flags = inner.__code__.co_flags & _FUTURE if isinstance(inner, types.FunctionType) else 0
        self.items.append(("source", thing.__name__, (text, flags)))
        if name != thing.__name__:
            self.items.append(("alias", name, thing.__name__))

    def _needed(self, thing: types.FunctionType | type, text: str) -> Iterator[tuple[str, Any]]:
        """Each name that the text takes from outside of it, and what it is in the notebook."""
        inner = _inner(thing)
        if isinstance(inner, types.FunctionType):
            outside: Mapping[str, Any] = inner.__globals__
            closed = zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True)
            for free, cell in closed:
                if free == "__class__":
                    raise CannotSend(f"{thing.__qualname__} is a method: send its class.")
                try:
                    yield free, cell.cell_contents
                except ValueError:  # not yet there
                    continue
        else:
            outside = getattr(sys.modules.get(thing.__module__), "__dict__", self.namespace)
        free_names = set(getattr(getattr(inner, "__code__", None), "co_freevars", ()))
        for needed in sorted(_loaded(compile(text, "<source>", "exec", dont_inherit=True))):
            if needed in free_names or needed == thing.__name__:
                continue
            builtin = getattr(builtins, needed, self)
            if needed in outside and outside[needed] is not builtin:
                yield needed, outside[needed]


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, parcel: Parcel, name: str) -> None:
        super().__init__(out, protocol=5)
        self.parcel, self.name = parcel, name

    def persistent_id(self, thing: Any) -> tuple[str, Any] | None:
        if type(thing) is Channel:
            if not any(thing is end for end in self.parcel.ends):
                self.parcel.ends.append(thing)
            return "end", next(n for n, end in enumerate(self.parcel.ends) if end is thing)
        if isinstance(thing, types.ModuleType):
            self.parcel.add(thing.__name__.partition(".")[0], thing)
            return "module", thing.__name__
        if _defined_here(thing):
            self.parcel.add(thing.__name__, thing)
            return "name", thing.__name__
        return None


def _defined_here(thing: Any) -> bool:
    """Whether it is a function, decorated or not, or a class, that only the notebook has."""
    if not isinstance(thing, types.FunctionType | type):
        if not callable(thing) or not hasattr(thing, "__name__"):
            return False
        if not isinstance(_inner(thing), types.FunctionType):
            return False
    return not _importable(thing)


def _inner(thing: Any) -> Any:
    return inspect.unwrap(thing) if hasattr(thing, "__wrapped__") else thing


def _importable(thing: Any) -> bool:
    """Whether another process finds the same thing by importing it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if module is None:
        return isinstance(thing, type)
    if module == "__main__" or "<" in name or not _found(module):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is thing


def _found(module: str) -> bool:
    if module in sys.builtin_module_names:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _loaded(code: types.CodeType) -> set[str]:
    """The names that the code, and the code in it, reads from outside."""
    found, stored = set(), set()
    for step in dis.get_instructions(code):
        if step.opname.startswith(("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")):
            found.add(str(step.argval))
        elif step.opname == "STORE_NAME" and code.co_name != "<module>":
            stored.add(str(step.argval))
    found -= stored
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _loaded(constant)
    return found


# ---- the source of what is defined in the notebook


def _source(thing: types.FunctionType | type, name: str, namespace: Mapping[str, Any]) -> str:
    if thing.__name__ == "<lambda>":
        raise CannotSend(
            "a lambda cannot be sent: its text cannot be told from what stands around it. "
            "Write it as a def."
        )
    try:
        text = _class_source(thing, namespace) if isinstance(thing, type) else _lines(thing)
        tree = ast.parse(text).body
    except (OSError, TypeError, SyntaxError, IndentationError):
        tree, text = [], ""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    if len(tree) != 1 or not isinstance(tree[0], kinds) or tree[0].name != thing.__name__:
        raise CannotSend(
            f"{name} cannot be sent: the source of {thing.__qualname__} is not known. Define it in "
            "a cell by def or class, or put it into a file of its own and import it."
        )
    return text


def _lines(function: types.FunctionType) -> str:
    return textwrap.dedent(inspect.getsource(_inner(function)))


def _class_source(thing: type, namespace: Mapping[str, Any]) -> str:
    """Classes do not know where they are defined; one of their methods does, or a search."""
    texts = [
        "".join(linecache.getlines(member.__code__.co_filename))
        for member in vars(thing).values()
        if isinstance(member, types.FunctionType)
    ]
    cached = [
        "".join(entry[2])
        for entry in linecache.cache.values()
        if len(entry) == 4 and entry[1] is None
    ]
    typed = [text for text in namespace.get("In", ()) if isinstance(text, str)]
    for text in (*texts, *reversed(cached), *reversed(typed)):
        found = _class_in(text, thing.__name__)
        if found:
            return found
    raise OSError(thing.__name__)


def _class_in(text: str, name: str) -> str:
    if f"class {name}" not in text:
        return ""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ""
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name]
    if not nodes:
        return ""
    node = nodes[-1]
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = text.splitlines(keepends=True)[first - 1 : node.end_lineno]
    return textwrap.dedent("".join(lines))


# ---- why not

_HELD: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (io.IOBase, "an open file"),
    (threading.Thread, "a thread"),
    ((type(threading.Lock()), type(threading.RLock())), "a lock between threads"),
    ((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), "a running function"),
    (memoryview, "a view of this process's memory"),
)


def _why(value: Any, error: Exception) -> str:
    import socket

    for kind, what in ((socket.socket, "a socket"), *_HELD):
        if isinstance(value, kind):
            return (
                f"it is {what}, which belongs to this process: in another address space a copy of "
                "the object would mean nothing. Make it there."
            )
    return f"{error}. {CAN}"


# ---- in the other process


def receive(items: list[tuple[str, str, Any]], ends: list[Channel], into: dict[str, Any]) -> None:
    """Makes everything that was sent."""
    for kind, name, what in items:
        if kind == "import":
            __import__(what)
            into[name] = sys.modules[what]
        elif kind == "alias":
            into[name] = into[what]
        elif kind == "source":
            text, flags = what
            file = f"function {name}"
            linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
            exec(compile(text, file, "exec", flags, dont_inherit=True), into)
        else:
            into[name] = unpickled(what, ends, into)


def unpickled(data: bytes, ends: list[Channel], into: dict[str, Any]) -> Any:
    return _Unpickler(data, ends, into).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, ends: list[Channel], into: dict[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self.ends, self.into = ends, into

    def persistent_load(self, what: tuple[str, Any]) -> Any:
        kind, name = what
        if kind == "end":
            return self.ends[name]
        if kind == "module":
            __import__(name)
            return sys.modules[name]
        return self.into[name]
