# SPDX-License-Identifier: Apache-2.0
"""``python -m ipcx.run``: programs run by plain python and by ipcx.run must look the same."""

import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.hang_guard(60)
GUARD = 50  # seconds: a hang guard, never a measurement
RUN = ("-m", "ipcx.run")


def start(*arguments, cwd, merge=False, options=()):
    return subprocess.Popen(
        # -B: a warning of the compiler comes once if the first of two runs leaves bytecode behind
        [sys.executable, "-B", *options, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge else subprocess.PIPE,
    )


def end(child, stdin=b""):
    try:
        out, err = child.communicate(stdin, timeout=GUARD)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def python(*arguments, stdin=b"", **more):
    return end(start(*arguments, **more), stdin)


def seen(done):
    return done.stdout, done.stderr, done.returncode


def same(*arguments, stdin=b"", by=RUN, **more):
    """Runs *arguments* both ways, asserts that nobody can tell them apart; returns plain's."""
    both = start(*arguments, **more), start(*by, *arguments, **more)  # at once: two cores
    plain, ours = (end(child, stdin) for child in both)
    assert ours.stdout.decode("latin-1").splitlines() == plain.stdout.decode("latin-1").splitlines()
    if plain.stderr is not None:
        assert (
            ours.stderr.decode("latin-1").splitlines()
            == plain.stderr.decode("latin-1").splitlines()
        )
    assert ours.returncode == plain.returncode
    return plain


def ours(program, *arguments, cwd, before=(), **more):
    """Runs a program text under ipcx.run; the program must end well."""
    path = Path(cwd, "program.py")
    path.write_text(textwrap.dedent(program))
    done = python(*RUN, *before, path, *arguments, cwd=cwd, **more)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.decode().split("\n")[:-1]


def write(path, text):
    path.write_text(textwrap.dedent(text))
    return path


# --- indistinguishable from plain python ----------------------------------------------------------

LOOK = """\
import sys, os
me = sys.modules["__main__"]
print(sys.argv, sys.path[0], len(sys.path))
print(me.__dict__ is globals(), __name__, vars(me).get("__file__"))
print({k: type(v).__name__ if k in ("__loader__", "__builtins__") else repr(v)
       for k, v in sorted(globals().items()) if k not in ("__spec__", "me", "sys", "os")})
print(type(__loader__), getattr(__loader__, "name", None), getattr(__loader__, "path", None))
print(__spec__ and (__spec__.name, __spec__.origin, __spec__.cached, __spec__.parent))
print(sys.exc_info(), sys.flags.safe_path, sys.stdin.read() if sys.argv[0] != "-" else "")
import beside
print(beside.__file__)
"""


@pytest.fixture
def place(tmp_path):
    """A directory with a program in every form: file, package, directory, zip."""
    for where in (tmp_path, tmp_path / "folder", tmp_path / "package"):
        where.mkdir(exist_ok=True)
        write(where / "beside.py", "")
    write(tmp_path / "prog.py", LOOK)
    write(tmp_path / "folder" / "__main__.py", LOOK)
    write(tmp_path / "package" / "__init__.py", "import sys; print('package', sys.argv)")
    write(tmp_path / "package" / "__main__.py", LOOK)
    write(tmp_path / "package" / "inner.py", "from . import beside\n" + LOOK)
    with zipfile.ZipFile(tmp_path / "prog.zip", "w") as archive:
        archive.writestr("__main__.py", LOOK)
        archive.writestr("beside.py", "")
    (tmp_path / "link.py").symlink_to(tmp_path / "folder" / "__main__.py")
    python(
        "-c", "import beside, package.beside, package.__main__", cwd=tmp_path
    )  # writes the caches
    return tmp_path


FORMS = [
    ["prog.py"],
    ["prog.py", "a", "-m", "--trace"],
    ["./prog.py", "--", "-"],
    ["folder/../prog.py"],
    ["link.py", "x"],
    ["folder", "x"],
    ["folder/", "x"],
    ["prog.zip", "x"],
    ["-m", "prog", "x"],
    ["-m", "package", "x"],
    ["-m", "package.inner", "-c", "x"],
    ["-c", LOOK, "x", "-m"],
    ["-", "x"],
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form)[:24].replace("\n", " "))
def test_a_program_sees_the_same_world(place, form):
    stdin = LOOK.encode() if form[0] == "-" else b"what the program reads"
    assert same(*form, cwd=place, stdin=stdin).returncode == 0


@pytest.mark.parametrize("option", ["-P", "-u", "-O", "-I", "-bb", "-B", "-Werror"])
def test_interpreter_options_belong_to_the_outer_python(place, option):
    if option in ("-P", "-I"):  # no beside.py to import then
        write(place / "prog.py", LOOK.partition("import beside")[0])
    for form in (["prog.py"], ["folder"], ["-c", "import sys; print(sys.flags, sys.path)"]):
        done = same(*form, cwd=place, options=[option], stdin=b"x")
        assert done.returncode == 0


def test_a_compiled_program(place):
    import py_compile

    py_compile.compile(str(place / "prog.py"), cfile=str(place / "prog.pyc"), doraise=True)
    (place / "other").write_bytes((place / "prog.pyc").read_bytes())
    same("prog.pyc", "x", cwd=place)
    same("other", "x", cwd=place)


@pytest.mark.parametrize(
    "form",
    [["nothing.py"], ["./no/such.py"], ["-m", "no_such_module"], ["-m", "os.nothing"], ["empty"]],
)
def test_no_such_program(tmp_path, form):
    (tmp_path / "empty").mkdir()
    done = same(*form, cwd=tmp_path)
    assert done.returncode in (1, 2)


def test_a_program_that_may_not_be_read(tmp_path):
    (tmp_path / "dir.py").mkdir()
    same("dir.py", cwd=tmp_path)


ENDINGS = {
    "falls off the end": "print('x')",
    "sys.exit()": "import sys; sys.exit()",
    "sys.exit(7)": "import sys; sys.exit(7)",
    "sys.exit(-1)": "import sys; sys.exit(-1)",
    "sys.exit(2**40)": "import sys; sys.exit(2**40)",
    "sys.exit(text)": "import sys; sys.exit('good bye')",
    "sys.exit(object)": "import sys; sys.exit(('a', 1))",
    "os._exit": "import os; os._exit(9)",
    "exit()": "exit(3)",
    "an error": "print('out')\ndef f():\n    return 1 / 0\n\nf()",
    "a chain of errors": "try:\n    {}['x']\nexcept KeyError as e:\n    raise OSError('y') from e",
    "an error while handling": "try:\n    {}['x']\nexcept KeyError:\n    raise ValueError('y')",
    "a group": "raise ExceptionGroup('g', [ValueError(1), OSError(2, 'x')])",
    "a note": "e = ValueError('v')\ne.add_note('with a note')\nraise e",
    "a base exception": "class B(BaseException): pass\nraise B('b')",
    "GeneratorExit": "raise GeneratorExit",
    "KeyboardInterrupt": "print('out')\nraise KeyboardInterrupt",
    "a real SIGINT": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('no')",
    "a SIGTERM": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "a syntax error": "x = 1\ny = (\nz = = 3",
    "an indentation error": "if 1:\nx = 1",
    "a wrong encoding": b"# -*- coding: utf-8 -*-\nx = '\xff'\n",
    "an undeclared encoding": b"x = 1\nprint('\xe4')\n",
    "an unknown encoding": b"# -*- coding: klingon -*-\nx = 1\n",
    "a latin-1 program": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe4'))\n1/0 # \xe4\n",
    "a byte order mark": b"\xef\xbb\xbfprint('x')\n",
    "Windows line ends": b"print('x')\r\nif 1:\r\n    1/0\r\n",
    "no last line end": b"print('x')",
    "nothing": b"",
    "a null byte": b"x = 1\n\0y = 2\n",
    "an unprintable error": "class E(Exception):\n    def __str__(self): 1/0\nraise E",
    "its own excepthook": (
        "import sys\nsys.excepthook = lambda *a: print('hook', a[0], a[2].tb_lineno)\n1/0"
    ),
    "a broken excepthook": "import sys\ndef hook(*a): 2/0\nsys.excepthook = hook\n1/0",
    "an excepthook that exits": "import sys\nsys.excepthook = lambda *a: sys.exit(5)\n1/0",
    "no excepthook": "import sys\ndel sys.excepthook\n1/0",
    "atexit": "import atexit\nglobals()['x'] = 1\natexit.register(lambda: print('bye', x))\n1/0",
    "atexit and __file__": (
        "import atexit\natexit.register(lambda: print(globals().get('__file__')))"
    ),
    "a thread that goes on": (
        "import threading, os\nr, w = os.pipe()\n"
        "def late():\n    os.read(r, 1)\n    print('late')\n"
        "threading.Thread(target=late).start()\nimport atexit\n"
        "threading._register_atexit(os.write, w, b'x')\n1/0"
    ),
    "an error in a thread": (
        "import threading\nt = threading.Thread(target=lambda: 1/0, name='t')\nt.start()\nt.join()"
    ),
    "an unraisable error": "class M(type):\n    def __repr__(self): return 'M'\n"
    "class D:\n    def __repr__(self): return 'D'\n    def __call__(self): 1/0\n"
    "class X:\n    __del__ = D()\nX()\nprint('on')",
    "an object alive at the end": "class X:\n    def __del__(self): print('gone')\nx = X()",
    "a future": (
        "from __future__ import annotations\ndef f(x: nothing): pass\nprint(f.__annotations__)"
    ),
    "a closed stdout": "import sys\nsys.stdout.close()",
    "a warning": "import warnings\nwarnings.warn('careful')\nassert (1, 'x')",
    "sys.last_value": (
        "import sys, atexit\n"
        "@atexit.register\n"
        "def last(): print(sys.last_type, sys.last_value, sys.last_traceback.tb_lineno)\n"
        "1/0"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_the_same(tmp_path, ending):
    text = ENDINGS[ending]
    path = tmp_path / "prog.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    same("prog.py", cwd=tmp_path)
    same("prog.py", cwd=tmp_path, merge=True)  # in the same order, too
    same("-m", "prog", cwd=tmp_path)
    if "latin-1" not in ending:  # python itself cannot read that from a pipe; ipcx.run can
        same("-", cwd=tmp_path, stdin=path.read_bytes())
    if isinstance(text, str):
        same("-c", text, cwd=tmp_path)


def test_a_program_in_a_directory_ends_the_same(tmp_path):
    (tmp_path / "folder").mkdir()
    for ending in ("an error", "KeyboardInterrupt", "sys.exit(7)", "a syntax error"):
        (tmp_path / "folder" / "__main__.py").write_text(ENDINGS[ending])
        same("folder", cwd=tmp_path)


def test_ipcx_run_ends_a_program_the_same(tmp_path):
    for ending in ("an error", "KeyboardInterrupt", "sys.exit(7)", "a syntax error"):
        (tmp_path / "prog.py").write_text(ENDINGS[ending])
        for form in (["prog.py"], ["-m", "prog"]):
            same(*form, cwd=tmp_path, by=("-m", "ipcx", "run"))


def test_the_console_script_runs_a_program_the_same(tmp_path):
    script = str(Path(sys.executable).with_name("ipcx"))
    (tmp_path / "prog.py").write_text(LOOK.partition("import beside")[0])
    same("prog.py", "x", cwd=tmp_path, by=(script, "run"))
    (tmp_path / "prog.py").write_text(ENDINGS["KeyboardInterrupt"])
    same("prog.py", "x", cwd=tmp_path, by=(script, "run"))


def test_ctrl_c_in_a_blocking_call(tmp_path):
    program = """\
        import socket, sys
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            print("waiting", flush=True)
            s.accept()
    """
    write(tmp_path / "prog.py", program)
    ends = []
    for way in ((), RUN):
        with subprocess.Popen(
            [sys.executable, *way, "prog.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            assert child.stdout.readline() == b"waiting\n"
            child.send_signal(2)
            _, error = child.communicate(timeout=GUARD)
            ends.append((child.returncode, error.splitlines()[-1], b"ipcx" in error))
    assert ends[0] == ends[1] == (-2, b"KeyboardInterrupt", False)


def test_i_stays_in_the_program(tmp_path):
    write(tmp_path / "prog.py", "answer = 42\n1/0")
    done = same("prog.py", cwd=tmp_path, options=["-i"], stdin=b"print(answer, __name__)\n")
    assert b"42 __main__" in done.stdout


# --- what is replaced -----------------------------------------------------------------------------


def test_every_way_of_importing_is_ours(tmp_path):
    lines = ours(
        """\
        import importlib
        import socket
        import socket as s
        from socket import socket as cls, create_server
        import socketserver
        from socketserver import TCPServer
        print(socket.__name__, s is socket, cls is socket.socket, cls.__module__)
        print(importlib.import_module("socket") is socket, __import__("socket") is socket)
        print(create_server.__globals__ is vars(socket))
        import ipcx.socket, ipcx.socketserver
        print(ipcx.socket is socket, ipcx.socketserver is socketserver)
        print(importlib.import_module("socketserver") is socketserver, TCPServer.__module__)
        import _socket
        print(_socket.socket.__module__, issubclass(cls, _socket.socket))
        print(importlib.reload(socket) is socket)
        """,
        cwd=tmp_path,
    )
    assert lines == [
        "ipcx.socket True True ipcx.socket",
        "True True",
        "True",
        "True True",
        "True ipcx.socketserver",
        "_socket True",
        "True",
    ]


def test_nothing_loaded_at_the_start_keeps_the_stdlibs_socket(tmp_path):
    lines = ours(
        """\
        import sys
        loaded = dict(sys.modules)
        import ipcx.socket
        stdlib = ipcx.socket._stdlib
        for name, module in sorted(loaded.items()):
            values = list(getattr(module, "__dict__", {}).values())
            if name != "__main__" and any(v is stdlib or v is stdlib.socket for v in values):
                print("holds", name, module.__name__)
        for name in ("asyncio", "ssl", "http", "socketserver", "ipcx.socketserver", "threading",
                     "multiprocessing", "urllib.request", "logging", "argparse", "subprocess"):
            if name in loaded:
                print("loaded", name)
        """,
        cwd=tmp_path,
    )
    # Ours, twice: under its own name and under the stdlib's.
    assert lines == ["holds ipcx.socket ipcx.socket", "holds socket ipcx.socket"]


def test_modules_loaded_afterwards_hold_ours(tmp_path):
    lines = ours(
        """\
        import sys
        import asyncio, asyncio.unix_events, ssl, http.client, http.server, urllib.request
        import logging.handlers, multiprocessing.connection, xmlrpc.server, smtplib, ftplib
        import concurrent.futures.process
        import ipcx.socket
        stdlib = ipcx.socket._stdlib
        for name, module in sorted(sys.modules.items()):
            values = list(getattr(module, "__dict__", {}).values())
            if "main__" not in name and any(v is stdlib or v is stdlib.socket for v in values):
                print(name)
        print(ssl.SSLSocket.__mro__[1])
        """,
        cwd=tmp_path,
    )
    assert lines == ["ipcx.socket", "socket", "<class 'ipcx.socket.socket'>"]


def test_other_child_processes_are_left_alone(tmp_path):
    lines = ours(
        """\
        import subprocess, sys
        subprocess.run([sys.executable, "-c", "import socket; print(socket.__name__)"], check=True)
        """,
        cwd=tmp_path,
    )
    assert lines == ["socket"]


# --- multiprocessing ------------------------------------------------------------------------------

METHODS = ("fork", "spawn", "forkserver")

CHILDREN = """\
    import multiprocessing
    import os
    import pickle
    import socket
    import sys

    class Point:
        def __init__(self, x): self.x = x

    def work(connection, point):
        import http.client
        names = socket.__name__, http.client.socket.__name__, type(point).__name__
        connection.send((*names, point.x))
        connection.send(Point(point.x + 1))
        connection.close()

    def echo(sock, connection):
        connection.send(type(sock).__module__)
        sock.sendall(sock.recv(100).upper())
        sock.close()
        with socket.create_server(("127.0.0.1", 0)) as server:
            connection.send(server)
            connection.recv()

    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        here, there = multiprocessing.Pipe()
        child = multiprocessing.Process(target=work, args=(there, Point(41)))
        child.start()
        print(here.recv(), here.recv().x)
        child.join()

        a, b = socket.socketpair()
        child = multiprocessing.Process(target=echo, args=(b, there))
        child.start()
        b.close()
        a.sendall(b"hello")
        print(here.recv(), a.recv(100), a.recv(100))
        server = here.recv()
        print(type(server).__module__, server.getsockname()[0], server.family)
        here.send("got it")
        server.close()
        a.close()
        child.join()
        print(child.exitcode)
        with multiprocessing.Pool(2) as pool:
            print(pool.map(abs, [-1, -2]))
            pool.close()
            pool.join()
        try:
            pickle.dumps(socket.socket())
        except TypeError as error:
            print(error)
"""


@pytest.mark.parametrize("method", METHODS)
def test_children_of_multiprocessing(tmp_path, method):
    assert ours(CHILDREN, method, cwd=tmp_path) == [
        "('ipcx.socket', 'ipcx.socket', 'Point', 41) 42",
        "ipcx.socket b'HELLO' b''",
        "ipcx.socket 127.0.0.1 2",
        "0",
        "[1, 2]",
        "cannot pickle 'socket' object",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_sockets_through_multiprocessing_without_run(tmp_path, method):
    text = textwrap.dedent(CHILDREN)
    write(tmp_path / "plain.py", text)
    write(tmp_path / "over_ipcx.py", text.replace("import socket\n", "from ipcx import socket\n"))
    plain = python("plain.py", method, cwd=tmp_path)
    ours = python("over_ipcx.py", method, cwd=tmp_path)
    assert plain.returncode == ours.returncode == 0, (plain.stderr, ours.stderr)
    # The same but for the module's name; what the child itself imports stays the stdlib's.
    expected = plain.stdout.replace(b"('socket', ", b"('ipcx.socket', ").splitlines()
    expected = [b"ipcx." + x if x.startswith(b"socket ") else x for x in expected]
    assert ours.stdout.splitlines() == expected


def test_ipcx_socket_does_not_import_multiprocessing(tmp_path):
    code = "import ipcx.socket, sys; print([m for m in sys.modules if 'multiproc' in m])"
    assert python("-c", code, cwd=tmp_path).stdout == b"[]\n"


def test_waiting_for_an_import_leaves_no_trace(tmp_path):
    """The finder wraps the loader, serves whoever asks for the source meanwhile, and goes."""
    code = """\
        import importlib.util, sys
        from ipcx import _hooks
        seen, _hooks._waiting = [], _hooks._Waiting()  # one of our own: ipcx waits for others
        _hooks.when_imported("json.tool", lambda module: seen.append(module.main))
        _hooks.when_imported("sys", lambda module: seen.append(module is sys))
        assert "def main" in importlib.util.find_spec("json.tool").loader.get_source("json.tool")
        assert importlib.util.find_spec("json.no_such_module") is None
        import json.tool
        print(seen == [True, json.tool.main], type(json.tool.__loader__).__name__)
        print(json.tool.__spec__.loader is json.tool.__loader__)
        print([finder for finder in sys.meta_path if finder is _hooks._waiting])
    """
    done = python("-c", textwrap.dedent(code), cwd=tmp_path)
    assert (done.stdout, done.stderr) == (b"True SourceFileLoader\nTrue\n[]\n", b"")


def test_a_child_that_stands_elsewhere(tmp_path):
    lines = ours(
        """\
        import multiprocessing, os, socket
        def work(q): q.put(socket.__name__)
        if __name__ == "__main__":
            os.chdir("/")
            context = multiprocessing.get_context("spawn")
            q = context.SimpleQueue()
            p = context.Process(target=work, args=(q,))
            p.start()
            print(q.get())
            p.join()
        """,
        cwd=tmp_path,
    )
    assert lines == ["ipcx.socket"]


def test_a_failing_child_shows_the_same_traceback(tmp_path):
    write(
        tmp_path / "prog.py",
        """\
        import multiprocessing, sys
        def work(): 1/0
        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                p = multiprocessing.get_context(method).Process(target=work, name="child")
                p.start()
                p.join()
                print(p.exitcode, flush=True)
        """,
    )
    assert same("prog.py", cwd=tmp_path).stdout == b"1\n1\n1\n"


# --- real programs --------------------------------------------------------------------------------


def test_http_server_and_urllib(tmp_path):
    lines = ours(
        """\
        import http.server, threading, urllib.request, urllib.error
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                print(type(self.connection).__module__)
                body = b"x" * 300_000
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *a): pass
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            t = threading.Thread(target=server.serve_forever)
            t.start()
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{server.server_port}/", timeout=30) as answer:
                print(len(answer.read()), answer.status)
            server.shutdown()
            t.join()
        """,
        cwd=tmp_path,
    )
    assert lines == ["ipcx.socket", "300000 200"]


def test_asyncio_streams(tmp_path):
    lines = ours(
        """\
        import asyncio, socket
        async def serve(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        async def main():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            print(type(server.sockets[0]._sock).__module__)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\\n")
            print(await reader.read())
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            loop = asyncio.get_running_loop()
            a, b = socket.socketpair()
            a.setblocking(False); b.setblocking(False)
            await loop.sock_sendall(a, b"raw")
            print(await loop.sock_recv(b, 10))
            a.close(); b.close()
        asyncio.run(main())
        """,
        cwd=tmp_path,
    )
    assert lines == ["ipcx.socket", "b'HELLO\\n'", "b'raw'"]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    where = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", where / "key.pem", "-out", where / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return where


def test_ssl(tmp_path, certificate):
    lines = ours(
        """\
        import socket, ssl, sys, threading
        certificate, key = sys.argv[1:]
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(certificate, key)
        client_context = ssl.create_default_context(cafile=certificate)
        listener = socket.create_server(("127.0.0.1", 0))
        def serve():
            connection, _ = listener.accept()
            with server_context.wrap_socket(connection, server_side=True) as tls:
                while data := tls.recv(1 << 16):
                    tls.sendall(data.upper())
        t = threading.Thread(target=serve)
        t.start()
        raw = socket.create_connection(listener.getsockname(), timeout=30)
        with client_context.wrap_socket(raw, server_hostname="localhost") as tls:
            print(isinstance(tls, socket.socket), tls.version())
            tls.sendall(b"hello")
            print(tls.recv(100), raw.fileno())
        t.join()
        listener.close()
        """,
        certificate / "cert.pem",
        certificate / "key.pem",
        cwd=tmp_path,
    )
    assert lines == ["True TLSv1.3", "b'HELLO' -1"]


def test_requests(tmp_path):
    # pip brings requests and urllib3 along, so they are in every environment that can install us.
    lines = ours(
        """\
        import http.server, threading
        from pip._vendor import requests, urllib3
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
            def log_message(self, *a): pass
        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            t = threading.Thread(target=server.serve_forever)
            t.start()
            print(requests.get(f"http://127.0.0.1:{server.server_port}/", timeout=30).text)
            print(urllib3.util.connection.socket.__name__)
            server.shutdown()
            t.join()
        """,
        cwd=tmp_path,
    )
    assert lines == ["hello", "ipcx.socket"]


def test_socketserver_tcp_udp_unix_threading(tmp_path):
    lines = ours(
        """\
        import socket, socketserver, threading
        class Upper(socketserver.StreamRequestHandler):
            def handle(self):
                print(type(self.request).__module__, flush=True)
                self.wfile.write(self.rfile.readline().upper())
        class UpperDatagram(socketserver.DatagramRequestHandler):
            def handle(self):
                print(type(self.socket).__module__, flush=True)
                self.wfile.write(self.rfile.readline().upper())
        tcp, udp = ("127.0.0.1", 0), ("127.0.0.1", 0)
        kinds = [
            (socketserver.TCPServer, tcp, Upper, socket.AF_INET, socket.SOCK_STREAM),
            (socketserver.ThreadingTCPServer, tcp, Upper, socket.AF_INET, socket.SOCK_STREAM),
            (socketserver.UDPServer, udp, UpperDatagram, socket.AF_INET, socket.SOCK_DGRAM),
            (socketserver.ThreadingUnixStreamServer, "s1", Upper, socket.AF_UNIX,
             socket.SOCK_STREAM),
            (socketserver.UnixDatagramServer, "s2", UpperDatagram, socket.AF_UNIX,
             socket.SOCK_DGRAM),
        ]
        for kind, address, handler, family, type_ in kinds:
            with kind(address, handler) as server, socket.socket(family, type_) as client:
                t = threading.Thread(target=server.handle_request)
                t.start()
                if family == socket.AF_UNIX and type_ == socket.SOCK_DGRAM:
                    client.bind("s3")
                client.connect(server.server_address)
                client.send(b"hello\\n")
                print(kind.__name__, client.recv(100))
                t.join()
        """,
        cwd=tmp_path,
    )
    assert lines[1::2] == [
        f"{name} b'HELLO\\n'"
        for name in (
            "TCPServer",
            "ThreadingTCPServer",
            "UDPServer",
            "ThreadingUnixStreamServer",
            "UnixDatagramServer",
        )
    ]
    assert set(lines[0::2]) == {"ipcx.socket"}


def test_ipcx_socketserver_without_run(tmp_path):
    import socketserver as stdlib

    from ipcx import socket, socketserver

    assert socketserver is not stdlib
    assert socketserver.socket is socket
    assert stdlib.socket is not socket
    assert socketserver.__all__ == stdlib.__all__
    assert {n for n in vars(stdlib) if not n.startswith("_")} <= set(vars(socketserver))
    assert socketserver.TCPServer.__module__ == "ipcx.socketserver"
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        assert type(server.socket) is socket.socket


# --- its own command line -------------------------------------------------------------------------


def test_usage(tmp_path):
    assert b"usage: python -m ipcx.run" in python(*RUN, "--help", cwd=tmp_path).stdout
    for wrong in ([], ["--nonsense", "x.py"], ["-m"], ["-c"]):
        done = python(*RUN, *wrong, cwd=tmp_path)
        assert done.returncode != 0
        assert b"usage: python -m ipcx.run" in done.stderr
        assert b"Traceback" not in done.stderr


def test_explain_says_what_was_replaced(tmp_path):
    write(tmp_path / "prog.py", "print('program')")
    done = python(*RUN, "--explain", "prog.py", cwd=tmp_path)
    assert done.stdout == b"program\n"
    text = done.stderr.decode()
    assert "import socket        is ipcx.socket" in text
    assert "create_connection" in text
    assert "the stdlib's own objects" in text
    assert "loaded before" not in text


def test_ipcx_run_is_the_same(tmp_path):
    write(tmp_path / "prog.py", "import socket, sys; print(socket.__name__, sys.argv); sys.exit(3)")
    done = python("-m", "ipcx", "run", "prog.py", "--trace", cwd=tmp_path)
    assert seen(done) == (b"ipcx.socket ['prog.py', '--trace']\n", b"", 3)


# --- the lecture's programs, watched --------------------------------------------------------------

LECTURE_SERVER = """\
    import socket

    HOST = "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.bind((HOST, 0))
        s.listen()
        print(s.getsockname()[1], flush=True)
        conn, addr = s.accept()
        with conn:
            while True:
                data = conn.recv(1024)
                if not data:
                    break
                conn.sendall(data.upper())
"""
LECTURE_CLIENT = """\
    import socket, sys

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.connect(("127.0.0.1", int(sys.argv[1])))
        s.sendall(b"hello")
        data = s.recv(1024)
    print("Received", repr(data.decode()))
"""


def test_trace_tells_the_lectures_programs(tmp_path):
    server = write(tmp_path / "server.py", LECTURE_SERVER)
    client = write(tmp_path / "client.py", LECTURE_CLIENT)
    with subprocess.Popen(
        [sys.executable, *RUN, "--trace", server],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        port = serving.stdout.readline().strip()
        asked = python(*RUN, "--trace", client, port, cwd=tmp_path)
        _, told = serving.communicate(timeout=GUARD)
    assert asked.stdout == b"Received 'HELLO'\n"

    def lines(text):
        return [line.partition("   (fd")[0] for line in text.splitlines()]

    by_client = lines(asked.stderr.decode())
    mine = by_client[1].split()[4]
    assert by_client == [
        "socket → TCP socket (a stream, IPv4)",
        f"connect → active socket, {mine} to 127.0.0.1:{port}",
        "sendall → 5 bytes",
        "recv → 5 bytes",
        by_client[4],
    ]
    assert lines(told)[:8] == [
        "socket → TCP socket (a stream, IPv4)",
        f"bind → the address 127.0.0.1:{port}",
        f"listen → passive socket, port {port}",
        f"accept → new socket for {mine}",
        "recv → 5 bytes",
        "sendall → 5 bytes",
        "recv → 0 bytes: the peer has closed its end",
        lines(told)[7],
    ]
    assert lines(told)[7].startswith("close → descriptor ")


def test_trace_reaches_multiprocessings_children(tmp_path):
    path = write(
        tmp_path / "prog.py",
        """\
        import multiprocessing, socket, sys
        def work():
            socket.socket().close()
        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                p = multiprocessing.get_context(method).Process(target=work)
                p.start()
                print(p.pid)
                p.join()
        """,
    )
    done = python(*RUN, "--trace", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = done.stderr.decode().splitlines()
    forked = [line for line in told if f"process {done.stdout.split()[0].decode()})" in line]
    assert len(forked) == 2
    # The interpreters of spawn and forkserver are new: each tells for itself.
    assert sum("given back" in line for line in told) >= 3


def test_errors_of_asyncio_have_notes_where_they_are_reported(tmp_path):
    path = write(
        tmp_path / "prog.py",
        """\
        import asyncio, socket
        async def main():
            with socket.socket() as holder:
                holder.bind(("127.0.0.1", 0))
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.open_connection(*holder.getsockname()))
        asyncio.run(main())
        """,
    )
    done = python(*RUN, path, cwd=tmp_path)
    assert done.returncode == 1
    assert b"ConnectionRefusedError: [Errno 111] Connect call failed" in done.stderr
    assert b"The machine answered that nobody listens at that address." in done.stderr


def test_errors_have_notes(tmp_path):
    path = write(
        tmp_path / "prog.py",
        """\
        import socket, traceback
        holder = socket.socket()
        holder.bind(("127.0.0.1", 0))
        try:
            socket.create_connection(holder.getsockname())
        except ConnectionRefusedError as error:
            print(error)
            traceback.print_exc()
        socket.create_connection(holder.getsockname())
        """,
    )
    done = python(*RUN, path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == b"[Errno 111] Connection refused\n"
    assert done.stderr.count(b"Nobody listens at 127.0.0.1:") == 2
    assert b"ipcx/run.py" not in done.stderr
