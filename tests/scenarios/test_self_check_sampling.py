"""Which hits are compared with their source, when, and that nobody waits for it."""

import asyncio
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.api.cached.decorator import cached
from cascada.api.default import configure
from cascada.api.documents.cache_aside import get_with_cache_aside
from cascada.engine.selfcheck import MOST
from cascada.model.errors import BadInput
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.checking import all_checked, arm, at_once, counts, looks
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, turns, until


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    cache = make_cache(policies={"x": Policy(none_ttl=60), "old": Policy(ttl=10, stale_for=60)})
    return at_once(cache)


async def test_what_says_that_it_is_stale_is_not_checked(cache: Cache, clock: ManualClock) -> None:
    acme, row = cache.tenant("acme"), Row("value")
    await acme.load("old", "1", row.read)
    await all_stored(acme)
    clock.advance(11)
    await acme.get("old", "any")  # so that the feed has been asked since
    row.hold()
    arm(cache)
    assert (await acme.load("old", "1", row.read)).stale
    await turns()
    assert inside(cache).check.armed, "it waits for a hit that promises something"
    row.let_go()
    await all_stored(acme)
    assert looks(cache, "old") == (0, 0, 0, 0)


async def test_a_hit_inside_of_a_load_can_be_checked_and_adds_nothing_to_that_load(
    cache: Cache,
) -> None:
    acme, part = cache.tenant("acme"), Row("part")
    await acme.load("x", "part", part.read)
    await all_stored(acme)

    async def made() -> Any:
        arm(cache)
        value = (await acme.load("x", "part", in_another_way)).value
        await all_checked(cache)
        return value

    async def in_another_way() -> Any:
        await acme.load("x", "other", part.read)
        return await part.read()

    await acme.load("x", "whole", made)
    await all_stored(acme)
    assert looks(cache) == (1, 0, 0, 0)
    await acme.invalidate("x", "other")
    assert (await acme.get("x", "whole")).value == "part"


async def test_batches_and_decorated_functions_are_checked_as_well(cache: Cache) -> None:
    acme = cache.tenant("acme")
    asked: list[list[str]] = []

    async def rows(ids: list[str]) -> dict[str, str]:
        asked.append(ids)
        return dict.fromkeys(ids, "row")

    await acme.load_many("x", ["1", "2"], rows)
    await all_stored(acme)
    arm(cache)
    await acme.load_many("x", ["1", "2"], rows)
    await all_checked(cache)
    assert asked == [["1", "2"], ["1"]]
    assert looks(cache) == (1, 0, 0, 0)

    calls = Row("result")

    @cached("x", cache=cache, key=lambda: "f")
    async def function() -> Any:
        return await calls.read()

    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("CASCADA_TENANT", "acme")
        await function()
        await all_stored(acme)
        arm(cache)
        await function()
        await all_checked(cache)
    assert calls.reads == 2
    assert looks(cache) == (2, 0, 0, 0)


async def test_the_documents_face_is_checked_as_well(cache: Cache) -> None:
    row = Row({"n": 1})
    configure(cache)
    try:
        for serializer in (None, repr):
            for number in (1, 2):
                if number == 2:
                    arm(cache)
                value, metrics = await get_with_cache_aside(
                    "x", f"{serializer}", "acme", row.read, serializer=serializer
                )
                await all_stored(cache.tenant("acme"))
            assert metrics["cache_hit"]
            assert value == (repr(row.value) if serializer else row.value)
            await all_checked(cache)
    finally:
        configure(None)
    assert row.reads == 4
    assert looks(cache) == (2, 0, 0, 0)


async def test_a_closing_cache_does_not_wait_for_its_checks(make_cache: MakeCache) -> None:
    cache = make_cache()
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    arm(cache)
    await acme.load("x", "1", row.read)
    await until(lambda: counts(cache).differed == 1)
    async with asyncio.timeout(5):
        await cache.aclose()
    assert looks(cache) == (1, 1, 0, 0)


async def test_only_so_many_comparisons_are_under_way(make_cache: MakeCache) -> None:
    cache = make_cache()
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    for _ in range(MOST + 3):
        arm(cache)
        await acme.load("x", "1", row.read)
        assert not inside(cache).check.armed
    await until(lambda: counts(cache).differed == MOST)
    assert counts(cache).checked == MOST


async def test_the_timer_arms_again_and_again_and_after_a_reset(make_cache: MakeCache) -> None:
    cache = at_once(make_cache(self_check=0.01))
    for _ in range(2):
        acme, row = cache.tenant("acme"), Row("value")
        await acme.load("x", "1", row.read)
        await all_stored(acme)
        before = counts(cache).checked
        for more in (1, 2):
            await until(lambda: inside(cache).check.armed)
            while inside(cache).check.armed:
                await acme.load("x", "1", row.read)
            await until(lambda: counts(cache).checked >= before + more)  # noqa: B023
        await cache.reset()


async def test_what_is_always_read_right_after_another_has_its_turn(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(self_check=0.005)
    acme = cache.tenant("acme")

    async def request() -> None:
        for data_type in ("first", "second", "third"):
            await acme.load(data_type, "1", lambda: "row")

    await request()
    await all_stored(acme)
    async with asyncio.timeout(20):
        while not all(counts(cache, each).checked for each in ("first", "second", "third")):
            await request()
            await asyncio.sleep(0.001)


async def test_few_hits_are_not_passed_over_again_and_again(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer goes off more often than there are hits: whose turn it is was drawn before."""
    monkeypatch.setattr("cascada.engine.selfcheck.random.randrange", lambda below: 1)
    cache = make_cache(self_check=0.001)
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: "row")
    await all_stored(acme)
    await until(lambda: inside(cache).check.armed)
    for _ in range(2):
        await acme.load("x", "1", lambda: "row")
        await asyncio.sleep(0.02)
    await until(lambda: counts(cache).checked == 1)


@pytest.mark.parametrize("interval", [None, 0])
async def test_without_an_interval_nothing_is_ever_armed(
    make_cache: MakeCache, interval: float | None
) -> None:
    cache = make_cache(self_check=interval)
    await cache.tenant("acme").get("x", "1")
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if "self-check" in name]


@pytest.mark.parametrize("interval", [-1, True, float("nan"), float("inf")])
def test_an_interval_that_is_none_is_refused(interval: float) -> None:
    with pytest.raises(BadInput, match="seconds of at least 0"):
        Cache(limits=Limits(self_check=interval))
