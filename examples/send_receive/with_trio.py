"""Channels in trio: wait for the channel's descriptor, then receive without waiting.

Any library that can wait for a descriptor can wait for a channel: `fileno()` is readable whenever
`receive()` would not wait. (asyncio and uvloop have `ipcx.aio`.)
"""

import trio

import ipcx


async def receive(channel):
    while True:
        try:
            return channel.receive(timeout=0)
        except ipcx.WouldBlock:
            await trio.lowlevel.wait_readable(channel.fileno())


async def echo(channel):
    try:
        while True:
            channel.send((await receive(channel)).upper())
    except ipcx.PeerClosed:
        print("The client has closed")


async def client(channel):
    for word in "one", "two", "three":
        channel.send(word)
        print(word, "->", await receive(channel))
    channel.close()


async def main():
    a, b = ipcx.pair("unix://")
    with a, b, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, b)
            nursery.start_soon(client, a)


trio.run(main)
