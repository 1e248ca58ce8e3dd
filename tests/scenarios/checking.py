"""The self-check in a test's hands: armed without a timer, its pauses ended without waiting."""

import asyncio

import pytest

from cascada.api.cache import Cache
from cascada.api.statistics import TypeStatistics
from cascada.testing.inside import inside
from tests.scenarios.row import until


class Pauses:
    """Stands for the pauses before the second and the third look: a test ends them by hand."""

    def __init__(self, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[float] = []
        self._ends: list[asyncio.Event] = []
        self._sleep = asyncio.sleep
        inside(cache).check.pauses = (0.125, 0.375)
        monkeypatch.setattr("cascada.engine.selfcheck.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        if seconds not in (0.125, 0.375):
            return await self._sleep(seconds)
        self.begun.append(seconds)
        self._ends.append(end := asyncio.Event())
        await end.wait()
        return None

    async def end(self, count: int) -> None:
        """Wait for so many pauses to have begun, and end all of them."""
        await until(lambda: len(self.begun) >= count)
        for end in self._ends:
            end.set()


def at_once(cache: Cache) -> Cache:
    inside(cache).check.pauses = (0.0, 0.0)
    return cache


def arm(cache: Cache) -> None:
    inside(cache).check.armed = True


def counts(cache: Cache, data_type: str = "x") -> TypeStatistics:
    return inside(cache).counted.types.get(data_type, TypeStatistics())


def looks(cache: Cache, data_type: str = "x") -> tuple[int, int, int, int]:
    of = counts(cache, data_type)
    return of.checked, of.differed, of.differed_1s, of.differed_10s


async def all_checked(cache: Cache) -> None:
    await until(lambda: not inside(cache).being_checked)
