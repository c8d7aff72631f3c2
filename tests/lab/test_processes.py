"""ipcx.lab without a notebook: run, start, stop, and what a process can do wrong."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest
from beside import alive

import ipcx
from ipcx import lab
from ipcx.lab._pump import pump

pytestmark = pytest.mark.hang_guard(30)


def run(text, **options):
    return lab.run(textwrap.dedent(text), **{"name": "cell", **options})


def start(text, **options):
    return lab.start(textwrap.dedent(text), **{"name": "server", **options})


# ---- a text in a process of its own


def test_a_text_runs_as_main_in_another_process():
    done = run("import os, sys\nprint(__name__, os.getpid(), sys.argv)", args=["a", 1])
    assert done.ok
    assert str(done) == "cell: exit status 0"
    assert done.output == f"__main__ {done.pid} ['cell', 'a', '1']\n"
    assert done.pid != os.getpid()


def test_its_parent_is_this_process_and_its_folder_is_ours():
    done = run("import os\nprint(os.getppid(), os.getcwd())")
    assert done.output == f"{os.getpid()} {os.getcwd()}\n"


def test_nothing_of_this_process_is_there():
    done = run("import sys\nprint(sorted(vars()), 'pytest' in sys.modules)")
    names = ["__builtins__", "__doc__", "__loader__", "__name__", "__package__", "__spec__", "sys"]
    assert done.output == f"{names} False\n"


def test_it_inherits_no_descriptor(tmp_path):
    with open(tmp_path / "x", "w") as file:
        os.set_inheritable(file.fileno(), True)
        done = run(f"import os\nprint(os.path.exists('/proc/self/fd/{file.fileno()}'))")
    assert done.output == "False\n"


def test_the_exit_status_is_its_own():
    done = run("raise SystemExit(3)")
    assert (done.status, done.signal, done.ok) == (3, None, False)
    assert str(done) == "cell: exit status 3"


def test_a_traceback_shows_the_cells_lines():
    done = run(
        """\
        def divide(x):
            return 1 / x

        divide(0)
        """
    )
    assert done.status == 1
    assert 'File "cell cell", line 4, in <module>\n    divide(0)\n' in done.errors
    assert 'File "cell cell", line 2, in divide\n    return 1 / x\n' in done.errors
    assert "_child.py" not in done.errors


def test_so_does_that_of_a_thread():
    done = run("import threading\nthreading.Thread(target=lambda: 1 / 0, name='worker').start()")
    assert done.status == 0
    assert "Exception in thread worker:" in done.errors
    assert "threading.Thread(target=lambda: 1 / 0" in done.errors


def test_a_syntax_error_names_the_line():
    done = run("x = 1\nwhile x\n")
    assert done.status == 1
    assert 'File "cell cell", line 2' in done.errors


def test_what_is_the_notebooks_alone_is_said():
    done = run("!ls\n")
    assert "! and % are the notebook's alone" in done.errors


def test_a_name_error_speaks_of_the_address_space():
    done = run("print(x)")
    assert "NameError: name 'x' is not defined" in done.errors
    assert "another address space" in done.errors
    assert "--send" in done.errors


def test_an_unbound_local_is_another_matter():
    done = run("def f():\n    x += 1\nf()")
    assert "UnboundLocalError" in done.errors
    assert "--send" not in done.errors


def test_the_environment_is_added_to():
    done = run("import os\nprint(os.environ['X'], 'PATH' in os.environ)", env={"X": "1"})
    assert done.output == "1 True\n"


@pytest.mark.parametrize(("which", "module"), [("ipcx", "ipcx.socket"), ("stdlib", "socket")])
def test_import_socket_is_the_chosen_one(which, module):
    done = run("import socket\nprint(socket.__name__)", socket=which)
    assert done.output == f"{module}\n"


def test_wrong_arguments_are_refused_before_anything_starts():
    with pytest.raises(ValueError, match="socket is 'ipcx' or 'stdlib', not 'bsd'"):
        run("", socket="bsd")
    with pytest.raises(ValueError, match="timeout is seconds > 0"):
        run("", timeout=0)
    with pytest.raises(ValueError, match="the name of a process is a word, not ''"):
        run("", name="")
    assert lab.processes() == {}


# ---- what can go wrong


def test_a_loop_for_ever_ends_in_time_and_says_where_it_was():
    done = run("x = 0\nwhile True:\n    x += 1\n", timeout=0.5)
    assert done.timed_out
    assert not done.ok
    assert "so it was ended" in str(done)
    assert 'File "cell cell", line ' in done.errors


def test_one_that_is_deaf_to_sigterm_ends_too():
    done = run(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
        """,
        timeout=0.5,
    )
    assert done.timed_out
    assert done.signal == signal.SIGKILL


def test_a_crash_names_the_signal_and_the_line():
    done = run("import ctypes\n\nctypes.string_at(0)")
    assert done.signal == signal.SIGSEGV
    assert "ended by SIGSEGV" in str(done)
    assert 'File "cell cell", line 3' in done.errors


def test_a_hundred_megabytes_are_bounded_and_it_is_said():
    done = run("import os\nfor i in range(100):\n    os.write(1, b'x' * 1_000_000)\nprint('end')")
    assert done.ok
    assert len(done.output) < 2_000_000
    assert done.output.endswith("end\n")
    assert done.missing > 90_000_000
    assert f"… {done.missing} bytes are not kept …" in done.output
    assert f"{done.missing} bytes of its output were not kept" in str(done)


@pytest.mark.parametrize("read", ["input()", "sys.stdin.read()", "sys.stdin.buffer.readline()"])
def test_reading_stdin_gets_the_end_and_a_sentence(read):
    done = run(f"import sys\ntry:\n    print(repr({read}))\nexcept EOFError:\n    print('EOF')")
    assert done.output in ("EOF\n", "''\n", "b''\n")
    assert done.errors.startswith("cell reads its standard input, which is empty")
    assert len(done.errors.splitlines()) == 1


def test_what_it_has_forked_ends_too():
    done = run(
        """
        import os, signal
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.write(write, b".")
            signal.pause()
        os.read(read, 1)
        print(child)
        """
    )
    assert done.ok
    assert not alive(int(done.output))
    assert done.left == 1
    assert "a process that it had started still ran, and was ended" in str(done)


def test_a_child_that_prints_after_its_parents_end_is_heard():
    done = run(
        """
        import os
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(write)
            os.read(read, 1)  # until our parent has ended
            print("late")
        """
    )
    assert (done.output, done.left) == ("late\n", 0)


def test_a_program_that_it_has_started_ends_too():
    done = run(
        """
        import subprocess
        print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid)
        """
    )
    assert not alive(int(done.output))


def test_who_is_stopped_when_it_has_ended_already():
    """What it has left behind still runs and has its output open: the process is not over."""
    one = start(
        """
        import signal, subprocess, sys
        code = "import signal as s; s.signal(15, s.SIG_IGN); print('deaf', flush=True); s.pause()"
        subprocess.Popen([sys.executable, "-c", code])
        signal.pause()
        """,
        until="deaf",
    )
    with pump.changed:
        os.kill(one.pid, signal.SIGKILL)
        assert pump.changed.wait_for(lambda: one._exited, 20)
        assert one.running
        one._stop(signal.SIGTERM)  # as stop() does, before anybody else has a turn
    done = one.wait(20)
    assert (done.signal, done.left) == (signal.SIGKILL, 1)


def test_bytes_that_are_no_text_are_shown_as_escapes():
    assert run(r"import os; os.write(1, b'\xff\n')").output == "\\xff\n"


# ---- in the background


def test_start_returns_when_it_listens():
    port = lab.port("server")
    server = start(
        f"""
        import socket
        s = socket.socket()
        s.bind(("127.0.0.1", {port}))
        s.listen()
        conn, _ = s.accept()
        conn.sendall(b"hello")
        """
    )
    assert server.ready == f"listens on tcp 127.0.0.1:{port}"
    assert server.running
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert client.recv(5, socket.MSG_WAITALL) == b"hello"
    assert server.wait(10).ok
    assert not server.running


LISTENERS = {
    "udp": (
        "s = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))",
        "receives on udp",
    ),
    "unix": ("s = socket.socket(socket.AF_UNIX)\ns.bind(PATH)\ns.listen()", "listens on unix"),
    "unix datagrams": (
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.bind(PATH)",
        "receives on unix",
    ),
    "fifo": ("import os\nos.mkfifo(PATH)\nopen(PATH)", "opens the FIFO"),
    "channel": ("import ipcx\nc = ipcx.listen('unix://' + PATH)", "listens on unix"),
    "shm": ("import ipcx\nc = ipcx.listen('shm://' + NAME)", "listens on unix"),
    "child": (
        "import os\ns = socket.socket()\nif os.fork() == 0:\n    s.listen()",
        "listens on tcp",
    ),
    "shell": (
        "import os\nos.mkfifo(PATH)\n"
        "os.execlp('sh', 'sh', '-c', 'exec 3<>' + PATH + '; sleep 600')",
        "has the FIFO",
    ),
}


@pytest.mark.parametrize("kind", LISTENERS)
def test_what_counts_as_listening(kind):
    text, words = LISTENERS[kind]
    text = text.replace("PATH", repr(lab.path("x"))).replace("NAME", repr(lab.name("x")))
    server = start(f"import signal, socket\n{text}\nsignal.pause()")
    assert server.ready.startswith(words)
    assert server.running


def test_start_returns_when_the_text_was_printed():
    server = start("import signal\nprint('now', flush=True)\nsignal.pause()", until="now")
    assert server.ready == "has printed 'now'"


def test_start_returns_when_it_has_ended_already():
    server = start("raise SystemExit(2)")
    assert server.ready == "has ended: exit status 2"


def test_start_returns_at_last():
    server = start("import signal\nsignal.pause()", wait=0.05)
    assert server.ready == "runs; it has not begun to listen within 0.05 s"
    server = start("import signal\nsignal.pause()", wait=0.05, until="x")
    assert server.ready == "runs; it has not printed 'x' within 0.05 s"


def test_what_it_prints_can_be_read_while_it_runs():
    server = start("import signal\nprint('up')\nsignal.pause()", until="up")
    assert server.output == "up\n"
    assert server.errors == ""


def test_stop_ends_it_with_all_that_it_has_started():
    server = start(
        """
        import os, signal
        child = os.fork()
        if child:
            print(child, "runs")
        signal.pause()
        """,
        until="runs",
    )
    child = int(server.output.split()[0])
    done = server.stop()
    assert done.signal == signal.SIGTERM
    assert not alive(child)
    assert server.stop() == done
    assert repr(server) == f"<LabProcess server, pid {server.pid}: ended by SIGTERM>"


def test_stop_ends_all():
    for name in ("a", "b"):
        start("import signal\nprint('up')\nsignal.pause()", until="up", name=name)
    assert [done.name for done in lab.stop()] == ["a", "b"]
    assert lab.stop() == []
    assert list(lab.processes()) == ["a", "b"]


def test_stop_of_an_unknown_name_says_which_there_are():
    start("", name="a")
    with pytest.raises(LookupError, match="no process is called b; those that were started: a"):
        lab.stop("b")


def test_a_new_one_of_the_same_name_ends_the_old_one():
    text = "import signal\nprint('up')\nsignal.pause()"
    first = start(text, until="up")
    second = start(text, until="up")
    assert not first.running
    assert second.running
    assert lab.processes() == {"server": second}


def test_processes_are_shown_as_a_table():
    one = start("import socket\ns = socket.create_server(('127.0.0.1', 0))\ns.accept()", name="<s>")
    run("raise SystemExit(3)", name="b")
    table = lab.processes()
    head, first, second = str(table).splitlines()
    assert head.split() == ["process", "pid", "state", "seconds"]
    assert first.split()[:3] == ["<s>", str(one.pid), "runs"]
    assert "listens on tcp 127.0.0.1:" in first
    assert "exit status 3" in second
    assert repr(table).startswith("process")
    assert "<td>&lt;s&gt;</td>" in table._repr_html_()


def test_what_it_sends_is_recorded():
    with lab.record() as seen:
        text = "import socket\na, b = socket.socketpair()\na.send(b'hello')\nprint(b.recv(9))"
        assert run(text, name="talker").output == "b'hello'\n"
    assert "talker" in seen.processes
    assert [e.data for e in seen.events if e.op == "send"] == [b"hello"]


def test_a_limit_holds_in_the_background_too():
    server = start("import signal\nprint('up')\nsignal.pause()", until="up", timeout=0.3)
    done = server.wait(20)
    assert done.timed_out


def test_waiting_can_end_before_the_process():
    server = start("import signal\nprint('up')\nsignal.pause()", until="up")
    with pytest.raises(ipcx.Timeout, match=r"server still runs after 0.01 s"):
        server.wait(0.01)


def test_a_process_forked_from_this_one_has_a_lab_of_its_own():
    server = start("import signal\nprint('up')\nsignal.pause()", until="up")
    child = os.fork()
    if child == 0:
        try:
            ok = lab.processes() == {} and run("print(1)").output == "1\n"
            try:
                server.wait()
            except ipcx.ForkedError:
                os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert server.running


# ---- twice in a row, and the end

NOTEBOOK = """
from ipcx import lab
from ipcx.lab._pump import pump
port = lab.port("server")
lab.start(f'''
import socket
s = socket.socket()
s.bind(("127.0.0.1", {port}))
s.listen()
while True:
    conn, _ = s.accept()
    conn.sendall(b"hello")
    conn.close()  # first: so it is this end that stays in TIME_WAIT
''', name="server")
print(lab.run(f'''
import socket
s = socket.create_connection(("127.0.0.1", {port}))
print(s.recv(10), s.recv(10))
''', name="client").output)
"""


@pytest.mark.parametrize("which", ["ipcx", "stdlib"])
def test_all_cells_twice_in_a_row(which, capsys):
    names = {}
    for _ in range(3):
        exec(NOTEBOOK.replace('name="server"', f'name="server", socket="{which}"'), names)
    assert capsys.readouterr().out == "b'hello' b''\n\n" * 3


def test_a_port_is_the_same_for_a_name_and_free_for_both_protocols():
    port = lab.port("a")
    assert lab.port("a") == port
    assert lab.port("b") != port
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("", port))
        udp.bind(("", port))
        tcp.listen()
        assert lab.port("a") == port  # it is this process that has it


def test_a_port_that_a_stranger_has_taken_is_another_one(spawn):
    port = lab.port("taken")
    code = (
        f"import socket; s = socket.create_server(('', {port})); print('up', flush=True); input()"
    )
    stranger = spawn("-c", code)
    assert stranger.stdout.readline() == "up\n"
    other = lab.port("taken")
    assert other != port
    assert lab.port("taken") == other


def test_names_and_paths_are_fresh_each_time():
    assert lab.name("sem") != lab.name("sem")
    assert "/" not in lab.name("a/b")
    first, second = lab.path("x.sock"), lab.path("x.sock")
    assert first != second
    assert first.endswith("-x.sock")
    assert not os.path.exists(first)
    assert os.stat(os.path.dirname(first)).st_mode & 0o777 == 0o700
    assert len(first) < 100
    with pytest.raises(ValueError, match="a name needs a letter or a digit"):
        lab.name("/")


def test_source_gives_a_cells_text(monkeypatch):
    monkeypatch.setitem(lab.cells, "sender", "print(1)")
    assert lab.source("sender") == "print(1)"
    with pytest.raises(LookupError, match=r"no cell %%process x was run; .*: .*sender"):
        lab.source("x")


KERNEL = """
import os, signal
from ipcx import lab
from ipcx.lab._pump import pump
path = lab.path("x")
one = lab.start('''
import os, signal
child = os.fork()
if child == 0:
    os.setsid()
else:
    print(os.getpid(), child, "up")
signal.pause()
''', name="server", until="up")
print(*one.output.split()[:2], os.path.dirname(path), flush=True)
END
"""


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "", "os._exit(1)", "1 / 0"]
)
def test_nothing_outlives_the_kernel(end, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KERNEL.replace("END", end)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    one, other, folder = (
        done.stdout.replace("[", "").replace("]", "").replace("'", "").replace(",", "").split()
    )
    for pid in (one, other):
        gone(int(pid))
    while os.path.exists(folder):
        os.sched_yield()


def gone(pid):
    """Waits for its end, under the guard's limit."""
    while alive(pid):
        os.sched_yield()


INTERRUPTED = """
import sys
from ipcx import lab
from ipcx.lab._pump import pump
pause = "import signal; print('up'); signal.pause()"
a = lab.start(pause, name="a", until="up")
text = '''
import sys, time
open(sys.argv[1], "w")
time.sleep(600)
'''
try:
    lab.run(text, name="b", args=sys.argv[1:])
except KeyboardInterrupt:
    b = lab.processes()["b"]
    print(a, b, b.errors)
"""


def test_a_keyboard_interrupt_ends_all_processes(tmp_path):
    mark = tmp_path / "mark"
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, mark],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        while not mark.exists():
            os.sched_yield()
        child.send_signal(signal.SIGINT)
        told = child.stdout.read()
    assert "<LabProcess a, pid" in told
    assert told.count("ended by SIG") == 2
    assert 'File "cell b", line 4' in told
    assert "KeyboardInterrupt" in told


# ---- multiprocessing's spawned children import the cell's text


SPAWNS = """
import multiprocessing
def square(n):
    return n * n
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(square, [1, 2, 3]))
"""


def test_multiprocessings_children_find_the_cells_functions():
    done = lab.run(SPAWNS, name="a/b c")
    assert (done.output, done.status, done.left) == ("[1, 4, 9]\n", 0, 0), done.errors


def test_the_cell_itself_has_no_file():
    done = lab.run(
        "import sys\nmain = sys.modules['__main__']\n"
        "print('__file__' in globals(), open(main.__file__).read())\n"
        "main.other"
    )
    assert done.output.startswith("False import sys\n")
    assert "module '__main__' has no attribute 'other'" in done.errors


def test_a_child_without_the_guard_is_told_so():
    bad = "import multiprocessing as m\np = m.get_context('spawn').Process(target=print)\np.start()"
    done = lab.run(f"{bad}\np.join()\nprint(p.exitcode)")
    assert "if __name__ == '__main__':" in done.errors
    assert done.output == "1\n"
