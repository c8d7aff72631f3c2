"""A named pipe: programs that know nothing of each other find it by its path. This one reads.

`python named_reader.py`, and in another terminal `python named_writer.py`, or
`echo "one cake" > orders`: to every program it is a file.
"""

from ipcx.pipes import NamedPipe

with NamedPipe("orders", create=True) as orders, orders.reader() as end:
    print("waiting for orders", flush=True)
    print(end.read_all().decode(), end="")
    print("all who wrote have closed it")
