"""That there is nothing may be remembered, if the policy says so; empty values are values."""

import asyncio
from typing import Any

import pytest

from cascada.model.entry import Hit, Miss
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored


@pytest.mark.parametrize("value", [0, 0.0, "", b"", [], {}, (), False, set()])
async def test_what_is_empty_is_a_value(make_cache: MakeCache, value: Any) -> None:
    acme = make_cache().tenant("acme")
    row = Row(value)
    assert await acme.load("x", "1", row.read) == Hit(value, "source")
    await all_stored(acme)
    assert await acme.get("x", "1") == Hit(value, "l1")
    (hit,) = await acme.load_many("x", ["1"], lambda ids: [Row])
    assert type(hit.value) is type(value)
    assert row.reads == 1
    await acme.set("x", "2", value)
    assert (await acme.get("x", "2")).value == value


async def test_none_is_not_remembered_by_default(make_cache: MakeCache) -> None:
    acme = make_cache().tenant("acme")
    row = Row(None)
    for reads in (1, 2):
        assert isinstance(await acme.load("x", "1", row.read), Miss)
        await all_stored(acme)
        assert row.reads == reads
    assert isinstance(await acme.get("x", "1"), Miss)
    assert isinstance(await acme.load("x", "1", Row(Loaded(None, ttl=60)).read), Miss)


async def test_callers_at_the_same_time_share_the_answer_that_there_is_nothing(
    make_cache: MakeCache,
) -> None:
    acme = make_cache().tenant("acme")
    row = Row(None, seconds=0.01)
    answers = await asyncio.gather(*(acme.load("x", "1", row.read) for _ in range(20)))
    assert {type(each) for each in answers} == {Miss}
    assert row.reads == 1


async def test_a_known_absence_is_a_hit_whose_value_is_none_until_its_time_is_over(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=100, none_ttl=5)).tenant("acme")
    row = Row(None)
    assert isinstance(await acme.load("x", "1", row.read), Miss)
    await all_stored(acme)
    hits = [
        await acme.load("x", "1", row.read),
        await acme.get("x", "1"),
        *await acme.get_many("x", ["1"]),
        *await acme.load_many("x", ["1"], lambda ids: ["never asked"]),
    ]
    for hit in hits:
        assert isinstance(hit, Hit)
        assert (hit.value, hit.tier) == (None, "l1")
    assert row.reads == 1
    clock.advance(5)
    assert isinstance(await acme.get("x", "1"), Miss)
    row.value = "there now"
    assert (await acme.load("x", "1", row.read)).value == "there now"


async def test_a_known_absence_goes_when_the_key_is_invalidated_or_set(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(policy=Policy(none_ttl=500)).tenant("acme")
    row = Row(None)
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    assert (await acme.invalidate("x", "1")).keys == 1
    assert isinstance(await acme.get("x", "1"), Miss)
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    await acme.set("x", "1", "there now")
    assert (await acme.get("x", "1")).value == "there now"


async def test_who_has_a_generator_ignores_an_absence_that_was_stored_without_asking_one(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(policy=Policy(none_ttl=500)).tenant("acme")
    row, generator = Row(None), Row("made")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    answer = await acme.load("x", "1", row.read, generator.read)
    assert (answer.value, answer.tier) == ("made", "source")
    assert (row.reads, generator.reads) == (2, 1)
    await all_stored(acme)
    assert (await acme.load("x", "1", row.read)).value == "made"


async def test_an_absence_that_the_generator_has_confirmed_answers_all(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(policy=Policy(none_ttl=500)).tenant("acme")
    row, generator = Row(None), Row(None)
    assert isinstance(await acme.load("x", "1", row.read, generator.read), Miss)
    await all_stored(acme)
    for hit in (
        await acme.load("x", "1", row.read, generator.read),
        await acme.load("x", "1", row.read),
    ):
        assert hit.value is None
        assert hit.tier == "l1"
    assert (row.reads, generator.reads) == (1, 1)


async def test_the_generator_is_asked_only_when_the_loader_finds_nothing(
    make_cache: MakeCache,
) -> None:
    acme = make_cache().tenant("acme")
    generator = Row("made")
    assert (await acme.load("x", "1", Row("read").read, generator.read)).value == "read"
    assert (await acme.load("x", "2", Row("").read, generator.read)).value == ""
    assert generator.reads == 0
    assert (await acme.load("x", "3", None, generator.read)).value == "made"
    assert (await acme.load("x", "4", Row(None).read, generator.read)).value == "made"
    assert generator.reads == 2
