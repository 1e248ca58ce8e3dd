"""Many tasks read, load, set and invalidate in any order: nobody sees what was replaced before.

A source of truth holds a version of every row. Whoever changes a row tells the cache, and when that
has returned notes the version; a read that begins later and gives an older one is wrong. Loaders
read their row at once and hand it over late, calls of the shared tier are held for a while before
or after they are carried out, and everything is drawn from a seed.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.conftest import TIMEOUT

ROWS = ["1", "2", "3"]
SEEDS = range(12)


class Restless(FlakyTier):
    """A tier whose calls take a few turns, before and after they are carried out."""

    def __init__(self, path: Path, clock: ManualClock, dice: random.Random) -> None:
        super().__init__(SqliteTier(path, namespace="test", clock=clock))
        self._dice = dice

    async def _through(self, call: Any, carry_out: Callable[[], Awaitable[Any]]) -> Any:
        await pause(self._dice)
        answer = await super()._through(call, carry_out)
        await pause(self._dice)
        return answer


async def pause(dice: random.Random) -> None:
    for _ in range(dice.choice([0, 0, 1, 3, 8, 20])):
        await asyncio.sleep(0)
    if dice.random() < 0.1:
        await asyncio.sleep(dice.choice([0.001, 0.004]))


class World:
    """The truth, the tasks that change and read it, and what they saw."""

    def __init__(self, handle: Tenant, clock: ManualClock, dice: random.Random) -> None:
        self.handle = handle
        self.clock = clock
        self.dice = dice
        self.truth: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seen = 0

    async def row(self, name: str) -> Loaded[int]:
        version = self.truth[name]
        await pause(self.dice)
        return Loaded(version, tags=[f"row {name}"])

    async def made_of(self, name: str) -> int:
        found = await self.handle.load("x", name, partial(self.row, name))
        await pause(self.dice)
        return int(found.value)

    async def check(self, name: str, what: str, ask: Callable[[], Awaitable[Any]]) -> None:
        least = self.told[name]
        found = await ask()
        self.seen += bool(found)
        if found and found.value < least:
            self.wrong.append(f"{what} of {name} gave {found.value} after {least} was told")

    async def read(self, name: str) -> None:
        await self.check(name, "get", lambda: self.handle.get("x", name))

    async def load(self, name: str) -> None:
        await self.check(name, "load", lambda: self.handle.load("x", name, partial(self.row, name)))

    async def derive(self, name: str) -> None:
        await self.check(
            name, "derived", lambda: self.handle.load("y", name, partial(self.made_of, name))
        )

    async def by_hand(self, name: str) -> None:
        if not await self.handle.get("x", name):
            version = self.truth[name]
            await pause(self.dice)
            await self.handle.set("x", name, version, tags=[f"row {name}"])

    async def invalidate(self, name: str) -> None:
        self.truth[name] += 1
        version = self.truth[name]
        await pause(self.dice)
        await self.dice.choice(
            [
                lambda: self.handle.invalidate("x", name),
                lambda: self.handle.invalidate(tag=f"row {name}"),
                lambda: self.handle.invalidate("x", "*"),
            ]
        )()
        self.told[name] = max(self.told[name], version)

    async def leave(self, name: str) -> None:
        loading = asyncio.create_task(self.load(name))
        await pause(self.dice)
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)

    async def pass_time(self, name: str) -> None:
        self.clock.advance(self.dice.choice([0.0, 0.1, 2.0]))

    async def act(self, actions: int) -> None:
        for _ in range(actions):
            action = self.dice.choice(
                [self.read, self.read, self.load, self.load, self.load, self.derive,
                 self.by_hand, self.invalidate, self.leave, self.pass_time]
            )  # fmt: skip
            await action(self.dice.choice(ROWS))
            await pause(self.dice)


@pytest.fixture(params=["memory", "sqlite"])
async def world(
    request: pytest.FixtureRequest,
    seed: int,
    tmp_path: Path,
    clock: ManualClock,
    nothing_left_behind: None,
) -> AsyncIterator[World]:
    dice = random.Random(seed)
    tiers = [] if request.param == "memory" else [Restless(tmp_path / "cache.db", clock, dice)]
    policy = Policy(ttl=5, stale_for=3, stale_if_error=3, refresh_at=0.5)
    cache = Cache(
        tiers=tiers,
        clock=clock,
        limits=Limits(op_timeout=TIMEOUT),
        policies={"x": policy, "y": policy},
    )
    async with cache:
        yield World(cache.tenant("acme"), clock, dice)


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_read_gives_what_was_replaced_before_it_began(world: World) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*(world.act(40) for _ in range(6)))
    assert not world.wrong
    assert world.seen > 20, "the tasks have read something"
