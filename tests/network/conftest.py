# SPDX-License-Identifier: Apache-2.0
"""The fixture `link`: two hosts and a network between them; skips where that is refused."""

from collections.abc import Iterator

import pytest
from network.link import Link, open_link


@pytest.fixture
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    """Seeded by the test's name, so that it does the same each time."""
    with open_link(request.node.nodeid) as made:
        yield made
