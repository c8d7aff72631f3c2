"""Convenience: one user has many tasks at the same time, and is told when each is done."""

import work

from ipcx import process

TASKS = {"editing": 0.4, "printing": 0.1, "compiling": 0.2}

running = [
    process.spawn(work.task, name, seconds, name=name, channel=None, output="stream")
    for name, seconds in TASKS.items()
]
while running:
    done = process.wait_any(running)
    done.wait()  # all that it wrote is there
    print(f"done with {done.name}: {done.ending}")
    running.remove(done)
