"""A stream that does not end well: what its followers get, and that nothing of it is kept."""

import asyncio
from contextlib import aclosing

import pytest

from cascada.api.cache import Cache
from cascada.model.errors import LoadError, LoadTimeout, SerializationError
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept, turns, until
from tests.scenarios.tape import Listener, Tape, heard, pass_time

pytestmark = pytest.mark.usefixtures("warm")


# --- errors ---------------------------------------------------------------------------------------


async def test_an_error_in_the_middle_reaches_all_after_the_pieces_that_passed(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=2, error=OSError("the model is away"))
    listeners = [Listener(acme, tape)]
    await until(lambda: listeners[0].got == ["a", "b"])
    listeners += [Listener(acme, tape) for _ in range(3)]
    async with aclosing(acme.stream("x", "1", tape.play)) as slow:
        assert await anext(slow) == "a"
        tape.let_go()
        for listener in listeners:
            with pytest.raises(OSError, match="the model is away"):
                await listener.task
            assert listener.got == ["a", "b"]
        assert await anext(slow) == "b"
        with pytest.raises(OSError, match="the model is away"):
            await anext(slow)
    assert tape.runs == 1
    assert await kept(acme) is None
    tape.error = None
    assert await heard(acme, tape) == ["a", "b"]
    total = (await cache.stats()).total
    assert (total.loads, total.load_failures) == (1, 1)


async def test_a_stream_that_takes_too_long_is_ended(make_cache: MakeCache) -> None:
    acme = make_cache(load_timeout=0.02).tenant("acme")
    tape = Tape("a", held=1)
    listener = Listener(acme, tape)
    with pytest.raises(LoadTimeout):
        await listener.task
    assert (listener.got, tape.closed) == (["a"], 1)
    assert await kept(acme) is None


async def test_a_stream_with_an_item_that_cannot_be_stored_is_heard_and_not_kept(
    cache: Cache,
) -> None:
    tape = Tape("a", "\ud800", "b")
    acme = cache.tenant("acme")
    first, second = Listener(acme, tape), Listener(acme, tape)
    await asyncio.gather(first.task, second.task)
    assert first.got == second.got == ["a", "\ud800", "b"]
    assert (tape.runs, tape.closed) == (1, 1)
    assert await kept(acme) is None
    assert (await cache.stats()).total.unstorable == 1


async def test_in_debug_such_an_item_is_an_error_where_it_stands(make_cache: MakeCache) -> None:
    tape = Tape("a", "\ud800")
    listener = Listener(make_cache(debug=True).tenant("acme"), tape)
    with pytest.raises(SerializationError, match="lone surrogate"):
        await listener.task
    assert listener.got == ["a"]
    assert tape.closed == 1


async def test_a_stale_stream_stands_in_for_one_that_does_not_begin_but_not_for_half_of_one(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_if_error=100))
    acme = cache.tenant("acme")
    await acme.set("x", "1", ["o", "l", "d"])
    await pass_time(cache, clock, 20)
    away = OSError("away")
    assert await heard(acme, Tape(error=away)) == ["o", "l", "d"]
    await all_stored(acme)
    await pass_time(cache, clock, 2)  # so long a source that has failed is left alone
    half = Listener(acme, Tape("n", error=away))
    with pytest.raises(OSError, match="away"):
        await half.task
    assert half.got == ["n"]


async def test_a_stale_stream_is_not_the_end_of_one_that_takes_too_long(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    policies = {"x": Policy(ttl=10, stale_if_error=100)}
    cache = make_cache(policies=policies, load_timeout=0.02)
    acme = cache.tenant("acme")
    await acme.set("x", "1", ["o", "l", "d"])
    await pass_time(cache, clock, 20)
    half = Listener(acme, Tape("n", "e", "w", held=1))
    with pytest.raises(LoadTimeout):
        await half.task
    assert half.got == ["n"]


async def test_a_stale_stream_is_served_while_it_is_made_anew(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_for=100))
    acme = cache.tenant("acme")
    await acme.set("x", "1", ["old"])
    await pass_time(cache, clock, 20)
    tape = Tape("new", held=0)
    assert await heard(acme, tape) == ["old"]
    await until(lambda: tape.runs == 1)
    assert await heard(acme, tape) == ["old"]
    tape.let_go()
    assert await kept(acme) == ["new"]
    assert tape.runs == 1


# --- too long to be kept --------------------------------------------------------------------------


async def test_a_stream_that_is_too_long_is_delivered_and_not_stored(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(30))
    assert await heard(acme, tape, max_items=10) == list(range(30))
    assert await kept(acme) is None
    total = inside(cache).kinds.of("acme", "x")
    assert (total.loads, total.load_failures, total.refused) == (1, 0, 1)
    assert await heard(acme, tape, max_items=30) == list(range(30))
    assert await kept(acme) == list(range(30))


async def test_bytes_count_as_well(make_cache: MakeCache) -> None:
    acme = make_cache(l1_bytes=20_000).tenant("acme")
    tape = Tape(*[f"{number:1000}" for number in range(30)])
    assert await heard(acme, tape) == list(tape.pieces)
    assert await kept(acme) is None


async def test_who_comes_when_it_is_too_long_already_starts_anew_at_once(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(30), held=20)
    first = Listener(acme, tape, max_items=10)
    await until(lambda: len(first.got) == 20)
    late = Listener(acme, tape, max_items=10)
    await until(lambda: len(late.got) == 20)
    assert tape.runs == 2
    tape.let_go()
    assert await first.task == await late.task == list(range(30))


async def test_another_process_waits_no_longer_for_what_is_too_long(
    make_cache: MakeCache, tiers: str
) -> None:
    if "redis" not in tiers:
        pytest.skip("leases between processes are Redis's")
    here, there = (make_cache().tenant("acme") for _ in range(2))
    tape = Tape(*range(30), held=9)
    first = Listener(here, tape, max_items=10)
    await until(lambda: len(first.got) == 9)
    second = Listener(there, tape, max_items=10)
    await asyncio.sleep(0.05)
    assert tape.runs == 1
    tape.let_go(20)
    await until(lambda: len(second.got) == 20)
    assert tape.runs == 2
    tape.let_go()
    assert await first.task == await second.task == list(range(30))


async def test_it_waits_for_its_only_reader_instead_of_filling_memory(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(100))
    got = []
    async for piece in acme.stream("x", "1", tape.play, max_items=10):
        got.append(piece)
        await turns(3)
        assert tape.yielded <= len(got) + 11
    assert got == list(range(100))


async def test_it_waits_for_its_fastest_reader_alone_and_tells_who_fell_behind(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(30), held=5)
    async with aclosing(acme.stream("x", "1", tape.play, max_items=10)) as slow:
        assert await anext(slow) == 0
        fast = Listener(acme, tape, max_items=10)
        await until(lambda: len(fast.got) == 5)
        tape.let_go()
        assert await fast.task == list(range(30))
        with pytest.raises(LoadError, match="behind a stream that is too long"):
            await anext(slow)
    assert tape.runs == 1


async def test_it_waits_for_who_has_not_left(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(30), held=6)
    async with aclosing(acme.stream("x", "1", tape.play, max_items=10)) as slow:
        got = [await anext(slow) for _ in range(3)]
        async with aclosing(acme.stream("x", "1", tape.play, max_items=10)) as fast:
            for _ in range(5):
                await anext(fast)
        tape.let_go()
        await until(lambda: tape.yielded >= 13)
        await turns()
        assert tape.yielded <= 14
        got += [piece async for piece in slow]
    assert got == list(range(30))
    assert tape.runs == 1


async def test_a_refresh_that_is_too_long_is_not_started_again_at_once(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_for=100))
    acme = cache.tenant("acme")
    await acme.set("x", "1", ["short"])
    await pass_time(cache, clock, 20)
    tape = Tape(*range(30))
    for _ in range(3):
        assert await heard(acme, tape, max_items=10) == ["short"]
        await all_stored(acme)
    assert (tape.runs, tape.closed, tape.yielded) == (1, 1, 11)
    total = inside(acme).kinds.of("acme", "x")
    assert (total.refused, total.load_failures) == (1, 0)


async def test_a_long_stream_ends_when_its_readers_have_left(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(30))
    async with aclosing(acme.stream("x", "1", tape.play, max_items=10)) as pieces:
        await anext(pieces)
        await until(lambda: tape.yielded == 11)
        assert tape.closed == 0
    await until(lambda: tape.closed == 1)
    assert await kept(acme) is None


async def test_a_load_cannot_have_what_is_too_long(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(30), held=5)
    first = Listener(acme, tape, max_items=10)
    await until(lambda: len(first.got) == 5)
    whole = asyncio.create_task(acme.load("x", "1", Row("never asked").read))
    await turns()
    tape.let_go()
    with pytest.raises(LoadError, match="too long to be had as one value"):
        await whole
    assert await first.task == list(range(30))
