# SPDX-License-Identifier: Apache-2.0
"""Gives each test that takes `kit` every transport that promises what it needs, and every driver.

`@pytest.mark.needs("rest", …)`: topics of transports.py. `@pytest.mark.schemes("unix://")`: these
transports alone. `@pytest.mark.drivers("sync")`: these drivers alone, of sync, asyncio and uvloop.
"""

import contextlib
import multiprocessing
import tempfile
from collections.abc import Iterator

import pytest
import uvloop

from contract import lab
from contract.drivers import DRIVERS, tried
from contract.kit import Kit, Zygote
from contract.transports import TRANSPORTS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kit" not in metafunc.fixturenames:
        return
    needs = {topic for mark in metafunc.definition.iter_markers("needs") for topic in mark.args}
    names = metafunc.definition.get_closest_marker("drivers")
    variants = metafunc.definition.get_closest_marker("variants") is not None
    only = metafunc.definition.get_closest_marker("schemes")
    cases = [
        pytest.param((name, transport), id=f"{name}-{transport.name}")
        for transport in TRANSPORTS
        if not transport.only or metafunc.module.__name__.rpartition(".")[2] in transport.only
        if all(map(transport.can, needs)) and (not only or transport.url in only.args)
        for name in (names.args if names else DRIVERS)
        if tried(name, transport.name, variants)
    ]
    assert cases, f"{metafunc.definition.nodeid} needs what no transport has"
    metafunc.parametrize("kit", cases, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def first_loop() -> None:
    """libuv's first loop makes a pipe that stays as long as the process, by design."""
    uvloop.new_event_loop().close()


@pytest.fixture(scope="session", autouse=True)
def multiprocessing_folder() -> Iterator[None]:
    """Where the stdlib's fork server listens; made by the first who asks it would stay."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        config = multiprocessing.current_process()._config
        config["tempdir"] = folder
        yield
        del config["tempdir"]


@pytest.fixture(scope="session")
def trust() -> Iterator[None]:
    with lab.opened():
        yield


@pytest.fixture(scope="session")
def zygote(trust: None) -> Iterator[Zygote]:
    """The one process that forks peers."""
    with contextlib.closing(Zygote()) as made:
        yield made


@pytest.fixture
def kit(request: pytest.FixtureRequest, zygote: Zygote) -> Iterator[Kit]:
    name, transport = request.param
    with contextlib.closing(DRIVERS[name]()) as driver, Kit(driver, transport, zygote) as made:
        yield made
