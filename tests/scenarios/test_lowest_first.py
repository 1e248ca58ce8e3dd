"""The lowest tier goes first in all that is written: who reads meanwhile fills what is above it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.conftest import TIMEOUT
from tests.scenarios.row import Row, all_stored


def tier(folder: Path, name: str, clock: ManualClock) -> FlakyTier:
    made = FlakyTier(SqliteTier(str(folder / f"{name}.db"), namespace="test", clock=clock))
    made.name = name
    return made


@pytest.fixture
def upper(tmp_path: Path, clock: ManualClock) -> FlakyTier:
    return tier(tmp_path, "l2", clock)


@pytest.fixture
def lowest(tmp_path: Path, clock: ManualClock) -> FlakyTier:
    return tier(tmp_path, "l3", clock)


@pytest.fixture
async def cache(
    upper: FlakyTier, lowest: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> AsyncIterator[Cache]:
    limits = Limits(op_timeout=TIMEOUT)
    async with Cache(tiers=[upper, lowest], clock=clock, limits=limits) as cache:
        yield cache


async def test_an_invalidation_tells_the_tier_above_once_the_lowest_has_been_told(
    cache: Cache, upper: FlakyTier, lowest: FlakyTier
) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    with lowest.hang("invalidate") as held:
        telling = asyncio.ensure_future(acme.invalidate("x", "1"))
        await held.reached()
        assert upper.made["invalidate"] == 0
    await telling
    assert upper.made["invalidate"] == 1


@pytest.mark.parametrize("how", ["set", "load"])
async def test_a_value_is_stored_above_once_the_lowest_has_it(
    cache: Cache, upper: FlakyTier, lowest: FlakyTier, how: str
) -> None:
    acme = cache.tenant("acme")
    with lowest.hang("fill") as held:
        if how == "set":
            storing = asyncio.ensure_future(acme.set("x", "1", "new"))
        else:
            storing = asyncio.ensure_future(acme.load("x", "1", Row("new").read))
        await held.reached()
        await asyncio.sleep(0)
        assert upper.made["fill"] == 0
    await storing
    await all_stored(acme)
    assert upper.made["fill"] == 1


async def test_what_the_lowest_did_not_take_is_not_stored_above_it(
    cache: Cache, upper: FlakyTier, lowest: FlakyTier
) -> None:
    acme = cache.tenant("acme")
    lowest.fail("fill", times=1)
    await acme.load("x", "1", Row("lost").read)
    await all_stored(acme)
    assert (await acme.load("x", "1", Row("new").read)).value == "new"
