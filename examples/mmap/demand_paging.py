"""Demand paging: a page comes into memory when it is touched, not before.

Eight pages of memory are mapped, and none of them is there. Each touch brings one: you see which.
The file then: mapping it reads nothing either; the first access to a page does, and the kernel
brings the next pages along, for they will be wanted soon.
"""

import os
import tempfile

from ipcx import mmap

PAGES = 8
SIZE = PAGES * mmap.PAGESIZE
FILE_PAGES = 4096


def show(what, pages):
    print(f"{what:<24}", "".join("#" if page else "." for page in pages))


with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as m:
    m.madvise(mmap.MADV_NOHUGEPAGE)  # or one touch would bring all of them at once
    show("Memory, mapped", m.resident())
    m[5 * mmap.PAGESIZE] = 1
    show("page 5 written", m.resident())
    m[0]
    show("page 0 read", m.resident())
    m[:]
    show("all read", m.resident())

with tempfile.NamedTemporaryFile(dir=".") as file:
    file.write(bytes(FILE_PAGES * mmap.PAGESIZE))
    file.flush()
    os.fsync(file.fileno())  # only what is on the disk can be dropped from memory
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.map_file(file.name) as m:
        print(sum(m.resident()), "of", FILE_PAGES, "pages of a file are there when it is mapped")
        m[0]
        print(sum(m.resident()), "of", FILE_PAGES, "when one byte was read")
        m[:]
        print(sum(m.resident()), "of", FILE_PAGES, "when all was read")
