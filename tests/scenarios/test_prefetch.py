"""What is likely to be asked for next is there before anybody asks, and harms nobody."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from cascada import Cache, Context, Key, Policy, cached
from cascada.api.statistics import TypeStatistics
from cascada.api.tenant.handle import Tenant
from cascada.engine.strategies import ahead
from cascada.model.errors import BadInput
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, turns, until

AHEAD = Policy(ttl=10, prefetch=True)
LATER = 11


class Source:
    """A loader by key, as a policy has it. Of each key there may be a Row; `called` are all."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.rows: dict[str, Row] = {}

    async def __call__(self, key: Key) -> Any:
        self.called.append(key.resource_id)
        row = self.rows.get(key.resource_id)
        return await row.read() if row is not None else f"{key.tenant} {key.resource_id}"

    def of(self, name: str) -> Row:
        return self.rows.setdefault(name, Row(name))

    @property
    def policy(self) -> Policy:
        return Policy(**{**AHEAD.said, "loader": self})


@pytest.fixture
def source() -> Source:
    return Source()


async def ask(tenant: Tenant, *names: str, loader: Callable[[], Any] | None = None) -> list[str]:
    """Load them one after the other, as requests would; where each came from."""

    async def own() -> str:
        return "a caller's own"

    found = []
    for name in names:
        found.append((await tenant.load("x", name, loader or own)).tier)
        await settled(tenant)
    return found


async def settled(tenant: Tenant) -> None:
    """Whatever is brought ahead is there."""
    await turns(2)
    await until(lambda: not inside(tenant).brings_ahead)
    await all_stored(tenant)


async def later(tenant: Tenant, clock: ManualClock) -> None:
    """All has expired, and memory has heard the news since."""
    clock.advance(LATER)
    if (feed := inside(tenant).feed) is not None:
        await feed.poll()
        now = clock.monotonic()
        await until(lambda: now < feed.until or feed.extend(now))


async def learn(tenant: Tenant, clock: ManualClock, *names: str, rounds: int = 2) -> None:
    for _ in range(rounds):
        await ask(tenant, *names)
        await later(tenant, clock)


def counts(tenant: Tenant) -> TypeStatistics:
    return inside(tenant).counted.types["x"]


async def test_what_follows_is_loaded_before_it_is_asked_for(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    acme = make_cache(policy=source.policy).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=3)
    source.called.clear()
    assert await ask(acme, "a") == ["source"]
    assert source.called == ["b"], "the caller of a brought his own loader"
    assert (await acme.get("x", "b")).value == "acme b"
    told = counts(acme)
    assert (told.prefetch_used, told.prefetch_wasted) == (told.prefetch_fetched, 0)
    assert told.prefetch_precision == 1


async def test_nothing_is_brought_unless_the_policy_says_so(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    acme = make_cache(policy=Policy(ttl=10, loader=source)).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=4)
    await ask(acme, "a")
    assert source.called == []
    assert counts(acme).prefetch_fetched == 0


async def test_of_learned_pairs_most_are_there_before_they_are_asked_for(
    clock: ManualClock,
) -> None:
    calls: list[str] = []
    async with Cache(clock=clock) as cache:

        @cached("x", policy=AHEAD, cache=cache)
        async def row(name: str) -> str:
            calls.append(name)
            return name

        pairs, rng = [(f"a{n}", f"b{n}") for n in range(40)], random.Random(1)

        async def one_round() -> int:
            before = 0
            for first, second in rng.sample(pairs, len(pairs)):
                await row(first)
                await turns()
                before += second in calls
                await row(second)
                calls.clear()
            clock.advance(LATER)
            return before

        with Context(tenant_id="acme"):
            for _ in range(3):
                await one_round()
            assert await one_round() >= 0.9 * len(pairs)


async def test_on_what_is_shuffled_it_stops_and_costs_next_to_nothing(clock: ManualClock) -> None:
    async with Cache(clock=clock) as cache:

        @cached("x", policy=AHEAD, cache=cache)
        async def row(number: int) -> int:
            return number

        rng, misses = random.Random(3), 0
        with Context(tenant_id="acme"):
            for _ in range(20):
                for number in rng.sample(range(60), 60):
                    await row(number)
                    misses += 1
                clock.advance(LATER)
        told = inside(cache).counted.types["x"]
    more = told.loads - misses
    assert more <= 0.02 * misses


async def test_what_one_tenant_does_teaches_nothing_of_another(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    cache = make_cache(policy=source.policy)
    acme, other = cache.tenant("acme"), cache.tenant("other")
    await learn(acme, clock, "a", "b", rounds=4)
    source.called.clear()
    await ask(other, "a")
    assert source.called == []
    for _ in range(3):  # by turns: neither follows the other
        await ask(acme, "c")
        await ask(other, "d")
        await later(acme, clock)
    source.called.clear()
    await ask(acme, "c")
    assert source.called == []


async def test_keys_without_a_loader_are_moved_up(
    make_cache: MakeCache, tiers: str, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=1000, prefetch=True)).tenant("acme")
    for name in "abcdefgh":
        await acme.set("x", name, name)
    for _ in range(3):
        inside(acme).memory.flush()
        for name in "ab":
            await acme.get("x", name)
            await settled(acme)
    inside(acme).memory.flush()
    await acme.get("x", "a")
    await settled(acme)
    if tiers == "memory":
        assert counts(acme).prefetch_fetched == 0
        return
    assert "prefetched" in str(await acme.explain("x", "b"))
    assert (await acme.get("x", "b")).tier == "l1"
    assert "prefetched" not in str(await acme.explain("x", "b"))
    assert counts(acme).prefetch_used >= 1
    assert counts(acme).loads == 0


async def test_a_value_that_was_invalidated_while_it_was_brought_is_not_kept(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    acme = make_cache(policy=source.policy).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=3)
    row = source.of("b")
    row.hold()
    before = row.reads
    await acme.load("x", "a", Row("a").read)
    await row.being_read(before + 1)
    row.value = "new"
    await acme.invalidate("x", "b")
    row.let_go()
    await settled(acme)
    assert not await acme.get("x", "b")
    assert (await acme.load("x", "b", row.read)).value == "new"


@pytest.mark.parametrize("tiers", ["sqlite", "redis"])
async def test_two_processes_bring_the_same_key_once(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    handles = [make_cache(policy=source.policy).tenant("acme") for _ in range(2)]
    for _ in range(3):
        for acme in handles:
            await ask(acme, "a", "b")
        for acme in handles:
            await later(acme, clock)
    row = source.of("b")
    row.hold()
    source.called.clear()
    await asyncio.gather(*(acme.load("x", "a", Row("a").read) for acme in handles))
    await row.being_read()
    await turns(50)
    row.let_go()
    for acme in handles:
        await settled(acme)
    assert source.called == ["b"]
    assert [(await acme.get("x", "b")).value for acme in handles] == ["b", "b"]


async def test_a_loader_that_fails_ahead_is_counted_and_left_alone_for_a_while(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    acme = make_cache(policy=source.policy).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=3)
    source.of("b").value = OSError("down")
    for _ in range(3):
        source.called.clear()
        await ask(acme, "a")
        failed = list(source.called)
        assert await ask(acme, "b") == ["source"], "a caller has a loader of his own"
        await later(acme, clock)
    assert failed == []
    assert counts(acme).prefetch_failed == 1
    clock.advance(ahead.RESTS)
    await ask(acme, "a")
    assert counts(acme).prefetch_failed == 2


async def test_a_caller_who_joins_what_then_fails_is_answered_by_his_own_loader(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    policy = Policy(**{**source.policy.said, "stale_if_error": 1000})
    acme = make_cache(policy=policy).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=3)
    row = source.of("b")
    row.value = OSError("down")
    row.hold()
    await acme.load("x", "a", Row("a").read)
    await row.being_read()
    mine = Row("mine")
    joined = [asyncio.create_task(acme.load("x", "b", mine.read)) for _ in range(3)]
    await turns()
    assert mine.reads == 0, "they wait for what is being brought"
    row.let_go()
    assert [(await each).value for each in joined] == ["mine"] * 3
    assert mine.reads == 1
    assert not (await acme.load("x", "b", mine.read)).stale


@pytest.mark.parametrize("ends", ["not in its time", "by itself"])
async def test_a_loader_that_does_not_end_ahead_is_no_answer_to_who_joins(
    clock: ManualClock, source: Source, ends: str
) -> None:
    async with Cache(policies={"x": source.policy}, clock=clock) as cache:
        acme, stack = cache.tenant("acme"), inside(cache).engine.stack
        await learn(acme, clock, "a", "b", rounds=3)
        row = source.of("b")
        row.hold()
        row.value = asyncio.CancelledError()
        stack.load_timeout = 0.05
        first = asyncio.create_task(acme.load("x", "a", Row("a").read))
        await row.being_read()
        stack.load_timeout = None
        joined = asyncio.create_task(acme.load("x", "b", Row("mine").read))
        await turns()
        if ends == "by itself":
            row.let_go()
        assert (await joined).value == "mine"
        await asyncio.wait([first])


async def test_a_caller_who_joins_and_leaves_ends_nothing(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    acme = make_cache(policy=source.policy).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=3)
    row = source.of("b")
    row.hold()
    before = counts(acme).prefetch_used
    first = asyncio.create_task(acme.load("x", "a", Row("a").read))
    await row.being_read()
    first.cancel()
    joined = asyncio.create_task(acme.load("x", "b", row.read))
    await turns()
    joined.cancel()
    await asyncio.gather(first, joined, return_exceptions=True)
    row.let_go()
    await settled(acme)
    assert (row.reads, row.cancelled) == (1, 0)
    assert (await acme.get("x", "b")).value == "b"
    assert counts(acme).prefetch_used == before + 1


async def test_closing_waits_for_no_load_that_nobody_waits_for(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    cache = make_cache(policy=source.policy)
    acme = cache.tenant("acme")
    for pair in ("ab", "pc"):
        await learn(acme, clock, *pair, rounds=3)
    row, joined = source.of("b"), source.of("c")
    row.hold()
    joined.hold()
    await acme.load("x", "a", Row("a").read)
    await acme.load("x", "p", Row("p").read)
    await row.being_read()
    await joined.being_read()
    waiting = asyncio.create_task(acme.load("x", "c", joined.read))
    await turns()
    closing = asyncio.create_task(cache.aclose())
    await until(lambda: row.cancelled == 1)
    assert not closing.done()
    joined.let_go()
    assert (await waiting).value == "c", "for who waits it comes to its end"
    await closing
    assert row.ended == 0


def test_what_waits_when_its_loop_ends_is_a_plain_hit_on_the_next(source: Source) -> None:
    clock = ManualClock()
    cache = Cache(policies={"x": source.policy}, clock=clock)
    acme = cache.tenant("acme")

    async def first() -> None:
        await learn(acme, clock, "a", "b", rounds=3)
        await ask(acme, "a")

    async def second() -> None:
        assert (await acme.get("x", "b")).value == "acme b"
        assert acme.peek("x", "b") is not None, "not each hit of it goes the long way"
        await cache.aclose()

    asyncio.run(first())
    asyncio.run(second())


async def test_it_takes_no_slot_that_callers_may_need(
    make_cache: MakeCache, clock: ManualClock, source: Source
) -> None:
    acme = make_cache(policy=source.policy, max_loads_per_type=4).tenant("acme")
    await learn(acme, clock, "a", "b", rounds=3)
    busy = Row("busy")
    busy.hold()
    others = [asyncio.create_task(acme.load("x", f"{n}", busy.read)) for n in range(2)]
    await busy.being_read(2)
    source.called.clear()
    await acme.load("x", "a", Row("a").read)
    await turns()
    assert source.called == [], "half of the slots are left to callers"
    busy.let_go()
    await asyncio.gather(*others)


async def test_what_is_neither_plain_nor_known_is_refused_at_the_door() -> None:
    for wrong in (1, "yes", None, 1.0):
        with pytest.raises(BadInput, match="prefetch"):
            Policy(prefetch=wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="loader"):
        Policy(loader="row")  # type: ignore[arg-type]
