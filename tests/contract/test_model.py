# SPDX-License-Identifier: Apache-2.0
"""A pair of ends against a model of two queues: any verbs in any order, time-outs and closes too.

The model knows one thing: what was sent, or begun, and not received yet, each way. Whatever a
channel does, messages come in that order, and what it refused does not come.
"""

import collections
import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import ipcx
from contract.kit import NIGHT
from contract.transports import TRANSPORTS, Transport
from socket_help import until

ENDS = st.sampled_from([0, 1])
SMALL = st.binary(max_size=40) | st.text(max_size=20)
# Made once: what Hypothesis draws it keeps for a while.
_LARGE = [bytes([n]) * size for n in range(4) for size in (5000, 90_000, 700_000)]
LARGE = st.integers(0, len(_LARGE) - 1).map(lambda number: _LARGE[number])
MESSAGES = st.one_of(SMALL, SMALL, SMALL, LARGE)
TIMEOUTS = st.sampled_from([0, 0, 0.0005])


class Pair(RuleBasedStateMachine):
    """`transport` is set by the subclasses made below."""

    transport: Transport

    def __init__(self) -> None:
        super().__init__()
        options = {**self.transport.options, **self.transport.narrow}
        self.ends = ipcx.pair(self.transport.url, **options)
        self.on_the_way = (collections.deque(), collections.deque())  # to end 0, to end 1
        self.sent, self.received = [0, 0], [0, 0]

    def teardown(self) -> None:
        for end in self.ends:
            end.close(timeout=0)

    def note(self, end: int, *messages) -> None:
        self.on_the_way[1 - end].extend(messages)

    def arrived(self, end: int, messages: list) -> None:
        for message in messages:
            wanted = self.on_the_way[end].popleft()
            assert (type(message), message) == (type(wanted), wanted)

    def push(self, end: int) -> None:
        with contextlib.suppress(ipcx.WouldBlock, ipcx.PeerClosed, ipcx.Closed):
            self.ends[end].flush(timeout=0)

    @rule(end=ENDS, message=MESSAGES, timeout=TIMEOUTS, sync=st.sampled_from([False, False, True]))
    def send(self, end: int, message, timeout: float, sync: bool) -> None:
        try:
            self.ends[end].send(message, sync=sync, timeout=timeout)
        except ipcx.Timeout as error:
            if error.begun:
                self.note(end, message)
        except ipcx.Closed:
            assert self.ends[end].closed
        except ipcx.PeerClosed:
            assert self.ends[1 - end].closed
        else:
            assert not sync, "nobody received it"
            self.note(end, message)

    @rule(end=ENDS, messages=st.lists(MESSAGES, max_size=6), timeout=TIMEOUTS)
    def send_many(self, end: int, messages: list, timeout: float) -> None:
        try:
            sent = self.ends[end].send_many(messages, timeout=timeout)
        except ipcx.Timeout as error:
            self.note(end, *messages[: error.sent])
        except (ipcx.Closed, ipcx.PeerClosed):
            assert self.ends[0].closed or self.ends[1].closed
        else:
            assert sent == len(messages)
            self.note(end, *messages)

    @rule(end=ENDS, timeout=TIMEOUTS)
    def receive(self, end: int, timeout: float) -> None:
        try:
            self.arrived(end, [self.ends[end].receive(timeout=timeout)])
        except ipcx.Timeout:
            assert not self.ends[1 - end].closed
        except (ipcx.Closed, ipcx.PeerClosed):
            self.over(end)

    @rule(end=ENDS)
    @precondition(lambda self: not self.ends[0].closed and not self.ends[1].closed)
    def receive_all(self, end: int) -> None:
        """What the model knows to be on its way does come."""

        def one() -> bool:
            self.push(1 - end)
            with contextlib.suppress(ipcx.Timeout):
                self.arrived(end, [self.ends[end].receive(timeout=0)])
            return not self.on_the_way[end]

        until(one, "the messages on their way")
        with pytest.raises(ipcx.WouldBlock):
            self.ends[end].receive(timeout=0)

    @rule(end=ENDS, most=st.integers(1, 5))
    def receive_many(self, end: int, most: int) -> None:
        try:
            got = self.ends[end].receive_many(most, timeout=0)
        except ipcx.Timeout:
            return
        except (ipcx.Closed, ipcx.PeerClosed):
            return self.over(end)
        assert 1 <= len(got) <= most
        self.arrived(end, got)

    @rule(end=ENDS, room=st.sampled_from([0, 10, 1 << 20]))
    @precondition(lambda self: self.transport.can("copies"))
    def receive_into(self, end: int, room: int) -> None:
        buffer = bytearray(room)
        try:
            size = self.ends[end].receive_into(buffer, timeout=0)
        except ipcx.MessageTooLarge:
            wanted = self.on_the_way[end][0]
            assert len(wanted.encode() if isinstance(wanted, str) else wanted) > room
        except ipcx.Timeout:
            pass
        except (ipcx.Closed, ipcx.PeerClosed):
            self.over(end)
        else:
            wanted = self.on_the_way[end].popleft()
            assert bytes(buffer[:size]) == (wanted.encode() if isinstance(wanted, str) else wanted)

    @rule(end=ENDS)
    def poll(self, end: int) -> None:
        try:
            there = self.ends[end].poll()
        except ipcx.Closed:
            assert self.ends[end].closed
        else:
            assert not there or self.on_the_way[end] or self.ends[1 - end].closed

    @rule(end=ENDS)
    def flush(self, end: int) -> None:
        self.push(end)

    @rule(end=ENDS, often=st.integers(0, 15))
    def close(self, end: int, often: int) -> None:
        """Seldom, or nothing else would be tried."""
        if often == 0:
            self.ends[end].close(timeout=0)

    def over(self, end: int) -> None:
        """An end was told: one of the two has closed, and what was whole has been received."""
        assert self.ends[0].closed or self.ends[1].closed

    @invariant()
    def counters(self) -> None:
        for end in self.ends:
            assert end.stats().owed == 0 or self.transport.can("rest")


STEPS = settings(
    max_examples=700 if NIGHT else 12,
    stateful_step_count=150 if NIGHT else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    "transport",
    [one for one in TRANSPORTS if not one.listens and one.can("reliable")],
    ids=lambda one: one.name,
)
@pytest.mark.hang_guard(600)
def test_any_verbs_in_any_order(transport: Transport) -> None:
    run_state_machine_as_test(type("Machine", (Pair,), {"transport": transport}), settings=STEPS)
