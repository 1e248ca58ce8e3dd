"""One cache, used from several event loops and threads at once: each gets what is right."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Context, Embeddings, Policy, Unanswered, cached, configure
from cascada.testing.inside import inside
from tests.scenarios.row import until

PATIENCE = 20.0
STEP: ContextVar[str] = ContextVar("step")


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A cache that no loop has seen yet."""
    made = Cache() if request.param == "memory" else Cache(database=str(tmp_path / "cache.db"))
    yield made
    made.sync.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as threads:
        return [each.result(60) for each in [threads.submit(work, n) for n in range(count)]]


def test_a_loop_of_its_own_in_each_of_twelve_threads(cache: Cache) -> None:
    """The loops come and go in the middle of each other's calls."""
    start, unknown = threading.Barrier(12), []

    async def use(number: int) -> None:
        acme = cache.tenant("acme")
        for turn in range(5):

            async def row(wanted: int = turn) -> int:
                await asyncio.sleep(0.001)
                return wanted

            assert (await acme.load("shared", turn, row)).value == turn
            assert await acme.set("own", f"{number}-{turn}", turn)
            hit = await acme.get("own", f"{number}-{turn}")
            assert hit
            assert hit.value == turn
            try:
                await acme.increment("uses", "all")
            except Unanswered as error:
                unknown.append(error)
        await acme.invalidate("own", f"{number}-0")
        assert not await acme.get("own", f"{number}-0")

    def thread(number: int) -> None:
        start.wait(10)
        for _ in range(2):
            run(use(number))

    in_threads(12, thread)
    counted = cache.sync.tenant("acme").counter("uses", "all")
    assert 120 - len(unknown) <= counted <= 120, "each was told what is known of it"
    assert len(unknown) < 12, "one loop that others called has ended, and it was the last"


def test_sixteen_threads_beside_a_busy_loop(cache: Cache) -> None:
    """Each reads at least what it has written itself, and nothing of before its invalidation."""
    over = threading.Event()

    def use(number: int) -> None:
        acme = cache.sync.tenant("acme")
        for turn in range(8):
            assert acme.set("x", number, turn)
            assert acme.get("x", str(number)).value == turn
            assert acme.load("made", number, lambda: acme.get("x", str(number)).value).value == turn
            assert acme.invalidate("x", number).keys
            assert not acme.get("x", str(number))
            assert not acme.get("made", str(number))
            acme.increment("uses", "all")

    async def busy() -> int:
        async with cache:
            work = asyncio.to_thread(in_threads, 16, use)
            waiting = asyncio.ensure_future(work)
            waiting.add_done_callback(lambda _: over.set())
            while not over.is_set():
                time.sleep(0.002)  # noqa: ASYNC251 - it is busy
                await asyncio.sleep(0)
            await waiting
            return await cache.tenant("acme").counter("uses", "all")

    assert run(busy()) == 16 * 8


def test_no_read_in_a_thread_is_older_than_an_invalidation_that_returned() -> None:
    """Hits are read where they lie, while the loop's thread changes what is there."""
    cache = Cache()
    acme, versions, over = cache.sync.tenant("acme"), {"now": 0}, threading.Event()

    def read(_: int) -> int:
        hits = 0
        while not over.is_set():
            at_least = versions["now"]
            hit = acme.get("x", "1") or acme.load("x", "1", lambda: versions["now"])
            assert hit.value >= at_least
            hits += hit.tier == "l1"
        return hits

    def write() -> None:
        for version in range(1, 100):
            acme.set("x", "1", version)
            versions["now"] = version
            acme.invalidate("x", "*") if version % 3 else acme.invalidate()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with cache.sync, ThreadPoolExecutor(2) as threads:
            readers = [threads.submit(read, n) for n in range(2)]
            write()
            over.set()
            assert sum(each.result(20) for each in readers)
    finally:
        over.set()
        sys.setswitchinterval(interval)


async def test_another_thread_vouches_for_no_record() -> None:
    """It has not seen what the loop does between its look and its note of it."""
    async with Cache() as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "here")
        await acme.set("x", "2", "here", tags=["news"])
        hits, record = (
            inside(cache).engine.hits,
            inside(cache).memory.records.get(acme.key("x", "1")),
        )
        assert record is not None
        assert await asyncio.to_thread(hits.elsewhere, record)
        await acme.invalidate(tag="news")
        checked = record.checked
        assert record.checked != record.tenant.changes
        assert await asyncio.to_thread(hits.elsewhere, record) is None
        assert record.checked == checked
        assert (await asyncio.to_thread(cache.sync.tenant("acme").get, "x", "1")).value == "here"
        assert record.checked == record.tenant.changes, "the loop has looked"
        assert await asyncio.to_thread(hits.elsewhere, record)


# --- whose loop, whose thread --------------------------------------------------------------------


def beside(cache: Cache, work: Callable[[], Any]) -> Any:
    """What `work` gives in a thread beside the loop that the cache is at home on."""

    async def main() -> Any:
        await cache.tenant("acme").set("x", "1", "here")
        assert inside(cache).home == threading.get_ident()
        return await asyncio.to_thread(work)

    return run(main())


def test_what_an_async_caller_brings_is_awaited_on_its_own_loop(cache: Cache) -> None:
    async def use() -> None:
        acme, here = cache.tenant("acme"), asyncio.get_running_loop()
        own = asyncio.Event()  # of this loop: no other one may wait for it

        async def row() -> bool:
            asyncio.get_running_loop().call_later(0.001, own.set)
            await own.wait()
            return asyncio.get_running_loop() is here

        assert (await acme.load("x", "2", row)).value is True
        assert (await acme.load("x", "3", lambda: row())).value is True
        assert (await acme.load("x", "4", None, row)).value is True
        many = await acme.load_many("x", ["5", "6"], lambda ids: rows(ids, row))
        assert [hit.value for hit in many] == [True, True]

        async def pieces() -> AsyncIterator[bool]:
            token = STEP.set("within")  # it belongs to one context, as all steps of one task do
            for _ in "ab":
                yield await row()
            STEP.reset(token)

        for _ in "twice":
            async with aclosing(acme.stream("s", "1", pieces)) as stream:
                assert [piece async for piece in stream] == [True, True]

    async def rows(ids: list[str], row: Callable[[], Any]) -> dict[str, bool]:
        return {each: await row() for each in ids}

    beside(cache, lambda: run(use()))


def test_sources_and_contexts_cross_with_a_load(cache: Cache) -> None:
    @cached("inner", cache=cache)
    async def inner() -> str:
        return "inner"

    @cached("outer", cache=cache)
    async def outer() -> str:
        return f"made of {await inner()}"

    async def use() -> None:
        with Context(tenant_id="acme"):
            assert await outer() == "made of inner"
            await inner.invalidate()
            assert not await cache.get(outer.cache_key())

    beside(cache, lambda: run(use()))


def test_who_leaves_elsewhere_leaves_the_load_to_the_others(cache: Cache) -> None:
    inside_it, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        inside_it.set()
        assert go_on.wait(10)
        return "loaded"

    async def hurried() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.tenant("acme").load("x", "2", slow), 0.05)

    async def main() -> Any:
        acme = cache.tenant("acme")
        await acme.set("x", "1", 1)
        leaving = asyncio.ensure_future(asyncio.to_thread(run, hurried()))
        await until(inside_it.is_set)
        staying = asyncio.ensure_future(acme.load("x", "2", never))
        await leaving
        go_on.set()
        return (await staying).value

    assert run(main()) == "loaded"


def never() -> str:
    raise AssertionError("another one's load is under way")


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_a_thread_that_is_interrupted_in_its_loader_leaves_it_to_the_others(
    cache: Cache, ending: type[BaseException]
) -> None:
    acme, inside_it, go_on = cache.sync.tenant("acme"), threading.Event(), threading.Event()

    def interrupted() -> str:
        inside_it.set()
        assert go_on.wait(10)
        raise ending

    with ThreadPoolExecutor(3) as threads:
        leaving = threads.submit(acme.load, "x", "1", interrupted)
        assert inside_it.wait(10)
        staying = [threads.submit(acme.load, "x", "1", lambda: "own") for _ in "ab"]
        while waiting(cache) < 3:
            time.sleep(0.001)
        go_on.set()
        assert [each.result(10).value for each in staying] == ["own", "own"]
        with pytest.raises(ending):
            leaving.result(10)


def waiting(cache: Cache) -> int:
    """How many wait for loads."""
    return sum(flight.owner.waiters for flight in list((inside(cache).flights or {}).values()))


def test_a_loop_that_ends_in_its_load_leaves_it_to_the_others(cache: Cache) -> None:
    inside_it = threading.Event()

    async def hanging() -> str:
        inside_it.set()
        await asyncio.sleep(60)
        return "never"

    async def ends() -> None:
        load = asyncio.ensure_future(cache.tenant("acme").load("x", "2", hanging))
        await until(lambda: waiting(cache) >= 2)
        load.cancel()

    async def main() -> Any:
        acme = cache.tenant("acme")
        await acme.set("x", "1", 1)
        ending = asyncio.ensure_future(asyncio.to_thread(run, ends()))
        await until(inside_it.is_set)
        hit = await acme.load("x", "2", lambda: "own")
        await ending
        return hit.value

    assert run(main()) == "own"


def test_stale_values_are_refreshed_while_their_reader_goes_on(tmp_path: Path) -> None:
    policies = {"x": Policy(ttl=0.05, stale_for=60)}
    with Cache(policies=policies).sync as waits:
        acme = waits.tenant("acme")
        acme.load("x", "1", lambda: "old")
        time.sleep(0.1)
        refreshed = threading.Event()

        def new() -> str:
            refreshed.set()
            return threading.current_thread().name

        assert acme.load("x", "1", new).stale
        assert refreshed.wait(10)
        until = time.monotonic() + 10
        while (hit := acme.get("x", "1")).stale and time.monotonic() < until:
            time.sleep(0.001)
        assert hit.value.startswith("cascada-loader"), "a thread of ours: its reader has gone on"


def test_the_default_cache_is_used_by_threads_and_loops_alike(cache: Cache) -> None:
    configure(cache)

    @cached("sum")
    def add(a: int, b: int) -> list[int]:
        return [a + b]

    async def use() -> Any:
        with Context(tenant_id="acme"):
            return await add.aio(1, 2)

    def wait() -> Any:
        with Context(tenant_id="acme"):
            return add(1, 2)

    try:
        assert in_threads(8, lambda n: run(use()) if n % 2 else wait()) == [[3]] * 8
    finally:
        configure(None)


def test_a_loop_that_ends_in_a_request_for_several_leaves_it_to_the_others(cache: Cache) -> None:
    asked: list[list[str]] = []
    going = threading.Event()

    async def provider(texts: list[str]) -> list[list[float]]:
        asked.append(sorted(texts))
        if len(asked) == 1:
            going.set()
            await asyncio.sleep(60)
        return [[1.0] for _ in texts]

    embeddings = Embeddings(provider, "m", max_batch=2, max_wait=0.2)

    async def embed(text: str) -> Any:
        return (await embeddings.of(cache.tenant("acme"), [text]))[0]

    async def ends() -> None:
        leaving = asyncio.ensure_future(embed("b"))
        await until(going.is_set)
        leaving.cancel()

    async def main() -> Any:
        await cache.tenant("acme").set("x", "1", 1)
        waiting = asyncio.ensure_future(embed("a"))
        await asyncio.to_thread(run, ends())
        return await waiting

    assert run(main()) == [[1.0]]
    assert asked == [["a", "b"], ["a"]]


def test_a_type_that_a_thread_meets_while_its_policy_changes_has_the_new_one(cache: Cache) -> None:
    kinds, new = inside(cache).engine.stack.kinds, Policy(ttl=7)
    changing = threading.Thread(target=kinds.set_policy, args=("x", new))

    def met(kind: Any) -> None:
        changing.start()
        changing.join(0.05)

    kinds.on_new = met
    kind = kinds.of("acme", "x")
    changing.join()
    assert kind.policy.ttl == new.ttl
