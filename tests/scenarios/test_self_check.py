"""What is served is compared with its source: what is stale is found, and nothing else."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy
import pytest

from cascada.api.cache import Cache
from cascada.model.errors import InvalidPolicy
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.checking import Pauses, all_checked, arm, at_once, counts, looks
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.scenarios.row import Row, all_stored, turns, until


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    cache = make_cache(policies={"x": Policy(none_ttl=60), "old": Policy(ttl=10, stale_for=60)})
    return at_once(cache)


async def test_a_hit_that_is_right_is_checked_and_nothing_else(cache: Cache) -> None:
    acme, row = cache.tenant("acme"), Row("value")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    await acme.load("x", "1", row.read)
    assert row.reads == 1, "not armed: no source is asked"
    arm(cache)
    assert (await acme.load("x", "1", row.read)).tier == "l1"
    await all_checked(cache)
    assert row.reads == 2
    assert looks(cache) == (1, 0, 0, 0)
    await acme.load("x", "1", row.read)
    await turns()
    assert row.reads == 2, "one hit for each time that it was armed"
    assert counts(cache).by_tier["l1"] == 3, "a check is no read"
    assert counts(cache).loads == 1


async def test_a_source_that_changed_without_an_invalidation_is_found_at_all_three_looks(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    with caplog.at_level(logging.WARNING, "cascada"):
        assert (await acme.load("x", "1", row.read)).value == "old", "the caller does not wait"
        await all_checked(cache)
    assert looks(cache) == (1, 1, 1, 1)
    assert "acme:x:1 is cached with another value than its source says" in caplog.text


@pytest.mark.parametrize("looks_before", [1, 2])
async def test_an_invalidation_that_is_on_its_way_is_not_held_against_the_cache(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, looks_before: int
) -> None:
    pauses = Pauses(cache, monkeypatch)
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    await acme.load("x", "1", row.read)
    for look in range(1, looks_before):
        await pauses.end(look)
    await until(lambda: len(pauses.begun) == looks_before)
    await acme.invalidate("x", "1")
    await acme.load("x", "1", row.read)
    await pauses.end(looks_before)
    await all_checked(cache)
    assert looks(cache) == ((1, 1, 0, 0) if looks_before == 1 else (1, 1, 1, 0))
    assert pauses.begun == [0.125, 0.375][:looks_before]


async def test_a_row_that_changes_with_its_invalidation_while_it_is_looked_at_proves_nothing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(cache, monkeypatch)
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    await acme.load("x", "1", row.read)
    await until(lambda: bool(pauses.begun))
    row.hold()
    await pauses.end(1)
    await row.being_read(4)  # the tiers had "old", the source is about to say "new"
    await acme.set("x", "1", "newer")
    row.let_go()
    await all_checked(cache)
    assert looks(cache) == (1, 1, 0, 0)


async def test_what_is_past_its_ttl_by_now_is_not_held_against_the_cache(
    cache: Cache, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(cache, monkeypatch)
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("old", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    await acme.load("old", "1", row.read)
    await until(lambda: bool(pauses.begun))
    clock.advance(11)
    assert (await acme.get("old", "1")).stale  # type: ignore[union-attr]
    await pauses.end(1)
    await all_checked(cache)
    assert looks(cache, "old") == (1, 1, 0, 0)


async def test_a_source_that_contradicts_itself_is_no_witness(cache: Cache) -> None:
    acme, row = cache.tenant("acme"), Row("said once")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    sayings = iter(["another time", "and another"])
    arm(cache)
    await acme.load("x", "1", lambda: next(sayings))
    await all_checked(cache)
    assert looks(cache) == (0, 0, 0, 0)
    assert counts(cache).unchecked == 1


async def test_a_source_that_fails_leaves_the_hit_unchecked(cache: Cache) -> None:
    acme, row = cache.tenant("acme"), Row("value")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = OSError("the source is gone")
    arm(cache)
    assert (await acme.load("x", "1", row.read)).value == "value"
    await all_checked(cache)
    assert looks(cache) == (0, 0, 0, 0)
    assert (counts(cache).unchecked, counts(cache).load_failures) == (1, 0)


async def test_a_source_that_never_answers_is_given_up(make_cache: MakeCache) -> None:
    cache = make_cache(load_timeout=0.05)
    acme, row = cache.tenant("acme"), Row("value")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.hold()
    arm(cache)
    await acme.load("x", "1", row.read)
    await all_checked(cache)
    assert (looks(cache), counts(cache).unchecked) == ((0, 0, 0, 0), 1)


async def test_a_source_that_fails_later_leaves_what_was_counted(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(cache, monkeypatch)
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    await acme.load("x", "1", row.read)
    await until(lambda: bool(pauses.begun))
    row.value = OSError("the source is gone")
    await pauses.end(1)
    await until(lambda: len(pauses.begun) == 2)
    row.value = "new"
    await pauses.end(2)
    await all_checked(cache)
    assert looks(cache) == (1, 1, 0, 1)


async def test_what_is_gone_from_its_source_differs_and_a_known_absence_may_be_right(
    cache: Cache,
) -> None:
    acme, row, nothing = cache.tenant("acme"), Row("row"), Row(None)
    await acme.load("x", "1", row.read)
    await acme.load("x", "2", nothing.read)
    await all_stored(acme)
    arm(cache)
    await acme.load("x", "2", nothing.read)
    await all_checked(cache)
    assert looks(cache) == (1, 0, 0, 0)
    row.value = None
    arm(cache)
    await acme.load("x", "1", row.read)
    await all_checked(cache)
    assert looks(cache) == (2, 1, 1, 1)
    nothing.value = "here by now"
    arm(cache)
    await acme.load("x", "2", nothing.read)
    await all_checked(cache)
    assert looks(cache) == (3, 2, 2, 2)


async def test_a_generator_is_never_run_for_a_check(cache: Cache) -> None:
    acme, nothing, made = cache.tenant("acme"), Row(None), Row("made")
    await acme.load("x", "1", nothing.read, made.read)
    await all_stored(acme)
    arm(cache)
    await acme.load("x", "1", nothing.read, made.read)
    await all_checked(cache)
    assert (nothing.reads, made.reads) == (2, 1)
    assert looks(cache) == (0, 0, 0, 0)
    assert counts(cache).unchecked == 1


@pytest.mark.parametrize(
    "value",
    [
        [0.1, 0.2, 1 / 3],
        {"a": {3, 1, 2}, "b": (1, 2)},
        float("nan"),
        "x" * 10_000,
    ],
)
async def test_what_the_tiers_make_of_a_value_is_no_difference(cache: Cache, value: Any) -> None:
    acme = cache.tenant("acme")
    for data_type in ("x", "embedding"):
        if data_type == "embedding" and not isinstance(value, list):
            continue
        await acme.load(data_type, "1", lambda: value)
        await all_stored(acme)
        arm(cache)
        await acme.load(data_type, "1", lambda: value)
        await all_checked(cache)
        assert looks(cache, data_type) == (1, 0, 0, 0)


@dataclass
class Price:
    cents: int
    tags: set[str]


@pytest.mark.parametrize(
    ("policy", "stored", "same", "other"),
    [
        (
            Policy(type=Price),
            Price(1, {"a", "b"}),
            {"cents": 1, "tags": ["b", "a"]},
            Price(2, set()),
        ),
        (Policy(type=set[int]), {3, 1, 2}, [2, 3, 1], {1}),
        (Policy(shared=True), {"n": [1]}, {"n": [1]}, {"n": [2]}),
        (Policy(), numpy.arange(3.0), numpy.arange(3.0), numpy.arange(4.0)),
        (Policy(), numpy.arange(3.0), numpy.arange(3.0), numpy.array([0.0, 1.0, 3.0])),
    ],
)
async def test_values_of_any_kind_are_told_apart_and_only_where_they_differ(
    make_cache: MakeCache, policy: Policy, stored: Any, same: Any, other: Any
) -> None:
    cache = at_once(make_cache(policy=policy))
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: stored)
    await all_stored(acme)
    for value in (same, other):
        arm(cache)
        await acme.load("x", "1", lambda value=value: value)  # type: ignore[misc]
        await all_checked(cache)
    assert looks(cache) == (2, 1, 1, 1)


async def test_what_another_process_has_invalidated_is_late_until_it_is_heard_of(
    nodes: MakeNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = nodes(2)
    here, there = group
    pauses = Pauses(here, monkeypatch)
    row = Row("old")
    await here.tenant("acme").load("x", "1", row.read)
    await all_stored(here.tenant("acme"))
    row.value = "new"
    await there.tenant("acme").invalidate("x", "1")
    arm(here)
    served = await here.tenant("acme").load("x", "1", row.read)
    assert (served.value, served.tier) == ("old", "l1")  # type: ignore[union-attr]
    await until(lambda: bool(pauses.begun))
    await group.hear()
    await pauses.end(1)
    await all_checked(here)
    assert looks(here) == (1, 1, 0, 0)


async def test_the_order_of_a_dict_is_no_difference_and_what_the_caller_does_to_it_neither(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: {"a": 1, "b": 2})
    await all_stored(acme)
    arm(cache)
    (await acme.load("x", "1", lambda: {"b": 2, "a": 1})).value["a"] = "mine"
    await all_checked(cache)
    assert looks(cache) == (1, 0, 0, 0)


async def test_what_a_source_reads_through_the_cache_is_asked_of_its_source_as_well(
    cache: Cache,
) -> None:
    acme, row = cache.tenant("acme"), Row("old")

    async def made() -> Any:
        return "made of " + (await acme.load("x", "part", row.read)).value

    await acme.load("x", "whole", made)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    await acme.load("x", "whole", made)
    await all_checked(cache)
    assert looks(cache) == (1, 1, 1, 1)


async def test_a_source_that_never_says_the_same_is_asked_no_more(cache: Cache) -> None:
    """A language model: each check would call it twice, and never tell anything."""
    acme = cache.tenant("acme")
    sayings = count()
    await acme.load("x", "1", lambda: next(sayings))
    await all_stored(acme)
    for _ in range(20):
        arm(cache)
        await acme.load("x", "1", lambda: next(sayings))
        await all_checked(cache)
    assert next(sayings) == 1 + 2 * 3
    assert (looks(cache), counts(cache).unchecked) == ((0, 0, 0, 0), 3)


async def test_a_type_may_say_that_it_is_not_to_be_compared(make_cache: MakeCache) -> None:
    policies = {"said": Policy(checkable=False), "agent_response": Policy(ttl=60)}
    cache = at_once(make_cache(policies=policies))
    acme, row = cache.tenant("acme"), Row("value")
    uncheckable = ("said", "agent_response", "model_answer")
    for data_type in (*uncheckable, "x"):
        await acme.load(data_type, "1", row.read)
    await all_stored(acme)
    arm(cache)
    for data_type in uncheckable:  # a model makes those, so they need not say it
        for _ in range(3):
            await acme.load(data_type, "1", row.read)
    await all_checked(cache)
    assert row.reads == 4
    await acme.load("x", "1", row.read)
    await all_checked(cache)
    assert (row.reads, looks(cache)) == (5, (1, 0, 0, 0)), "another type's turn has come instead"
    with pytest.raises(InvalidPolicy, match="checkable is 'no'"):
        Policy(checkable="no")  # type: ignore[arg-type]


async def test_what_a_generator_made_is_no_reason_to_run_it_again(cache: Cache) -> None:
    acme, made = cache.tenant("acme"), count()

    async def stream() -> AsyncIterator[int]:
        yield next(made)

    for _ in range(10):
        arm(cache)
        await acme.load("x", "1", lambda: None, lambda: next(made))
        assert [item async for item in acme.stream("y", "1", stream)]
        await all_stored(acme)
        await all_checked(cache)
    assert next(made) == 2
