# SPDX-License-Identifier: Apache-2.0
"""The table of what each transport cannot promise is true, both ways."""

import contextlib
import os
import select
from collections.abc import Callable

import pytest

import ipcx
from contract import lab
from contract.kit import Kit
from contract.transports import TOPICS, TRANSPORTS, Transport
from socket_help import GUARD

pytestmark = pytest.mark.variants
CANNOT = (
    ipcx.Unsupported,
    ipcx.InvalidURL,
    ipcx.ForkedError,
    ipcx.MessageTooLarge,
    TypeError,
)


def listen(kit: Kit) -> bool:
    alone = kit.transport.url in ("unix://", "shm://", "pipe://")
    url = kit.transport.url if alone else kit.address()
    with ipcx.listen(url, **lab.listening(url)):
        return True


def process(kit: Kit) -> bool:
    if not kit.transport.can("duplex"):  # an end is its process's own
        channel, _peer = kit.peer("says_goodbye", "from a child")
        return channel.receive(timeout=GUARD) == "from a child"
    one, two = kit.pair()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            two.send("from a child", timeout=GUARD)
            two.close()
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        return False
    return one.receive(timeout=GUARD) == "from a child"


def leaves(kit: Kit) -> bool:
    if not kit.transport.can("listen"):
        return True
    listener = kit.listener()
    one = kit.connect(listener.url)
    try:
        one.send("early", timeout=1)
        one.close(timeout=0.05)
    except ipcx.Timeout:
        return False
    accepted = kit.accept(listener)
    listener.close()  # for where others may still come into the same channel
    return list(accepted) == ["early"]


def handed(kit: Kit) -> bool:
    one, _two = kit.pair()
    return len(one._export()) == 2


def copies(kit: Kit) -> bool:
    one, two = kit.pair()
    buffer = bytearray(b"before")
    one.send(buffer)
    buffer[:] = b"after."
    return two.receive(timeout=GUARD) == b"before"


def objects(kit: Kit) -> bool:
    one, two = kit.pair()
    thing = object()
    one.send(thing)
    return two.receive(timeout=GUARD) is thing


def ends(kit: Kit) -> bool:
    one, two = kit.pair()
    three, four = map(kit.keep, ipcx.pair("unix://"))
    one.send(four)
    got = kit.keep(two.receive(timeout=GUARD))
    got.send("through the handed end")
    return three.receive(timeout=GUARD) == "through the handed end"


def rest(kit: Kit) -> bool:
    one, _two = kit.narrow()
    before = 0
    while True:
        try:
            one.send(bytes(1 << 20), timeout=0)
            before += 1
        except ipcx.WouldBlock as error:
            return error.begun and one.stats().owed > 0


def unreceived(kit: Kit) -> bool:
    one, two = kit.narrow()
    one.send("read")
    one.send("not read")
    assert two.receive(timeout=GUARD) == "read"
    two.close()
    with pytest.raises(ipcx.PeerClosed) as caught:
        kit.send_on(one)
    return caught.value.unreceived == 1


def reliable(kit: Kit) -> bool:
    one, _two = kit.narrow()
    size = 50_000 if kit.transport.can("long") else 4000
    try:
        for _ in range(2000):
            one.send(bytes(size), timeout=0)
    except ipcx.WouldBlock:
        return True
    return False


def large(kit: Kit) -> bool:
    one, two = kit.pair()
    sending = kit.background(one.send, bytes(1 << 20))
    if two.poll(timeout=0.2) and len(two.receive(timeout=GUARD)) == 1 << 20:
        sending.finish()
        return True
    sending.finish()
    return False


def long(kit: Kit) -> bool:
    one, two = kit.pair()
    one.send(bytes(4097))
    return two.receive(timeout=GUARD) == bytes(4097)


def limits(kit: Kit) -> bool:
    one, two = kit.pair(max_message=5000)
    two.send("known by now")
    one.receive(timeout=GUARD)
    try:
        one.send(bytes(5001))
    except ipcx.MessageTooLarge:
        return True
    return False


def duplex(kit: Kit) -> bool:
    one, two = kit.pair()
    one.send("there")
    two.send("and back")
    return (two.receive(timeout=GUARD), one.receive(timeout=GUARD)) == ("there", "and back")


def sync(kit: Kit) -> bool:
    one, two = kit.pair()
    with contextlib.suppress(ipcx.WouldBlock):
        one.send("polled", sync=True, timeout=0)
        return False
    sending = kit.background(one.send, "met", sync=True)
    while two.receive(timeout=GUARD) != "met":
        assert sending.is_alive()
    sending.finish()
    return True


def peers(kit: Kit) -> bool:
    if not kit.transport.can("listen"):
        return True
    listener = kit.listener()
    ends = [kit.connect(listener.url) for _ in range(2)]
    accepted = [kit.accept(listener)]
    try:
        accepted.append(kit.accept(listener, timeout=1))
    except ipcx.Timeout:
        return False
    for number, end in enumerate(ends):
        end.send(b"%d" % number)
    return sorted(one.receive(timeout=GUARD) for one in accepted) == [b"0", b"1"]


def death(kit: Kit) -> bool:
    if not kit.transport.can("process"):
        return False
    channel, peer = kit.peer("idles", "ready")
    assert channel.receive(timeout=GUARD) == "ready"
    peer.kill()
    try:
        channel.receive(timeout=0.3)
    except ipcx.PeerDied:
        return True
    except (ipcx.Timeout, ipcx.PeerClosed):
        return False
    raise AssertionError


def hangs_up(kit: Kit) -> bool:
    channel, raw = kit.raw()
    raw.send(b"no message")
    with pytest.raises(ipcx.ProtocolError):
        channel.receive(timeout=GUARD)
    while select.select([raw.reading], [], [], 0.5)[0]:
        if not raw.receive():
            return True
    return False


def bytes_(kit: Kit) -> bool:
    channel, raw = kit.raw()
    return raw.send(b"") is None and channel.poll() is False


TRIED: dict[str, Callable[[Kit], bool]] = {
    "listen": listen,
    "process": process,
    "handed": handed,
    "leaves": leaves,
    "copies": copies,
    "objects": objects,
    "ends": ends,
    "rest": rest,
    "unreceived": unreceived,
    "bytes": bytes_,
    "reliable": reliable,
    "long": long,
    "large": large,
    "limits": limits,
    "death": death,
    "hangs up": hangs_up,
    "duplex": duplex,
    "sync": sync,
    "peers": peers,
}


def test_each_topic_is_tried() -> None:
    assert TRIED.keys() == TOPICS.keys()


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.drivers("sync")
def test_a_transport_keeps_what_the_table_says_and_no_more(kit: Kit, topic: str) -> None:
    transport = kit.transport
    if topic in ("bytes", "hangs up") and not transport.can("bytes"):
        with pytest.raises(ValueError, match="no stream"):
            kit.raw()
        return
    try:
        kept = TRIED[topic](kit)
    except CANNOT:
        kept = False
    assert kept == transport.can(topic), transport.cannot.get(topic, TOPICS[topic])


@pytest.mark.parametrize("transport", TRANSPORTS, ids=[one.name for one in TRANSPORTS])
def test_the_programs_own_table_says_the_same(transport: Transport) -> None:
    told = ipcx.channel.TRANSPORTS[transport.url.removesuffix("://")]
    assert bool(told.reliable) == transport.can("reliable")
    assert bool(told.ordered) == transport.can("reliable")  # of each writer
    assert bool(told.duplex) == transport.can("duplex")
    assert told.boundaries
    assert bool(told.sync) == transport.can("sync")
    if not transport.options.get("copy"):
        assert bool(told.objects) == transport.can("objects")
    if "authkey" not in transport.options:  # whose proof must be done first
        assert bool(told.hand_over) == transport.can("handed")
    assert bool(told.death) == transport.can("death")


def test_every_transport_of_the_program_is_tested() -> None:
    tested = {one.url.removesuffix("://") for one in TRANSPORTS}
    one_way = {"file"}  # test_channel_file.py: the contract is about two ends that talk
    assert {str(one) for one in ipcx.channel.TRANSPORTS} - one_way == tested
