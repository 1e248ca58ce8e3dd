"""Every scenario runs on memory alone and on memory over SQLite, and must leave no task behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from zlib import crc32

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.model.events import Event
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import InsidePush, inside
from cascada.testing.nodes import Nodes
from cascada.tiers.redis.feed import PushFeed
from cascada.tiers.sqlite.tier import SqliteTier
from tests.options import grouped, nearest
from tests.properties.budget import FACTOR
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

MakeCache = Callable[..., Cache]
MakeNodes = Callable[..., Nodes]

TIMEOUT = 10.0
"""Of an operation on SQLite: a slow machine must not look like a failing tier."""

PATIENCE = 0.1
"""Of an invalidation, where a test lets it be over."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


NAMES = {
    "memory": ["l1"],
    "sqlite": ["l1", "l3"],
    "redis": ["l1", "l2"],
    "redis and sqlite": ["l1", "l2", "l3"],
}
"""The tiers of a run, by the names that answers give them."""


WHOLE_SUITE = 1000
"""Tests; who runs fewer, a file say, runs each on all tiers, and so does `CASCADA_EXAMPLES=2`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the whole suite, which has ten minutes, a test runs on one of the two pairs of tiers.

    Which it is, is drawn by its name. It always runs on memory alone, and on all three.
    """
    if len(items) < WHOLE_SUITE or FACTOR > 1:
        return
    left_out = [item for item in items if _is_left_out(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item: pytest.Item) -> bool:
    case = getattr(item, "callspec", None)
    pairs = ("sqlite", "redis")
    name = item.nodeid.partition("[")[0].encode()
    return case is not None and case.params.get("tiers") == pairs[crc32(name) % 2]


@pytest.fixture(params=list(NAMES))
def tiers(request: pytest.FixtureRequest) -> str:
    """Which tiers the caches of this run have."""
    return str(request.param)


@pytest.fixture
async def nothing_left_behind() -> AsyncIterator[None]:
    """The engine's tasks bear its name; the rest belongs to the runner of the tests."""
    yield
    assert not [name for task in asyncio.all_tasks() if "cascada:" in (name := task.get_name())]


@pytest.fixture
async def make_cache(
    request: pytest.FixtureRequest,
    tiers: str,
    clock: ManualClock,
    tmp_path: Path,
    nothing_left_behind: None,
) -> AsyncIterator[MakeCache]:
    """Caches on the tiers of this run; `policy` is that of the type "x"."""
    made: list[Cache] = []

    def make(*, policy: Policy | None = None, **options: object) -> Cache:
        options.setdefault("op_timeout", TIMEOUT)
        options.setdefault("policies", {} if policy is None else {"x": nearest(policy)})
        options.setdefault("default_policy", nearest())
        if "sqlite" in tiers:
            options.setdefault("database", str(tmp_path / "cache.db"))
        if "redis" in tiers:
            server: RedisServer = request.getfixturevalue("redis_server")
            if not made:
                server.flush()
            options.setdefault("redis", server.url)
        options.setdefault("clock", clock)
        cache = Cache(**grouped(options))
        made.append(cache)
        return cache

    yield make
    for cache in made:
        await cache.aclose()


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache()


@pytest.fixture
async def warm(cache: Cache, clock: ManualClock) -> Cache:
    """The cache, when it has met its servers: nothing empties its memory any more."""
    await cache.tenant("acme").set("warm", "up", 1)
    feed = inside(cache).feed
    if isinstance(feed, PushFeed):
        now = clock.monotonic
        await until(lambda: InsidePush(feed).nonce != b"" and feed.extend(now()))
    return cache


@pytest.fixture
async def flaky(clock: ManualClock, tmp_path: Path) -> FlakyTier:
    """SQLite, with faults on command."""
    return FlakyTier(SqliteTier(str(tmp_path / "flaky.db"), namespace="test", clock=clock))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def shaky(
    flaky: FlakyTier, clock: ManualClock, events: list[Event], nothing_left_behind: None
) -> AsyncIterator[Cache]:
    policies = {"x": Policy(ttl=100, stale_if_error=1000)}
    """A cache over the tier that fails on command; its observer writes `events`."""
    cache = Cache(
        tiers=[flaky],
        clock=clock,
        limits=Limits(op_timeout=TIMEOUT, invalidate_patience=PATIENCE),
        policies=policies,
        observers=[events.append],
    )
    await cache.tenant("acme").get("warm", "up")
    yield cache
    flaky.heal()
    await cache.aclose()


@pytest.fixture
async def nodes(
    clock: ManualClock, tmp_path: Path, nothing_left_behind: None
) -> AsyncIterator[MakeNodes]:
    """Nodes over one SQLite file, each with its own connection."""
    made: list[Nodes] = []

    def make(count: int = 2, **options: object) -> Nodes:
        options.setdefault("default_policy", nearest())
        path = str(tmp_path / "nodes.db")
        options.setdefault("op_timeout", TIMEOUT)
        group = Nodes(
            count,
            lambda: SqliteTier(path, namespace="test", clock=clock),
            clock=clock,
            **grouped(options),
        )
        made.append(group)
        return group

    yield make
    for group in made:
        await group.aclose()


@pytest.fixture
async def pair(
    clock: ManualClock, tmp_path: Path, nothing_left_behind: None
) -> AsyncIterator[tuple[Cache, Cache, FlakyTier]]:
    """Two processes' caches over one SQLite file, and the tier of the first: it can be cut off."""
    path = tmp_path / "pair.db"
    tiers = [FlakyTier(SqliteTier(path, namespace="test", clock=clock)) for _ in range(2)]
    here, there = (
        Cache(tiers=[tier], clock=clock, limits=Limits(op_timeout=TIMEOUT)) for tier in tiers
    )
    yield here, there, tiers[0]
    tiers[0].heal()
    await here.aclose()
    await there.aclose()
