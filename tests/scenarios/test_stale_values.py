"""Past its ttl a value may be served for a while: at once while it is refreshed, or in need."""

import asyncio
from datetime import timedelta

import pytest

from cascada.engine.reading.load_task import COOL_DOWN
from cascada.model.entry import Hit
from cascada.model.errors import TierUnavailable
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsidePoll, inside
from cascada.testing.nodes import hear
from cascada.tiers.polled_feed import Changes
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.scenarios.row import Row, all_stored, kept, turns


async def test_a_stale_value_is_served_at_once_and_refreshed_once_in_the_background(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    row = Row("new")
    row.hold()
    for _ in range(5):  # while the refresh is under way, and without waiting for it
        answer = await acme.load("x", "1", row.read)
        assert (answer.value, answer.stale, answer.age) == ("old", True, 20)
    row.let_go()
    assert await kept(acme) == "new"
    assert row.reads == 1
    answer = await acme.load("x", "1", row.read)
    assert (answer.stale, answer.age) == (False, 0)


async def test_500_callers_of_a_stale_value_cause_one_refresh(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    row = Row("new")
    row.hold()
    answers = await asyncio.gather(*(acme.load("x", "1", row.read) for _ in range(500)))
    assert {answer.value for answer in answers} == {"old"}
    row.let_go()
    await all_stored(acme)
    assert row.reads == 1


async def test_get_serves_stale_values_and_refreshes_nothing(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    for answer in (await acme.get("x", "1"), *await acme.get_many("x", ["1"])):
        assert isinstance(answer, Hit)
        assert (answer.value, answer.stale) == ("old", True)
    assert await acme.ttl("x", "1") == 0


async def test_past_its_window_a_value_is_gone(make_cache: MakeCache, clock: ManualClock) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=timedelta(seconds=60))).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(69)
    assert await acme.get("x", "1")
    clock.advance(1)
    assert not await acme.get("x", "1")
    row = Row("new")
    answer = await acme.load("x", "1", row.read)
    assert (answer.value, answer.stale) == ("new", False)


async def test_without_a_window_a_value_past_its_ttl_is_gone(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(9.9)
    assert await acme.get("x", "1")
    clock.advance(0.1)
    assert not await acme.get("x", "1")


async def test_after_a_refresh_has_failed_the_source_is_left_alone_for_a_while(
    make_cache: MakeCache, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=600)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    row = Row(OSError("down"))
    for _ in range(5):
        assert (await acme.load("x", "1", row.read)).value == "old"
        await all_stored(acme)
    assert row.reads == 1
    assert "OSError" in caplog.text, "what it says may hold values"
    row.value = "new"
    clock.advance(2)
    assert (await acme.load("x", "1", row.read)).value == "old"
    assert await kept(acme) == "new"
    assert row.reads == 2


async def test_when_the_source_fails_an_old_value_is_better_than_none_if_the_policy_says_so(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_if_error=60)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    assert not await acme.get("x", "1"), "without an error it is not served"
    row = Row(OSError("down"), seconds=0.01)
    answers = await asyncio.gather(*(acme.load("x", "1", row.read) for _ in range(5)))
    assert {(answer.value, answer.stale) for answer in answers} == {("old", True)}
    row.value = "new"
    clock.advance(COOL_DOWN)
    assert (await acme.load("x", "1", row.read)).value == "new"
    await all_stored(acme)
    clock.advance(80)
    row.value = OSError("down")
    with pytest.raises(OSError, match="down"):
        await acme.load("x", "1", row.read)


async def test_stale_while_refreshing_and_stale_if_error_have_windows_of_their_own(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=10, stale_if_error=100)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(30)
    assert not await acme.get("x", "1")
    row = Row(OSError("down"))
    row.hold()
    waiting = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    await turns()
    assert not waiting.done(), "past stale_for a caller waits for the source"
    row.let_go()
    assert (await waiting).value == "old"


async def test_a_loader_that_takes_too_long_counts_as_a_failure_of_the_source(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_if_error=60), load_timeout=0.02)
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    row = Row()
    row.hold()
    assert (await acme.load("x", "1", row.read)).value == "old"


async def test_a_hit_near_the_end_of_its_time_refreshes_ahead_and_is_not_stale(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=100, refresh_at=0.8)).tenant("acme")
    row = Row("new")
    await acme.set("x", "1", "old")
    clock.advance(79)
    assert (await acme.load("x", "1", row.read)).value == "old"
    await turns()
    assert row.reads == 0
    clock.advance(1)
    row.hold()
    for _ in range(3):
        answer = await acme.load("x", "1", row.read)
        assert (answer.value, answer.stale) == ("old", False)
    await row.being_read()
    row.let_go()
    assert await kept(acme) == "new"
    assert row.reads == 1
    assert await acme.ttl("x", "1") == 100


async def test_a_value_that_is_invalidated_during_its_refresh_is_not_refreshed_with_the_old_row(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=600)).tenant("acme")
    await acme.set("x", "1", "older")
    clock.advance(20)
    row = Row("old")
    row.hold()
    await acme.load("x", "1", row.read)
    await row.being_read()
    row.value = "new"
    await acme.invalidate("x", "1")
    asking = asyncio.create_task(acme.load("x", "1", row.read))
    await turns()
    row.let_go()
    assert (await asking).value == "new"
    assert await kept(acme) == "new"


async def test_a_refresh_goes_on_when_the_caller_that_started_it_is_gone(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    row = Row("new", seconds=0.01)
    caller = asyncio.create_task(acme.load("x", "1", row.read))
    await caller
    await row.being_read()
    joined = asyncio.create_task(acme.within(agent="a").load("x", "1", Row("other").read))
    joined.cancel()
    await asyncio.gather(joined, return_exceptions=True)
    assert await kept(acme) == "new"


async def test_what_nobody_has_in_memory_is_served_stale_at_once_from_below(
    nodes: MakeNodes, clock: ManualClock
) -> None:
    """As after a restart: also to those who come while the first one's refresh is under way."""
    async with nodes(2, policies={"x": Policy(ttl=10, stale_for=60)}) as (writer, reader):
        await writer.tenant("acme").set("x", "1", "old")
        clock.advance(20)
        await hear(reader)
        acme = reader.tenant("acme")
        row = Row("new")
        row.hold()
        async with asyncio.timeout(5):
            for _ in range(3):
                answer = await acme.load("x", "1", row.read)
                assert (answer.value, answer.stale) == ("old", True)
        await row.being_read()
        row.let_go()
        assert await kept(acme) == "new"
        assert row.reads == 1


class Deaf:
    """A feed's log that tells of nothing."""

    async def changes(self, since: int | None) -> Changes:
        raise TierUnavailable("it is deaf")


@pytest.mark.parametrize("call", ["load", "get"])
async def test_what_memory_has_kept_is_replaced_though_memory_may_not_be_trusted(
    nodes: MakeNodes, clock: ManualClock, call: str
) -> None:
    """Else it comes back with the trust, older than what is below."""
    async with nodes(2, policies={"x": Policy(ttl=10, stale_for=60)}) as (here, there):
        acme, row = here.tenant("acme"), Row("new")
        await acme.set("x", "1", "old")
        await hear(here)
        assert (await acme.get("x", "1")).tier == "l1"
        clock.advance(20)
        feed = InsidePoll(inside(here).feed)
        log, feed.log = feed.log, Deaf()
        refresher = acme if call == "load" else there.tenant("acme")
        assert (await refresher.load("x", "1", row.read)).value == "old"
        await all_stored(refresher)
        assert (await acme.get("x", "1")).value == "new"
        feed.log = log
        await hear(here)
        hit = await acme.get("x", "1")
        assert (hit.value, hit.stale, hit.tier, row.reads) == ("new", False, "l1", 1)


async def test_a_value_past_its_time_is_refreshed_where_its_source_says_there_is_nothing_now(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(20)
    gone = Row(None)
    assert (await acme.load("x", "1", gone.read)).value == "old"
    await all_stored(acme)
    clock.advance(61)
    assert not await acme.load("x", "1", gone.read)
