"""Starts worker.py and sends it signals: twenty numbers as fast as it can, then the end."""

import subprocess
import sys
from pathlib import Path
from signal import SIGRTMIN, SIGTERM

from ipcx import signals
from ipcx.signals import send

program = [sys.executable, str(Path(__file__).with_name("worker.py"))]
with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as worker:
    print(worker.stdout.readline(), end="")  # it is ready
    for number in range(1, 21):
        send(worker, SIGRTMIN, number)  # none is lost
    for line in worker.stdout:
        print(line, end="")
        if line.startswith("exceptional"):
            send(worker, SIGTERM)
print("the worker's exit status:", worker.returncode)

try:
    send(worker, SIGTERM)
except ProcessLookupError as error:
    print(error)  # its process id may be another's by now: that one is not hit
print("signals have names:", ", ".join(map(signals.name, (2, 9, 15, 35))))
