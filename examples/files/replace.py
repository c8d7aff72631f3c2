"""Replaces a file as a whole, twice, for watch.py to tell of; then makes the file `stop`.

Whoever reads `settings` meanwhile sees the old text or the new one, and never half of either.
"""

from ipcx import files

for colour in ("green", "red"):
    files.atomic_write("settings", f"colour = {colour}\n")
    with open("settings") as file:
        print("settings:", file.read(), end="", flush=True)
files.atomic_write("stop", "")
