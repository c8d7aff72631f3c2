# SPDX-License-Identifier: Apache-2.0
"""`record`: what the processes of the lab send to each other, written down as it happens.

Each process appends to a tape of its own, ``<folder>/<pid>.tape``: a row about itself, a row for
each socket or channel it uses, and a record for each call that has ended. Most of these the core
writes itself (csrc/py/py_record.c), through memory: no call of the kernel, and whoever is killed
with -9 leaves all but the record under way. Nothing on the wire is changed; who sent what to whom
is found out afterwards (`ipcx.lab.matching`).

A process records when ``IPCX_RECORD`` names the folder; `record` sets it for what is started in its
``with``. Processes of the lab that run by then follow a board (`ipcx.lab._board`).
"""

from __future__ import annotations

import json
import os
import stat
import sys
import weakref
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from ipcx import _core
from ipcx.lab import _board
from ipcx.lab._folder import Folder
from ipcx.lab.model import DATA_KEPT, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["EVENTS_KEPT", "FOLDER", "NAME", "Recorder", "begin", "end", "record"]

_SUFFIX = ".tape"
FOLDER = "IPCX_RECORD"  # the environment's variable
NAME = "IPCX_RECORD_NAME"  # what the process is to be called; else the program's name
EVENTS_KEPT = 200_000  # of a process; a loop that never ends must not fill the disk
EVENTS_READ = 20_000  # of these, for a picture: nobody shall wait a minute for what nobody sees

_STREAM, _DATAGRAM, _SEQPACKET = 1, 2, 5  # SOCK_…, without loading `socket` before ipcx.run does
_UNIX, _INET6 = 1, 10
_PEEK, _OOB = 0x2, 0x1
_LONE = "surrogatepass"  # a str may hold what UTF-8 has no place for


# --- what is written ------------------------------------------------------------------------------


def address_text(address: Any) -> str:
    """An address as the record has it: "127.0.0.1:80", "[::1]:80", "/path", "@abstract"."""
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    if isinstance(address, str):
        return "@" + address[1:] if address[:1] == "\0" else address
    if isinstance(address, tuple) and len(address) >= 2:
        host = str(address[0])
        return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    return ""


def _first(what: Any, size: int) -> bytes:
    """The first bytes of what moved: of a message, a buffer, or a list of buffers."""
    if isinstance(what, bytes):
        return what[: min(size, DATA_KEPT)]
    if isinstance(what, str):
        return what[:DATA_KEPT].encode("utf-8", _LONE)[: min(size, DATA_KEPT)]
    if isinstance(what, (list, tuple)):
        made = b""
        for one in what:
            made += _first(one, size - len(made))
            if len(made) >= min(size, DATA_KEPT):
                break
        return made
    try:
        with memoryview(what) as view, view.cast("B") as plain:
            return bytes(plain[: min(size, DATA_KEPT)])
    except TypeError:
        return b""


def _size(message: Any) -> int:
    if isinstance(message, str):
        return len(message.encode("utf-8", _LONE))
    try:
        with memoryview(message) as view:
            return view.nbytes
    except TypeError:
        return 0


def _pair(message: Any) -> list[Any]:
    """A message among many: its size and its first bytes."""
    size = _size(message)
    return [size, _first(message, size).hex() or _object(message)]


def _object(message: Any) -> str:
    """What stands for an object of inproc://, which has no bytes: who it is."""
    if isinstance(message, (bytes, str, bytearray, memoryview)):
        return ""
    return f"{type(message).__name__}@{id(message):x}".encode().hex()


class _Thing:
    """A socket or channel as this process sees it."""

    def __init__(self, number: int, thing: Any, forget: Callable[[Any], None]) -> None:
        self.number = number
        self.ref = weakref.ref(thing, forget)
        self.told: dict[str, Any] = {}
        self.whole = False  # nothing about it will change any more
        self.kind = "other"
        self.stuck = ""  # the last op, if it would have blocked
        self.listener = ""  # an accepted channel's
        self.role = ""
        self.late = False  # it was there before the record
        self.looks = 0

    def look(self, thing: Any) -> dict[str, Any]:
        """What there is to tell about it."""
        url = getattr(thing, "url", None)
        if url is None and hasattr(thing, "getsockname"):
            return self._look_socket(thing)
        self.whole = True
        self.kind = "channel"
        told = {"kind": "channel", "url": str(url or "")}
        if self.role:
            told["role"] = self.role
        if self.listener:
            told["listener"] = self.listener
        pid = getattr(thing, "pid", None)
        if isinstance(pid, int):
            told["peer_pid"] = pid  # type: ignore[assignment]
        return told

    def _look_socket(self, sock: Any) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for name, ask in (("local", "getsockname"), ("peer", "getpeername")):
            try:
                told[name] = address_text(getattr(sock, ask)())
            except OSError:
                told[name] = self.told.get(name, "")
        try:
            seen = os.fstat(sock.fileno())
            told["id"] = str(seen.st_ino)
        except (OSError, ValueError):
            told["id"] = self.told.get("id", "")
        self.kind = {_STREAM: "stream", _DATAGRAM: "datagram", _SEQPACKET: "datagram"}.get(
            sock.type, "other"
        )
        told["kind"] = self.kind
        unix = sock.family == _UNIX
        if unix and sock.type != _DATAGRAM and "peer_id" not in self.told and told["id"]:
            from ipcx.lab._peers import unix_peer

            told["peer_id"] = unix_peer(int(told["id"]))
        elif "peer_id" in self.told:
            told["peer_id"] = self.told["peer_id"]
        known = bool(told["local"]) and not told["local"].endswith(":0")
        self.looks += 1
        if sock.type == _DATAGRAM and not unix:
            self.whole = known
        else:  # a Unix-domain socket need not have a name at all
            self.whole = self.looks > 2 if unix else bool(told["peer"])
        return told


def new_tape(folder: str, pid: int) -> _core.Tape | None:
    """A tape for that lane; None: there is no such record any more, or no place for it."""
    for n in range(1000):  # the second of a process in this folder; or of another with its pid
        more = f"-{n}" if n else ""
        path = os.path.join(folder, f"{pid}{more}{_SUFFIX}")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            return _core.Tape(path, EVENTS_KEPT)
        except FileExistsError:
            continue
        except OSError:
            return None
    return None


class _Sink:
    """The tape of one record in this process."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name
        self.tape: _core.Tape | None = None
        self.known: dict[int, dict[str, Any]] = {}  # what this tape was told of each thing

    def open(self) -> bool:
        """Begins the tape of this process; False: there is no such record any more."""
        self.known = {}
        self.tape = new_tape(self.folder, os.getpid())
        self.tell({"process": self.name, "pid": os.getpid(), "argv": list(sys.orig_argv)})
        return self.tape is not None

    def tell(self, row: dict[str, Any]) -> None:
        if self.tape is not None:
            self.tape.add(json.dumps(row).encode("utf-8", _LONE))

    def close(self) -> None:
        if self.tape is not None:
            self.tape.close()


class _Watch:
    """All that this process records: what `_core.set_record` calls."""

    def __init__(self) -> None:
        self.sinks: list[_Sink] = []
        self.things: dict[int, _Thing] = {}
        self.count = 0
        self.follows = False  # its children record, too

    def new(self, thing: Any) -> _Thing:
        key = id(thing)

        def forget(ref: Any) -> None:
            if (known := self.things.get(key)) is not None and known.ref is ref:
                del self.things[key]
                _core.record_known(key, 0)

        _core.record_known(key, 0)
        self.count += 1
        made = self.things[key] = _Thing(self.count, thing, forget)
        return made

    def thing(self, thing: Any) -> _Thing:
        known = self.things.get(id(thing))
        if known is None or known.ref() is not thing:
            known = self.new(thing)
            known.late = type(thing) is not _core.Peer  # no call makes one
        return known

    def describe(self, known: _Thing, thing: Any) -> None:
        """Says in each file what is new about it."""
        if not known.whole and getattr(thing, "_closed", False) is not True:
            known.told = known.look(thing)
        for sink in self.sinks:
            if sink.known.get(known.number) != known.told:
                late = {} if known.number in sink.known or not known.late else {"late": True}
                sink.known[known.number] = known.told
                sink.tell({"thing": known.number, **late, **known.told})

    def see(
        self, op: str, thing: Any, detail: Any, error: Any, begun: int, what: Any, flags: int
    ) -> None:
        """One call has ended; what it raises would be reported as unraisable.

        The plain calls of what the core knows do not come here: it records them itself.
        """
        now = monotonic_ns()
        if isinstance(thing, int):  # a pipe's descriptor
            self.see_pipe(op, thing, detail, error, begun, what, now)
            return
        if op in ("socket", "pair", "connect", "listen") and not hasattr(thing, "getsockname"):
            if thing is None:  # it was not made
                self.put(now, begun, op, 0, None, "", self.extra(op, what, detail, error, None))
                return
            self.new(thing).role = op
        elif op == "socket":
            self.new(thing)
        known = self.thing(thing)
        if error is not None and isinstance(error, BlockingIOError):
            if known.stuck == op:  # a loop that asks again and again says it once
                return
            known.stuck = op
        else:
            known.stuck = ""
        if not known.whole or op in ("connect", "bind", "connect_ex", "socket", "pair", "accept"):
            known.whole = known.whole and op == "accept"
            self.describe(known, thing)
        else:
            self.describe(known, thing)
        _core.record_known(id(thing), known.number if known.whole and not known.stuck else 0)
        if flags & (_PEEK | _OOB):
            op = f"{op}(MSG_{'PEEK' if flags & _PEEK else 'OOB'})"
        size = detail[0] if type(detail) is tuple and detail else detail
        if type(size) is not int or op in _NO_BYTES:
            size = None
        data = ""
        if size == 0 and known.kind == "channel" and op in _ONE:
            size, data = _size(what), _object(what)
        if size is not None and not data:
            data = _first(what, size).hex()
        self.put(
            now, begun, op, known.number, size, data, self.extra(op, what, detail, error, known)
        )
        if op in ("close", "detach") and error is None:
            self.things.pop(id(thing), None)
            _core.record_known(id(thing), 0)

    def extra(self, op: str, what: Any, detail: Any, error: Any, known: _Thing | None) -> str:
        """The rest of the line, for what few calls have."""
        more: dict[str, Any] = {}
        if error is not None:
            more["e"] = f"{type(error).__name__}: {error}"
        if op in ("accept", "connect", "connect_ex", "bind"):
            self.meet(op, what if what is not None else detail, detail, error, known, more)
        elif type(detail) is tuple and len(detail) == 2:  # a datagram's
            more["a"] = address_text(detail[1])
        if op in ("send_many", "receive_many") and isinstance(what, list):
            more["ms"] = [_pair(one) for one in what]
        return "," + json.dumps(more)[1:] if more else "}"

    def meet(
        self, op: str, what: Any, detail: Any, error: Any, known: _Thing | None, more: Any
    ) -> None:
        """Whom accept, connect and bind were about."""
        if op != "accept":
            more["a"] = what if isinstance(what, str) and "://" in what else address_text(what)
        elif error is None and isinstance(detail, tuple):
            more["a"] = address_text(detail[1])
            made = self.new(detail[0])
            self.describe(made, detail[0])
            more["new"] = made.number
        elif error is None and detail is not None:
            made = self.new(detail)
            made.role = "accept"
            made.listener = known.told.get("url", "") if known is not None else ""
            self.describe(made, detail)
            more["new"] = made.number

    def see_pipe(
        self, op: str, fd: int, detail: Any, error: Any, begun: int, what: Any, now: int
    ) -> None:
        try:
            seen = os.fstat(fd)
        except OSError:
            return
        told = {"kind": "stream" if stat.S_ISFIFO(seen.st_mode) else "other"}
        told["id"] = f"pipe:{seen.st_dev}:{seen.st_ino}"
        number = -int(seen.st_ino)  # no number of a socket's
        for sink in self.sinks:
            if sink.known.get(number) != told:
                sink.known[number] = told
                sink.tell({"thing": number, **told})
        key = ((seen.st_ino * 2 + 1) ^ (seen.st_dev << 40)) & (1 << 64) - 1
        _core.record_known(key, number)
        size = detail if type(detail) is int else None
        more = "}" if error is None else "," + json.dumps({"e": _error(error)})[1:]
        self.put(now, begun, op, number, size, _first(what, size or 0).hex(), more)

    def put(
        self, now: int, begun: int, op: str, number: int, size: int | None, data: str, more: str
    ) -> None:
        moved = "null" if size is None else size
        line = f'{{"t":{now},"b":{begun},"op":"{op}","s":{number},"m":{moved},"d":"{data}"{more}'
        self.write(line.encode("utf-8", _LONE))

    def write(self, line: bytes) -> None:
        """A call, for each tape that has room."""
        for sink in self.sinks:
            if sink.tape is not None:
                sink.tape.add_call(line)

    def renew(self) -> None:
        """The tapes are others than before."""
        for known in self.things.values():
            known.stuck = ""
        _core.record_into([sink.tape for sink in self.sinks if sink.tape is not None])

    def after_fork(self) -> None:
        """A child has files of its own."""
        for sink in self.sinks:
            sink.close()
        self.sinks = [sink for sink in self.sinks if sink.open()]
        self.renew()
        if not self.sinks:
            _core.set_record(None)


_ONE = ("send", "receive")  # of one message, which need not be bytes

_NO_BYTES = frozenset(
    ("settimeout", "setblocking", "listen", "shutdown", "close", "detach", "socket", "connect",
     "connect_ex", "accept", "bind", "poll")
)  # fmt: skip

_watch = _Watch()


def _error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def begin(folder: str | os.PathLike[str] | None = None, name: str | None = None) -> bool:
    """Records this process in `folder` from now on, as `name`; again: nothing happens.

    Without a folder: the one that ``IPCX_RECORD`` names. False: there is none, or it has gone.
    """
    where = os.fspath(folder) if folder is not None else os.environ.get(FOLDER, "")
    if not where:
        return False
    if any(sink.folder == where for sink in _watch.sinks):
        return True
    name = name or os.environ.get(NAME) or program_name(sys.argv[0] if sys.argv else "")
    sink = _Sink(where, name)
    if not sink.open():
        return False
    _watch.sinks.append(sink)
    _watch.renew()
    if not _watch.follows:
        _watch.follows = True
        os.register_at_fork(after_in_child=_watch.after_fork)
    _core.set_record(_watch.see)
    return True


def end(folder: str | os.PathLike[str] | None = None) -> None:
    """Ends what `begin` began; without a folder, all of it."""
    where = None if folder is None else os.fspath(folder)
    over = [sink for sink in _watch.sinks if where is None or sink.folder == where]
    _watch.sinks = [sink for sink in _watch.sinks if sink not in over]
    _watch.renew()
    for sink in over:
        sink.close()
    if not _watch.sinks:
        _core.set_record(None)


def program_name(path: str) -> str:
    """What a program is called in the pictures: its file's name without ``.py``."""
    name = os.path.basename(path)
    return name.removesuffix(".py") or "python"


# --- the record -----------------------------------------------------------------------------------


class Recorder(Record):
    """What `record` gives: in its ``with`` it collects, afterwards it is the `Record`."""

    def __init__(self, name: str = "notebook", most: int | None = EVENTS_READ) -> None:
        super().__init__([], [], [])
        self.name = name
        self.most = most
        self.folder = ""
        self._place: Folder | None = None
        self._begun = 0
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> Recorder:
        if self.folder:
            raise RuntimeError("this record is open already; make another one")
        self._place = Folder()
        self.folder = self._place.path
        self._begun = monotonic_ns()
        self._before = {key: os.environ.get(key) for key in (FOLDER, NAME)}
        os.environ[FOLDER] = self.folder
        os.environ.pop(NAME, None)
        begin(self.folder, self.name)
        _board.opened(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self.folder)
        for key, value in self._before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
        try:
            self.refresh(wait=1.0)
        finally:
            _board.closed(self.folder)  # now: what others are about to tell belongs to it
            if self._place is not None:
                self._place.remove()
            self.folder, self._place = "", None

    def start(self) -> Recorder:
        """As the beginning of the ``with``, for a record that spans several cells."""
        return self.__enter__()

    def stop(self) -> Recorder:
        """Its end; gives the record itself, which shows its picture."""
        self.__exit__(None, None, None)
        return self

    def refresh(self, wait: float = 0.0) -> None:
        """Reads what has been recorded up to now.

        A process tells of a send when it has ended, and its receiver may be faster: with `wait`,
        what was received and not yet sent is waited for, at most so many seconds.
        """
        from ipcx.lab.matching import settled

        found = settled(self.folder, self._begun, wait, self.most)
        self.processes, self.events, self.messages = found.processes, found.events, found.messages
        self.notes = found.notes


def record(name: str = "notebook", most: int | None = EVENTS_READ) -> Recorder:
    """Records, in ``with``, what this process and those started meanwhile send and receive.

    Processes of the lab, ``python -m ipcx.run`` and their children take part; whoever uses the
    stdlib's sockets does not. Those that run already take part from now on: what they did before is
    not known, and the offsets of a stream that was open count from here. This process is `name` in
    it. Not one byte that passes is changed.

    Of a process the first `most` calls are read, so that a loop without an end has a picture soon;
    the record's `notes` say how many are missing. None: all that were kept, 200 000 of a process.
    """
    if most is not None and not most > 0:
        raise ValueError(f"most is a number of calls above 0, or None for all, not {most!r}")
    return Recorder(name, most)
