"""The weight of a record against the bytes that the interpreter really takes for it."""

import gc
import os
import tracemalloc

import pytest

from cascada.model.clock import SystemClock
from cascada.model.entry import UNSET, Entry
from cascada.model.keys import NO_SCOPE, Key, Scope
from cascada.model.names import tag_name
from cascada.tiers.base import Lease
from cascada.tiers.memory import MemoryTier

TOLERANCE = 0.15


async def weigh(count: int, size: int, scope: Scope, tags: int, *, decoded: bool) -> float:
    """The counted size of `count` new records, as a fraction of what they really take."""
    clock = SystemClock()
    tier = MemoryTier(clock, capacity_bytes=2**40)

    async def keep(resource_id: str) -> None:
        (lease,) = await tier.lease([Key("acme", "document", *scope, resource_id)], [None])
        assert isinstance(lease, Lease)
        now = clock.time()
        names = tuple(tag_name("acme", f"{resource_id}/{tag}") for tag in range(tags))
        value = os.urandom(size // 2).hex() if decoded else UNSET
        entry = Entry(os.urandom(size), 1, 0, now, now + 60, now + 90, names, None, value)
        await tier.fill([lease], [entry])

    await keep("warm")
    gc.collect()
    before = (await tier.usage()).size_bytes
    tracemalloc.start()
    try:
        for index in range(count):
            await keep(f"id-{index:07}")
        gc.collect()
        real, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return ((await tier.usage()).size_bytes - before) / real


@pytest.mark.parametrize(
    ("size", "scope", "tags", "decoded"),
    [
        (16, NO_SCOPE, 0, False),
        (200, NO_SCOPE, 0, True),
        (1024, NO_SCOPE, 0, False),
        (16384, NO_SCOPE, 0, False),
        (200, Scope("a1"), 0, False),
        (200, Scope("a1", "c1"), 0, False),
        (200, Scope("a1", "c1", "k1"), 0, False),
        (200, NO_SCOPE, 3, False),
    ],
)
async def test_a_weight_is_honest(size: int, scope: Scope, tags: int, decoded: bool) -> None:
    # A count in the middle between two growths of a dictionary, as a long-lived one is on average.
    share = await weigh(2100, size, scope, tags, decoded=decoded)
    assert abs(share - 1) < TOLERANCE
