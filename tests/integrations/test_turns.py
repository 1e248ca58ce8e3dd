"""Turns: who leads, who waits, and that nobody waits for ever or is given what was cleared."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from cascada import Cache, Context
from cascada.integrations.asked import Asked
from cascada.testing.inside import turns_of
from tests.integrations.chat import Busy


class Framework:
    """What looks, calls and stores as LangChain and LangGraph do. `truth` is what a call brings,
    `told` what nobody who asks may be given less than."""

    def __init__(self, cache: Cache, *, wait: float = 20.0) -> None:
        self._asked = Asked(cache, int, data_type="answer", tenant="acme", wait=wait)
        self.truth = self.told = 1
        self.running: Counter[str] = Counter()
        self.most = 0
        self.calls = 0

    async def ask(
        self, *keys: str, pause: float = 0.01, fails: bool = False, odd: bool = False
    ) -> list[int]:
        caller = id(asyncio.current_task())
        found = await self._asked.look(dict.fromkeys(keys, caller))
        once = dict.fromkeys(keys)
        values = {key: each.value for key, each in zip(once, found, strict=True) if each}
        for key in (missed := [key for key in once if key not in values]):
            self.running[key] += 1
            self.most = max(self.most, self.running[key])
        try:
            if missed:
                self.calls += 1
                said = self.truth
                await asyncio.sleep(pause)
                if fails:
                    raise Busy
                for key in missed:
                    values[key] = said
        finally:
            self.running.subtract(missed)
        for key in missed:
            if odd:
                self._asked.drop(key)
            else:
                await self._asked.keep(key, said, caller)
        return [values[key] for key in keys]

    async def clear(self) -> None:
        self.truth += 1
        truth = self.truth
        await self._asked.clear()
        self.told = truth


async def test_who_leads_may_ask_again_in_the_same_task(cache: Cache) -> None:
    framework = Framework(cache)
    for _ in range(2):
        with pytest.raises(Busy):
            await framework.ask("a", fails=True)
    async with asyncio.timeout(2):
        assert await framework.ask("a") == [1]
    assert not turns_of(framework)


async def test_keys_of_several_are_asked_for_in_one_go(cache: Cache) -> None:
    framework = Framework(cache)
    both = await asyncio.gather(
        framework.ask("a", "b", "a", pause=0.05), framework.ask("b", "c"), framework.ask("c", "a")
    )
    assert both == [[1, 1, 1], [1, 1], [1, 1]]
    assert framework.most == 1
    assert framework.calls == 2  # a and b; then c, by the first who gets its turn


async def test_a_circle_of_three_goes_on(cache: Cache) -> None:
    """Each leads one key, and asks for the next one's then."""
    framework = Framework(cache)

    async def one_after_the_other(first: str, second: str) -> list[int]:
        caller = id(asyncio.current_task())
        await framework._asked.look({first: caller})
        await asyncio.sleep(0.01)
        found = await framework.ask(second)
        await framework._asked.keep(first, 7, caller)
        return found

    async with asyncio.timeout(5):
        circle = [("a", "b"), ("b", "c"), ("c", "a")]
        assert len(await asyncio.gather(*[one_after_the_other(*each) for each in circle])) == 3
    assert not turns_of(framework)


async def test_what_a_leader_has_started_does_not_wait_for_it(cache: Cache) -> None:
    """A node runs a graph that has the same node; or two graphs run each other's."""
    framework = Framework(cache)

    async def outer(first: str, second: str) -> list[int]:
        caller = id(asyncio.current_task())
        await framework._asked.look({first: caller})
        await asyncio.sleep(0.01)
        (found,) = await asyncio.gather(framework.ask(second))  # in a task of its own
        await framework._asked.keep(first, 7, caller)
        return found

    async with asyncio.timeout(5):
        assert await outer("a", "a") == [1]
        await framework.clear()
        both = await asyncio.gather(outer("b", "c"), outer("c", "b"))
    assert set(map(tuple, both)) <= {(2,), (7,)}
    assert not turns_of(framework)


async def test_a_turn_lasts_no_longer_than_anybody_waits(cache: Cache) -> None:
    """Its task goes on for ever, and stores nothing."""
    framework = Framework(cache, wait=0.1)

    async def lead() -> None:
        with pytest.raises(Busy):
            await framework.ask("a", fails=True)
        await asyncio.sleep(3600)

    task = asyncio.create_task(lead())
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        assert await asyncio.gather(*[framework.ask("a") for _ in range(5)]) == [[1]] * 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert framework.calls == 2
    assert not turns_of(framework)


async def test_who_has_lost_his_turn_stores_nothing_that_was_cleared_since(cache: Cache) -> None:
    framework = Framework(cache, wait=0.05)
    late = asyncio.create_task(framework.ask("a", pause=0.3))
    await asyncio.sleep(0.1)
    await framework.clear()
    other = asyncio.create_task(framework.ask("a", pause=0.4))  # leads, while the late one stores
    assert await late == [1]
    assert await other == [2]
    assert await framework.ask("a") == [2]


async def test_tenants_do_not_wait_for_each_other(cache: Cache) -> None:
    framework = Framework(cache)

    async def of(tenant: str) -> list[int]:
        with Context(tenant_id=tenant):
            return await framework.ask("a", pause=0.05)

    await asyncio.gather(of("acme"), of("globex"))
    assert framework.calls == 2


def test_each_loop_has_turns_of_its_own() -> None:
    """One that was closed in the middle of a call leaves nothing that could be waited for."""
    cache = Cache()
    framework = Framework(cache)

    async def leave() -> None:
        task = asyncio.create_task(framework.ask("a", pause=3600))
        await asyncio.sleep(0.01)
        assert turns_of(framework)
        del task
        await cache.reset()

    async def ask() -> list[int]:
        async with asyncio.timeout(2), cache:
            return await framework.ask("a")

    asyncio.run(leave())
    assert not turns_of(framework)
    assert asyncio.run(ask()) == [1]


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_fails_leaves_or_clears(cache: Cache, seed: int) -> None:
    """No call hangs, nobody is given what was cleared before he asked, and nothing is left."""
    chance = random.Random(seed)
    framework = Framework(cache, wait=chance.choice([0.02, 20.0]))

    async def one(keys: Sequence[str], **how: Any) -> None:
        await asyncio.sleep(chance.random() * 0.05)
        told = framework.told
        cleared.append(told)
        for said in await framework.ask(*keys, **how):
            assert said >= told

    cleared: list[int] = []
    tasks: list[asyncio.Task[Any]] = []
    async with asyncio.timeout(20):
        for _ in range(60):
            keys = chance.choices("abc", k=chance.randint(1, 3))
            how = {
                "pause": chance.random() * 0.02,
                "fails": chance.random() < 0.3,
                "odd": chance.random() < 0.1,
            }
            tasks.append(asyncio.create_task(one(keys, **how)))
        for _ in range(10):
            await asyncio.sleep(0.01)
            chance.choice(tasks).cancel()
            await framework.clear()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    wrong = [each for each in ended if not isinstance(each, Busy | asyncio.CancelledError | None)]
    assert not wrong
    assert len(set(cleared)) > 1
    assert not turns_of(framework)
