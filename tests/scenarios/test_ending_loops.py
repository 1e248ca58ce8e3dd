"""Event loops that end while a cache is at home there: whose calls are sent again, and to where."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, LoadError, Unanswered, WrongLoop
from cascada.testing.inside import inside
from tests.scenarios.row import until

PATIENCE = 20.0


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A cache that no loop has seen yet."""
    made = Cache() if request.param == "memory" else Cache(database=str(tmp_path / "cache.db"))
    yield made
    made.sync.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def test_a_call_that_its_loop_s_end_cuts_off_is_sent_again(cache: Cache) -> None:
    """To the bridge, where the cache lives from then on: loops come and go here."""
    calls, over = [], threading.Event()

    async def row() -> str:
        calls.append(threading.get_ident())
        if len(calls) == 1:
            over.set()
            await asyncio.sleep(60)
        return "loaded"

    async def other() -> Any:
        return (await cache.tenant("acme").load("x", "2", row)).value

    async def home() -> None:
        await cache.tenant("acme").set("x", "1", 1)
        started.set()
        await until(over.is_set)

    started = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, home())
        assert started.wait(10)
        assert threads.submit(run, other()).result(20) == "loaded"
        first.result(10)
    assert len(calls) == 2
    assert inside(cache).home == bridge()


def bridge() -> int | None:
    """The thread that caches without a loop live on."""
    return next((each.ident for each in threading.enumerate() if each.name == "cascada-bridge"), 0)


def test_where_several_loops_come_and_go_it_lives_on_the_bridge(cache: Cache) -> None:
    async def use() -> int | None:
        await cache.tenant("acme").set("x", "1", 1)
        return inside(cache).home

    async def home() -> int | None:
        assert await use() == await asyncio.to_thread(run, use()) == threading.get_ident()
        return threading.get_ident()

    assert run(use()) == run(use()) == threading.get_ident(), "one after the other is not several"
    run(home())
    assert run(use()) == bridge()


def test_a_loop_that_is_about_to_end_takes_no_call_any_more(cache: Cache) -> None:
    """It would be left on a loop that nobody runs."""
    calls: list[int | None] = []

    async def row() -> str:
        calls.append(threading.get_ident())
        await asyncio.sleep(1)
        return "loaded"

    async def lingers() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ending.set()
            await asyncio.sleep(0.3)

    async def home() -> None:
        await cache.tenant("acme").set("x", "1", 1)
        tasks.add(asyncio.ensure_future(lingers()))
        await asyncio.to_thread(acme.ttl, "x", "1")  # a call was carried here before

    tasks: set[asyncio.Future[None]] = set()
    acme, ending = cache.sync.tenant("acme"), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(run, home())
        assert ending.wait(10)
        assert acme.load("x", "2", row).value == "loaded"
        first.result(10)
    assert calls == [bridge()]


@pytest.mark.parametrize("how", ["waited for", "awaited"])
def test_but_not_one_that_may_be_carried_out_only_once(
    cache: Cache, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    async def unanswered(*args: Any, **named: Any) -> int:
        asked.set()
        await asyncio.sleep(60)
        return 0

    async def home() -> None:
        monkeypatch.setattr(await inside(cache).engine.data(), "increment", unanswered)
        started.set()
        await until(asked.is_set)

    async def count() -> int:
        return await cache.tenant("acme").increment("c", "1")

    def wait() -> int:
        return cache.sync.tenant("acme").increment("c", "1")

    started = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, home())
        assert started.wait(10)
        with pytest.raises(Unanswered, match="ended in the middle"):
            threads.submit(wait if how == "waited for" else lambda: run(count())).result(20)
        first.result(10)


def test_a_loop_that_was_closed_without_ending_its_tasks_is_missed() -> None:
    cache = Cache()
    loop, sent = asyncio.new_event_loop(), threading.Event()

    async def hanging() -> str:
        if not sent.is_set():
            sent.set()
            await asyncio.sleep(60)
        return "loaded"

    async def until_sent() -> None:
        await cache.tenant("acme").set("x", "1", 1)
        threading.Thread(target=ask).start()
        await until(sent.is_set)

    answers: list[Any] = []

    def ask() -> None:
        answers.append(cache.sync.tenant("acme").load("x", "2", hanging).value)
        answered.set()

    answered = threading.Event()
    loop.run_until_complete(until_sent())
    loop.close()
    assert answered.wait(20)
    assert answers == ["loaded"]
    cache.sync.close()


def test_a_loop_that_is_open_and_does_not_run_is_told(cache: Cache) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(cache.tenant("acme").set("x", "1", 1))
    with pytest.raises(WrongLoop, match=r"does not run.*await cache\.reset\(\)"):
        cache.sync.tenant("acme").get("x", "2")
    with ThreadPoolExecutor(1) as threads, pytest.raises(WrongLoop, match="does not run"):
        threads.submit(cache.sync.tenant("acme").get, "x", "2").result(20)
    loop.run_until_complete(cache.reset())
    loop.close()


def test_who_opens_it_on_a_loop_takes_it_from_the_bridge_while_it_is_used(cache: Cache) -> None:
    acme, over, wrong = cache.sync.tenant("acme"), threading.Event(), []

    def use(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            if acme.load("x", f"{number}-{turn}", lambda: turn).value != turn:  # noqa: B023
                wrong.append(turn)

    async def main() -> None:
        async with cache:
            assert inside(cache).home == threading.get_ident()
            await asyncio.sleep(0.1)
            assert inside(cache).home == threading.get_ident()
            over.set()
            await asyncio.gather(*map(asyncio.wrap_future, users))

    with ThreadPoolExecutor(4) as threads:
        users = [threads.submit(use, number) for number in range(4)]
        time.sleep(0.05)
        run(main())
    assert not wrong


def test_a_stream_whose_loop_ends_says_so(cache: Cache) -> None:
    passed = threading.Event()

    async def endless() -> AsyncIterator[int]:
        while True:
            passed.set()
            yield 1
            await asyncio.sleep(0.01)

    async def home() -> None:
        await cache.tenant("acme").set("x", "1", 1)
        started.set()
        await until(passed.is_set)

    def follow() -> None:
        for _ in cache.sync.tenant("acme").stream("s", "1", endless):
            pass

    started = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, home())
        assert started.wait(10)
        with pytest.raises(LoadError):
            threads.submit(follow).result(20)
        first.result(10)
