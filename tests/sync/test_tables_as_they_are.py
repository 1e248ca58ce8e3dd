"""Tables as applications have them: tenants that are no texts, enums, JSON, triggers, policies; and
merge functions that return something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cascada.service.sync.causes import RowsFault, told
from cascada.service.sync.mapping import Mapping
from cascada.service.sync.records import Fill, Outcome, Poison, Record, Written
from tests.sync.conftest import Database

ONE = "6f0c1c3e-0000-4000-8000-000000000001"


def row(number: int, id: int | str, tenant: str = "acme", **value: Any) -> Record:
    return Record(number, tenant, f"c:{id}", value)


def _why(outcome: Outcome) -> str:
    assert isinstance(outcome, Poison), outcome
    return outcome.sentence


@pytest.mark.parametrize(
    ("kind", "tenant", "other"),
    [("uuid", ONE, "acme"), ("bigint", "7", "07"), ("char(10)", "acme", "acme ")],
)
async def test_a_tenant_is_what_its_column_holds(
    database: Database, kind: str, tenant: str, other: str
) -> None:
    if database.kind == "sqlite" and kind == "uuid":
        pytest.skip("SQLite has no such type")
    await database.ask(
        f"CREATE TABLE t (tenant {kind}, id int, name text, version int, PRIMARY KEY (tenant, id))"
    )
    target = database.target(Mapping("c:", "t", ["name"], "version", tenant_column="tenant"))
    assert await target.write([row(1, 1, tenant, name="a")]) == [Written()]
    assert await target.write([row(2, 1, tenant, name="b", version=1)]) == [Written()]
    assert await database.ask("SELECT name, version FROM t") == [("b", 2)]
    [refused] = await target.write([row(3, 1, other, name="c")])
    assert "its tenant is no" in _why(refused)
    assert "t.tenant" in _why(refused)


async def test_an_id_that_the_database_has_by_another_spelling_is_told(database: Database) -> None:
    if database.kind != "sqlite":
        pytest.skip("a PostgreSQL may be built without ICU, which has such a collation")
    kind = "text COLLATE NOCASE"
    await database.ask(f"CREATE TABLE t (id {kind} PRIMARY KEY, name text, version int)")
    await database.ask("INSERT INTO t VALUES ('A', 'theirs', 1)")
    target = database.target(Mapping("c:", "t", ["name"], "version"))
    said = await target.write([row(1, "a", name="mine", version=1), row(2, "b", name="b")])
    assert "another spelling" in _why(said[0])
    assert said[1] == Written()
    assert await database.ask("SELECT name FROM t ORDER BY id") == [("theirs",), ("b",)]


async def test_none_is_null_in_a_column_of_json(database: Database) -> None:
    await database.ask("CREATE TABLE t (id int PRIMARY KEY, data json)")
    target = database.target(Mapping("c:", "t", ["data"]))
    assert await target.write([row(1, 1, data=None), row(2, 2, data=[1])]) == [Written()] * 2
    assert await database.ask("SELECT id FROM t WHERE data IS NULL") == [(1,)]


async def test_an_enum_may_get_another_value_while_the_sync_runs(database: Database) -> None:
    if database.kind == "sqlite":
        pytest.skip("SQLite has no enums")
    await database.ask("CREATE TYPE mood AS ENUM ('on')")
    await database.ask("CREATE TABLE t (id int PRIMARY KEY, state mood)")
    target = database.target(Mapping("c:", "t", ["state"]))
    try:
        assert await target.write([row(1, 1, state="on")]) == [Written()]
        await database.ask("ALTER TYPE mood ADD VALUE 'off'")
        await database.ask("UPDATE t SET state = 'off'")
        assert await target.write([row(2, 1, state="off")]) == [Fill()]
        assert await target.write([row(3, 1, state="on")]) == [Written()]
    finally:
        await target.aclose()
        await database.ask("DROP TABLE t")
        await database.ask("DROP TYPE mood")


REFUSES = """CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF new.name = 'bad' THEN RAISE EXCEPTION 'no' USING errcode = 'APP01'; END IF; RETURN new; END $$"""


@pytest.mark.parametrize("by", ["trigger", "policy"])
async def test_a_row_that_a_trigger_or_a_policy_refuses_keeps_no_other_waiting(
    database: Database, by: str
) -> None:
    if database.kind == "sqlite":
        pytest.skip("SQLite has neither states of errors nor policies")
    await database.ask("CREATE TABLE t (id int PRIMARY KEY, name text)")
    if by == "trigger":
        await database.ask(REFUSES)
        await database.ask(
            "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuses()"
        )
    else:
        # A role that policies hold for: nothing is left of it when this test ends.
        await database.ask("DROP ROLE IF EXISTS app")
        await database.ask("CREATE ROLE app LOGIN")
        for sql in (
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY p ON t TO app WITH CHECK (name <> 'bad')",
            "GRANT USAGE ON SCHEMA public TO app",
            "GRANT ALL ON t TO app",
            "GRANT CREATE ON DATABASE postgres TO app",
        ):
            await database.ask(sql)
        database.url = database.url.replace("postgres@", "app@")
    target = database.target(Mapping("c:", "t", ["name"]))
    try:
        said = await target.write([row(1, 1, name="a"), row(2, 2, name="bad"), row(3, 3, name="b")])
        assert [said[0], said[2]] == [Written()] * 2
        assert _why(said[1])
        assert await database.ask("SELECT id FROM t ORDER BY id") == [(1,), (3,)]
    finally:
        await target.aclose()
        if by == "policy":
            await database.ask("DROP OWNED BY app CASCADE")
            await database.ask("DROP ROLE app")


@pytest.mark.parametrize("state", ["APP01", "PT404", "U0001", "09000", "38000", "39001"])
def test_a_state_of_the_applications_own_is_about_the_row(state: str) -> None:
    error = Exception("no")
    error.sqlstate = state  # type: ignore[attr-defined]
    assert isinstance(told(error), RowsFault)


@pytest.mark.parametrize("state", ["0A000", "26000", "42501", "53300", "57P01", "XX000", "25006"])
def test_a_state_of_the_servers_is_not(state: str) -> None:
    error = Exception("no")
    error.sqlstate = state  # type: ignore[attr-defined]
    assert not isinstance(told(error), RowsFault)


def _raising(ours: Any, theirs: Any) -> Any:
    raise KeyError("a secret")


@pytest.mark.parametrize(
    ("merge", "why"),
    [
        (lambda ours, theirs: "name", "returned a str"),
        (lambda ours, theirs: True, "returned a bool"),
        (lambda ours, theirs: {}, "returned a dict without any"),
        (lambda ours, theirs: {"nme": "typo"}, "name, budget"),
        (_raising, "merge function raised KeyError"),
    ],
)
async def test_what_a_merge_function_cannot_have_meant_is_set_aside(
    database: Database, merge: Callable[..., Any], why: str
) -> None:
    await database.campaigns("1, 'theirs', 5, 9")
    mapping = Mapping("c:", "campaigns", ["name", "budget"], "version")
    target = database.target(mapping, conflicts=merge)
    said = await target.write([row(1, 1, name="ours", version=1), row(2, 2, name="new")])
    assert why in _why(said[0])
    assert "secret" not in _why(said[0])
    assert said[1] == Written()
    assert await database.rows() == [(1, "theirs", 5, 9), (2, "new", None, 1)]
