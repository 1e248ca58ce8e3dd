"""What another life for an entry promises of a tier, as tests.

Part of `TierContract` (in `contract`), which says how to use it.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from cascada.model.entry import Entry
from cascada.model.names import entry_name, key_name, static_names
from cascada.testing.equal_contract import EqualContract
from cascada.testing.steps import (
    COST,
    HOSTILE_IDS,
    TAG,
    data_of,
    fill,
    found,
    grant,
    is_missing,
    key_of,
    store,
)
from cascada.tiers.contract import Renewed, Tier

LARGE: Final = bytes(range(256)) * 2000
"""More than some tiers keep in one place with the entry."""


def until(fresh: float, expires: float | None = None, *, of: int | None = None) -> Renewed:
    """What gives an entry this life, if its payload has so many bytes."""

    def renewed(entry: Entry, size: int) -> Entry | None:
        if of not in (None, size):
            return None
        return entry.lasting(fresh, fresh if expires is None else expires)

    return renewed


def not_at_all(entry: Entry, size: int) -> None:
    """What leaves an entry alone."""


class TouchContract(EqualContract):
    """See the module's text."""

    async def test_a_touch_changes_the_life_and_nothing_else(self, tier: Tier) -> None:
        now = self.clock.time()
        for rid, data in (("a", b"value"), ("large", LARGE)):
            key = key_of(rid)
            times = now - 9, now + 60, now + 90
            await store(tier, key, Entry(data, 5, 7 << 8, *times, (TAG,), 7, cost=COST))
            for life in ((now + 5.5, now + 6.75), (now + 600, now + 900), (math.inf, math.inf)):
                touched = await tier.touch(key, until(*life, of=len(data)))
                assert touched.was is not None, rid
                assert touched.entry is not None, rid
                assert (touched.entry.fresh_until, touched.entry.expires) == life
                got = await found(tier, key)
                assert (got.fresh_until, got.expires) == life, rid
                assert (got.data, got.codec, got.flags) == (data, 5, 7 << 8), rid
                assert (got.created, got.names, got.version) == (now - 9, (TAG,), 7), rid
                assert got.cost == COST, rid

    async def test_a_shortened_life_ends_and_a_lengthened_one_goes_on(self, tier: Tier) -> None:
        now = self.clock.time()
        for rid, life in (("short", (now + 2, now + 4)), ("long", (now + 20, now + 40))):
            await store(tier, key_of(rid), Entry(b"x", 1, 0, now, now + 10, now + 10))
            await tier.touch(key_of(rid), until(*life))
        self.clock.advance(3)
        assert (await found(tier, key_of("short"))).fresh_until == now + 2
        self.clock.advance(1)
        assert await is_missing(tier, key_of("short"))
        self.clock.advance(35)
        assert (await found(tier, key_of("long"))).fresh_until == now + 20
        self.clock.advance(1)
        assert await is_missing(tier, key_of("long"))

    async def test_where_nothing_is_to_be_touched_nothing_happens(self, tier: Tier) -> None:
        now = self.clock.time()
        await store(tier, key_of("kept"), Entry(b"x", 1, 0, now, now + 10, now + 20))
        await store(tier, key_of("over"), Entry(b"x", 1, 0, now, now + 1, now + 2))
        self.clock.advance(3)
        (before,) = await tier.read([key_of("kept")])
        load = await grant(tier, key_of("none"))
        for rid, renewed in (
            ("none", until(math.inf)), ("over", until(math.inf)), ("kept", not_at_all),
        ):  # fmt: skip
            touched = await tier.touch(key_of(rid), renewed)
            assert (touched.was, touched.entry) == (None, None), rid
        (after,) = await tier.read([key_of("kept")])
        assert after.seq == before.seq, "nor is anything numbered"
        assert await is_missing(tier, key_of("over"))
        assert (await fill(tier, load, Entry(b"x"))).accepted, "nor a lease ended"

    async def test_what_was_made_of_a_touched_value_stays(self, tier: Tier) -> None:
        source, made = key_of("a"), key_of("b", data_type="answer")
        await store(tier, source, Entry(b"x"))
        await store(tier, made, Entry(b"y", names=(key_name(source), TAG)))
        for _ in range(3):
            assert (await tier.touch(source, until(math.inf))).entry is not None
            assert (await found(tier, made)).data == b"y"
        told = await tier.invalidate([key_name(source)])
        assert told.keys == 2 or not told.exact
        assert await is_missing(tier, made)

    async def test_a_load_that_began_before_a_touch_is_not_stored(self, tier: Tier) -> None:
        now = self.clock.time()
        await store(tier, key_of("a"), Entry(b"old", 1, 0, now, now, now + 20))
        load = await grant(tier, key_of("a"))
        assert (await tier.touch(key_of("a"), until(now + 9))).entry is not None
        filled = await fill(tier, load, Entry(b"loaded", 1, 0, now, now + 99, now + 99))
        assert not filled.accepted
        assert (await found(tier, key_of("a"))).expires == now + 9
        # Nor what comes from below, where the entry was touched first.
        load = await grant(tier, key_of("b"))
        await tier.touch(key_of("b"), until(now + 9), below=True)
        assert not (await fill(tier, load, Entry(b"old life"))).accepted
        assert await is_missing(tier, key_of("b"))
        await store(tier, key_of("b"), Entry(b"new life"))

    async def test_a_set_is_not_held_to_a_touch(self, tier: Tier) -> None:
        now = self.clock.time()
        for rid, below in (("a", False), ("b", True)):
            if not below:
                await store(tier, key_of(rid), Entry(b"old"))
            by_set = await grant(tier, key_of(rid), force=True)
            await tier.touch(key_of(rid), until(now + 9), below=below)
            assert (await fill(tier, by_set, Entry(b"set"))).accepted, rid
            assert (await found(tier, key_of(rid))).expires == math.inf

    async def test_a_touch_is_numbered(self, tier: Tier) -> None:
        await store(tier, key_of("a"), Entry(b"x"))
        for rid, below in (("a", False), ("b", True)):
            (before,) = await tier.read([key_of("a")])
            touched = await tier.touch(key_of(rid), until(math.inf), below=below)
            (after,) = await tier.read([key_of("a")])
            assert before.seq < touched.seq <= after.seq, rid

    async def test_a_touch_never_revives(self, tier: Tier) -> None:
        key, source = key_of("a", agent="a1"), key_of("s")
        for name in (*static_names(key), TAG, key_name(source)):
            await store(tier, key, Entry(b"old", names=(TAG, key_name(source))))
            assert (await tier.touch(key, until(math.inf))).entry is not None
            await tier.invalidate([name])
            assert await is_missing(tier, key), name
            touched = await tier.touch(key, until(math.inf))
            assert (touched.was, touched.entry) == (None, None), name
            await tier.touch(key, until(math.inf), below=True)
            assert await is_missing(tier, key), name

    async def test_a_touched_value_keeps_its_version(self, tier: Tier) -> None:
        for name in (None, key_name(key_of("b")), entry_name(key_of("c"))):
            key = key_of("a") if name is None else key_of(name[-1])
            await store(tier, key, Entry(b"5", version=5))
            await tier.touch(key, until(math.inf))
            if name is not None:
                await tier.invalidate([name])
                assert await is_missing(tier, key)
            for force in (False, True):
                lease = await grant(tier, key, force=force)
                assert not (await fill(tier, lease, Entry(b"4", version=4))).accepted
            (left,) = await tier.read([key])
            assert data_of(left) == (b"5" if name is None else None)

    async def test_an_entry_goes_alone_by_the_name_that_touches_are_told_by(
        self, tier: Tier
    ) -> None:
        source, made = key_of("a"), key_of("b", data_type="answer")
        await store(tier, source, Entry(b"x"))
        await store(tier, made, Entry(b"y", names=(key_name(source),)))
        load = await grant(tier, key_of("c"))
        await tier.invalidate([entry_name(source), entry_name(key_of("c"))])
        assert await is_missing(tier, source)
        assert (await found(tier, made)).data == b"y"
        assert not (await fill(tier, load, Entry(b"old life"))).accepted

    async def test_touches_that_cross_all_find_the_value(self, tier: Tier) -> None:
        now = self.clock.time()
        await store(tier, key_of("a"), Entry(b"x", 1, 0, now, now + 9, now + 9))
        lives = [now + 10 + number for number in range(20)]
        touched = await asyncio.gather(*[tier.touch(key_of("a"), until(each)) for each in lives])
        assert all(each.entry is not None for each in touched)
        assert (await found(tier, key_of("a"))).fresh_until in lives

    async def test_no_other_key_is_touched(self, tier: Tier) -> None:
        keys = [key_of(each) for each in HOSTILE_IDS]
        for key in keys:
            await store(tier, key, Entry(b"x"))
        now = self.clock.time()
        for number, key in enumerate(keys):
            await tier.touch(key, until(now + 9))
            lives = [(await found(tier, each)).expires for each in keys]
            assert lives == [now + 9] * (number + 1) + [math.inf] * (len(keys) - number - 1)
