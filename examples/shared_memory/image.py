"""An image for another process, without the redundant copy. The bytes that are copied are counted.

A message is copied twice, whatever carries it: in at the sender, out at the receiver. On loan, it
is drawn and looked at in the channel's own memory. And in a segment that both have mapped it stays
for as long as they like; only the segment's name is sent.
"""

from multiprocessing import Process

import ipcx
from ipcx.shared_memory import SharedMemory

WIDTH, HEIGHT = 640, 480
SIZE = WIDTH * HEIGHT
MIDDLE = SIZE // 2 + WIDTH // 2
SHADES = " .:-=+*#%@"


def draw(picture):
    """A lamp in the dark, one byte for a pixel, into the memory that is given."""
    across = [(x - WIDTH // 2) ** 2 for x in range(WIDTH)]
    for y in range(HEIGHT):
        down = (y - HEIGHT // 2) ** 2
        row = bytes(max(0, 255 - (square + down) // 200) for square in across)
        picture[y * WIDTH : (y + 1) * WIDTH] = row


def show(picture):
    """Every 16th pixel of every 32nd row, as a character."""
    for y in range(16, HEIGHT, 32):
        row = picture[y * WIDTH : (y + 1) * WIDTH : 16]
        print("".join(SHADES[pixel * len(SHADES) // 256] for pixel in row).rstrip())


# Each way: what the camera does, and what the viewer does in its own process. Both return how many
# bytes they have copied.


def send_message(channel):
    picture = bytearray(SIZE)
    draw(picture)
    channel.send(picture)
    return channel.stats().sent_bytes


def receive_message(channel):
    picture = channel.receive()
    assert picture[MIDDLE] == 255
    return channel.stats().received_bytes


def send_on_loan(channel):
    loan = channel.reserve(SIZE)
    with loan as place:
        draw(place)
    return 0 if loan.in_place else SIZE


def receive_on_loan(channel):
    view = channel.receive_view()
    with view as picture:
        assert picture[MIDDLE] == 255
    return 0 if view.in_place else SIZE


def send_name(channel):
    with SharedMemory(create=True, size=SIZE) as segment:
        draw(segment.buf)
        channel.send(segment.name)
        channel.receive()  # it has been looked at
        segment.unlink()
    return channel.stats().sent_bytes


def receive_name(channel):
    with SharedMemory(channel.receive()) as segment:
        show(segment.buf)
    channel.send("seen")
    return channel.stats().received_bytes


def viewer(channel, receive):
    channel.send(str(receive(channel)))


def measure(what, url, send, receive):
    here, there = ipcx.pair(url)
    process = Process(target=viewer, args=(there, receive))
    process.start()
    copied = send(here) + int(here.receive())
    print(f"{what:<24} {copied:>7} bytes copied", flush=True)
    process.join()
    here.close()
    there.close()


if __name__ == "__main__":
    print(f"A picture of {WIDTH} x {HEIGHT} pixels, {SIZE} bytes", flush=True)
    measure("A message over unix://", "unix://", send_message, receive_message)
    measure("A message over shm://", "shm://", send_message, receive_message)
    measure("On loan over shm://", "shm://", send_on_loan, receive_on_loan)
    measure("A segment's name", "shm://", send_name, receive_name)
