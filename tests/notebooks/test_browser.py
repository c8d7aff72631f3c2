"""Each display in a real browser: run in JupyterLab, and saved as a page without any script."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipcx import lab
from notebooks import browser

pytestmark = pytest.mark.hang_guard(300)

if browser.find() is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)
if importlib.util.find_spec("jupyterlab") is None:
    pytest.skip("no JupyterLab: `make .venv/.jupyter`", allow_module_level=True)

SETUP = "from ipcx import lab"

RECORD = '''\
server = """
import socket
with socket.create_server(("127.0.0.1", port)) as s:
    conn, addr = s.accept()
    with conn:
        while data := conn.recv(4):
            conn.sendall(data.upper())
"""
client = """
import socket
with socket.create_connection(("127.0.0.1", port)) as s:
    s.sendall(b"hello there")
    s.shutdown(socket.SHUT_WR)
    while s.recv(100):
        pass
"""
given = f"port = {lab.port('server')}\\n"
with lab.record() as r:
    one = lab.start(given + server, name="server")
    lab.run(given + client, name="client")
    one.wait()
'''

# A cell for each display; the name is that of its class, which `lab` may not have yet.
DISPLAYS = {
    "SpaceTime": "r",
    "StreamView": "r.stream_view()",
    "FrameHex": "from ipcx import framing\nlab.frame(framing.Encoder().encode('hello'))",
    "RingState": "lab.ring([100, 2000, 'receive', 500])",
    "Ecdf": "lab.ecdf({'one': r.latencies(), 'other': [0.001, 0.002]})",
    "KernelView": "import os\nlab.kernel(os.getpid())",
    "WaitGraph": "lab.waits([('a', 'b'), ('b', 'a')])",
}
THERE = {name: cell for name, cell in DISPLAYS.items() if name in lab.__all__}

# JupyterLab's own objects, which it shows to a page that asks for them; `until` looks again and
# again, and Browser.ask has the deadline.
PICTURES = "svg.ipcx, .jp-RenderedSVG img"
RUN_ALL = """
(async () => {
  const until = async (what) => {
    for (;;) {
      const found = await what();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const app = await until(() => window.jupyterapp);
  await app.restored;
  const panel = await until(() =>
    [...app.shell.widgets("main")].find((widget) => widget.content && widget.content.widgets));
  await panel.context.ready;
  await panel.sessionContext.ready;
  await until(() => panel.sessionContext.session && panel.sessionContext.session.kernel);
  await until(() => {
    app.shell.activateById(panel.id);
    return app.shell.currentWidget === panel;
  });
  await app.commands.execute("notebook:run-all-cells");
  const cells = panel.content.widgets.filter((cell) => cell.model.type === "code");
  const failed = (cell) => cell.model.outputs.toJSON().some((one) => one.output_type === "error");
  await until(() => cells.every((cell) => cell.model.executionCount) || cells.some(failed));
  await app.commands.execute("docmanager:save");
  return cells.map((cell) => ({
    text: cell.outputArea.node.innerText,
    scripts: cell.outputArea.node.querySelectorAll("script").length,
    pictures: [...cell.outputArea.node.querySelectorAll(PICTURES)].map((picture) => {
      const box = picture.getBoundingClientRect();
      return [picture.tagName, box.width, box.height];
    }),
  }));
})()
""".replace("PICTURES", json.dumps(PICTURES))


@pytest.fixture
def jupyterlab(socket_dir, monkeypatch):
    """The address of a JupyterLab whose folders are all in `socket_dir`, which it also shows."""
    for variable, name in (
        ("HOME", "home"),
        ("JUPYTER_RUNTIME_DIR", "runtime"),
        ("JUPYTER_CONFIG_DIR", "config"),
        ("JUPYTERLAB_SETTINGS_DIR", "settings"),
        ("JUPYTERLAB_WORKSPACES_DIR", "workspaces"),
        ("IPYTHONDIR", "ipython"),
        ("TMPDIR", "tmp"),
    ):
        (socket_dir / name).mkdir()
        monkeypatch.setenv(variable, str(socket_dir / name))
    # What is out of sight is there, too.
    tracker = socket_dir / "settings" / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    (socket_dir / "shown").mkdir()
    log = os.open(socket_dir / "log", os.O_WRONLY | os.O_CREAT)
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--ip=127.0.0.1", "--port=0", "--ServerApp.port_retries=0"),
            *("--ServerApp.terminals_enabled=False", "--LabApp.expose_app_in_browser=True"),
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            f"--ServerApp.root_dir={socket_dir / 'shown'}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
    )
    os.close(log)
    try:
        yield from addresses(child, socket_dir)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def addresses(child, folder):
    """The one it listens at, once it does."""
    told = folder / "runtime" / f"jpserver-{child.pid}.json"
    while True:
        assert child.poll() is None, (folder / "log").read_text()
        try:
            found = json.loads(told.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
            continue
        break
    yield f"{found['url']}lab/tree/{{}}?token={found['token']}&reset"


def write(folder: Path, *sources: str) -> Path:
    from_tool = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**from_tool, "id": f"cell-{n}", "source": s} for n, s in enumerate(sources)]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = folder / "displays.ipynb"
    path.write_text(json.dumps(notebook))
    return path


def test_each_display_is_seen(jupyterlab, socket_dir):
    path = write(socket_dir / "shown", SETUP, RECORD, *THERE.values())
    with browser.running(socket_dir / "browser") as page:
        page.open(jupyterlab.format(path.name))
        _, _, *cells = page.run(RUN_ALL)
        for name, cell in zip(THERE, cells, strict=True):
            assert cell["scripts"] == 0, name
            assert cell["pictures"], f"{name} shows no picture, but: {cell['text'][:1000]}"
            for tag, width, height in cell["pictures"]:
                assert width > 50, f"{name}: {tag}"
                assert height > 20, f"{name}: {tag}"

        # The same as a page of its own: as a teacher hands it out, and with scripts forbidden.
        subprocess.run(
            [
                *(sys.executable, "-m", "nbconvert", "--to", "html", "--log-level=ERROR"),
                *("--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url=", path),
            ],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            check=True,
        )
        page.open(path.with_suffix(".html").as_uri(), scripts=False)
        sizes = page.sizes(PICTURES)
        assert len(sizes) >= len(THERE)
        assert [size for size in sizes if min(size) < 20] == []


def test_all_displays_are_tried():
    """A display that comes later is in the list by its class."""
    assert len(THERE) >= 1
