"""What a `set` promises of a tier, as tests: a lease that takes over, and a fill under it.

Sets of equal values are in `equal_contract`.

Part of `TierContract` (in `contract`), which says how to use it.
"""

from __future__ import annotations

from cascada.model.entry import Entry
from cascada.model.names import key_name, tenant_name
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
from cascada.tiers.contract import Outcome, Tier


class SetContract(EqualContract):
    """See the module's text.

    `leases_continue`: a lease that is given what `read` answered is as old as that answer; False:
    it begins when it is granted, so that only what is read after it may be filled under it.
    """

    leases_continue = True

    async def test_a_set_takes_over_and_voids_the_loads_under_way(self, tier: Tier) -> None:
        for key, earlier in ((key_of("a"), True), (key_of("b"), False)):
            load = await grant(tier, key) if earlier else None
            by_set = await grant(tier, key, force=True)
            assert (await fill(tier, by_set, Entry(b"set"))).accepted
            if load is not None:
                assert not (await fill(tier, load, Entry(b"old"))).accepted
            assert (await found(tier, key)).data == b"set"

    async def test_of_crossing_sets_the_older_value_does_not_survive(self, tier: Tier) -> None:
        older = await grant(tier, key_of("a"), force=True)
        newer = await grant(tier, key_of("a"), force=True)
        assert (await fill(tier, newer, Entry(b"newer"))).accepted
        assert not (await fill(tier, older, Entry(b"older"))).accepted
        (left,) = await tier.read([key_of("a")])
        assert data_of(left) in (b"newer", None)
        # And in the other order of arrival.
        older = await grant(tier, key_of("b"), force=True)
        newer = await grant(tier, key_of("b"), force=True)
        await fill(tier, older, Entry(b"older"))
        await fill(tier, newer, Entry(b"newer"))
        (left,) = await tier.read([key_of("b")])
        assert data_of(left) in (b"newer", None)

    async def test_a_set_is_an_invalidation_of_its_key(self, tier: Tier) -> None:
        source, made = key_of("a"), key_of("b", data_type="answer")
        await store(tier, made, Entry(b"x", names=(key_name(source),)))
        (before,) = await tier.read([source])
        filled = await fill(tier, await grant(tier, source, force=True), Entry(b"set"))
        assert filled.seq > before.seq
        assert await is_missing(tier, made), "what was made of the old value went with it"
        if self.leases_continue:
            late = await fill(
                tier, await grant(tier, made, before), Entry(b"y", names=(key_name(source),))
            )
            assert not late.accepted

    async def test_a_set_that_comes_too_late_leaves_nothing(self, tier: Tier) -> None:
        for rid, names, invalidated in [
            ("a", (), key_name(key_of("a"))),
            ("b", (), tenant_name("acme")),
            ("c", (TAG,), TAG),
        ]:
            await store(tier, key_of(rid), Entry(b"before"))
            lease = await grant(tier, key_of(rid), force=True)
            await tier.invalidate([invalidated])
            assert not (await fill(tier, lease, Entry(b"set", names=names))).accepted
            assert await is_missing(tier, key_of(rid)), "what it was to replace is outdated too"

    async def test_a_set_is_fenced_by_the_miss_that_it_follows(self, tier: Tier) -> None:
        (miss,) = await tier.read([key_of("a")])
        await tier.invalidate([key_name(key_of("a"))])
        lease = await grant(tier, key_of("a"), miss, force=True)
        assert not (await fill(tier, lease, Entry(b"old"))).accepted
        assert await is_missing(tier, key_of("a"))

    async def test_an_older_version_never_replaces_a_newer_one(self, tier: Tier) -> None:
        for force in (False, True):
            older = await grant(tier, key_of("a"), force=force)
            lease = await grant(tier, key_of("a"), force=True)
            assert (await fill(tier, lease, Entry(b"5", version=5))).accepted
            await fill(tier, older, Entry(b"4", version=4))
            (left,) = await tier.read([key_of("a")])
            assert data_of(left) in (b"5", None)
            lease = await grant(tier, key_of("a"), force=force)
            assert not (await fill(tier, lease, Entry(b"4", version=4))).accepted
            (left,) = await tier.read([key_of("a")])
            assert data_of(left) in (b"5", None)
            await tier.invalidate([key_name(key_of("a"))])
            lease = await grant(tier, key_of("a"), force=force)
            assert not (await fill(tier, lease, Entry(b"4", version=4))).accepted, "nor when gone"
            assert await is_missing(tier, key_of("a"))

    async def test_an_entry_that_is_nothing_lets_what_is_there_go(self, tier: Tier) -> None:
        source, made = key_of("a"), key_of("b", data_type="answer")
        await store(tier, source, Entry(b"old"))
        await store(tier, made, Entry(b"x", names=(key_name(source),)))
        by_set = await grant(tier, source, force=True)
        filled = await fill(tier, by_set, Entry(b"new", version=7).nothing())
        assert filled.accepted
        assert await is_missing(tier, source)
        assert await is_missing(tier, made), "what was made of the old value went with it"
        older = await fill(tier, await grant(tier, source, force=True), Entry(b"6", version=6))
        assert older.outcome is Outcome.OLDER, "the version stays known"
        # In the place of what was seen and could not be served.
        await store(tier, key_of("c"), Entry(b"old"))
        await store(tier, key_of("d"), Entry(b"of c", names=(key_name(key_of("c")),)))
        (seen,) = await tier.read([key_of("c")])
        once = await grant(tier, key_of("c"), seen, once=True)
        assert (await fill(tier, once, Entry(b"new").nothing())).accepted
        assert await is_missing(tier, key_of("c"))
        assert (await found(tier, key_of("d"))).data == b"of c", "nobody is told"
