"""Hits in memory: every face that answers them keeps every check, though some are written out."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.entry import Hit, Miss
from cascada.model.events import Event
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.row import until

Face = Callable[[Cache, Tenant, str], Awaitable[Hit[Any] | Miss]]


async def by_key(cache: Cache, acme: Tenant, each: str) -> Hit[Any] | Miss:
    return await cache.get(acme.key("x", each))


async def by_equal_key(cache: Cache, acme: Tenant, each: str) -> Hit[Any] | Miss:
    return await cache.get(acme.key("x", "other")._replace(resource_id=each))


async def by_handle(cache: Cache, acme: Tenant, each: str) -> Hit[Any] | Miss:
    return await acme.get("x", each)


async def by_many(cache: Cache, acme: Tenant, each: str) -> Hit[Any] | Miss:
    nothing, answer = await acme.get_many("x", ["nothing", each])
    assert isinstance(nothing, Miss)
    return answer


async def by_load(cache: Cache, acme: Tenant, each: str) -> Hit[Any] | Miss:
    return await acme.load("x", each, lambda: None)


@pytest.fixture(params=[by_key, by_equal_key, by_handle, by_many, by_load])
def ask(request: pytest.FixtureRequest) -> Face:
    face: Face = request.param
    return face


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cache(clock: ManualClock) -> AsyncIterator[Cache]:
    async with Cache(clock=clock, policies={"x": Policy(ttl=60)}) as cache:
        yield cache


@pytest.fixture
def acme(cache: Cache) -> Tenant:
    return cache.tenant("acme")


async def test_a_hit_says_its_age_and_is_counted_once(
    cache: Cache, acme: Tenant, clock: ManualClock, ask: Face
) -> None:
    await acme.set("x", "1", "text")
    clock.advance(7)
    assert await ask(cache, acme, "1") == Hit("text", "l1", 7.0)
    assert (await cache.stats()).types["x"].by_tier["l1"] == 1


async def test_a_value_is_a_hit_until_its_ttl_has_passed(
    cache: Cache, acme: Tenant, clock: ManualClock, ask: Face
) -> None:
    await acme.set("x", "1", "text")
    clock.advance(59.9)
    assert await ask(cache, acme, "1")
    clock.advance(0.2)
    assert (await ask(cache, acme, "1")).value is None


async def test_what_changes_belongs_to_each_caller(cache: Cache, acme: Tenant, ask: Face) -> None:
    await acme.set("x", "1", {"n": 1})
    first = (await ask(cache, acme, "1")).value
    assert first == {"n": 1}
    first["n"] = 2
    assert (await ask(cache, acme, "1")).value == {"n": 1}


@pytest.mark.parametrize("what", [{"data_type": "x", "resource_id": "1"}, {"tag": "news"}, {}])
async def test_what_was_invalidated_is_no_hit(
    cache: Cache, acme: Tenant, ask: Face, what: dict[str, str]
) -> None:
    await acme.set("x", "1", "text", tags=["news"])
    await acme.invalidate(**what)
    assert (await ask(cache, acme, "1")).value is None


async def test_an_invalidation_of_something_else_costs_no_hit(
    cache: Cache, acme: Tenant, ask: Face
) -> None:
    await acme.set("x", "1", "text")
    await acme.invalidate("x", "2")
    for _ in range(2):
        answer = await ask(cache, acme, "1")
        assert isinstance(answer, Hit)
        assert answer.tier == "l1"


async def test_memory_that_has_heard_nothing_for_too_long_answers_nothing(
    cache: Cache, acme: Tenant, ask: Face
) -> None:
    class Deaf:
        until = -math.inf

        def extend(self, now: float) -> bool:
            return False

    await acme.set("x", "1", "text")
    inside(cache).stack.listen(Deaf())
    assert (await ask(cache, acme, "1")).value is None


async def test_bytes_that_do_not_decode_are_a_counted_miss(
    cache: Cache, acme: Tenant, ask: Face
) -> None:
    await acme.set("x", "1", {"n": 1})
    record = inside(cache).memory.records.get(acme.key("x", "1"))
    assert record is not None
    record.data = b"\xc1"
    assert (await ask(cache, acme, "1")).value is None
    assert (await cache.stats()).types["x"].corrupt == 1
    assert (await cache.stats()).types["x"].by_tier["l1"] == 0


async def test_inside_bypass_memory_is_not_asked(cache: Cache, acme: Tenant, ask: Face) -> None:
    await acme.set("x", "1", "text")
    with cache.bypass():
        assert (await ask(cache, acme, "1")).value is None
    assert (await ask(cache, acme, "1")).value == "text"


async def test_an_observer_is_told_of_every_hit(clock: ManualClock, ask: Face) -> None:
    told: list[Event] = []
    async with Cache(clock=clock, observers=[told.append]) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "text")
        told.clear()
        await ask(cache, acme, "1")
        assert [(event.kind, event.tier, event.key) for event in told if event.kind == "hit"] == [
            ("hit", "l1", "acme:x:1")
        ]


async def test_of_many_hits_an_observer_is_told_together_and_none_is_lost(ask: Face) -> None:
    told: list[Event] = []

    def hits() -> list[Event]:
        return [event for event in told if event.kind == "hit"]

    async with Cache(observers=[told.append]) as cache:
        acme = cache.tenant("acme")
        for each in ("1", "2"):
            await acme.set("x", each, "text")
        for _ in range(50):
            await ask(cache, acme, "1")
        assert 0 < len(hits()) < 50
        assert {(event.count, event.key) for event in hits()} == {(1, "acme:x:1")}
        await until(lambda: sum(event.count for event in hits()) == 50)
        assert (hits()[-1].tenant, hits()[-1].data_type, hits()[-1].key) == ("acme", "x", None)
        told.clear()
        await ask(cache, acme, "2")
        assert [event.key for event in hits()] == ["acme:x:2"], "one by one, when they are few"
        for _ in range(49):
            await ask(cache, acme, "1")
        misses = len([event for event in told if event.kind == "miss"])
    assert sum(event.count for event in hits()) == 50, "closing tells the rest"
    assert misses == (50 if ask is by_many else 0)


async def test_a_hit_inside_a_loader_is_a_source_of_its_result(
    cache: Cache, acme: Tenant, ask: Face
) -> None:
    async def derive() -> str:
        return f"from {(await ask(cache, acme, '1')).value}"

    await acme.set("x", "1", "text")
    await acme.load("y", "derived", derive)
    assert (await acme.get("y", "derived")).value == "from text"
    await acme.invalidate("x", "1")
    assert isinstance(await acme.get("y", "derived"), Miss)


async def test_a_handle_that_is_asked_for_again_knows_a_new_policy(cache: Cache) -> None:
    before = cache.tenant("acme", agent="a1").key("x", "1")
    assert cache.tenant("acme", agent="a1") is cache.tenant("acme", agent="a1")
    cache.set_policy("x", Policy(varies_by=()))
    assert before.agent == "a1"
    assert cache.tenant("acme", agent="a1").key("x", "1").agent is None


async def test_no_handle_stands_for_an_id_that_is_merely_equal(cache: Cache) -> None:
    cache.tenant(1, agent=0)
    for wrong in (True, 1.0, [1]):
        with pytest.raises(ValueError, match="pass a str, an int or a UUID"):
            cache.tenant(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="agent is False"):
        cache.tenant(1, agent=False)


async def test_handles_are_kept_for_so_many_only(cache: Cache) -> None:
    for number in range(3000):
        cache.tenant("acme", conversation=number)
    assert len(inside(cache).handles) <= 1024


async def test_a_validator_is_asked_about_a_known_handle_as_well(clock: ManualClock) -> None:
    blocked: set[str] = set()

    def validate(tenant: str) -> None:
        if tenant in blocked:
            raise PermissionError(tenant)

    async with Cache(clock=clock, tenant_validator=validate) as cache:
        cache.tenant("acme")
        blocked.add("acme")
        with pytest.raises(PermissionError):
            cache.tenant("acme")


async def test_another_thread_counts_hits_where_no_other_does() -> None:
    """What the loop adds up without a lock, no thread may even write back as it was."""
    async with Cache() as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "here")
        kind, wrote = inside(cache).stack.kinds.of("acme", "x"), []

        class Cells:
            def __setitem__(self, place: int, number: float) -> None:
                wrote.append(threading.get_ident())

        kind.cells = Cells()
        await asyncio.to_thread(asyncio.run, acme.get_many("x", ["1", "1"]))
        assert (kind.elsewhere, kind.l1, wrote) == (2, 0, [])
        await acme.get_many("x", ["1", "1"])
        assert (kind.elsewhere, kind.l1, wrote) == (2, 2, [threading.get_ident()])
