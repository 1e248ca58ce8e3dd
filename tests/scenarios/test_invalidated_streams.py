"""Who asks after an invalidation gets nothing of a stream that was under way before it."""

import asyncio
from typing import Any

import pytest

from cascada.api.cache import Cache
from tests.scenarios.row import Row, kept, turns, until
from tests.scenarios.tape import Listener, Tape, all_of, heard

pytestmark = pytest.mark.usefixtures("warm")


@pytest.mark.parametrize(
    "invalidation",
    [
        {"data_type": "x", "resource_id": "1", "agent": "a"},
        {"data_type": "x", "resource_id": "1"},
        {"data_type": "x", "resource_id": "*"},
        {"agent": "a"},
        {"tag": "news"},
        {"data_type": "doc", "resource_id": "7"},
        {"data_type": "config", "resource_id": "c"},
        {},
    ],
    ids=["key", "resource", "type", "agent", "tag", "declared source", "read source", "tenant"],
)
async def test_who_asks_after_an_invalidation_gets_nothing_of_the_stream_before_it(
    cache: Cache, invalidation: dict[str, str]
) -> None:
    acme = cache.tenant("acme")
    mine = acme.within(agent="a")
    old, new = Tape("o", "l", "d", held=2), Tape("n", "e", "w")
    config = Row("c")

    async def play() -> Any:
        await mine.load("config", "c", config.read)
        async for piece in old.play():
            yield piece

    options: dict[str, Any] = {"tags": ["news"], "sources": ["doc:7"]}
    before = asyncio.create_task(all_of(mine.stream("x", "1", play, **options)))
    await until(lambda: old.yielded == 2)
    await acme.invalidate(**invalidation)
    # It does not wait for the end of the old one, either.
    assert await heard(mine, new, **options) == ["n", "e", "w"]
    old.let_go()
    assert await before == ["o", "l", "d"]
    assert await kept(mine) == ["n", "e", "w"]


@pytest.mark.parametrize("after_which_turn", range(12))
async def test_wherever_the_invalidation_falls_who_asks_after_it_gets_the_new_stream(
    cache: Cache, after_which_turn: int
) -> None:
    acme = cache.tenant("acme")
    old, new = Tape("o", "l", "d"), Tape("n", "e", "w")
    before = [Listener(acme, old) for _ in range(3)]
    await turns(after_which_turn)
    old.pieces = new.pieces  # the row changes: who starts only now reads the new one
    await acme.invalidate("x", "1")
    assert await heard(acme, new) == ["n", "e", "w"]
    for listener in before:
        assert await listener.task in (["o", "l", "d"], ["n", "e", "w"])
    # One that had its lease, but had not started yet, is followed and cannot be stored.
    assert await kept(acme) in (None, ["n", "e", "w"])


async def test_an_invalidation_of_something_else_costs_nobody_a_second_stream(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    await acme.invalidate("x", "2")
    await acme.invalidate(tag="other")
    await cache.tenant("other").invalidate()
    late = Listener(acme, tape)
    await until(lambda: late.got == ["a"])
    tape.let_go()
    assert await first.task == await late.task == ["a", "b"]
    assert tape.runs == 1
    assert await kept(acme) == ["a", "b"]


async def test_set_during_a_stream_stands_against_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    assert await acme.set("x", "1", ["set"])
    assert await heard(acme, tape) == ["set"]
    tape.let_go()
    assert await first.task == ["a", "b"]
    assert await kept(acme) == ["set"]
    assert tape.runs == 1
