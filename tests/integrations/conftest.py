"""A cache for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from cascada import Cache


@pytest.fixture
async def cache() -> AsyncIterator[Cache]:
    async with Cache() as cache:
        yield cache
