"""What the slides state of shared memory and of what is lost on the way: the programs show it."""

import subprocess
import sys

from lecture.scene import EXAMPLES


def play(program: str, **how) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "dev", EXAMPLES / program], capture_output=True, text=True, **how
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_memory_in_two_address_spaces():
    assert play("shared_memory/two_processes.py") == [
        "the other process reads b'hello'",
        "and here it is b'HELLO'",
        "after the kill -9 of one that had it, too: b'Hello'",
        "unlinked, is it there? False",
        "its maker was killed, is it there? True",
        "another one was made, is it there? False",
    ]


def test_an_image_without_the_redundant_copy():
    said = play("shared_memory/image.py")
    told = [
        line.removesuffix(" bytes copied").rsplit(maxsplit=1) for line in said if "copied" in line
    ]
    copied = {what: int(count) for what, count in told}
    assert copied.pop("A segment's name") < 100
    assert copied == {
        "A message over unix://": 2 * 640 * 480,
        "A message over shm://": 2 * 640 * 480,
        "On loan over shm://": 0,
    }
    picture = [line for line in said if "@" in line]
    assert len(picture) == 5
    assert picture == picture[::-1]  # the middle of a round lamp


def test_what_is_lost_over_udp_is_counted():
    assert play("udp_channel/lost_messages.py")[-4:] == [
        "The next one: and one more",
        "Lost some: True - and the receiver knows how many: True",
        "With sync=True: surely",
        "Received twice: 0",
    ]


def test_a_file_is_replaced_as_a_whole_and_somebody_is_told(tmp_path, spawn):
    watching = spawn(EXAMPLES / "files/watch.py", cwd=tmp_path)
    assert watching.stdout.readline() == "watching .\n"
    assert play("files/replace.py", cwd=tmp_path) == [
        "settings: colour = green",
        "settings: colour = red",
    ]
    seen = watching.communicate()[0].splitlines()
    assert seen.count("moved_to settings") == 2
    assert seen[-1] == "moved_to stop"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["settings", "stop"]
