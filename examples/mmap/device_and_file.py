"""A mapped device beside a mapped file: the same calls, another thing behind the memory.

Behind the file's memory is the file: what is written is there for whoever opens it next. Behind
/dev/zero is a device that has only zeros: what is written belongs to this map, and the next one is
zeros again.
"""

from ipcx import mmap

FILE = "mapped.bin"


def map_and_write(path, mode):
    """Maps a page, says what stands there, and writes to it."""
    with mmap.map_file(path, mmap.PAGESIZE, mode=mode) as m:
        before = m[:5]
        m[:5] = b"hello"
        print(f"{path}: found {before}, wrote {m[:5]}")


for _ in range(2):
    map_and_write(FILE, "a+")
    map_and_write("/dev/zero", "r+")

with open(FILE, "rb") as file:
    print(f"{FILE} read as a file: {file.read(5)}")
