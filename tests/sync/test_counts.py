"""What a batch of the sync costs in statements and calls, how much is at hand at once, and how much
is done in one turn of the loop: counts, which no busy machine changes, and none of them one for
each key. How many rows a second that makes is told by `benchmarks/sync_rows.py`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from cascada import Cache, CacheService, Limits, Mapping
from cascada.engine.journal import KeptJournal
from cascada.service.sync import loop, reading
from cascada.service.sync.entries import Entries
from cascada.service.sync.records import Known, Record, SyncFailed, Written
from cascada.service.sync.statements import APPLIED, ENTRIES, upsert
from cascada.service.sync.target import Target
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.sqlite.journal import SqliteJournal
from tests.servers.redis import RedisServer
from tests.sync.conftest import Database

KEYS = 300
BATCH = 100
CAMPAIGNS = Mapping("k:", "campaigns", ["name", "budget"], "version", tenant="acme")
CAMPAIGNS_TABLE = (
    "CREATE TABLE campaigns (id integer PRIMARY KEY, name text, budget integer, version integer)"
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    monkeypatch.setattr(loop, "AT_ONCE", BATCH)


@asynccontextmanager
async def service(here: Database, *mappings: Mapping, **places: Any) -> AsyncIterator[CacheService]:
    """One whose journal holds so many changes."""
    async with Cache(limits=Limits(op_timeout=20), **places) as cache:
        made = CacheService(cache=cache, database=here.url, mappings=mappings)
        values = [{"name": f"c{n}", "budget": n, "version": None} for n in range(KEYS)]
        sets = [made.set(f"k:{n}", value) for n, value in enumerate(values)]
        assert all(await asyncio.gather(*sets))
        yield made


@contextmanager
def begun_by_sqlite() -> Iterator[Counter[str]]:
    """Statements that any connection made here begins, by their first words."""
    counts: Counter[str] = Counter()
    plain = sqlite3.connect

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        made = plain(*args, **options)
        made.set_trace_callback(lambda sql: counts.update([" ".join(sql.split()[:3])]))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        yield counts


@contextmanager
def executed() -> Iterator[Counter[str]]:
    """What SQLAlchemy executes, by its first words."""
    counts: Counter[str] = Counter()

    def note(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        counts[" ".join(sql.split()[:3])] += 1

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield counts
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_sqlite_begins_a_few_statements_a_batch(database: Database, tmp_path: Path) -> None:
    """Of the journal, and of the database that is written to."""
    with begun_by_sqlite() as counts:
        async with service(database, database=str(tmp_path / "cache.db")) as made:
            counts.clear()
            assert (await made.sync_now()).written == KEYS
    assert counts.total() < KEYS, counts


@pytest.mark.parametrize("mapped", [False, True])
async def test_a_few_statements_a_batch_are_executed(
    database: Database, tmp_path: Path, mapped: bool
) -> None:
    await database.ask(CAMPAIGNS_TABLE)
    mappings = [CAMPAIGNS] if mapped else []
    with executed() as counts:
        async with service(database, *mappings, database=str(tmp_path / "cache.db")) as made:
            counts.clear()
            assert (await made.sync_now()).written == KEYS
            assert counts.total() < KEYS // 2, counts


async def test_nor_for_what_was_written_before(database: Database) -> None:
    """By a process that died before it took the changes from the journal."""
    await database.ask(CAMPAIGNS_TABLE)
    writer = database.target(CAMPAIGNS)
    records = [Record(n + 1, "acme", f"k:{n}", {"name": f"c{n}"}) for n in range(BATCH)]
    assert await writer.write(records) == [Written()] * BATCH
    with executed() as counts:
        assert await writer.write(records) == [Known()] * BATCH
    assert counts.total() <= 6, counts


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_no_table_is_read_whole_for_a_batch(database: Database) -> None:
    """To see whether a tenant was forgotten: his row is found by its key."""
    writer = database.target()
    records = [Record(n + 1, "acme", f"k:{n}", n) for n in range(KEYS)]
    assert await writer.write(records) == [Written()] * KEYS
    rows = [("test", "campaigns", "acme", f"k:{n}", n, "1", None, False) for n in range(KEYS)]
    for table, given in (
        (ENTRIES, rows),
        (APPLIED, [(*row[:5], None, None, False) for row in rows]),
    ):
        sql, arguments = upsert("postgresql", table, given)
        async with database.engine.begin() as connection:
            plan = await connection.exec_driver_sql(f"EXPLAIN {sql}", arguments)
            assert "Seq Scan" not in str(plan.fetchall())


async def test_redis_is_asked_a_few_times_a_batch(
    database: Database, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    asked: Counter[bytes] = Counter()
    send = Link.send

    def noted(self: Link, *command: Any, **how: Any) -> Any:
        asked[command[0]] += 1
        return send(self, *command, **how)

    async with service(database, redis=redis_server.url) as made:
        monkeypatch.setattr(Link, "send", noted)
        assert (await made.sync_now()).written == KEYS
    assert asked.total() < KEYS // 2, asked


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_three_batches_are_at_hand_and_one_is_written(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, done, write = KeptJournal.claim, KeptJournal.done, Target.write
    at_hand, writing = [0], [0]

    async def claims(self: KeptJournal, most: int, seconds: float) -> Any:
        found = await claim(self, most, seconds)
        at_hand.append(at_hand[-1] + len(found))
        return found

    async def ends(self: KeptJournal, changes: Any) -> None:
        await done(self, changes)
        at_hand.append(at_hand[-1] - len(changes))

    async def writes(self: Target, records: Any, *since: Any) -> Any:
        writing.append(writing[-1] + 1)
        answers = await write(self, records, *since)
        writing.append(writing[-1] - 1)
        return answers

    async with service(database, database=str(tmp_path / "cache.db")) as made:
        monkeypatch.setattr(KeptJournal, "claim", claims)
        monkeypatch.setattr(KeptJournal, "done", ends)
        monkeypatch.setattr(Target, "write", writes)
        assert (await made.sync_now()).written == KEYS
    assert (at_hand[-1], writing[-1]) == (0, 0)
    assert BATCH < max(at_hand) <= 3 * BATCH, at_hand
    assert max(writing) == 1, "a key's changes would cross"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_others_have_their_turn_within_a_batch(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "AT_ONCE", KEYS)
    worked: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def noted(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def work(*what: Any) -> Any:
            worked[name] += 1
            return plain(*what)

        monkeypatch.setattr(owner, name, work)

    async def watch() -> None:
        while True:
            most.update({name: max(0, n - most[name]) for name, n in worked.items()})
            worked.clear()
            await asyncio.sleep(0)

    for each in ((SqliteJournal, "_change"), (reading, "_record"), (Entries, "_row")):
        noted(*each)
    async with service(database, database=str(tmp_path / "cache.db")) as made:
        watching = asyncio.create_task(watch())
        assert (await made.sync_now()).written == KEYS
        watching.cancel()
    assert set(most) == {"_change", "_record", "_row"}
    assert max(most["_change"], most["_record"]) <= 100, most
    assert most["_row"] <= 256


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_was_claimed_ahead_is_let_go_of_where_the_database_is_away(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, batches = Target.write, 0

    async def away(self: Target, rows: Any, *since: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 2:
            return [SyncFailed("connection", "away")] * len(rows.records)
        return await write(self, rows, *since)

    async with service(database, database=str(tmp_path / "cache.db")) as made:
        monkeypatch.setattr(Target, "write", away)
        report = await made.sync_now()
        assert (report.finished, report.written, report.waiting) == (False, BATCH, KEYS - BATCH)
        assert (await made.sync_now()).written == KEYS - BATCH, "at once, since nobody claims them"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_round_that_is_cancelled_leaves_nothing_behind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CLAIM", 0.0)
    begun, write = asyncio.Event(), Target.write

    async def hangs(self: Target, records: Any, *since: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async with service(database, database=str(tmp_path / "cache.db")) as made:
        before = asyncio.all_tasks()
        monkeypatch.setattr(Target, "write", hangs)
        syncing = asyncio.create_task(made.sync_now())
        await begun.wait()
        (its_round,) = [each for each in asyncio.all_tasks() if "sync round" in each.get_name()]
        its_round.cancel()
        with pytest.raises(asyncio.CancelledError):
            await syncing
        assert asyncio.all_tasks() == before
        monkeypatch.setattr(Target, "write", write)
        assert (await made.sync_now()).written == KEYS
