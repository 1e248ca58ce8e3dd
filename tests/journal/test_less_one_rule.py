"""What is journaled by name, less one rule at a time: a scenario notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.chaos.mutants_journaled import mutants
from tests.journal import noting
from tests.journal import test_journaled_sets as sets
from tests.journal import test_while_a_change_waits as waiting
from tests.journal.conftest import Evict, Make

Scenario = Callable[..., Awaitable[None]]

NOTICED: list[tuple[str, Scenario, list[Any]]] = [
    ("stored-and-not-journaled", sets.many_sets_all_wait, ["sqlite", "redis"]),
    (
        "changes-are-fenced",
        sets.test_of_crossing_sets_the_later_waits_and_all_are_true,
        ["sqlite", "redis"],
    ),
    (
        "what-follows-a-miss-replaces-a-change",
        sets.test_a_set_after_a_miss_never_replaces_a_change_that_waits,
        ["sqlite", "redis"],
    ),
    ("what-waits-is-not-read", waiting.test_what_waits_does_not_expire, ["sqlite", "redis"]),
    (
        "what-waits-is-read-though-it-was-named",
        waiting.what_is_deleted_is_not_read_again,
        ["sqlite", "redis"],
    ),
    ("a-sweep-forgets-what-waits", waiting.test_a_sweep_lifts_what_waits_and_revives_nothing, []),
    (
        "done-whatever-its-number",
        sets.test_the_latest_alone_waits_and_numbers_rise,
        ["sqlite", "redis"],
    ),
    (
        "the-tiers-above-keep-what-is-older",
        waiting.test_who_is_killed_before_the_tiers_above_are_told_leaves_nothing_old,
        ["both"],
    ),
]


@pytest.mark.parametrize(
    ("mutant", "scenario", "tiers"),
    [(mutant, scenario, each) for mutant, scenario, tiers in NOTICED for each in tiers or [""]],
)
async def test_a_scenario_notices(
    make: Make,
    evict: Evict,
    monkeypatch: pytest.MonkeyPatch,
    mutant: str,
    scenario: Scenario,
    tiers: str,
) -> None:
    monkeypatch.setattr(noting, "TRIES", 30)
    mutants[mutant](monkeypatch.setattr)
    how: dict[str, Any] = {"tiers": tiers} if tiers else {"evict": evict}
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        await scenario(make, **how)


def test_every_mutant_is_noticed() -> None:
    assert {mutant for mutant, *_ in NOTICED} == {*mutants}
