"""What is served because the source fails was not invalidated, whoever had heard of it when."""

import asyncio
from collections.abc import Sequence

import pytest

from cascada.api.cache import Cache
from cascada.engine.reading.load_task import COOL_DOWN
from cascada.model.keys import Key
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.testing.nodes import hear
from cascada.tiers.contract import Found, Missing
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, until

POLICY = Policy(ttl=10, stale_if_error=100)


class SourceFailed(Exception):
    pass


async def test_memory_that_hears_of_an_invalidation_during_the_load_has_no_spare_any_more(
    pair: tuple[Cache, Cache, FlakyTier], clock: ManualClock
) -> None:
    here, there, tier = pair
    for cache in pair[:2]:
        cache.set_policy("x", POLICY)
    mine, theirs = here.tenant("acme"), there.tenant("acme")
    await mine.load("x", "1", Row("old").read)
    await all_stored(mine)
    clock.advance(20)
    await hear(here)
    tier.fail("changes")
    await theirs.invalidate("x", "1")

    failing = Row(SourceFailed())
    failing.hold()
    first = asyncio.create_task(mine.load("x", "1", failing.read))
    await failing.being_read()
    tier.heal("changes")
    await hear(here)
    second = asyncio.create_task(mine.load("x", "1", failing.read))
    await asyncio.sleep(0)
    failing.let_go()
    for caller in (first, second):
        with pytest.raises(SourceFailed):
            await caller


async def test_memory_that_has_heard_of_nothing_has_a_spare(
    pair: tuple[Cache, Cache, FlakyTier], clock: ManualClock
) -> None:
    here, _, _ = pair
    here.set_policy("x", POLICY)
    mine = here.tenant("acme")
    await mine.load("x", "1", Row("old").read)
    await all_stored(mine)
    clock.advance(20)
    await hear(here)
    answer = await mine.load("x", "1", Row(SourceFailed()).read)
    assert (answer.value, answer.stale) == ("old", True)


@pytest.mark.parametrize(
    "invalidation",
    [
        {"tag": "news"},
        {"data_type": "doc", "resource_id": "7"},
        {"data_type": "x", "resource_id": "1"},
    ],
    ids=["tag", "source", "resource"],
)
async def test_whatever_names_the_spare_during_the_load_ends_it(
    make_cache: MakeCache, clock: ManualClock, invalidation: dict[str, str]
) -> None:
    acme = make_cache(policy=POLICY).tenant("acme")
    await acme.set("x", "1", "old", tags=["news"], sources=["doc:7"])
    clock.advance(20)
    failing = Row(SourceFailed())
    failing.hold()
    asking = asyncio.create_task(acme.load("x", "1", failing.read))
    await failing.being_read()
    await acme.invalidate(**invalidation)
    failing.let_go()
    with pytest.raises(SourceFailed):
        await asking


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_source_that_has_failed_is_left_alone_for_a_moment(
    make_cache: MakeCache, clock: ManualClock, many: bool
) -> None:
    cache = make_cache(policy=POLICY)
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    calls = 0

    async def failing(*_: object) -> str:
        nonlocal calls
        calls += 1
        raise SourceFailed

    async def read() -> object:
        if many:
            (hit,) = await acme.load_many("x", ["1"], failing)
        else:
            hit = await acme.load("x", "1", failing)
        return hit.value, hit.stale

    assert [await read() for _ in range(20)] == [("old", True)] * 20
    assert calls == 1
    clock.advance(COOL_DOWN)
    assert [await read() for _ in range(20)] == [("old", True)] * 20
    assert calls == 2

    clock.advance(COOL_DOWN / 2)
    await acme.invalidate("x", "1")
    with pytest.raises(SourceFailed):
        await read()  # nothing may be served any more, so that the source is all there is
    clock.advance(COOL_DOWN)
    assert (await acme.load("x", "1", Row("new").read)).value == "new"


async def test_what_a_batch_saw_before_it_waited_is_not_for_who_asks_meanwhile(
    pair: tuple[Cache, Cache, FlakyTier], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had a spare in memory, and waits for the tier below; who comes after an invalidation, and
    joins its flight as one who asked before that began, must not be handed the spare."""
    here, _, _ = pair
    here.set_policy("x", POLICY)
    mine = here.tenant("acme")
    await mine.load("x", "1", Row("old").read)
    await all_stored(mine)
    clock.advance(20)
    await hear(here)
    assert (await mine.load("x", "1", Row(SourceFailed()).read)).value == "old"
    parts, gates = inside(here), list[asyncio.Event]()
    below = parts.lower[0]
    glance = below.glance

    async def held(keys: Sequence[Key]) -> list[Found | Missing]:
        answers = await glance(keys)
        gates.append(asyncio.Event())
        await gates[-1].wait()
        return answers

    loading, go_on = asyncio.Event(), asyncio.Event()

    async def rows(ids: list[str]) -> dict[str, str]:
        loading.set()
        await go_on.wait()
        return dict.fromkeys(ids, "new")

    monkeypatch.setattr(below, "glance", held)
    first = asyncio.create_task(mine.load_many("x", ["1", "2"], rows))
    await until(lambda: len(gates) == 1)
    await mine.invalidate("x", "1")
    second = asyncio.create_task(mine.load_many("x", ["1", "2"], rows))
    await until(lambda: len(gates) == 2)
    gates[0].set()
    await until(loading.is_set)
    gates[1].set()
    for _ in range(100):  # it joins the first one's flights
        await asyncio.sleep(0)
    go_on.set()
    assert [hit.value for hit in await second] == ["new", "new"]
    await first
