"""A cold cache does not overrun the source: 64 loads in all, 16 of a type, the others wait."""

import asyncio
from collections.abc import Iterator

import pytest

from cascada.model.errors import SourceBusy
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, turns, until


@pytest.fixture
def row() -> Iterator[Row]:
    row = Row()
    row.hold()
    yield row
    row.let_go()


async def test_16_loads_of_a_type_run_at_once_and_the_others_follow(
    make_cache: MakeCache, row: Row
) -> None:
    acme = make_cache().tenant("acme")
    loads = [asyncio.create_task(acme.load("x", number, row.read)) for number in range(50)]
    await row.being_read(16)
    await turns()
    assert row.running == 16
    row.let_go()
    assert len(await asyncio.gather(*loads)) == 50
    assert row.most_running == 16
    assert row.reads == 50


async def test_64_loads_run_at_once_in_all(make_cache: MakeCache, row: Row) -> None:
    acme = make_cache().tenant("acme")
    loads = [
        asyncio.create_task(acme.load(f"type {number % 10}", number, row.read))
        for number in range(100)
    ]
    await row.being_read(64)
    await turns()
    assert row.running == 64
    row.let_go()
    await asyncio.gather(*loads)
    assert row.most_running == 64


async def test_the_bounds_are_those_that_the_cache_was_given(
    make_cache: MakeCache, row: Row
) -> None:
    acme = make_cache(max_loads=3, max_loads_per_type=2).tenant("acme")
    loads = [asyncio.create_task(acme.load(data_type, 1, row.read)) for data_type in "xyzw"]
    loads += [asyncio.create_task(acme.load("x", number, row.read)) for number in range(2, 5)]
    await row.being_read(3)
    await turns()
    assert row.running == 3
    row.let_go()
    await asyncio.gather(*loads)


async def test_who_waits_too_long_gets_an_error_that_says_what_is_the_matter(
    make_cache: MakeCache, row: Row
) -> None:
    acme = make_cache(max_loads=1, load_wait=0.02).tenant("acme")
    first = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    with pytest.raises(SourceBusy, match="1 in all"):
        await acme.load("x", "2", row.read)
    row.let_go()
    await first
    assert (await acme.load("x", "2", row.read)).value == "old"


async def test_who_waits_too_long_gets_a_stale_value_where_one_may_be_served(
    make_cache: MakeCache, clock: ManualClock, row: Row
) -> None:
    acme = make_cache(
        policy=Policy(ttl=10, stale_if_error=100), max_loads=1, load_wait=0.02
    ).tenant("acme")
    await acme.set("x", "2", "spare")
    clock.advance(20)
    first = asyncio.create_task(acme.load("y", "1", row.read))
    await row.being_read()
    answer = await acme.load("x", "2", row.read)
    assert (answer.value, answer.stale) == ("spare", True)
    row.let_go()
    await first


async def test_the_callers_of_one_key_take_one_slot(make_cache: MakeCache, row: Row) -> None:
    acme = make_cache(max_loads=2).tenant("acme")
    loads = [asyncio.create_task(acme.load("x", "1", row.read)) for _ in range(50)]
    await row.being_read()
    other = asyncio.create_task(acme.load("x", "2", row.read))
    await row.being_read(2)
    row.let_go()
    await asyncio.gather(*loads, other)


async def test_a_load_for_many_keys_takes_one_slot(make_cache: MakeCache) -> None:
    acme = make_cache(max_loads=1).tenant("acme")
    hits = await acme.load_many("x", range(100), lambda ids: {each: each for each in ids})
    assert [hit.value for hit in hits] == [str(number) for number in range(100)]


async def test_slots_come_free_again_however_a_load_ends(make_cache: MakeCache) -> None:
    acme = make_cache(max_loads=1, load_wait=0.5, load_timeout=0.05).tenant("acme")
    hanging = Row()
    hanging.hold()
    with pytest.raises(OSError, match="down"):
        await acme.load("x", "1", Row(OSError("down")).read)
    with pytest.raises(TimeoutError):
        await acme.load("x", "1", hanging.read)
    left = asyncio.create_task(acme.load("x", "2", hanging.read))
    queued = asyncio.create_task(acme.load("x", "3", hanging.read))
    await hanging.being_read(2)
    for caller in (queued, left):
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    await until(lambda: hanging.running == 0)
    assert (await acme.load("x", "4", Row("free").read)).value == "free"


async def test_a_bypassed_cache_keeps_the_bound(make_cache: MakeCache, row: Row) -> None:
    cache = make_cache(max_loads=2)
    acme = cache.tenant("acme")
    with cache.bypass():
        loads = [asyncio.create_task(acme.load("x", "1", row.read)) for _ in range(10)]
        await row.being_read(2)
        await turns()
        assert row.running == 2
        row.let_go()
        await asyncio.gather(*loads)
    assert row.reads == 10
