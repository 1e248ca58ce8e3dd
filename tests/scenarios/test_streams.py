"""A stream is made once, stored if it ends well, and replayed to all who ask later."""

import asyncio
import random
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from cascada.api.cache import Cache
from cascada.model.errors import BadInput
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept, turns, until
from tests.scenarios.tape import Listener, Tape, heard, pass_time

pytestmark = pytest.mark.usefixtures("warm")

PIECES = ("once", {"upon": ["a"]}, None, 7, ("time",), b"", 0.5)


# --- stored and replayed --------------------------------------------------------------------------


async def test_what_ended_well_is_replayed_item_for_item_from_every_tier(
    make_cache: MakeCache, tiers: str
) -> None:
    cache = make_cache()
    acme = cache.tenant("acme")
    tape = Tape(*PIECES)
    assert await heard(acme, tape) == list(PIECES)
    await all_stored(acme)
    assert await heard(acme, tape) == list(PIECES)
    if tiers != "memory":
        inside(cache).memory.flush()
        assert await heard(acme, tape) == list(PIECES)
        assert await heard(make_cache().tenant("acme"), tape) == list(PIECES)
    assert (tape.runs, tape.ended, tape.closed) == (1, 1, 1)
    assert (await acme.get("x", "1")).value == list(PIECES)


async def test_a_stream_of_nothing_is_a_stream(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape()
    assert await heard(acme, tape) == []
    await all_stored(acme)
    assert await heard(acme, tape) == []
    assert tape.runs == 1


async def test_it_lives_as_long_as_the_call_says_and_goes_with_its_tags_and_sources(
    cache: Cache, clock: ManualClock
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a")
    options: dict[str, Any] = {"ttl": 10, "tags": ["news"], "sources": ["doc:7"]}

    async def runs() -> int:
        await heard(acme, tape, **options)
        await all_stored(acme)
        return tape.runs

    assert [await runs(), await runs()] == [1, 1]
    await pass_time(cache, clock, 11)
    assert [await runs(), await runs()] == [2, 2]
    await acme.invalidate(tag="news")
    assert [await runs(), await runs()] == [3, 3]
    await acme.invalidate("doc", "7")
    assert [await runs(), await runs()] == [4, 4]


class Token(msgspec.Struct):
    text: str


async def test_items_come_back_as_the_type_that_is_asked_for(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape({"text": "a"}, {"text": "b"})
    both = [Token("a"), Token("b")]
    assert await heard(acme, tape, type=Token) == both
    await all_stored(acme)
    assert await heard(acme, tape, type=Token) == both
    with cache.bypass():
        assert await heard(acme, tape, type=Token) == both


async def test_a_policy_declares_the_list_that_is_stored(make_cache: MakeCache) -> None:
    acme = make_cache(policy=Policy(type=list[Token])).tenant("acme")
    tape = Tape(Token("a"))
    assert await heard(acme, tape) == [Token("a")]
    await all_stored(acme)
    assert await heard(acme, tape) == [Token("a")]
    assert tape.runs == 1
    wrong = make_cache(policy=Policy(type=Token)).tenant("acme")
    with pytest.raises(BadInput, match=r"stored as a list.*declare list\[\.\.\.\]"):
        wrong.stream("x", "1", tape.play)


async def test_what_is_read_in_the_generator_is_a_source_of_the_stream(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("small")

    async def pieces() -> Any:
        yield "the model is"
        yield (await acme.load("config", "c", row.read)).value

    async def read() -> list[Any]:
        return [piece async for piece in acme.stream("x", "1", pieces)]

    assert await read() == ["the model is", "small"]
    await all_stored(acme)
    row.value = "large"
    assert await read() == ["the model is", "small"]
    await acme.invalidate("config", "c")
    assert await read() == ["the model is", "large"]


async def test_a_stream_made_of_something_stale_is_not_stored(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    policies = {"config": Policy(ttl=10, stale_if_error=100)}
    acme = make_cache(policies=policies).tenant("acme")
    await acme.set("config", "c", "old")
    clock.advance(20)

    async def pieces() -> Any:
        yield (await acme.load("config", "c", Row(OSError("down")).read)).value

    assert [piece async for piece in acme.stream("x", "1", pieces)] == ["old"]
    assert await kept(acme) is None


# --- followed live --------------------------------------------------------------------------------


async def test_late_callers_get_what_has_passed_and_then_what_comes(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", "c", held=2)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a", "b"])
    late = Listener(acme, tape)
    await until(lambda: late.got == ["a", "b"])
    assert not first.task.done()
    tape.let_go()
    assert await first.task == await late.task == ["a", "b", "c"]
    assert tape.runs == 1
    await all_stored(acme)
    total = (await cache.stats()).total
    assert (total.misses, total.coalesced, total.loads, total.hits) == (1, 1, 1, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_100_callers_at_random_points_of_one_stream_get_all_of_it_in_order(
    cache: Cache, seed: int
) -> None:
    acme = cache.tenant("acme")
    await acme.get("x", "warm")
    dice = random.Random(seed)
    pieces = [{"n": number} for number in range(200)]
    tape = Tape(*pieces, held=0)
    listeners = [Listener(acme, tape)]
    while len(listeners) < 100:
        tape.let_go(min(len(pieces), dice.randrange(5) + (tape.held or 0)))
        await turns(dice.randrange(4))
        listeners += [Listener(acme, tape) for _ in range(dice.randrange(6))]
    await until(lambda: all(listener.got for listener in listeners))
    tape.let_go()
    for listener in listeners:
        assert await listener.task == pieces
    assert tape.runs == 1


async def test_a_slow_reader_holds_up_nobody_and_loses_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(50))
    async with aclosing(acme.stream("x", "1", tape.play)) as slow:
        assert await anext(slow) == 0
        assert await Listener(acme, tape).task == list(range(50))
        await all_stored(acme)
        assert [piece async for piece in slow] == list(range(1, 50))
    assert tape.runs == 1


async def test_what_one_reader_or_the_generator_does_to_a_piece_no_other_reader_sees(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    reused: list[int] = []

    async def pieces() -> Any:
        for number in range(3):
            reused.append(number)
            yield reused

    async def read() -> list[Any]:
        got = []
        async for piece in acme.stream("x", "1", pieces):
            got.append(list(piece))
            piece.clear()
        return got

    whole = [[0], [0, 1], [0, 1, 2]]
    assert await asyncio.gather(read(), read(), read()) == [whole] * 3
    await all_stored(acme)
    assert [await read(), await read()] == [whole] * 2
    assert reused == [0, 1, 2]


# --- leaving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", [[0], [2], [4], [0, 2, 4], range(1, 5), range(4)])
async def test_whoever_leaves_the_others_get_their_stream(cache: Cache, leaves: list[int]) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", "c", held=2)
    listeners = [Listener(acme, tape) for _ in range(5)]
    await until(lambda: all(len(listener.got) == 2 for listener in listeners))
    for index in leaves:
        await listeners[index].leave()
    tape.let_go()
    for index, listener in enumerate(listeners):
        if index not in leaves:
            assert await listener.task == ["a", "b", "c"]
    assert (tape.runs, tape.ended) == (1, 1)
    assert await kept(acme) == ["a", "b", "c"]


@pytest.mark.parametrize("callers", [1, 5])
async def test_a_stream_that_nobody_follows_any_more_is_cancelled_and_not_stored(
    cache: Cache, callers: int
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    listeners = [Listener(acme, tape) for _ in range(callers)]
    await until(lambda: all(listener.got == ["a"] for listener in listeners))
    for listener in listeners:
        assert tape.closed == 0
        await listener.leave()
    await until(lambda: tape.closed == 1)
    assert await kept(acme) is None
    tape.let_go()
    assert await heard(acme, tape) == ["a", "b"]
    assert tape.runs == 2


async def test_who_breaks_out_and_forgets_the_stream_has_left_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    async for _ in acme.stream("x", "1", tape.play):
        break
    await until(lambda: tape.closed == 1)
    assert await kept(acme) is None


async def test_closing_a_stream_twice_or_before_it_began_does_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    never = acme.stream("x", "1", tape.play)
    await never.aclose()
    assert tape.runs == 0
    begun = acme.stream("x", "1", tape.play)
    await anext(begun)
    await begun.aclose()
    await begun.aclose()
    await until(lambda: tape.closed == 1)


async def test_who_leaves_at_the_last_piece_does_not_keep_it_from_being_stored(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b")
    async with aclosing(acme.stream("x", "1", tape.play)) as pieces:
        await anext(pieces)
        await until(lambda: tape.ended == 1)
        await turns()
    assert await kept(acme) == ["a", "b"]


async def test_a_generator_s_own_clean_up_is_awaited(cache: Cache) -> None:
    acme = cache.tenant("acme")
    cleaned = []

    async def pieces() -> Any:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async with aclosing(acme.stream("x", "1", pieces)) as stream:
        await anext(stream)
    await until(lambda: cleaned == [True])
    assert await kept(acme) is None
