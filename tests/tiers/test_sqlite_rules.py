"""Leases, fills, sets, versions and invalidations of the SQLite tier, interleaved by hand.

`a` and `b` are two processes on one file.
"""

from __future__ import annotations

import math

import pytest

from cascada.model.errors import BadInput
from cascada.model.names import (
    key_name,
    part_names,
    resource_names,
    static_names,
    tag_name,
    tenant_name,
    type_name,
)
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import EntryCount, Filled, Found, Lease, Missing, Outcome, Why
from tests.tiers.sqlite_world import World, entry, fill, grant, key, load, look, put


async def test_a_value_comes_back_as_it_was_stored(world: World) -> None:
    a, b = world.tier(), world.tier()
    stored = entry(b"\x00bytes", expires=world.clock.time() + 60, names=("#:acme:x",), version=3)
    assert (await load(a, key(), stored)).accepted
    (found,) = await b.read([key()])
    assert isinstance(found, Found)
    got = found.entry
    assert (got.data, got.expires, got.names, got.version) == (
        stored.data, stored.expires, stored.names, stored.version,
    )  # fmt: skip


async def test_a_batch_is_answered_in_its_order(world: World) -> None:
    tier = world.tier()
    tenants = [key(i, tenant=f"t{i % 3}") for i in range(650)]
    leases = await tier.lease(tenants, await tier.read(tenants))
    filled = await tier.fill(
        [lease for lease in leases if isinstance(lease, Lease)],
        [entry(b"%d" % i) if i % 5 else None for i in range(650)],
    )
    assert all(answer.accepted for answer in filled)
    answers = await tier.read([*tenants, key("none"), tenants[1]])
    values = [answer.entry.data if isinstance(answer, Found) else None for answer in answers]
    assert values == [b"%d" % i if i % 5 else None for i in range(650)] + [None, b"1"]
    assert await tier.read([]) == []
    assert await tier.fill([], []) == []


async def test_a_long_batch_is_of_one_moment(world: World) -> None:
    """It is read in several goes; else half of what a cascade has reached would be found."""
    a, b = world.tier(), world.tier()
    keys = [key(i) for i in range(250)]
    await load(a, keys[0], entry())
    await load(a, keys[-1], entry())

    async def invalidate(go: int) -> None:
        if go == 2:
            await b.invalidate([key_name(keys[0]), key_name(keys[-1])])

    InsideSqlite(a).before_each_go(invalidate)
    assert [each for each in await a.read(keys) if isinstance(each, Found)] == []


async def test_an_expired_entry_is_missing_from_its_second_on(world: World) -> None:
    tier = world.tier()
    await load(tier, key(), entry(expires=world.clock.time() + 10))
    world.clock.advance(9.999)
    assert await look(tier, key()) == b"value"
    world.clock.advance(0.001)
    assert await look(tier, key()) == Why.EXPIRED


async def test_tenants_and_namespaces_are_apart(world: World) -> None:
    here, there = world.tier(), world.tier(namespace="other")
    await load(here, key(), entry(b"here"))
    await load(there, key(), entry(b"there"))
    await load(here, key(tenant="acme2"), entry(b"acme2"))
    assert [await look(here, key()), await look(there, key())] == [b"here", b"there"]
    await there.invalidate([tenant_name("acme")])
    assert [await look(here, key()), await look(there, key())] == [b"here", Why.INVALIDATED]
    await here.invalidate([tenant_name("acme")])
    assert [await look(here, key()), await look(here, key(tenant="acme2"))] == [
        Why.INVALIDATED,
        b"acme2",
    ]


async def test_every_name_that_an_entry_bears_voids_it(world: World) -> None:
    a, b = world.tier(), world.tier()
    wanted = key(agent="a1", conversation="c7")
    tags = (tag_name("acme", "news"), key_name(key("source")))
    for name in [*static_names(wanted), *tags]:
        assert (await load(a, wanted, entry(names=tags))).accepted
        assert await look(a, wanted) == b"value"
        before = (await b.read([key("bystander")]))[0].seq
        gone = await b.invalidate([name])
        assert gone.seq > before
        assert gone.keys == 1
        (answer,) = await a.read([wanted])
        if name == key_name(wanted):
            assert answer == Missing(gone.seq, Why.ABSENT)
        else:
            assert answer == Missing(gone.seq, Why.INVALIDATED, name)


async def test_names_that_it_does_not_bear_leave_it(world: World) -> None:
    tier = world.tier()
    await load(tier, key(agent="a1"))
    await tier.invalidate([
        *resource_names("acme", "document", "2", key().scope), type_name("acme", "agent"),
        *part_names("acme", key(agent="a2").scope), tag_name("acme", "news"), key_name(key()),
    ])  # fmt: skip
    assert await look(tier, key(agent="a1")) == b"value"


async def test_a_lease_costs_no_io_when_the_read_is_known(world: World) -> None:
    a, b = world.tier(), world.tier()
    seen = await a.read([key()])
    await b.invalidate([key_name(key("other"))])
    leases = await a.lease([key(), key("unread")], [seen[0], None])
    known, unread = (lease.seq for lease in leases if isinstance(lease, Lease))
    assert known == seen[0].seq < unread
    closed = world.tier()
    await closed.lease([key()], seen)
    assert InsideSqlite(closed).reader.link.is_open is False


@pytest.mark.parametrize("name_of", ["static", "dynamic"])
async def test_a_slow_load_is_refused_after_an_invalidation(world: World, name_of: str) -> None:
    a, b = world.tier(), world.tier()
    tag = tag_name("acme", "news")
    lease = await grant(a, key())
    gone = await b.invalidate([type_name("acme", "document") if name_of == "static" else tag])
    assert await fill(a, lease, entry(names=(tag,))) == Filled(accepted=False, seq=gone.seq)
    assert await look(b, key()) == Why.ABSENT


async def test_a_lease_is_as_old_as_its_read(world: World) -> None:
    a, b = world.tier(), world.tier()
    seen = await a.read([key()])
    await b.invalidate([key_name(key())])
    (lease,) = await a.lease([key()], seen)
    assert isinstance(lease, Lease)
    assert not (await fill(a, lease, entry())).accepted


async def test_a_release_stores_nothing_and_tells_whether_the_lease_stood(world: World) -> None:
    a, b = world.tier(), world.tier()
    lease, unknown = await grant(a, key()), await grant(a, key(tenant="nobody"))
    assert await fill(a, lease, None) == Filled(accepted=True, seq=lease.seq)
    assert await fill(a, unknown, None) == Filled(accepted=True, seq=unknown.seq)
    gone = await b.invalidate([key_name(key())])
    assert await fill(a, lease, None) == Filled(accepted=False, seq=gone.seq)
    assert await look(a, key()) == Why.ABSENT
    assert world.sql("SELECT tenant FROM tenants") == [("acme",)]


async def test_a_refresh_replaces_the_stale_row(world: World) -> None:
    tier = world.tier()
    await load(tier, key(), entry(b"old"))
    assert (await load(tier, key(), entry(b"new"))).accepted
    assert await look(tier, key()) == b"new"


async def test_an_older_lease_does_not_replace_a_newer_row(world: World) -> None:
    a, b = world.tier(), world.tier()
    early = await grant(a, key())
    gone = await b.invalidate([key_name(key("other"))])
    assert (await load(b, key(), entry(b"later load"))).accepted
    assert await fill(a, early, entry(b"earlier load")) == Filled(accepted=False, seq=gone.seq)
    assert await look(a, key()) == b"later load"


@pytest.mark.parametrize("how", ["expired", "invalidated"])
async def test_a_newer_row_that_is_dead_makes_room(world: World, how: str) -> None:
    a, b = world.tier(), world.tier()
    tag = tag_name("acme", "news")
    early = await grant(a, key())
    await b.invalidate([key_name(key("other"))])
    await load(b, key(), entry(b"later", names=(tag,), expires=world.clock.time() + 1))
    if how == "expired":
        world.clock.advance(2)
    else:
        await b.invalidate([tag])
    assert (await fill(a, early, entry(b"earlier"))).accepted
    assert await look(b, key()) == b"earlier"


async def test_a_set_voids_every_other_lease_of_its_key(world: World) -> None:
    a, b = world.tier(), world.tier()
    slow = await grant(a, key())
    stored = await put(b, key(), entry(b"set"))
    assert stored.accepted
    assert stored.seq > slow.seq
    assert await fill(a, slow, entry(b"old")) == Filled(accepted=False, seq=stored.seq)
    assert await look(a, key()) == b"set"


async def test_a_slow_load_does_not_come_back_when_the_set_row_was_pruned(world: World) -> None:
    a, b = world.tier(), world.tier(capacity_bytes=1)
    slow = await grant(a, key())
    await put(b, key(), entry(b"set"))
    await b.upkeep()
    assert await look(a, key()) == Why.ABSENT
    assert not (await fill(a, slow, entry(b"old"))).accepted
    assert await look(a, key()) == Why.ABSENT


@pytest.mark.parametrize("what", ["its type", "its tag", "the key"])
async def test_a_set_that_was_overtaken_leaves_nothing(world: World, what: str) -> None:
    a, b = world.tier(), world.tier()
    tag = tag_name("acme", "news")
    name = {"its type": type_name("acme", "document"), "its tag": tag, "the key": key_name(key())}
    await load(b, key(), entry(b"row"))
    lease = await grant(a, key(), force=True)
    gone = await b.invalidate([name[what]])
    await load(b, key(), entry(b"row of after the invalidation"))
    answer = await fill(a, lease, entry(b"set", names=(tag,)))
    assert not answer.accepted
    assert answer.seq > gone.seq
    # What it would have stored may be outdated, and so may be what others are loading.
    assert await look(b, key()) == Why.ABSENT


async def test_of_crossing_sets_no_older_one_survives(world: World) -> None:
    a, b = world.tier(), world.tier()
    first, second = await grant(a, key(), force=True), await grant(b, key(), force=True)
    assert (await fill(b, second, entry(b"second"))).accepted
    assert not (await fill(a, first, entry(b"first"))).accepted
    assert await look(a, key()) == Why.ABSENT


async def test_a_set_of_the_same_key_twice_in_a_batch(world: World) -> None:
    tier = world.tier()
    (seen,) = await tier.read([key()])
    leases = await tier.lease([key(), key()], [seen, seen], force=True)
    answers = await tier.fill(
        [lease for lease in leases if isinstance(lease, Lease)], [entry(b"1"), entry(b"2")]
    )
    assert [answer.accepted for answer in answers] == [True, False]
    assert await look(tier, key()) == Why.ABSENT
    world.check_sums()


async def test_what_one_batch_has_stored_the_same_batch_compares_with(world: World) -> None:
    """An equal set under a void lease stays, also where the row was written a moment before."""
    tier = world.tier()
    first, second = await grant(tier, key(), force=True), await grant(tier, key(), force=True)
    once = await tier.lease([key()], [(await tier.read([key()]))[0]], once=True)
    assert isinstance(once[0], Lease)
    equal = entry(b"a", names=("#:acme:t",), expires=9e9)
    equal.fresh_until = 9e9
    answers = await tier.fill([first, second, once[0]], [equal, equal, entry(b"late")])
    assert [answer.accepted for answer in answers] == [True, True, False]
    assert answers[1].outcome is Outcome.EQUAL
    assert await look(tier, key()) == b"a"
    world.check_sums()
    assert (await tier.invalidate(["#:acme:t"])).keys == 1
    world.check_sums()


async def test_an_older_version_never_replaces_a_newer_one(world: World) -> None:
    tier = world.tier()
    await put(tier, key(), entry(b"five", version=5))
    before = (await tier.read([key()]))[0].seq
    assert await put(tier, key(), entry(b"four", version=4)) == Filled(
        accepted=False, seq=before, outcome=Outcome.OLDER
    )
    assert not (await load(tier, key(), entry(b"four", version=4))).accepted
    assert await look(tier, key()) == b"five"
    assert (await put(tier, key(), entry(b"also five", version=5))).accepted
    assert (await put(tier, key(), entry(b"six", version=6))).accepted
    assert (await put(tier, key(), entry(b"none"))).accepted


@pytest.mark.parametrize("how", ["key", "type", "evicted"])
async def test_a_version_outlives_its_row(world: World, how: str) -> None:
    tier = world.tier()
    await put(tier, key(), entry(b"five", version=5))
    if how == "evicted":
        full = world.tier(capacity_bytes=1)
        await full.upkeep()
    else:
        name = {"key": key_name(key()), "type": type_name("acme", "document")}[how]
        await tier.invalidate([name])
        await tier.invalidate([name])
    assert not (await put(tier, key(), entry(b"four", version=4))).accepted
    assert not (await load(tier, key(), entry(b"four", version=4))).accepted
    assert (await load(tier, key(), entry(b"five again", version=5))).accepted


async def test_the_version_of_a_refused_set_keeps_older_ones_out(world: World) -> None:
    tier = world.tier()
    lease = await grant(tier, key(), force=True)
    await tier.invalidate([key_name(key())])
    assert not (await fill(tier, lease, entry(b"18", version=18))).accepted
    assert not (await put(tier, key(), entry(b"17", version=17))).accepted
    assert (await put(tier, key(), entry(b"19", version=19))).accepted


async def test_counts_are_exact_for_keys(world: World) -> None:
    tier = world.tier()
    await load(tier, key(1))
    await load(tier, key(2), entry(expires=world.clock.time() + 1))
    await load(tier, key(3, data_type="other"))
    await tier.invalidate([type_name("acme", "other")])
    world.clock.advance(2)
    names = [key_name(key(i)) for i in (1, 2, "never")]
    names.append(key_name(key(3, data_type="other")))
    gone = await tier.invalidate(names)
    assert (gone.keys, gone.exact) == (1, True)
    assert await tier.usage() == await world.tier().usage()
    assert (await tier.usage()).entries == 0


async def test_counts_of_groups_are_upper_bounds(world: World) -> None:
    tier = world.tier()
    name, tag = type_name("acme", "document"), tag_name("acme", "news")
    for i in range(10):
        await load(tier, key(i), entry(names=(tag,) if i < 4 else ()))
    await load(tier, key(0), entry(names=(tag,)))  # a refresh is no further row
    told = await tier.invalidate([tag])
    assert (told.keys, told.exact, told.seq) == (4, False, (await tier.read([key()]))[0].seq)
    assert told.counts == (EntryCount(0, 4),)
    await load(tier, key(0))  # the row is refilled, without the tag
    assert (await tier.invalidate([tag])).keys == 0
    one = await tier.invalidate([name, key_name(key(9))])
    assert (one.keys, one.exact) == (10, False)
    assert (await tier.invalidate([name])).keys == 0
    world.check_sums()
    await load(tier, key(0), entry(names=(tag, tag, name)))  # named twice, counted once
    assert (await tier.invalidate([tag])).keys == 1
    world.check_sums()


async def test_what_was_made_of_a_key_counts_with_it(world: World) -> None:
    tier = world.tier()
    await load(tier, key("source"))
    await load(tier, key("answer"), entry(names=(key_name(key("source")),)))
    gone = await tier.invalidate([key_name(key("source"))])
    assert (gone.keys, gone.exact) == (2, False)
    assert await look(tier, key("answer")) == Why.INVALIDATED


async def test_an_invalidation_names_one_tenant(world: World) -> None:
    tier = world.tier()
    for names in ([], [tenant_name("acme"), tenant_name("acme2")]):
        with pytest.raises(BadInput, match="tenants were to be invalidated at once"):
            await tier.invalidate(names)


async def test_the_same_name_twice_is_once(world: World) -> None:
    tier = world.tier()
    await load(tier, key())
    gone = await tier.invalidate([key_name(key()), key_name(key())])
    assert (gone.keys, gone.exact) == (1, True)


async def test_infinite_and_absurd_expiries(world: World) -> None:
    tier = world.tier()
    await load(tier, key(1), entry(expires=math.inf))
    await load(tier, key(2), entry(expires=1e301))
    await load(tier, key(3), entry(expires=2.0))
    world.clock.advance(1e9)
    assert [await look(tier, key(i)) for i in (1, 2, 3)] == [b"value", b"value", Why.EXPIRED]
