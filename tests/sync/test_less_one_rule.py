"""What the sync writes, less one rule at a time: a test notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any

import pytest

from cascada import Mapping
from cascada.service.sync.records import Conflict
from tests.chaos.mutants_synced import mutants
from tests.sync import test_forgotten as erased
from tests.sync import test_forgotten_rows as forgotten
from tests.sync import test_sync as sync
from tests.sync import test_target as target
from tests.sync.conftest import Database, Make

Scenario = Callable[..., Awaitable[None]]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_who_changes_the_row_at_this_moment_is_waited_for(database: Database) -> None:
    """In SQLite one writes at a time."""
    await database.campaigns("1, 'one', 10, 3")
    writer = database.target(target.CAMPAIGNS)
    await writer.begin()
    async with database.engine.begin() as other:
        await other.exec_driver_sql("UPDATE campaigns SET name = 'theirs', version = 4")
        writing = asyncio.create_task(writer.write([target.campaign(1, 1, "mine", 3)]))
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while await database.ask(blocked) == [(0,)]:  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.01)
    assert await writing == [Conflict("database", "database_wins")]
    assert await database.rows() == [(1, "theirs", 10, 4)]


async def test_what_has_not_seen_a_version_of_others_is_in_conflict(database: Database) -> None:
    await database.campaigns("1, 'one', 10, 3")
    versioned = Mapping("campaign:", "campaigns", ["name"], "version", conflicts="cache_wins")
    writer = database.target(versioned)
    await writer.write([target.campaign(1, 1, "first", 3)])
    await database.ask("UPDATE campaigns SET name = 'theirs', version = 5")
    read_since = target.campaign(2, 1, "read since", 5)
    older = target.campaign(3, 1, "not read since", 3)
    await writer.write([read_since])
    assert await writer.write([older]) == [Conflict("cache", "cache_wins")]


NOTICED: list[tuple[str, Scenario, list[str]]] = [
    (
        "numbers-are-not-compared",
        target.test_a_value_is_a_row_and_an_older_change_never_writes_over_a_newer,
        ["sqlite", "postgresql"],
    ),
    (
        "numbers-are-not-compared",
        target.test_a_change_is_written_to_its_columns_alone,
        [],
    ),
    (
        "numbers-are-taken-apart-from-the-row",
        sync.test_what_cannot_be_written_is_set_aside_and_retried_on_demand,
        ["sqlite", "postgresql"],
    ),
    (
        "who-was-forgotten-is-written-again",
        erased.test_what_was_claimed_before_is_not_written_after,
        ["sqlite", "postgresql"],
    ),
    (
        "its-number-is-asked-for-later",
        erased.test_what_is_set_around_that_moment_goes_or_stays_as_a_whole,
        [],
    ),
    (
        "its-number-is-asked-for-earlier",
        erased.test_what_is_set_around_that_moment_goes_or_stays_as_a_whole,
        [],
    ),
    (
        "who-writes-is-not-waited-for",
        erased.test_a_transaction_that_was_begun_before_is_waited_for,
        ["postgresql"],
    ),
    (
        "a-claim-is-good-for-ever",
        forgotten.test_who_has_stood_still_for_longer_than_such_a_row_lives_writes_nothing,
        [],
    ),
    (
        "what-was-removed-is-forgotten-at-once",
        forgotten.test_a_younger_row_of_it_keeps_what_is_older_out,
        [],
    ),
    ("what-waits-is-not-asked-for", forgotten.test_what_was_removed_a_day_ago_is_forgotten, []),
    (
        "rows-are-not-locked",
        test_who_changes_the_row_at_this_moment_is_waited_for,
        ["postgresql"],
    ),
    ("whose-row-it-is-is-not-asked", sync.test_the_cache_forgets_what_has_lost_to_the_row, []),
    ("a-break-is-not-seen", test_what_has_not_seen_a_version_of_others_is_in_conflict, []),
    (
        "what-the-sync-has-written-is-others",
        target.test_a_change_is_written_to_its_columns_alone,
        [],
    ),
    (
        "what-follows-a-miss-is-written-over-a-row",
        sync.test_what_was_read_and_set_is_not_written,
        [],
    ),
    ("what-has-lost-stays-in-the-cache", sync.test_the_cache_forgets_what_has_lost_to_the_row, []),
    (
        "that-it-has-lost-is-forgotten",
        sync.test_who_died_before_the_cache_forgot_is_made_up_for,
        [],
    ),
]
"""Where no database is named: what they decide is the same for both."""


@pytest.mark.parametrize(
    ("mutant", "scenario", "database"),
    [
        (mutant, scenario, kind)
        for mutant, scenario, kinds in NOTICED
        for kind in kinds or ["sqlite"]
    ],
    indirect=["database"],
)
async def test_a_test_notices(
    request: pytest.FixtureRequest,
    database: Database,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    mutant: str,
    scenario: Scenario,
) -> None:
    monkeypatch.setattr(sync, "TRIES", 30)
    mutants[mutant](monkeypatch.setattr)
    takes = {"database": database, "make": make, "monkeypatch": monkeypatch}
    how: dict[str, Any] = {
        name: takes[name] if name in takes else request.getfixturevalue(name)
        for name in signature(scenario).parameters
    }
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        await scenario(**how)


def test_every_mutant_is_noticed() -> None:
    assert {mutant for mutant, *_ in NOTICED} == {*mutants}
