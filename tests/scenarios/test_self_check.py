"""What is served is compared with its source: what is stale is found, and nothing else."""

import asyncio
import logging
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.api.cache_aside import get_with_cache_aside
from cascada.api.decorator import cached
from cascada.api.default import configure
from cascada.api.statistics import TypeStatistics
from cascada.engine.selfcheck import MOST
from cascada.model.errors import BadInput
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, turns, until


class Pauses:
    """Stands for the pauses before the second and the third look: a test ends them by hand."""

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[float] = []
        self._ends: list[asyncio.Event] = []
        self._sleep = asyncio.sleep
        cache._assembly.check.pauses = (0.125, 0.375)
        monkeypatch.setattr("cascada.engine.selfcheck.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        if seconds not in (0.125, 0.375):
            return await self._sleep(seconds)
        self.begun.append(seconds)
        self._ends.append(end := asyncio.Event())
        await end.wait()
        return None

    async def end(self, count: int) -> None:
        """Wait for so many pauses to have begun, and end all of them."""
        await until(lambda: len(self.begun) >= count)
        for end in self._ends:
            end.set()


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    cache = make_cache(policies={"x": Policy(none_ttl=60), "old": Policy(ttl=10, stale_for=60)})
    return at_once(cache)


def at_once(cache: Cache) -> Cache:
    cache._assembly.check.pauses = (0.0, 0.0)
    return cache


def arm(cache: Cache) -> None:
    cache._assembly.check.armed = True


def counts(cache: Cache, data_type: str = "x") -> TypeStatistics:
    return cache.stats().types.get(data_type, TypeStatistics())


def looks(cache: Cache, data_type: str = "x") -> tuple[int, int, int, int]:
    of = counts(cache, data_type)
    return of.checked, of.differed, of.differed_1s, of.differed_10s


async def all_checked(cache: Cache) -> None:
    await until(lambda: not +cache._assembly.check._under_way)


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
    assert counts(cache).l1 == 3, "a check is no read"
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
    assert cache._assembly.check.armed, "it waits for a hit that promises something"
    row.let_go()
    await all_stored(acme)
    assert looks(cache, "old") == (0, 0, 0, 0)


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
    async with asyncio.timeout(0.9):
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
        assert not cache._assembly.check.armed
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
            await until(lambda: cache._assembly.check.armed)
            while cache._assembly.check.armed:
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
        Cache(self_check=interval)
