"""Eviction, the sweep of tombstones, and damaged rows, while other processes go on."""

from __future__ import annotations

import pytest

from cascada.model.names import key_name, tag_name, type_name
from cascada.model.policy import CachePriority
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Found, Lease, Missing, Usage, Why
from cascada.tiers.sqlite import maintenance as sqlite_upkeep
from cascada.tiers.sqlite import reads as sqlite_reads
from cascada.tiers.sqlite.forgetting import Forgetting
from tests.tiers.sqlite_world import World, entry, fill, grant, key, load, look

ROW = 1400  # a little more than a row with a value of 1000 bytes weighs


# --- room ---------------------------------------------------------------------------------


async def test_usage_tells_what_is_there(world: World) -> None:
    tier = world.tier(capacity_bytes=10 * ROW)
    assert await tier.usage() == Usage(0, 0, 10 * ROW, 0)
    for i in range(5):
        await load(tier, key(i), entry(b"x" * 1000))
    usage = await tier.usage()
    assert (usage.entries, usage.evictions) == (5, 0)
    assert 5 * 1000 < usage.size_bytes < 5 * ROW
    await load(tier, key(0), entry(b"x" * 500))
    assert (await tier.usage()).size_bytes == usage.size_bytes - 500
    await tier.invalidate([key_name(key(0))])
    assert (await tier.usage()).entries == 4
    world.check_sums()


async def test_writes_alone_keep_it_within_its_size(world: World) -> None:
    tier = world.tier(capacity_bytes=50 * ROW)
    for i in range(200):
        await load(tier, key(i), entry(b"x" * 1000))
    # The step that follows a write runs when its caller has gone on: one more may be there.
    usage = await tier.usage()
    assert usage.size_bytes <= 51 * ROW
    assert usage.evictions >= 140
    assert await look(tier, key(199)) == b"x" * 1000
    world.check_sums()


async def test_a_batch_does_not_outrun_the_eviction(world: World) -> None:
    tier = world.tier(capacity_bytes=50 * ROW)
    many = [key(i) for i in range(2000)]
    leases = [lease for lease in await tier.lease(many, await tier.read(many))]
    await tier.fill([x for x in leases if isinstance(x, Lease)], [entry(b"x" * 1000)] * 2000)
    await tier.invalidate([type_name("acme", "other")])  # behind the last group's step
    assert (await tier.usage()).size_bytes <= 50 * ROW


async def test_low_rows_go_first_then_the_least_used(world: World) -> None:
    tier = world.tier()
    await load(tier, key("expired"), entry(b"x" * 1000, expires=world.clock.time() + 50))
    for name in ("old", "used", "low", "new"):
        world.clock.advance(10)
        await load(tier, key(name), entry(b"x" * 1000))
    low = CachePriority.LOW.value
    world.sql(f"UPDATE entries SET priority = {low} WHERE key LIKE '%low'")
    world.sql(f"UPDATE entries SET priority = {CachePriority.CRITICAL.value} WHERE key LIKE '%new'")
    world.clock.advance(100)
    assert await look(tier, key("used")) == b"x" * 1000
    await tier.upkeep()
    assert (await tier.usage()).entries == 4  # less the expired one
    gone: list[str] = []
    for rows in (3, 2, 1, 0):
        await world.tier(capacity_bytes=rows * ROW or 1).upkeep()
        left = {key_text.rpartition(":")[2] for (key_text,) in world.sql("SELECT key FROM entries")}
        gone += {"old", "used", "low", "new"} - left - set(gone)
    assert gone == ["low", "old", "new", "used"]
    # What had expired was no eviction.
    assert (await tier.usage()).evictions == 4


async def test_a_read_does_not_write(world: World) -> None:
    tier = world.tier()
    await load(tier, key())
    world.clock.advance(100)
    before = world.sql("SELECT used FROM entries")
    for _ in range(5):
        await look(tier, key())
    assert world.sql("SELECT used FROM entries") == before
    await tier.upkeep()
    assert world.sql("SELECT used FROM entries") == [(int(world.clock.time()),)]


async def test_many_reads_are_noted_by_themselves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reads, "MANY_NOTES", 10)
    tier = world.tier()
    for i in range(12):
        await load(tier, key(i))
    world.clock.advance(100)
    await tier.read([key(i) for i in range(12)])
    await tier.aclose()  # behind the step that was asked for
    assert world.sql("SELECT count(*) FROM entries WHERE used = ?", int(world.clock.time())) == [
        (12,)
    ]


async def test_expired_rows_leave_with_the_upkeep(world: World) -> None:
    tier = world.tier()
    for i in range(450):
        await load(tier, key(i), entry(expires=world.clock.time() + (1 if i % 2 else 100)))
    world.clock.advance(2)
    await tier.upkeep()
    assert (await tier.usage()).entries == 225
    world.check_sums()


async def test_expired_rows_make_room_before_any_other_goes(world: World) -> None:
    tier = world.tier()
    await load(tier, key("live"), entry(b"x" * 1000))
    await load(tier, key("expired"), entry(b"x" * 1000, expires=world.clock.time() + 5))
    world.clock.advance(60)
    await world.tier(capacity_bytes=ROW).upkeep()
    assert await look(tier, key("live")) == b"x" * 1000
    assert await look(tier, key("expired")) == Why.ABSENT


async def test_no_bound_is_no_eviction(world: World) -> None:
    tier = world.tier(capacity_bytes=0)
    await load(tier, key())
    await tier.upkeep()
    assert await look(tier, key()) == b"value"


# --- the sweep ----------------------------------------------------------------------------


async def make_noise(world: World, names: range) -> None:
    """Invalidations, by a tier that begins sweeps and takes no step of them."""
    tier = world.tier(max_tombstones=20)
    InsideSqlite(tier).without_upkeep()
    for i in names:
        await tier.invalidate([key_name(key(f"noise{i}"))])


async def many_tombstones(world: World, count: int = 21) -> None:
    """Enough invalidations of one tenant for a sweep that is only begun."""
    await make_noise(world, range(count))
    assert world.sql("SELECT sweep > 0 FROM tenants WHERE tenant = 'acme'") == [(1,)]


async def test_a_sweep_keeps_what_is_valid_and_revives_nothing(world: World) -> None:
    tier = world.tier()
    tag = tag_name("acme", "news")
    for i in range(300):
        await load(tier, key(i), entry(b"%d" % i, names=(tag,) if i % 3 else ()))
    await tier.invalidate([tag])
    await many_tombstones(world)
    await tier.upkeep()
    # The newest quarter stays, and what came after the sweep was begun.
    assert world.sql("SELECT sweep, tombstones FROM tenants") == [(0, 6)]
    answers = await tier.read([key(i) for i in range(300)])
    assert [isinstance(answer, Found) for answer in answers] == [i % 3 == 0 for i in range(300)]
    assert (await tier.usage()).entries == 100
    assert (await tier.invalidate([type_name("acme", "document")])).keys == 100
    world.check_sums()


async def test_a_lease_from_before_the_floor_is_void(world: World) -> None:
    a, b = world.tier(), world.tier()
    early = await grant(a, key())
    await b.invalidate([key_name(key())])
    await many_tombstones(world)
    late = await grant(a, key("late"))
    await b.upkeep()
    assert world.sql(f"SELECT 1 FROM tombstones WHERE name = '{key_name(key())}'") == []
    assert not (await fill(a, early, entry(b"outdated"))).accepted
    assert not (await fill(a, early, None)).accepted
    # The newest tombstones stay, so a load of a usual length does not notice the sweep.
    assert (await fill(a, late, entry())).accepted


async def test_a_set_from_before_the_floor_is_void(world: World) -> None:
    a, b = world.tier(), world.tier()
    early = await grant(a, key(), force=True)
    await b.invalidate([key_name(key())])
    await many_tombstones(world)
    await b.upkeep()
    assert not (await fill(a, early, entry(b"outdated"))).accepted
    assert await look(a, key()) == Why.ABSENT


async def test_what_happens_between_two_steps_of_a_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "CHUNK", 10)
    monkeypatch.setattr(sqlite_upkeep, "TOMBSTONES", 10)
    a, b = world.tier(), world.tier()
    tag = tag_name("acme", "news")
    for i in range(45):
        await load(a, key(i), entry(names=(tag,)))
    # Leases of before the floor that is aimed at: one that is filled before it is reached.
    early, slow, dead = [await grant(a, key(name)) for name in ("early", "slow", "dead")]
    await b.invalidate([key_name(key("dead"))])
    await many_tombstones(world, 60)

    async def one_step() -> bool:
        return await InsideSqlite(b).upkeep_step()

    assert await one_step()
    assert (await fill(a, early, entry(b"early"))).accepted
    assert not (await fill(a, dead, entry())).accepted
    await a.invalidate([key_name(key(1))])
    seen = await a.read([key(i) for i in range(45)])
    assert [isinstance(answer, Found) for answer in seen] == [i != 1 for i in range(45)]
    await one_step()
    gone = await a.invalidate([tag])
    assert gone.keys == 44
    while await one_step():
        answers = await a.read([key(i) for i in range(45)])
        assert {answer.why for answer in answers if isinstance(answer, Missing)} <= {
            Why.ABSENT,
            Why.INVALIDATED,
        }
        assert not any(isinstance(answer, Found) for answer in answers)
    assert await look(a, key("early")) == b"early"
    assert not (await fill(a, slow, entry())).accepted
    assert (await load(a, key("slow"))).accepted
    world.check_sums()


async def test_a_refresh_that_spans_a_sweep_replaces_the_lifted_row(world: World) -> None:
    a, b = world.tier(), world.tier()
    await load(a, key(), entry(b"stale"))
    await make_noise(world, range(18))
    refresh = await grant(a, key())
    await make_noise(world, range(18, 21))
    assert world.sql("SELECT sweep > 0, sweep < q FROM tenants") == [(1, 1)]
    await b.upkeep()
    assert await look(a, key()) == b"stale"
    assert (await fill(a, refresh, entry(b"fresh"))).accepted


async def test_a_noisy_tenant_empties_nobody_else(world: World) -> None:
    tier, noisy = world.tier(), world.tier(max_tombstones=20)
    await load(tier, key("row", tenant="quiet"))
    lease = await grant(tier, key("lease", tenant="quiet"))
    gone = await tier.invalidate([key_name(key("gone", tenant="quiet"))])
    old = Lease(key("gone", tenant="quiet"), gone.seq - 1)
    for i in range(100):
        await noisy.invalidate([key_name(key(i))])
    await noisy.upkeep()
    assert world.sql("SELECT tombstones <= 20 FROM tenants WHERE tenant = 'acme'") == [(1,)]
    assert await look(tier, key("row", tenant="quiet")) == b"value"
    assert (await fill(tier, lease, entry())).accepted
    assert not (await fill(tier, old, entry())).accepted


async def test_sweeps_come_by_themselves(world: World) -> None:
    tier = world.tier(max_tombstones=20)
    for i in range(200):
        await tier.invalidate([key_name(key(i))])
    ((count,),) = world.sql("SELECT count(*) FROM tombstones")
    assert count <= 23
    world.check_sums()


# --- damage -------------------------------------------------------------------------------


async def test_a_damaged_envelope_is_a_miss_that_goes_away(world: World) -> None:
    a, b = world.tier(), world.tier()
    for i in range(3):
        await load(a, key(i), entry(b"x" * 100))
    ((envelope,),) = world.sql("SELECT envelope FROM entries WHERE key LIKE '%:1'")
    for at in range(0, len(envelope), 7):
        damaged = bytearray(envelope)
        damaged[at] ^= 0x10
        world.sql("UPDATE entries SET envelope = ? WHERE key LIKE '%:1'", bytes(damaged))
        assert await look(b, key(1)) == Why.CORRUPT, at
        await b.upkeep()
        assert await look(b, key(1)) == Why.ABSENT
        await load(a, key(1), entry(b"x" * 100))
    assert [await look(b, key(i)) for i in range(3)] == [b"x" * 100] * 3
    world.check_sums()


@pytest.mark.parametrize("damage", ["", "not json", "[1, 2]", '{"a": 1}', b"\xff\x00"])
async def test_damaged_names_are_a_miss_and_stop_nothing(world: World, damage: object) -> None:
    tier = world.tier()
    for i in range(3):
        await load(tier, key(i))
    world.sql("UPDATE entries SET names = ? WHERE key LIKE '%:1'", damage)
    await tier.invalidate([key_name(key("other"))])  # from here on names matter
    answers = await tier.read([key(i) for i in range(3)])
    assert isinstance(answers[0], Found)
    assert isinstance(answers[2], Found)
    await many_tombstones(world)
    await tier.upkeep()
    assert (await load(tier, key(1))).accepted
    await tier.invalidate([type_name("acme", "document")])
    assert [await look(tier, key(i)) for i in range(3)] == [Why.INVALIDATED] * 3


async def test_a_row_that_was_replaced_is_not_removed_for_its_forerunner(world: World) -> None:
    a, b = world.tier(), world.tier()
    InsideSqlite(a).without_upkeep()  # the step that the reader asks for has not run yet
    await load(a, key())
    world.sql("UPDATE entries SET envelope = x'00'")
    assert await look(a, key()) == Why.CORRUPT
    await load(b, key(), entry(b"good"))
    await a.upkeep()
    assert await look(a, key()) == b"good"


async def test_a_row_that_was_mended_with_the_same_bytes_stays(world: World) -> None:
    """Its names were damaged, not its envelope, which is the same again."""
    a, b = world.tier(), world.tier()
    InsideSqlite(a).without_upkeep()
    await load(a, key())
    world.sql("UPDATE entries SET names = 'damage'")
    await b.invalidate([key_name(key("other"))])  # from here on names matter
    assert await look(a, key()) == Why.CORRUPT
    await load(b, key())
    await a.upkeep()
    assert await look(a, key()) == b"value"


async def test_another_namespace_loses_no_row_to_a_number_that_is_used_again(world: World) -> None:
    a, other = world.tier(), world.tier(namespace="other")
    InsideSqlite(a).without_upkeep()
    await load(a, key())
    world.sql("UPDATE entries SET envelope = x'00'")
    assert await look(a, key()) == Why.CORRUPT
    world.sql("DELETE FROM entries")
    await load(other, key(), entry(b"good"))
    assert world.sql("SELECT id FROM entries") == [(1,)]
    await a.upkeep()
    assert await look(other, key()) == b"good"


async def test_a_step_that_fails_is_undone_and_keeps_nobody_from_writing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails when it has evicted already, in a transaction that must not stay open."""

    def fails(*arguments: object) -> bool:
        raise ValueError("a step that fails")

    monkeypatch.setattr(Forgetting, "step", fails)
    tier, other = world.tier(capacity_bytes=1), world.tier()
    assert (await load(tier, key(1))).accepted
    assert (await load(tier, key(2))).accepted  # after the step, on the same thread
    assert "a step that fails" in caplog.text
    assert await look(other, key(1)) == b"value"
    assert (await load(other, key(3))).accepted
    world.check_sums()
