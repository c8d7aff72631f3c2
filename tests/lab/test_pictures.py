"""The README's picture is what the script makes: the same lanes, calls and messages."""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ipcx.lab import SpaceTime

ROOT = Path(__file__).parents[2]
CALLS = ("socket", "bind", "listen", "accept", "connect", "send", "recv", "close")


@pytest.fixture
def pictures(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    yield __import__("pictures")
    del sys.modules["pictures"]


def told(svg):
    """How often each call is drawn, the lanes, and the bytes that are shown."""
    words = [" ".join("".join(one.itertext()).split()) for one in ET.fromstring(svg).iter()
             if one.tag.endswith("}text")]  # fmt: skip
    calls = {call: sum(word.split()[:1] == [call] for word in words) for call in CALLS}
    lanes = [word for word in words if word in ("server", "client")]
    return calls, sorted(lanes), sorted(re.findall(r"“[^”]*”", " ".join(words)))


def test_the_readmes_picture_is_what_the_script_makes(pictures):
    record = pictures.hello()
    assert record.processes == ["server", "client"]
    assert [m.data for m in record.messages] == [b"Hello from client!", b"Hello from server!"]
    calls, lanes, shown = told(pictures.HELLO.read_text())
    assert (calls, lanes, shown) == told(SpaceTime(record).svg())
    assert calls == {
        "socket": 2, "bind": 1, "listen": 1, "accept": 1, "connect": 1, "send": 2, "recv": 2,
        "close": 3,
    }  # fmt: skip
    assert "server" in lanes
    assert "client" in lanes
    assert "docs/pictures/hello.svg" in (ROOT / "README.md").read_text()
