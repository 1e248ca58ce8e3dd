"""The pytest plugin: fixtures for tests of services that use cascada. pytest finds it by itself.

It imports nothing of cascada before a fixture is asked for, and no fixture runs by itself, so that
a program's other tests pay nothing. Fixtures are plain functions, since nobody knows which plugin
runs a program's async tests: a cache is closed on a loop of its own, after the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cascada.api.cache import Cache
    from cascada.testing.clock import ManualClock
    from cascada.testing.loaders import CountedLoader
    from cascada.testing.redis_server import RedisServer


@pytest.fixture
def manual_clock() -> ManualClock:
    """Time by hand: `manual_clock.advance(60)`. `cascada_cache` goes by it."""
    from cascada.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def cascada_cache(manual_clock: ManualClock) -> Iterator[Cache]:
    """An empty cache in memory, on `manual_clock`, which is the default one during the test."""
    from cascada.api.cache import Cache
    from cascada.api.default import configure

    cache = Cache(clock=manual_clock)
    before = configure(cache)
    yield cache
    configure(before)
    asyncio.run(cache.aclose())


@pytest.fixture(scope="session")
def _cascada_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    from cascada.testing.redis_server import RedisServer

    server = RedisServer(tmp_path_factory.mktemp("cascada_redis"))
    yield server
    server.kill()


@pytest.fixture
def cascada_redis(_cascada_redis: RedisServer) -> RedisServer:
    """A real Redis, empty at the start of each test: `Cache(redis=cascada_redis.url)`.

    One process for all tests of a run, on a free port. It fails where there is no server to start.
    """
    if _cascada_redis.say("PING") != b"+PONG\r\n":  # a test has left it killed or stopped
        _cascada_redis.kill()
        _cascada_redis.start()
    _cascada_redis.flush()
    return _cascada_redis


@pytest.fixture
def redis_down(cascada_redis: RedisServer) -> Callable[[], AbstractContextManager[None]]:
    """`with redis_down():` the Redis of `cascada_redis` is killed (-9); after the block it is back,
    empty."""
    return cascada_redis.down


@pytest.fixture
def ran_once() -> Iterator[Callable[[Callable[..., Any]], CountedLoader]]:
    """`row = ran_once(fetch_row)`: the same loader; the test fails if it has not run exactly once.

    `row.calls` has what each run was given, `row.assert_ran(2)` is for another number.
    """
    from cascada.testing.loaders import counted

    made: list[CountedLoader] = []

    def wrap(loader: Callable[..., Any]) -> CountedLoader:
        made.append(counted(loader))
        return made[-1]

    yield wrap
    for each in made:
        each.assert_ran(1)
