"""A real kernel, and what one of its cells has shown."""

import contextlib
import dataclasses
import os
import re
import warnings

import zmq

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from jupyter_client.manager import KernelManager


@dataclasses.dataclass
class Shown:
    """What came while a cell ran."""

    text: str = ""  # without colours
    raw: str = ""
    error: str = ""
    displays: dict = dataclasses.field(default_factory=dict)  # the newest state of each, in text
    html: dict = dataclasses.field(default_factory=dict)

    @property
    def display(self):
        return "\n".join(self.displays.values())


class Kernel:
    """`run` one cell after another; `start` and `finish` around what happens meanwhile."""

    def __init__(self, cwd=None, **environment):
        self.context = zmq.Context()
        self.manager = KernelManager(kernel_name="python3", context=self.context)
        self.manager.start_kernel(cwd=cwd, env={**os.environ, **environment})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def start(self, code):
        return self.client.execute(code)

    def finish(self, request, until=None):
        """What it shows until it has ended, or until `until(shown)`."""
        shown = Shown()
        while until is None or not until(shown):
            message = self.client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            ours = message["parent_header"].get("msg_id") == request
            if kind == "stream":
                shown.raw += content["text"]
                shown.text = re.sub(r"\x1b\[[\d;]*m", "", shown.raw)
            elif kind in ("display_data", "update_display_data"):
                number = content["transient"].get("display_id")
                shown.displays[number] = content["data"]["text/plain"]
                shown.html[number] = content["data"].get("text/html", "")
            elif kind == "error":
                lines = "\n".join(content["traceback"])
                shown.error = re.sub(r"\x1b\[[\d;]*m", "", lines) or content["ename"]
            elif kind == "status" and content["execution_state"] == "idle" and ours:
                break
        return shown

    def run(self, code):
        return self.finish(self.start(code))

    def interrupt(self):
        self.manager.interrupt_kernel()

    def close(self):
        with contextlib.suppress(Exception):
            self.client.stop_channels()
        with contextlib.suppress(Exception):
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.context.destroy(linger=0)
