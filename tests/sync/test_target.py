"""What a target makes of changes, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import Any

import pytest

from cascada import CacheService
from cascada.model.errors import BadInput
from cascada.service.sync import target as module
from cascada.service.sync.entries import Entries
from cascada.service.sync.mapping import Mapping
from cascada.service.sync.records import (
    Conflict,
    Fill,
    Known,
    Poison,
    Record,
    Skipped,
    SyncFailed,
    Written,
)
from tests.sync.conftest import Database

CAMPAIGNS = Mapping("campaign:", "campaigns", ["name", "budget"], "version")


def change(number: int, key: str, value: Any = None, **more: Any) -> Record:
    return Record(number, more.pop("tenant", "acme"), key, value, **more)


def campaign(number: int, id: int, name: str, version: int | None = None, **more: Any) -> Record:
    value: dict[str, Any] = {"id": id, "name": name}
    if version is not None:
        value["version"] = version
    return change(number, f"campaign:{id}", value, **more)


# --- the table that cascada owns ----------------------------------------------------------------


async def test_a_value_is_a_row_and_an_older_change_never_writes_over_a_newer(
    database: Database,
) -> None:
    target = database.target()
    first = [change(5, "a", {"x": 1}), change(6, "b", [1]), change(7, "a", "other", tenant="b")]
    assert await target.write(first) == [Written()] * 3
    assert await target.write(first) == [Known()] * 3
    assert await target.write([change(4, "a", "old"), change(8, "b", "new")]) == [
        Known(),
        Written(),
    ]
    found = await database.entries()
    if database.kind == "sqlite":
        found = {key: json.loads(value) for key, value in found.items()}
    assert found == {("acme", "a"): {"x": 1}, ("acme", "b"): "new", ("b", "a"): "other"}


async def test_what_was_removed_does_not_come_back(database: Database) -> None:
    target = database.target()
    await target.write([change(1, "a", 1)])
    assert await target.write([change(3, "a", removed=True)]) == [Written()]
    assert await target.write([change(2, "a", 2)]) == [Known()]
    assert await database.entries() == {}
    assert await target.write([change(4, "a", 4)]) == [Written()]
    assert len(await database.entries()) == 1


async def test_any_value_that_can_be_cached_can_be_written(database: Database) -> None:
    odd = [
        "with \0 in it",
        b"\xff\x00",
        (1, 2),
        {1: "one"},
        float("nan"),
        float("inf"),
        2**70,
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        None,
        {},
        "é🙂",
        "x" * 100_000,
    ]
    target = database.target()
    records = [change(place, f"k\0{place}%", value) for place, value in enumerate(odd, 1)]
    assert await target.write(records) == [Written()] * len(odd)
    assert len(await database.entries()) == len(odd)


async def test_of_two_changes_of_a_key_in_a_batch_the_later_is_written(database: Database) -> None:
    target = database.target()
    twice = [change(2, "a", 2), change(1, "a", 1), change(3, "a", 3)]
    assert await target.write(twice) == [Known(), Known(), Written()]


async def test_two_that_make_the_tables_at_once_both_succeed(database: Database) -> None:
    targets = [database.target() for _ in range(4)]
    written = [each.write([change(1, f"k{n}", n)]) for n, each in enumerate(targets)]
    assert await asyncio.gather(*written) == [[Written()]] * 4


async def test_two_services_and_namespaces_are_apart(database: Database) -> None:
    for options in ({"service": "a"}, {"service": "b"}, {"namespace": "c"}):
        assert await database.target(**options).write([change(1, "k", 1)]) == [Written()]


# --- a table of the application -----------------------------------------------------------------


async def test_a_change_is_written_to_its_columns_alone(database: Database) -> None:
    await database.campaigns("1, 'one', 10, 3")
    target = database.target(CAMPAIGNS)
    wrote = await target.write([campaign(1, 1, "uno", 3), campaign(2, 2, "two")])
    assert wrote == [Written(), Written()]
    assert await database.rows() == [(1, "uno", 10, 4), (2, "two", None, 1)]
    # What lies in the cache has the versions of before: nobody else has changed the rows since.
    wrote = await target.write([campaign(3, 1, "eins", 3), campaign(4, 2, "zwei")])
    assert wrote == [Written(), Written()]
    assert await database.rows() == [(1, "eins", 10, 5), (2, "zwei", None, 2)]
    assert await target.write([campaign(3, 1, "late", 3)]) == [Known()]


async def test_what_a_row_holds_already_is_a_fill(database: Database) -> None:
    await database.campaigns("1, 'one', 10, 3")
    target = database.target(CAMPAIGNS)
    assert await target.write([campaign(1, 1, "one", 3, after_miss=True)]) == [Fill()]
    assert await target.write([campaign(2, 1, "one", 2)]) == [Fill()]
    assert await database.rows() == [(1, "one", 10, 3)]


@pytest.mark.parametrize("conflicts", ["cache_wins", lambda mine, theirs: mine])
async def test_what_was_read_is_never_written_back(database: Database, conflicts: Any) -> None:
    await database.campaigns("1, 'new', 10, 3")
    target = database.target(CAMPAIGNS, conflicts=conflicts)
    old = campaign(1, 1, "old", 2, after_miss=True)
    assert await target.write([old]) == [Fill(stale=True)]
    # Who wrote it may die before the cache has heard of it.
    assert await target.write([old]) == [Known(unread=True)]
    await database.ask("DELETE FROM campaigns")
    gone = campaign(2, 1, "old", 3, after_miss=True)
    assert await target.write([gone]) == [Fill(stale=True)]
    assert await database.rows() == []


def joined(mine: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, Any]:
    return mine | {"name": f"{mine['name']}+{'-' if theirs is None else theirs['name']}"}


@pytest.mark.parametrize(
    ("conflicts", "kept", "changed", "gone"),
    [
        ("database_wins", "database", "theirs", None),
        ("last_write_wins", "cache", "mine", None),
        ("cache_wins", "cache", "mine", "mine"),
        (joined, "merged", "mine+theirs", "mine+-"),
    ],
)
async def test_a_row_that_others_have_changed(
    database: Database, conflicts: Any, kept: Any, changed: str, gone: str | None
) -> None:
    await database.campaigns("1, 'theirs', 10, 4")
    target = database.target(CAMPAIGNS, conflicts=conflicts)
    name = conflicts if isinstance(conflicts, str) else "merge"
    assert await target.write([campaign(1, 1, "mine", 3)]) == [Conflict(kept, name)]
    version = 4 if kept == "database" else 5
    assert await database.rows() == [(1, changed, 10, version)]
    await database.ask("DELETE FROM campaigns")
    (outcome,) = await target.write([campaign(2, 1, "mine", 3)])
    assert outcome == Conflict("database" if gone is None else kept, name)
    assert [row[1] for row in await database.rows()] == ([] if gone is None else [gone])


async def test_after_a_merge_who_goes_on_from_before_is_in_conflict_again(
    database: Database,
) -> None:
    await database.campaigns("1, 'theirs', 10, 4")
    target = database.target(CAMPAIGNS, conflicts=joined)
    await target.write([campaign(1, 1, "a", 3)])
    assert await target.write([campaign(2, 1, "b", 3)]) == [Conflict("merged", "merge")]
    assert (await database.rows())[0][1] == "b+a+theirs"


async def test_one_bad_row_of_500_is_set_aside_alone(database: Database) -> None:
    await database.campaigns()
    target = database.target(CAMPAIGNS)
    records = [campaign(n, n, f"name {n}") for n in range(1, 501)]
    records[250] = campaign(251, 251, "name 1")  # the name is another's
    records[400] = change(401, "campaign:401", {"name": "x", "budget": -1})
    outcomes = await target.write(records)
    assert [n for n, each in enumerate(outcomes) if each != Written()] == [250, 400]
    for place in (250, 400):
        (poison,) = [outcomes[place]]
        assert isinstance(poison, Poison)
        assert poison.cause == "constraint"
        assert "name 1" not in poison.sentence
    assert len(await database.rows()) == 498


async def test_what_is_no_row_is_set_aside(database: Database) -> None:
    await database.campaigns()
    bad = {
        "campaign:x": {"name": "x"},
        "campaign:01": {"name": "x"},
        "campaign:": {"name": "x"},
        "campaign:1": ["x"],
        "campaign:2": {"nothing": "of it"},
        "campaign:3": {"name": "x", "version": "three"},
        "campaign:4": {"name": "x", "version": True},
        "campaign:5": {"name": None},
    }
    records = [change(place, *each) for place, each in enumerate(bad.items(), 1)]
    other = change(20, "campaign:6", {"name": "x"}, tenant="other")
    outcomes = await database.target(CAMPAIGNS).write([*records, other, campaign(21, 7, "sound")])
    causes = [each.cause if isinstance(each, Poison) else each for each in outcomes]
    assert causes == ["constraint"] * len(bad) + ["permission", Written()]


async def test_a_row_is_deleted_as_its_mapping_says(database: Database) -> None:
    await database.campaigns("1, 'one', 1, 1", "2, 'two', 2, 1", "3, 'three', 3, 1")
    for id, on_delete, outcome in (
        (1, "keep", Skipped()),
        (2, "soft", Written()),
        (3, "delete", Written()),
    ):
        mapped = Mapping("c:", "campaigns", ["name"], "version", on_delete=on_delete)  # type: ignore[arg-type]
        assert await database.target(mapped).write([change(id, f"c:{id}", removed=True)]) == [
            outcome
        ]
    rows = await database.ask("SELECT id, version, deleted_at IS NULL FROM campaigns ORDER BY id")
    assert [(id, version, bool(left)) for id, version, left in rows] == [
        (1, 1, True),
        (2, 2, False),
    ]


async def test_nothing_is_written_where_the_mapping_only_reads(database: Database) -> None:
    mapped = Mapping("campaign:", "campaigns", ["name"], writes=False)
    await database.campaigns("1, 'one', 1, 1")
    assert await database.target(mapped).write([campaign(1, 1, "x")]) == [Skipped()]


async def test_names_are_quoted_and_tenants_are_apart(database: Database) -> None:
    schema = "odd one" if database.kind == "postgresql" else "main"
    if database.kind == "postgresql":
        await database.ask(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        await database.ask(f'CREATE SCHEMA "{schema}"')
    table = f'"{schema}"."sel""ect"'
    await database.ask(
        f'CREATE TABLE {table} ("i d" text, "of" text, "na me" text, PRIMARY KEY ("i d", "of"))'
    )
    mapped = Mapping(
        "c:", f'{schema}.sel"ect', {"name": "na me"}, key_column="i d", tenant_column="of"
    )
    target = database.target(mapped)
    records = [change(n, "c:1", {"name": of}, tenant=of) for n, of in enumerate("ab", 1)]
    assert await target.write(records) == [Written(), Written()]
    assert sorted(await database.ask(f"SELECT * FROM {table}")) == [
        ("1", "a", "a"),
        ("1", "b", "b"),
    ]


async def test_a_table_that_is_not_there_holds_up_no_other(database: Database) -> None:
    lost = Mapping("x:", "nowhere", ["name"])
    failed, written = await database.target(lost).write([change(1, "x:1", {}), change(2, "k", 1)])
    assert isinstance(failed, SyncFailed)
    assert failed.cause == "schema"
    assert "nowhere" in str(failed)
    assert "make it, or correct the mapping" in str(failed)
    assert written == Written()


async def test_a_column_that_is_not_there_is_named(database: Database) -> None:
    await database.campaigns()
    other = Mapping("x:", "campaigns", ["title"], key_column="key")
    (failed,) = await database.target(other).write([change(1, "x:1", {"title": "x"})])
    assert isinstance(failed, SyncFailed)
    assert "no column key, title; correct the mapping (ids are looked for in its" in str(failed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"database": "mysql://app:hunter2@db/app"}, "database begins with mysql://"),
        ({"database": "hunter2"}, "database holds something else"),
        ({"mappings": [CAMPAIGNS, CAMPAIGNS]}, f"mappings has {CAMPAIGNS.prefix!r} 2 times"),
    ],
)
def test_what_a_sync_is_not_made_with_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        CacheService(**given)
    assert str(caught.value).startswith(said)
    assert "hunter2" not in str(caught.value)


async def test_a_table_of_one_tenant_has_to_say_whose_it_is(database: Database) -> None:
    with pytest.raises(BadInput, match="tenant_column="):
        database.target(CAMPAIGNS, tenant=None)


async def test_a_database_that_is_away_is_named_and_nothing_is_raised() -> None:
    from cascada.service.sync.target import Target

    target = Target("postgresql://nobody@127.0.0.1:1/x", namespace="n", service="s")
    (failed,) = await target.write([change(1, "k", 1)])
    assert isinstance(failed, SyncFailed)
    assert failed.cause == "connection"
    await target.aclose()


async def test_the_newest_stays_whoever_comes_last(database: Database) -> None:
    """Two at work on one key, one of them with the older change, as after a claim has ended."""
    await database.campaigns("1, 'one', 1, 1")
    for number in range(2, 22, 2):
        plain = Mapping("campaign:", "campaigns", ["name"])
        one, two = (database.target(plain) for _ in range(2))
        older, newer = (campaign(number + n, 1, f"{number + n}") for n in range(2))
        await asyncio.gather(one.write([older]), two.write([newer]))
        ((_, name, _, _),) = await database.rows()
        assert name == str(number + 1)
        await one.aclose()
        await two.aclose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_who_stands_still_in_a_transaction_holds_nobody_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SQLite nobody can end another's."""
    monkeypatch.setattr(module, "STOPPED", 50)
    one, two = database.target(), database.target()
    await one.write([change(1, "a", 1)])
    written, goes_on, write = asyncio.Event(), asyncio.Event(), Entries.write

    async def stands_still(*what: Any) -> Any:
        answer = await write(*what)
        written.set()
        await goes_on.wait()
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Entries, "write", stands_still)
        standing = asyncio.create_task(one.write([change(2, "a", 2)]))
        await written.wait()
    assert await two.write([change(3, "a", 3)]) == [Written()]
    goes_on.set()
    (failed,) = await standing
    assert isinstance(failed, SyncFailed)
    assert failed.cause in ("connection", "timeout")
    assert await database.entries() == {("acme", "a"): 3}
    assert await one.write([change(2, "a", 2)]) == [Known()]
