"""What sets of equal values promise of a tier, and what is stored where nothing is, as tests.

Part of `TierContract` (in `contract`), which says how to use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Any, Final

from cascada.model.bills.bill import UNKNOWN
from cascada.model.entry import Codec, Entry, Flag
from cascada.model.names import key_name, static_names
from cascada.testing.clock import ManualClock
from cascada.testing.steps import (
    COST,
    TAG,
    Contract,
    data_of,
    fill,
    found,
    grant,
    is_missing,
    key_of,
    store,
)
from cascada.tiers.contract import Fence, Found, Lease, Outcome, Tier

VALUE: Final[dict[str, Any]] = {"data": b"value", "codec": 1, "flags": 0, "names": (), "version": 7}

OTHERS: Final[dict[str, dict[str, Any]]] = {
    "payload": {"data": b"other"},
    "no payload": {"data": b""},
    "codec": {"codec": int(Codec.EXTENDED)},
    "flags": {"flags": 3 << 8},
    "absence": {"flags": int(Flag.ABSENT)},
    "names": {"names": (TAG,)},
    "version": {"version": 8},
    "no version": {"version": None},
}
"""What makes a value another one."""


class EqualContract(Contract):
    """See the module's text."""

    clock: ManualClock

    async def open_tier(self, clock: ManualClock) -> Tier:
        """A new, empty tier that takes its time from `clock`."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Tier]:
        self.clock = ManualClock()
        tier = await self.open_tier(self.clock)
        try:
            yield tier
        finally:
            await tier.aclose()

    # --- sets of equal values -----------------------------------------------------------------

    async def test_of_crossing_sets_of_an_equal_value_all_are_accepted(self, tier: Tier) -> None:
        for number, order in enumerate(permutations(range(3))):
            key, entry = key_of(f"{number}"), Entry(b"same", names=(TAG,))
            held = [await grant(tier, key, force=True, entry=entry) for _ in order]
            for each in order:
                assert (await fill(tier, held[each], entry)).accepted, order
                assert (await found(tier, key)).data == b"same", order

    async def test_a_set_that_comes_too_late_leaves_what_equals_it(self, tier: Tier) -> None:
        key, made = key_of("a"), key_of("b", data_type="answer")
        (miss,) = await tier.read([key])
        now = self.clock.time()
        entry = Entry(b"row", names=(TAG,), created=now, expires=now + 99)
        await fill(tier, await grant(tier, key, force=True, entry=entry), entry)
        await store(tier, made, Entry(b"x", names=(key_name(key),)))
        load = await grant(tier, key)
        (before,) = await tier.read([key])
        filled = await fill(tier, await grant(tier, key, miss, force=True, entry=entry), entry)
        assert (filled.accepted, filled.outcome) == (True, Outcome.EQUAL)
        assert (await found(tier, key)).names == (TAG,)
        # In all else it is a set: its caller may have written the row.
        assert filled.seq > before.seq
        assert await is_missing(tier, made), "what was made of the value before went"
        assert not (await fill(tier, load, Entry(b"old"))).accepted, "so did the loads under way"
        await tier.invalidate([TAG])
        assert await is_missing(tier, key), "what has stayed bears its names as before"

    async def test_what_differs_in_anything_but_its_life_is_not_equal(self, tier: Tier) -> None:
        for what, different in OTHERS.items():
            for first, second in ((VALUE, {**VALUE, **different}), ({**VALUE, **different}, VALUE)):
                if (second["version"] or 9) < (first["version"] or 0):
                    continue  # refused as older, and what is there stays
                key = key_of(f"{what} {first == VALUE}")
                (miss,) = await tier.read([key])
                there, late = Entry(**first), Entry(**second)
                await fill(tier, await grant(tier, key, force=True, entry=there), there)
                assert data_of((await tier.read([key]))[0]) == there.data
                lease = await grant(tier, key, miss, force=True, entry=late)
                assert not (await fill(tier, lease, late)).accepted, what
                assert await is_missing(tier, key), what

    async def test_the_shorter_life_of_two_equal_values_stays(self, tier: Tier) -> None:
        now = self.clock.time()
        short, long = (now + 5, now + 10), (now + 50, now + 60)
        for first, second in ((short, long), (long, short)):
            key = key_of(f"{first[0]}")
            there = Entry(b"row", 1, 0, now, *first, (TAG,))
            late = Entry(b"row", 1, 0, now, *second, (TAG,))
            (miss,) = await tier.read([key])
            await fill(tier, await grant(tier, key, force=True, entry=there), there)
            lease = await grant(tier, key, miss, force=True, entry=late)
            assert (await fill(tier, lease, late)).outcome is Outcome.EQUAL
            left = await found(tier, key)
            assert (left.fresh_until, left.expires) == short

    async def test_what_it_cost_makes_no_other_value(self, tier: Tier) -> None:
        now = self.clock.time()
        for number, (first, second) in enumerate(permutations((UNKNOWN, COST, COST + 2**20), 2)):
            for names in ((), (TAG, "#:acme:other")):
                key = key_of(f"{number} {len(names)}")
                there = Entry(b"row", 1, 0, now, now + 50, now + 60, names, cost=first)
                late = Entry(b"row", 1, 0, now, now + 5, now + 10, names, cost=second)
                (miss,) = await tier.read([key])
                await fill(tier, await grant(tier, key, force=True, entry=there), there)
                lease = await grant(tier, key, miss, force=True, entry=late)
                assert (await fill(tier, lease, late)).outcome is Outcome.EQUAL
                left = await found(tier, key)
                assert (left.data, left.expires, left.names) == (b"row", now + 10, names)
                assert left.cost in (first, second)

    async def test_an_equal_value_that_is_not_valid_or_not_fresh_does_not_stay(
        self, tier: Tier
    ) -> None:
        now = self.clock.time()
        for what in ("invalidated", "stale", "expired"):
            key, entry = key_of(what), Entry(b"row", 1, 0, now, now + 5, now + 9, (TAG,))
            (miss,) = await tier.read([key])
            await fill(tier, await grant(tier, key, force=True, entry=entry), entry)
            if what == "invalidated":
                await tier.invalidate([TAG])
            else:
                self.clock.advance(6 if what == "stale" else 4)
            later = self.clock.time()
            again = Entry(b"row", 1, 0, later, later + 5, later + 9, (TAG,))
            lease = await grant(tier, key, miss, force=True, entry=again)
            assert not (await fill(tier, lease, again)).accepted, what
            assert await is_missing(tier, key), what

    async def test_a_refused_set_says_whether_anything_was_there(self, tier: Tier) -> None:
        entry = Entry(b"row")
        for rid in ("nothing", "another"):
            key = key_of(rid)
            (miss,) = await tier.read([key])
            await tier.invalidate([key_name(key)])
            if rid == "another":
                await store(tier, key, Entry(b"other"))
            filled = await fill(tier, await grant(tier, key, miss, force=True, entry=entry), entry)
            nothing = Outcome.NOTHING if rid == "nothing" else Outcome.PLAIN
            assert (filled.accepted, filled.outcome) == (False, nothing)
            assert await is_missing(tier, key)

    async def test_a_late_set_lands_under_an_equal_hold_alone(self, tier: Tier) -> None:
        entry = Entry(**{**VALUE, "version": None})
        for what, different in OTHERS.items():
            other, key = Entry(**{**VALUE, "version": None, **different}), key_of(what)
            if other.equals(entry):
                continue
            late = await grant(tier, key, force=True, entry=entry)
            await tier.invalidate([key_name(key)])
            standing = await grant(tier, key, force=True, entry=other)
            assert not (await fill(tier, late, entry)).accepted, f"the hold of another {what}"
            assert await is_missing(tier, key)
            await fill(tier, standing, other)
        key = key_of("a")
        late = await grant(tier, key, force=True, entry=entry)
        await tier.invalidate([key_name(key)])
        assert not (await fill(tier, late, entry)).accepted, "there is no hold any more"
        late = await grant(tier, key, force=True, entry=entry)
        await tier.invalidate([key_name(key)])
        standing = await grant(tier, key, force=True, entry=entry)
        for lease in (late, standing):
            await fill(tier, lease, entry)
            (left,) = await tier.read([key])
            assert data_of(left) in (entry.data, None), "who holds the key now says the same"

    async def test_what_is_older_says_so_and_changes_nothing(self, tier: Tier) -> None:
        key = key_of("a")
        new, old = Entry(b"5", version=5), Entry(b"4", version=4)
        await fill(tier, await grant(tier, key, force=True, entry=new), new)
        lease = await grant(tier, key, force=True, entry=old)
        assert (await fill(tier, lease, old)).outcome is Outcome.OLDER
        assert (await found(tier, key)).data == b"5"

    # --- what is stored where nothing is ------------------------------------------------------

    async def test_what_is_stored_once_voids_nothing(self, tier: Tier) -> None:
        key, made = key_of("a"), key_of("b", data_type="answer")
        load = await grant(tier, key)
        await store(tier, made, Entry(b"x", names=(key_name(key),)))
        (miss,) = await tier.read([key])
        once = await grant(tier, key, miss, once=True)
        assert (await fill(tier, once, Entry(b"once", names=(TAG,)))).accepted
        (now,) = await tier.read([key])
        assert (data_of(now), now.seq) == (b"once", miss.seq), "nothing was numbered"
        assert not await is_missing(tier, made)
        assert (await fill(tier, load, Entry(b"load"))).accepted

    async def test_nobody_waits_for_what_is_to_be_stored_once(self, tier: Tier) -> None:
        (miss,) = await tier.read([key_of("a")])
        once = await grant(tier, key_of("a"), miss, once=True)
        assert isinstance(await grant(tier, key_of("a")), Lease)
        assert (await fill(tier, once, Entry(b"once"))).accepted

    async def test_of_two_that_are_stored_once_the_first_stays(self, tier: Tier) -> None:
        (miss,) = await tier.read([key_of("a")])
        first, second, third = [await grant(tier, key_of("a"), miss, once=True) for _ in range(3)]
        assert (await fill(tier, second, Entry(b"second"))).accepted
        assert not (await fill(tier, first, Entry(b"first"))).accepted
        assert not (await fill(tier, third, Entry(b"second"))).accepted
        assert (await found(tier, key_of("a"))).data == b"second"

    async def test_what_was_made_before_an_invalidation_is_not_stored_once(
        self, tier: Tier
    ) -> None:
        for agent in (None, "a1"):
            key = key_of("a", agent=agent)
            for name in (*static_names(key), TAG, key_name(key_of("source"))):
                (miss,) = await tier.read([key])
                early = await grant(tier, key, miss, once=True)
                await tier.invalidate([name])
                late = await grant(tier, key, miss, once=True)
                bears = () if name in static_names(key) else (name,)
                for lease in (early, late):
                    assert not (await fill(tier, lease, Entry(b"old", names=bears))).accepted, name
                    assert await is_missing(tier, key)
        never = await grant(tier, key_of("b"), Fence(), once=True)
        assert not (await fill(tier, never, Entry(b"old"))).accepted, "from before everything"

    async def test_what_is_stored_once_takes_the_place_of_an_absence_and_of_what_was_seen(
        self, tier: Tier
    ) -> None:
        now, key = self.clock.time(), key_of("a")
        (miss,) = await tier.read([key])
        await store(tier, key, Entry(b"", Codec.NOTHING, int(Flag.ABSENT)))
        once = await grant(tier, key, miss, once=True)
        assert (await fill(tier, once, Entry(b"there", 1, 0, now, now + 1, now + 99))).accepted
        self.clock.advance(5)
        (stale,) = await tier.read([key])
        assert isinstance(stale, Found)
        first, second = [await grant(tier, key, stale, once=True) for _ in range(2)]
        assert (await fill(tier, first, Entry(b"fresh", created=self.clock.time()))).accepted
        assert not (await fill(tier, second, Entry(b"late", created=self.clock.time()))).accepted
        assert (await found(tier, key)).data == b"fresh"

    async def test_an_older_version_is_not_stored_once(self, tier: Tier) -> None:
        key, new = key_of("a"), Entry(b"5", version=5)
        await fill(tier, await grant(tier, key, force=True, entry=new), new)
        await tier.invalidate([key_name(key)])
        (miss,) = await tier.read([key])
        once = await grant(tier, key, miss, once=True)
        assert not (await fill(tier, once, Entry(b"4", version=4))).accepted
        assert await is_missing(tier, key)
