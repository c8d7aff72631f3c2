"""Orders from kitchen.py. Nobody there? It is told at once, where open(2) would wait for ever."""

import os
import sys

import ipcx

name = sys.argv[1] if len(sys.argv) > 1 else "a guest"
try:
    with ipcx.connect(f"fifo://{os.path.abspath('kitchen')}") as kitchen:
        kitchen.send_many([f"{name}: two teas", f"{name}: a coffee"])
        try:
            kitchen.send(bytes(5000))
        except ipcx.MessageTooLarge:
            print("5000 bytes are more than one write that is never mixed with others'")
        print("ordered")
except ipcx.ConnectRefused as error:
    print(f"nobody is in the kitchen: {type(error).__name__}")
