"""ADAPTIVE in memory: priorities, costs, ends of life, sizes; and no tenant empties another's."""

from __future__ import annotations

import random

import pytest

from cascada.model.bills.bill import one
from cascada.model.entry import Entry, priority_bits
from cascada.model.keys import Key
from cascada.model.limits import COUNTED, Eviction
from cascada.model.names import key_name
from cascada.model.policy import CachePriority
from cascada.testing.clock import ManualClock
from cascada.testing.steps import fill, grant
from cascada.tiers.memory.adaptive import LOOKS, orders
from cascada.tiers.memory.evictable import Order
from cascada.tiers.memory.records import AT_ONCE
from cascada.tiers.memory.shadows import Shade
from cascada.tiers.memory.tier import MemoryTier

SIZE = 1000


def key_of(resource_id: str, tenant: str = "acme") -> Key:
    return Key(tenant, "document", None, None, None, resource_id)


class Memory:
    """A tier with room for a number of values of equal size."""

    def __init__(self, room: int, eviction: Eviction = "adaptive") -> None:
        self.clock = ManualClock()
        self.tier = MemoryTier(
            self.clock, capacity_bytes=room * (SIZE + 516) + 1300, eviction=eviction
        )
        self.reads = self.hits = 0

    async def put(self, key: Key, *, size: int = SIZE, ttl: float = 1e6, **more: int) -> None:
        self.clock.advance(0.001)
        now = self.clock.time()
        entry = Entry(bytes(size), 1, more.get("flags", 0), now, now + ttl, now + ttl)
        if cost := more.get("cost"):
            entry.cost = cost
        await fill(self.tier, await grant(self.tier, key), entry)

    def hit(self, key: Key) -> bool:
        self.clock.advance(0.001)
        self.reads += 1
        found = self.tier.records.get(key)
        if found is not None:
            found.used = self.clock.monotonic()
            found.hits = min(found.hits + 1, self.tier.counted)
            self.hits += 1
        return found is not None

    def has(self, key: Key) -> bool:
        return self.tier.records.get(key) is not None


@pytest.mark.parametrize("eviction", ["adaptive", "lru", "lfu"])
async def test_low_goes_first_and_critical_last(eviction: Eviction) -> None:
    memory, draw = Memory(150, eviction), random.Random(3)
    keys = [(each, n) for n in range(100) for each in CachePriority]
    for each, n in [*keys, *draw.choices(keys, k=2000)]:
        if not memory.hit(key := key_of(f"{each.name}-{n:03}")):
            await memory.put(key, flags=priority_bits(each))
    there = {
        each: sum(memory.has(key_of(f"{each.name}-{n:03}")) for n in range(100))
        for each in CachePriority
    }
    assert there[CachePriority.CRITICAL] == 100
    assert there[CachePriority.LOW] <= 5
    if eviction != "adaptive":  # one of its modes, which chance may choose here, is LRU for both
        assert there[CachePriority.HIGH] > 3 * there[CachePriority.NORMAL]
    assert len(memory.tier.records) >= 145


async def test_where_all_is_critical_something_goes_all_the_same() -> None:
    memory = Memory(20)
    for n in range(60):
        await memory.put(key_of(f"{n:03}"), flags=priority_bits(CachePriority.CRITICAL))
    assert 18 <= len(memory.tier.records) <= 21
    assert memory.has(key_of("059"))


@pytest.mark.parametrize("eviction", ["adaptive", "lru", "lfu"])
async def test_what_has_expired_goes_before_anything_that_has_not(eviction: Eviction) -> None:
    memory = Memory(100, eviction)
    for n in range(100):
        key = key_of(f"{n:03}")
        await memory.put(key, ttl=10 if n % 2 else 1000)
        if n % 2:
            for _ in range(5):
                memory.hit(key)
    memory.clock.advance(20)
    for n in range(100, 148):
        await memory.put(key_of(f"{n:03}"), ttl=1000)
    assert all(memory.has(key_of(f"{n:03}")) for n in range(0, 100, 2))
    assert all(memory.has(key_of(f"{n:03}")) for n in range(100, 148))


async def test_setting_the_wall_clock_ends_no_life() -> None:
    memory = Memory(50)
    for n in range(50):
        await memory.put(key_of(f"{n:03}"), ttl=60)
        memory.hit(key_of(f"{n:03}"))
    memory.clock.step_wall(3600)
    await memory.put(key_of("new"), ttl=60)
    assert len(memory.tier.records) >= 49


async def test_what_took_long_to_load_stays_longer() -> None:
    memory, draw = Memory(50), random.Random(1)
    cost = {n: one(0.001 if n % 2 else 1.0) for n in range(200)}
    for n in draw.choices(range(200), k=6000):
        if not memory.hit(key := key_of(f"{n:03}")):
            await memory.put(key, cost=cost[n])
    dear = sum(memory.has(key_of(f"{n:03}")) for n in range(0, 200, 2))
    assert dear > 40


async def test_what_is_much_larger_than_others_drives_out_nobody_who_is_asked_for() -> None:
    memory = Memory(100)
    for _ in range(3):
        for n in range(100):
            if not memory.hit(key := key_of(f"{n:03}")):
                await memory.put(key)
    await memory.put(key_of("huge"), size=50 * SIZE)
    assert not memory.has(key_of("huge"))
    assert len(memory.tier.records) >= 98
    for _ in range(400):  # it is asked for again and again
        if not memory.hit(key_of("huge")):
            await memory.put(key_of("huge"), size=50 * SIZE)
    assert memory.has(key_of("huge"))


def test_one_call_moves_a_bounded_number() -> None:
    """All that is in memory was hit since it was looked at."""
    order: Order[Shade] = orders("adaptive", 2**40)()
    shades = [Shade(n, 100, 0.0) for n in range(10 * LOOKS)]
    for shade in shades:
        order.admit(shade)
        shade.hits = 1
    assert order.victim().place is None
    assert sum(shade.seen == shade.hits for shade in shades) <= LOOKS


# --- tenants -----------------------------------------------------------------------------------


async def flood(memory: Memory, *, noisy: bool) -> float:
    """The quiet tenant's hit ratio; it has 40 hot keys of memory's 100, another writes 10 times
    what memory has room for."""
    draw, reads, hits, number = random.Random(5), 0, 0, 0
    for _ in range(3000):
        key = key_of(f"{min(int(draw.expovariate(0.1)), 39):03}", "quiet")
        reads += 1
        if memory.hit(key):
            hits += 1
        else:
            await memory.put(key)
        if noisy:
            number += 1
            await memory.put(key_of(f"{number:05}", "noisy"))
    return hits / reads


@pytest.mark.parametrize("eviction", ["adaptive", "lru", "lfu"])
async def test_a_noisy_tenant_takes_less_than_a_point_from_a_quiet_one(eviction: Eviction) -> None:
    alone = await flood(Memory(100, eviction), noisy=False)
    beside = await flood(Memory(100, eviction), noisy=True)
    assert alone - beside < 0.01


async def test_shares_cost_all_tenants_together_less_than_a_point() -> None:
    def asked() -> list[tuple[str, int]]:
        draw = random.Random(9)
        return [
            (f"t{n % 3}", min(int(draw.paretovariate(0.9)), [30, 60, 2000][n % 3]))
            for n in range(6000)
        ]

    ratios = []
    for shared in (True, False):
        memory = Memory(100)
        for tenant, number in asked():
            key = key_of(f"{tenant}/{number:04}", tenant if shared else "all")
            if not memory.hit(key):
                await memory.put(key)
        ratios.append(memory.hits / memory.reads)
    assert ratios[0] > ratios[1] - 0.01


async def test_what_a_tenant_does_not_use_is_lent_and_comes_back() -> None:
    memory = Memory(100)
    for n in range(120):
        await memory.put(key_of(f"{n:03}", "first"))
    lent = sum(memory.has(key_of(f"{n:03}", "first")) for n in range(120))
    assert lent > 90
    for n in range(120):
        await memory.put(key_of(f"{n:03}", "second"))
    for tenant in ("first", "second"):
        there = sum(memory.has(key_of(f"{n:03}", tenant)) for n in range(120))
        assert 45 <= there <= 55


async def test_a_quota_comes_before_priority() -> None:
    memory = Memory(100)
    for n in range(30):
        await memory.put(key_of(f"{n:03}", "quiet"), flags=priority_bits(CachePriority.LOW))
    for n in range(200):
        await memory.put(key_of(f"{n:03}", "noisy"), flags=priority_bits(CachePriority.CRITICAL))
    assert all(memory.has(key_of(f"{n:03}", "quiet")) for n in range(30))


async def test_a_tenant_who_stores_more_than_all_he_has_drives_out_nobody_else() -> None:
    memory = Memory(100)
    for n in range(60):
        await memory.put(key_of(f"{n:03}", "quiet"))
    await memory.put(key_of("huge", "noisy"), size=95 * SIZE)
    assert sum(memory.has(key_of(f"{n:03}", "quiet")) for n in range(60)) == 60
    usage = await memory.tier.usage()
    assert usage.size_bytes <= usage.capacity_bytes
    assert usage.entries == 60


@pytest.mark.parametrize("eviction", ["adaptive", "lru", "lfu"])
async def test_one_value_drives_out_a_bounded_number_and_none_in_vain(eviction: Eviction) -> None:
    """A loop that gives up 40,000 values for one of 30 MB stands still for half a second."""
    memory = Memory(3 * AT_ONCE, eviction)
    for n in range(3 * AT_ONCE):
        await memory.put(key_of(f"{n:03}", "small"))
    await memory.put(key_of("too large for his share", "large"), size=400 * (SIZE + 516))
    assert len(memory.tier.records) == 3 * AT_ONCE
    flags = priority_bits(CachePriority.HIGH)
    large = key_of("large", "large")
    await memory.put(large, size=250 * (SIZE + 516), flags=flags)
    assert len(memory.tier.records) == 2 * AT_ONCE
    await memory.put(large, size=250 * (SIZE + 516), flags=flags)
    assert memory.has(large)


@pytest.mark.parametrize("eviction", ["adaptive", "lru", "lfu"])
async def test_what_is_counted_no_further_is_still_seen_to_be_hit(eviction: Eviction) -> None:
    memory, hot = Memory(4, eviction), key_of("hot")
    await memory.put(hot)
    for _ in range(COUNTED + 50):
        memory.hit(hot)
    for n in range(4 * COUNTED):
        await memory.put(key_of(f"new-{n}"))
        assert memory.hit(hot), n


@pytest.mark.parametrize("eviction", ["adaptive", "lru", "lfu"])
async def test_the_bookkeeping_is_true_whatever_is_done(eviction: Eviction) -> None:
    memory, draw = Memory(40, eviction), random.Random(11)
    records = memory.tier.records
    for step in range(4000):
        key = key_of(f"{draw.randrange(120):03}", draw.choice(["a", "b", "c"]))
        do = draw.random()
        if do < 0.5:
            memory.hit(key)
        elif do < 0.9:
            flags = priority_bits(draw.choice(list(CachePriority)))
            ttl = draw.choice([0.05, 3.0, 1e6])
            await memory.put(key, flags=flags, ttl=ttl, size=draw.choice([10, 1000, 20_000]))
        else:
            await memory.tier.invalidate([key_name(key)])
        if step % 200 == 0:
            kept = list(records)
            assert records.size == sum(each.weight for each in kept) <= records.capacity
            assert len(records) == len(kept)
            assert all(not each.gone for each in kept)
            orders = {each.partition.order for each in kept}
            assert sum(order.bytes for order in orders) == records.size
            assert sum(order.count for order in orders) == len(kept)
    memory.tier.flush()
    assert (records.size, len(records)) == (0, 0)
