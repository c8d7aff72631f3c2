"""The slide asks: can multiple clients use the server? Yes: asyncio, a coroutine for each client.

One thread runs them all; at each `await` another one may go on. You see how many were served.
"""

import asyncio

HOST = "127.0.0.1"
PORT = 8083
CLIENTS = 50


async def serve():
    left, served = CLIENTS, 0
    all_done = asyncio.Event()

    async def answer(reader, writer):
        """A line comes in, the same line in capitals goes out."""
        nonlocal left, served
        try:
            line = await reader.readline()
            if line.endswith(b"\n"):
                writer.write(line.upper())
                served += 1
            writer.close()
            await writer.wait_closed()
        except (OSError, ValueError) as error:  # gone without a good-bye, or too long a line
            writer.close()
            print("A client was given up:", error)
        left -= 1
        if left == 0:
            all_done.set()

    async with await asyncio.start_server(answer, HOST, PORT, backlog=CLIENTS):
        print("Listening")
        await all_done.wait()
    print("Served", served, "of", CLIENTS, "clients, each by a coroutine")


asyncio.run(serve())
