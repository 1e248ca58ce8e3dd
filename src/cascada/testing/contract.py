"""The tier contract as tests: whoever writes a tier proves it by a subclass of a few lines.

    from tempfile import mkdtemp
    from cascada.testing.contract import TierContract
    from cascada.tiers.sqlite.tier import SqliteTier as MyTier

    class TestMyTier(TierContract):
        async def open_tier(self, clock):
            return MyTier(f"{mkdtemp()}/cache.db", namespace="test", clock=clock)

pytest then runs every test below, and those of your own that take a `tier`, against a new tier
each. They need no plugin (each test runs its own event loop), and time moves only by the clock that
`open_tier` is given, `self.clock`. What it holds of `set` is in `set_contract`, of `add` in
`add_contract`, of `touch` in `touch_contract`; a tier with lists and counters has `data_contract`
as well. Each test names one promise of `cascada.tiers.contract`.
"""

from __future__ import annotations

import math
from typing import Final

from cascada.model.entry import Entry
from cascada.model.keys import NO_SCOPE, Key, Scope
from cascada.model.names import (
    key_name,
    resource_names,
    static_names,
    tenant_name,
)
from cascada.testing.add_contract import AddContract
from cascada.testing.set_contract import SetContract
from cascada.testing.steps import (
    COST,
    HOSTILE_IDS,
    PAYLOADS,
    TAG,
    data_of,
    fill,
    found,
    grant,
    is_missing,
    key_of,
    store,
)
from cascada.testing.touch_contract import TouchContract
from cascada.tiers.contract import Fence, Found, Tier

SCOPES: Final = (
    NO_SCOPE,
    Scope(agent="a1"),
    Scope(conversation="c1"),
    Scope(collection="k1"),
    Scope("a1", "c1"),
    Scope("a1", "c1", "k1"),
)


class TierContract(SetContract, AddContract, TouchContract):
    """See the module's text.

    `own_usage`: `usage` counts this tier's entries alone; False: all that its server holds.
    """

    own_usage = True

    # --- what is stored -----------------------------------------------------------------------

    async def test_what_was_filled_is_found_as_it_was(self, tier: Tier) -> None:
        now = self.clock.time()
        for name, (data, codec, flags) in PAYLOADS.items():
            key, times = key_of(name), (now - 1.25, now + 60.5, now + 90.75)
            sent = Entry(data, codec, flags, *times, (TAG,), 7, cost=COST)
            assert (await fill(tier, await grant(tier, key), sent)).accepted, name
            got = await found(tier, key)
            assert (got.data, got.codec, got.flags) == (data, codec, flags), name
            assert (got.created, got.fresh_until) == (now - 1.25, now + 60.5), name
            assert (got.expires, got.names, got.version) == (now + 90.75, (TAG,), 7), name
            assert got.cost == COST, name

    async def test_what_never_expires_is_there_for_ever(self, tier: Tier) -> None:
        await store(tier, key_of("a"), Entry(b"x", created=self.clock.time()))
        self.clock.advance(100 * 365 * 86400)
        got = await found(tier, key_of("a"))
        assert (got.fresh_until, got.expires) == (math.inf, math.inf)

    async def test_stale_is_found_and_expired_is_not(self, tier: Tier) -> None:
        now = self.clock.time()
        await store(tier, key_of("a"), Entry(b"x", 1, 0, now, now + 10, now + 20))
        self.clock.advance(15)
        assert (await found(tier, key_of("a"))).fresh_until < self.clock.time()
        self.clock.advance(5)
        assert await is_missing(tier, key_of("a")), "at its expiry an entry is gone"

    async def test_the_latest_fill_is_what_is_found(self, tier: Tier) -> None:
        for data in (b"first", b"second", b"third"):
            await store(tier, key_of("a"), Entry(data))
            assert (await found(tier, key_of("a"))).data == data

    async def test_answers_stand_in_the_order_of_the_keys(self, tier: Tier) -> None:
        keys = [key_of("a"), key_of("b", tenant="other"), key_of("c")]
        leases = [await grant(tier, key) for key in keys]
        filled = await tier.fill(leases, [Entry(b"a"), None, Entry(b"c")])
        assert [each.accepted for each in filled] == [True, True, True]
        asked = [keys[2], keys[1], keys[0], keys[2]]
        assert [data_of(answer) for answer in await tier.read(asked)] == [b"c", None, b"a", b"c"]
        assert await tier.read([]) == []
        assert await tier.lease([], []) == []
        assert await tier.fill([], []) == []

    async def test_no_id_is_taken_for_another(self, tier: Tier) -> None:
        keys = [
            Key(tenant, data_type, *scope, resource)
            for tenant, data_type, scope, resource in [
                *(("acme", "document", NO_SCOPE, each) for each in HOSTILE_IDS),
                *(("acme", "document", Scope(agent=each), "a") for each in HOSTILE_IDS),
                *(("acme", each, NO_SCOPE, "a") for each in HOSTILE_IDS),
                *((each, "document", NO_SCOPE, "a") for each in HOSTILE_IDS),
            ]
        ]
        leases = [await grant(tier, key) for key in keys]
        entries = [Entry(str(index).encode()) for index in range(len(keys))]
        assert all(each.accepted for each in await tier.fill(leases, entries))
        answers = await tier.read(keys)
        assert [data_of(each) for each in answers] == [entry.data for entry in entries]

    # --- leases -------------------------------------------------------------------------------

    async def test_a_release_stores_nothing(self, tier: Tier) -> None:
        assert (await fill(tier, await grant(tier, key_of("a")), None)).accepted
        assert await is_missing(tier, key_of("a"))

    async def test_a_release_says_whether_the_lease_was_void(self, tier: Tier) -> None:
        lease = await grant(tier, key_of("a"))
        await tier.invalidate([tenant_name("acme")])
        assert not (await fill(tier, lease, None)).accepted

    async def test_a_release_says_so_of_names_that_are_not_stored_too(self, tier: Tier) -> None:
        for invalidated in (TAG, key_name(key_of("source"))):
            void, good = await grant(tier, key_of("a")), await grant(tier, key_of("b"))
            void.names = (invalidated,)
            good.names = (key_name(key_of("other")),)
            await tier.invalidate([invalidated])
            assert not (await fill(tier, void, None)).accepted
            assert (await fill(tier, good, None)).accepted

    async def test_a_lease_is_void_once_a_name_of_its_key_is_invalidated(self, tier: Tier) -> None:
        for scope in SCOPES:
            key = Key("acme", "document", *scope, "a")
            for name in static_names(key):
                lease = await grant(tier, key)
                await tier.invalidate([name])
                assert not (await fill(tier, lease, Entry(b"old"))).accepted, name
                assert await is_missing(tier, key), name
                await store(tier, key, Entry(b"new"))

    async def test_a_lease_is_void_for_an_entry_whose_tag_was_invalidated(self, tier: Tier) -> None:
        tagged, plain = await grant(tier, key_of("a")), await grant(tier, key_of("b"))
        await tier.invalidate([TAG])
        assert not (await fill(tier, tagged, Entry(b"old", names=(TAG,)))).accepted
        assert await is_missing(tier, key_of("a"))
        assert (await fill(tier, plain, Entry(b"x"))).accepted, "it does not bear the tag"

    async def test_a_lease_is_as_old_as_the_answer_that_it_continues(self, tier: Tier) -> None:
        key = key_of("a")
        for names in ((), (TAG,)):
            (seen,) = await tier.read([key])
            await tier.invalidate([names[0] if names else key_name(key)])
            lease = await grant(tier, key, seen)
            if self.leases_continue:
                assert not (await fill(tier, lease, Entry(b"old", names=names))).accepted
                assert await is_missing(tier, key)
            else:
                await tier.fill([lease], [None])

    async def test_a_lease_behind_a_fence_is_as_old_as_the_fence(self, tier: Tier) -> None:
        key = key_of("a")
        for name in (key_name(key), static_names(key)[-1], TAG):
            (seen,) = await tier.read([key])
            await tier.invalidate([name])
            lease = await grant(tier, key, Fence(seen.seq, seen.epoch))
            assert not (await fill(tier, lease, Entry(b"old", names=(TAG,)))).accepted
            assert await is_missing(tier, key)
        lease = await grant(tier, key, Fence())
        assert not (await fill(tier, lease, Entry(b"old"))).accepted, "from before everything"
        (seen,) = await tier.read([key])
        await tier.invalidate([key_name(key_of("b"))])
        lease = await grant(tier, key, Fence(seen.seq, seen.epoch))
        assert (await fill(tier, lease, Entry(b"new", names=(TAG,)))).accepted

    async def test_a_lease_taken_after_the_invalidation_is_good(self, tier: Tier) -> None:
        key = key_of("a", agent="a1")
        await tier.invalidate([*static_names(key), TAG])
        (seen,) = await tier.read([key])
        await store(tier, key, Entry(b"x", names=(TAG,)), seen)

    async def test_a_stale_entry_can_be_refreshed(self, tier: Tier) -> None:
        now = self.clock.time()
        await store(tier, key_of("a"), Entry(b"old", 1, 0, now, now + 1, now + 99))
        self.clock.advance(2)
        (stale,) = await tier.read([key_of("a")])
        assert data_of(stale) == b"old"
        await store(tier, key_of("a"), Entry(b"new", created=self.clock.time()), stale)
        assert (await found(tier, key_of("a"))).data == b"new"

    async def test_a_renewed_lease_lives_on(self, tier: Tier) -> None:
        lease = await grant(tier, key_of("a"))
        for _ in range(20):
            self.clock.advance(1.5)
            await tier.renew([lease])
        assert (await fill(tier, lease, Entry(b"x"))).accepted
        assert (await found(tier, key_of("a"))).data == b"x"

    # --- invalidation -------------------------------------------------------------------------

    async def test_an_invalidation_reaches_what_bears_its_name_and_nothing_else(
        self, tier: Tier
    ) -> None:
        keys = [Key("acme", "document", *scope, rid) for scope in SCOPES for rid in ("a", "b")]
        keys += [key_of("a", tenant="other"), key_of("a", data_type="agent")]
        bears = {key: set(static_names(key)) for key in keys}
        for name in dict.fromkeys(name for key in keys for name in static_names(key)):
            for key in keys:
                await store(tier, key, Entry(b"x"))
            await tier.invalidate([name])
            answers = zip(keys, await tier.read(keys), strict=True)
            left = [key for key, answer in answers if isinstance(answer, Found)]
            assert left == [key for key in keys if name not in bears[key]], name

    async def test_several_names_go_in_one_step(self, tier: Tier) -> None:
        tagged, named, other = key_of("a"), key_of("b"), key_of("c")
        await store(tier, tagged, Entry(b"x", names=(TAG,)))
        await store(tier, named, Entry(b"x"))
        await store(tier, other, Entry(b"x"))
        await tier.invalidate([TAG, key_name(named)])
        answers = [data_of(each) for each in await tier.read([tagged, named, other])]
        assert answers == [None, None, b"x"]

    async def test_what_was_made_of_a_source_goes_with_it(self, tier: Tier) -> None:
        source, made = key_of("a"), key_of("b", data_type="answer")
        await store(tier, source, Entry(b"x"))
        await store(tier, made, Entry(b"x", names=(key_name(source),)))
        await tier.invalidate([key_name(source)])
        assert await is_missing(tier, source)
        assert await is_missing(tier, made)

    async def test_numbers_rise_and_answers_know_them(self, tier: Tier) -> None:
        key, last = key_of("a"), -1
        for _ in range(3):
            number = (await tier.invalidate([key_name(key)])).seq
            assert number > last
            last = number
            (missing,) = await tier.read([key])
            assert missing.seq >= number
            await store(tier, key, Entry(b"x"))
            (answer,) = await tier.read([key])
            assert answer.seq >= number

    async def test_counts_are_exact_or_upper_bounds(self, tier: Tier) -> None:
        source, tagged, made = key_of("a"), key_of("b"), key_of("c", data_type="answer")
        of_source = resource_names("acme", "document", "a", NO_SCOPE)
        for names, ended in [
            ([key_name(tagged)], 1),
            ([key_name(key_of("absent"))], 0),
            ([TAG], 2),
            ([TAG, key_name(tagged)], 2),
            ([*of_source], 2),
            ([TAG, *of_source], 3),
            ([tenant_name("acme"), TAG, key_name(source)], 3),
            ([tenant_name("other")], 0),
        ]:
            await store(tier, source, Entry(b"x"))
            await store(tier, tagged, Entry(b"x", names=(TAG,)))
            await store(tier, made, Entry(b"x", names=(TAG, *of_source)))
            would = await tier.count_entries(names)
            done = await tier.invalidate(names)
            assert tuple(would) == done.counts, names
            assert done.keys == ended if done.exact else done.keys >= ended, names
            assert done.exact or names != [key_name(tagged)], "of one key the count is known"
            again = await tier.invalidate(names)
            assert again.keys == 0 or not again.exact, "what is gone does not go again"

    # --- the tier itself ------------------------------------------------------------------------

    async def test_usage_counts_what_is_there(self, tier: Tier) -> None:
        empty = await tier.usage()
        assert not self.own_usage or (empty.entries, empty.size_bytes, empty.evictions) == (0, 0, 0)
        for rid in "ab":
            await store(tier, key_of(rid), Entry(bytes(1000)))
        full = await tier.usage()
        assert full.entries == 2 or (not self.own_usage and full.entries > 2)
        assert full.size_bytes > 2000

    async def test_closing_twice_is_harmless(self, tier: Tier) -> None:
        await store(tier, key_of("a"), Entry(b"x"))
        await tier.aclose()
        await tier.aclose()
