"""What the slides state of messages, send() and receive(), and protocols: the programs show it."""

import re
import subprocess
import sys

import pytest

import ipcx
from lecture.scene import EXAMPLES


def play(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "dev", EXAMPLES / program], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_threads_share_a_variable_and_processes_do_not():
    said = play("same_address_space/global_variable.py")
    assert said[-3:] == [
        "Without a lock steps are lost: True",
        "With a lock: 2000 of 2000",
        "A child process added 1 as well, and here it is still 2000",
    ]


def test_a_direct_call_a_channel_and_a_copy():
    assert play("same_address_space/direct_call.py") == [
        "Direct call: the same object: True",
        "Over inproc:// the object itself: ['called', 'received']",
        "With copy=True the receiver's own: b'a message'",
        "An object is no message: TypeError",
    ]


def test_messages_are_text_or_binary_of_any_length():
    kinds = [line.split(":")[0] for line in play("send_receive/messages.py")]
    assert kinds == ["text, 31 long", "binary, 22 long", "binary, 14 long", "text, 0 long"]


def test_synchronous_is_a_rendezvous():
    assert play("send_receive/synchronous.py") == [
        "asynchronous: does not wait, sent receiving",
        "synchronous:  waits, receiving sent",
        "Nobody came within 0.1 s; is the message on its way all the same? True",
    ]


def test_asynchronous_is_buffered():
    assert play("send_receive/asynchronous.py") == [
        "Without a receiver, 3 messages fit; then send would block",
        "Polling: True and the message is message 1",
        "Polling: nothing there, go on with something else",
        "Waiting: the awaited one",
    ]


def test_the_table_of_both_is_measured():
    head, *rows, last = play("send_receive/who_waits.py")
    assert head.split() == ["transport", "send", "messages/s", "waited"]
    assert [row.split()[:2] for row in rows] == [
        [url, send]
        for url in ("inproc://", "unix://", "tcp://")
        for send in ("asynchronous", "synchronous")
    ]
    assert all(re.fullmatch(r"[\d,]+", row.split()[2]) for row in rows)
    assert last == "The synchronous sender had to wait more often, everywhere: True"


def test_a_protocol_of_ones_own_and_who_breaks_it():
    said = play("own_protocol/protocol.py")
    refused = [line.partition("-> ")[2] for line in said if "NO" in line]
    assert [why.split()[1] for why in refused] == ["syntax:", "vocabulary:", "rules:", "meaning:"]
    assert said[-1] == "'BYE'          -> OK 8"  # those that broke it have changed nothing


def test_a_channel_in_another_librarys_loop():
    pytest.importorskip("trio")
    said = play("send_receive/with_trio.py")
    assert said == ["one -> ONE", "two -> TWO", "three -> THREE", "The client has closed"]


def test_what_passes_can_be_seen():
    assert play("send_receive/traced.py") == [
        "send 11 bytes",
        "receive 11 bytes",
        "receive raised WouldBlock",
        "sendall 5 bytes",
        "recv 5 bytes",
    ]


@pytest.mark.parametrize("url", ["unix://", "tcp://127.0.0.1:0"])
def test_a_pipeline_over_two_hosts(url):
    """``seq 1 3 | ipcx send URL`` and ``ipcx receive URL | sort -r``, as two shells run them."""
    receiver = subprocess.Popen(
        f"'{sys.executable}' -m ipcx receive {url} | sort -r",
        shell=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = receiver.stderr.readline().split()[-1]  # "listening on …": the real one
    sender = subprocess.run(
        f"seq 1 3 | '{sys.executable}' -m ipcx send {url}",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert (sender.returncode, sender.stdout, sender.stderr) == (0, "", "")
    assert receiver.communicate()[0] == "3\n2\n1\n"
    assert receiver.returncode == 0


def test_a_sender_without_a_receiver_is_told(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ipcx", "send", f"unix://{tmp_path}/nobody"],
        input="",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


def test_lines_are_texts():
    listener = ipcx.listen("tcp://127.0.0.1:0")
    with listener:
        sender = subprocess.Popen(
            [sys.executable, "-m", "ipcx", "send", "--lines", listener.url], stdin=subprocess.PIPE
        )
        with listener.accept() as channel:
            sender.stdin.write("grüß\ndich\n".encode())
            sender.stdin.close()
            assert list(channel) == ["grüß", "dich"]
    assert sender.wait() == 0
