# SPDX-License-Identifier: Apache-2.0
"""The stations of named pipes: what open(2) waits for, a chat over two of them, and channels."""

from ipcx.tour.model import IPCX, Actor, AnyOrder, Line, Said, Station


def _python(name: str, program: str, *args: str, **how: object) -> Actor:
    return Actor(
        name,
        f"named_pipes/{program}.py",
        args,
        on=(IPCX,),
        imports_ipcx=True,
        **how,  # type: ignore[arg-type]
    )


FIFO = (
    Station(
        "open_blocks",
        "A puzzle: open() of a named pipe waits",
        "Opening a named pipe waits for the other side, without a time-out. Two programs with two "
        "pipes can wait for each other for ever: a deadlock. The same order cures it, or a "
        "deadline.",
        (_python("puzzle", "open_blocks"),),
        (
            Line("puzzle", "open to write, nobody reads: it waits"),
            Line("puzzle", "somebody opens it to read:   it is through"),
            Line("puzzle", "ada waits and bob waits for ever: a deadlock"),
            Line(
                "puzzle",
                "both take the pipes in the same order: ada is through and bob is through",
            ),
            Line("puzzle", "with a deadline: Timeout"),
            Line("puzzle", "a reader that is there: b'hello'"),
        ),
    ),
    Station(
        "fifo_chat",
        "A chat over two named pipes",
        "A pipe goes one way, so a talk needs two: each has one that it reads. When the other has "
        "gone, that is the end of it.",
        (
            _python("ada", "chat", "ada", "bob", "hello", "how are you?"),
            _python("bob", "chat", "bob", "ada", "fine", when=Said("ada", "bob is not there yet")),
        ),
        (
            Line("ada", "bob is not there yet"),
            AnyOrder(
                (
                    Line("ada", "bob: fine"),
                    Line("ada", "bob has gone"),
                    Line("bob", "ada: hello"),
                    Line("bob", "ada: how are you?"),
                    Line("bob", "ada has gone"),
                )
            ),
        ),
    ),
    Station(
        "fifo_channel",
        "Messages through a named pipe",
        "Over fifo:// each message is one write, which the system never mixes with another's: many "
        "guests, one kitchen. Nobody hangs in open(), and the last writer's going is the end.",
        (
            _python("kitchen", "kitchen"),
            _python("guest", "guest", "ada", when=Said("kitchen", "the kitchen is open")),
        ),
        (
            Line("kitchen", "the kitchen is open"),
            AnyOrder(
                (
                    Line(
                        "guest",
                        "5000 bytes are more than one write that is never mixed with others'",
                    ),
                    Line("guest", "ordered"),
                    Line("kitchen", "ada: two teas"),
                    Line("kitchen", "ada: a coffee"),
                    Line("kitchen", "the last guest has gone"),
                )
            ),
        ),
    ),
)
