"""What goes on for ever does so whatever it meets, and ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits
from cascada.engine.tasks import background
from cascada.engine.tasks.background import Background, Unfinished
from cascada.testing.inside import inside
from tests.scenarios.row import until

FAILURES: dict[str, Callable[[], BaseException]] = {
    "a bug": lambda: TypeError("unhashable type: 'list'"),
    "several at once": lambda: ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
    "recursion": lambda: RecursionError("too deep"),
    "out of memory": lambda: MemoryError(),
    "a cancellation that is not its own": lambda: asyncio.CancelledError("of what it waited for"),
    "no text": lambda: Exception(),
    "the end of an iterator": lambda: StopAsyncIteration(),
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 0.0)


@pytest.fixture
async def restarts() -> Counter[str]:
    return Counter()


@pytest.fixture
async def tasks(restarts: Counter[str]) -> AsyncIterator[Background]:
    made = Background(lambda name: restarts.update([name]))
    yield made
    await made.drain(0)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_it_begins_again_and_is_counted(
    tasks: Background, restarts: Counter[str], failure: Callable[[], BaseException]
) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 20:
            raise failure()
        await asyncio.Event().wait()

    task = tasks.keep_running(work, "work")
    await until(lambda: begun == 20)
    assert not task.done()
    assert restarts == {"work": 19}


async def test_a_future_that_somebody_cancelled_does_not_end_it(tasks: Background) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        waited_for = asyncio.get_running_loop().create_future()
        if begun == 1:
            waited_for.cancel()
        await waited_for

    task = tasks.keep_running(work, "work")
    await until(lambda: begun == 2)
    assert not task.done()


async def test_it_ends_when_it_is_told_to_also_in_a_pause(
    tasks: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 3600.0)
    failed = asyncio.Event()

    async def work() -> None:
        failed.set()
        raise ValueError

    task = tasks.keep_running(work, "work")
    await failed.wait()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.drain(0)
    assert task.cancelled()


async def test_it_is_logged_once_in_a_row(
    tasks: Background, restarts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise ValueError("odd")

    with caplog.at_level(logging.WARNING, "cascada"):
        tasks.keep_running(work, "work")
        await until(lambda: restarts["work"] >= 3)
    assert len(caplog.records) == 1
    assert "work failed, and begins again" in caplog.text


async def broken(*arguments: Any) -> Any:
    raise TypeError("odd")


class Unlucky:
    """In the place of `random`."""

    def randrange(self, most: int) -> int:
        raise TypeError(most)


async def test_every_endless_task_of_a_cache_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Cache(database=str(tmp_path / "cache.db"), limits=Limits(self_check=0.001)) as cache:
        parts = inside(cache)
        feed = parts.feed
        assert feed is not None
        with monkeypatch.context() as odd:
            odd.setattr(feed, "poll", broken)
            odd.setattr(parts.lower[0], "redeliver", broken)
            odd.setattr("cascada.engine.selfcheck.random", Unlucky())
            parts.check.armed = False
            await until(lambda: {*parts.trace.restarts} == {"feed", "redelivery", "self-check"})
        acme = cache.tenant("acme")
        assert await acme.set("row", "1", "value")
        assert (await acme.get("row", "1")).value == "value"
        polled = asyncio.Event()
        poll = feed.poll

        async def seen() -> bool:
            polled.set()
            return await poll()

        monkeypatch.setattr(feed, "poll", seen)
        async with asyncio.timeout(10):
            await polled.wait()
        await until(lambda: parts.check.armed)


@pytest.mark.parametrize("left", [False, True], ids=["done", "left in the middle"])
async def test_closing_waits_for_who_does_something_by_himself(
    tasks: Background, left: bool
) -> None:
    again: list[str] = []

    async def once_more() -> None:
        await asyncio.sleep(0)
        again.append("all of it")

    half, go_on = asyncio.Event(), asyncio.Event()

    async def caller() -> None:
        with Unfinished(tasks, once_more):
            half.set()
            await go_on.wait()

    tasks.keep_running(asyncio.Event().wait, "feed")  # type: ignore[arg-type]
    calling = asyncio.create_task(caller())
    await half.wait()
    closing = asyncio.create_task(tasks.drain(60))
    await asyncio.sleep(0.01)
    assert not closing.done()
    if left:
        calling.cancel()
    go_on.set()
    await closing
    assert again == (["all of it"] if left else [])
    assert calling.cancelled() == left


@pytest.mark.parametrize("error", [ValueError("odd"), KeyboardInterrupt()])
async def test_who_fails_by_himself_has_nothing_done_once_more(
    tasks: Background, error: BaseException
) -> None:
    async def once_more() -> None:
        pytest.fail("nobody has left")

    with pytest.raises(type(error)), Unfinished(tasks, once_more):
        raise error
    await tasks.drain(0)


async def test_nothing_is_begun_for_who_leaves_together_with_all_tasks(tasks: Background) -> None:
    """As at the end of `asyncio.run`: what is begun then stays half begun on a dead loop."""

    async def once_more() -> None:
        pytest.fail("nobody runs this loop any more")

    endless = tasks.keep_running(asyncio.Event().wait, "feed")  # type: ignore[arg-type]

    async def caller() -> None:
        with Unfinished(tasks, once_more):
            await asyncio.Event().wait()

    callers = [asyncio.create_task(caller()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in [callers[0], endless, *callers[1:]]:
        task.cancel()
    await asyncio.wait([endless, *callers])
    await tasks.drain(60)


async def test_after_the_closing_nothing_is_begun_for_who_leaves(tasks: Background) -> None:
    async def once_more() -> None:
        pytest.fail("there are no tiers any more")

    with suppress(asyncio.CancelledError), Unfinished(tasks, once_more):
        await tasks.drain(0)
        raise asyncio.CancelledError
    await tasks.drain(0)


async def test_what_is_ended_before_its_first_step_tells_who_waits_for_it(
    tasks: Background,
) -> None:
    told = 0

    async def work() -> None:
        nonlocal told
        try:
            await asyncio.Event().wait()
        finally:
            told += 1

    tasks.run(work(), "work")
    await tasks.drain(0)
    ended = tasks.run(work(), "work")
    background.end(ended)
    background.end(ended)
    await asyncio.wait([ended])
    assert told == 2
    assert ended.cancelling() == 1, "it may be giving something back by then"


@pytest.mark.parametrize("times", [1, 2])
async def test_what_is_ended_in_the_turn_in_which_its_own_timeout_ends_does_end(
    tasks: Background, times: int
) -> None:
    limits: list[asyncio.Timeout] = []

    async def watch() -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    limits.append(limit)
                    await asyncio.Event().wait()

    watching = tasks.keep_running(watch, "connection")
    await until(lambda: bool(limits))
    limits[0].reschedule(0)
    for _ in range(times):
        background.end(watching)
    assert (await asyncio.wait([watching], timeout=2))[0]
    assert len(limits) == 2, "the timeout came first"
