"""What a loader raises all its callers get; nothing is stored, and the next one may try."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import pytest

from cascada import Context, cached, configure, get_with_cache_aside
from cascada.api.cache import Cache
from cascada.model.errors import CascadaError, LoadError, LoadTimeout, SerializationError
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.tiers.contract import Lease
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept, turns


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
    assert (await cache.stats()).total.load_failures == 1


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
async def test_a_loaded_value_that_cannot_be_stored_goes_to_its_callers(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    """The source has answered: a cache that cannot keep that is no reason to fail the call."""
    cache = make_cache()
    acme, row = cache.tenant("acme"), Row()

    async def fetch() -> Any:
        await row.read()
        return value

    row.hold()
    asked = [asyncio.create_task(acme.load("x", "1", fetch)) for _ in range(3)]
    await row.being_read()
    await turns()
    row.let_go()
    assert [(await one).value for one in asked] == [value] * 3
    assert row.reads == 1
    (many,) = await acme.load_many("x", ["2"], lambda ids: [value])
    assert many.value is value
    assert (await acme.load("x", "1", fetch)).value is value
    assert row.reads == 2, "it is stored nowhere"
    assert await kept(acme) is None
    assert "what was loaded last is not stored: value" in str(await acme.explain("x", "1"))
    told = [record for record in caplog.records if "cannot be stored" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"], "once for a type"
    assert (await cache.stats()).total.unstorable == 3
    with pytest.raises(SerializationError):
        await acme.set("x", "1", value)


async def test_of_many_values_those_that_can_be_stored_are(warm: Cache) -> None:
    acme = warm.tenant("acme")
    strange = object()
    hits = await acme.load_many("x", ["1", "2", "3"], lambda ids: ["a", strange, "c"])
    assert [hit.value for hit in hits] == ["a", strange, "c"]
    await all_stored(acme)
    assert [await kept(acme, each) for each in "123"] == ["a", None, "c"]


async def test_what_was_made_of_an_unstorable_value_goes_with_its_sources(
    make_cache: MakeCache,
) -> None:
    acme = make_cache().tenant("acme")

    async def client() -> Any:
        await acme.load("document", "d1", lambda: "text")
        return object()

    async def outer() -> str:
        await acme.load("client", "c", client)
        return "made"

    await acme.load("answer", "1", outer)
    await all_stored(acme)
    assert await acme.get("answer", "1")
    await acme.invalidate("document", "d1")
    assert not await acme.get("answer", "1")


async def test_debug_says_at_once_what_cannot_be_stored(make_cache: MakeCache) -> None:
    acme = make_cache(debug=True).tenant("acme")
    with pytest.raises(SerializationError, match=r"value\.client is an object"):
        await acme.load("x", "1", lambda: {"client": object()})


@pytest.mark.parametrize("mode", ["on", "observe", "off"])
async def test_what_is_not_of_its_declared_type_goes_to_its_caller_in_every_mode(
    make_cache: MakeCache, mode: Any
) -> None:
    cache = make_cache(policy=Policy(type=int), mode=mode)
    for _ in "twice":
        assert (await cache.tenant("acme").load("x", "1", lambda: "no int")).value == "no int"
    assert (await cache.stats()).total.unstorable >= 2


async def test_the_faces_of_the_documents_give_it_as_well(cache: Cache) -> None:
    configure(cache)
    strange = object()
    value, metrics = await get_with_cache_aside("x", "1", "acme", lambda: strange)
    assert (value, metrics["source"]) == (strange, "supabase")
    value, metrics = await get_with_cache_aside("x", "1", "acme", lambda: None, lambda: strange)
    assert (value, metrics["source"]) == (strange, "generation")
    with Context(tenant_id="acme"):
        assert await cached("y")(lambda: strange).aio() is strange
    configure(None)


async def test_a_refused_set_leaves_what_was_there(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "kept")
    with pytest.raises(SerializationError):
        await acme.set("x", "1", object())
    assert await kept(acme) == "kept"


async def test_closing_ends_a_load_that_does_not_end_and_tells_its_callers(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.home.lifecycle.DRAIN_TIMEOUT", 0.05)
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


@dataclass(frozen=True)
class Frozen(Exception):
    """contextlib cannot pass it on: it sets its `__traceback__`."""

    code: int


ODD = [TheEnd(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Frozen(5)]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
async def test_what_a_loader_raises_is_its_callers_whatever_it_is(
    cache: Cache, caplog: pytest.LogCaptureFixture, odd: BaseException
) -> None:
    """Raised in the engine's own task it would end the event loop, and so everybody else's work."""
    acme, row = cache.tenant("acme"), Row()

    async def fails() -> None:
        await row.read()
        raise odd

    async def caught(asked: Awaitable[object]) -> BaseException | None:
        try:
            await asked
        except BaseException as error:  # noqa: BLE001 - it is what the test raises
            return error
        return None

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        raise odd

    async def follow() -> None:
        async for _ in acme.stream("x", "4", pieces):
            pass

    row.hold()
    together = [asyncio.create_task(caught(acme.load("x", "1", fails))) for _ in range(3)]
    await row.being_read()
    await turns()
    row.let_go()
    raised = [await each for each in together]
    raised.append(await caught(acme.load_many("x", ["2"], lambda ids: fails())))
    raised.append(await caught(acme.load("x", "3", fails, generator=fails)))
    raised.append(await caught(follow()))
    with cache.bypass():
        raised.append(await caught(acme.load("x", "1", fails)))
    assert [type(each) for each in raised] == [type(odd)] * 7
    assert "failed" not in caplog.text, "who got it may log it"
    assert (await acme.load("x", "1", row.read)).value == "old"


async def test_a_refresh_that_ends_more_than_itself_is_a_failed_refresh(
    make_cache: MakeCache, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it, so that nobody can be meant."""
    acme, row = make_cache(policy=Policy(ttl=10, stale_for=100)).tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    clock.advance(20)
    row.value = SystemExit("secret")
    for _ in range(3):
        assert (await acme.load("x", "1", row.read)).value == "old"
        await all_stored(acme)
    assert row.reads == 2, "it rests like any that failed"
    assert "refreshing acme:x:1 failed: SystemExit in read" in caplog.text
    assert "secret" not in caplog.text


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
