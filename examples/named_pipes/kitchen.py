"""Many guests, one kitchen: a named pipe as a channel. Messages, and each of them whole.

`python kitchen.py`, and in other terminals `python guest.py ada`, `python guest.py bob` …: once the
first guest is there nobody new is let in, and the kitchen works until the last one has gone.
"""

import os

import ipcx

with ipcx.listen(f"fifo://{os.path.abspath('kitchen')}") as listener:
    print("the kitchen is open", flush=True)
    orders = listener.accept()  # one channel, for all guests: a pipe does not tell who writes
for order in orders:
    print(order)
print("the last guest has gone")
