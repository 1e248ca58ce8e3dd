"""Cancelling a caller, whichever, ends that caller's waiting and nothing else."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.engine.reading import load_task
from cascada.testing.flaky import FlakyTier
from tests.scenarios.row import Row, kept, turns, until

Waiting = list[asyncio.Task[Any]]


async def board(cache: Cache, row: Row, callers: int) -> Waiting:
    """So many callers of one key, all waiting for one load that is under way."""
    acme = cache.tenant("acme")
    waiting = [asyncio.create_task(acme.load("x", "1", row.read)) for _ in range(callers)]
    await row.being_read()
    await turns()
    return waiting


@pytest.mark.parametrize("leaves", [[0], [5], [9], [0, 5, 9], range(1, 10), range(9)])
async def test_whoever_leaves_the_others_get_their_value(cache: Cache, leaves: list[int]) -> None:
    row = Row({"n": 1})
    row.hold()
    waiting = await board(cache, row, 10)
    for index in leaves:
        waiting[index].cancel()
    await turns()
    row.let_go()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    for index, answer in enumerate(answers):
        if index in leaves:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert answer.value == {"n": 1}
    assert (row.reads, row.cancelled) == (1, 0)
    assert await kept(cache.tenant("acme")) == {"n": 1}


@pytest.mark.parametrize("callers", [1, 10])
async def test_a_load_that_nobody_waits_for_any_more_is_cancelled(
    cache: Cache, callers: int
) -> None:
    row = Row()
    row.hold()
    waiting = await board(cache, row, callers)
    for caller in waiting:
        caller.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await until(lambda: row.cancelled == 1)
    assert await kept(cache.tenant("acme")) is None


async def test_who_comes_after_all_have_left_starts_a_load_of_its_own(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row()
    row.hold()
    (alone,) = await board(cache, row, 1)
    alone.cancel()
    while not alone.done():
        await turns(1)
    assert row.cancelled == 0, "the load was told to end, and has not had its turn yet"
    row.let_go()
    row.value = "new"
    assert (await acme.load("x", "1", row.read)).value == "new"
    assert await kept(acme) == "new"


async def test_who_leaves_and_comes_back_at_once_is_served(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row()
    row.hold()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await acme.load("x", "1", row.read)
    row.let_go()
    assert (await acme.load("x", "1", row.read)).value == "old"


async def test_a_load_that_has_its_value_stores_it_although_all_have_left(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, storing = asyncio.Event(), asyncio.Event()
    backfill = load_task.backfill

    async def late(*args: Any) -> list[bool]:
        storing.set()
        await held.wait()
        return await backfill(*args)

    monkeypatch.setattr(load_task, "backfill", late)
    acme = cache.tenant("acme")
    row = Row(seconds=0.001)
    waiting = [asyncio.create_task(acme.load("x", "1", row.read)) for _ in range(3)]
    await storing.wait()
    for caller in waiting:
        caller.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    held.set()
    assert await kept(acme) == "old"
    assert row.reads == 1


async def test_a_caller_of_many_keys_that_leaves_harms_nobody_who_shares_some(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    held = asyncio.Event()
    asked: list[list[str]] = []

    async def rows(ids: list[str]) -> dict[str, str]:
        asked.append(ids)
        await held.wait()
        return {each: each.upper() for each in ids}

    first = asyncio.create_task(acme.load_many("x", ["a", "b", "c"], rows))
    await until(lambda: len(asked) == 1)
    second = asyncio.create_task(acme.load_many("x", ["b", "d"], rows))
    third = asyncio.create_task(acme.load("x", "c", Row("of its own").read))
    await until(lambda: len(asked) == 2)
    first.cancel()
    await turns()
    held.set()
    assert [hit.value for hit in await second] == ["B", "D"]
    assert (await third).value == "C"
    assert asked == [["a", "b", "c"], ["d"]]


async def test_a_caller_that_is_cancelled_by_its_own_timeout_gets_a_timeout(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row()
    row.hold()
    waiting = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.01)
    await until(lambda: row.cancelled == 1)


async def test_a_plain_loader_that_comes_too_late_leaves_no_coroutine_behind(
    cache: Cache,
) -> None:
    row = Row()
    started, late = threading.Event(), threading.Event()

    def fetch() -> Any:
        started.set()
        late.wait(10)
        return row.read()

    waiting = asyncio.create_task(cache.tenant("acme").load("x", "1", fetch))
    await asyncio.to_thread(started.wait, 10)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    late.set()
    await cache.reset()
    gc.collect()  # an abandoned coroutine would be a warning, which is an error here
    assert row.reads == 0


async def test_leaving_in_the_middle_of_an_invalidation_does_not_leave_half_of_it(
    shaky: Cache, flaky: FlakyTier
) -> None:
    acme = shaky.tenant("acme")
    for carried_out in (False, True):
        await acme.set("x", "1", "old")
        with flaky.hang("invalidate", carried_out=carried_out) as held:
            leaving = asyncio.create_task(acme.invalidate("x", "1"))
            await held.reached()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            flaky.fail("changes")  # so that memory hears of it from nobody else
        await until(lambda: "cascada:invalidate" not in {t.get_name() for t in asyncio.all_tasks()})
        assert not await acme.get("x", "1")
        flaky.heal()
