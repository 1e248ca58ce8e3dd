"""An invalidation that a tier could not be told is owed to it, and paid before it is read again."""

import asyncio

import pytest

from cascada.api.cache import Cache
from cascada.model.errors import InvalidationPending
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.guarded import RETRY_AFTER
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
        await until(lambda: not inside(shaky).lower[0].owed)
        assert not await acme.get("x", "1"), "the tier was told before it was read again"
        assert await acme.set("x", "1", "new")


@pytest.mark.usefixtures("no_pauses")
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
    await until(lambda: not inside(shaky).lower[0].owed)
    assert not await acme.get("x", "1")
    assert (await acme.get("x", "2")).value == "other"
    assert (await acme.load("x", "1", Row("new").read)).value == "new"
    assert await kept(acme) == "new"


@pytest.mark.usefixtures("no_pauses")
async def test_a_short_failure_is_overcome_by_insisting(shaky: Cache, flaky: FlakyTier) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "old")
    flaky.fail("invalidate", times=2)
    assert (await acme.invalidate("x", "1")).keys == 1
    assert not await acme.get("x", "1")


@pytest.mark.usefixtures("no_pauses")
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
        guarded.owe(["k:acme:x:1"])
        flaky.fail("invalidate")
    await until(lambda: flaky.made["invalidate"] == 2)
    assert list(guarded.owed) == ["k:acme:x:1"]
    flaky.heal()
    clock.advance(RETRY_AFTER + 0.1)
    await until(lambda: not guarded.owed)


@pytest.mark.usefixtures("no_pauses")
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
    await until(lambda: not inside(shaky).lower[0].owed)
    assert not await acme.get("x", "1")


@pytest.mark.usefixtures("no_pauses")
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
    await until(lambda: not inside(shaky).lower[0].owed)
    assert await kept(acme) in (None, "new")
    assert (await acme.load("x", "1", row.read)).value == "new"


@pytest.mark.usefixtures("no_pauses")
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
    await until(lambda: not inside(shaky).lower[0].owed)
    for tenant in tenants:
        assert not await tenant.get("x", "1")
