"""Tells what happens in a folder, as it happens; ends when the file `stop` appears."""

import sys

from ipcx import files

folder = sys.argv[1] if len(sys.argv) > 1 else "."
with files.watch(folder) as changes:
    print("watching", folder, flush=True)
    for change in changes:
        print(change.kind, change.path.name, flush=True)
        if change.path.name == "stop":
            break
