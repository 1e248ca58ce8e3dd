"""Every example runs on memory alone, on SQLite, and on Redis and SQLite, over one database."""

from collections.abc import AsyncIterator

import pytest

from cascada import Cache, CacheManager, register_conversation_resolver
from tests.documented.supabase import Database, database_on
from tests.scenarios.conftest import MakeCache
from tests.scenarios.conftest import clock as clock
from tests.scenarios.conftest import flaky as flaky
from tests.scenarios.conftest import make_cache as make_cache
from tests.scenarios.conftest import nothing_left_behind as nothing_left_behind
from tests.scenarios.conftest import warm as warm


@pytest.fixture(params=["memory", "sqlite", "redis and sqlite"])
def tiers(request: pytest.FixtureRequest) -> str:
    """Which tiers the caches of this run have."""
    return str(request.param)


@pytest.fixture
async def cache(make_cache: MakeCache) -> AsyncIterator[Cache]:
    """The cache that the documents' names act on."""
    cache = make_cache()
    CacheManager.configure(cache)
    yield cache
    CacheManager.configure(None)
    register_conversation_resolver(None)


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[Database]:
    """What the documents call Supabase."""
    async with database_on(postgres) as database:
        yield database
