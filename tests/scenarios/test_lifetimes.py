"""How long a value lives: the policy's word, the loader's, the call's, and the bound on all."""

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest

from cascada.model.entry import Hit
from cascada.model.errors import InvalidTTL
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.model.ttl import FOREVER
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import NAMES, MakeCache
from tests.scenarios.row import Row, all_stored, kept


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(5, 5), (2.5, 2.5), (timedelta(minutes=1), 60), (FOREVER, math.inf)],
)
async def test_a_ttl_is_seconds_a_timedelta_or_never(
    make_cache: MakeCache, clock: ManualClock, ttl: Any, seconds: float
) -> None:
    acme = make_cache(policy=Policy(ttl=ttl)).tenant("acme")
    await acme.set("x", "policy's", 1)
    await acme.set("y", "call's", 1, ttl=ttl)
    await acme.load("y", "load's", Row(1).read, ttl=ttl)
    await acme.load("y", "loader's", Row(Loaded(1, ttl=ttl)).read, ttl=77)
    await all_stored(acme)
    for data_type, name in (
        ("x", "policy's"), ("y", "call's"), ("y", "load's"), ("y", "loader's"),
    ):  # fmt: skip
        assert await acme.ttl(data_type, name) == seconds
    clock.advance(min(seconds, 10**9) - 0.5)
    assert await acme.get("x", "policy's")
    assert await acme.get("y", "loader's")
    if seconds < math.inf:
        clock.advance(1)
        assert not await acme.get("x", "policy's")
        assert not await acme.get("y", "loader's")


@pytest.mark.parametrize(
    "ttl",
    [0, -1, -0.1, timedelta(seconds=-1), True, "60", math.nan, timedelta.max, 10**9, -math.inf],
)
async def test_what_is_no_ttl_is_refused(make_cache: MakeCache, ttl: Any) -> None:
    acme = make_cache().tenant("acme")
    with pytest.raises(InvalidTTL):
        await acme.set("x", "1", 1, ttl=ttl)
    with pytest.raises(InvalidTTL):
        await acme.load("x", "1", Row(1).read, ttl=ttl)
    with pytest.raises(InvalidTTL):
        Policy(ttl=ttl)
    assert await kept(acme) is None


@pytest.mark.parametrize(("ttl", "left"), [(60, 50), (FOREVER, math.inf), (15, 5)])
async def test_a_hit_says_how_long_it_goes_on_being_fresh(
    make_cache: MakeCache, clock: ManualClock, ttl: Any, left: float
) -> None:
    """Of every tier the same as `ttl` says, which is a read more."""
    cache = make_cache(policy=Policy(stale_for=60))
    acme, row = cache.tenant("acme"), Row(1)
    brought = await acme.load("x", "1", row.read, ttl=ttl)
    assert isinstance(brought, Hit)
    assert (brought.tier, brought.ttl) == ("source", None)
    await all_stored(acme)
    clock.advance(10)
    if inside(cache).lower:  # else nothing is left anywhere
        inside(cache).memory.flush()
    below = await acme.get("x", "1")
    (of_many,) = await acme.get_many("x", ["1"])
    loaded = await acme.load("x", "1", row.read)
    for hit in (below, of_many, loaded):
        assert isinstance(hit, Hit)
        assert hit.ttl == pytest.approx(left)
        assert hit.ttl == pytest.approx(await acme.ttl("x", "1"))
    clock.advance(20)
    if left == 5:
        stale = await acme.get("x", "1")
        assert isinstance(stale, Hit)
        assert (stale.stale, stale.ttl) == (True, None)


async def test_max_ttl_bounds_every_ttl(make_cache: MakeCache) -> None:
    acme = make_cache(policy=Policy(ttl=1000, max_ttl=60)).tenant("acme")
    await acme.set("x", "policy's", 1)
    await acme.set("x", "call's", 1, ttl=FOREVER)
    await acme.load("x", "loader's", Row(Loaded(1, ttl=500)).read)
    await acme.set("x", "less", 1, ttl=5)
    await all_stored(acme)
    assert [await acme.ttl("x", name) for name in ("policy's", "call's", "loader's", "less")] == [
        60, 60, 60, 5,
    ]  # fmt: skip


async def test_types_without_a_policy_live_as_the_documents_say_or_as_the_cache_does(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(default_ttl=77).tenant("acme")
    await acme.set("embedding", "1", [0.5])
    await acme.set("query_result", "1", "q")
    await acme.set("invoice", "1", "i")
    assert await acme.ttl("embedding", "1") == 86400
    assert await acme.ttl("query_result", "1") == 300
    assert await acme.ttl("invoice", "1") == 77


async def test_what_is_found_below_keeps_its_age(
    make_cache: MakeCache, clock: ManualClock, tiers: str
) -> None:
    cache = make_cache(policy=Policy(ttl=100))
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    clock.advance(60)
    inside(cache).memory.flush()
    answer = await acme.get("x", "1")
    if tiers == "memory":
        assert not answer
        return
    assert (answer.age, answer.tier) == (60, NAMES[tiers][1])
    assert await acme.ttl("x", "1") == 40
    clock.advance(40)
    assert not await acme.get("x", "1")


async def test_a_step_of_the_wall_clock_moves_the_expiry_of_what_is_shared_and_harms_nobody(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=100)).tenant("acme")
    await acme.set("x", "1", "old")
    clock.step_wall(-3600)
    answer = await acme.get("x", "1")
    assert answer.value == "old"
    assert answer.age >= 0
    clock.step_wall(+3600)
    assert (await acme.get("x", "1")).value == "old"


async def test_a_loader_may_keep_its_value_from_being_stored(make_cache: MakeCache) -> None:
    acme = make_cache().tenant("acme")
    answer = await acme.load("x", "1", Row(Loaded("once", store=False)).read)
    assert answer.value == "once"
    assert await kept(acme) is None


async def test_tags_of_the_call_and_of_the_loader_both_reach_the_value(
    make_cache: MakeCache,
) -> None:
    acme = make_cache().tenant("acme")
    for tag in ("call's", "loader's"):
        await acme.load("x", "1", Row(Loaded(1, tags=["loader's"])).read, tags=["call's"])
        assert await kept(acme) == 1
        told = await acme.invalidate(tag=tag)
        assert told.keys == 1 or (not told.exact and told.keys > 1)
        assert await kept(acme) is None


async def test_sources_that_a_loader_names_reach_the_value(make_cache: MakeCache) -> None:
    acme = make_cache().tenant("acme")
    await acme.load("x", "1", Row(Loaded(1, sources=[("document", "d:1")])).read)
    assert await kept(acme) == 1
    await acme.invalidate("document", "d:2")
    assert await kept(acme) == 1
    await acme.within(agent="a").set("document", "d:1", "changed at an agent")
    await acme.invalidate("document", "d:1")
    assert await kept(acme) is None


async def test_an_older_version_never_replaces_a_newer_one(make_cache: MakeCache) -> None:
    acme = make_cache().tenant("acme")
    assert await acme.set("x", "1", "five", version=5)
    assert not await acme.set("x", "1", "four", version=4)
    assert (await acme.get("x", "1")).value == "five"
    assert await acme.set("x", "1", "five again", version=5)
    assert await acme.set("x", "1", "six", version=6)
    assert (await acme.get("x", "1")).value == "six"


async def test_a_load_of_an_older_version_does_not_replace_a_newer_one(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    """Its row comes from a database that lags behind."""
    acme = make_cache(policy=Policy(ttl=10, stale_for=60)).tenant("acme")
    await acme.set("x", "1", "five", version=5)
    clock.advance(20)
    await acme.load("x", "1", Row(Loaded("four", version=4)).read)
    assert await kept(acme) == "five"
    clock.advance(10)
    await acme.load("x", "1", Row(Loaded("six", version=6)).read)
    assert await kept(acme) == "six"


async def test_values_of_another_policy_version_are_misses(make_cache: MakeCache) -> None:
    cache = make_cache(policy=Policy(version=1))
    acme = cache.tenant("acme")
    await acme.set("x", "1", "first form")
    cache.set_policy("x", Policy(version=2))
    assert not await acme.get("x", "1")
    assert (await acme.load("x", "1", Row("second form").read)).value == "second form"
    assert await kept(acme) == "second form"


async def test_callers_that_want_different_types_both_get_what_they_want(
    make_cache: MakeCache,
) -> None:
    cache = make_cache()
    acme = cache.tenant("acme")
    row = Row([1, 2, 2], seconds=0.01)
    as_set = await acme.load("x", "2", row.read, type=set[int])
    assert as_set.value == {1, 2}, "also when it was loaded just now"
    with cache.bypass():
        as_set = await acme.load("x", "2", row.read, type=set[int])
        assert as_set.value == {1, 2}
    as_list, as_set = await asyncio.gather(
        acme.load("x", "1", row.read), acme.load("x", "1", row.read, type=set[int])
    )
    assert as_list.value == [1, 2, 2]
    assert as_set.value == {1, 2}
    hit = await acme.get("x", "1", type=tuple[int, ...])
    assert hit.value == (1, 2, 2)
    assert not await acme.get("x", "1", type=dict[str, int])
