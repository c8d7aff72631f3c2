# SPDX-License-Identifier: Apache-2.0
"""A drop-in for the stdlib's ``socketserver`` over `ipcx.socket`.

``from ipcx import socketserver`` in place of ``import socketserver`` is the only change: servers,
handlers and mix-ins have the same names and the same behaviour, and their sockets are ipcx's. The
code is the running interpreter's own ``socketserver``, executed once more under this name with
``socket`` bound to `ipcx.socket`; the stdlib's module itself stays as it is.
"""

from importlib.machinery import PathFinder as _PathFinder


def _execute(namespace: dict[str, object]) -> None:
    # PathFinder, not find_spec(): under ipcx.run the name "socketserver" leads here.
    spec = _PathFinder.find_spec("socketserver")
    if spec is None or spec.loader is None:
        raise ImportError("the interpreter's own socketserver cannot be found", name="socketserver")
    doc = namespace["__doc__"]
    exec(spec.loader.get_code("socketserver"), namespace)  # type: ignore[attr-defined]
    namespace["__doc__"] = f"{doc}\n\nThe stdlib says:\n\n{namespace['__doc__']}"


_execute(globals())

# The module reads only constants from ``socket`` while it runs, and those are the same objects in
# both; everything it calls is looked up when called, so binding the name afterwards is enough.
from ipcx import socket as socket  # noqa: E402
