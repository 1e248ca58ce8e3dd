"""An invalidation that a tier could not be told is owed to it, and paid before it is read again."""

import asyncio
import math
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.engine.writing.redelivery import remind
from cascada.model.errors import BadInput, InvalidationPending
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.breaker import RETRY_AFTER
from tests.options import grouped
from tests.scenarios.conftest import TIMEOUT
from tests.scenarios.row import Row, kept, turns, until


async def test_a_set_that_failed_leaves_no_old_value_behind(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    for command in (flaky.fail, flaky.lose):
        await acme.set("x", "1", "old")
        command("fill", times=1)
        assert not await acme.set("x", "1", "new")
        assert (await acme.get("x", "1")).value != "old"
        await until(lambda: not inside(shaky).lower[0].deferred)
        assert not await acme.get("x", "1"), "the tier was told before it was read again"
        assert await acme.set("x", "1", "new")


async def test_an_invalidation_that_cannot_be_sent_says_so_and_is_sent_later(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "old")
    await acme.set("x", "2", "other")
    inside(shaky).memory.flush()
    flaky.fail("invalidate")
    with pytest.raises(InvalidationPending, match="k:acme:x:1"):
        await acme.invalidate("x", "1")
    assert not await acme.get("x", "1"), "this process serves it no more"
    assert not await acme.get("x", "2"), "the tier is not read before it was told"
    answer = await acme.load("x", "1", Row("new").read)
    assert (answer.value, answer.tier) == ("new", "source")
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not inside(shaky).lower[0].deferred)
    assert not await acme.get("x", "1")
    assert (await acme.get("x", "2")).value == "other"
    assert (await acme.load("x", "1", Row("new").read)).value == "new"
    assert await kept(acme) == "new"


async def test_a_short_failure_is_overcome_by_insisting(shaky: Cache, flaky: FlakyTier) -> None:
    acme = shaky.tenant("acme")
    inside(shaky).stack.invalidate_patience = TIMEOUT
    await acme.set("x", "1", "old")
    flaky.fail("invalidate", times=2)
    assert (await acme.invalidate("x", "1")).keys == 1
    assert not await acme.get("x", "1")


async def test_what_is_owed_twice_is_paid_for_the_second_time_as_well(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    """The first payment was carried out before the second invalidation: it does not cover it."""
    acme = shaky.tenant("acme")
    guarded = inside(shaky).lower[0]
    flaky.fail("invalidate")
    with pytest.raises(InvalidationPending):
        await acme.invalidate("x", "1")
    flaky.made.clear()
    with flaky.hang("invalidate", carried_out=True) as held:
        clock.advance(RETRY_AFTER + 0.1)
        await held.reached()
        guarded.defer(["k:acme:x:1"])
        flaky.fail("invalidate")
    await until(lambda: flaky.made["invalidate"] == 2)
    assert list(guarded.deferred) == ["k:acme:x:1"]
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not guarded.deferred)


async def test_an_invalidation_whose_answer_was_lost_is_repeated(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "old")
    flaky.lose("invalidate")
    with pytest.raises(InvalidationPending):
        await acme.invalidate("x", "1")
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not inside(shaky).lower[0].deferred)
    assert not await acme.get("x", "1")


async def test_a_load_under_way_when_an_invalidation_failed_is_not_kept(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    acme = shaky.tenant("acme")
    row = Row("old")
    row.hold()
    first = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    flaky.fail("invalidate")
    row.value = "new"
    with pytest.raises(InvalidationPending):
        await acme.invalidate("x", "1")
    second = asyncio.create_task(acme.load("x", "1", row.read))
    await turns()
    clock.advance(RETRY_AFTER + 0.1)  # the tier would take the fill, not knowing better
    row.let_go()
    assert (await first).value == "old"
    assert (await second).value == "new"
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not inside(shaky).lower[0].deferred)
    assert await kept(acme) in (None, "new")
    assert (await acme.load("x", "1", row.read)).value == "new"


async def test_debts_of_several_tenants_are_paid_each_by_itself(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock
) -> None:
    tenants = [shaky.tenant(name) for name in ("acme", "other", "a:b%")]
    for tenant in tenants:
        await tenant.set("x", "1", "old")
    flaky.fail("invalidate")
    for tenant in tenants:
        with pytest.raises(InvalidationPending):
            await tenant.invalidate("x", "1")
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not inside(shaky).lower[0].deferred)
    for tenant in tenants:
        assert not await tenant.get("x", "1")


async def test_a_set_never_raises_for_a_tier(shaky: Cache, flaky: FlakyTier) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "old")
    for call in ("lease", "fill", "invalidate", None):
        flaky.fail(*(call,) if call else ())  # type: ignore[arg-type]
        assert not await acme.set("x", "1", "new")
        hit = await acme.get("x", "1")
        assert hit.value != "old"


async def test_what_only_this_process_remembers_may_be_warned_of_instead(
    flaky: FlakyTier, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    options: Any = {"clock": clock, "on_pending": "warn", "invalidate_patience": 0}
    async with Cache(tiers=[flaky], **grouped(options)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "old")
        flaky.fail("invalidate")
        for _ in range(3):
            told = await acme.invalidate("x", "1")
            assert (told.pending, told.keys, told.exact) == (True, 0, False)
        gone = await acme.cascade("agent", agent="a1")
        assert gone.pending
        assert await acme.delete("x", "1") is False
        assert [r.levelname for r in caplog.records if "is pending" in r.message] == ["WARNING"]
        assert not await acme.get("x", "1")
        flaky.heal()
        clock.advance(RETRY_AFTER + 0.1)
        await until(lambda: not inside(cache).lower[0].deferred)
        assert not await acme.get("x", "1")


async def test_what_goes_on_pending_is_said_once_a_minute_with_its_number(
    shaky: Cache, flaky: FlakyTier, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    stack = inside(shaky).stack
    stack.invalidate_patience = 5.0

    def said() -> list[str]:
        remind(stack)
        return [r.message for r in caplog.records if "could not be told of" in r.message]

    flaky.fail("invalidate")
    stack.lower[0].defer(["k:acme:x:1", "k:acme:x:2"])
    assert said() == [], "it may be told in a moment"
    clock.advance(6)
    (first,) = said()
    assert "l3 could not be told of 2 invalidated names yet, the oldest for 6 s" in first
    clock.advance(50)
    assert len(said()) == 1
    stack.lower[0].defer(["k:acme:x:3"])
    clock.advance(10)
    assert "told of 3 invalidated names yet, the oldest for 66 s" in said()[1]
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not stack.lower[0].deferred)
    clock.advance(120)
    assert len(said()) == 2


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, True, "5", None])
def test_a_patience_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match=r"invalidate_patience is .*; pass seconds of at least 0"):
        Cache(limits=Limits(invalidate_patience=value))


@pytest.mark.parametrize("value", ["ignore", None, True, ["raise"]])
def test_an_answer_to_pending_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match=r"on_pending is .*; pass one of raise, warn"):
        Cache(limits=Limits(on_pending=value))
