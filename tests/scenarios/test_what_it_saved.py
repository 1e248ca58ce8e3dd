"""What loads took and cost, and what reads saved that were answered without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cascada import BadInput, Cache, Cost, Hit, Limits, Loaded, Policy, Price
from cascada.model.bills.bill import Bill
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.row import Row, all_stored, until
from tests.servers.redis import RedisServer

PRICES = {"gpt-5": Price(input=1.25, output=10, cached=0.125)}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 100},
}
RESPONSE = {"model": "gpt-5-2025-08-07", "usage": USAGE}
PRICE = Decimal("0.0031375")  # (900 * 1.25 + 100 * 0.125 + 200 * 10) / 1e6


def bill(of: int = 1, seconds: float = 2.0) -> Bill:
    """That of so many answers."""
    return Bill(of, of * seconds, of * 1000, of * 200, of * 100, of * PRICE, 0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def asking(clock: ManualClock, cost: Any = RESPONSE, seconds: float = 2.0) -> Any:
    async def ask() -> Loaded[str]:
        clock.advance(seconds)
        return Loaded("answer", cost=cost)

    return ask


async def test_a_hit_saves_what_its_load_took(clock: ManualClock) -> None:
    async with Cache(clock=clock, prices=PRICES) as cache:
        acme = cache.tenant("acme")
        await acme.load("answer", "1", asking(clock))
        await all_stored(acme)
        for _ in range(3):
            hit = await acme.load("answer", "1", asking(clock))
            assert isinstance(hit, Hit)
            assert hit.cost == bill()
        await acme.get("answer", "1")
        await acme.get_many("answer", ["1", "1"])
        of = (await cache.stats()).types["answer"]
    assert of.spent == bill()
    assert of.saved == of.saved_by["hits"] == bill(6)
    assert of.saved_seconds == 12


async def test_who_shares_a_load_saves_it(clock: ManualClock) -> None:
    row = Row("answer")

    async def ask() -> Loaded[str]:
        clock.advance(2)
        return Loaded(await row.read(), cost=RESPONSE)

    async with Cache(clock=clock, prices=PRICES) as cache:
        acme = cache.tenant("acme")
        row.hold()
        asked = [asyncio.create_task(acme.load("answer", "1", ask)) for _ in range(100)]
        await row.being_read()
        row.let_go()
        await asyncio.gather(*asked)
        of = (await cache.stats()).types["answer"]
    assert (of.spent, of.saved_by["coalesced"]) == (bill(), bill(99))
    assert of.saved == bill(99)


async def test_a_load_says_its_own_cost_alone(clock: ManualClock) -> None:
    """What it loads in it is counted once, with its own type."""
    async with Cache(clock=clock, prices=PRICES) as cache:
        acme = cache.tenant("acme")

        async def outer() -> str:
            hit = await acme.load("model_answer", "1", asking(clock))
            return f"{hit.value}!"

        for _ in range(2):
            await acme.load("answer", "1", outer)
        types = (await cache.stats()).types
    assert types["model_answer"].spent == bill()
    assert types["answer"].saved == Bill(1, 2.0, unpriced=1)


@pytest.mark.parametrize("where", ["redis", "sqlite", "both"])
@pytest.mark.parametrize("size", [10, 400_000])
async def test_a_hit_in_another_process_saves_it_as_well(
    where: str, size: int, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Another cache, which has never loaded anything, and does not know the prices."""
    redis_server.flush()
    tiers: dict[str, Any] = {"limits": Limits(op_timeout=10)}
    if where in ("redis", "both"):
        tiers["redis"] = redis_server.url
    if where in ("sqlite", "both"):
        tiers["database"] = str(tmp_path / "cache.db")

    async def answer() -> Loaded[bytes]:
        # What is compressed is large as well.
        return Loaded(Random(1).randbytes(size), cost=RESPONSE, tags=["news"])

    async with Cache(prices=PRICES, **tiers) as cache:
        acme = cache.tenant("acme")
        await acme.load("answer", "1", answer)
        await all_stored(acme)
        spent = (await cache.stats()).total.spent
    if where == "both":
        redis_server.flush()  # it has to come from the database, and passes through Redis
    for _turn in range(2):
        async with Cache(**tiers) as other:
            acme = other.tenant("acme")
            for _ in range(2):
                hit = await acme.load("answer", "1", answer)
                assert hit.cost == spent
            total = (await other.stats()).total
            assert (total.loads, total.spent) == (0, Bill())
            assert total.saved == spent + spent


async def test_an_unknown_price_is_none_and_not_nothing(clock: ManualClock) -> None:
    unknown = {"model": "another", "usage": USAGE}
    async with Cache(clock=clock, prices=PRICES) as cache:
        acme = cache.tenant("acme")
        for of_type, cost in (
            ("row", None), ("answer", unknown), ("paid", Decimal("0.10")), ("said", 0),
            ("mixed", unknown), ("streamed", {"model": "gpt-5", "usage": None}),
        ):  # fmt: skip
            await acme.load(of_type, "1", asking(clock, cost))
            await acme.load(of_type, "1", asking(clock, cost))
        await acme.load("mixed", "2", asking(clock))
        types = (await cache.stats()).types
        told = str(await cache.stats())
    assert types["row"].saved == Bill(1, 2.0, unpriced=1)
    assert types["answer"].saved == Bill(1, 2.0, 1000, 200, 100, None, 1)
    assert types["streamed"].saved == Bill(1, 2.0, unpriced=1)
    assert types["paid"].saved == Bill(1, 2.0, money=Decimal("0.1"))
    assert types["said"].saved == Bill(1, 2.0, money=Decimal(0)), "0 was said"
    assert types["mixed"].spent == Bill(2, 4.0, 2000, 400, 200, PRICE, 1)
    assert "0.10 in money (the price of 4 is unknown)" in told


async def test_what_was_set_has_saved_nobody_knows_what(clock: ManualClock) -> None:
    async with Cache(clock=clock) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "value")
        hit = await acme.get("x", "1")
        assert isinstance(hit, Hit)
        assert hit.cost is None
        assert (await cache.stats()).total.saved == Bill(1, unpriced=1)


async def test_a_batch_is_shared_by_its_values(clock: ManualClock) -> None:
    async def load(ids: list[str]) -> dict[str, Any]:
        clock.advance(3)
        return {each: Loaded(each, cost=int(each)) for each in ids}

    async with Cache(clock=clock) as cache:
        acme = cache.tenant("acme")
        await acme.load_many("x", ["1", "2", "3"], load)
        await all_stored(acme)
        await acme.load_many("x", ["2", "3"], load)
        of = (await cache.stats()).types["x"]
    assert of.spent == Bill(3, 3.0, money=Decimal(6))
    assert of.saved == Bill(2, 2.0, money=Decimal(5))


async def test_a_failed_load_is_spent_and_what_stands_in_for_it_saves_nothing(
    clock: ManualClock,
) -> None:
    class Refused(Exception):
        cost = Cost(money=0.5)

    class Odd(Exception):
        @property
        def cost(self) -> Any:
            raise RuntimeError

    async def fail() -> str:
        clock.advance(4)
        raise Refused

    policy = Policy(ttl=10, stale_if_error=60)
    async with Cache(clock=clock, policies={"x": policy}) as cache:
        acme = cache.tenant("acme")
        await acme.load("x", "1", asking(clock, 1))
        await all_stored(acme)
        clock.advance(20)
        hit = await acme.load("x", "1", fail)
        assert hit.stale
        of = (await cache.stats()).types["x"]
        assert of.spent == Bill(2, 6.0, money=Decimal("1.5"))
        assert of.saved == Bill(1, unpriced=1)
        await acme.load("x", "1", fail)
        assert (await cache.stats()).types["x"].saved == Bill(2, 2.0, money=Decimal(1), unpriced=1)

        async def fail_oddly() -> str:
            raise Odd

        with pytest.raises(Odd):
            await acme.load("x", "2", fail_oddly)


async def test_what_passes_the_tiers_by_is_spent(clock: ManualClock) -> None:
    async with Cache(clock=clock, prices=PRICES) as cache:
        acme = cache.tenant("acme")
        with cache.bypass():
            await acme.load("answer", "1", asking(clock))
        total = (await cache.stats()).total
    assert (total.spent, total.saved, total.loads) == (bill(), Bill(), 0)


async def test_a_stream_says_its_cost_and_its_readers_see_nothing_of_it(
    clock: ManualClock,
) -> None:
    go = asyncio.Event()

    async def pieces() -> AsyncIterator[Any]:
        yield "a"
        await go.wait()
        yield "b"
        clock.advance(2)
        yield Cost(model="gpt-5", tokens_in=1000, tokens_out=200, tokens_cached=100)

    async def read(tenant: Any) -> list[Any]:
        return [each async for each in tenant.stream("answer", "1", pieces)]

    async with Cache(clock=clock, prices=PRICES) as cache:
        acme = cache.tenant("acme")
        readers = [asyncio.create_task(read(acme)) for _ in range(4)]
        for _ in range(10):
            await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*readers) == [["a", "b"]] * 4
        await all_stored(acme)
        for _ in range(2):
            assert await read(acme) == ["a", "b"]
        of = (await cache.stats()).types["answer"]
        assert (of.spent, of.hits) == (bill(), 2)
        assert of.saved_by == {"hits": Bill(), "replays": bill(2), "coalesced": bill(3)}
        with cache.bypass():
            assert await read(acme) == ["a", "b"]
        assert (await cache.stats()).types["answer"].spent.tokens_in == 2000


async def test_tenants_have_their_own_figures_and_so_many_of_them(clock: ManualClock) -> None:
    async with Cache(clock=clock, prices=PRICES) as cache:
        for number in range(5):
            tenant = cache.tenant(f"t{number}")
            for _ in range(2):
                await tenant.load("answer", "1", asking(clock))
                await tenant.load("row", "1", asking(clock, None))
        stats = await cache.stats(tenants=3)
        assert [*stats.tenants] == ["t0", "t1", "t2", "other"]
        assert stats.tenants["t1"].types["answer"].saved == bill()
        assert stats.tenants["other"].types["answer"].saved == bill(2)
        assert stats.tenants["other"].total.spent.count == 4
        assert stats.types["answer"].spent == bill(5)
        assert (await cache.stats(tenants=0)).tenants == {}
        for wrong in (-1, True, "3"):
            with pytest.raises(BadInput, match="tenants is"):
                await cache.stats(tenants=wrong)  # type: ignore[arg-type]


async def test_a_general_value_that_memory_keeps_for_another_context_saves_it(
    tmp_path: Path,
) -> None:
    tiers: dict[str, Any] = {
        "database": str(tmp_path / "cache.db"),
        "limits": Limits(op_timeout=10),
        "policies": {"x": Policy(lookup="nearest")},
    }
    async with Cache(prices=PRICES, **tiers) as cache:
        acme = cache.tenant("acme")
        await acme.load("x", "1", lambda: Loaded("general", cost=RESPONSE))
        await all_stored(acme)
    async with Cache(**tiers) as other:
        for tier in ("l3", "l1"):
            hit = await other.tenant("acme", agent="a1").get("x", "1")
            assert isinstance(hit, Hit)
            assert hit.tier == tier
            assert hit.cost is not None
            assert hit.cost.money == PRICE
        assert (await other.stats()).total.saved.money == 2 * PRICE


async def test_a_loader_that_answers_for_all_levels_has_cost_once() -> None:
    for value in ("found", None):
        async with Cache(policies={"x": Policy(lookup="by_level")}) as cache:
            agent = cache.tenant("acme", agent="a1")
            made = Loaded(value, cost=1, ttl=5, tags=["a"], sources=["y:1", ("y", "2")])
            await agent.load("x", "1", lambda made=made: made)  # type: ignore[misc]
            assert made.cost == Cost(money=1)
            assert (await cache.stats()).total.spent.money == 1


async def test_what_checks_and_refreshes_ask_is_spent(clock: ManualClock) -> None:
    policy = Policy(ttl=10, stale_for=100)
    async with Cache(clock=clock, policies={"x": policy}) as cache:
        acme = cache.tenant("acme")

        async def money() -> list[Decimal | None]:
            total = (await cache.stats()).total
            return [total.spent.money, total.saved.money]

        await acme.load("x", "1", asking(clock, 1))
        await all_stored(acme)
        inside(cache).check.armed = True
        await acme.load("x", "1", asking(clock, 2))
        await until(lambda: not inside(cache).being_checked)
        assert await money() == [3, 1]
        clock.advance(20)
        assert (await acme.load("x", "1", asking(clock, 4))).stale
        await all_stored(acme)
        assert await money() == [7, 2]
        assert (await acme.load("x", "1", asking(clock))).cost == Bill(1, 2.0, money=Decimal(4))


async def test_observing_tells_what_the_source_costs_now(clock: ManualClock) -> None:
    async with Cache(clock=clock, mode="observe") as cache:
        acme = cache.tenant("acme")
        await acme.load("x", "1", asking(clock, 1))
        await all_stored(acme)
        await acme.load("x", "1", asking(clock, 5))
        total = (await cache.stats()).total
    assert (total.spent.money, total.saved.money, total.saved.count) == (6, 5, 1)


async def test_a_load_that_all_have_left_is_spent_at_a_price_that_nobody_knows() -> None:
    row = Row("answer")
    async with Cache() as cache:
        row.hold()
        asked = asyncio.create_task(cache.tenant("acme").load("x", "1", row.read))
        await row.being_read()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: not inside(cache).flights)
        spent = (await cache.stats()).total.spent
    assert (spent.count, spent.unpriced, spent.money) == (1, 1, None)
    assert spent.seconds > 0


async def test_who_makes_a_value_by_himself_says_what_it_cost() -> None:
    async with Cache(prices=PRICES) as cache:
        acme = cache.tenant("acme")
        miss = await acme.get("answer", "1")
        assert await acme.fill(miss, "hello", cost=RESPONSE)
        assert not await acme.fill(miss, "another", cost=RESPONSE), "made for nothing, and paid"
        assert await acme.set("answer", "2", "hello", cost=RESPONSE)
        assert await acme.set("answer", "3", "hello")
        with pytest.raises(BadInput, match="cost is -1"):
            await acme.set("answer", "2", "hello", cost=-1)
        for each in ("1", "2", "3"):
            assert await acme.get("answer", each)
        of = (await cache.stats()).types["answer"]
        assert of.saved == Bill(3, 0.0, 2000, 400, 200, 2 * PRICE, 1)
        assert of.spent == bill(3, seconds=0.0)
        assert of.loads == 0


@pytest.mark.parametrize("mode", ["off", "observe"])
async def test_what_was_made_is_spent_in_every_mode(mode: Any) -> None:
    async with Cache(prices=PRICES, mode=mode) as cache:
        acme = cache.tenant("acme")
        await acme.set("answer", "1", "hello", cost=RESPONSE)
        await acme.fill(await acme.get("answer", "2"), "hello", cost=RESPONSE)
        assert (await cache.stats()).types["answer"].spent == bill(2, seconds=0.0)
