# SPDX-License-Identifier: Apache-2.0
"""Doing something when a module has been imported, without importing it.

``import ipcx.socket`` must stay light, yet ``multiprocessing`` has to learn about our sockets the
moment it is used. One finder at the head of ``sys.meta_path`` waits for the names asked for; it
finds nothing itself, only wraps the loader the other finders chose, and leaves when nobody waits.
It does not derive from importlib.abc's classes: that module imports a dozen others.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


class _ThenRun:
    """Another loader, followed by the actions; the module itself keeps the other loader."""

    def __init__(self, loader: Any, finder: "_Waiting") -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.done(module)


class _Waiting:
    def __init__(self) -> None:
        self._actions: dict[str, list[Action]] = {}

    def add(self, name: str, action: Action) -> None:
        self._actions.setdefault(name, []).append(action)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._actions:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    loader: Any = _ThenRun(spec.loader, self)
                    spec.loader = loader
                return spec
        return None

    def done(self, module: ModuleType) -> None:
        for action in self._actions.pop(module.__name__, ()):
            action(module)
        if not self._actions and self in sys.meta_path:
            sys.meta_path.remove(self)


_waiting = _Waiting()


def when_imported(name: str, action: Action) -> None:
    """Calls action(module) once: at once if *name* is imported already, else right after it is."""
    module = sys.modules.get(name)
    if module is not None:
        action(module)
    else:
        _waiting.add(name, action)
