# SPDX-License-Identifier: Apache-2.0
"""The stations of what lies within one host: files, signals, processes, pipes, memory; and of what
serves many: a chat room, messages over UDP.

Their programs import ipcx, and are processes that talk, or hold both ends themselves.
"""

from ipcx.tour.model import IPCX, Actor, AnyOrder, Keys, Line, Said, Script, Started, Station
from ipcx.tour.stations_fifo import FIFO
from ipcx.tour.stations_pipes import PIPES

CHAT = "tcp://127.0.0.1:50007"
HEARD = "tcp://127.0.0.1:{50007}"
KEYS, HEARD_KEYS = "tcp://127.0.0.1:50008", "tcp://127.0.0.1:{50008}"
ZEROS = r"b'\x00\x00\x00\x00\x00'"


def _actor(name: str, program: str, *args: str, **how: object) -> Actor:
    return Actor(name, program, args, on=(IPCX,), imports_ipcx=True, **how)  # type: ignore[arg-type]


def _alone(program: str, title: str, teaches: str, *says: str | None) -> Station:
    """A station of one program; None among its lines stands for any lines."""
    name = program.rpartition("/")[2]
    script: Script = tuple(Line(name, text) if text is not None else ... for text in says)
    return Station(name, title, teaches, (_actor(name, f"{program}.py"),), script)


FILES = (
    _alone(
        "files/torn",
        "A plain file is torn, and two cures",
        "Two processes write lines to one file, and the lines come out mixed. Under a lock, or in "
        "a log of messages, each is whole.",
        "a plain file: lines were torn",
        "under a FileLock: torn lines: 0",
        "a MessageLog: messages: 600, torn: 0",
        "left in the folder: events.log, events.log.lock, locked.txt, locked.txt.lock, plain.txt",
    ),
    Station(
        "log",
        "Files that one writes and another reads",
        "A log of messages: any number of processes append to it, any number follow it, each from "
        "where it was; a crash tears no message.",
        (
            _actor("reader", "files/reader.py"),
            _actor(
                "writer",
                "files/writer.py",
                typed=(Keys("one\ntwo\nend\n", Started()),),
                lasts=True,
            ),
        ),
        (
            AnyOrder(
                (
                    *(Line("writer", "appended at position {any}") for _ in range(3)),
                    *(Line("reader", text) for text in ("one", "two", "end")),
                )
            ),
        ),
    ),
    Station(
        "watch",
        "Being told what happens in a folder, and replacing a file as a whole",
        "The kernel tells of each change, nobody has to look again and again. A file that is "
        "replaced has the old text or the new one, never half of either.",
        (
            _actor("watch", "files/watch.py"),
            _actor("replace", "files/replace.py", when=Said("watch", "watching .")),
        ),
        (
            Line("watch", "watching ."),
            ...,
            Line("watch", "moved_to settings"),
            ...,
            Line("watch", "moved_to settings"),
            ...,
            Line("watch", "moved_to stop"),
        ),
    ),
)

SIGNALS = (
    _alone(
        "signals/boss",
        "Signals: to terminate, for exceptional conditions, custom",
        "A signal carries little: its number, and if it is a real-time signal one value. A process "
        "receives them like messages; what has ended already cannot be hit by mistake.",
        "worker: {any}",
        *("custom: {any} from process {any}, {any} in all" for _ in range(19)),
        "custom: 20 from process {any}, 210 in all",
        "exceptional condition: the time is over; the work goes on",
        "terminate: putting things in order, then the end",
        "the worker's exit status: 0",
        "{any} has ended, with status 0",
        "signals have names: SIGINT, SIGKILL, SIGTERM, SIGRTMIN+1",
    ),
    _alone(
        "signals/coalesce",
        "Signals that coalesce, and signals that queue",
        "An ordinary signal that waits already is not sent twice: it says that, not how often. "
        "Real-time signals queue, each with its value.",
        "SIGUSR1  sent 1000 times, arrived 1 times",
        "SIGRTMIN sent 1000 times, arrived 1000 times",
    ),
    _alone(
        "signals/handler",
        "A signal handler, and a child ended by a signal",
        "The kernel reports an exceptional condition by a signal. A handler is called for it; "
        "without one the process ends, and its parent sees by what.",
        "SIGXFSZ in line {any}",
        "and the write says EFBIG",
        "afterwards as before: SIG_IGN",
        "a child that read address 0 was ended by SIGSEGV",
    ),
)

MEMORY = (
    _alone(
        "shared_memory/two_processes",
        "Shared memory: in both address spaces",
        "What one process writes is there for the other, without a message. Who attaches owns "
        "nothing: the segment stays, also after a kill -9, until its maker unlinks it or dies.",
        "the other process reads b'hello'",
        "and here it is b'HELLO'",
        "after the kill -9 of one that had it, too: b'Hello'",
        "unlinked, is it there? False",
        "its maker was killed, is it there? True",
        "another one was made, is it there? False",
    ),
    _alone(
        "shared_memory/image",
        "An image without the redundant copy",
        "A message is copied in and out, whatever carries it; on loan it is drawn and looked at in "
        "the channel's own memory. In a segment that both have mapped it stays, and only a name is "
        "sent.",
        "A picture of 640 x 480 pixels, 307200 bytes",
        "A message over unix://    614400 bytes copied",
        "A message over shm://     614400 bytes copied",
        "On loan over shm://            0 bytes copied",
        None,
        "       .:-=+*#%%@@@@@@@@@%%#*+=-:.",
        None,
        "A segment's name              {any} bytes copied",
    ),
    _alone(
        "mmap/demand_paging",
        "Demand paging, seen",
        "Mapping brings nothing into memory: a page comes when it is touched (#). With a file's "
        "page the kernel brings the next ones along.",
        "Memory, mapped           ........",
        "page 5 written           .....#..",
        "page 0 read              #....#..",
        "all read                 ########",
        "{any} of 4096 pages of a file are there when it is mapped",
        "{any} of 4096 when one byte was read",
        "4096 of 4096 when all was read",
    ),
    _alone(
        "mmap/device_and_file",
        "A mapped device beside a mapped file",
        "The same calls, another thing behind the memory: the file keeps what was written, the "
        "device of zeros does not.",
        f"mapped.bin: found {ZEROS}, wrote b'hello'",
        f"/dev/zero: found {ZEROS}, wrote b'hello'",
        "mapped.bin: found b'hello', wrote b'hello'",
        f"/dev/zero: found {ZEROS}, wrote b'hello'",
        "mapped.bin read as a file: b'hello'",
    ),
)

SYNC = (
    _alone(
        "semaphores/race",
        "A race, and its cure: a semaphore",
        "Read, add one, write back: whoever writes in between loses its one. With a semaphore of "
        "one permit, one process at a time is in the critical section.",
        "Without a semaphore some tickets are not counted: True",
        "With a semaphore: 4000 of 4000",
    ),
    _alone(
        "semaphores/bounded_buffer",
        "Producer and consumers with a bounded buffer",
        "One semaphore counts the free places, one the filled, a third lets one process at a time "
        "change the buffer. Who must wait sleeps.",
        "1000 produced, 1000 consumed, each once: True",
        "Never more than 4 in the buffer: True",
        "Free and filled places now: 4 0",
    ),
    _alone(
        "semaphores/killed_holder",
        "The holder of a lock is killed",
        "The lock of multiprocessing stays locked for ever. ipcx's goes to the next one, who is "
        "told that what it protects may be half done.",
        "multiprocessing.Lock, after half a second: False",
        "ipcx.sync.Mutex: recovered: True",
        "There are 70 of 100",
        "Put right: 70 + 30 = 100",
        "The next one: recovered: False",
    ),
)

MANY = (
    Station(
        "chat",
        "A server for many clients: a chat room",
        "One loop, without threads, serves all guests: what one says, the others hear. Nobody who "
        "is silent or slow holds up the rest.",
        (
            _actor("server", "server/chat_server.py", CHAT),
            _actor(
                "ada",
                "server/chat_client.py",
                CHAT,
                when=Said("server", HEARD),
                typed=(Keys("the end\n", Said("ada", "guest 2: Hello!")),),
                lasts=True,
            ),
            _actor(
                "bob",
                "server/chat_client.py",
                CHAT,
                when=Said("ada", "You are guest 1, of 1."),
                typed=(Keys("Hello!\n", Said("bob", "You are guest 2, of 2.")),),
                lasts=True,
            ),
        ),
        (
            Line("server", HEARD),
            Line("ada", "You are guest 1, of 1."),
            Line("bob", "You are guest 2, of 2."),
            Line("ada", "guest 2: Hello!"),
            Line("server", "served 2"),
        ),
        (50007,),
    ),
    Station(
        "keys",
        "A server for those who have the key",
        "Both sides prove that they have the same key, and nobody sends it. Who has none, or "
        "another, is turned away, told why, and disturbs nobody.",
        (
            _actor("server", "keys/server.py", KEYS),
            _actor("client", "keys/client.py", KEYS, when=Said("server", HEARD_KEYS)),
        ),
        (
            Line("server", HEARD_KEYS),
            Line("client", "AuthError: {any}this side has none{any}"),
            Line("client", "AuthError: {any}another one than its own{any}"),
            AnyOrder(
                (
                    Line("client", "Hello, James"),
                    Line("server", "served 1 and turned away 2"),
                )
            ),
        ),
        (50008,),
    ),
    _alone(
        "udp_channel/lost_messages",
        "Messages over UDP: how many are lost",
        "Each message is a datagram with a number: the receiver knows how many it missed. What "
        "must arrive is sent again until it was received, and received once.",
        "Sent 20000 messages; send_many() has not complained",
        "The next one: and one more",
        "Lost some: True - and the receiver knows how many: True",
        "With sync=True: surely",
        "Received twice: 0",
    ),
)

TASKS = ("editing", "printing", "compiling")
PROCESSES = (
    _alone(
        "process/independent",
        "Independent processes cannot affect each other",
        "Each has an address space of its own: one is killed, the other counts on.",
        "one says all is well",
        "one: ended by SIGKILL",
        "the other has counted to 1000",
        "the other: exit status 0",
    ),
    _alone(
        "process/sharing",
        "Why processes cooperate: information sharing",
        "Three processes look at the same text. It is in memory once; its name is sent to them.",
        "a is there 4000 times",
        "e is there 11000 times",
        "i is there 5000 times",
    ),
    _alone(
        "process/speed_up",
        "Why processes cooperate: computation speed-up",
        "A task in parts runs on several CPUs at the same time. Here it is measured.",
        "1 process: 6057 primes in {any} s",
        "2 processes: 6057 primes in {any} s, {any} times as fast",
        None,
        "CPUs that may be used: {any}; more processes than these are of no use",
    ),
    _alone(
        "process/modular",
        "Why processes cooperate: modularity",
        "Each part is a process and knows only the messages that come. One is exchanged, the "
        "others stay as they are.",
        "split, then longest: functions",
        "split, then how_many: 7",
    ),
    Station(
        "convenience",
        "Why processes cooperate: convenience",
        "One user edits, prints and compiles at the same time. Each line says whose it is, and the "
        "end of each process is an event.",
        (_actor("convenience", "process/convenience.py"),),
        (
            AnyOrder(
                tuple(
                    Line("convenience", text)
                    for task in TASKS
                    for text in (
                        f"{task} | {task}, step 1 of 2",
                        f"{task} | {task}, step 2 of 2",
                        f"done with {task}: exit status 0",
                    )
                )
            ),
        ),
    ),
)

HOST = FILES + SIGNALS + PROCESSES + PIPES + FIFO + MEMORY + SYNC + MANY
