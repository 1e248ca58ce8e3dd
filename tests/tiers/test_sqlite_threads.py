"""Where the SQLite tier runs: threads, loops, cancelled callers, locked files."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from cascada.model.errors import TierUnavailable
from cascada.model.names import key_name
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Found, Why
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import until
from tests.tiers.sqlite_world import (
    World,
    entry,
    fill,
    grant,
    key,
    load,
    look,
    pause_writer,
    put,
)


async def test_nothing_is_opened_before_the_first_call(world: World) -> None:
    before = set(threading.enumerate())
    tier = world.tier()
    assert not world.path.exists()
    assert not set(threading.enumerate()) - before
    await tier.aclose()
    assert not world.path.exists()
    await look(tier, key())
    assert world.path.exists()


async def test_closing_is_idempotent_and_not_for_ever(world: World) -> None:
    tier = world.tier()
    before = set(threading.enumerate())
    await load(tier, key())
    started = set(threading.enumerate()) - before
    assert sorted(thread.name for thread in started) == [
        "cascada-l3-reader_0",
        "cascada-l3-writer_0",
    ]
    await tier.aclose()
    await tier.aclose()
    assert not world.path.with_name("cache.db-wal").exists()
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()
    assert await look(tier, key()) == b"value"


@pytest.mark.parametrize("inline", [False, True])
def test_three_runs_in_a_row(tmp_path: Path, inline: bool) -> None:
    tier = SqliteTier(
        tmp_path / "cache.db", namespace="test", clock=ManualClock(), inline_reads=inline
    )

    async def once(number: int) -> bytes | str:
        before = await look(tier, key())
        await put(tier, key(), entry(b"%d" % number))
        return before

    assert [asyncio.run(once(number)) for number in range(3)] == [Why.ABSENT, b"0", b"1"]
    asyncio.run(tier.aclose())


def test_two_loops_at_once(tmp_path: Path) -> None:
    tier = SqliteTier(tmp_path / "cache.db", namespace="test", clock=ManualClock())
    failures: list[object] = []

    async def work(name: str) -> None:
        for i in range(30):
            await put(tier, key(f"{name}{i}"), entry(name.encode()))
            if await look(tier, key(f"{name}{i}")) != name.encode():
                failures.append((name, i))

    threads = [threading.Thread(target=asyncio.run, args=(work(name),)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    asyncio.run(tier.aclose())


async def test_the_loop_goes_on_while_the_database_is_locked(world: World) -> None:
    tier = world.tier(busy_timeout=0.3)
    await load(tier, key())
    locker = sqlite3.connect(world.path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    turns = 0
    task = asyncio.ensure_future(tier.invalidate([key_name(key())]))
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not task.done():
        turns += 1
        assert await look(tier, key()) == b"value"  # readers do not wait for writers
    assert 0.2 < loop.time() - started < 3
    assert turns > 20
    with pytest.raises(TierUnavailable, match=r"cache\.db did not answer: database is locked"):
        await task
    assert isinstance(task.exception().__cause__, sqlite3.OperationalError)
    locker.execute("COMMIT")
    locker.close()
    assert (await tier.invalidate([key_name(key())])).keys == 1


async def test_a_writer_that_has_waited_for_long_is_not_the_last_to_notice(world: World) -> None:
    """By itself SQLite would by now look at the lock every 100 ms, and find another in between."""
    tier = world.tier(busy_timeout=5.0)
    await load(tier, key())
    late = []
    with closing(sqlite3.connect(world.path, isolation_level=None)) as other:
        for number in range(7):
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.get_running_loop().create_task(tier.invalidate([key_name(key())]))
            await asyncio.sleep(0.3 + 0.013 * number)
            assert not writing.done()
            other.execute("COMMIT")
            released = time.perf_counter()
            await writing
            late.append(time.perf_counter() - released)
    assert sorted(late)[3] < 0.03, late


async def test_an_inline_reader_lets_a_thread_make_the_file(world: World) -> None:
    tier = world.tier(inline_reads=True)
    assert await look(tier, key()) == Why.ABSENT
    assert InsideSqlite(tier).writer.link.is_open


async def test_another_program_that_comes_and_goes_takes_nothing_away(world: World) -> None:
    """Whoever closes a database last removes its log: our locks have to say that we are here."""
    tier = world.tier()
    await load(tier, key())
    visit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('ANALYZE'); c.close()"
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", visit, str(world.path))
    assert await program.wait() == 0
    assert world.path.with_name("cache.db-wal").exists()
    assert await look(tier, key()) == b"value"


@pytest.mark.parametrize("inline", [False, True])
async def test_a_file_that_is_locked_from_the_start(world: World, inline: bool) -> None:
    locker = sqlite3.connect(world.path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    tier = world.tier(inline_reads=inline, busy_timeout=0.05)
    with pytest.raises(TierUnavailable, match="database is locked"):
        await tier.read([key()])
    locker.execute("COMMIT")
    locker.close()
    assert await look(tier, key()) == Why.ABSENT


async def test_a_cancelled_reader_leaves_nothing_open(world: World) -> None:
    tier = world.tier()
    await load(tier, key())
    tasks = [asyncio.ensure_future(tier.read([key()])) for _ in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in done[::2])
    assert all(isinstance(answers[0], Found) for answers in done[1::2])
    await put(tier, key(), entry(b"new"))
    assert await look(tier, key()) == b"new"
    with InsideSqlite(tier).reader.link as connection:
        assert not connection.in_transaction


async def test_what_a_cancelled_writer_asked_for_is_done(world: World) -> None:
    tier, other = world.tier(), world.tier()
    await load(tier, key(1))
    lease = await grant(tier, key(2))
    go_on = pause_writer(tier)
    asked = [
        asyncio.ensure_future(tier.invalidate([key_name(key(1))])),
        asyncio.ensure_future(fill(tier, lease, entry(b"two"))),
    ]
    await asyncio.sleep(0)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    go_on.set()
    await load(tier, key(3))  # behind them
    assert [await look(other, key(i)) for i in (1, 2, 3)] == [Why.ABSENT, b"two", b"value"]
    world.check_sums()


async def test_waiting_writers_share_a_commit_and_not_their_failures(world: World) -> None:
    tier = world.tier()
    await load(tier, key(0))
    leases = [await grant(tier, key(i)) for i in range(10)]
    statements: list[str] = []
    with InsideSqlite(tier).writer.link as connection:
        connection.set_trace_callback(statements.append)

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM entries")
        raise ZeroDivisionError

    go_on = pause_writer(tier)
    tasks = [asyncio.ensure_future(fill(tier, lease, entry())) for lease in leases]
    bad = asyncio.ensure_future(InsideSqlite(tier).writer.run(fails))
    tasks.append(asyncio.ensure_future(put(tier, key("later"), entry())))
    await asyncio.sleep(0)
    go_on.set()
    assert all(answer.accepted for answer in await asyncio.gather(*tasks))
    with pytest.raises(ZeroDivisionError):
        await bad
    assert (await tier.usage()).entries == 11
    assert statements.index("COMMIT") > max(
        index for index, text in enumerate(statements) if "'acme:document:9'" in text
    )
    world.check_sums()


async def test_a_commit_that_fails_fails_for_all_who_share_it(world: World) -> None:
    tier = world.tier()
    lease = await grant(tier, key())

    def breaks(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM no_such_table")

    go_on = pause_writer(tier)
    tasks: list[asyncio.Future[object]] = [
        asyncio.ensure_future(fill(tier, lease, entry())),
        asyncio.ensure_future(InsideSqlite(tier).writer.run(breaks)),
    ]
    await asyncio.sleep(0)
    go_on.set()
    for task in tasks:
        with pytest.raises(TierUnavailable, match="no such table"):
            await task
    assert await look(tier, key()) == Why.ABSENT
    assert (await fill(tier, lease, entry())).accepted


async def test_invalidations_and_sets_wait_for_the_disk(world: World) -> None:
    """What they have voided must not come back after a power cut; a lost fill is loaded again."""
    tier = world.tier()
    lease, forced = await grant(tier, key(1)), await grant(tier, key(2), force=True)
    calls: list[tuple[Callable[[], Awaitable[object]], int]] = [
        (lambda: fill(tier, lease, entry()), 1),
        (lambda: tier.invalidate([key_name(key())]), 2),
        (lambda: fill(tier, lease, entry()), 1),
        (lambda: fill(tier, forced, entry()), 2),
    ]
    for call, level in calls:
        await call()
        with InsideSqlite(tier).writer.link as connection:
            assert connection.execute("PRAGMA synchronous").fetchall() == [(level,)]


async def test_a_closing_that_is_cancelled_leaves_no_connection_open(world: World) -> None:
    """Nobody would close it later but the garbage collector, and that complains."""
    tier = world.tier()
    await load(tier, key())
    parts = InsideSqlite(tier)
    entered, go_on = threading.Event(), threading.Event()

    def hang(connection: sqlite3.Connection) -> None:
        entered.set()
        go_on.wait(10)

    reading = asyncio.ensure_future(parts.reader.run(hang))
    await asyncio.to_thread(entered.wait, 10)
    ending = asyncio.ensure_future(tier.aclose())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    go_on.set()
    await reading
    await until(lambda: not world.open_files)


@pytest.mark.parametrize("inline", [False, True])
async def test_who_comes_after_the_closing_is_served_and_leaves_nothing_open(
    world: World, inline: bool
) -> None:
    """As the last steps of a set that was under way: nobody would close behind them."""
    before = set(threading.enumerate())
    tier = world.tier(inline_reads=inline, turns=True)
    await load(tier, key(1))
    await tier.aclose()
    assert not world.open_files
    late = [look(tier, key(1)), tier.invalidate([key_name(key(0))]), load(tier, key(2))]
    assert (await asyncio.gather(*late))[0] == b"value"
    InsideSqlite(tier).writer.nudge()  # as a read that has found damage does
    await tier.changes(None)
    await until(lambda: not world.open_files)
    await until(lambda: set(threading.enumerate()) <= before)
    tier.begin()
    await load(tier, key(3))
    assert world.open_files
    assert InsideSqlite(tier).reader.link.is_open


async def test_closing_among_calls_leaves_nothing_open_whenever_it_comes(world: World) -> None:
    tier = world.tier(turns=True)
    for pause in range(25):
        calls = [asyncio.ensure_future(load(tier, key(name))) for name in range(3)]
        calls.append(asyncio.ensure_future(put(tier, key(pause), entry())))
        for _ in range(pause):
            await asyncio.sleep(0)
        await tier.aclose()
        await asyncio.gather(*calls)
        await until(lambda: not world.open_files)
        tier.begin()
