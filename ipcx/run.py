# SPDX-License-Identifier: Apache-2.0
"""``python -m ipcx.run prog.py [args]``: an unmodified program over ipcx's sockets.

In the program and in every module loaded after it starts, the stdlib's and third parties' included,
``import socket`` is `ipcx.socket` and ``import socketserver`` is `ipcx.socketserver`. Children of
``multiprocessing`` get the same under fork, spawn and forkserver; other child processes do not.
Everything else is as under plain ``python``: ``sys.argv``, ``__main__``, ``sys.path[0]``,
tracebacks, Ctrl-C and the exit status. A program that looks can tell: ``sys.orig_argv`` is the
command that was typed, and below the program's first frame stand ours (``inspect.stack()``).

This module imports next to nothing: a module that is loaded before the program and has imported the
stdlib's ``socket`` would keep it. Called from a program, `install` does the replacing alone.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from os import environ
from types import ModuleType, TracebackType
from typing import Any, NoReturn

__all__ = ["install", "main"]

USAGE = """\
usage: python -m ipcx.run [--explain] [--trace] PROGRAM [arguments]

PROGRAM is a file, a directory or zip file with a __main__.py, -m MODULE, -c CODE, or - (standard
input), as for `python` itself. Options of the interpreter (-W, -X, -u …) stand before -m ipcx.run.

  --explain  say on standard error what is replaced, then run the program
  --trace    say each call in the lecture's words on standard error, as it happens
  --help     print this
"""


# --- what is replaced -----------------------------------------------------------------------------


class _SocketServer:
    """Finds ``socketserver``: it is `ipcx.socketserver`, which is executed only if asked for."""

    @staticmethod
    def find_spec(fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "socketserver":
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(fullname, _SocketServer)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: Any) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        from ipcx import socketserver

        sys.modules[module.__name__] = socketserver  # a module may replace itself while it executes


def install(*, trace: bool = False) -> None:
    """Makes ``import socket`` and ``import socketserver`` ipcx's in this process, from now on.

    Modules that are loaded already keep what they imported: call it first. Errors of sockets get a
    note that says what to do (see `ipcx.notes`). With *trace*, each call is told on standard error.
    """
    from ipcx import _core, socket
    from ipcx._hooks import when_imported

    if sys.modules.get("socket") is not socket:
        sys.modules["socket"] = socket
        sys.modules.pop("socketserver", None)
        sys.meta_path.insert(0, _SocketServer)
        when_imported("multiprocessing.util", lambda util: _teach_children(util, trace))
    _core.set_error_hook(_add_note)
    _record("")
    if trace:
        from ipcx._words import Teller

        _core.set_trace(Teller(sys.stderr).tell)


def _record(program: str) -> None:
    """Takes part in a record (`ipcx.lab.record`, ``ipcx draw``) if this process is to."""
    if "IPCX_RECORD_FOLLOW" in environ:
        from ipcx.lab import _board

        _board.follow(environ[_board.FOLLOW])
    if "IPCX_RECORD" in environ:
        from ipcx.lab import recorder

        recorder.begin(name=environ.get(recorder.NAME) or recorder.program_name(program) or None)


def _add_note(exc: BaseException, op: str, sock: Any, args: Sequence[Any]) -> None:
    if not isinstance(exc, BlockingIOError):  # asyncio's daily bread: let it pass quickly
        from ipcx.notes import add_note

        add_note(exc, op, sock, args)


def _late_note(exc: Exception) -> None:
    with contextlib.suppress(Exception):
        from ipcx.notes import add_late_note

        add_late_note(exc)


def _teach_children(util: ModuleType, trace: bool) -> None:
    """Has interpreters started by multiprocessing (spawn, forkserver) call `install` first.

    All of them are started through this one function with ``-c CODE``; the resource tracker, which
    is one of them, runs no code of the program and stays as it is.
    """
    start = util.spawnv_passfds

    def spawnv_passfds(path: Any, args: Any, passfds: Any) -> Any:
        return start(path, _installing(args, trace), passfds)

    util.spawnv_passfds = spawnv_passfds  # type: ignore[attr-defined]


def _installing(args: Sequence[Any], trace: bool) -> list[Any]:
    changed = list(args)
    if "-c" in changed:
        at = changed.index("-c") + 1
        code = changed[at]
        if isinstance(code, str) and "resource_tracker" not in code.partition("import main")[0]:
            # The child may stand in another directory: it looks for ipcx where we found it, last.
            home = __file__.rpartition("/ipcx/")[0]
            changed[at] = (
                f"import sys; sys.path.append({home!r}); from ipcx.run import install; "
                f"sys.path.pop(); install(trace={trace!r}); {code}"
            )
    return changed


def _explanation() -> str:
    """What --explain prints."""
    from ipcx import _core, socket

    from_c = sorted(name for name in vars(_core.socket) if not name.startswith("__"))
    own = vars(socket)
    stdlib = socket._stdlib
    made = [n for n in stdlib.__all__ if own[n] is not getattr(stdlib, n) and n != "socket"]
    same = [n for n in stdlib.__all__ if own[n] is getattr(stdlib, n)]
    early = [
        name
        for name, module in list(sys.modules.items())
        if name not in ("socket", "ipcx", "ipcx.socket", "ipcx._core") and _holds(module, stdlib)
    ]
    lines = [
        "import socket        is ipcx.socket",
        "import socketserver  is ipcx.socketserver",
        f"  the C core's: socket.socket, {_core.socket!r}, with",
        *_wrapped(from_c or ["(nothing of its own yet)"]),
        "  the stdlib's own code over ipcx's sockets:",
        *_wrapped(made),
        f"  the stdlib's own objects: {len(same)} names (constants, exceptions, resolvers …)",
        "  left alone: _socket, and child processes other than multiprocessing's",
    ]
    if early:
        lines.append(f"  loaded before, keep the stdlib's: {', '.join(sorted(early))}")
    return "\n".join(f"ipcx.run: {line}" for line in lines)


def _holds(module: ModuleType, stdlib: ModuleType) -> bool:
    values = list(getattr(module, "__dict__", {}).values())
    return any(value is stdlib or value is stdlib.socket for value in values)


def _wrapped(names: Sequence[str]) -> list[str]:
    lines = ["   "]
    for name in names:
        if len(lines[-1]) + len(name) > 90:
            lines.append("   ")
        lines[-1] += " " + name
    return lines


# --- the program ----------------------------------------------------------------------------------


def _fresh_main() -> ModuleType:
    """A ``__main__`` as the interpreter makes it before it runs a program."""
    import builtins
    from importlib.machinery import BuiltinImporter

    main = ModuleType("__main__")
    vars(main).update(__loader__=BuiltinImporter, __annotations__={}, __builtins__=builtins)
    sys.modules["__main__"] = main
    return main


def _set_path0(entry: str) -> None:
    """Puts the program's directory where ipcx.run's is; under -P and -I there is none."""
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _is_container(path: str) -> bool:
    """Whether *path* is a directory or zip file, which the import system can look into."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _cannot_open(path: str, error: OSError) -> NoReturn:
    message = f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}"
    sys.stderr.write(f"{sys.orig_argv[0]}: {message}\n")
    sys.exit(2)


def _as_file(name: str) -> Callable[[], None]:
    import os

    path = os.path.join(os.getcwd(), name)  # not normalised: neither does the interpreter
    if _is_container(path):
        sys.path.insert(0, path) if sys.flags.safe_path else _set_path0(path)
        return _as_module("__main__", alter_argv=False)
    _set_path0(os.path.dirname(os.path.realpath(path)))
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        _cannot_open(path, error)
    return _as_source(source, path)


def _as_source(source: bytes | str, path: str) -> Callable[[], None]:
    from importlib import machinery, util

    main = _fresh_main()
    names = vars(main)
    if path != "<string>":
        names.update(__file__=path, __cached__=None)
    compiled = isinstance(source, bytes) and source[:4] == util.MAGIC_NUMBER
    if compiled:
        names["__loader__"] = machinery.SourcelessFileLoader("__main__", path)
    elif not path.startswith("<"):
        names["__loader__"] = machinery.SourceFileLoader("__main__", path)

    code: Any  # a code object
    if compiled:
        code = names["__loader__"].get_code("__main__")
    else:
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            _let_python_say(source)
        if isinstance(source, str) and sys.version_info >= (3, 13):
            # From 3.13 on, tracebacks show the lines of a program given with -c; warnings do not.
            import linecache

            linecache._register_code(code, source, path)  # type: ignore[attr-defined]

    def go() -> None:
        try:
            exec(code, names)
        except SystemExit:
            raise
        except BaseException as raised:
            _hide_our_frames(raised, lambda: _forget_file(names))
            raise
        else:
            _forget_file(names)
        finally:
            _flush()

    return go


def _forget_file(names: dict[str, Any]) -> None:
    """As the interpreter does at the end of a program's file; atexit functions see it."""
    names.pop("__file__", None)
    names.pop("__cached__", None)


def _let_python_say(source: bytes | str) -> NoReturn:
    """The program cannot be compiled, so nothing of it has run: plain python reports it best."""
    import os
    import subprocess

    if sys.argv[0] == "-":  # was read from standard input: there it must be again
        assert isinstance(source, bytes)
        stdin = os.memfd_create("stdin")
        os.write(stdin, source)
        os.lseek(stdin, 0, os.SEEK_SET)
        os.dup2(stdin, 0)
    code = [source] if sys.argv[0] == "-c" else []
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    os.execv(sys.executable, [sys.executable, *options, sys.argv[0], *code, *sys.argv[1:]])


def _as_module(name: str, *, alter_argv: bool) -> Callable[[], None]:
    import runpy

    _fresh_main()
    # The function the interpreter itself calls for -m, and for directories and zip files.
    run = runpy._run_module_as_main  # type: ignore[attr-defined]

    def go() -> None:
        try:
            run(name, alter_argv)
        except SystemExit:
            raise
        except BaseException as raised:
            _hide_our_frames(raised)
            raise

    return go


def _flush() -> None:
    """As the interpreter does after a program's file: what was printed comes before a traceback."""
    for stream in (sys.stderr, sys.stdout):
        with contextlib.suppress(Exception):
            stream.flush()


def _without_us(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    return tb


def _hide_our_frames(raised: BaseException, then: Callable[[], None] = lambda: None) -> None:
    """Lets the interpreter report *raised* (it knows about SIGINT and -i), less our frames."""
    hook = getattr(sys, "excepthook", None)
    tb = _without_us(raised.__traceback__)

    def excepthook(kind: type[BaseException], exc: BaseException, _: Any) -> None:
        sys.last_traceback = tb
        exc = exc.with_traceback(tb)
        if isinstance(exc, Exception):
            _late_note(exc)
        try:
            if hook is None:
                del sys.excepthook
                sys.stderr.write("sys.excepthook is missing\n")
                sys.__excepthook__(kind, exc, tb)
                return
            sys.excepthook = hook
            try:
                hook(kind, exc, tb)
                return
            except Exception as error:
                broken = error.with_traceback(_without_us(error.__traceback__))
            sys.stderr.write("Error in sys.excepthook:\n")
            sys.__excepthook__(type(broken), broken, broken.__traceback__)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(kind, exc, tb)
        finally:
            then()

    sys.excepthook = excepthook


def _prepare(arguments: list[str]) -> Callable[[], None]:
    """Sets ``sys.argv`` and ``sys.path[0]``; what is returned runs the program."""
    first = arguments[0]
    if first in ("-m", "-c") and len(arguments) < 2:
        sys.exit(f"ipcx.run: {first} needs an argument\n{USAGE}")
    if first == "-m":
        import os

        sys.argv[:] = ["-m", *arguments[2:]]
        _set_path0(os.getcwd())
        return _as_module(arguments[1], alter_argv=True)
    if first == "-c":
        sys.argv[:] = ["-c", *arguments[2:]]
        _set_path0("")
        return _as_source(arguments[1] + "\n", "<string>")
    sys.argv[:] = arguments
    if first == "-":
        _set_path0("")
        return _as_source(sys.stdin.buffer.read(), "<stdin>")
    return _as_file(first)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program named in *argv* (default: the command line) and ends as the program ends."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = set()
    while arguments and arguments[0].startswith("--"):
        options.add(arguments.pop(0))
    if "--help" in options or arguments[:1] == ["-h"]:
        sys.stdout.write(USAGE)
        return 0
    unknown = options - {"--explain", "--trace"}
    if unknown or not arguments:
        what = f"unknown option {min(unknown)}" if unknown else "no program given"
        sys.stderr.write(f"ipcx.run: {what}\n{USAGE}")
        return 2
    _record(arguments[0])
    install(trace="--trace" in options)
    if "--explain" in options:
        sys.stderr.write(_explanation() + "\n")
    _prepare(arguments)()
    return 0


if __name__ == "__main__":
    # What replaces things must live in the module ipcx.run, not in a __main__ about to be replaced.
    from ipcx.run import main as _main

    sys.exit(_main())
