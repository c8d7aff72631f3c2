# SPDX-License-Identifier: Apache-2.0
"""What a lab's process does: it becomes a fresh ``__main__`` and runs the text of its cell.

Run as a file (``python -P _child.py NAME``). The order lies in a memory file, descriptor 3; over
descriptor 4 it tells the lab what cannot be seen from outside. Lines of its tracebacks are those of
the cell, whose text stands in no file.
"""

import contextlib
import io
import marshal
import os
import sys
import traceback  # now: an import in the excepthook would cost Ctrl-C its exit status
import types
from typing import Any

__all__: list[str] = []

ORDER, TOLD, FIRST = 3, 4, 5  # descriptors; from FIRST on those of channels' ends
FILE = "cell {}"  # what tracebacks call the text


def main() -> None:
    with open(ORDER, "rb", closefd=False) as file:  # marshal: from our own parent, and no import
        order = marshal.load(file)
    os.ftruncate(ORDER, 0)  # a function's answer comes there
    sys.path[:] = order["path"]
    from ipcx.lab import _child  # not as __main__, which the cell shall be

    _child.live(order)


def live(order: dict[str, Any]) -> None:
    """The whole life of the process."""
    import faulthandler
    import linecache
    import signal
    import threading

    for fd in (ORDER, TOLD):
        os.set_inheritable(fd, False)
    name, source = order["name"], order["source"]
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(
            encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False
        )
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_Nobody(name)))
    sys.argv[:] = [name, *order["args"]]
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGXCPU, all_threads=False)  # where it hangs, when its time is up

    file = FILE.format(name)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    main = _Main(source, order["file"])
    main.__dict__["__builtins__"] = __import__("builtins")
    sys.modules["__main__"] = main
    sys.excepthook = _Excepthook(order)
    threading.excepthook = lambda args: _thread_failed(args)
    sys.addaudithook(_Watch(order["ports"]).see)
    _record(name)
    if order["socket"] == "ipcx":
        from ipcx.run import install

        install()
    try:
        if order["items"] or order["call"] is not None:
            _with_what_was_sent(order, main.__dict__)
        exec(compile(source, file, "exec", dont_inherit=True), main.__dict__)
    finally:
        for stream in (sys.stderr, sys.stdout):
            with contextlib.suppress(Exception):
                stream.flush()


class _Main(types.ModuleType):
    """``__main__``. Its text is in a file once somebody asks for it: `multiprocessing`, whose
    spawned children import that, as they do a script's."""

    __slots__ = ("_file", "_source")  # no names of the cell

    def __init__(self, source: str, file: str) -> None:
        super().__init__("__main__")
        self._source, self._file = source, file

    def __getattr__(self, name: str) -> Any:
        if name != "__file__" or not self._source:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        file = self._file
        if not os.path.exists(file):
            before = os.umask(0o077)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            os.umask(before)
            with open(file, "w", encoding="utf-8", errors="surrogatepass") as made:
                made.write(self._source)
        return file


def _with_what_was_sent(order: dict[str, Any], names: dict[str, Any]) -> None:
    from ipcx import _core, _parcel
    from ipcx._child import _answer
    from ipcx.lab import _sending

    ends = [_core._import_channel(tuple(fds), note) for fds, note in order["ends"]]
    _sending.receive(order["items"], ends, names)
    if order["call"] is None:
        return
    function, arguments = _sending.unpickled(order["call"], ends, names)
    try:
        value = function(*arguments)
    except Exception as error:
        _answer({"error": "".join(traceback.format_exception_only(error)).strip()})
        raise
    for end in ends:
        end.close()
    try:
        _answer({"value": _parcel.pack(value, "the function's result")})
    except (TypeError, ValueError) as error:
        _answer({"unsendable": str(error)})


def _record(name: str) -> None:
    """Takes part in the record that is open, and in those that will be."""
    from ipcx.lab import _board

    if board := os.environ.get(_board.FOLLOW):
        _board.follow(board, name)
    if folder := os.environ.get("IPCX_RECORD"):
        from ipcx.lab import recorder

        recorder.begin(folder, name)


# ---- nobody types


class _Nobody(io.RawIOBase):
    """Standard input, at its end; says so when it is asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0

    def readinto(self, buffer: Any) -> int:
        if not self.said:
            self.said = True
            print(
                f"{self.name} reads its standard input, which is empty: nobody can type into a "
                "process of a cell. Give it what it needs with --send, or in its text.",
                file=sys.stderr,
            )
        return 0


# ---- what is seen of what it does


class _Watch:
    """An audit hook: has lab.port()'s ports bound again at once, and tells of FIFOs."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = frozenset(ports)

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.bind":
            self.bind(*args)
        elif event == "open" and isinstance(args[0], str | bytes):
            self.open(args[0])

    def bind(self, sock: Any, address: Any) -> None:
        import _socket

        if (
            isinstance(address, tuple)
            and address[1:2]
            and address[1] in self.ports
            and sock.type & 0xF == _socket.SOCK_STREAM
        ):
            with contextlib.suppress(OSError):
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)

    def open(self, path: str | bytes) -> None:
        """A FIFO's open waits for the other end, and cannot be seen from outside meanwhile."""
        import stat

        try:
            if stat.S_ISFIFO(os.stat(path).st_mode):
                os.write(TOLD, b"opens the FIFO " + os.fsencode(path) + b"\n")
        except (OSError, ValueError):
            return


# ---- how it fails


class _Excepthook:
    """Prints the traceback of the cell's own frames, and what may help."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order

    def __call__(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        if isinstance(error, Exception):
            with contextlib.suppress(Exception):
                from ipcx.notes import add_late_note

                add_late_note(error)
            for note in self.notes(error):
                error.add_note(note)
        traceback.print_exception(kind, error, trace)

    def notes(self, error: Exception) -> list[str]:
        name = self.order["name"]
        if isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
            missing = error.name
            if missing in self.order["names"]:
                return [
                    f"The notebook has {missing}, but {name} is another process: it has an address "
                    "space of its own, in which nothing of the notebook is.",
                    f"To send it a copy: %%process {name} --send {missing}",
                ]
            return [
                f"{name} is a process of its own: it sees the names of its own cell, and none of "
                "the notebook's, which is another address space (--send NAME sends a copy)."
            ]
        if isinstance(error, SyntaxError) and (error.text or "").lstrip()[:1] in ("!", "%"):
            return [f"{name} is a plain Python program: ! and % are the notebook's alone."]
        return []


def _thread_failed(args: Any) -> None:
    """As the interpreter's own, with the lines of the cell."""
    if args.exc_type is SystemExit:
        return
    thread = args.thread.name if args.thread is not None else "?"
    print(f"Exception in thread {thread}:", file=sys.stderr)
    traceback.print_exception(args.exc_type, args.exc_value, args.exc_traceback)


if __name__ == "__main__":
    main()
