# SPDX-License-Identifier: Apache-2.0
"""The interpreter's own tests: what passes over the stdlib's modules passes over ours."""

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from stdlib import runner

ALWAYS = [
    "test.test_socket",
    "test.test_ssl",
    "test.test_selectors",
    "test.test_asyncio.test_ssl",
    "test.test_asyncio.test_events",
    "test.test_asyncio.test_sslproto",
    "test.test_asyncio.test_sock_lowlevel",
    "test.test_asyncio.test_sendfile",
    "test.test_asyncio.test_base_events",
    "test.test_asyncio.test_streams",
    "test.test_asyncio.test_selector_events",
    "test.test_asyncio.test_unix_events",
    "test.test_asyncio.test_server",
    "test.test_asyncio.test_transports",
    "test.test_asyncio.test_buffered_proto",
    "test.test_socketserver",
    "test.test_httplib",
    "test.test_xmlrpc",
    "test.test_smtplib",
    "test.test_mmap",
    "test.shared_memory_fork",
]
NIGHTLY = [
    "test.shared_memory_spawn",
    "test.test_ftplib",
    "test.test_poplib",
    "test.test_imaplib",
    "test.test_httpservers",
    "test.test_urllib2_localnet",
    "test.test_logging",
    "test.test_wsgiref",
    "test.test_telnetlib",
    "test.test_asyncore",
    "test.test_asynchat",
    "test.test_smtpd",
    "test.test_select",
    "test.test_poll",
    "test.test_epoll",
    "test.test_signal",
    "test.test_asyncio.test_subprocess",
    "test.test_asyncio.test_tasks",
]
MODULES = ALWAYS + (NIGHTLY if os.environ.get("IPCX_NIGHT") == "1" else [])


def _present(module: str) -> bool:
    """Whether this interpreter has `module` (3.12 dropped some; Debian packs them apart)."""
    try:
        real = "test._test_multiprocessing" if module in runner.MADE else module
        return importlib.util.find_spec(real) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def seen() -> dict[str, dict]:
    """Every module's comparison. The tests sleep most of their time: several run at once."""
    present = [module for module in MODULES if _present(module)]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(present, pool.map(runner.compare, present), strict=True))


@pytest.mark.hang_guard(1200)
@pytest.mark.parametrize("module", MODULES)
def test_passes_where_the_stdlib_passes(module: str, request: pytest.FixtureRequest) -> None:
    if not _present(module):
        pytest.skip(f"{module} is not installed here")
    outcome = request.getfixturevalue("seen")[module]
    lost = "\n".join(f"{name}\n{text}" for name, text in outcome["lost"].items())
    assert not lost, f"{len(outcome['lost'])} lost, ends {outcome['ends']}\n{lost}"
    assert outcome["stdlib"] > 0, f"nothing passes over the stdlib: {outcome['ends']}"


def test_exceptions_give_a_reason() -> None:
    assert all(runner.exceptions().values())
