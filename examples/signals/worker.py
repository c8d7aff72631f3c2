"""A process that three signals reach: one to stop it, one for something exceptional, one custom.

Each arrives in the loop below like a message, at a time that suits the program, and not in the
middle of a line.
"""

import os
import signal

from ipcx import signals

TERMINATE = signal.SIGTERM  # `kill PID`, a shutdown, a service manager
EXCEPTION = signal.SIGALRM  # the kernel: the time is over
CUSTOM = signal.SIGRTMIN  # ours, with a number in it; these queue

with signals.SignalReceiver([TERMINATE, EXCEPTION, CUSTOM]) as receiver:
    print("worker:", os.getpid(), flush=True)
    signal.setitimer(signal.ITIMER_REAL, 0.2)  # seconds
    total = 0
    for info in receiver:
        if info.signal == CUSTOM:
            total += info.value
            print(f"custom: {info.value} from process {info.pid}, {total} in all", flush=True)
        elif info.signal == EXCEPTION:
            print("exceptional condition: the time is over; the work goes on", flush=True)
        else:
            print("terminate: putting things in order, then the end", flush=True)
            break
