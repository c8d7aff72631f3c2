"""An image for another process, without the redundant copy. The bytes that are copied are counted.

A message is copied twice, whatever carries it: in at the sender, out at the receiver. In a segment
that both have mapped it is drawn once, and looked at where it lies; only the segment's name is
sent. Who has a copy can change it and nobody notices; who has the memory itself cannot.
"""

from multiprocessing import Process

import ipcx
from ipcx.shared_memory import SharedMemory

WIDTH, HEIGHT = 640, 480
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


def viewer(channel, by_name):
    """The other process: looks at the picture, makes its first pixel white, says what it cost."""
    message = channel.receive()
    if by_name:
        with SharedMemory(message) as segment:
            show(segment.buf[: WIDTH * HEIGHT])
            segment.buf[0] = 255
    else:
        own = bytearray(message)
        own[0] = 255
    channel.send(str(channel.stats().received_bytes))


def pass_on(what, url, picture, message):
    """Sends the message to a viewer, and tells what was copied on the way."""
    here, there = ipcx.pair(url)
    process = Process(target=viewer, args=(there, isinstance(message, str)))
    process.start()
    here.send(message)
    out = int(here.receive())
    copied = here.stats().sent_bytes + out
    whose = "the camera's own memory" if picture[0] == 255 else "a copy"
    print(f"{what:<24} {copied:>7} bytes copied; the viewer had {whose}", flush=True)
    process.join()
    here.close()
    there.close()


if __name__ == "__main__":
    with SharedMemory(create=True, size=WIDTH * HEIGHT) as segment:
        draw(segment.buf)
        print(f"A picture of {WIDTH} x {HEIGHT} pixels, {WIDTH * HEIGHT} bytes", flush=True)
        image = bytes(segment.buf[: WIDTH * HEIGHT])
        pass_on("A message over unix://", "unix://", segment.buf, image)
        pass_on("A message over shm://", "shm://", segment.buf, image)
        pass_on("The segment's name", "shm://", segment.buf, segment.name)
        segment.unlink()
