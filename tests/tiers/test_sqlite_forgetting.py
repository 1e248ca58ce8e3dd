"""Tenants that came once leave nothing behind, and what was read before they went stays void."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada.model.names import key_name, tenant_name
from cascada.tiers.contract import Lease
from cascada.tiers.sqlite import forgetting as sqlite_forgetting
from cascada.tiers.sqlite.tier import SqliteTier
from tests.tiers.sqlite_world import World, entry, fill, grant, key, load, look, put

KEPT = 20


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(sqlite_forgetting, "KEPT", KEPT)
    monkeypatch.setattr(sqlite_forgetting, "NEWS", 0)
    monkeypatch.setattr(sqlite_forgetting, "CHUNK", 7)
    made = World(tmp_path / "cache.db")
    yield made
    await made.close()


async def others_are_invalidated(tier: SqliteTier, times: int = KEPT + 1) -> None:
    for _ in range(times):
        await tier.invalidate([tenant_name("noise")])


async def all_is_looked_at(world: World, tier: SqliteTier) -> None:
    """Enough has come for a round, and has gone again."""
    (there,) = world.sql("SELECT count(*) FROM tenants")[0]
    for number in range(there + 2):
        await load(tier, key(tenant=f"new{number}"), entry(expires=world.clock.time() + 1))
    world.clock.advance(2)
    await tier.upkeep()
    await tier.upkeep()


def left_of(world: World, tenant: str) -> int:
    ((count,),) = world.sql("SELECT count(*) FROM tenants WHERE tenant = ?", tenant)
    return int(count)


async def test_tenants_that_came_once_leave_nothing_behind(world: World) -> None:
    tier = world.tier()
    for number in range(120):
        await put(tier, key(tenant=f"t{number}"), entry(expires=world.clock.time() + 10))
    world.clock.advance(20)
    await tier.upkeep()
    await others_are_invalidated(tier)
    await all_is_looked_at(world, tier)
    assert world.sql("SELECT count(*) FROM entries") == [(0,)]
    ((tenants, tombstones),) = world.sql("SELECT count(*), sum(tombstones) FROM tenants")
    assert tenants <= KEPT
    assert world.sql("SELECT count(*) FROM tombstones") == [(tombstones,)]
    assert tombstones <= KEPT
    world.check_sums()


async def test_who_was_invalidated_lately_is_remembered(world: World) -> None:
    tier = world.tier()
    await others_are_invalidated(tier)
    await tier.invalidate([tenant_name("acme")])
    await all_is_looked_at(world, tier)
    assert left_of(world, "acme") == 1
    assert left_of(world, "noise") == 1


@pytest.mark.parametrize("known", [False, True], ids=["of somebody unknown", "of somebody known"])
async def test_what_was_read_before_the_last_invalidation_of_somebody_forgotten_is_refused(
    world: World, known: bool
) -> None:
    a, b = world.tier(), world.tier()
    await others_are_invalidated(a, 1)
    if known:
        await a.invalidate([key_name(key("another"))])
    loaded, made, late = await grant(a, key()), await grant(a, key()), await grant(a, key("2"))
    await a.invalidate([key_name(key()), key_name(key("2"))])
    await others_are_invalidated(a)
    await all_is_looked_at(world, b)
    assert left_of(world, "acme") == 0
    assert not (await fill(a, loaded, None)).accepted
    assert not (await fill(a, loaded, entry(b"old"))).accepted
    assert (await load(b, key(), entry(b"new"))).accepted
    assert not (await fill(a, made, entry(b"old"))).accepted
    assert not (await fill(a, late, entry(b"old"))).accepted
    assert [await look(a, key()), await look(a, key("2"))] == [b"new", "absent"]
    world.check_sums()


async def test_numbers_of_the_forgotten_go_on_rising(world: World) -> None:
    tier = world.tier()
    before = await tier.invalidate([tenant_name("acme")])
    await others_are_invalidated(tier)
    await all_is_looked_at(world, tier)
    assert left_of(world, "acme") == 0
    (seen,) = await tier.read([key()])
    (lease,) = await tier.lease([key()], [None])
    assert isinstance(lease, Lease)
    assert seen.seq == lease.seq >= before.seq
    assert (await tier.invalidate([tenant_name("acme")])).seq > seen.seq


async def test_a_load_of_somebody_who_was_never_invalidated_goes_on(world: World) -> None:
    """Nothing has to be remembered of him, so that nobody's load is refused for it."""
    tier = world.tier()
    loading = await grant(tier, key(tenant="slow"))
    await load(tier, key(), entry(expires=world.clock.time() + 1))
    await all_is_looked_at(world, tier)
    assert left_of(world, "acme") == 0
    assert (await fill(tier, loading, entry())).accepted


async def test_who_has_rows_keeps_them_and_loses_his_old_tombstones(world: World) -> None:
    tier = world.tier()
    for number in range(10):
        await put(tier, key(number), entry(expires=world.clock.time() + 1))
    await load(tier, key("kept"))
    old = await grant(tier, key("old"))
    await tier.invalidate([key_name(key("old"))])
    await others_are_invalidated(tier)
    await all_is_looked_at(world, tier)
    assert world.sql("SELECT tombstones FROM tenants WHERE tenant = 'acme'") == [(0,)]
    assert await look(tier, key("kept")) == b"value"
    assert not (await fill(tier, old, entry(b"old"))).accepted
    world.check_sums()


async def test_who_has_not_heard_of_what_was_forgotten_is_told_so(world: World) -> None:
    tier = world.tier()
    position = (await tier.changes(None)).position
    await tier.invalidate([tenant_name("acme")])
    await others_are_invalidated(tier)
    recent = (await tier.changes(None)).position - KEPT
    await all_is_looked_at(world, tier)
    assert (await tier.changes(position)).lost
    assert not (await tier.changes(recent)).lost


async def test_so_is_he_of_who_had_rows_when_the_numbers_of_the_unknown_rose(world: World) -> None:
    tier = world.tier()
    position = (await tier.changes(None)).position
    await tier.invalidate([tenant_name("acme")])
    await others_are_invalidated(tier)
    # As if another round had passed him by, and had not swept his tombstone yet.
    world.sql("UPDATE meta SET born = (SELECT q FROM tenants WHERE tenant = 'acme')")
    await all_is_looked_at(world, tier)
    assert left_of(world, "acme") == 0
    assert (await tier.changes(position)).lost


async def test_a_file_that_was_replaced_in_the_middle_of_a_round_is_not_taken_for_it(
    world: World,
) -> None:
    tier = world.tier()
    await put(tier, key(), entry())
    for number in range(30):
        await load(tier, key(tenant=f"t{number}"), entry())
    await tier.upkeep()
    world.path.unlink()
    for name in ("-wal", "-shm"):
        world.path.with_name(world.path.name + name).unlink(missing_ok=True)
    await load(world.tier(), key(), entry(b"in the new file"))
    await all_is_looked_at(world, world.tiers[-1])
    ((born, seq),) = world.sql("SELECT born, q FROM meta")
    assert born <= seq
    assert await look(world.tiers[-1], key()) == b"in the new file"
