"""Readers come, read and leave in any order, while their row changes."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascada import Limits
from cascada.api.cache import Cache
from cascada.model.errors import LoadError
from cascada.testing.clock import ManualClock
from tests.scenarios.row import kept, turns, until
from tests.scenarios.test_any_interleaving import Restless

Steps = list[tuple[str, int]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "glance", "load", "cancel", "more", "turn", "invalidate"]),
        st.integers(0, 5),
    ),
    max_size=40,
)


class Play:
    """Readers of one key who come, read and leave in any order, while its row changes."""

    def __init__(self, cache: Cache, most: int) -> None:
        self.acme = cache.tenant("acme")
        self.most = most
        self.version = 0
        self.room = asyncio.Semaphore(0)
        self.open = 0
        self.readers: list[tuple[int, list[Any], Any]] = []

    async def pieces(self) -> AsyncGenerator[Any]:
        self.open += 1
        version = self.version
        try:
            for number in range(6):
                await self.room.acquire()
                yield [version, number]
        finally:
            self.open -= 1

    def stream(self) -> AsyncGenerator[Any]:
        return self.acme.stream("x", "1", self.pieces, max_items=self.most)

    async def step(self, what: str, index: int) -> None:
        reader = self.readers[index % len(self.readers)] if self.readers else None
        match what:
            case "join" | "glance":
                got: list[Any] = []
                most = 6 if what == "join" else index
                task = asyncio.create_task(self.listen(got, most))
                self.readers.append((self.version, got, task))
            case "load":
                whole: list[Any] = []
                loading = asyncio.create_task(self.load(whole))
                self.readers.append((self.version, whole, loading))
            case "cancel" if reader is not None:
                reader[2].cancel()
            case "more":
                for _ in range(index):
                    self.room.release()
            case "turn":
                await turns(index)
            case "invalidate":
                self.version += 1
                await self.acme.invalidate("x", "1")

    async def listen(self, got: list[Any], most: int) -> bool:
        """Whether it was read to its end, or left after so many pieces."""
        async with aclosing(self.stream()) as pieces:
            async for each in pieces:
                if len(got) == most:
                    return False
                got.append(list(each))
                each.clear()
        return True

    async def load(self, got: list[Any]) -> bool:
        async def row() -> list[Any]:
            version = self.version
            await self.room.acquire()
            return [[version, number] for number in range(6)]

        got += (await self.acme.load("x", "1", row)).value
        return True

    async def end(self) -> None:
        for _ in range(1000):
            self.room.release()
        for version, got, task in self.readers:
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if got:
                # One stream from its beginning, and none that was void when its reader came.
                of = got[0][0]
                assert of >= version
                assert got == [[of, number] for number in range(len(got))]
            if outcome is True:
                assert len(got) == 6
            elif self.most < 6 and isinstance(outcome, LoadError):
                assert "too long" in str(outcome)
            elif outcome is not False:
                assert isinstance(outcome, asyncio.CancelledError)
        await until(lambda: self.open == 0)
        stored = await kept(self.acme)
        assert stored in (None, [[self.version, number] for number in range(6)])


@pytest.mark.parametrize("most", [3, 100])
@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_in_any_interleaving_every_reader_has_one_stream_in_order_and_none_that_was_void(
    most: int, steps: Steps
) -> None:
    async def whole() -> None:
        async with Cache() as cache:
            play = Play(cache, most)
            async with asyncio.timeout(10):
                for what, index in steps:
                    await play.step(what, index)
                await play.end()
        assert not [task for task in asyncio.all_tasks() if "cascada:" in task.get_name()]

    asyncio.run(whole())


@pytest.mark.parametrize("most", [3, 100])
@pytest.mark.parametrize("seed", range(8))
async def test_nor_over_a_shared_tier_that_takes_its_time(
    tmp_path: Path, seed: int, most: int
) -> None:
    dice, clock = random.Random(seed), ManualClock()
    tier = Restless(tmp_path / "restless.db", clock, dice)
    async with Cache(tiers=[tier], clock=clock, limits=Limits(op_timeout=10)) as cache:
        play = Play(cache, most)
        async with asyncio.timeout(60):
            for _ in range(150):
                steps = ["join", "join", "glance", "load", "cancel", "more", "turn", "turn"]
                what = "invalidate" if dice.random() < 0.05 else dice.choice(steps)
                await play.step(what, dice.randrange(6))
                if dice.random() < 0.2:
                    await asyncio.sleep(0.002)
            await play.end()
