# SPDX-License-Identifier: Apache-2.0
"""Notebook 12: framing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Delimiter", "Fixed", "LengthPrefix", "Resync"]

# What the fuzzing drivers have in common: a stream cut anywhere gives the same messages.
TAKE = '''
import random

def taken(function, stream, cuts, most):
    """What the function takes off the front of a buffer that grows piece by piece."""
    buffer, found, at = bytearray(), [], 0
    for cut in [*cuts, len(stream)]:
        buffer += stream[at:cut]
        at = max(at, cut)
        while True:
            before = bytes(buffer)
            message = function(buffer)
            if message is None:
                if bytes(buffer) != before:
                    fail("it returned None, and has taken bytes off the buffer nevertheless")
                break
            if not isinstance(message, (bytes, bytearray)):
                fail(f"it returned {message!r:.60}, which is neither bytes nor None")
            if len(buffer) >= len(before):
                fail(f"it returned {bytes(message)!r:.60}, and left its bytes in the buffer")
            found.append(bytes(message))
            if len(found) > most:
                fail(f"it returned more messages than were sent; the last one is {found[-1]!r:.60}")
    return found, bytes(buffer)

def compare(how, wanted, found):
    for number, message in enumerate(wanted):
        if number >= len(found):
            fail(f"{how}, {len(found)} of {len(wanted)} messages came out: "
                 f"message {number}, {message!r:.60}, is missing")
        if found[number] != message:
            fail(f"{how}, message {number} came out as {found[number]!r:.60}, not {message!r:.60}")
'''


class LengthPrefix(Problem):
    """The length in front."""

    id = "framing-length-prefix"
    title = "Frames with their length in front"
    topic = "12"
    roles = ("pack", "unpack")
    hints = (
        "len(message).to_bytes(4, 'big') is the length as four bytes in network byte order.",
        "with fewer than four bytes in the buffer the length is not known yet: None.",
        "`del buffer[:n]` takes bytes off the front; an empty message is a frame of four bytes.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        messages = [draw.randbytes(draw.choice((0, 1, 3, 17, 300))) for _ in range(9)]
        return {"limit": draw.randrange(400, 2000), "messages": [*messages, b"", b"\0\0\0\1"]}

    def text(self) -> str:
        return f"""
            Write two functions. `pack(message)` returns a frame: the length of the bytes `message`
            as four bytes, the most significant first, and then the message. `unpack(buffer)` gets a
            `bytearray` with what has come so far. If a whole frame is there, it takes that off the
            front of the buffer and returns its message; else it changes nothing and returns `None`.
            A length of more than {self.given["limit"]} is a `ValueError`, in both functions, and in
            `unpack` before the message has come: nobody shall make us wait for four gigabytes.
            """

    DRIVER = (
        TAKE
        + """
frames = [bytes(pack(message)) for message in messages]
for message, frame in zip(messages, frames):
    wanted = len(message).to_bytes(4, "big") + message
    if frame != wanted:
        fail(f"pack({message!r:.40}) begins with {frame[:8].hex(' ')}, not {wanted[:8].hex(' ')}")
tell("pack")
stream = b"".join(frames)
found, rest = taken(unpack, stream, [], len(messages))
compare("with all bytes in the buffer", messages, found)
found, rest = taken(unpack, stream, range(1, len(stream)), len(messages))
compare("with one byte more at a time", messages, found)
tell("unpack")
draw = random.Random(seed)
for round in range(200):
    some = [draw.randbytes(draw.randrange(limit + 1)) for _ in range(4)]
    stream = b"".join(map(pack, some))
    cuts = sorted(draw.randrange(len(stream)) for _ in range(draw.randrange(9)))
    compare("cut anywhere", some, taken(unpack, stream, cuts, 4)[0])
tell("fuzzed")
for call, what in (
    (lambda: pack(bytes(limit + 1)), f"pack of {limit + 1} bytes"),
    (lambda: unpack(bytearray((limit + 1).to_bytes(4, "big"))), f"unpack of a length {limit + 1}"),
    (lambda: unpack(bytearray(b"\\xff\\xff\\xff\\xff....")), "unpack of a length 4294967295"),
):
    try:
        value = call()
    except ValueError:
        pass
    else:
        fail(f"{what} returned {value!r:.30}: it must be a ValueError")
"""
    )

    def check(self, stage: Stage) -> Iterator[Finding]:
        actor = stage.functions(self.DRIVER, seed=self.seed, **self.given)
        yield from told(
            stage,
            actor,
            {
                "pack": "pack puts the length in front, in network byte order",
                "unpack": "unpack returns the same messages when the stream comes byte by byte",
                "fuzzed": "200 streams, cut anywhere, gave the messages that were sent",
            },
            "a length beyond the limit is a ValueError",
        )

    solution = Sources(
        pack="""
            def pack(message):
                if len(message) > limit:
                    raise ValueError(f"{len(message)} bytes are too long for a frame")
                return len(message).to_bytes(4, "big") + message
            """,
        unpack="""
            def unpack(buffer):
                if len(buffer) < 4:
                    return None
                size = int.from_bytes(buffer[:4], "big")
                if size > limit:
                    raise ValueError(f"a frame of {size} bytes is too long")
                if len(buffer) < 4 + size:
                    return None
                message = bytes(buffer[4 : 4 + size])
                del buffer[: 4 + size]
                return message
            """,
    )
    broken = (
        Wrong(
            "the machine's byte order",
            "begins with",
            pack="""
                def pack(message):
                    if len(message) > limit:
                        raise ValueError
                    return len(message).to_bytes(4, "little") + message
                """,
        ),
        Wrong(
            "expects whole frames",
            "it returned more messages than were sent",
            unpack="""
                def unpack(buffer):
                    if len(buffer) < 4:
                        return None
                    size = int.from_bytes(buffer[:4], "big")
                    message = bytes(buffer[4 : 4 + size])
                    del buffer[: 4 + size]
                    return message
                """,
        ),
        Wrong(
            "takes an empty message for nothing",
            "it returned None, and has taken bytes off the buffer nevertheless",
            unpack="""
                def unpack(buffer):
                    size = int.from_bytes(buffer[:4], "big")
                    if size > limit:
                        raise ValueError
                    if len(buffer) < 4 + size:
                        return None
                    message = bytes(buffer[4 : 4 + size])
                    del buffer[: 4 + size]
                    return message or None
                """,
        ),
        Wrong(
            "believes any length",
            "it must be a ValueError",
            unpack="""
                def unpack(buffer):
                    size = int.from_bytes(buffer[:4], "big")
                    if len(buffer) < 4 + size:
                        return None
                    message = bytes(buffer[4 : 4 + size])
                    del buffer[: 4 + size]
                    return message
                """,
        ),
    )


def told(stage: Stage, actor: Any, steps: dict[str, str], last: str) -> Iterator[Finding]:
    """A finding for each step that the driver has told of, also when it fails at a later one."""
    try:
        stage.finish(actor)
    finally:
        reached = [text for step, text in steps.items() if step in actor.told]
        yield from map(good, reached)
    yield good(last)


class Delimiter(Problem):
    """A byte at the end, and what to do when it is in the message."""

    id = "framing-delimiter"
    title = "Frames that end with a delimiter"
    topic = "12"
    roles = ("stuff", "unstuff")
    hints = (
        "the delimiter in a message would end it: put the escape byte in front of it.",
        "then the escape byte in a message needs one in front of it, too.",
        "go through the buffer byte by byte: after an escape byte the next one is a part of the "
        "message, whatever it is; a delimiter that is not escaped is the end.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        delimiter, escape = draw.sample(range(33, 127), 2)
        return {"delimiter": bytes([delimiter]), "escape": bytes([escape])}

    def text(self) -> str:
        return f"""
            Frames end with a delimiter, the name `delimiter` (here
            `{self.given["delimiter"]!r}`). In a message that byte may be anywhere: then the byte
            `escape` (here `{self.given["escape"]!r}`) stands before it. Write `stuff(message)`,
            which returns the frame, and `unstuff(buffer)`: if a whole frame is in front of the
            `bytearray`, it takes that off and returns the message; else it changes nothing and
            returns `None`. Any bytes may be a message.
            """

    DRIVER = (
        TAKE
        + """
plain = [b"plain", b"", b"two words"]
for message in plain:
    message = message.replace(delimiter, b"").replace(escape, b"")
    if bytes(stuff(message)) != message + delimiter:
        fail(f"stuff({message!r}) returned {stuff(message)!r}, not {message + delimiter!r}")
tell("plain")
hard = [delimiter, escape, delimiter * 2, escape * 2, escape + delimiter, delimiter + escape,
        b"a" + delimiter + b"b", b"a" + escape, escape * 3 + delimiter]
for message in hard:
    frame = bytes(stuff(message))
    found, rest = taken(unstuff, frame, range(1, len(frame)), 9)
    if found != [message] or rest:
        fail(f"the message {message!r} became the frame {frame!r}, and that "
             f"{found!r}{f', and {rest!r} was left' if rest else ''}")
tell("hard")
draw = random.Random(seed)
for round in range(300):
    some = [bytes(draw.choice(b"ab" + delimiter + escape) for _ in range(draw.randrange(9)))
            for _ in range(5)]
    stream = b"".join(bytes(stuff(message)) for message in some)
    cuts = sorted(draw.randrange(len(stream)) for _ in range(draw.randrange(9)))
    compare("cut anywhere", some, taken(unstuff, stream, cuts, 5)[0])
"""
    )

    def check(self, stage: Stage) -> Iterator[Finding]:
        actor = stage.functions(self.DRIVER, seed=self.seed, **self.given)
        yield from told(
            stage,
            actor,
            {
                "plain": "a plain message is followed by the delimiter, and nothing else",
                "hard": "delimiters and escape bytes come through, whatever their order",
            },
            "300 streams, cut anywhere, gave the messages that were sent",
        )

    solution = Sources(
        stuff="""
            def stuff(message):
                message = message.replace(escape, escape + escape)
                return message.replace(delimiter, escape + delimiter) + delimiter
            """,
        unstuff="""
            def unstuff(buffer):
                message, at = bytearray(), 0
                while at < len(buffer):
                    if buffer[at] == escape[0]:
                        at += 1
                        if at == len(buffer):
                            return None
                    elif buffer[at] == delimiter[0]:
                        del buffer[: at + 1]
                        return bytes(message)
                    message.append(buffer[at])
                    at += 1
                return None
            """,
    )
    broken = (
        Wrong(
            "escapes nothing",
            "became the frame",
            stuff="""
                def stuff(message):
                    return message + delimiter
                """,
            unstuff="""
                def unstuff(buffer):
                    message, found, rest = bytes(buffer).partition(delimiter)
                    if not found:
                        return None
                    buffer[:] = rest
                    return message
                """,
        ),
        Wrong(
            "forgets the escape byte itself",
            "became the frame",
            stuff="""
                def stuff(message):
                    return message.replace(delimiter, escape + delimiter) + delimiter
                """,
        ),
        Wrong(
            "escapes in the wrong order",
            "became the frame",
            stuff="""
                def stuff(message):
                    message = message.replace(delimiter, escape + delimiter)
                    return message.replace(escape, escape + escape) + delimiter
                """,
        ),
        Wrong(
            "looks only one byte back",
            "became the frame",
            unstuff="""
                def unstuff(buffer):
                    for at in range(len(buffer)):
                        if buffer[at : at + 1] == delimiter and buffer[at - 1 : at] != escape:
                            message = bytes(buffer[:at])
                            del buffer[: at + 1]
                            message = message.replace(escape + delimiter, delimiter)
                            return message.replace(escape + escape, escape)
                    return None
                """,
        ),
    )


class Fixed(Problem):
    """Records that all have the same size."""

    id = "framing-fixed"
    title = "Records of a fixed size"
    topic = "12"
    roles = ("pack", "unpack")
    hints = (
        "struct.pack('!16sI…', …) pads a text with zero bytes; '!' is network byte order, without "
        "gaps between the fields.",
        "a text that is too long must be cut between two characters, not in one: "
        "data[:n].decode('utf-8', 'ignore') drops half a character at the end.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"room": draw.randrange(9, 20)}

    def text(self) -> str:
        room = self.given["room"]
        return f"""
            A record is {room + 6} bytes: a name in UTF-8, filled up with zero bytes to `room` bytes
            (here {room}); a number of two bytes, unsigned; a number of four bytes, with a sign.
            Numbers have their most significant byte first, and there are no gaps. Write
            `pack(name, year, balance)`, which returns the record, and `unpack(record)`, which
            returns the three as a tuple. A name that is too long is cut to as many *characters* as
            there is room for. A record of another size is a `ValueError`.
            """

    DRIVER = """
import random
record = bytes(pack("Ada", 1843, -2))
wanted = b"Ada".ljust(room, bytes(1)) + b"\\x07\\x33" + b"\\xff\\xff\\xff\\xfe"
if len(record) != len(wanted):
    fail(f"pack('Ada', 1843, -2) has {len(record)} bytes, not {len(wanted)}")
if record != wanted:
    fail(f"pack('Ada', 1843, -2) is {record.hex(' ')}, not {wanted.hex(' ')}")
tell("bytes")
draw = random.Random(seed)
for round in range(300):
    name = "".join(draw.choice("abc äöß€語😀") for _ in range(draw.randrange(room + 3)))
    year, balance = draw.randrange(1 << 16), draw.randrange(-(1 << 31), 1 << 31)
    fits = name
    while len(fits.encode()) > room:
        fits = fits[:-1]
    record = bytes(pack(name, year, balance))
    if len(record) != room + 6:
        fail(f"with the name {name!r} the record has {len(record)} bytes, not {room + 6}")
    try:
        found = tuple(unpack(record))
    except UnicodeDecodeError:
        fail(f"the name {name!r} was cut in the middle of a character: it cannot be decoded")
    if found != (fits, year, balance):
        fail(f"{(fits, year, balance)} came back as {found}")
tell("fuzzed")
for size in (0, room + 5, room + 7):
    try:
        value = unpack(bytes(size))
    except ValueError:
        pass
    except Exception as error:
        fail(f"a record of {size} bytes raised {type(error).__name__}, not ValueError")
    else:
        fail(f"a record of {size} bytes was unpacked to {value!r}: it must be a ValueError")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        actor = stage.functions(self.DRIVER, seed=self.seed, **self.given)
        yield from told(
            stage,
            actor,
            {
                "bytes": "the record of ('Ada', 1843, -2) is right, byte by byte",
                "fuzzed": "300 records came back as they were, names in all alphabets among them",
            },
            "a record of another size is a ValueError",
        )

    solution = Sources(
        pack="""
            import struct

            def pack(name, year, balance):
                data = name.encode()[:room].decode("utf-8", "ignore").encode()
                return struct.pack(f"!{room}sHi", data, year, balance)
            """,
        unpack="""
            import struct

            def unpack(record):
                if len(record) != room + 6:
                    raise ValueError(f"a record has {room + 6} bytes, not {len(record)}")
                data, year, balance = struct.unpack(f"!{room}sHi", record)
                return data.rstrip(bytes(1)).decode(), year, balance
            """,
    )
    broken = (
        Wrong(
            "the machine's byte order",
            "pack('Ada', 1843, -2) is 41 64 61",
            pack="""
                import struct

                def pack(name, year, balance):
                    data = name.encode()[:room].decode("utf-8", "ignore").encode()
                    return struct.pack(f"<{room}sHi", data, year, balance)
                """,
        ),
        Wrong(
            "does not fill up",
            "pack('Ada', 1843, -2) has 9 bytes, not",
            pack="""
                import struct

                def pack(name, year, balance):
                    data = name.encode()[:room].decode("utf-8", "ignore").encode()
                    return data + struct.pack("!Hi", year, balance)
                """,
        ),
        Wrong(
            "cuts a character",
            "was cut in the middle of a character",
            pack="""
                import struct

                def pack(name, year, balance):
                    return struct.pack(f"!{room}sHi", name.encode(), year, balance)
                """,
        ),
        Wrong(
            "lets struct complain",
            "a record of 0 bytes raised error, not ValueError",
            unpack="""
                import struct

                def unpack(record):
                    data, year, balance = struct.unpack(f"!{room}sHi", record)
                    return data.rstrip(bytes(1)).decode(), year, balance
                """,
        ),
    )


class Resync(Problem):
    """Frames in a stream with garbage in it."""

    id = "framing-resync"
    title = "After garbage: the next frame"
    topic = "12"
    roles = ("decode",)
    hints = (
        "look for `mark` from where you are; what stands before it is garbage.",
        "a frame is only one if its checksum is right: then go on behind it.",
        "if the checksum is wrong, the length may be the wrong part: go on one byte behind the "
        "mark, not behind the whole frame.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"mark": draw.choice([b"\xa5\x5a", b"\xeb\x90", b"\x1a\xcf"])}

    def text(self) -> str:
        return f"""
            A radio receiver writes what it hears: frames, and noise. A frame is the two bytes
            `mark` (here `{self.given["mark"].hex(" ")}`), one byte with the length of the message,
            the message, and one byte that is the sum of the message's bytes, modulo 256. Write
            `decode(data)`: it returns a list of the messages in the bytes `data`, in their order.
            Between the frames there may be garbage; a frame may be damaged anywhere, in its length,
            too; and in the garbage the mark may occur. What is not a whole and sound frame is
            passed over, and nothing that is sound is lost with it.
            """

    DRIVER = """
import random

def frame(message):
    return mark + bytes([len(message)]) + message + bytes([sum(message) % 256])

def same(what, data, wanted):
    found = list(map(bytes, decode(data)))
    if found != wanted:
        fail(f"{what}: it found {found!r:.80}, not {wanted!r:.80}, in {data[:40].hex(' ')}")

one, two, three = b"one", b"second", b""
clean = frame(one) + frame(two) + frame(three)
same("without any garbage", clean, [one, two, three])
tell("clean")
same("after garbage", b"noise" + clean + b"noise", [one, two, three])
same("with a mark in the garbage", mark + b"\\xff" + clean, [one, two, three])
same("with half a mark before a frame", mark[:1] + clean, [one, two, three])
same("with a mark at the very end", clean + mark, [one, two, three])
tell("garbage")
damaged = bytearray(frame(one))
damaged[4] ^= 1
same("with a damaged message", bytes(damaged) + frame(two), [two])
damaged = bytearray(frame(one))
damaged[2] = 9
same("with a length that is too long", bytes(damaged) + frame(two) + frame(three), [two, three])
same("with a frame that is cut", frame(two)[:-3] + frame(one), [one])
tell("damaged")
draw = random.Random(seed)
alphabet = bytes(range(48, 58))
for round in range(300):
    data, wanted = b"", []
    for _ in range(6):
        message = bytes(draw.choice(alphabet) for _ in range(draw.randrange(1, 30)))
        whole = frame(message)
        match draw.randrange(3):
            case 0:
                whole = whole[:3] + bytes([whole[3] ^ 128]) + whole[4:]
            case 1:
                wanted.append(message)
            case _:
                wanted.append(message)
                whole = bytes(draw.choice(alphabet) for _ in range(draw.randrange(9))) + whole
        data += whole
    same("with random damage", data, wanted)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        actor = stage.functions(self.DRIVER, seed=self.seed, **self.given)
        yield from told(
            stage,
            actor,
            {
                "clean": "without garbage it finds all messages",
                "garbage": "it passes garbage over, with marks in it, too",
                "damaged": "a damaged frame costs no other one",
            },
            "in 300 streams with random damage it found what was sound, and nothing else",
        )

    solution = Sources(
        decode="""
            def decode(data):
                messages, at = [], 0
                while True:
                    at = data.find(mark, at)
                    if at < 0 or at + 3 > len(data):
                        return messages
                    end = at + 3 + data[at + 2]
                    message = data[at + 3 : end]
                    if end < len(data) and data[end] == sum(message) % 256:
                        messages.append(message)
                        at = end + 1
                    else:
                        at += 1
            """
    )
    broken = (
        Wrong(
            "trusts the marks",
            "it found",
            decode="""
                def decode(data):
                    messages, at = [], 0
                    while True:
                        at = data.find(mark, at)
                        if at < 0 or at + 3 > len(data):
                            return messages
                        end = at + 3 + data[at + 2]
                        messages.append(data[at + 3 : end])
                        at = end + 1
                """,
        ),
        Wrong(
            "gives up at garbage",
            "after garbage: it found []",
            decode="""
                def decode(data):
                    messages, at = [], 0
                    while data[at : at + 2] == mark:
                        end = at + 3 + data[at + 2]
                        message = data[at + 3 : end]
                        if data[end : end + 1] != bytes([sum(message) % 256]):
                            break
                        messages.append(message)
                        at = end + 1
                    return messages
                """,
        ),
        Wrong(
            "jumps over what a damaged length says",
            "with a mark in the garbage: it found []",
            decode="""
                def decode(data):
                    messages, at = [], 0
                    while True:
                        at = data.find(mark, at)
                        if at < 0 or at + 3 > len(data):
                            return messages
                        end = at + 3 + data[at + 2]
                        message = data[at + 3 : end]
                        if end < len(data) and data[end] == sum(message) % 256:
                            messages.append(message)
                        at = end + 1
                """,
        ),
    )
