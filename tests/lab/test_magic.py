"""%%process in a real kernel: what a person sees, and what is left when the kernel goes."""

import os
import re
import subprocess
import sys
import textwrap

import pytest
from beside import alive

pytest.importorskip("ipykernel")
pytest.importorskip("jupyter_client")

from kernel_help import Kernel

from ipcx.lab import _magic

pytestmark = pytest.mark.hang_guard(90)


@pytest.fixture(scope="module")
def kernel():
    made = Kernel()
    assert made.run("%load_ext ipcx.lab\nfrom ipcx import lab").error == ""
    yield made
    made.close()


@pytest.fixture
def cell(kernel):
    """Runs a cell; at the end nothing of the test runs any more."""
    yield lambda text: kernel.run(textwrap.dedent(text).strip())
    kernel.run("lab.stop()")


def until_gone(*pids):
    """Under the guard's limit."""
    while any(map(alive, pids)):
        os.sched_yield()


# ---- the line


def test_a_line_with_everything():
    line = "server --background --until 'it is up' --socket stdlib --send a,b --send=c --timeout=3"
    assert _magic.parse(line) == _magic.Options(
        "server", True, "it is up", "stdlib", ["a", "b", "c"], 3.0
    )
    assert _magic.parse("x") == _magic.Options("x")
    assert _magic.parse("x --until up").background


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "the process needs a name"),
        ("--background", "the process needs a name"),
        ("a b", "a process has one name; this line has a and b"),
        ("a --backgruond", "%%process has no option --backgruond. Usage: %%process NAME"),
        ("a -b", "%%process has no option -b"),
        ("a --until", "--until needs a value"),
        ("a --socket bsd", "--socket is ipcx or stdlib, not bsd"),
        ("a --timeout soon", "--timeout is a number of seconds above 0, not soon"),
        ("a --timeout -1", "--timeout is a number of seconds above 0, not -1"),
        ("a 'b", "No closing quotation"),
    ],
)
def test_a_line_that_is_wrong_is_refused_in_a_sentence(line, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        _magic.parse(line)


def test_the_refusal_is_one_line_and_nothing_starts(cell):
    shown = cell("%%process a --foo\nprint(1)")
    assert "UsageError: %%process has no option --foo" in shown.text + shown.error
    assert "Traceback" not in shown.text + shown.error
    assert cell("'a' in lab.cells").error == ""


# ---- in the foreground


def test_the_output_stands_under_the_cell_with_the_processs_name(cell):
    shown = cell(
        """
        %%process client
        import sys
        print("to", sys.argv)
        print("no\\nend", end="", file=sys.stderr)
        """
    )
    assert shown.text == (
        "client | to ['client']\nclient ! no\nclient ! end\nclient · exit status 0\n"
    )
    assert "\x1b[1;38;2;" in shown.raw


def test_output_comes_while_it_runs(kernel, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    request = kernel.start(f"%%process waits\nprint('up')\nopen({str(fifo)!r}).read()\nprint('on')")
    shown = kernel.finish(request, until=lambda shown: "waits | up" in shown.text)
    assert "on" not in shown.text
    fifo.write_text("")
    assert kernel.finish(request).text == "waits | on\nwaits · exit status 0\n"


def test_status_traceback_and_the_lectures_words(cell):
    cell("secret = 42")
    shown = cell("%%process client\nx = 1\nprint(secret)")
    assert "! Traceback" in shown.text
    assert 'client !   File "cell client", line 2, in <module>\n' in shown.text
    assert "The notebook has secret, but client is another process" in shown.text
    assert "address space of its own" in shown.text
    assert "%%process client --send secret" in shown.text
    assert shown.text.endswith("client · exit status 1\n")
    assert shown.error == ""  # the cell itself has done what it shall


def test_a_crash_names_the_signal(cell):
    shown = cell("%%process broken\nimport ctypes\nctypes.string_at(0)")
    assert "broken · ended by SIGSEGV" in shown.text
    assert 'File "cell broken", line 2' in shown.text


def test_a_time_limit(cell):
    shown = cell("%%process loop --timeout 0.3\nwhile True:\n    pass")
    assert "so it was ended" in shown.text


def test_a_hundred_megabytes_do_not_come_into_the_notebook(cell):
    shown = cell(
        """
        %%process flood
        import os
        for _ in range(100):
            os.write(1, (b"x" * 99 + b"\\n") * 10_000)
        print("the end")
        """
    )
    assert len(shown.text) < 300_000
    assert (
        "flood · … it prints more; of that, the last 20 lines are shown at its end …" in shown.text
    )
    assert "bytes more were printed" in shown.text
    assert "flood | the end\n" in shown.text


def test_copies_are_sent(cell):
    cell(
        """
        import math
        numbers = [1, 2]
        class Box:
            def __init__(self, held):
                self.held = held
        box = Box({"a": (1, 2)})
        def total(*more):
            return math.fsum([*numbers, *more])
        """
    )
    shown = cell("%%process p --send box,total\nprint(box.held, total(3), type(box).__module__)")
    assert shown.text == "p | {'a': (1, 2)} 6.0 __main__\np · exit status 0\n"
    cell("%%process p --send numbers\nnumbers.append(3)")
    assert cell("print(numbers)").text == "[1, 2]\n"  # it was a copy


def test_what_cannot_be_sent_is_said_and_nothing_starts(cell):
    cell("import socket\nconn = socket.socket()")
    shown = cell("%%process never --send conn\nprint(1)")
    assert "conn cannot be sent: it is a socket, which belongs to this process" in shown.text
    shown = cell("%%process never --send nothing\nprint(1)")
    assert "--send nothing: the notebook has no nothing" in shown.text
    assert cell("print('never' in lab.processes(), conn.close())").text == "False None\n"


def test_the_cells_text_is_kept_for_checks(cell):
    cell("%%process sender\nprint('hello')")
    assert cell("print(lab.source('sender'))").text == "print('hello')\n\n"


# ---- in the background


def test_a_server_in_the_background_and_its_client(cell):
    for _ in range(2):  # all cells again
        cell("port = lab.port('server')")
        shown = cell(
            """
            %%process server --background --send port
            import socket
            s = socket.socket()
            s.bind(("127.0.0.1", port))
            s.listen()
            while True:
                conn, _ = s.accept()
                conn.sendall(b"hello")
                conn.close()
            """
        )
        assert "server · listens on tcp 127.0.0.1:" in shown.display
        shown = cell(
            """
            %%process client --send port
            import socket
            s = socket.create_connection(("127.0.0.1", port))
            print(s.recv(10), s.recv(10))
            """
        )
        assert shown.text == "client | b'hello' b''\nclient · exit status 0\n"


def test_what_it_prints_later_goes_under_its_own_cell(kernel, cell):
    shown = cell(
        """
        %%process later --background
        import socket
        s = socket.socket(type=socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        print(s.getsockname()[1], flush=True)
        while True:
            print("got <", s.recv(10), ">")
        """
    )
    (display,) = shown.displays
    request = kernel.start(
        "while not (printed := lab.processes()['later'].output):\n"
        "    pass\n"
        "port = int(printed)\n"
        "import socket\n"
        "with socket.socket(type=socket.SOCK_DGRAM) as s:\n"
        "    s.sendto(b'x', ('127.0.0.1', port))\n"
        "while 'got' not in lab.processes()['later'].output:\n"
        "    pass\n"
        "lab.stop('later')"
    )
    shown = kernel.finish(request)
    assert "later | got < b'x' >" in shown.displays[display]
    assert "later · ended by SIGTERM" in shown.displays[display]
    assert "got &lt; b&#x27;x&#x27; &gt;" in shown.html[display]
    assert shown.text == ""


def test_until_and_an_early_end(cell):
    shown = cell("%%process a --until 'up now'\nimport signal\nprint('up now')\nsignal.pause()")
    assert "a · has printed 'up now' (pid " in shown.display
    shown = cell("%%process a --background\nraise SystemExit(3)")
    assert "a · exit status 3" in shown.display


def test_processes_is_a_table(cell):
    cell("%%process a --until up\nimport signal\nprint('up')\nsignal.pause()")
    shown = cell("print(lab.processes())")
    assert "listens" not in shown.text
    assert ["a", "runs"] in [
        [*line.split()[:1], *line.split()[2:3]] for line in shown.text.splitlines()
    ]


# ---- spawn


def test_a_function_of_the_notebook(cell):
    cell("factor = 3\ndef worker(n):\n    print('works')\n    return n * factor")
    shown = cell("print(lab.spawn(worker, 14).result(timeout=30))")
    assert shown.text == "42\n"
    assert "worker | works" in shown.display


def test_a_function_with_an_end_of_a_channel(cell):
    cell(
        """
        import ipcx
        def echo(channel):
            for message in channel:
                channel.send(message)
        """
    )
    shown = cell(
        """
        ours, theirs = ipcx.pair()
        one = lab.spawn(echo, theirs)
        ours.send("hello")
        print(ours.receive(30))
        ours.close()
        print(one.wait(30))
        """
    )
    assert shown.text == "hello\necho: exit status 0\n"


def test_a_refusal_shows_no_frames_of_ours(cell):
    shown = cell("lab.spawn(lambda: 1)")
    assert shown.error.startswith("CannotSend: a lambda cannot be sent")
    assert "_sending.py" not in shown.error


# ---- interrupt, restart, kill

THREE = """
%%process a --until up
import os, signal
child = os.fork()
if child:
    print(os.getpid(), child, "up")
else:
    os.setsid()
signal.pause()
"""


def three(kernel):
    shown = kernel.run(THREE.strip())
    line = next(line for line in shown.display.splitlines() if line.startswith("a | "))
    return [int(word) for word in line.split()[2:4]]


def test_an_interrupt_ends_all_processes_and_shows_where_it_was(kernel, cell):
    pids = three(kernel)
    request = kernel.start("%%process b\nimport time\nprint('up')\ntime.sleep(600)")
    shown = kernel.finish(request, until=lambda shown: "b | up" in shown.text)
    kernel.interrupt()
    shown = kernel.finish(request)
    until_gone(*pids)
    assert 'b !   File "cell b", line ' in shown.text
    assert "KeyboardInterrupt" in shown.text
    assert "b · ended by SIGINT" in shown.text
    assert "_processes.py" not in shown.error
    assert cell("print([p.running for p in lab.processes().values()])").text.count("True") == 0
    assert cell("%%process b\nprint('again')").text.startswith("b | again")


@pytest.mark.parametrize("how", ["restart", "kill", "shutdown"])
def test_nothing_outlives_the_kernel(how):
    kernel = Kernel()
    try:
        kernel.run("%load_ext ipcx.lab")
        pids = three(kernel)
        assert all(map(alive, pids))
        if how == "restart":
            kernel.manager.restart_kernel()
        elif how == "kill":
            kernel.manager.signal_kernel(9)
        else:
            kernel.manager.shutdown_kernel()
        until_gone(*pids)
    finally:
        kernel.close()


# ---- elsewhere


def test_a_terminals_ipython(tmp_path):
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='nocolor')\n"
        "for text in ('%load_ext ipcx.lab', '%%process a\\nprint(1)',"
        " '%%process b --until up\\nprint(\"up\")'):\n"
        "    shell.run_cell(text)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        timeout=60,
    )
    assert "a | 1\na · exit status 0\n" in done.stdout, done.stderr
    assert "b | up\n" in done.stdout


def test_without_ipython_the_magic_says_what_to_install():
    code = (
        "import sys\nsys.modules['IPython'] = None\nfrom ipcx import lab\n"
        "assert lab.run('print(1)').output == '1\\n'\n"
        "lab.load_ipython_extension(None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "needs IPython: python -m pip install 'libipcx[lab]'" in done.stderr


# ---- an interrupt of another cell


def interrupted(kernel, code):
    """What a cell shows that says "going" and is interrupted then."""
    request = kernel.start(code)
    kernel.finish(request, until=lambda shown: "going" in shown.text)
    kernel.interrupt()
    return kernel.finish(request)


SLEEPS = "print('going')\nimport time\ntime.sleep(600)"
AWAITS = "import asyncio\nprint('going')\nawait asyncio.sleep(600)"


def test_an_interrupt_of_any_cell_ends_all_processes(kernel, cell):
    pids = three(kernel)
    shown = interrupted(kernel, SLEEPS)
    assert "KeyboardInterrupt" in shown.error
    assert "interrupted: all processes of the lab were ended" in shown.text
    until_gone(*pids)


def test_an_interrupt_of_a_cell_that_awaits_ends_it_and_all_processes(kernel, cell):
    pids = three(kernel)
    shown = interrupted(kernel, AWAITS)
    assert "CancelledError" in shown.error
    assert "interrupted: all processes of the lab were ended (" in shown.text
    until_gone(*pids)
    # And the next cell is interrupted as any other one.
    assert "KeyboardInterrupt" in interrupted(kernel, SLEEPS).error


def test_an_interrupt_between_two_cells_ends_them_too(kernel, cell):
    pids = three(kernel)
    kernel.interrupt()
    until_gone(*pids)
    assert cell("print('goes on')").text == "goes on\n"


def test_an_error_in_a_cell_ends_nothing(kernel, cell):
    pids = three(kernel)
    assert "ZeroDivisionError" in cell("1 / 0").error
    assert all(map(alive, pids))
