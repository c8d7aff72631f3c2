"""lab.spawn and send=: what goes over to another process, and what is refused in which words."""

import dataclasses
import io
import linecache
import math
import socket
import sys
import textwrap
import threading
import types

import pytest

import ipcx
from ipcx import lab, process
from ipcx.lab._sending import CannotSend, Parcel

pytestmark = pytest.mark.hang_guard(30)


@pytest.fixture
def notebook(monkeypatch):
    """Defines something as a cell of a notebook does; gives the notebook's names."""
    files = []

    def define(text):
        text = textwrap.dedent(text)
        file = f"<cell-{len(files)}-{id(files)}>"
        files.append(file)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), names)
        return types.SimpleNamespace(**names)

    main = types.ModuleType("__main__")
    names = vars(main)
    monkeypatch.setitem(sys.modules, "__main__", main)
    yield define
    for file in files:
        del linecache.cache[file]


def result(function, *arguments):
    return lab.spawn(function, *arguments, name="f").result(20)


# ---- what is sent


def test_a_function_goes_as_its_source(notebook):
    n = notebook("def f(a, b=2):\n    return a + b")
    assert result(n.f, 40) == 42


def test_a_function_that_can_be_imported_goes_as_its_name():
    assert result(math.hypot, 3, 4) == 5.0


def test_with_it_goes_what_it_needs(notebook):
    n = notebook(
        """
        import os.path
        import math as m
        from os.path import basename
        from functools import lru_cache

        FACTOR = 2

        class Box:
            unit = FACTOR
            def __init__(self, held):
                self.held = held
            def total(self):
                return helper(self.held)

        @lru_cache
        def helper(x):
            return odd(x) * FACTOR

        def odd(x):
            return x if x % 2 else even(x)

        def even(x):
            return -x if not x % 2 else odd(x)

        def work(x, y=FACTOR):
            inner = [basename(os.path.join("a", str(m.floor(FACTOR)))) for _ in range(1)]
            return inner, Box(x).total(), Box.unit, y
        """
    )
    assert result(n.work, 4) == (["2"], -8, 2, 2)


def test_a_function_that_calls_itself(notebook):
    n = notebook("def fac(n):\n    return n * fac(n - 1) if n else 1")
    assert result(n.fac, 5) == 120


def test_a_function_inside_of_another_takes_along_what_it_closes_over(notebook):
    n = notebook(
        """
        def make(step):
            def count(n):
                return n + step
            return count
        count = make(10)
        """
    )
    assert result(n.count, 1) == 11


def test_objects_of_the_notebooks_classes(notebook):
    n = notebook(
        """
        import dataclasses, enum

        @dataclasses.dataclass
        class Point:
            x: int
            y: int = 0

        class Colour(enum.Enum):
            RED = 1

        def swap(point, colour):
            return [point.y, point.x, colour is Colour.RED, type(point) is Point]

        point = Point(1, 2)
        """
    )
    assert result(n.swap, n.point, n.Colour.RED) == [2, 1, True, True]


def test_annotations_of_the_future_stay_texts(notebook):
    n = notebook(
        "from __future__ import annotations\ndef f(x: Unknown):\n    return f.__annotations__"
    )
    assert result(n.f, 1) == {"x": "Unknown"}


def test_what_is_a_builtin_or_nowhere_is_left_to_the_function(notebook):
    n = notebook(
        "def f():\n    try:\n        nowhere\n    except NameError:\n        return len('ab')"
    )
    assert result(n.f) == 2


def test_ends_of_channels(notebook):
    n = notebook("def f(x, ends):\n    ends['a'].send(ends['b'].receive() + x)")
    a, a_there = ipcx.pair()
    b, b_there = ipcx.pair("shm://")
    with a, b:
        one = lab.spawn(n.f, "!", {"a": a_there, "b": b_there})
        b.send("hello")
        assert a.receive(20) == "hello!"
        assert one.wait(20).ok
    with pytest.raises(ipcx.Closed):
        a_there.send("x")


def test_send_gives_a_text_its_names(notebook):
    n = notebook("def double(x):\n    return 2 * x")
    done = lab.run("print(f(x), m.pi)", send={"f": n.double, "x": (1,), "m": math})
    assert done.output == "(1, 1) 3.141592653589793\n"


def test_its_traceback_shows_the_functions_lines(notebook):
    n = notebook("def f(x):\n    y = x\n    return 1 / y")
    one = lab.spawn(n.f, 0)
    with pytest.raises(process.ProcessFailed, match="ZeroDivisionError"):
        one.result(20)
    assert 'File "function f", line 3, in f\n    return 1 / y\n' in one.errors


def test_a_result_that_cannot_be_sent_is_said(notebook):
    n = notebook("def f():\n    return object()")
    with pytest.raises(TypeError, match="the function's result: <object object"):
        result(n.f)


# ---- what is not


def refused(value, name="x"):
    parcel = Parcel({})
    with pytest.raises(CannotSend) as raised:
        parcel.add(name, value)
    return str(raised.value)


def test_what_belongs_to_this_process():
    with socket.socket() as sock, io.BytesIO() as _, open("/dev/null") as file:
        assert refused(sock).startswith("x cannot be sent: it is a socket, which belongs to this")
        assert "it is an open file" in refused(file)
    assert "it is a thread" in refused(threading.Thread())
    assert "it is a lock between threads" in refused(threading.Lock())
    assert "it is a running function" in refused(i for i in ())
    assert "another address space" in refused(threading.RLock())


def test_deep_inside_too(notebook):
    said = refused({"a": [threading.Lock()]})
    assert said.startswith("x cannot be sent: cannot pickle '_thread.lock' object. What can: None")


def test_a_lambda_and_what_has_no_source(notebook):
    assert refused(lambda: 1).startswith("a lambda cannot be sent")
    names = {"__name__": "__main__"}
    exec("def f(): pass", names)
    assert "the source of f is not known. Define it in a cell by def" in refused(names["f"])


def test_what_a_function_needs_is_named(notebook):
    n = notebook("import threading\nlock = threading.Lock()\ndef f():\n    lock.acquire()")
    assert refused(n.f, "f").startswith("f needs lock: lock cannot be sent: it is a lock between")


def test_a_method_and_a_module_of_nowhere(notebook):
    made = types.ModuleType("nowhere")
    assert "another process could not import" in refused(made).replace("that ", "")


def test_two_things_of_one_name(notebook):
    first = notebook("def f():\n    return 1").f
    second = notebook("def f():\n    return 2").f
    parcel = Parcel({})
    parcel.add("f", first)
    with pytest.raises(CannotSend, match="two different things are called f"):
        parcel.add("f", second)


def test_spawn_of_no_function():
    with pytest.raises(TypeError, match="spawn takes a function, not 'x'"):
        lab.spawn("x")

    async def waits(): ...

    def counts():
        yield 1

    for function, how in ((waits, "asyncio.run"), (counts, "a loop")):
        with pytest.raises(TypeError, match=f"does nothing when it is called: .* {how}"):
            lab.spawn(function)
    assert lab.processes() == {}


def test_an_exception_keeps_its_kind():
    @dataclasses.dataclass
    class Refuses:
        def __reduce__(self):
            raise RuntimeError("never")

    assert "never" in refused(Refuses())
