"""Appends each line that you type to a log, for reader.py to follow. Start it twice."""

import sys

from ipcx import files

with files.MessageLog("events.log") as log:
    for line in sys.stdin:
        position = log.append(line.rstrip("\n"))
        print("appended at position", position, flush=True)
