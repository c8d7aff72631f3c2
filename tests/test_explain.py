# SPDX-License-Identifier: Apache-2.0
"""`ipcx explain`: every name of the table is found, and what is told is the table's."""

import errno
import json

import pytest

from ipcx import _core, explain


def run(capsys, *arguments):
    status = explain.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_alone_it_lists_every_name(capsys):
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    for name in explain.names():
        assert name in out


@pytest.mark.parametrize("name", explain.names())
def test_every_listed_name_is_known(capsys, name):
    status, out, err = run(capsys, name)
    assert (status, err) == (0, "")
    assert out.strip()


@pytest.mark.parametrize("row", _core.status_table(), ids=lambda row: row["errno"] or row["name"])
def test_a_row_is_told_in_full(row):
    text = " ".join(explain.text_of(row).split())
    for part in (row["what"], row["cure"], row["program"], *row["causes"]):
        assert " ".join(part.split()) in text
    assert f"IPCX_{row['name']} = {row['value']} in C" in text


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("ipcx.PeerClosed", "PeerClosed"),
        ("PeerClosed", "PeerClosed"),
        ("PEER_CLOSED", "PeerClosed"),
        ("peer_closed", "PeerClosed"),
        ("IPCX_PEER_CLOSED", "PeerClosed"),
        ("ConnectionRefusedError", "ECONNREFUSED"),
        ("builtins.BrokenPipeError", "EPIPE"),
        ("ECONNREFUSED", "ECONNREFUSED"),
        ("econnrefused", "ECONNREFUSED"),
        (str(errno.EADDRINUSE), "EADDRINUSE"),
        ("socket.gaierror", "socket.gaierror"),
        ("gaierror", "socket.gaierror"),
        ("TimeoutError", "Timeout"),
        ("PermissionError", "EACCES"),
    ],
)
def test_names_of_all_kinds(name, title):
    assert explain._title(explain.find(name)[0]) == title


def test_a_name_of_many_lists_them(capsys):
    status, out, _ = run(capsys, "OSError")
    assert status == 0
    assert "may mean any of these" in out
    assert "EADDRINUSE" in out


def test_json(capsys):
    status, out, _ = run(capsys, "EPIPE", "--json")
    (row,) = json.loads(out)
    assert status == 0
    assert set(row) == {
        *("name", "value", "errno", "exception", "bases", "text", "what", "causes", "cure"),
        "program",
    }
    assert row["errno"] == "EPIPE"
    assert len(json.loads(run(capsys, "--json")[1])) == len(_core.status_table())


def test_an_unknown_name_gets_suggestions(capsys):
    status, out, err = run(capsys, "PeerClosd")
    assert (status, out) == (2, "")
    assert "Did you mean PeerClosed" in err
    status, out, err = run(capsys, "xyzzy")
    assert (status, out) == (2, "")
    assert "Did you mean" not in err
    assert "lists every name" in err


def test_an_errno_without_a_row_gets_the_systems_text(capsys):
    for name in ("EXDEV", str(errno.EXDEV)):
        status, out, err = run(capsys, name)
        assert (status, out) == (2, "")
        assert "EXDEV is the system's “Invalid cross-device link”" in err
