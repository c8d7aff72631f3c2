# SPDX-License-Identifier: Apache-2.0
"""Addresses that are none: the error says what is wrong and which schemes there are."""

import os

import pytest

import ipcx

TYPOS = {
    "": "empty",
    "localhost:5000": "://",
    "tcp:/localhost:5000": "://",
    "tpc://localhost:5000": "tcp",
    "unx:///tmp/x": "unix",
    "inprocess://name": "inproc",
    "pipes://0,1": "pipe",
    "http://localhost": "tcp",
    "TCP//x": "://",
    "tcp://": "",
    "tcp://localhost": "port",
    "tcp://localhost:": "port",
    "tcp://localhost:http": "port",
    "tcp://localhost:65536": "port",
    "tcp://localhost:-1": "port",
    "tcp://::1:5000": "",
    "tcp://[::1:5000": "",
    "tcp://localhost:5000/path": "",
    "unix://relative/path": "",
    "pipe://": "",
    "pipe://1": "",
    "pipe://a,b": "",
    "pipe://1,2,3": "",
    "inproc://": "",
    "unix:///a\0b": "",
    "tcp://local host:5000": "",
    "inproc://" + "x" * 600: "",
}
SCHEMES = ("inproc", "unix", "tcp", "pipe")


@pytest.mark.parametrize("url", TYPOS, ids=lambda url: url[:30].replace("\0", "NUL") or "empty")
def test_a_typo(url: str) -> None:
    with pytest.raises(ipcx.InvalidURL) as caught:
        ipcx.connect(url)
    assert isinstance(caught.value, ValueError)
    assert TYPOS[url] in str(caught.value)


@pytest.mark.parametrize("url", ["tpc://localhost:5000", "http://localhost"])
@pytest.mark.parametrize("verb", ["connect", "listen", "pair"])
def test_the_error_says_which_schemes_exist(verb: str, url: str) -> None:
    with pytest.raises(ipcx.InvalidURL) as caught:
        getattr(ipcx, verb)(url)
    assert all(f"{scheme}" in str(caught.value) for scheme in SCHEMES)


@pytest.mark.parametrize("url", [None, 7, b"tcp://localhost:1", ["tcp://"]], ids=repr)
def test_what_is_no_text(url) -> None:
    for verb in (ipcx.connect, ipcx.listen, ipcx.pair):
        with pytest.raises(TypeError):
            verb(url)


@pytest.mark.parametrize("url", ["pipe://", "pipe://-", "pipe://0,1"])
def test_pipes_have_no_address(url: str) -> None:
    with pytest.raises((ipcx.Unsupported, ipcx.InvalidURL)):
        ipcx.listen(url)


def test_a_descriptor_that_is_not_open() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(ipcx.InvalidURL, match="not open"):
        ipcx.connect(f"pipe://{reading},{writing}")


@pytest.mark.parametrize("options", [{"max_message": -1}, {"max_message": "1"}, {"no_such": 1}])
@pytest.mark.parametrize("verb", ["listen", "pair"])
def test_options_that_are_none(verb: str, options: dict) -> None:
    with pytest.raises((ValueError, TypeError)):
        getattr(ipcx, verb)("unix://", **options)
