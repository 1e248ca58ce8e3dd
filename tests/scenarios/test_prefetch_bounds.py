"""What is not brought ahead, though it could be predicted."""

import asyncio
import threading

from cascada import Cache, Context, Limits, Policy, cached
from cascada.testing.clock import ManualClock
from tests.scenarios.row import turns
from tests.scenarios.test_prefetch import AHEAD, LATER, ask, counts, learn, source
from tests.scenarios.test_prefetch import Source as ByKey

__all__ = ["source"]

NAMES = "abcdefgh"


async def test_what_nobody_has_asked_for_holds_no_more_of_memory_than_its_share(
    clock: ManualClock, source: ByKey
) -> None:
    for name in NAMES:
        source.of(name).value = "v" * 1500
    limits = Limits(l1_bytes=100_000, prefetch_budget=0.02)
    async with Cache(policies={"x": source.policy}, clock=clock, limits=limits) as cache:
        acme = cache.tenant("acme")
        await learn(acme, clock, *NAMES, rounds=4)
        source.called.clear()
        await ask(acme, "a", "b")
        assert 0 < len(source.called) <= 3, "b, then what fits beside one that is there already"


async def test_what_a_more_general_value_may_answer_is_not_predicted(
    clock: ManualClock, source: ByKey
) -> None:
    policy = Policy(**{**source.policy.said, "lookup": "nearest"})
    async with Cache(policies={"x": policy}, clock=clock) as cache:
        acme = cache.tenant("acme", agent="a1")
        await learn(acme, clock, "a", "b", rounds=4)
        assert counts(acme).prefetch_fetched == 0
        whole = cache.tenant("acme")
        await learn(whole, clock, "a", "b", rounds=4)
        assert counts(whole).prefetch_fetched > 0


async def test_what_another_loop_calls_is_not_called_on_this_one(clock: ManualClock) -> None:
    where: list[int] = []
    async with Cache(clock=clock) as cache:

        @cached("x", policy=AHEAD, cache=cache)
        async def row(name: str) -> str:
            where.append(threading.get_ident())
            return name

        await cache.tenant("acme").get("x", "first")  # it is at home here

        async def elsewhere() -> None:
            with Context(tenant_id="acme"):
                for _ in range(5):
                    for name in NAMES[:4]:
                        await row(name)
                        await turns()
                    clock.advance(LATER)

        await asyncio.to_thread(asyncio.run, elsewhere())
        assert len(where) == 20
        assert threading.get_ident() not in where
