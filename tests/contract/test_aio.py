# SPDX-License-Identifier: Apache-2.0
"""What only the async half has: tasks, cancellation, `async for`, Ctrl-C through the loop.

The rest of its contract is the other files', run through contract.drivers.Async.
"""

import asyncio
import contextlib
import threading

import pytest
import uvloop

import ipcx
from contract.drivers import tried
from contract.kit import CHUNK, LARGE, Zygote
from contract.transports import TRANSPORTS, Transport
from ipcx import aio
from socket_help import GUARD

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


ENDS = [one for one in TRANSPORTS if not one.listens]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a loop and a transport gets those pairs of them that are tried by day."""
    needs = {topic for mark in metafunc.definition.iter_markers("needs") for topic in mark.args}
    ends = [one for one in ENDS if all(map(one.can, needs))]
    if {"run", "transport"} <= set(metafunc.fixturenames):
        cases = [
            pytest.param(loop, one, id=f"{loop}-{one.name}")
            for loop in LOOPS
            for one in ends
            if tried(loop, one.name, variants=False)
        ]
        metafunc.parametrize(("run", "transport"), cases, indirect=["run"])
    elif "run" in metafunc.fixturenames:
        metafunc.parametrize("run", LOOPS, indirect=True)
    elif "transport" in metafunc.fixturenames:
        metafunc.parametrize("transport", ends, ids=[one.name for one in ends])


@pytest.fixture
def run(request):
    """Runs a coroutine to its end; what hangs is cancelled."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, GUARD))


@contextlib.asynccontextmanager
async def pair(transport: Transport, **options):
    one, two = await aio.pair(transport.url, **transport.options, **options)
    try:
        yield one, two
    finally:
        for end in (one, two):
            with contextlib.suppress(ipcx.Error):
                await end.close(timeout=0)


async def turns(count: int = 5) -> None:
    """Lets the other tasks run until they wait."""
    for _ in range(count):
        await asyncio.sleep(0)


async def owe(one, two, message=LARGE) -> int:
    """As Kit.owe."""
    count = 0
    while True:
        try:
            await one.send(message, timeout=0)
        except ipcx.WouldBlock as error:
            if error.begun:
                return count + 1
            await two.receive(timeout=GUARD)
            count -= 1
        else:
            count += 1


# ---- cancellation


def test_a_cancelled_receive_loses_nothing(run, transport: Transport) -> None:
    """Cancelled at any moment: before, while and after the message comes."""

    async def main() -> None:
        async with pair(transport) as (one, two):
            for number in range(60):
                task = asyncio.ensure_future(two.receive())
                await turns(number % 4)
                if number % 3:
                    await one.send(b"%d" % number)
                await turns(number % 5)
                task.cancel()
                try:
                    got = await task
                except asyncio.CancelledError:
                    if number % 3 == 0:
                        continue
                    got = await two.receive(timeout=GUARD)
                assert got == b"%d" % number

    run(main())


def test_a_receive_in_wait_for_loses_nothing(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport) as (one, two):
            got = []

            async def receive() -> None:
                while len(got) < 100:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.001):
                            while True:
                                got.append(await two.receive())

            receiving = asyncio.ensure_future(receive())
            for number in range(100):
                await one.send(b"%d" % number)
                await asyncio.sleep(0.0003)
            await receiving
            assert got == [b"%d" % n for n in range(100)]

    run(main())


@pytest.mark.needs("reliable")
def test_a_cancelled_send_is_sent_whole_or_not_at_all(run, transport: Transport) -> None:
    """Of what had begun the channel keeps the rest; nothing comes twice or half."""

    async def main() -> None:
        async with pair(transport, **transport.narrow) as (one, two):
            full = 0
            if transport.can("rest"):
                full = await owe(one, two)
            tasks = [asyncio.ensure_future(one.send(b"%d " % n + CHUNK)) for n in range(12)]
            await turns(10)
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert any(isinstance(each, asyncio.CancelledError) for each in done)
            last = asyncio.ensure_future(one.send(b"the last"))
            for _ in range(full):
                assert await two.receive(timeout=GUARD) == LARGE
            got = [await two.receive(timeout=GUARD)]
            while got[-1] != b"the last":
                got.append(await two.receive(timeout=GUARD))
            await last
            numbers = [int(each.split()[0]) for each in got[:-1]]
            assert numbers == sorted(set(numbers))
            assert {n for n, each in enumerate(done) if each is None} <= set(numbers)
            assert all(each.endswith(CHUNK) for each in got[:-1])

    run(main())


def test_a_cancelled_rendezvous_stays_queued(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport) as (one, two):
            task = asyncio.ensure_future(one.send(b"stays", sync=True))
            await asyncio.sleep(0.01)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await one.send(b"next")
            assert await two.receive(timeout=GUARD) == b"stays"
            assert await two.receive(timeout=GUARD) == b"next"
            sending = asyncio.ensure_future(one.send(b"again", sync=True))
            assert await two.receive(timeout=GUARD) == b"again"
            await sending

    run(main())


def test_a_cancelled_accept_loses_nobody(run) -> None:
    async def main() -> None:
        listener = await aio.listen("tcp://127.0.0.1:0")
        for number in range(10):
            task = asyncio.ensure_future(listener.accept())
            await turns(number % 3)
            one = await aio.connect(listener.url)
            await turns(number % 4)
            task.cancel()
            try:
                two = await task
            except asyncio.CancelledError:
                two = await listener.accept(timeout=GUARD)
            await one.send(b"%d" % number)
            assert await two.receive(timeout=GUARD) == b"%d" % number
            await one.close()
            await two.close()
        await listener.close()

    run(main())


# ---- tasks


def test_ping_pong_in_two_tasks(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport) as (one, two):

            async def echo() -> None:
                async for message in two:
                    await two.send(message)

            echoing = asyncio.ensure_future(echo())
            for number in range(300):
                await one.send(b"%d" % number)
                assert await one.receive() == b"%d" % number
            await one.close()
            await echoing

    run(main())


@pytest.mark.needs("reliable")
@pytest.mark.hang_guard(30)
def test_a_hundred_thousand(run, transport: Transport) -> None:
    """One call each way for each, the receiver in another task."""
    count = 100_000 if transport.name in ("unix", "inproc") else 20_000

    async def main() -> None:
        async with pair(transport) as (one, two):

            async def send() -> None:
                for number in range(count):
                    await one.send(b"%d" % number)
                await one.close()

            sending = asyncio.ensure_future(send())
            received = 0
            async for message in two:
                assert message == b"%d" % received
                received += 1
            assert received == count
            await sending

    run(main())


def test_many_tasks_wait_on_one_channel(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport) as (one, two):
            tasks = [asyncio.ensure_future(two.receive()) for _ in range(20)]
            await turns()
            tasks[3].cancel()
            for number in range(19):
                await one.send(number.to_bytes(1, "big"))
            got = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(got.pop(3), asyncio.CancelledError)
            assert sorted(got) == [number.to_bytes(1, "big") for number in range(19)]

    run(main())


@pytest.mark.needs("reliable")
def test_send_and_receive_wait_at_once(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport, **transport.narrow) as (one, two):
            receiving = asyncio.ensure_future(one.receive())
            sending = asyncio.ensure_future(one.send_many([CHUNK] * 20))
            await turns(20)
            assert not receiving.done()
            assert not sending.done()
            await two.send(b"for the receiver")
            assert await receiving == b"for the receiver"
            for _ in range(20):
                assert await two.receive(timeout=GUARD) == CHUNK
            assert await sending == 20

    run(main())


@pytest.mark.needs("reliable")
def test_close_ends_waiting_tasks(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport, **transport.narrow) as (one, _two):
            tasks = [asyncio.ensure_future(one.receive()) for _ in range(3)]
            tasks.append(asyncio.ensure_future(one.send_many([CHUNK] * 20)))
            await turns(20)
            await one.close(timeout=0)
            for each in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(each, ipcx.Closed)

    run(main())


def test_async_with_and_async_for(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport) as (one, two):
            async with one as same:
                await same.send_many(["1", "2"])
            assert one.closed
            assert [message async for message in two] == ["1", "2"]

    run(main())


@pytest.mark.parametrize("url", ["inproc://aio-test", "tcp://127.0.0.1:0"])
def test_a_server_with_async_for(run, url: str) -> None:
    async def main() -> None:
        async with aio.listen(url) as listener:

            async def serve() -> None:
                async for channel in listener:
                    async with channel:
                        await channel.send(await channel.receive())

            serving = asyncio.ensure_future(serve())
            for word in ("one", "two"):
                async with aio.connect(listener.url) as one:
                    await one.send(word)
                    assert await one.receive(timeout=GUARD) == word
        await serving

    run(main())


def test_the_loop_goes_on_while_a_channel_waits(run, transport: Transport) -> None:
    async def main() -> None:
        async with pair(transport) as (one, two):
            receiving = asyncio.ensure_future(two.receive())
            ticks = 0
            while ticks < 50:
                await asyncio.sleep(0)
                ticks += 1
            assert not receiving.done()
            await one.send(b"x")
            assert await receiving == b"x"

    run(main())


# ---- what else there is in a loop


def test_a_rest_is_sent_while_the_loop_runs(run, transport: Transport) -> None:
    """A task that waits on the channel pushes on what is owed."""
    if not transport.can("rest"):
        return

    async def main() -> None:
        async with pair(transport) as (one, two):
            count = await owe(one, two)
            waiting = asyncio.ensure_future(one.receive())
            for _ in range(count):
                assert await two.receive(timeout=GUARD) == LARGE
            await two.send(b"the answer")
            assert await waiting == b"the answer"

    run(main())


def test_a_peer_that_is_killed(run, zygote: Zygote) -> None:
    async def main() -> None:
        async with aio.listen("tcp://127.0.0.1:0") as listener:
            with zygote.fork("idles", ("word",), listener.url, (), {}) as peer:
                channel = await listener.accept(timeout=GUARD)
                async with channel:
                    assert await channel.receive(timeout=GUARD) == "word"
                    waiting = asyncio.ensure_future(channel.receive())
                    await turns()
                    peer.kill()
                    with pytest.raises(ipcx.PeerDied):
                        await waiting
                    with pytest.raises(ipcx.PeerDied):
                        async for _ in channel:
                            pass

    run(main())


def test_sync_and_async_speak_the_same(run) -> None:
    """One process's ends of both kinds."""

    async def main() -> None:
        with ipcx.listen("tcp://127.0.0.1:0") as listener:
            async with aio.connect(listener.url) as one:
                two = listener.accept(timeout=GUARD)
                with two:
                    await one.send("from aio")
                    assert two.receive(timeout=GUARD) == "from aio"
                    two.send("from sync")
                    assert await one.receive(timeout=GUARD) == "from sync"

    run(main())


CTRL_C = """
import asyncio, os, signal, sys, threading
from ipcx import aio
import uvloop
async def main():
    one, two = await aio.pair(sys.argv[1])
    async with one, two:
        try:
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            await one.receive()
        except asyncio.CancelledError:
            await two.send("still")
            print(await one.receive(), flush=True)
            raise
with asyncio.Runner(loop_factory=getattr(eval(sys.argv[2]), "new_event_loop")) as runner:
    try:
        runner.run(main())
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("url", ["inproc://", "unix://", "tcp://"])
def test_ctrl_c_cancels(spawn, url: str, loop: str) -> None:
    child = spawn("-c", CTRL_C, url, loop)
    output, _ = child.communicate(timeout=GUARD)
    assert output.split() == ["still", "interrupted"]


def test_two_loops_in_two_threads(transport: Transport) -> None:
    """An end belongs to the loop that waits on it; the two ends may have a loop each."""
    ends = []

    async def make() -> None:
        ends.extend(await aio.pair(transport.url, **transport.options))

    asyncio.run(make())

    async def echo() -> None:
        async with ends[1] as two:
            async for message in two:
                await two.send(message)

    thread = threading.Thread(target=lambda: asyncio.run(echo()), daemon=True)
    thread.start()

    async def main() -> None:
        async with ends[0] as one:
            for number in range(50):
                await one.send(b"%d" % number)
                assert await one.receive(timeout=GUARD) == b"%d" % number

    asyncio.run(main())
    thread.join(GUARD)
    assert not thread.is_alive()
