"""What the slides state of semaphores and the critical section: the programs show it."""

from lecture.test_host import play


def test_a_race_and_its_cure():
    assert play("semaphores/race.py") == [
        "Without a semaphore some tickets are not counted: True",
        "With a semaphore: 4000 of 4000",
    ]


def test_a_bounded_buffer():
    assert play("semaphores/bounded_buffer.py") == [
        "1000 produced, 1000 consumed, each once: True",
        "Never more than 4 in the buffer: True",
        "Free and filled places now: 4 0",
    ]


def test_a_killed_holder():
    assert play("semaphores/killed_holder.py") == [
        "multiprocessing.Lock, after half a second: False",
        "ipcx.sync.Mutex: recovered: True",
        "There are 70 of 100",
        "Put right: 70 + 30 = 100",
        "The next one: recovered: False",
    ]
