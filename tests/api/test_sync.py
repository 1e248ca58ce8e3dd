"""`cache.sync`: the modern face for code that waits, in programs without an event loop."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar
from typing import Any

import pytest

from cascada import (
    BadInput,
    Cache,
    CacheClosed,
    Context,
    Loaded,
    MissingTenant,
    Policy,
    SyncCache,
    SyncList,
    SyncTenant,
    Tenant,
    TenantList,
    WrongLoop,
    current_context,
)


@pytest.fixture
def cache() -> Iterator[Cache]:
    made = Cache()
    yield made
    made.sync.close()


def public(kind: object) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_faces_that_wait_have_the_calls_of_those_that_are_awaited(cache: Cache) -> None:
    """A new call needs one line in `api/sync/faces.py`."""
    assert public(SyncTenant) == public(Tenant)
    assert public(cache.sync.tenant("acme")) == public(cache.tenant("acme"))
    assert public(SyncList) == public(TenantList)
    assert public(SyncCache) == public(Cache) - {"aclose", "from_env", "sync"} | {"close"}
    for asked, waiting in ((Tenant, SyncTenant), (TenantList, SyncList)):
        for name in public(asked) - {"tenant", "scope"}:
            given = inspect.signature(getattr(asked, name)).parameters
            taken = inspect.signature(getattr(waiting, name)).parameters
            assert list(given)[1:] == list(taken)[1:], name


def test_a_program_without_a_loop_just_calls_it(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    miss = acme.get("x", "1", default="none")
    assert not miss
    assert miss.value == "none"
    assert acme.fill(miss, "filled")
    assert acme.set("x", "1", "here")
    assert not acme.add("x", "1", "too late")
    hit = acme.get("x", "1")
    assert hit
    assert (hit.value, hit.tier) == ("here", "l1")
    assert acme.peek("x", "1")
    assert cache.sync.get(acme.key("x", "1")).value == "here"
    assert acme.load("x", "2", lambda: "loaded").value == "loaded"
    assert acme.load_many("x", ["2", "3"], lambda ids: {"3": "new"})[1].value == "new"
    assert acme.invalidate("x", "2").keys == 1
    assert [found.value for found in acme.get_many("x", ["1", "2"], default=0)] == ["here", 0]
    assert acme.touch("x", "1", 5)
    assert 4 < (acme.ttl("x", "1") or 0) <= 5
    assert acme.explain("x", "1")
    assert acme.within(agent="a").scope.agent == "a"
    inbox = acme.list("inbox")
    assert inbox.rpush("first") == 1
    assert inbox.range() == ["first"]
    assert acme.increment("seen", "1") == 1
    assert acme.delete("x", "1")
    assert cache.sync.stats().total.loads == 2


def test_hits_are_counted_wherever_they_are_read(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    acme.set("x", "1", "here")

    def read(_: int) -> None:
        for _ in range(500):
            assert acme.get("x", "1")
            assert acme.load("x", "1", fail, ttl=60)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert cache.sync.stats().types["x"].hits == 8000


def fail() -> None:
    raise AssertionError("it is there")


def test_each_reader_gets_a_value_of_his_own(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    acme.set("x", "1", ["here"])
    acme.get("x", "1").value.append("mine")
    assert acme.get("x", "1").value == ["here"]


def test_bad_input_is_refused_on_a_hit_as_well(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    acme.set("x", "1", "here")
    with pytest.raises(BadInput):
        acme.load("x", "1", "no function")  # type: ignore[call-overload]
    with pytest.raises(BadInput):
        acme.load("x", "1", fail, ttl="soon")  # type: ignore[call-overload]
    with pytest.raises(BadInput):
        acme.get("x", b"1")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        acme.get("x")  # type: ignore[call-overload]
    with pytest.raises(MissingTenant):
        cache.sync.tenant(" ")
    assert acme.get("x", 1), "a number is its text"


def test_policies_and_bypasses(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    acme.set("x", "1", "here")
    with cache.sync.bypass():
        assert not acme.get("x", "1")
        assert acme.load("x", "1", lambda: "source").value == "source"
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(acme.get, "x", "1").result(10), "another context"
    assert acme.get("x", "1").value == "here"
    cache.sync.set_policy("x", Policy(ttl=5))
    assert not acme.peek("x", "1"), "memory begins anew"


# --- what a caller brings along -------------------------------------------------------------------


def test_a_plain_loader_runs_in_the_thread_that_waits(cache: Cache) -> None:
    """What is a thread's own is at hand: a connection of Django's, a transaction that is open."""
    acme, here = cache.sync.tenant("acme"), threading.get_ident()

    def generator() -> int:
        return threading.get_ident()

    for turn in range(50):
        assert acme.load("x", turn, threading.get_ident).value == here
        assert acme.load("y", turn, lambda: None, generator).value == here
        assert acme.load_many("z", [turn], lambda ids: [threading.get_ident()])[0].value == here
    assert acme.load("outer", "1", lambda: acme.load("inner", "1", generator).value).value == here


async def on_a_loop() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


def test_an_async_loader_runs_on_the_cache_s_loop(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    thread = acme.load("x", "1", on_a_loop).value
    assert thread == acme.load("x", "2", on_a_loop).value != threading.get_ident()
    assert acme.load("x", "3", lambda: on_a_loop()).value == thread


VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


def test_its_context_goes_with_it(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")

    def seen() -> list[Any]:
        context = current_context()
        return [VARIABLE.get(), context and context.tenant_id]

    async def seen_there() -> list[Any]:
        return seen()

    token = VARIABLE.set("of the caller")
    with Context(tenant_id="of the caller"):
        for loader in (seen, seen_there):
            assert acme.load("x", loader.__name__, loader).value == ["of the caller"] * 2
    VARIABLE.reset(token)
    assert acme.load("x", "later", seen).value == ["unset", None]


def test_what_a_loader_reads_is_a_source_of_what_it_makes(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    acme.set("document", "d1", "text")

    def made() -> str:
        return f"made of {acme.get('document', 'd1').value}"

    assert acme.load("answer", "q", made).value == "made of text"
    assert acme.load("outer", "q", lambda: acme.load("answer", "q", fail).value)
    acme.invalidate("document", "d1")
    assert not acme.get("answer", "q")
    assert not acme.get("outer", "q")


def test_errors_keep_their_type_and_traceback(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")

    def failing() -> None:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database") as raised:
        acme.load("x", "1", failing)
    assert any(entry.name == "failing" for entry in raised.traceback)
    with pytest.raises(RuntimeError, match="StopIteration"):
        acme.load("x", "1", lambda: next(iter(())))


def test_one_load_for_all_who_wait(cache: Cache) -> None:
    acme, inside, go_on, calls = cache.sync.tenant("acme"), threading.Event(), threading.Event(), []

    def slow() -> int:
        calls.append(threading.get_ident())
        inside.set()
        assert go_on.wait(10)
        return len(calls)

    with ThreadPoolExecutor(20) as threads:
        asking = [threads.submit(acme.load, "x", "1", slow) for _ in range(20)]
        assert inside.wait(10)
        go_on.set()
        assert [each.result(10).value for each in asking] == [1] * 20


def test_a_set_after_a_miss_is_held_to_it(cache: Cache) -> None:
    """The pattern as it is written by hand: what was read before an invalidation is not stored."""
    acme = cache.sync.tenant("acme")
    assert not acme.get("x", "1")
    acme.invalidate("x", "1")
    assert not acme.set("x", "1", "of before")
    assert acme.set("x", "1", "of now")
    assert not acme.get("x", "2")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(acme.invalidate, "x", "2").result(10)
        assert threads.submit(acme.set, "x", "2", "another thread's").result(10)


def test_streams(cache: Cache) -> None:
    acme, runs = cache.sync.tenant("acme"), []

    async def pieces() -> AsyncIterator[str]:
        runs.append("async")
        for piece in "abc":
            await asyncio.sleep(0)
            yield piece

    def plain() -> Iterator[str]:
        runs.append("plain")
        yield from "de"

    for _ in range(2):
        assert list(acme.stream("x", "1", pieces)) == ["a", "b", "c"]
        assert list(acme.stream("x", "2", plain)) == ["d", "e"]
        for hit in (acme.get("x", "1"), acme.get("x", "2")):
            assert hit, "it is stored by the time that it has ended"
    assert runs == ["async", "plain"]

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                await asyncio.sleep(0.001)
                yield "a"
        finally:
            closed.set()

    closed = threading.Event()
    with closing(acme.stream("x", "3", endless)) as stream:
        assert next(stream) == "a"
    assert closed.wait(10)
    assert not acme.get("x", "3"), "nobody has read it to its end"
    with pytest.raises(BadInput):
        acme.stream("x", "4", "no function")  # type: ignore[arg-type]


def test_what_a_stream_raises_is_raised(cache: Cache) -> None:
    async def breaks() -> AsyncIterator[str]:
        yield "a"
        raise ConnectionError("it broke")

    stream = cache.sync.tenant("acme").stream("x", "1", breaks)
    assert next(stream) == "a"
    with pytest.raises(ConnectionError, match="it broke"):
        next(stream)


# --- where it may be called, and its end ----------------------------------------------------------


async def test_on_a_thread_whose_loop_runs_it_names_the_async_form() -> None:
    async with Cache() as cache:
        acme = cache.sync.tenant("acme")
        await cache.tenant("acme").set("x", "1", "here")
        with pytest.raises(WrongLoop, match=r"event loop.*await Tenant\.get\(\.\.\.\)"):
            acme.get("x", "1")
        with pytest.raises(WrongLoop, match=r"await Tenant\.load\(\.\.\.\)"):
            acme.load("x", "1", str)
        with pytest.raises(WrongLoop, match=r"await cache\.stats\(\.\.\.\)"):
            cache.sync.stats()
        with pytest.raises(WrongLoop, match=r"Tenant\.stream"):
            next(acme.stream("x", "1", fail))  # type: ignore[arg-type]
        assert await asyncio.to_thread(acme.set, "x", "2", 1)
        assert await cache.tenant("acme").get("x", "2")


def test_it_is_closed_and_says_so() -> None:
    before = bridges()  # the default cache may live on it
    with Cache().sync as waiting:
        acme = waiting.tenant("acme")
        acme.set("x", "1", 1)
        assert bridges() == 1
    for call in (acme.get, acme.ttl):
        with pytest.raises(CacheClosed):
            call("x", "1")
    waiting.close()
    assert bridges() == before, "the last one that lived on it has ended it"


def bridges() -> int:
    return [thread.name for thread in threading.enumerate()].count("cascada-bridge")


def test_a_thousand_caches_leave_nothing_behind() -> None:
    before = threading.active_count()
    for turn in range(100):
        with Cache().sync as waiting:
            assert waiting.tenant("acme").load("x", "1", lambda: Loaded(turn)).value == turn  # noqa: B023
    assert threading.active_count() <= before


def test_after_a_reset_it_begins_anew(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    acme.set("x", "1", 1)
    cache.sync.reset()
    assert not acme.get("x", "1")
    assert acme.set("x", "1", 2)
