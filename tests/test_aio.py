"""ipcx.aio: what await adds to channels. The contract itself is tests/contract's."""

import asyncio
import contextlib
import gc
import subprocess
import sys

import pytest

import ipcx
from ipcx import aio

uvloop = pytest.importorskip("uvloop")
uvloop.run(
    asyncio.sleep(0)
)  # keeps a pipe for the life of the process: not for a test to be blamed
URLS = ["unix://", "tcp://", "pipe://", "inproc://"]
over_all = pytest.mark.parametrize("url", URLS)


def run(coroutine, loop_factory=None):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(asyncio.wait_for(coroutine, 8))


async def spin(times=5):
    """Lets the loop look at its descriptors a few times."""
    for _ in range(times):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def pair(url, **options):
    a, b = await aio.pair(url, **options)
    async with a, b:
        yield a, b


@over_all
def test_a_dialogue_arms_the_loop_once(url, monkeypatch):
    armed = []
    original = aio.Descriptor._arm

    def counted(self, loop, fd):
        before = self._fd
        original(self, loop, fd)
        if self._fd != before:
            armed.append(fd)

    monkeypatch.setattr(aio.Descriptor, "_arm", counted)

    async def scenario():
        async with pair(url) as (a, b):

            async def echo():
                async for message in b:
                    await b.send(message)

            task = asyncio.create_task(echo())
            for number in range(50):
                await a.send(b"%d" % number)
                assert await a.receive() == b"%d" % number
            await a.close()
            await task

    run(scenario())
    assert len(armed) <= 4


@over_all
def test_a_message_whose_receiver_is_cancelled_goes_to_the_next(url):
    """The worst moment: the message has come, and the task has not run since."""

    async def scenario():
        async with pair(url) as (a, b):
            for number in range(20):
                task = asyncio.create_task(b.receive())
                await spin(number % 4 + 1)
                await a.send(b"%d" % number)
                await spin(number // 4)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    assert await task == b"%d" % number
                    continue
                assert await b.receive() == b"%d" % number

    run(scenario())


@over_all
def test_what_a_cancelled_task_gives_back_wakes_another(url):
    async def scenario():
        async with pair(url) as (a, b):
            first = asyncio.create_task(b.receive())
            second = asyncio.create_task(b.receive())
            await spin()
            await a.send("only one")
            while not b._read.queue or len(b._read.queue) > 1:
                await asyncio.sleep(0)
            first.cancel()
            answers = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
            await spin()
            done = [task for task in (first, second) if task.done() and not task.cancelled()]
            assert [task.result() for task in done] == ["only one"]
            for task in answers[1]:
                task.cancel()

    run(scenario())


@over_all
def test_many_tasks_share_a_channel_in_order(url):
    async def scenario():
        async with pair(url) as (a, b):
            async with asyncio.TaskGroup() as group:
                takers = [group.create_task(b.receive()) for _ in range(10)]
                await spin()
                for number in range(10):
                    await a.send(b"%d" % number)
            assert [task.result() for task in takers] == [b"%d" % n for n in range(10)]

    run(scenario())


@over_all
def test_sync_waits_for_the_receiver_and_not_longer(url):
    async def scenario():
        async with pair(url) as (a, b):
            sending = asyncio.create_task(a.send("now", sync=True))
            await spin(20)
            assert not sending.done()
            assert await b.receive() == "now"
            await sending
            with pytest.raises(ipcx.Timeout) as caught:
                await a.send("later", sync=True, timeout=0.01)
            assert caught.value.begun is True
            assert await b.receive() == "later"

    run(scenario())


@over_all
def test_sync_while_messages_wait_to_be_received(url):
    """The answer comes behind messages that nobody here has asked for yet."""

    async def scenario():
        async with pair(url) as (a, b):
            await b.send("unread 1")
            await b.send("unread 2")
            sending = asyncio.create_task(a.send("now", sync=True))
            await spin(5)
            assert await b.receive() == "now"
            await sending
            assert [await a.receive(), await a.receive()] == ["unread 1", "unread 2"]

    run(scenario())


@pytest.mark.parametrize("call", ["fileno", "poll", "receive", "receive_into", "send"])
@pytest.mark.parametrize("url", ["unix://", "tcp://"])
def test_whatever_takes_an_acknowledgement_in_wakes_its_sender(url, call):
    """What a call has read, the descriptor does not show any more."""

    async def scenario():
        async with pair(url) as (a, b):
            await a.send("first")
            assert await b.receive() == "first"  # from here on the loop is armed
            sending = asyncio.create_task(b.send("now", sync=True))
            await spin()
            assert b._read.aside
            assert a.core.receive(timeout=5) == "now"
            if call == "send":
                other = asyncio.create_task(b.send("behind it", sync=True))
                await sending
                assert a.core.receive(timeout=5) == "behind it"
                await other
                return
            a.core.send("more", timeout=5)
            if call == "fileno":
                assert b.fileno() >= 0
            elif call == "receive_into":
                assert await b.receive_into(bytearray(4)) == 4
            else:
                assert await getattr(b, call)() in (True, "more")
            await sending

    run(scenario())


@pytest.mark.parametrize("url", ["unix://", "tcp://"])
def test_receive_many_that_takes_in_only_an_acknowledgement_wakes_its_sender(url):
    """The first message is there, and while the task is about to run the answer comes as well."""

    async def scenario():
        async with pair(url) as (a, b):
            sending = asyncio.create_task(b.send("now", sync=True))
            receiving = asyncio.create_task(b.receive_many())
            while not (b._read.aside and b._read.queue):
                await asyncio.sleep(0)
            a.core.send("one", timeout=5)
            while b._read.queue:
                await asyncio.sleep(0)
            assert a.core.receive(timeout=5) == "now"
            assert await receiving == ["one"]
            await sending

    run(scenario())


@pytest.mark.parametrize("url", ["unix://", "tcp://"])
def test_a_sender_that_waits_for_room_takes_in_no_other_ones_answer(url):
    """It reads when it tries again, and what it has read shows nowhere else."""

    async def scenario():
        async with pair(url) as (a, b):
            sending = asyncio.create_task(b.send("now", sync=True))
            while not b._read.aside:
                await asyncio.sleep(0)
            other = asyncio.create_task(b.send(bytes(8 << 20), sync=True))
            while not b._write.queue:
                await asyncio.sleep(0)
            assert a.core.receive(timeout=5) == "now"
            b._write.serve()  # as the loop's timer does
            await sending
            other.cancel()
            await asyncio.wait({other})
            await b.close(0)

    run(scenario())


@pytest.mark.parametrize("url", ["unix://", "tcp://", "pipe://"])
def test_a_large_message_waits_for_room_without_blocking_the_loop(url):
    async def scenario():
        async with pair(url) as (a, b):
            large = bytes(range(256)) * 40_000
            sending = asyncio.create_task(a.send(large))
            await spin()
            assert not sending.done()
            assert await b.receive() == large
            await sending

    run(scenario())


@pytest.mark.parametrize("url", ["unix://", "tcp://", "pipe://"])
def test_a_cancelled_send_is_whole_or_not_there(url):
    async def scenario():
        async with pair(url) as (a, b):
            large = b"L" * 10_000_000
            sending = asyncio.create_task(a.send(large))
            await spin()
            sending.cancel()
            await asyncio.wait({sending})
            after = asyncio.create_task(a.send("after"))
            got = await b.receive()
            assert got in (large, "after")
            if got == large:
                assert await b.receive() == "after"
            await after

    run(scenario())


@over_all
def test_time_outs(url):
    async def scenario():
        async with pair(url) as (a, b):
            with pytest.raises(ipcx.WouldBlock):
                await b.receive(timeout=0)
            with pytest.raises(ipcx.Timeout) as caught:
                await b.receive(timeout=0.01)
            assert not isinstance(caught.value, ipcx.WouldBlock)
            assert await b.poll(0.01) is False
            await a.send("kept")
            assert await b.poll(1) is True
            assert await b.receive(timeout=1) == "kept"
            for bad in (-1, float("nan")):
                with pytest.raises(ValueError, match="seconds"):
                    await b.receive(timeout=bad)

    run(scenario())


@over_all
def test_close_ends_who_waits(url):
    async def scenario():
        a, b = await aio.pair(url)
        waiting = asyncio.create_task(b.receive())
        await spin()
        await b.close()
        with pytest.raises(ipcx.Closed):
            await waiting
        with pytest.raises(ipcx.PeerClosed):
            await a.receive()
        await a.close()
        await a.close()

    run(scenario())


@pytest.mark.parametrize("url", ["unix://", "tcp://127.0.0.1:0", "inproc://aio"])
def test_a_server_and_its_clients_in_one_loop(url):
    async def serve(listener):
        async with asyncio.TaskGroup() as group:
            async for channel in listener:
                group.create_task(answer(channel))

    async def answer(channel):
        async with channel:
            async for message in channel:
                await channel.send(message.upper())

    async def client(where, text):
        async with aio.connect(where) as channel:
            await channel.send(text)
            return await channel.receive(timeout=5)

    async def scenario():
        async with aio.listen(url) as listener:
            server = asyncio.create_task(serve(listener))
            answers = await asyncio.gather(*(client(listener.url, f"a{n}") for n in range(20)))
            assert answers == [f"A{n}" for n in range(20)]
            await listener.close()
            await server

    run(scenario())


def test_a_connect_that_fails_and_one_that_is_cancelled():
    async def scenario():
        with pytest.raises(ipcx.ConnectRefused):
            await aio.connect("unix:///nowhere/at/all")
        with pytest.raises(ipcx.InvalidURL):
            await aio.connect("unx://")
        async with aio.listen("tcp://127.0.0.1:0") as listener:
            task = asyncio.create_task(aio.connect(listener.url).__aenter__())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(scenario())
    gc.collect()


@over_all
def test_over_uvloop(url):
    async def scenario():
        async with pair(url) as (a, b):

            async def echo():
                async for message in b:
                    await b.send(message)

            task = asyncio.create_task(echo())
            for number in range(50):
                await a.send(b"%d" % number)
                assert await a.receive() == b"%d" % number
            await a.close()
            await task

    run(scenario(), uvloop.new_event_loop)


def test_a_channel_waited_for_in_two_loops_says_so():
    async def scenario():
        a, b = await aio.pair("unix://")
        task = asyncio.create_task(b.receive())
        await spin()

        def elsewhere():
            with pytest.raises(RuntimeError, match="one loop"):
                asyncio.run(b.receive())

        await asyncio.to_thread(elsewhere)
        await a.send("done")
        assert await task == "done"
        await a.close()
        await b.close()

    run(scenario())


def test_await_at_top_level_as_in_a_notebook():
    done = subprocess.run(
        [sys.executable, "-m", "asyncio"],
        input="from ipcx import aio\na, b = await aio.pair()\nawait a.send('top')\n"
        "print('got', await b.receive())\nawait a.close()\nawait b.close()\n",
        capture_output=True,
        text=True,
    )
    assert "got top" in done.stdout, done.stderr


def test_send_many_where_each_message_waits_for_its_receiver():
    async def scenario():
        async with pair("inproc://", capacity=0) as (a, b):

            async def take():
                return [await b.receive(5) for _ in range(5)]

            task = asyncio.create_task(take())
            assert await a.send_many(range(5), timeout=5) == 5
            assert await task == [0, 1, 2, 3, 4]

    run(scenario())
