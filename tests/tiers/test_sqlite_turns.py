"""One load per key in all processes that share a cache database, whatever becomes of who loads."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from cascada import Cache, Limits, Policy, Scope
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideSqlite, inside
from cascada.tiers.contract import Busy, Fence, Found, Lease, Seen
from cascada.tiers.sqlite.load_turns import BEAT_LIFE, SUSPECTED, Turns
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import Row, turns, until

KEY = Key("acme", "x", None, None, None, "1")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[list[Cache]]:
    """Two processes' caches, as far as the database is concerned."""
    caches = [
        Cache(database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=10.0)) for _ in range(2)
    ]
    yield caches
    for cache in caches:
        await cache.aclose()


async def test_two_caches_load_each_key_once(pair: list[Cache]) -> None:
    calls: Counter[str] = Counter()

    async def load(name: str) -> str:
        calls[name] += 1
        await asyncio.sleep(0.05)
        return name

    names = [f"{number}" for number in range(10)]
    handles = [cache.tenant("acme") for cache in pair]
    loads = [
        handle.load("x", name, lambda name=name: load(name))
        for name in names for handle in handles for _ in range(10)
    ]  # fmt: skip
    assert Counter([hit.value for hit in await asyncio.gather(*loads)]) == dict.fromkeys(names, 20)
    assert calls == dict.fromkeys(names, 1)


async def test_many_at_once_are_loaded_once_and_wait_for_each_other_in_no_circle(
    pair: list[Cache],
) -> None:
    asked: Counter[str] = Counter()

    async def rows(ids: list[str]) -> list[str]:
        asked.update(ids)
        await asyncio.sleep(0.05)
        return ids

    names = [f"{number}" for number in range(300)]
    orders = names, names[::-1]
    both = [
        cache.tenant("acme").load_many("x", order, rows)
        for cache, order in zip(pair, orders, strict=True)
    ]
    here, there = await asyncio.gather(*both)
    assert [hit.value for hit in here] == [hit.value for hit in there][::-1] == names
    assert set(asked) == set(names)
    assert asked.total() == len(names)


async def test_who_asks_after_an_invalidation_does_not_wait_for_a_load_of_before(
    pair: list[Cache],
) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    old, new = Row("old"), Row("new")
    old.hold()
    first = asyncio.create_task(here.load("x", "1", old.read))
    await old.being_read()
    await there.invalidate("x", "1")
    assert (await there.load("x", "1", new.read)).value == "new"
    old.let_go()
    assert (await first).value == "old"
    assert (await here.load("x", "1", new.read)).value == "new"


async def test_another_invalidation_of_the_tenant_does_not_part_them(pair: list[Cache]) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    row = Row("value")
    row.hold()
    first = asyncio.create_task(here.load("x", "1", row.read))
    await row.being_read()
    await there.invalidate("x", "another")
    second = asyncio.create_task(there.load("x", "1", row.read))
    await asyncio.sleep(0.1)
    row.let_go()
    assert {(await first).value, (await second).value} == {"value"}
    assert row.reads == 1


async def test_what_fails_or_is_left_is_the_next_ones_turn(pair: list[Cache]) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    with pytest.raises(OSError, match="down"):
        await here.load("x", "1", Row(OSError("down")).read)
    assert (await there.load("x", "1", Row("value").read)).value == "value"

    row = Row("never")
    row.hold()
    left = asyncio.create_task(here.load("x", "2", row.read))
    await row.being_read()
    left.cancel()
    assert (await there.load("x", "2", Row("value").read)).value == "value"


async def test_what_replaced_damage_is_found_by_who_has_seen_the_damage(tmp_path: Path) -> None:
    """Both meet the damage; one loads, and the other gets the turn when that is stored."""
    path, clock = tmp_path / "cache.db", ManualClock()
    first, second = (SqliteTier(path, namespace="n", clock=clock, turns=True) for _ in range(2))
    entry = Entry(b"good", created=1.0)
    await first.fill(await leased(first, await first.read([KEY])), [Entry(b"old", created=1.0)])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE entries SET envelope = x'00'")
    InsideSqlite(first).without_upkeep()
    InsideSqlite(second).without_upkeep()
    here, there = await first.read([KEY]), await second.read([KEY])
    lease = await leased(first, here)
    assert isinstance((await second.lease([KEY], there))[0], Busy)
    await first.fill(lease, [entry])
    (found,) = await second.lease([KEY], there)
    assert isinstance(found, Found)
    assert found.entry.data == b"good"
    await first.aclose()
    await second.aclose()


async def leased(tier: SqliteTier, seen: Sequence[Seen]) -> list[Lease]:
    (lease,) = await tier.lease([KEY], seen)
    assert isinstance(lease, Lease)
    return [lease]


async def test_who_stores_what_is_made_already_waits_for_nobody_and_others_wait_for_it(
    tmp_path: Path,
) -> None:
    """As a strict lookup does at a level whose value its loader has brought already."""
    path, clock = tmp_path / "cache.db", ManualClock()
    first, second = (SqliteTier(path, namespace="n", clock=clock, turns=True) for _ in range(2))
    seen = await first.read([KEY])
    made = await leased(first, [Fence(seen[0].seq)])
    assert isinstance((await second.lease([KEY], seen))[0], Busy)
    await leased(second, [Fence(seen[0].seq)])
    await first.fill(made, [Entry(b"made", created=1.0)])
    (found,) = await second.lease([KEY], seen)
    assert isinstance(found, Found)
    loading = await leased(second, [found])
    await leased(first, [Fence(seen[0].seq)])
    await second.fill(loading, [None])
    await first.aclose()
    await second.aclose()


async def test_by_level_each_level_is_asked_once(pair: list[Cache]) -> None:
    asked: Counter[Scope] = Counter()

    async def row(scope: Scope) -> str | None:
        asked[scope] += 1
        await asyncio.sleep(0.02)
        return None if scope.parts else "value"

    for cache in pair:
        cache.set_policy("x", Policy(lookup="by_level", none_ttl=60))
    handles = [cache.tenant("acme", agent="a") for cache in pair for _ in range(3)]
    hits = await asyncio.gather(*[handle.load("x", "1", row) for handle in handles])
    assert {hit.value for hit in hits} == {"value"}
    assert asked == {Scope(agent="a"): 1, Scope(): 1}


async def test_while_redis_is_away_from_above_the_database_its_turns_count(tmp_path: Path) -> None:
    nowhere, path = "redis://127.0.0.1:1", str(tmp_path / "cache.db")
    caches = [Cache(redis=nowhere, database=path, limits=Limits(op_timeout=10.0)) for _ in range(3)]

    async def it_is_away(cache: Cache) -> None:
        while inside(cache).lower[0].available:
            await cache.tenant("acme").get("x", "warm")

    await asyncio.gather(*map(it_is_away, caches))
    calls: Counter[str] = Counter()

    async def load(name: str) -> str:
        calls[name] += 1
        await asyncio.sleep(0.03)
        return name

    names = [f"{number}" for number in range(5)]
    await asyncio.gather(*[
        cache.tenant("acme").load("x", name, partial(load, name))
        for name in names for cache in caches for _ in range(3)
    ])  # fmt: skip
    assert calls == dict.fromkeys(names, 1)
    for cache in caches:
        await cache.aclose()


async def test_with_somebody_above_who_grants_leases_nobody_waits_for_a_turn(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "cache.db", ManualClock()
    first, second = (SqliteTier(path, namespace="n", clock=clock, turns=True) for _ in range(2))
    second.somebody_above = lambda: True
    await leased(first, await first.read([KEY]))
    await leased(second, await second.read([KEY]))
    await first.aclose()
    await second.aclose()


async def test_a_stale_value_is_refreshed_by_one_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    policies = {"x": Policy(ttl=10, stale_for=60)}
    path = str(tmp_path / "cache.db")
    async with (
        Cache(database=path, clock=clock, policies=policies, limits=Limits(op_timeout=10.0)) as one,
        Cache(database=path, clock=clock, policies=policies, limits=Limits(op_timeout=10.0)) as two,
    ):
        await one.tenant("acme").set("x", "1", "old")
        clock.advance(20)
        row = Row("new")
        row.hold()
        for cache in (one, two):
            hit = await cache.tenant("acme").load("x", "1", row.read)
            assert (hit.value, hit.stale) == ("old", True)
        await row.being_read()
        await turns()
        row.let_go()
        await until(lambda: row.reads == 1)


PROCESS = """
import asyncio, os, sys, time
from cascada import Cache, Limits

path, log, mine = sys.argv[1:]

async def main():
    async with Cache(database=path, limits=Limits(op_timeout=10.0)) as cache:
        acme = cache.tenant("acme")

        async def load(name):
            with open(log, "a") as lines:
                lines.write(f"{name} {os.getpid()}\\n")
            await asyncio.sleep(3600 if mine == "hang" else 0.1)
            return name

        names = ["0"] if mine == "hang" else [str(number) for number in range(8)]
        if mine != "hang":
            sys.stdin.readline()
        print(*[(await acme.load("x", name, lambda: load(name))).value for name in names])

asyncio.run(main())
"""


async def test_contended_processes_load_once_and_one_that_is_killed_keeps_nobody_waiting(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.touch()

    def start(what: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path / "cache.db"), str(log), what],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def loaded() -> list[list[str]]:
        return [line.split() for line in log.read_text().splitlines()]

    with ExitStack() as stack:
        killed, *others = (stack.enter_context(start(what)) for what in ("hang", "load", "load"))
        for each in (killed, *others):
            stack.callback(each.kill)
        await until(lambda: loaded() == [["0", str(killed.pid)]], seconds=60)
        for each in others:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        await asyncio.sleep(0.3)
        killed.kill()
        ended = await asyncio.gather(*(asyncio.to_thread(each.communicate) for each in others))
    assert [said.split() for said, _ in ended] == [[*"01234567"]] * 2
    by_others = Counter(name for name, process in loaded() if process != str(killed.pid))
    assert by_others == dict.fromkeys("01234567", 1)


# --- the turns themselves ------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def two(tmp_path: Path, clock: ManualClock) -> list[Turns]:
    return [Turns(tmp_path / "cache.db", "test", clock) for _ in range(2)]


def test_a_turn_that_nobody_refers_to_has_ended(two: list[Turns]) -> None:
    here, there = two
    place = here.place(KEY, 0)
    turn, busy = here.take(place)
    assert turn is not None
    assert not busy
    assert there.take(place) == (None, True)
    assert there.take(there.place(KEY, 1))[0] is not None, "named since"
    del turn
    assert there.take(place)[0] is not None


def test_a_turn_taken_twice_by_one_process_is_held_until_both_have_ended(two: list[Turns]) -> None:
    here, there = two
    place = here.place(KEY, 0)
    first, second = here.take(place)[0], here.take(place)[0]
    assert first is not None
    assert second is not None
    first.end()
    first.end()
    assert there.take(place) == (None, True)
    second.end()
    assert there.take(place)[0] is not None


def test_who_stands_still_keeps_nobody_waiting_for_long(
    two: list[Turns], clock: ManualClock
) -> None:
    here, there = two
    place = here.place(KEY, 0)
    turn, _ = here.take(place)
    assert turn is not None
    for _ in range(5):
        clock.advance(BEAT_LIFE - 1)
        assert there.take(place) == (None, True)
        turn.renew()
    clock.advance(BEAT_LIFE + 1)
    assert there.take(place) == (None, True), "it may only just have begun"
    clock.advance(SUSPECTED)
    assert there.take(place) == (None, False)
    turn.renew()
    assert there.take(place) == (None, True)


def test_where_nothing_can_be_locked_each_loads_for_itself(clock: ManualClock) -> None:
    turns = Turns(Path("/proc/no/such/folder"), "test", clock)
    assert turns.take(turns.place(KEY, 0)) == (None, False)
    turns.close()


def test_what_is_closed_is_given_back(two: list[Turns]) -> None:
    here, there = two
    turn, _ = here.take(here.place(KEY, 0))
    here.close()
    taken, _ = there.take(there.place(KEY, 0))
    assert taken is not None
    assert turn is not None
    turn.end()
    assert here.take(here.place(KEY, 0)) == (None, True)
