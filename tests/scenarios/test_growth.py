"""What a process remembers does not grow with the tenants, data types and names that it has met.

Blocks are counted, not bytes: a thing that is left behind for each tenant has a name, an entry in
some table and itself, so that it shows as at least one block for each.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from functools import _lru_cache_wrapper

import pytest

from cascada.api.cache import Cache
from cascada.api.embeddings import Embeddings
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import tag_name
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.tiers.contract import Lease
from cascada.tiers.memory.invalidations import RING
from cascada.tiers.memory.tier import MemoryTier
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import all_stored

MANY = 200_000

BOUNDS = {
    "cascada.api.cache.MAX_HANDLES": 16,
    "cascada.api.tenant.requests.MAX_TYPES": 8,
    "cascada.api.cache.MAX_KEYS": 16,
    "cascada.engine.kinds.MAX_KINDS": 64,
    "cascada.engine.kinds.MAX_SHARED": 8,
    "cascada.engine.reading.snapshots.MAX_SNAPSHOTS": 16,
    "cascada.engine.tasks.singleflight.MAX_COOLING": 16,
    "cascada.telemetry.custom.MAX_SERIES": 32,
    "cascada.telemetry.restores.MAX_KEYS": 16,
    "cascada.telemetry.restores.MAX_TYPES": 8,
    "cascada.telemetry.throttle.MAX_KEYS": 16,
    "cascada.tiers.memory.records.MAX_VERSIONS": 16,
    "cascada.tiers.redis.lease_releases.MAX_RELEASED": 16,
    "cascada.tiers.redis.layout.MAX_BORNE": 16,
    "cascada.tiers.redis.reads.HINTS": 16,
    "cascada.tiers.redis.reads.PLANS": 16,
    "cascada.tiers.sqlite.reads.MANY_NOTES": 16,
}
"""The bounds of what is kept for tenants, types, names and keys, set low: what has none shows."""


async def blocks() -> int:
    # Stopped timers wait for their time, more of them on a slower machine, unless they are many.
    loop = asyncio.get_running_loop()
    for timer in [loop.call_later(1000, int) for _ in range(1000)]:
        timer.cancel()
    await asyncio.sleep(0)
    # By modules: what was imported before the collector was told to freeze is no object to it.
    ours = [module for name, module in sys.modules.items() if name.startswith("cascada.")]
    for each in [each for module in ours for each in vars(module).values()]:
        if isinstance(each, _lru_cache_wrapper):
            each.cache_clear()  # each says itself how much it keeps
    gc.collect()  # the free lists of tuples and the like go as well
    return sys.getallocatedblocks()


async def growth(step: Callable[[int], Awaitable[object]], first: int, last: int) -> int:
    """Blocks that the steps from `first` to `last` leave behind."""
    for number in range(first):
        await step(number)
    before = await blocks()
    for number in range(first, last):
        await step(number)
    return await blocks() - before


def test_tenants_and_types_beyond_the_bound_share_their_counters() -> None:
    policies = {"own": Policy(ttl=5)}
    kinds = inside(Cache(policies=policies)).kinds
    for number in range(MANY):
        kinds.of(f"tenant-{number}", f"type-{number}")
    assert len(kinds.all()) <= 11_001
    before = len(kinds.all())
    for number in range(20_000):
        for tenant in ("other", "late"):
            kinds.of(tenant, f"late-{number}")
    assert len(kinds.all()) == before, "whatever the tenant is called"
    rest = kinds.of("late", "late-0")
    assert (rest.tenant, rest.data_type) == ("other", "other")
    own = kinds.of("late", "own")
    assert (own.data_type, own.policy.ttl) == ("own", 5), "who has a policy keeps it"
    kinds.set_policy("late-0", Policy(ttl=7))
    assert kinds.of("late", "late-0").policy.ttl == 7
    assert kinds.of("late", "late-1") is rest


async def test_a_tenant_that_was_invalidated_leaves_nothing_behind() -> None:
    memory = MemoryTier(ManualClock())
    early = Key("early", "x", None, None, None, "1")
    mine = Key("mine", "x", None, None, None, "1")
    (lost,) = await memory.lease([early], [None])
    assert isinstance(lost, Lease)

    async def invalidate(number: int) -> None:
        memory.apply(number + 1, [tag_name(f"tenant-{number}", "news")])

    assert await growth(invalidate, 20_000, MANY // 2) < 2_000
    (lease,) = await memory.lease([mine], [None])
    for number in range(MANY // 2, MANY // 2 + RING // 2):
        await invalidate(number)
    entry = Entry(b"x", expires=2e9, fresh_until=2e9)
    assert [each.accepted for each in await memory.fill([lease], [entry])] == [True]
    assert [each.accepted for each in await memory.fill([lost], [entry])] == [False], (
        "nobody can tell any more whether its tenant was invalidated since"
    )


async def test_whose_tenant_was_not_named_may_take_longer_than_the_ring_remembers() -> None:
    """Another tenant's invalidations do not void it."""
    memory = MemoryTier(ManualClock(), ring=64)
    mine = Key("mine", "x", None, None, None, "1")
    (lease,) = await memory.lease([mine], [None])
    for number in range(10_000):
        memory.apply(number + 1, [tag_name("noisy", str(number))])
    entry = Entry(b"x", expires=2e9, fresh_until=2e9)
    assert [each.accepted for each in await memory.fill([lease], [entry])] == [True]


@pytest.mark.parametrize("tiers", ["memory", "redis", "redis and sqlite"])
async def test_whatever_a_tenant_does_leaves_nothing_behind_for_it(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in BOUNDS.items():
        monkeypatch.setattr(name, bound)
    cache = make_cache(l1_bytes=20_000)
    same = cache.tenant("same")
    inside(cache).memory.names.ring_size = 16
    embeddings = Embeddings(lambda texts: [[1.0]] * len(texts), "model")

    async def use(number: int) -> None:
        tenant, kind = cache.tenant(f"tenant-{number}"), f"type-{number}"
        await tenant.get(kind, "1")
        await tenant.load(kind, "2", lambda: number, tags=[f"tag-{number}"])
        await tenant.set(kind, "3", number, version=number)
        await tenant.invalidate(kind, "3")
        await tenant.invalidate(tag=f"tag-{number}")
        await embeddings.of(tenant, ["text"])
        same.peek(kind, "1")
        await all_stored(tenant)

    # A name and its place are two blocks for each tenant. What is kept within a bound of 8 or 16 is
    # as full after the last step as after the first ones.
    assert await growth(use, 200, 344) < 200
