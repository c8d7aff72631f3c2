"""Same address space: threads share a global variable, and must take turns; processes do not share.

Two threads each add 1 to `counter` a thousand times. Between reading and writing back, the other
one may come: its step is lost. With a lock none is. A child process has a variable of its own.
"""

import os
import threading
import time

STEPS = 1000

counter = 0
lock = threading.Lock()


def add_without_lock():
    global counter
    for _ in range(STEPS):
        seen = counter
        time.sleep(0)  # what the scheduler may do at any moment anyway
        counter = seen + 1


def add_with_lock():
    global counter
    for _ in range(STEPS):
        with lock:
            seen = counter
            time.sleep(0)
            counter = seen + 1


def both(work):
    global counter
    counter = 0
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counter


while (count := both(add_without_lock)) == 2 * STEPS:
    print("Nothing was lost this time; that is luck, not correctness")
print("Without a lock steps are lost:", count < 2 * STEPS)
print("With a lock:", both(add_with_lock), "of", 2 * STEPS)

child = os.fork()
if child == 0:
    counter += 1  # its own copy
    os._exit(0)
os.waitpid(child, 0)
print("A child process added 1 as well, and here it is still", counter)
