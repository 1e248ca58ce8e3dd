"""What a loader raises all its callers get; nothing is stored, and the next one may try."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.model.errors import CascadaError, LoadError, LoadTimeout, SerializationError
from cascada.testing.inside import inside
from cascada.tiers.base import Lease
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, kept, turns


class OutOfOrder(Exception):
    pass


async def test_a_failure_reaches_every_caller_and_the_next_one_loads_again(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row(OutOfOrder("no disk"), seconds=0.01)
    answers = await asyncio.gather(
        *(acme.load("x", "1", row.read) for _ in range(20)), return_exceptions=True
    )
    assert all(isinstance(answer, OutOfOrder) for answer in answers)
    assert row.reads == 1
    assert await kept(acme) is None
    row.value = "mended"
    assert (await acme.load("x", "1", row.read)).value == "mended"
    assert cache.stats().total.load_failures == 1


async def test_who_asks_during_a_load_that_fails_gets_the_failure_too(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row(OutOfOrder("no disk"))
    row.hold()
    first = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    second = asyncio.create_task(acme.load("x", "1", row.read))
    await turns()
    row.let_go()
    for caller in (first, second):
        with pytest.raises(OutOfOrder):
            await caller
    assert row.reads == 1


async def test_a_loader_that_cancels_itself_is_a_failure_and_cancels_no_caller(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> Any:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def fetch_with_help() -> Any:
        helper = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_later(0.005, helper.cancel)
        await helper

    for loader in (fetch, fetch_with_help):
        answers = await asyncio.gather(
            *(acme.load("x", "1", loader) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(answer, LoadError) for answer in answers)
        assert "the loader of acme:x:1 was cancelled" in str(answers[0])
    assert (await acme.load("x", "1", Row("fine").read)).value == "fine"


async def test_a_loader_that_takes_too_long_is_ended_and_its_callers_are_told(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(load_timeout=0.05).tenant("acme")
    row = Row()
    row.hold()
    answers = await asyncio.gather(
        *(acme.load("x", "1", row.read) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(answer, LoadTimeout) for answer in answers)
    assert all(isinstance(answer, TimeoutError) for answer in answers)
    assert "load_timeout=0.05" in str(answers[0])
    assert row.cancelled == 1
    row.let_go()
    assert (await acme.load("x", "1", row.read)).value == "old"


async def test_a_timeout_of_the_loader_itself_is_passed_on_as_it_is(make_cache: MakeCache) -> None:
    acme = make_cache(load_timeout=5).tenant("acme")
    with pytest.raises(TimeoutError) as raised:
        await acme.load("x", "1", Row(TimeoutError("the database's")).read)
    assert not isinstance(raised.value, CascadaError)


async def test_what_a_plain_function_raises_reaches_the_caller_even_stop_iteration(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")

    def fails() -> Any:
        raise OutOfOrder("in a thread")

    def runs_dry() -> Any:
        return next(iter([]))

    with pytest.raises(OutOfOrder, match="in a thread"):
        await acme.load("x", "1", fails)
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(acme.load("x", "2", runs_dry), 5)


@pytest.mark.parametrize("value", [object(), {"deep": [1, object()]}, lambda: 1])
async def test_a_value_that_cannot_be_stored_is_refused_with_the_place_inside_it(
    cache: Cache, value: Any
) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> Any:
        return value

    with pytest.raises(SerializationError):
        await acme.load("x", "1", fetch)
    with pytest.raises(SerializationError):
        await acme.set("x", "1", value)
    assert await kept(acme) is None


async def test_a_refused_set_leaves_what_was_there(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "kept")
    with pytest.raises(SerializationError):
        await acme.set("x", "1", object())
    assert await kept(acme) == "kept"


async def test_closing_ends_a_load_that_does_not_end_and_tells_its_callers(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.lifecycle.DRAIN_TIMEOUT", 0.05)
    cache = make_cache()
    row = Row()
    row.hold()
    waiting = asyncio.create_task(cache.tenant("acme").load("x", "1", row.read))
    await row.being_read()
    await cache.aclose()
    with pytest.raises(LoadError, match="closing"):
        await waiting
    assert row.cancelled == 1


class TheEnd(BaseException):
    """Such as pytest's own `fail`: neither an Exception nor a cancellation."""


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_what_ends_more_than_a_load_leaves_nobody_waiting_for_it(
    make_cache: MakeCache, many: bool
) -> None:
    """Its lease would else keep other processes waiting until it runs out."""
    here, there = (make_cache().tenant("acme") for _ in range(2))

    def end(*_: object) -> str:
        raise TheEnd

    with pytest.raises(TheEnd):
        await (here.load_many("x", ["1"], end) if many else here.load("x", "1", end))
    for tier in inside(here).lower:
        (lease,) = await tier.lease([here.key("x", "1")], [None])
        assert isinstance(lease, Lease)
        await tier.fill([lease], [None])
    assert (await there.load("x", "1", Row("value").read)).value == "value"


async def test_a_stream_that_ends_with_more_than_an_error_leaves_nobody_waiting(
    make_cache: MakeCache,
) -> None:
    here, there = (make_cache().tenant("acme") for _ in range(2))

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        raise TheEnd

    with pytest.raises(TheEnd):
        async for _ in here.stream("x", "1", pieces):
            pass
    for tier in inside(here).lower:
        (lease,) = await tier.lease([here.key("x", "1")], [None])
        assert isinstance(lease, Lease)
        await tier.fill([lease], [None])
    assert (await there.load("x", "1", Row("value").read)).value == "value"
