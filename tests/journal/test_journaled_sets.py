"""What is set under a journal's name waits there until it is written elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from tests.journal.conftest import Make
from tests.journal.noting import until

TIERS = pytest.mark.parametrize("tiers", ["sqlite", "redis", "both"])


@TIERS
async def test_a_set_is_stored_and_waits_until_it_is_done(make: Make, tiers: str) -> None:
    here, there = make(tiers), make(tiers)
    assert await here.set("a", 1)
    assert await there.get("a") == 1
    (change,) = await there.journal.claim(10, 60)
    assert there.told(change) == ("a", 1)
    assert await here.journal.claim(10, 60) == []
    await there.journal.done([change])
    assert (await here.journal.backlog()).changes == 0
    assert await here.get("a") == 1


@TIERS
async def test_the_latest_alone_waits_and_numbers_rise(make: Make, tiers: str) -> None:
    here = make(tiers)
    assert await here.set("a", 1)
    (first,) = await here.journal.claim(10, 60)
    assert await here.set("a", 2)
    await here.journal.done([first])  # it is not the latest any more
    (second,) = await here.journal.claim(10, 60)
    assert here.told(second) == ("a", 2)
    assert second.number > first.number


@TIERS
async def test_a_set_after_a_miss_never_replaces_a_change_that_waits(
    make: Make, tiers: str
) -> None:
    here, there = make(tiers), make(tiers)
    assert await here.get("a") is None
    assert await there.set("a", "new")
    assert not await here.set("a", "old row")
    assert await here.waiting("a") == [("a", "new")]
    assert await here.get("a") == await there.get("a") == "new"


@TIERS
async def test_a_set_after_a_miss_says_so_and_a_plain_one_replaces_it(
    make: Make, tiers: str
) -> None:
    here = make(tiers)
    assert await here.get("a") is None
    assert await here.set("a", "row")
    assert await here.waiting("a") == [("a", ("if missing", "row"))]
    assert await here.set("a", "new")
    assert await here.waiting("a") == [("a", "new")]


@TIERS
async def test_of_crossing_sets_the_later_waits_and_all_are_true(make: Make, tiers: str) -> None:
    here, there = make(tiers), make(tiers)
    said = await asyncio.gather(
        *[(here, there)[n % 2].set("a", n) for n in range(20)],
    )
    assert all(said)
    ((_, waits),) = await here.waiting("a")
    assert await make(tiers).get("a") == waits
    await until(lambda: there.get("a"), waits)  # its memory may not have heard yet
    await until(lambda: here.get("a"), waits)


@TIERS
async def test_many_sets_all_wait(make: Make, tiers: str) -> None:
    await many_sets_all_wait(make, tiers)


async def many_sets_all_wait(make: Make, tiers: str) -> None:
    here = make(tiers)
    said = await asyncio.gather(*[here.set(str(n), n) for n in range(50)])
    assert all(said)
    claimed = await here.claimed()
    assert sorted(claimed) == sorted([(str(n), n) for n in range(50)])
    assert await here.claimed() == []
