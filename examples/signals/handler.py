"""The classic way: a handler that the kernel's signal calls, here for as long as a block runs.

A write over the limit of the file's size is an exceptional condition: the kernel sends SIGXFSZ. And
a child that touches memory it has not is ended by one, which its parent sees.
"""

import errno
import resource
import signal
import subprocess
import sys
import tempfile

from ipcx import signals


def too_large(number, frame):
    print(f"{signals.name(number)} in line {frame.f_lineno}")


limits = resource.getrlimit(resource.RLIMIT_FSIZE)
with tempfile.TemporaryFile(buffering=0) as file, signals.on(signal.SIGXFSZ, too_large):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    file.write(bytes(4096))
    try:
        file.write(b"one byte more")
    except OSError as error:
        print("and the write says", errno.errorcode[error.errno])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print("afterwards as before:", signal.getsignal(signal.SIGXFSZ).name)

crash = (
    "import ctypes, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ctypes.string_at(0)"
)
child = subprocess.run([sys.executable, "-c", crash])
print("a child that read address 0 was ended by", signals.name(-child.returncode))
