"""Where a cache runs: loop after loop, across forks, until it is closed; it leaves no task."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cascada import (
    Context,
    Hit,
    Limits,
    cached,
    configure,
    get_with_cache_aside,
)
from cascada.api.cache import Cache
from cascada.model.clock import SystemClock
from cascada.model.errors import CacheClosed, WrongLoop
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import Row, all_stored, kept, turns, until

PATIENCE = 20.0


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    """A cache that no loop has seen yet."""
    if request.param == "memory":
        return Cache()
    return Cache(database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=PATIENCE))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def test_three_runs_in_a_row_work_and_memory_outlives_them(cache: Cache) -> None:
    async def once(number: int) -> Any:
        acme = cache.tenant("acme")
        hits = [await acme.get("x", str(earlier)) for earlier in range(number)]
        assert [hit.value for hit in hits] == list(range(number))
        answer = await acme.load("x", str(number), Row(number).read)
        await all_stored(acme)
        return answer.value

    assert [run(once(number)) for number in range(3)] == [0, 1, 2]
    run(cache.aclose())


def test_a_run_that_ended_in_the_middle_of_a_load_leaves_the_next_one_whole(
    cache: Cache,
) -> None:
    async def break_off() -> None:
        row = Row()
        row.hold()
        waiting = asyncio.ensure_future(cache.tenant("acme").load("x", "1", row.read))
        await row.being_read()
        await turns(1)
        assert not waiting.done()

    run(break_off())
    assert run(cache.tenant("acme").load("x", "1", Row("whole").read)).value == "whole"
    run(cache.aclose())


def test_a_run_that_ends_waits_for_what_its_loads_let_go_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A task of its own for that would be destroyed while it is pending, and complain of it."""
    tier = FlakyTier(SqliteTier(tmp_path / "cache.db", namespace="test", clock=SystemClock()))
    cache = Cache(tiers=[tier], limits=Limits(op_timeout=PATIENCE))

    async def break_off() -> None:
        row = Row()
        row.hold()
        waiting = asyncio.ensure_future(cache.tenant("acme").load("x", "1", row.read))
        await row.being_read()
        tier.delay("fill", seconds=0.1)
        assert not waiting.done()

    run(break_off())
    tier.heal()
    run(cache.tenant("acme").get("x", "1"))
    gc.collect()
    assert not caplog.records
    run(cache.aclose())


ASKING: dict[str, Callable[[Cache], Awaitable[Any]]] = {
    "a miss": lambda cache: cache.tenant("acme").load("x", "2", Row().read),
    "get": lambda cache: cache.tenant("acme").get("x", "1"),
    "load": lambda cache: cache.tenant("acme").load("x", "1", Row().read),
    "a key": lambda cache: cache.get(cache.tenant("acme").key("x", "1")),
    "many": lambda cache: cache.tenant("acme").get_many("x", ["1", "1"]),
    "a typed one": lambda cache: cache.tenant("acme").get("x", "1", type=str),
    "cached": lambda cache: cached("y", cache=cache, key=lambda: "1")(Row().read)(),
    "cache-aside": lambda cache: get_with_cache_aside("x", "1", "acme", Row().read),
    "set": lambda cache: cache.tenant("acme").set("x", "1", 1),
    "invalidate": lambda cache: cache.tenant("acme").invalidate("x", "1"),
}


async def whatever(asking: Callable[[Cache], Awaitable[Any]], cache: Cache) -> Any:
    with Context(tenant_id="acme"):
        return await asking(cache)


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
async def test_what_a_second_loop_calls_is_carried_to_the_first_while_that_runs(
    cache: Cache, asking: Callable[[Cache], Awaitable[Any]]
) -> None:
    """A hit as well as a miss: memory has no locks."""
    configure(cache)
    home = threading.get_ident()
    for data_type in ("x", "y"):
        await cache.tenant("acme").set(data_type, "1", "here")
    there: Any = await whatever(asking, cache)
    for data_type in ("x", "y"):
        await cache.tenant("acme").set(data_type, "1", "here")
    carried: Any = await asyncio.to_thread(run, whatever(asking, cache))
    assert type(carried) is type(there)
    assert not isinstance(carried, Hit) or carried.value == there.value
    assert inside(cache).home == home
    await cache.aclose()
    configure(None)


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_a_second_loop_on_the_same_thread_is_told_what_to_do_while_the_first_is_open(
    cache: Cache, asking: Callable[[Cache], Awaitable[Any]]
) -> None:
    configure(cache)

    async def fill() -> None:
        for data_type in ("x", "y"):
            await cache.tenant("acme").set(data_type, "1", "here")

    with asyncio.Runner() as first:
        first.run(fill())
        with asyncio.Runner() as second, pytest.raises(WrongLoop, match="Make one Cache for each"):
            second.run(whatever(asking, cache))
        assert first.run(cache.tenant("acme").get("x", "1")).tier == "l1"
        first.run(cache.aclose())
    configure(None)


async def test_after_a_reset_another_loop_may_take_over(cache: Cache) -> None:
    await cache.tenant("acme").set("x", "1", "value")
    await cache.reset()
    values: list[Any] = []

    def elsewhere() -> None:
        async def work() -> None:
            await cache.tenant("acme").set("x", "2", "two")
            values.append((await cache.tenant("acme").get("x", "2")).value)
            await cache.aclose()

        run(work())

    await asyncio.to_thread(elsewhere)
    assert values == ["two"]


async def test_a_closed_cache_says_that_it_is_closed(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "value")
    await cache.aclose()
    await cache.aclose()
    for call in (
        lambda: acme.get("x", "1"),
        lambda: acme.get_many("x", ["1"]),
        lambda: acme.load("x", "1", Row().read),
        lambda: acme.set("x", "1", 1),
        lambda: acme.delete("x", "1"),
        lambda: acme.invalidate(),
        lambda: acme.explain("x", "1"),
        lambda: acme.ttl("x", "1"),
        cache.stats,
        cache.__aenter__,
    ):
        with pytest.raises(CacheClosed, match="make a new one"):
            await call()


async def test_a_cache_that_was_never_used_can_be_closed_and_reset(cache: Cache) -> None:
    await cache.reset()
    await cache.reset()
    await cache.aclose()


async def test_reset_forgets_memory_and_goes_on(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "value")
    await cache.reset()
    hit = await acme.get("x", "1")
    assert not hit or hit.tier == "l3"
    await acme.set("x", "1", "again")
    assert (await acme.get("x", "1")).value == "again"
    await cache.aclose()


async def test_no_task_is_left_after_closing_whatever_was_under_way(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.home.lifecycle.DRAIN_TIMEOUT", 0.05)
    acme = cache.tenant("acme")
    row = Row()
    row.hold()
    callers = [asyncio.create_task(acme.load("x", name, row.read)) for name in "abc"]
    callers += [asyncio.create_task(acme.load_many("x", [*"cde"], lambda ids: row.read()))]
    callers += [asyncio.create_task(acme.set("x", "f", 1)), asyncio.create_task(acme.invalidate())]
    await row.being_read(4)
    await cache.aclose()
    assert not [name for task in asyncio.all_tasks() if "cascada:" in (name := task.get_name())]
    await asyncio.gather(*callers, return_exceptions=True)


async def test_a_background_task_that_raises_is_logged_and_ends_nothing_else(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    await cache.tenant("acme").get("x", "1")

    async def breaks() -> None:
        raise ValueError("".join(["pass", "word"]))

    inside(cache).background.run(breaks(), "breaks")
    await until(lambda: "breaks failed: ValueError in breaks" in caplog.text)
    assert "password" not in caplog.text, "what an error says may hold a value"
    assert await cache.tenant("acme").set("x", "1", "fine")
    await cache.aclose()


async def test_a_first_use_that_is_cancelled_does_not_keep_others_from_theirs(
    tmp_path: Path,
) -> None:
    cache = Cache(database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=PATIENCE))
    acme = cache.tenant("acme")
    callers = [asyncio.create_task(acme.get("x", "1")) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert not any(caller.cancelled() for caller in callers[1:])
    await cache.aclose()


def in_a_child(work: Coroutine[Any, Any, bool]) -> bool:
    """Whether `work` is true in a forked child."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if run(work) else 2
        finally:
            os._exit(status)
    work.close()
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_has_an_empty_memory_and_works(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def fill() -> None:
        await acme.set("x", "1", "parent's")

    async def in_child() -> bool:
        before = inside(cache).memory.peek(acme.key("x", "1"))
        hit = await acme.get("x", "1")
        await acme.set("x", "2", "child's")
        stored = await acme.get("x", "2")
        await acme.invalidate("x", "2")
        return (
            before is None
            and (not hit or hit.tier == "l3")
            and stored.value == "child's"
            and not await acme.get("x", "2")
        )

    run(fill())
    assert in_a_child(in_child())
    assert run(acme.get("x", "1")).value == "parent's"
    run(cache.aclose())


def test_a_child_that_is_forked_while_a_loop_runs_works_and_harms_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def in_child() -> bool:
        return (await acme.load("x", "child", Row("child's").read)).value == "child's"

    async def parent() -> None:
        row = Row("parent's")
        row.hold()
        await acme.set("x", "before", 1)
        loading = asyncio.create_task(acme.load("x", "1", row.read))
        await row.being_read()
        assert await asyncio.get_running_loop().run_in_executor(None, in_a_child, in_child())
        row.let_go()
        assert (await loading).value == "parent's"
        assert await kept(acme) == "parent's"
        await cache.aclose()

    run(parent())


def test_a_preloaded_cache_is_seen_by_its_children_as_one(tmp_path: Path) -> None:
    """As under gunicorn --preload: what one child invalidates the parent and the other see."""
    clock = ManualClock()
    cache = Cache(
        database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=PATIENCE), clock=clock
    )
    acme = cache.tenant("acme")

    async def invalidate() -> bool:
        return (await acme.get("x", "1")).value == "old" and (
            await acme.invalidate("x", "1")
        ).keys == 1

    async def sees_nothing() -> bool:
        return not await acme.get("x", "1")

    run(acme.set("x", "1", "old"))
    assert in_a_child(invalidate())
    assert in_a_child(sees_nothing())
    clock.advance(0.6)  # memory may be trusted for half a second without news
    assert not run(acme.get("x", "1"))
    run(cache.aclose())
