"""The contract of lists and counters as tests: whoever writes a store proves it by a subclass.

    from contextlib import asynccontextmanager
    from cascada.testing.data_contract import DataContract
    from cascada.tiers.memory.datastore import MemoryData as MyStore

    class TestMyStore(DataContract):
        @asynccontextmanager
        async def open_data(self):
            yield MyStore(self.clock)

pytest then runs every test below against a new store each. They need no plugin: each test runs its
own event loop. Each names one promise of `cascada.tiers.datastore`. Time moves by `self.clock`; a
store that has time of its own says how that passes (`passes`).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from cascada.model.door.arguments import LEAST, MOST
from cascada.model.errors import BadInput
from cascada.model.keys import quote
from cascada.testing.clock import ManualClock
from cascada.testing.steps import HOSTILE_IDS, Contract
from cascada.tiers.datastore import DataStore

ITEMS: Final = (b"", b"\x00", b"one", bytes(range(256)) * 16, b"x" * 100_000, b"one")
"""Items as a store gets them: any bytes at all, and some of them twice."""

ENDS: Final = (0, 1, 2, 4, 5, 6, 7, 100, MOST, -1, -2, -5, -6, -7, -100, LEAST)
"""Indices at, near and beyond the ends of a list of six."""


class DataContract(Contract):
    """See the module's text."""

    clock: ManualClock

    def open_data(self) -> AbstractAsyncContextManager[DataStore]:
        """A new, empty store."""
        raise NotImplementedError

    def opened(self) -> AbstractAsyncContextManager[DataStore]:
        self.clock = ManualClock()
        return self.open_data()

    def passes(self, seconds: float) -> None:
        """Let so much of the store's time pass."""
        self.clock.advance(seconds)

    # --- counters -----------------------------------------------------------------------------

    async def test_a_counter_that_never_was_is_0(self, store: DataStore) -> None:
        assert await store.counter("acme:a:b") == 0
        assert await store.increment("acme:a:b", 0) == 0
        assert await store.counter("acme:a:b") == 0

    async def test_a_counter_is_the_sum_of_what_was_added(self, store: DataStore) -> None:
        total = 0
        for amount in (1, 41, -50, 0, 2**40, -(2**40), 8):
            total += amount
            assert await store.increment("acme:a:b", amount) == total
            assert await store.counter("acme:a:b") == total

    async def test_increments_at_once_are_all_counted(self, store: DataStore) -> None:
        seen = await asyncio.gather(*(store.increment("acme:a:b", 1) for _ in range(300)))
        assert sorted(seen) == [*range(1, 301)], "each saw a number of its own"
        assert await store.counter("acme:a:b") == 300

    async def test_a_counter_has_64_bits_and_no_more(self, store: DataStore) -> None:
        for limit, beyond in ((MOST, 1), (LEAST, -1)):
            name = f"acme:a:{beyond}"
            assert await store.increment(name, limit) == limit
            for amount in (beyond, limit):
                with pytest.raises(BadInput, match=f"{name} plus {amount} would leave 64 bits"):
                    await store.increment(name, amount)
            assert await store.counter(name) == limit, "nothing was changed"
            assert await store.increment(name, -beyond) == limit - beyond

    async def test_a_counter_with_a_ttl_ends_when_that_is_over(self, store: DataStore) -> None:
        assert await store.increment("acme:a:b", 3, 60.0) == 3
        self.passes(40)
        assert await store.increment("acme:a:b", 4, 60.0) == 7, "what it finds has its end"
        assert await store.counter("acme:a:b") == 7
        self.passes(25)
        assert await store.counter("acme:a:b") == 0
        assert await store.increment("acme:a:b", 1) == 1, "it begins anew, and has no end"
        self.passes(1000)
        assert await store.increment("acme:a:b", 1, 60.0) == 2
        self.passes(1000)
        assert await store.counter("acme:a:b") == 2, "nor is one set later"

    async def test_a_counter_that_ended_begins_from_nothing(self, store: DataStore) -> None:
        name = "acme:a:b"
        assert await store.increment(name, MOST, 60.0) == MOST, "to the last digit"
        with pytest.raises(BadInput, match=f"{name} plus 1 would leave 64 bits"):
            await store.increment(name, 1, 60.0)
        self.passes(61)
        assert await store.increment(name, 1, 10.0) == 1
        self.passes(11)
        assert await store.increment(name, LEAST, 60.0) == LEAST
        seen = await asyncio.gather(*(store.increment("acme:c:d", 1, 5.0) for _ in range(50)))
        assert sorted(seen) == [*range(1, 51)]
        self.passes(6)
        assert await store.counter("acme:c:d") == 0, "of all who began it at once one has"

    # --- lists --------------------------------------------------------------------------------

    async def test_a_list_that_never_was_is_empty(self, store: DataStore) -> None:
        assert await store.length("acme:l") == 0
        assert await store.range("acme:l", 0, -1) == []
        assert await store.pop("acme:l", left=True) is None
        assert await store.pop("acme:l", left=False) is None
        await store.trim("acme:l", 0, -1)
        assert await store.length("acme:l") == 0

    async def test_items_come_back_as_they_were(self, store: DataStore) -> None:
        for number, item in enumerate(ITEMS, 1):
            assert await store.push("acme:l", item, left=False) == number
        assert await store.range("acme:l", 0, -1) == [*ITEMS]
        assert [await store.pop("acme:l", left=True) for _ in ITEMS] == [*ITEMS]
        assert await store.pop("acme:l", left=True) is None

    async def test_each_end_is_an_end(self, store: DataStore) -> None:
        for item, left in ((b"c", True), (b"d", False), (b"b", True), (b"a", True)):
            await store.push("acme:l", item, left=left)
        assert await store.range("acme:l", 0, -1) == [b"a", b"b", b"c", b"d"]
        assert await store.pop("acme:l", left=False) == b"d"
        assert await store.pop("acme:l", left=True) == b"a"
        assert await store.length("acme:l") == 2
        for _ in range(2):
            await store.pop("acme:l", left=False)
        assert await store.push("acme:l", b"anew", left=False) == 1

    async def test_indices_are_those_of_redis(self, store: DataStore) -> None:
        for item in ITEMS:
            await store.push("acme:l", item, left=False)
        for start in ENDS:
            for end in ENDS:
                got = await store.range("acme:l", start, end)
                assert got == between([*ITEMS], start, end), (start, end)

    async def test_trimming_keeps_what_the_range_holds(self, store: DataStore) -> None:
        for start in ENDS[::2]:
            for end in ENDS[1::2]:
                name, kept = f"acme:{start} {end}", between([*ITEMS], start, end)
                for item in ITEMS:
                    await store.push(name, item, left=False)
                await store.trim(name, start, end)
                assert await store.range(name, 0, -1) == kept, (start, end)
                assert await store.length(name) == len(kept)
                for left in (True, False):
                    assert await store.push(name, b"next", left=left) == len(kept) + 1
                    assert await store.pop(name, left=left) == b"next"

    async def test_nothing_is_lost_or_taken_twice_by_many_at_once(self, store: DataStore) -> None:
        items = [b"%d" % number for number in range(200)]
        pushes = (store.push("acme:l", item, left=False) for item in items)
        pops = (store.pop("acme:l", left=True) for _ in items)
        both = await asyncio.gather(
            *(each for pair in zip(pushes, pops, strict=True) for each in pair)
        )
        taken = [item for item in both if isinstance(item, bytes)]
        left = await store.range("acme:l", 0, -1)
        assert taken + left == items, "one producer's order is kept"

    # --- names --------------------------------------------------------------------------------

    async def test_no_name_is_taken_for_another(self, store: DataStore) -> None:
        names = [f"{tenant}:{quote(each)}" for each in HOSTILE_IDS for tenant in ("acme", "globex")]
        for number, name in enumerate(names):
            await store.increment(name, number)
            await store.push(name, b"%d" % number, left=False)
        for number, name in enumerate(names):
            assert await store.counter(name) == number, name
            assert await store.range(name, 0, -1) == [b"%d" % number], name

    async def test_a_list_and_a_counter_of_one_name_do_not_meet(self, store: DataStore) -> None:
        await store.increment("acme:x", 7)
        await store.push("acme:x", b"item", left=False)
        assert await store.counter("acme:x") == 7
        assert await store.pop("acme:x", left=True) == b"item"
        assert await store.counter("acme:x") == 7


def between(items: list[bytes], start: int, end: int) -> list[bytes]:
    """`items[start..end]`, both included, by looking at each index by itself."""
    from_left = [*range(len(items))]
    return [
        items[index]
        for index in from_left
        if (start if start >= 0 else start + len(items)) <= index
        and index <= (end if end >= 0 else end + len(items))
    ]
