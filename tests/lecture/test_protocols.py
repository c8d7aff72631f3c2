"""The stdlib's servers and clients of the slide "Higher-level APIs", over `python -m ipcx.run`.

The programs lie in protocols/; each prints the module of the sockets it uses, which is ipcx's.
"""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "protocols"
OURS = "socket of ipcx.socket"

SAYS = {
    "http_both": [
        *(OURS,) * 2,  # the listener; then two requests, on both ends in any order
        *(OURS,) * 3,
        "200 ANOTHER ONE OVER THE SAME CONNECTION",
        "200 ONE PAGE",
    ],
    "ftp": [OURS, OURS, r"b'the file\r\nof two lines\r\n'", "226 done"],
    "pop": [OURS, "(1, 20)", "[b'Subject: hello', b'', b'.dots']"],
    "imap": [
        *(OURS, OURS),
        "('OK', [b'1'])",
        r"('OK', [(b'1 (BODY[HEADER] {16}', b'Subject: hello\r\n'), b')'])",
    ],
    "smtp": [OURS, "{}", r"[b'Subject: hello\r\n', b'\r\n', b'..dots\r\n']"],
    "xml_rpc": [
        *(OURS, OURS),
        "add(5, 3) = 8",
        OURS,
        "<class 'Exception'>:method \"subtract\" is not supported",
    ],
    "telnet": [OURS, r"b'welcome\r\n'"] if sys.version_info < (3, 13) else [],
}


@pytest.mark.parametrize("program", SAYS)
def test_the_stdlibs_protocols_are_spoken_over_ipcx(program, spawn):
    done = spawn("-m", "ipcx.run", PROGRAMS / f"{program}.py", stderr=subprocess.PIPE)
    said, complaints = done.communicate()
    assert complaints == ""
    assert done.returncode == 0
    lines = said.splitlines()
    if program == "http_both":  # server and client speak at the same time
        lines.sort(key=lambda line: (line != OURS, line))
    assert lines == SAYS[program]


def test_every_program_is_run():
    assert {path.stem for path in PROGRAMS.glob("*.py")} == {*SAYS, "scripted"}


def test_the_http_server_of_the_command_line(spawn, tmp_path):
    """`python -m http.server`, as the world uses it, fetched by the stdlib's own sockets."""
    (tmp_path / "page.txt").write_text("A page over ipcx.\n" * 10_000)
    server = spawn(
        *("-u", "-m", "ipcx.run", "-m", "http.server", "0"),
        *("--bind", "127.0.0.1", "--directory", tmp_path),
        stderr=subprocess.PIPE,
    )
    address = server.stdout.readline().split("(")[1].partition(")")[0]
    with urllib.request.urlopen(f"{address}page.txt") as page:
        assert page.read().decode() == "A page over ipcx.\n" * 10_000
    with pytest.raises(urllib.error.HTTPError, match="404") as raised:
        urllib.request.urlopen(f"{address}missing.txt")
    raised.value.close()
    server.terminate()  # not SIGINT: whoever is started in the background ignores it
    assert "GET /page.txt" in server.stderr.read()
    assert server.wait() == -signal.SIGTERM
