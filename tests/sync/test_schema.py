"""Tables of the application that no mapping can write to are refused before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from cascada import Mapping
from cascada.service.sync.records import Record, SyncFailed, Written
from tests.scenarios.row import until
from tests.sync.conftest import Database, Make

ROWS = Mapping("row:", "things", ["name"])
OF_TENANTS = Mapping("row:", "things", ["name"], tenant_column="tenant")
VERSIONED = Mapping("row:", "things", ["name"], "version")
COLUMNS = "id integer, tenant varchar(20), name varchar(20)"


def change(number: int, name: str = "one") -> Record:
    return Record(number, "acme", "row:1", {"name": name})


async def refused(database: Database, mapping: Mapping) -> str:
    (failed,) = await database.target(mapping).write([change(1)])
    assert isinstance(failed, SyncFailed), failed
    assert failed.cause == "schema"
    assert await database.ask("SELECT * FROM things") == []
    return failed.sentence


@pytest.mark.parametrize(
    ("mapping", "keys", "statement"),
    [
        (ROWS, "id", "CREATE UNIQUE INDEX one_row_of_things ON things (id)"),
        (
            OF_TENANTS,
            "tenant and id",
            "CREATE UNIQUE INDEX one_row_of_things ON things (tenant, id)",
        ),
    ],
)
async def test_a_table_without_a_key_is_refused_with_the_statement_that_helps(
    database: Database, mapping: Mapping, keys: str, statement: str
) -> None:
    """Else two rows of one key could come about, which nobody would ever tell apart."""
    await database.ask(f"CREATE TABLE things ({COLUMNS})")
    said = await refused(database, mapping)
    assert f"two rows of the same {keys} out of the table things" in said
    assert said.endswith(f"run: {statement}")
    await database.ask(said.partition("run: ")[2])
    assert await database.target(mapping).write([change(2)]) == [Written()]


@pytest.mark.parametrize("key", [
    "PRIMARY KEY (id, name)",
    "UNIQUE (name)",
    "CHECK (id > 0)); CREATE UNIQUE INDEX part ON things (id) WHERE (name > 'a'",
    "CHECK (id > 0)); CREATE INDEX plain ON things (id",
])  # fmt: skip
async def test_another_key_does_not_do(database: Database, key: str) -> None:
    for sql in f"CREATE TABLE things (id integer, name varchar(20), {key})".split("; "):
        await database.ask(sql)
    assert "(id)" in await refused(database, ROWS)


@pytest.mark.parametrize("key", [
    "PRIMARY KEY (id)",
    "UNIQUE (id)",
    "PRIMARY KEY (tenant, id)",
    "CHECK (id > 0)); CREATE UNIQUE INDEX pair ON things (id, tenant",
])  # fmt: skip
async def test_any_key_does_that_keeps_two_rows_apart(database: Database, key: str) -> None:
    for sql in f"CREATE TABLE things ({COLUMNS}, {key})".split("; "):
        await database.ask(sql)
    assert await database.target(OF_TENANTS).write([change(1)]) == [Written()]


async def test_a_view_is_trusted(database: Database) -> None:
    """It has no keys of its own; PostgreSQL writes through a simple one."""
    await database.ask("CREATE TABLE base (id integer PRIMARY KEY, name varchar(20))")
    await database.ask("CREATE VIEW things AS SELECT id, name FROM base")
    if database.kind == "sqlite":
        await database.ask(
            "CREATE TRIGGER through INSTEAD OF INSERT ON things "
            "BEGIN INSERT INTO base VALUES (new.id, new.name); END"
        )
    assert await database.target(ROWS).write([change(1)]) == [Written()]
    assert await database.ask("SELECT id, name FROM base") == [(1, "one")]


async def test_names_of_the_statement_are_quoted(database: Database) -> None:
    schema = "main"
    if database.kind == "postgresql":
        schema = "odd one"
        await database.ask('CREATE SCHEMA "odd one"')
    name = 'a table\'s name "of many words" that is as long as they are!!!'
    quoted = name.replace('"', '""')
    await database.ask(f'CREATE TABLE "{schema}"."{quoted}" ("i d" integer, name varchar(20))')
    mapping = Mapping("row:", f"{schema}.{name}", ["name"], key_column="i d")
    (failed,) = await database.target(mapping).write([change(1)])
    await database.ask(str(failed).rpartition("run: ")[2])
    assert await database.target(mapping).write([change(2)]) == [Written()]


@pytest.mark.parametrize("kind", ["TEXT", "varchar(20)", "numeric(20, 0)", "real"])
async def test_a_version_that_is_no_number_where_it_lies_is_refused(
    database: Database, kind: str
) -> None:
    """SQLite took the first one, and gave a text back, at which every later one failed."""
    await database.ask(f"CREATE TABLE things (id integer PRIMARY KEY, name text, version {kind})")
    said = await refused(database, VERSIONED)
    assert "its version_column version is" in said
    assert kind.partition("(")[0].upper() in said
    assert said.endswith("a version is a whole number; make it an INTEGER or BIGINT")


@pytest.mark.parametrize("kind", ["integer", "smallint", "bigint", ""])
async def test_a_version_is_any_whole_number(database: Database, kind: str) -> None:
    if not kind and database.kind == "postgresql":
        pytest.skip("all columns have a type there")
    await database.ask(f"CREATE TABLE things (id integer PRIMARY KEY, name text, version {kind})")
    target = database.target(VERSIONED)
    assert await target.write([change(1)]) == [Written()]
    assert await target.write([change(2, "two")]) == [Written()]
    assert await database.ask("SELECT id, name, version FROM things") == [(1, "two", 2)]


async def test_who_only_reads_a_table_needs_no_key(database: Database, make: Make) -> None:
    await database.ask("CREATE TABLE things (id integer, name text, version text)")
    mapping = Mapping("row:", "things", ["name"], "version", writes=False)
    service = make(mapping)
    await service.set("row:1", {"name": "one"})
    assert (await service.sync_now()).skipped == 1


async def test_a_sync_says_so_at_its_start_and_nothing_is_lost(
    database: Database, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    await database.ask("CREATE TABLE things (id integer, name varchar(20))")
    service = make(ROWS, Mapping("x:", "nowhere", ["name"]))
    await service.start_sync()

    def told() -> list[Any]:
        return [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]

    await until(lambda: len(told()) >= 2, 60)
    assert "run: CREATE UNIQUE INDEX" in told()[0]
    assert "nowhere" in told()[1]
    assert await service.set("row:1", {"name": "one"})
    report = await service.sync_now()
    assert (report.errors, report.written, report.waiting) == ({"schema": 1}, 0, 1)
    assert "CREATE UNIQUE INDEX" in report.why
    await database.ask(report.why.rpartition("run: ")[2])
    report = await service.sync_now()
    assert (report.errors, report.written, report.waiting) == ({}, 1, 0)
    assert await database.ask("SELECT * FROM things") == [(1, "one")]
