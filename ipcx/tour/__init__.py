# SPDX-License-Identifier: Apache-2.0
"""``python -m ipcx tour``: the example programs as real processes, each transcript checked.

- `model`: what a station is: programs, who starts when, what they must say.
- `stations`, `stations_*`: the stations themselves, a few lines each; this is where a new one goes.
- `engine`: runs the pairings of one station and leaves nothing behind.
- `languages`: compiles and runs what is written in C and Java.
- `show`: tells it, in colour, in plain ASCII or as JSON.
- `step`: runs a program with a pause after each socket call.

All but the last two know nothing of terminals; `show` knows nothing of processes.
"""

from ipcx.tour.cli import main

__all__ = ["main"]
