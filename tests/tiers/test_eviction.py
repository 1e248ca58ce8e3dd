"""Least recently used, exactly, within the bound, and without keeping what has left."""

import gc
import tracemalloc
from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import key_name, tag_name
from cascada.testing.clock import ManualClock
from cascada.testing.steps import fill, grant
from cascada.tiers.memory.record import Record
from cascada.tiers.memory.tier import MemoryTier

CAPACITY = 10_000
IDS = st.sampled_from("abcdefghij")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), IDS, st.integers(0, 4000)),
        st.tuples(st.just("peek"), IDS, st.just(0)),
        st.tuples(st.just("read"), IDS, st.just(0)),
        st.tuples(st.just("invalidate"), IDS, st.just(0)),
    ),
    max_size=60,
)


def key_of(resource_id: str) -> Key:
    return Key("acme", "document", None, None, None, resource_id)


async def put(tier: MemoryTier, resource_id: str, entry: Entry) -> None:
    await fill(tier, await grant(tier, key_of(resource_id)), entry)


class Model:
    """The textbook: an ordered dictionary of weights."""

    def __init__(self) -> None:
        self.weights: OrderedDict[str, int] = OrderedDict()
        self.evictions = 0

    def put(self, rid: str, record: Record | None) -> None:
        self.weights.pop(rid, None)
        if record is None:
            return  # heavier than all of memory
        self.weights[rid] = record.weight
        while sum(self.weights.values()) > CAPACITY:
            self.weights.popitem(last=False)
            self.evictions += 1

    def use(self, rid: str) -> None:
        if rid in self.weights:
            self.weights.move_to_end(rid)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(steps=STEPS)
async def test_what_goes_is_what_was_not_used_for_longest(
    steps: list[tuple[str, str, int]],
) -> None:
    clock = ManualClock()
    tier, model = MemoryTier(clock, capacity_bytes=CAPACITY, eviction="lru"), Model()
    for step, rid, size in steps:
        clock.advance(0.001)
        if step == "put":
            await put(tier, rid, Entry(bytes(size)))
            model.put(rid, tier.peek(key_of(rid)))
        elif step == "invalidate":
            await tier.invalidate([key_name(key_of(rid))])
            model.weights.pop(rid, None)
        else:
            if step == "peek":
                tier.peek(key_of(rid))
            else:
                await tier.read([key_of(rid)])
            model.use(rid)
        usage = await tier.usage()
        assert usage.size_bytes == sum(model.weights.values()) <= CAPACITY
        assert (usage.entries, usage.evictions) == (len(model.weights), model.evictions)
    # Looked at in the model's order of use, so that looking changes nothing.
    assert [rid for rid in model.weights if tier.peek(key_of(rid)) is not None] == [*model.weights]


async def test_what_is_heavier_than_all_of_memory_is_not_kept_and_evicts_nobody() -> None:
    tier = MemoryTier(ManualClock(), capacity_bytes=CAPACITY)
    await put(tier, "small", Entry(b"x"))
    await put(tier, "huge", Entry(bytes(CAPACITY)))
    usage = await tier.usage()
    assert (usage.entries, usage.evictions) == (1, 0)
    assert tier.peek(key_of("small")) is not None
    await put(tier, "small", Entry(bytes(CAPACITY)))
    assert tier.peek(key_of("small")) is None, "nor is the value that it was to replace"
    assert (await tier.usage()).size_bytes == 0


async def test_memory_does_not_keep_what_was_replaced_or_invalidated() -> None:
    """What has left is in no count, so no order may hold on to it."""
    clock = ManualClock()
    tier = MemoryTier(clock, capacity_bytes=2**21)
    payload = 100_000

    async def churn(times: int) -> None:
        for turn in range(times):
            clock.advance(0.001)
            await put(tier, "same", Entry(bytes(payload)))
            await put(tier, f"other-{turn}", Entry(bytes(payload), names=(TAG,)))
            if turn % 5 == 0:
                await tier.invalidate([TAG])
                await tier.read([key_of(f"other-{each}") for each in range(turn + 1)])

    await churn(10)
    gc.collect()
    tracemalloc.start()
    try:
        await churn(200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**21 + 3 * payload


TAG = tag_name("acme", "news")


async def test_of_records_used_at_one_moment_the_newest_may_go_and_nothing_is_kept_of_it() -> None:
    tier = MemoryTier(clock := ManualClock(), capacity_bytes=CAPACITY)
    until = clock.time() + 9
    for number in range(40):  # the clock does not move, and a large one drives out several
        lease = tier.lease_meanwhile(key_of(f"{number}"), None, 10.0)
        size = CAPACITY // 2 if number % 10 == 9 else number
        tier.fill_one(lease, Entry(bytes(size), fresh_until=until, expires=until))
    assert tier.records.evictions > 0
    assert len(tier.meanwhile) == len(tier.records)
    tier.end_meanwhile()
    assert len(tier.records) == 0
