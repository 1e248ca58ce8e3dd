"""The feed of the SQLite tier, and how a file is recognised: positions, loss, replacement."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from cascada.model.errors import BadInput, TierUnavailable
from cascada.model.names import key_name, tenant_name, type_name
from cascada.testing.inside import InsideSqlite
from cascada.tiers.capabilities import FeedSource
from cascada.tiers.contract import (
    Lease,
    Missing,
    Tier,
    Why,
)
from cascada.tiers.polled_feed import Changes
from cascada.tiers.sqlite import reads as sqlite_reads
from cascada.tiers.sqlite.tier import SqliteTier
from tests.tiers.sqlite_world import World, entry, fill, grant, key, load, look, put


async def position(tier: SqliteTier) -> int:
    return (await tier.changes(None)).position


def test_it_is_a_tier_and_a_feed(world: World) -> None:
    tier: Tier = world.tier()
    assert isinstance(tier, FeedSource)


@pytest.mark.parametrize("inline", [False, True])
async def test_invalidations_of_all_processes_are_heard_in_their_order(
    world: World, inline: bool
) -> None:
    a, b, c = world.tier(inline_reads=inline), world.tier(), world.tier(namespace="other")
    start = await position(a)
    first = await b.invalidate([key_name(key(1)), tenant_name("acme2").replace("acme2", "acme")])
    second = await a.invalidate([tenant_name("acme2")])
    await c.invalidate([tenant_name("acme")])
    stored = await put(b, key(2), entry())
    heard = await a.changes(start)
    assert not heard.lost
    assert sorted(heard.names[:2]) == [(key_name(key(1)), first.seq), ("t:acme", first.seq)]
    assert heard.names[2:] == (("t:acme2", second.seq), (key_name(key(2)), stored.seq))
    assert heard.position >= stored.seq
    assert await a.changes(heard.position) == Changes(heard.position, (), lost=False)


async def test_a_quiet_database_is_looked_at_without_reading_it(world: World) -> None:
    tier, other = world.tier(), world.tier()
    start = await position(tier)
    seen: list[str] = []
    with InsideSqlite(tier).reader.link as connection:
        connection.set_trace_callback(seen.append)
    await tier.changes(start)
    assert seen == ["PRAGMA data_version"]
    await load(other, key())  # a commit that invalidates nothing
    assert await tier.changes(start) == Changes(start, (), lost=False)
    await tier.changes(start)
    assert seen[-1] == "PRAGMA data_version"
    gone = await other.invalidate([key_name(key())])
    assert (await tier.changes(start)).names == ((key_name(key()), gone.seq),)
    # The position before: asked again after a failure, nothing may be left out.
    assert (await tier.changes(start)).names == ((key_name(key()), gone.seq),)


async def test_more_changes_than_are_told_one_by_one_are_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_reads, "MOST_CHANGES", 3)
    tier = world.tier()
    start = await position(tier)
    await tier.invalidate([key_name(key(i)) for i in range(3)])
    assert len((await tier.changes(start)).names) == 3
    last = await tier.invalidate([key_name(key(3))])
    assert await tier.changes(start) == Changes(last.seq, (), lost=True)


async def test_who_missed_swept_tombstones_is_told(world: World) -> None:
    tier, poller = world.tier(max_tombstones=20), world.tier()
    start = await position(poller)
    numbers = [(await tier.invalidate([key_name(key(i))])).seq for i in range(21)]
    await tier.upkeep()
    left = world.sql("SELECT min(q), count(*) FROM tombstones")
    assert left == [(numbers[16], 5)]
    assert await poller.changes(start) == Changes(numbers[-1], (), lost=True)
    assert (await poller.changes(numbers[14])).lost
    heard = await poller.changes(numbers[15])
    assert not heard.lost
    assert [seq for _, seq in heard.names] == numbers[16:]


async def test_a_sweep_of_one_tenant_does_not_cost_a_poller_that_keeps_up(world: World) -> None:
    tier, poller = world.tier(max_tombstones=20), world.tier()
    at = await position(poller)
    for i in range(200):
        await tier.invalidate([key_name(key(i, tenant="noisy"))])
        if i % 3 == 0:
            heard = await poller.changes(at)
            assert not heard.lost
            at = heard.position


async def test_a_deleted_file_is_a_new_database(world: World) -> None:
    a, b = world.tier(), world.tier()
    await load(a, key())
    start, lease = await position(a), await grant(a, key("slow"))
    await b.invalidate([key_name(key("slow"))])
    for suffix in ("", "-wal", "-shm"):
        world.path.with_name(world.path.name + suffix).unlink()
    world.clock.advance(0.2)
    # The value was read before an invalidation that the new database knows nothing of.
    assert not (await fill(a, lease, entry(b"outdated"))).accepted
    assert not (await fill(a, lease, None)).accepted
    heard = await b.changes(start)
    assert heard.lost
    assert heard.position > start
    assert await look(a, key()) == Why.ABSENT
    assert (await load(a, key("slow"))).accepted
    assert await look(b, key("slow")) == b"value"


async def test_a_copy_put_in_its_place_revives_nothing(world: World, tmp_path: Path) -> None:
    a = world.tier()
    await load(a, key(1), entry(b"outdated"))
    await a.aclose()
    backup = shutil.copy(world.path, tmp_path / "backup.db")
    start, lease = await position(a), await grant(a, key(2))
    await a.invalidate([key_name(key(1)), key_name(key(2))])
    await a.aclose()
    os.replace(backup, world.path)
    b = world.tier()
    assert await look(b, key(1)) == Why.INVALIDATED
    assert not (await fill(b, lease, entry())).accepted
    assert (await b.changes(start)).lost
    assert (await load(b, key(1), entry(b"new"))).accepted
    await b.upkeep()
    assert await look(b, key(1)) == b"new"
    world.check_sums()


async def test_a_snapshot_restored_in_place_is_noticed_by_who_lived_on(
    world: World, tmp_path: Path
) -> None:
    a, b = world.tier(), world.tier()
    await load(a, key(), entry(b"outdated"))
    backup = sqlite3.connect(tmp_path / "backup.db")
    live = sqlite3.connect(world.path)
    live.backup(backup)
    await a.invalidate([key_name(key())])
    start = await position(b)
    backup.backup(live)
    live.close()
    backup.close()
    assert await look(a, key()) == b"outdated"  # nobody can know yet
    heard = await b.changes(start)
    assert heard.lost
    assert heard.position > start
    assert await look(a, key()) in (Why.INVALIDATED, Why.ABSENT)  # it may be swept away already
    # Every process that remembers the lost future says so once, and then all agree.
    assert (await a.changes(start)).lost
    assert await a.changes(heard.position) == Changes(heard.position, (), lost=False)


async def test_two_that_notice_it_at_once_begin_anew_once(world: World) -> None:
    a, b = world.tier(), world.tier()
    future = await position(a) + 5
    positions = set()
    for tier in (a, b):  # both have read the position of before
        await InsideSqlite(tier).restart(future)
        positions.add(await position(tier))
    assert len(positions) == 1
    assert (await load(a, key())).accepted
    before = await position(a)
    assert (await b.changes(future)).position == before
    assert await look(b, key()) == b"value"


async def test_a_newer_layout_is_left_alone(world: World) -> None:
    tier = world.tier()
    await load(tier, key())
    world.sql("PRAGMA user_version = 2")
    with pytest.raises(TierUnavailable, match="layout 2 and this cascada knows layouts up to 1"):
        await world.tier().read([key()])
    world.clock.advance(0.2)  # one that has it open notices as well
    with pytest.raises(TierUnavailable, match="a newer version uses the file"):
        await tier.invalidate([key_name(key())])
    assert world.sql("SELECT count(*) FROM tombstones") == [(0,)]


async def test_other_peoples_files_are_left_alone(world: World, tmp_path: Path) -> None:
    world.sql("CREATE TABLE theirs (x)")
    with pytest.raises(TierUnavailable, match="a database of another program"):
        await world.tier().read([key()])
    assert world.sql("SELECT name FROM sqlite_master") == [("theirs",)]
    world.sql("PRAGMA user_version = 1")
    with pytest.raises(TierUnavailable, match="a database of another program"):
        await world.tier().read([key()])
    text = tmp_path / "text"
    text.write_text("no database at all, but a text that is long enough to be a header" * 20)
    with pytest.raises(TierUnavailable, match="file is not a database") as caught:
        await world.tier(text).read([key()])
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    with pytest.raises(TierUnavailable, match="No such file or directory"):
        await world.tier(tmp_path / "no" / "folder.db").read([key()])
    with pytest.raises(BadInput, match="pass a file"):
        SqliteTier(":memory:", namespace="test", clock=world.clock)


async def test_a_number_from_nowhere_is_refused(world: World) -> None:
    tier = world.tier()
    real = await grant(tier, key())
    for seq in (0, real.seq - 1, real.seq + 1):
        assert not (await fill(tier, Lease(key(), seq), entry())).accepted
        assert not (await fill(tier, Lease(key(), seq), None)).accepted
    (lease,) = await tier.lease([key()], [Missing(0, Why.UNAVAILABLE)], force=True)
    assert isinstance(lease, Lease)
    assert not (await fill(tier, lease, entry())).accepted
    assert (await tier.changes(0)).lost


async def test_two_databases_never_count_alike(world: World, tmp_path: Path) -> None:
    # Made at one moment of the same clock, so that chance alone keeps them apart.
    starts = []
    for i in range(20):
        starts.append(await position(world.tier(tmp_path / f"{i}.db")))
    assert min(abs(x - y) for x in starts for y in starts if x != y) > 100
    assert len(set(starts)) == 20
    world.clock.advance(5)
    assert await position(world.tier(tmp_path / "later.db")) > max(starts)


async def test_type_names_of_one_process_reach_another_only_through_the_feed(world: World) -> None:
    a, b = world.tier(), world.tier()
    start = await position(b)
    gone = await a.invalidate([type_name("acme", "document")])
    assert (await b.changes(start)).names == ((type_name("acme", "document"), gone.seq),)
