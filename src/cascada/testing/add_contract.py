"""What is added, as a tier promises it: the first of all is stored, and told of as a set is.

Part of `TierContract` (in `contract`), which says how to use it.
"""

from __future__ import annotations

import asyncio

from cascada.model.entry import Codec, Entry, Flag
from cascada.model.names import key_name, static_names
from cascada.testing.equal_contract import EqualContract
from cascada.testing.steps import (
    TAG,
    data_of,
    fill,
    found,
    grant,
    is_missing,
    key_of,
    store,
)
from cascada.tiers.contract import Found, Outcome, Tier


class AddContract(EqualContract):
    """See the module's text."""

    async def test_of_those_who_add_at_once_one_has(self, tier: Tier) -> None:
        for number in range(5):
            key = key_of(f"{number}")
            (miss,) = await tier.read([key])
            leases = [await grant(tier, key, miss, adds=b"%016d" % each) for each in range(8)]
            entry = Entry(b"same", names=(TAG,))
            filled = await asyncio.gather(*[fill(tier, lease, entry) for lease in leases])
            assert [each.accepted for each in filled].count(True) == 1
            assert (await found(tier, key)).names == (TAG,)

    async def test_what_was_added_is_told_of_as_a_set_is(self, tier: Tier) -> None:
        key, made = key_of("a"), key_of("b", data_type="answer")
        load = await grant(tier, key)
        await store(tier, made, Entry(b"of nothing", names=(key_name(key),)))
        (miss,) = await tier.read([key])
        filled = await fill(tier, await grant(tier, key, miss, adds=b"t" * 16), Entry(b"added"))
        assert (filled.accepted, filled.outcome) == (True, Outcome.PLAIN)
        (now,) = await tier.read([key])
        assert data_of(now) == b"added"
        assert now.seq >= filled.seq > miss.seq, "who remembers that there is nothing hears of it"
        assert await is_missing(tier, made), "what was made of nothing there went"
        assert not (await fill(tier, load, Entry(b"old"))).accepted, "so did the loads under way"
        assert data_of((await tier.read([key]))[0]) == b"added"

    async def test_a_value_that_is_there_stays_and_nobody_is_told(self, tier: Tier) -> None:
        now = self.clock.time()
        for later in (0, 15):  # fresh, then stale
            key, made = key_of(f"{later}"), key_of(f"of {later}", data_type="answer")
            (miss,) = await tier.read([key])
            await store(tier, key, Entry(b"there", 1, 0, now, now + 10, now + 99))
            await store(tier, made, Entry(b"x", names=(key_name(key),)))
            self.clock.advance(later)
            lease = await grant(tier, key, miss, adds=b"t" * 16)
            assert not (await fill(tier, lease, Entry(b"added"))).accepted
            (after,) = await tier.read([key])
            assert (data_of(after), after.seq) == (b"there", miss.seq)
            assert not await is_missing(tier, made)

    async def test_what_is_added_takes_the_place_of_an_absence(self, tier: Tier) -> None:
        key = key_of("a")
        await store(tier, key, Entry(b"", Codec.NOTHING, int(Flag.ABSENT)))
        (absence,) = await tier.read([key])
        assert isinstance(absence, Found)
        first, second = [await grant(tier, key, absence, adds=each * 16) for each in (b"1", b"2")]
        assert (await fill(tier, first, Entry(b"first"))).accepted
        assert not (await fill(tier, second, Entry(b"second"))).accepted
        assert (await found(tier, key)).data == b"first"

    async def test_nothing_is_added_from_before_an_invalidation(self, tier: Tier) -> None:
        key = key_of("a", agent="a1")
        for name in (*static_names(key), TAG):
            (miss,) = await tier.read([key])
            early = await grant(tier, key, miss, adds=b"e" * 16)
            await tier.invalidate([name])
            late = await grant(tier, key, miss, adds=b"l" * 16)
            for lease in (early, late):
                assert not (await fill(tier, lease, Entry(b"old", names=(TAG,)))).accepted, name
                assert await is_missing(tier, key)
        lease = await grant(tier, key, (await tier.read([key]))[0], adds=b"n" * 16)
        assert (await fill(tier, lease, Entry(b"new", names=(TAG,)))).accepted

    async def test_an_older_version_is_not_added(self, tier: Tier) -> None:
        key, new = key_of("a"), Entry(b"5", version=5)
        await fill(tier, await grant(tier, key, force=True, entry=new), new)
        await tier.invalidate([key_name(key)])
        (miss,) = await tier.read([key])
        old = await fill(tier, await grant(tier, key, miss, adds=b"o" * 16), Entry(b"4", version=4))
        assert (old.accepted, old.outcome) == (False, Outcome.OLDER)
        assert await is_missing(tier, key)

    async def test_to_add_twice_under_one_token_is_to_add_once(self, tier: Tier) -> None:
        key = key_of("a")
        (miss,) = await tier.read([key])
        lease = await grant(tier, key, miss, adds=b"t" * 16)
        assert (await fill(tier, lease, Entry(b"added"))).accepted
        (before,) = await tier.read([key])
        again = await fill(tier, lease, Entry(b"added"))
        assert again.outcome is (Outcome.EQUAL if again.accepted else Outcome.PLAIN)
        (after,) = await tier.read([key])
        assert (data_of(after), after.seq) == (b"added", before.seq)
        await tier.invalidate([key_name(key)])
        assert not (await fill(tier, lease, Entry(b"added"))).accepted
        assert await is_missing(tier, key)
