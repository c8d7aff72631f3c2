"""Follows the log that writer.py appends to, and goes on where it was when it is started again."""

from pathlib import Path

from ipcx import files

kept = Path("reader.position")
files.MessageLog("events.log").close()  # makes it if nobody has written yet
start = int(kept.read_text()) if kept.exists() else "start"
with files.Follower("events.log", start) as follower:
    for message in follower:
        print(message, flush=True)
        files.atomic_write(kept, str(follower.position))  # whole, even if we are killed now
        if message == "end":
            break
