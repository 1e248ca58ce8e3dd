"""Streams beside loads and inside them, in every mode, between processes, and at the end."""

import asyncio
import gc
from contextlib import aclosing
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.engine.home import lifecycle
from cascada.model.entry import Hit, Miss
from cascada.model.errors import BadInput, LoadCycle, LoadError
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept, turns, until
from tests.scenarios.tape import Listener, Tape, all_of, heard

pytestmark = pytest.mark.usefixtures("warm")


# --- beside loads, and inside them ----------------------------------------------------------------


async def test_load_and_stream_of_one_key_share_what_is_under_way(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    whole = asyncio.create_task(acme.load("x", "1", Row("never asked").read))
    await turns()
    tape.let_go()
    answer = await whole
    assert (answer.value, answer.coalesced) == (["a", "b"], True)
    await all_stored(acme)
    await acme.invalidate()
    row = Row(["c"])
    row.hold()
    whole = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    late = Listener(acme, tape)
    await turns()
    row.let_go()
    assert await late.task == (await whole).value == ["c"]


async def test_a_value_that_is_no_stream_is_told_so(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "text")
    for _ in range(2):
        with pytest.raises(BadInput, match=r"acme:x:1 holds str, no stream"):
            await heard(acme, Tape("a"))


async def test_a_stream_inside_a_stream_flows_and_is_a_source_of_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)

    async def louder() -> Any:
        async for piece in acme.stream("x", "1", tape.play, tags=["news"]):
            yield piece.upper()

    def outer() -> Any:
        return acme.stream("loud", "1", louder)

    async with aclosing(outer()) as pieces:
        assert await anext(pieces) == "A"
        tape.let_go()
        assert await anext(pieces) == "B"
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)
    await all_stored(acme)
    assert (await acme.get("loud", "1")).value == ["A", "B"]
    await acme.invalidate(tag="news")
    assert isinstance(await acme.get("loud", "1"), Miss)
    tape.pieces = ("c",)
    assert await all_of(outer()) == ["C"]


async def test_a_load_that_reads_the_beginning_of_a_stream_depends_on_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("title", "text", held=1)
    listener = Listener(acme, tape, tags=["news"])
    await until(lambda: listener.got == ["title"])

    async def title() -> Any:
        async with aclosing(acme.stream("y", "2", tape.play, tags=["news"])) as pieces:
            return await anext(pieces)

    assert (await acme.load("title", "1", title)).value == "title"
    tape.let_go()
    await listener.task
    await all_stored(acme)
    assert (await acme.get("title", "1")).value == "title"
    await acme.invalidate(tag="news")
    assert isinstance(await acme.get("title", "1"), Miss)


async def test_a_generator_that_streams_its_own_key_is_told_so(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def itself() -> Any:
        yield "a"
        async for piece in acme.stream("x", "1", itself):
            yield piece

    async with asyncio.timeout(5):
        with pytest.raises(LoadCycle):
            await all_of(acme.stream("x", "1", itself))


# --- modes, sources, life -------------------------------------------------------------------------


async def test_in_mode_off_and_inside_bypass_every_caller_has_its_own_source(
    make_cache: MakeCache,
) -> None:
    tape = Tape("a", "b")
    off = make_cache(mode="off").tenant("acme")
    assert await asyncio.gather(heard(off, tape), heard(off, tape)) == [["a", "b"]] * 2
    assert (tape.runs, tape.closed) == (2, 2)
    cache = make_cache()
    acme = cache.tenant("acme")
    await acme.set("x", "1", ["cached"])
    with cache.bypass():
        assert await heard(acme, tape) == ["a", "b"]
        async for _ in acme.stream("x", "1", tape.play):
            break
    await until(lambda: tape.closed == 4)
    assert await heard(acme, tape) == ["cached"]


async def test_in_mode_observe_the_source_is_served_and_the_tiers_are_counted_and_compared(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(mode="observe")
    acme = cache.tenant("acme")
    tape = Tape("a", "b")
    assert await heard(acme, tape) == ["a", "b"]
    await all_stored(acme)
    assert await heard(acme, tape) == ["a", "b"]
    total = (await cache.stats()).total
    assert (total.misses, total.hits, total.checked, total.differed) == (1, 1, 1, 0)
    assert tape.runs == 2
    tape.pieces = ("changed",)
    assert await heard(acme, tape) == ["changed"]
    await until(lambda: inside(cache).counted.total.differed == 1)


async def test_in_mode_observe_nobody_is_given_another_caller_s_stream(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(mode="observe")
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    second = Listener(acme, tape)
    await until(lambda: second.got == ["a"])
    assert tape.runs == 2
    tape.let_go()
    assert await first.task == await second.task == ["a", "b"]
    assert (await cache.stats()).total.coalesced == 1


async def test_what_may_be_passed_as_the_source(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b")

    async def opened() -> Any:
        return tape.play()

    class Stream:
        def __aiter__(self) -> Any:
            return tape.play()

    for number, make in enumerate((tape.play, lambda: tape.play(), opened, Stream)):
        assert await all_of(acme.stream("x", number, make)) == ["a", "b"]
    for wrong in (lambda: ["a"], lambda: 7, Row("a").read):
        with pytest.raises(TypeError, match="a stream is made of an async generator, not of"):
            await all_of(acme.stream("x", "wrong", wrong))  # type: ignore[arg-type]


async def test_a_plain_generator_runs_in_threads(cache: Cache) -> None:
    acme = cache.tenant("acme")
    closed = []

    def pieces(count: int) -> Any:
        try:
            yield from range(count)
            raise OSError("down")
        finally:
            closed.append(count)

    def whole() -> Any:
        yield from range(3)

    assert await all_of(acme.stream("x", "1", whole)) == [0, 1, 2]
    assert await kept(acme) == [0, 1, 2]
    with pytest.raises(OSError, match="down"):
        await all_of(acme.stream("x", "2", lambda: pieces(2)))
    async with aclosing(acme.stream("x", "3", lambda: pieces(1_000_000))) as many:
        assert await anext(many) == 0
    await until(lambda: closed == [2, 1_000_000])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_items": 0}, "max_items is 0"),
        ({"tags": "news"}, "tags is 'news'"),
        ({"sources": "doc:7"}, "sources is 'doc:7'"),
        ({"sources": ["doc"]}, "source is 'doc'"),
        ({"ttl": -1}, "ttl"),
    ],
)
def test_what_is_wrong_with_a_call_is_said_before_anything_runs(
    options: dict[str, Any], sentence: str
) -> None:
    tape = Tape("a")
    with pytest.raises(BadInput, match=sentence):
        Cache().tenant("acme").stream("x", "1", tape.play, **options)


async def test_closing_the_cache_lets_a_stream_end_for_a_while(make_cache: MakeCache) -> None:
    cache = make_cache()
    tape = Tape("a", "b", held=1)
    listener = Listener(cache.tenant("acme"), tape)
    await until(lambda: listener.got == ["a"])
    closing = asyncio.create_task(cache.aclose())
    await turns()
    tape.let_go()
    await closing
    assert await listener.task == ["a", "b"]


async def test_closing_the_cache_ends_a_stream_that_does_not_end(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "DRAIN_TIMEOUT", 0.01)
    cache = make_cache()
    tape = Tape("a", "b", held=1)
    listener = Listener(cache.tenant("acme"), tape)
    await until(lambda: listener.got == ["a"])
    await cache.aclose()
    with pytest.raises(LoadError, match="the cache is closing"):
        await listener.task
    assert tape.closed == 1


async def test_a_reader_that_is_collected_as_garbage_has_left(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    cycle: list[Any] = [acme.stream("x", "1", tape.play)]
    cycle.append(cycle)
    await anext(cycle[0])
    del cycle
    gc.collect()
    await until(lambda: tape.closed == 1)


async def test_two_caches_on_one_shared_tier_make_one_stream(
    make_cache: MakeCache, tiers: str
) -> None:
    if "redis" not in tiers:
        pytest.skip("leases between processes are Redis's")
    here, there = (make_cache().tenant("acme") for _ in range(2))
    tape = Tape("a", "b", held=1)
    first = Listener(here, tape)
    await until(lambda: first.got == ["a"])
    second = Listener(there, tape)
    await asyncio.sleep(0.05)
    assert (second.got, tape.runs) == ([], 1)
    tape.let_go()
    assert await first.task == await second.task == ["a", "b"]
    assert tape.runs == 1
    assert isinstance(await there.get("x", "1"), Hit)
    # What another process invalidates ends the stream's chances here, too.
    await here.invalidate("x", "1")
    tape.let_go(1)
    third = Listener(here, tape)
    await until(lambda: third.got == ["a"])
    tape.pieces = ("new",)
    await there.invalidate("x", "1", strict=True)
    fourth = Listener(there, tape, max_items=5)
    tape.let_go(2)
    assert await fourth.task == await heard(here, tape) == ["new"]
    tape.let_go()
    assert await third.task == ["a", "b"]
    assert await kept(there) == ["new"]
