"""What is kept of a stream under way, who may follow it, and when its place is free."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.codecs.values import Encoded
from cascada.engine.tasks.replay import OVERHEAD, Live, TooLong
from cascada.model.entry import Codec, Flag
from cascada.model.errors import InvalidationPending, LoadError
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.testing.nodes import Nodes, hear
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import kept, turns, until
from tests.scenarios.tape import Listener, Tape, heard


def piece(number: int) -> Encoded:
    return Encoded(b"", Codec.MSGPACK, Flag(0), number)


def taken(live: Live, reader: object) -> list[Any]:
    got = []
    while (found := live.take(reader)) is not None:
        got.append(found.value)
    return got


# --- what is kept ---------------------------------------------------------------------------------


async def test_every_reader_begins_at_the_first_piece() -> None:
    live = Live(10, 10_000)
    live.join("a")
    live.add(piece(0), 1)
    live.join("b")
    live.add(piece(1), 1)
    assert taken(live, "a") == taken(live, "b") == [0, 1]
    assert not live.has_more("a")
    assert [each.value for each in live.pieces] == [0, 1]


@pytest.mark.parametrize("live", [Live(2, 10_000), Live(100, 2 * OVERHEAD + 20)])
async def test_room_is_so_many_pieces_or_bytes_and_one_piece_always(live: Live) -> None:
    assert live.has_room(1_000_000)
    live.add(piece(0), 10)
    assert live.has_room(10)
    live.add(piece(1), 10)
    assert not live.has_room(0)
    with pytest.raises(TooLong, match="nobody follows"):
        await live.make_room(10)


async def test_the_window_moves_with_the_fastest_reader() -> None:
    live = Live(2, 10_000)
    live.join("fast")
    live.join("slow")
    for number in range(2):
        live.add(piece(number), 1)
    waiting = asyncio.ensure_future(live.make_room(1))
    await turns(2)
    assert not waiting.done(), "nobody has taken the first piece yet"
    assert live.take("fast") == piece(0)
    await waiting
    live.add(piece(2), 1)
    assert taken(live, "fast") == [1, 2]
    with pytest.raises(LoadError, match="3 pieces behind"):
        live.take("slow")


async def test_who_leaves_is_not_waited_for() -> None:
    live = Live(1, 10_000)
    live.join("only")
    live.add(piece(0), 1)
    waiting = asyncio.ensure_future(live.make_room(1))
    await turns(2)
    live.part("only")
    with pytest.raises(TooLong):
        await waiting


# --- who may follow -------------------------------------------------------------------------------


@pytest.fixture
async def flaky(tmp_path: Path) -> FlakyTier:
    return FlakyTier(SqliteTier(str(tmp_path / "flaky.db"), namespace="test", clock=ManualClock()))


@pytest.fixture
async def cache(flaky: FlakyTier) -> AsyncGenerator[Cache]:
    cache = Cache(tiers=[flaky], clock=ManualClock(), limits=Limits(op_timeout=10))
    yield cache
    flaky.heal()
    await cache.aclose()


class Deaf:
    """A memory that hears nothing, and may so be trusted with nothing; or not for some `looks`."""

    until = float("-inf")

    def __init__(self, looks: int | None = None) -> None:
        self.looks = looks

    def extend(self, now: float) -> bool:
        if self.looks is None:
            return False
        self.looks -= 1
        return self.looks < 0

    def distrusted(self, now: float) -> float:
        return 1000.0


async def test_while_memory_cannot_be_trusted_late_callers_wait_for_the_fill(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    inside(cache).memory.freshness = Deaf()
    late = Listener(acme, tape)
    await turns(50)
    assert late.got == []
    tape.let_go()
    assert await first.task == await late.task == ["a", "b"]
    assert tape.runs == 1


async def test_a_push_that_is_being_read_keeps_nobody_from_following(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    inside(cache).memory.freshness = Deaf(looks=2)
    late = Listener(acme, tape)
    await until(lambda: late.got == ["a"])
    tape.let_go()
    assert await first.task == await late.task == ["a", "b"]
    assert tape.runs == 1


async def test_who_could_not_follow_at_first_does_as_soon_as_memory_is_trusted(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", "c", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    deaf = inside(cache).memory.freshness = Deaf()
    late = Listener(acme, tape)
    await turns(50)
    assert late.got == []
    deaf.looks = 0
    tape.let_go(2)
    await until(lambda: late.got == ["a", "b"])
    tape.let_go()
    assert await first.task == await late.task == ["a", "b", "c"]
    assert tape.runs == 1


async def test_who_waits_for_a_fill_that_never_comes_follows_the_next_stream(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    tape = Tape(*range(9), held=1)
    first = Listener(acme, tape, max_items=5)
    await until(lambda: first.got == [0])
    inside(cache).memory.freshness = Deaf()
    late = Listener(acme, tape, max_items=5)
    await turns(50)
    tape.let_go()
    assert await first.task == await late.task == list(range(9))
    assert tape.runs == 2


async def test_a_late_reader_inside_a_load_waits_for_the_fill(cache: Cache) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", "b", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["a"])
    seen: list[Any] = []

    async def joined() -> Any:
        async for each in acme.stream("x", "1", tape.play):
            seen.append(each)
        return "".join(seen)

    loading = asyncio.create_task(acme.load("joined", "1", joined))
    await turns(50)
    assert seen == []
    tape.let_go()
    assert (await loading).value == "ab"
    assert (await first.task, tape.runs) == (["a", "b"], 1)
    await kept(acme)
    await acme.invalidate("x", "1")
    assert not await acme.get("joined", "1")


async def test_what_was_invalidated_here_before_the_stream_began_ends_no_stream(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    for _ in range(3):  # nobody has heard of it from below yet
        await acme.invalidate("x", "1")
        await acme.invalidate(tag="news")
        await acme.invalidate("doc", "7")
        tape = Tape("a", "b", held=1)
        listeners = [Listener(acme, tape, tags=["news"], sources=["doc:7"])]
        await until(lambda listeners=listeners: listeners[0].got == ["a"])  # type: ignore[misc]
        listeners += [Listener(acme, tape, tags=["news"], sources=["doc:7"]) for _ in range(3)]
        await turns()
        tape.let_go()
        for listener in listeners:
            assert await listener.task == ["a", "b"]
        assert tape.runs == 1


@pytest.mark.parametrize("named", [False, True])
async def test_a_memory_that_was_emptied_vouches_for_no_stream(cache: Cache, named: bool) -> None:
    acme = cache.tenant("acme")
    tape = Tape("old", "end", held=1)
    first = Listener(acme, tape)
    await until(lambda: first.got == ["old"])
    if named:
        await acme.invalidate("x", "1")
    inside(cache).memory.flush()
    tape.pieces = ("new",)
    late = Listener(acme, tape)
    await turns(50)
    assert named or late.got == []
    tape.let_go()
    assert await first.task == ["old", "end"]
    assert await late.task == (["new"] if named else ["old", "end"])


async def test_what_another_process_invalidated_before_the_stream_began_ends_no_stream(
    tmp_path: Path,
) -> None:
    clock = ManualClock()

    def shared() -> SqliteTier:
        return SqliteTier(str(tmp_path / "nodes.db"), namespace="test", clock=clock)

    async with Nodes(2, shared, clock=clock, limits=Limits(op_timeout=10)) as nodes:
        here, there = (node.tenant("acme") for node in nodes)
        await here.get("x", "warm")
        await there.invalidate("x", "1")
        tape = Tape("a", "b", held=1)
        first = Listener(here, tape)
        await until(lambda: first.got == ["a"])
        await nodes.hear()  # only now, perhaps
        late = Listener(here, tape)
        await until(lambda: late.got == ["a"])
        assert tape.runs == 1
        await there.invalidate("x", "1")
        await nodes.hear()
        tape.let_go()
        assert await heard(here, Tape("new")) == ["new"]
        assert await first.task == await late.task == ["a", "b"]


async def test_an_invalidation_without_a_number_is_heard_by_a_stream(
    cache: Cache, flaky: FlakyTier
) -> None:
    inside(cache).stack.invalidate_patience = 0.1
    acme = cache.tenant("acme")
    old, new = Tape("old", "end", held=1), Tape("new")
    first = Listener(acme, old)
    await until(lambda: first.got == ["old"])
    flaky.fail()
    with pytest.raises(InvalidationPending):
        await acme.invalidate("x", "1")
    assert await heard(acme, new) == ["new"]
    old.let_go()
    assert await first.task == ["old", "end"]


async def test_a_tier_that_is_away_ends_no_stream(cache: Cache, flaky: FlakyTier) -> None:
    acme = cache.tenant("acme")
    flaky.fail()
    tape = Tape("a", "b")
    assert await heard(acme, tape) == ["a", "b"]
    flaky.fail("fill")
    assert await heard(acme, tape) == ["a", "b"]


async def test_leaving_while_a_failure_is_cleaned_up_takes_the_lease_back(
    cache: Cache, flaky: FlakyTier
) -> None:
    acme = cache.tenant("acme")
    tape = Tape("a", error=OSError("down"))
    with flaky.hang("fill") as held:
        listener = Listener(acme, tape)
        await held.reached()
        assert listener.got == ["a"]
        assert not listener.task.done(), "who hears of the failure leaves, and might be the last"
    with pytest.raises(OSError, match="down"):
        await listener.task


@pytest.mark.parametrize("error", [None, OSError("down")])
async def test_a_refresh_whose_stale_value_has_gone_is_followed(
    tmp_path: Path, error: Exception | None
) -> None:
    clock = ManualClock()
    tier = SqliteTier(str(tmp_path / "stale.db"), namespace="test", clock=clock)
    policies = {"x": Policy(ttl=10, stale_for=100)}
    async with Cache(
        tiers=[tier], clock=clock, limits=Limits(op_timeout=10), policies=policies
    ) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", ["old"])
        inside(cache).memory.flush()
        clock.advance(20)
        tape = Tape("a", "b", held=1, error=error)
        assert await heard(acme, tape) == ["old"]
        await until(lambda: tape.yielded == 1)
        clock.advance(200)
        await hear(cache)
        late = Listener(acme, tape)
        await until(lambda: late.got == ["a"])
        tape.let_go()
        if error is None:
            assert await late.task == ["a", "b"]
            assert await kept(acme) == ["a", "b"]
        else:
            with pytest.raises(OSError, match="down"):
                await late.task
            assert late.got == ["a", "b"]
        assert (tape.runs, tape.closed) == (1, 1)
