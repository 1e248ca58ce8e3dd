"""Hosts whose clocks differ, and a clock that is set: nothing lives longer than its ttl."""

import pytest

from cascada.model.entry import Entry, Miss
from cascada.model.keys import Key
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.tiers.clock_skew import MAX_MET, ahead_of
from tests.scenarios.conftest import NAMES, MakeCache
from tests.scenarios.row import kept

HOUR = 3600.0
SHARED = pytest.mark.parametrize("tiers", [name for name in NAMES if name != "memory"])


class Host:
    """Another host's clock, which differs; both go on together."""

    def __init__(self, clock: ManualClock, off_by: float) -> None:
        self.here = clock
        self.there = ManualClock(clock.time() + off_by)

    def pass_(self, seconds: float) -> None:
        self.here.advance(seconds)
        self.there.advance(seconds)


@pytest.fixture(params=[-HOUR, -1.0, HOUR], ids=["an hour behind", "a second behind", "ahead"])
def host(request: pytest.FixtureRequest, clock: ManualClock) -> Host:
    return Host(clock, request.param)


@SHARED
async def test_a_reader_whose_clock_differs_keeps_nothing_for_longer_than_its_ttl(
    make_cache: MakeCache, host: Host
) -> None:
    policy = Policy(ttl=5)
    here = make_cache(policy=policy).tenant("acme")
    there = make_cache(policy=policy, clock=host.there).tenant("acme")
    await here.set("x", "1", "value")
    behind = host.there.time() < host.here.time()
    first = await there.get("x", "1")
    assert (first.value if first else None) == ("value" if behind else None)
    for _ in range(3):
        if behind:
            hit = await there.get("x", "1")
            assert 0 <= hit.age <= 5
            assert not hit.stale
            left = await there.ttl("x", "1")
            assert left is not None
            assert 0 < left <= 5
            for finding in (await there.explain("x", "1")).findings:
                assert finding.age is None or 0 <= finding.age <= 5
                assert finding.fresh_for is None or finding.fresh_for <= 5
        host.pass_(1)
    host.pass_(2.01)
    assert isinstance(await there.get("x", "1"), Miss)
    assert await there.ttl("x", "1") is None
    assert (await there.explain("x", "1")).verdict.startswith("a miss")


@SHARED
async def test_each_loads_anew_when_its_time_is_over_and_stores_it(
    make_cache: MakeCache, host: Host
) -> None:
    policy = Policy(ttl=5)
    here = make_cache(policy=policy).tenant("acme")
    there = make_cache(policy=policy, clock=host.there).tenant("acme")
    await here.set("x", "1", "old")
    await there.get("x", "1")
    host.pass_(5.01)
    assert (await there.load("x", "1", lambda: "new")).value == "new"
    assert await kept(there) == "new"
    host.pass_(5.01)
    assert (await there.load("x", "1", lambda: "newer")).tier == "source"


@SHARED
async def test_a_window_of_staleness_begins_and_ends_when_it_should(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    host = Host(clock, -HOUR)
    policy = Policy(ttl=5, stale_for=10)
    here = make_cache(policy=policy).tenant("acme")
    there = make_cache(policy=policy, clock=host.there).tenant("acme")
    await here.set("x", "1", "value")
    assert not (await there.get("x", "1")).stale
    host.pass_(6)
    assert (await there.get("x", "1")).stale
    host.pass_(10)
    assert isinstance(await there.get("x", "1"), Miss)


async def test_a_clock_that_is_set_back_keeps_nothing_alive(
    make_cache: MakeCache, clock: ManualClock, tiers: str
) -> None:
    policy = Policy(ttl=5)
    acme = make_cache(policy=policy).tenant("acme")
    await acme.set("x", "1", "value")
    clock.step_wall(-HOUR)
    hit = await acme.get("x", "1")
    assert (hit.value, hit.age) == ("value", 0)
    fresh = acme if tiers == "memory" else make_cache(policy=policy).tenant("acme")
    assert (await fresh.get("x", "1")).value == "value"
    clock.advance(4)
    hit = await acme.get("x", "1")
    assert hit.value == "value"
    assert hit.age == pytest.approx(4)
    clock.advance(1.01)
    for each in (acme, fresh):
        assert isinstance(await each.get("x", "1"), Miss)


async def test_a_clock_that_is_set_forward_makes_nothing_young(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=5)).tenant("acme")
    await acme.set("x", "1", "value")
    clock.step_wall(HOUR)
    clock.advance(5.01)
    assert isinstance(await acme.get("x", "1"), Miss)


async def test_what_is_remembered_of_such_entries_is_bounded(clock: ManualClock) -> None:
    ahead = ahead_of(clock)
    assert ahead_of(clock) is ahead
    for number in range(MAX_MET + 100):
        key = Key("acme", "x", None, None, None, f"{number}")
        ahead.dated(key, Entry(b"", created=clock.time() + HOUR), clock.time())
    assert len(ahead.met) == MAX_MET
    soon = Entry(b"", created=clock.time() + 0.001)
    ahead.dated(Key("acme", "x", None, None, None, "soon"), soon, clock.time())
    assert len(ahead.met) == MAX_MET, "times are rounded to milliseconds"
