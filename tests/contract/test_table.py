# SPDX-License-Identifier: Apache-2.0
"""The table of what each transport cannot promise is true, both ways."""

import os
import select
from collections.abc import Callable

import pytest

import ipcx
from contract.kit import Kit
from contract.transports import TOPICS, TRANSPORTS, Transport
from socket_help import GUARD

pytestmark = pytest.mark.variants
CANNOT = (ipcx.Unsupported, ipcx.InvalidURL, ipcx.ForkedError, TypeError)


def listen(kit: Kit) -> bool:
    url = "tcp://127.0.0.1:0" if kit.transport.url == "tcp://" else kit.transport.url
    with ipcx.listen(kit.address() if url == "inproc://" else url):
        return True


def process(kit: Kit) -> bool:
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
    "copies": copies,
    "objects": objects,
    "ends": ends,
    "rest": rest,
    "unreceived": unreceived,
    "bytes": bytes_,
    "hangs up": hangs_up,
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
    assert told.reliable
    assert told.ordered
    assert told.duplex
    assert told.boundaries
    assert told.sync
    if not transport.options.get("copy"):
        assert bool(told.objects) == transport.can("objects")
    assert bool(told.hand_over) == transport.can("process")
    assert bool(told.death) == transport.can("process")


def test_every_transport_of_the_program_is_tested() -> None:
    tested = {one.url.removesuffix("://") for one in TRANSPORTS}
    assert {str(one) for one in ipcx.channel.TRANSPORTS} == tested
