"""One pipeline over two hosts: `printf … | ipcx send URL` here, `ipcx receive URL | sort` there.

Both halves run on this machine, each in a shell of its own, as they would on two. The receiver
listens; the sender connects, and its end is the end of the pipeline.
"""

import shlex
import subprocess
import sys

IPCX = f"{shlex.quote(sys.executable)} -m ipcx"

there = subprocess.Popen(
    f"{IPCX} receive tcp://127.0.0.1:0 | sort",
    shell=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
)
url = there.stderr.readline().split()[-1]  # "listening on tcp://127.0.0.1:…"
print("There:  ipcx receive tcp://127.0.0.1:0 | sort")
print("Here:   printf 'pear\\nfig\\nplum\\n' | ipcx send URL")
subprocess.run(rf"printf 'pear\nfig\nplum\n' | {IPCX} send {url}", shell=True, check=True)
out, _ = there.communicate()
print("There, sorted:", *out.split())
