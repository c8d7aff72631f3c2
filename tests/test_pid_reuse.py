# SPDX-License-Identifier: Apache-2.0
"""A stranger has the pid of somebody who has died: nobody takes the one for the other.

In a pid namespace of its own, in which the next pid can be chosen: so the stranger comes for sure.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEW = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
CHOOSES = "echo 100 > /proc/sys/kernel/ns_last_pid"

PRELUDE = """
import os, select, signal, subprocess, sys
import ipcx
from ipcx import files, process, signals, sync

folder, rounds = sys.argv[1], int(sys.argv[2])


def holder(program):
    '''A process that has done what the program says, and sleeps.'''
    program += "\\nprint('ready', flush=True)\\nimport signal\\nsignal.pause()"
    made = subprocess.Popen([sys.executable, "-c", program, folder], stdout=subprocess.PIPE)
    assert made.stdout.readline() == b"ready\\n"
    return made


def stranger(pid):
    '''A process with that number, which has just become free.'''
    while True:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
        made = subprocess.Popen(["sleep", "600"])
        if made.pid == pid:
            return made
        made.kill()
        made.wait()


def replaced(one):
    '''It dies, and a stranger has its number.'''
    one.kill()
    one.wait()
    if one.stdout is not None:
        one.stdout.close()
    return stranger(one.pid)


def end(one):
    assert one.poll() is None, "the stranger was hit"
    one.kill()
    one.wait()


def refused(error, call):
    try:
        call()
    except error as refusal:
        return str(refusal)
    raise AssertionError("done")


for _ in range(rounds):
    exec(sys.argv[3])
"""


def in_a_namespace(program, tmp_path):
    if subprocess.run([*NEW, "sh", "-c", CHOOSES], capture_output=True).returncode != 0:
        pytest.skip("no pid namespace in which pids can be chosen")
    rounds = "1000" if os.environ.get("IPCX_NIGHT") == "1" else "1"
    done = subprocess.run(
        [*NEW, sys.executable, "-W", "ignore", "-c", PRELUDE, tmp_path, rounds, program],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


PROGRAMS = {
    "signals to a process that was waited for": """
child = process.spawn("sleep 600", channel=None)
child.kill()
child.wait(30)
other = stranger(child.pid)
refused(ProcessLookupError, lambda: child.send_signal(signal.SIGKILL))
refused(ProcessLookupError, lambda: signals.send(child, signal.SIGKILL))
child.terminate()
child.kill()
child.close()
end(other)
""",
    "signals to a process that somebody else has waited for": """
child = process.spawn("true", channel=None)
os.waitpid(child.pid, 0)
other = stranger(child.pid)
refused(ProcessLookupError, lambda: child.send_signal(signal.SIGKILL))
refused(ProcessLookupError, lambda: signals.send(child, signal.SIGKILL))
assert child.wait(30).status is None
child.close()
end(other)
""",
    "a file's lock": """
one = holder('''
import sys
from ipcx import files
lock = files.FileLock(sys.argv[1] + "/lock")
lock.acquire()
''')
lock = files.FileLock(folder + "/lock")
refused(ipcx.WouldBlock, lambda: lock.acquire(timeout=0))
other = replaced(one)
lock.acquire(timeout=10)
lock.release()
end(other)
""",
    "a mutex and a semaphore": """
one = holder('''
from ipcx import sync
mutex, permits = sync.Mutex("reused"), sync.Semaphore(2, name="reused-2", owned=True)
mutex.acquire()
permits.acquire()
permits.acquire()
''')
mutex, permits = sync.Mutex("reused"), sync.Semaphore(2, name="reused-2", owned=True)
refused(ipcx.WouldBlock, lambda: mutex.acquire(timeout=0))
refused(ipcx.WouldBlock, lambda: permits.acquire(timeout=0))
other = replaced(one)
mutex.acquire(timeout=10)
assert mutex.recovered
mutex.release()
permits.acquire(timeout=10)
permits.acquire(timeout=10)
permits.release(2)
mutex.close()
permits.close()
end(other)
""",
    "listeners": """
one = holder('''
import ipcx, sys
made = [ipcx.listen(kind.format(sys.argv[1])) for kind in ("unix://{}/s", "fifo://{}/f")]
''')
for kind in ("unix://{}/s", "fifo://{}/f"):
    said = refused(ipcx.AddressInUse, lambda: ipcx.listen(kind.format(folder)))
    assert str(one.pid) in said, said
other = replaced(one)
for kind in ("unix://{}/s", "fifo://{}/f"):
    ipcx.listen(kind.format(folder)).close()
end(other)
""",
    "the other end of a channel": """
one = subprocess.Popen([sys.executable, "-c", '''
import ipcx, signal, sys
with ipcx.listen(f"unix://{sys.argv[1]}/u") as u, ipcx.listen("shm://") as s:
    print(s.url, flush=True)
    kept = u.accept(), s.accept()
    [end.send("here") for end in kept]
    signal.pause()
''', folder], stdout=subprocess.PIPE)
memory = one.stdout.readline().decode().strip()
ends = [ipcx.connect(f"unix://{folder}/u"), ipcx.connect(memory)]
assert [end.receive(30) for end in ends] == ["here", "here"]
other = replaced(one)
for each in ends:
    refused(ipcx.PeerDied, lambda: each.receive(10))
    each.close()
end(other)
""",
    "the parent of a child that shall die with it": """
one = subprocess.Popen([sys.executable, "-c", '''
import signal
from ipcx import process
child = process.spawn("sleep 600", channel=None, die_with_parent=True)
print(child.pid, flush=True)
signal.pause()
'''], stdout=subprocess.PIPE)
child = os.pidfd_open(int(one.stdout.readline()))
other = replaced(one)
assert select.select([child], [], [], 30)[0]
os.close(child)
end(other)
""",
    "what a killed process has left in memory": """
from ipcx import _ledger
one = holder('''
from ipcx.shared_memory import SharedMemory
memory = SharedMemory("reused-3", create=True, size=10)
''')
assert _ledger.sweep() == []
other = replaced(one)
assert [entry.name for entry in _ledger.sweep()] == ["reused-3"]
end(other)
""",
}


@pytest.mark.hang_guard(3600 if os.environ.get("IPCX_NIGHT") == "1" else 60)
@pytest.mark.parametrize("what", PROGRAMS)
def test_a_stranger_is_not_taken_for_who_had_its_pid(what, tmp_path):
    in_a_namespace(PROGRAMS[what], tmp_path)
