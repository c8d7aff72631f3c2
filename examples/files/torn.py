"""Two processes write lines to one plain file, and the lines come out mixed. Then the cures.

The plain file: each writer keeps its own place in it, and a line goes out in several pieces. With
FileLock one writes at a time. In a MessageLog every message is whole, whoever writes.
"""

import os
import tempfile
from multiprocessing import get_context
from pathlib import Path

from ipcx import files

LINES = 300


def line(letter):
    return [letter * 10 for _ in range(20)]  # the words of a line, 200 letters


def plain(path, letter):
    with open(path, "a", buffering=1) as file:
        for _ in range(LINES):
            for word in line(letter):
                file.write(word)
                file.flush()  # a buffer that is full does the same
            file.write("\n")


def locked(path, letter):
    lock = files.FileLock(f"{path}.lock")
    with open(path, "a") as file:
        for _ in range(LINES):
            with lock:
                file.write("".join(line(letter)) + "\n")
                file.flush()


def logged(path, letter):
    with files.MessageLog(path) as log:
        for _ in range(LINES):
            log.append("".join(line(letter)))


def torn(lines):
    """How many of the lines are none that anybody wrote."""
    return sum(each not in ("a" * 200, "b" * 200) for each in lines)


def both(write, path):
    writers = [get_context("fork").Process(target=write, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        writer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plain.txt")
        for _ in range(100):  # it may go well by chance
            path.write_text("")
            both(plain, path)
            if broken := torn(path.read_text().splitlines()):
                break
        print("a plain file: lines were torn" if broken else "a plain file: lucky")
        both(locked, path := Path(folder, "locked.txt"))
        print("under a FileLock: torn lines:", torn(path.read_text().splitlines()))
        both(logged, path := Path(folder, "events.log"))
        with files.MessageLog(path) as log:
            messages = list(log)
        print(f"a MessageLog: messages: {len(messages)}, torn: {torn(messages)}")
        print("left in the folder:", ", ".join(sorted(os.listdir(folder))))
