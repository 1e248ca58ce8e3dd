"""A failing tier costs its answers, never the call, and never the truth."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.model.errors import TierUnavailable
from cascada.model.events import Event
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.testing.nodes import hear
from cascada.tiers.breaker import FAILURES_TO_OPEN, RETRY_AFTER
from cascada.tiers.sqlite.tier import SqliteTier
from tests.options import grouped
from tests.scenarios.conftest import TIMEOUT
from tests.scenarios.row import Row, all_stored, kept, turns, until

ERRORS = [TierUnavailable, OSError, RuntimeError]


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
async def test_with_its_tier_down_a_cache_goes_on_with_the_source(
    shaky: Cache, flaky: FlakyTier, error: type[Exception]
) -> None:
    acme = shaky.tenant("acme")
    flaky.fail(error=error("out of order"))
    row = Row("from the source")
    assert not await acme.get("x", "1")
    assert (await acme.load("x", "1", row.read)).value == "from the source"
    assert (await acme.load_many("x", [*"12"], lambda ids: list(ids)))[1].value == "2"
    # Nothing is below the tier, so that memory keeps what came meanwhile.
    hits = await acme.get_many("x", [*"123"])
    assert [hit.value for hit in hits] == ["from the source", "2", None]
    assert all(hit.stale for hit in hits if hit)
    assert not await acme.set("x", "1", "value")
    assert await acme.ttl("x", "none") is None
    assert not (await shaky.stats()).tiers["l3"].available
    assert (await acme.explain("x", "1")).findings[-1].state == "unavailable"


@pytest.mark.parametrize("call", ["read", "lease", "fill"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
async def test_no_single_failure_reaches_a_reader(
    shaky: Cache, flaky: FlakyTier, call: Any, error: type[Exception]
) -> None:
    acme = shaky.tenant("acme")
    row = Row("value")
    for command in (flaky.fail, flaky.lose):
        command(call, error=error("out of order"), times=1)
        answers = await asyncio.gather(*(acme.load("x", call, row.read) for _ in range(5)))
        assert {answer.value for answer in answers} == {"value"}
        await all_stored(acme)
        flaky.heal()
    assert await kept(acme, call) in ("value", None)


async def test_a_tier_that_hangs_costs_its_time_and_no_more(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=0.05)) as cache:
        acme = cache.tenant("acme")
        with flaky.hang("read", "lease", "fill"):
            async with asyncio.timeout(TIMEOUT):
                answer = await acme.load("x", "1", Row("from the source").read)
                await all_stored(acme)
        assert answer.value == "from the source"


async def test_a_tier_that_hangs_from_the_start_does_not_keep_a_cache_from_starting(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    with flaky.hang():
        async with asyncio.timeout(TIMEOUT):
            async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=0.05)) as cache:
                answer = await cache.tenant("acme").load("x", "1", Row("there").read)
                assert answer.value == "there"


async def test_a_feed_that_has_hung_comes_back(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=0.2)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "value")
        with flaky.hang("changes") as held:
            await held.reached()
            clock.advance(1)
            await until(lambda: flaky.made["changes"] > 2)
        seen = flaky.made["changes"]
        await until(lambda: flaky.made["changes"] > seen + 1)
        assert (await acme.get("x", "1")).value == "value"
        assert (await acme.get("x", "1")).tier == "l1"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
async def test_a_feed_that_has_failed_comes_back(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock, error: type[Exception]
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "value")
    flaky.fail("changes", error=error("out of order"))
    seen = flaky.made["changes"]
    await until(lambda: flaky.made["changes"] > seen + 1)
    flaky.heal()
    clock.advance(1)
    await until(lambda: inside(shaky).feed.until > clock.monotonic())
    assert (await acme.get("x", "1")).tier == "l1"


async def test_memory_is_trusted_no_longer_than_its_lease_when_nothing_is_heard(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "value")
    await hear(shaky)
    flaky.fail("changes")
    clock.advance(0.4)
    assert (await acme.get("x", "1")).tier == "l1"
    clock.advance(0.2)
    assert (await acme.get("x", "1")).tier == "l3"


async def test_what_was_forgotten_before_it_was_heard_of_costs_memory_all_it_has(
    clock: ManualClock, tmp_path: Path, nothing_left_behind: None
) -> None:
    """The database keeps only so many names; a process that heard of nothing for long cannot know
    which of its values they named."""
    tiers = [
        SqliteTier(tmp_path / "cache.db", namespace="test", clock=clock, max_tombstones=16)
        for _ in range(2)
    ]
    deaf = FlakyTier(tiers[0])
    here = Cache(tiers=[deaf], clock=clock, limits=Limits(op_timeout=TIMEOUT))
    async with (
        here,
        Cache(tiers=tiers[1:], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as there,
    ):
        await here.tenant("acme").set("x", "1", "old")
        await hear(here)
        deaf.fail("changes")
        await there.tenant("acme").invalidate("x", "1")
        for number in range(100):
            await there.tenant("acme").invalidate(tag=f"other {number}")
        await tiers[1].upkeep()
        deaf.heal()
        await hear(here)
        assert not await here.tenant("acme").get("x", "1")


async def test_a_look_that_takes_long_extends_trust_from_its_start_only(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock, tmp_path: Path
) -> None:
    """What is invalidated after the answer was made, and before it arrives, is not in it."""
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "old")
    with flaky.hang("changes", carried_out=True) as held:
        await held.reached()
        other = SqliteTier(tmp_path / "flaky.db", namespace="test", clock=clock)
        async with Cache(tiers=[other], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as there:
            await there.tenant("acme").invalidate("x", "1")
        clock.advance(0.6)
        flaky.fail("changes")
        held.release()
        await turns()
        assert not await acme.get("x", "1")


async def test_the_breaker_opens_after_a_few_failures_and_closes_by_itself(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock, events: list[Event]
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "value")
    inside(shaky).memory.flush()
    flaky.fail("read")
    for _ in range(FAILURES_TO_OPEN):
        await acme.get("x", "1")
    assert kinds(events).count("tier_down") == 1
    flaky.made.clear()
    for _ in range(5):
        await acme.get("x", "1")
    assert flaky.made["read"] == 0, "an open breaker sends nothing"
    clock.advance(RETRY_AFTER + 0.1)
    await acme.get("x", "1")
    await acme.get("x", "1")
    assert flaky.made["read"] == 1, "one trial, and it failed"
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    assert (await acme.get("x", "1")).value == "value"
    assert kinds(events).count("tier_up") == 1


async def test_a_cascade_of_thousands_has_the_time_that_it_takes(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    """It is no sign of a tier that fails, whose breaker would open for all others."""
    options: Any = {"clock": clock, "op_timeout": 0.05, "invalidate_patience": 0}
    async with Cache(tiers=[flaky], **grouped(options)) as cache:
        acme = cache.tenant("acme")
        await acme.get("warm", "up")
        flaky.delay("invalidate", "count_entries", seconds=0.1)
        many = [f"c{number}" for number in range(1000)]
        await acme.cascade("conversation", conversation=many, dry_run=True)
        assert not (await acme.cascade("conversation", conversation=many)).pending
        with flaky.hang("invalidate"), pytest.raises(TierUnavailable):
            await acme.invalidate(conversation="c1")


async def test_while_a_trial_is_under_way_the_others_are_not_sent(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    flaky.fail("read")
    for _ in range(FAILURES_TO_OPEN):
        await acme.get("x", "1")
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    flaky.made.clear()
    with flaky.hang("read") as held:
        trial = asyncio.create_task(acme.get("x", "1"))
        await held.reached()
        assert not await acme.get("x", "1")
        assert flaky.made["read"] == 1
    await trial


async def test_a_failure_now_and_then_does_not_open_the_breaker(
    shaky: Cache, flaky: FlakyTier, events: list[Event]
) -> None:
    acme = shaky.tenant("acme")
    for _ in range(3 * FAILURES_TO_OPEN):
        flaky.fail("read", times=1)
        await acme.get("x", "1")
        await acme.get("x", "1")
    assert "tier_down" not in kinds(events)


async def test_a_lost_fill_does_not_leave_memory_with_what_nobody_vouches_for(
    shaky: Cache, flaky: FlakyTier
) -> None:
    acme = shaky.tenant("acme")
    flaky.fail("fill", times=1)
    await acme.load("x", "1", Row("value").read)
    await all_stored(acme)
    assert inside(shaky).memory.peek(acme.key("x", "1")) is None


async def test_a_spare_is_served_as_long_as_a_tier_is_there_to_vouch_for_it(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "spare")
    clock.advance(200)
    await hear(shaky)
    answer = await acme.load("x", "1", Row(OSError("down")).read)
    assert (answer.value, answer.stale) == ("spare", True)
    flaky.fail("read")
    clock.advance(2)
    await hear(shaky)
    answer = await acme.load("x", "1", Row(OSError("down")).read)
    assert (answer.value, answer.stale) == ("spare", True), "memory has heard all, and has it"
    clock.advance(2)
    with pytest.raises(OSError, match="down"):
        await acme.load("x", "1", Row(OSError("down")).read)


async def test_a_busy_tier_is_asked_again_and_what_the_other_process_brought_is_taken(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock, tmp_path: Path
) -> None:
    acme = shaky.tenant("acme")
    row = Row("ours")
    flaky.busy(times=3)
    assert (await acme.load("x", "1", row.read)).value == "ours"
    assert row.reads == 1
    await all_stored(acme)

    flaky.busy(times=5, retry_after=0.02)
    loading = asyncio.create_task(acme.load("x", "2", row.read))
    await until(lambda: flaky.made["lease"] > 5)
    other = SqliteTier(tmp_path / "flaky.db", namespace="test", clock=clock)
    async with Cache(tiers=[other], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as there:
        await there.tenant("acme").set("x", "2", "theirs")
        assert (await loading).value == "theirs"
    assert row.reads == 1


async def test_a_busy_tier_leaves_the_refresh_of_a_stale_value_to_the_other_process(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    policies = {"x": Policy(ttl=10, stale_for=60)}
    async with Cache(
        tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT), policies=policies
    ) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "old")
        clock.advance(20)
        flaky.busy(times=1000, retry_after=60)
        row = Row("new")
        async with asyncio.timeout(5):
            answer = await acme.load("x", "1", row.read)
        assert (answer.value, answer.stale) == ("old", True)
        await all_stored(acme)
        assert row.reads == 0
