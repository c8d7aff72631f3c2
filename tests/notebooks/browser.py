"""Chromium without a window, driven through its DevTools protocol over a pair of pipes.

Nothing but the stdlib and the distribution's browser: no driver, no port.
"""

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
ANSWER = 120.0  # seconds for one answer; a page that hangs fails with its name

# The protocol's descriptors are 3 and 4, whatever ours are, and they may be each other's.
PLACE = """
import fcntl, os, sys
one, two = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 50) for fd in sys.argv[1:3])
os.dup2(one, 3)
os.dup2(two, 4)
os.closerange(5, 100)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. `ask` sends a command of the protocol and gives its result."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders, self._answers = orders, answers
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(each for each in pages if each["type"] == "page")
        wanted = {"targetId": page["targetId"], "flatten": True}
        self._session = self.ask("Target.attachToTarget", **wanted)["sessionId"]
        self.ask("Page.enable")
        # Else a page without a window never has the focus, and what waits for it waits for ever.
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        order = {"id": number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        while True:
            message = self._next(method)
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result

    def _next(self, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], ANSWER)
            assert ready, f"the browser has not answered {waiting_for} within {ANSWER:g} s"
            piece = os.read(self._answers, 1 << 20)
            assert piece, f"the browser ended while {waiting_for} was waited for"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, url: str, *, scripts: bool = True) -> None:
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Page.navigate", url=url)
        while self._next(url).get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; of a promise, what it is resolved to."""
        wanted = {"expression": script, "awaitPromise": True, "returnByValue": True}
        found = self.ask("Runtime.evaluate", **wanted)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def sizes(self, selector: str) -> list[tuple[float, float]]:
        """Width and height of each element of the page, as laid out; needs no script there."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        nodes = self.ask("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"]
        boxes = [self.ask("DOM.getBoxModel", nodeId=node)["model"] for node in nodes]
        return [(box["width"], box["height"]) for box in boxes]


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """A browser whose files lie in that folder. No network is asked for anything."""
    program = find()
    assert program is not None
    from_us, orders = os.pipe()
    answers, to_us = os.pipe()
    options = [
        "--headless=new",
        "--no-sandbox",  # root may not have one, and what is shown here is our own
        "--remote-debugging-pipe",
        f"--user-data-dir={folder}",
        "--window-size=1400,4000",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "about:blank",
    ]
    child = subprocess.Popen(
        [sys.executable, "-c", PLACE, str(from_us), str(to_us), program, *options],
        pass_fds=(from_us, to_us),
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(orders, answers)
    finally:
        os.close(orders)  # which ends it, too
        os.close(answers)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            child.wait()
