"""The other end of named_reader.py. Nobody there? It says so instead of waiting for ever."""

import ipcx
from ipcx.pipes import PIPE_BUF, NamedPipe

try:
    with NamedPipe("orders").writer(timeout=5) as end:
        for order in ("two teas\n", "one coffee\n"):
            end.write(order.encode(), atomic=True)  # whole, also if others write at that moment
    print(f"sent; up to {PIPE_BUF} bytes go in whole")
except FileNotFoundError:
    print("there is no pipe: start named_reader.py first")
except ipcx.Timeout:
    print("there is a pipe, but nobody reads")
