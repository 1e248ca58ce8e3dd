"""The tier that fails on command does what it is told, and nothing else."""

import asyncio
from pathlib import Path

import pytest

from cascada import Cache
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import CALLS, FlakyTier
from cascada.tiers.capabilities import FeedSource
from cascada.tiers.contract import (
    Busy,
    Found,
    Lease,
    Missing,
)
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.sqlite.tier import SqliteTier

KEY = Key("acme", "x", None, None, None, "1")


@pytest.fixture
async def tier(tmp_path: Path):  # type: ignore[no-untyped-def]
    flaky = FlakyTier(SqliteTier(tmp_path / "cache.db", namespace="test", clock=ManualClock()))
    yield flaky
    flaky.heal()
    await flaky.aclose()


async def store(tier: FlakyTier, data: bytes = b"value") -> bool:
    (lease,) = await tier.lease([KEY], [None], force=True)
    assert isinstance(lease, Lease)
    (filled,) = await tier.fill([lease], [Entry(data)])
    return filled.accepted


async def there(tier: FlakyTier) -> bool:
    (answer,) = await tier.tier.read([KEY])
    return isinstance(answer, Found)


async def test_left_alone_it_is_the_tier_that_it_wraps(tier: FlakyTier) -> None:
    assert isinstance(tier, FeedSource)
    assert tier.name == "l3"
    assert await store(tier)
    assert isinstance((await tier.read([KEY]))[0], Found)
    assert (await tier.usage()).entries == 1
    assert (await tier.invalidate([key_name(KEY)])).keys == 1
    assert isinstance((await tier.read([KEY]))[0], Missing)
    assert (await tier.changes(None)).position > 0
    assert tier.made == {
        "lease": 1, "fill": 1, "read": 2, "usage": 1, "invalidate": 1, "changes": 1,
    }  # fmt: skip


async def test_fail_raises_before_and_lose_after_the_call_was_carried_out(
    tier: FlakyTier,
) -> None:
    tier.fail("fill")
    with pytest.raises(TierUnavailable):
        await store(tier)
    assert not await there(tier)
    tier.lose("fill", error=OSError("the answer"))
    with pytest.raises(OSError, match="the answer"):
        await store(tier)
    assert await there(tier)


async def test_a_fault_for_so_many_calls_ends_by_itself(tier: FlakyTier) -> None:
    tier.fail("read", "usage", times=2)
    for call in (lambda: tier.read([KEY]), tier.usage):
        for _ in range(2):
            with pytest.raises(TierUnavailable):
                await call()
        await call()


async def test_without_a_name_every_call_is_meant_until_it_heals(tier: FlakyTier) -> None:
    tier.fail()
    lease = Lease(KEY, 0)
    calls = {
        "read": lambda: tier.read([KEY]),
        "lease": lambda: tier.lease([KEY], [None]),
        "fill": lambda: tier.fill([lease], [None]),
        "renew": lambda: tier.renew([lease]),
        "invalidate": lambda: tier.invalidate([key_name(KEY)]),
        "count_entries": lambda: tier.count_entries([key_name(KEY)]),
        "touch": lambda: tier.touch(KEY, lambda entry, size: entry),
        "usage": tier.usage,
        "changes": lambda: tier.changes(None),
        "data": lambda: tier.data.counter("acme:c"),
    }
    assert set(calls) == set(CALLS)
    for call in calls.values():
        with pytest.raises(TierUnavailable):
            await call()
    tier.heal("read")
    await tier.read([KEY])
    with pytest.raises(TierUnavailable):
        await tier.usage()
    tier.heal()
    for call in calls.values():
        await call()


async def test_delay_carries_out_after_a_pause(tier: FlakyTier) -> None:
    await tier.read([KEY])
    tier.delay("read", seconds=0.05)
    reading = asyncio.ensure_future(tier.read([KEY]))
    await asyncio.sleep(0.01)
    await tier.tier.read([KEY])
    assert not reading.done()
    await reading


@pytest.mark.parametrize("carried_out", [False, True])
async def test_hang_holds_calls_before_or_after_they_are_carried_out(
    tier: FlakyTier, carried_out: bool
) -> None:
    with tier.hang("fill", carried_out=carried_out) as held:
        storing = asyncio.ensure_future(store(tier))
        await held.reached()
        assert await there(tier) is carried_out
        assert not storing.done()
    assert await storing
    assert await there(tier)
    assert await store(tier), "outside the block nothing hangs"


async def test_a_fault_set_inside_the_block_outlives_it(tier: FlakyTier) -> None:
    with tier.hang("read"):
        tier.fail("read")
    with pytest.raises(TierUnavailable):
        await tier.read([KEY])


async def test_busy_answers_leases_for_a_while_but_not_those_that_take_over(
    tier: FlakyTier,
) -> None:
    tier.busy(times=2, retry_after=0.5)
    assert await tier.lease([KEY, KEY], [None, None]) == [Busy(0.5), Busy(0.5)]
    assert isinstance((await tier.lease([KEY], [None], force=True))[0], Lease)
    assert await tier.lease([KEY], [None]) == [Busy(0.5)]
    assert isinstance((await tier.lease([KEY], [None]))[0], Lease)


async def test_its_lists_and_counters_obey_as_well(tier: FlakyTier) -> None:
    async with Cache(tiers=[tier]) as cache:
        acme = cache.tenant("acme")
        inbox = acme.list("inbox")
        assert await acme.increment("calls", "chat") == 1
        tier.fail("data", times=1)
        with pytest.raises(TierUnavailable) as caught:
            await acme.increment("calls", "chat")
        assert not isinstance(caught.value, Unanswered)
        assert await acme.counter("calls", "chat") == 1, "refused is not carried out"
        tier.lose("data", times=1)
        with pytest.raises(Unanswered, match="may or may not have happened"):
            await acme.increment("calls", "chat")
        assert await acme.counter("calls", "chat") == 2, "this time it was"
        assert [await inbox.rpush("a"), await inbox.lpush("b"), await inbox.length()] == [1, 2, 2]
        await inbox.trim(0, 0)
        assert await inbox.range() == ["b"]
        assert await inbox.rpop() == "b"
        assert tier.made["data"] == 11


def test_over_a_tier_without_data_it_has_none() -> None:
    class Bare:
        name = "l3"

    assert not hasattr(FlakyTier(Bare()), "data")  # type: ignore[arg-type]


def test_a_call_that_it_does_not_know_is_told() -> None:
    with pytest.raises(BadInput, match="call is 'get'; pass some of read, lease"):
        FlakyTier(MemoryTier(ManualClock())).fail("get")  # type: ignore[arg-type]
