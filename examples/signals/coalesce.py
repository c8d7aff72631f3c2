"""What is lost, and what is not: ordinary signals coalesce, real-time signals queue."""

import os
import signal

import ipcx
from ipcx import signals

MANY = 1000

with signals.SignalReceiver([signal.SIGUSR1, signal.SIGRTMIN]) as receiver:
    for number in range(MANY):
        signals.send(os.getpid(), signal.SIGUSR1)
        signals.send(os.getpid(), signal.SIGRTMIN, number)
    arrived = {"SIGUSR1": 0, "SIGRTMIN": 0}
    try:
        while True:
            arrived[receiver.receive(timeout=0).name] += 1
    except ipcx.WouldBlock:
        pass
    for name, count in arrived.items():
        print(f"{name:<8} sent {MANY} times, arrived {count} times")
