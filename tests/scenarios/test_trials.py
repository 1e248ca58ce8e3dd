"""Two policies of one type, each on its own share of the keys, side by side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from cascada import (
    Cache,
    Context,
    InvalidPolicy,
    Key,
    Limits,
    Loaded,
    Policy,
    cached,
    configure,
    swr_cache,
)
from cascada.api.documents.layers import FLAT
from cascada.api.statistics import Statistics
from cascada.engine.kinds import is_tried
from cascada.model.policy import OF_ALL_VALUES
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import all_stored, turns

TRIAL = Policy(ttl=60, trial=Policy(ttl=600))
KEYS = 200
ORDER = random.Random(7).choices(range(KEYS), k=1500)
HALF = Decimal("0.5")

IN_B = [str(number) for number in range(40) if is_tried("acme", "x", str(number), 0.5)]
IN_A = [str(number) for number in range(40) if str(number) not in IN_B]


def value() -> Loaded[str]:
    return Loaded("value", cost=0.5)


async def ratios(policy: Policy) -> tuple[Statistics, dict[bool, float]]:
    """What it tells, and the hit ratio of each share of the keys, as who reads counts it."""
    clock = ManualClock()
    hits, reads = {False: 0, True: 0}, {False: 0, True: 0}
    async with Cache(policies={"x": policy}, clock=clock) as cache:
        acme = cache.tenant("acme")
        for number in ORDER:
            clock.advance(1.0)
            hit = await acme.load("x", str(number), value)
            share = is_tried("acme", "x", str(number), 0.5)
            reads[share] += 1
            hits[share] += bool(hit and hit.tier != "source")
        return await cache.stats(), {share: hits[share] / reads[share] for share in reads}


async def test_each_share_has_the_hit_ratio_of_its_policy_alone() -> None:
    """And both are told of side by side, and together as the type's."""
    stats, both = await ratios(TRIAL)
    (_, of_a), (_, of_b) = [await ratios(Policy(ttl=ttl)) for ttl in (60, 600)]
    a, b = stats.trials["x"]["a"], stats.trials["x"]["b"]
    assert both == {False: of_a[False], True: of_b[True]}  # of the same keys, to the last read
    assert (a.hit_ratio, b.hit_ratio) == (both[False], both[True])
    assert b.hit_ratio > a.hit_ratio + 0.2

    whole = stats.types["x"]
    for name in ("hits", "misses", "loads", "answer_seconds", "saved_seconds"):
        assert getattr(whole, name) == pytest.approx(getattr(a, name) + getattr(b, name))
    assert (a.spent.money, b.spent.money) == (a.loads * HALF, b.loads * HALF)
    assert (a.saved.money, b.saved.money) == (a.hits * HALF, b.hits * HALF)
    assert stats.total.reads == len(ORDER)
    lines = [line.split() for line in str(stats).splitlines()]
    assert [line[:3] for line in lines[1:4]] == [
        ["x", str(whole.reads), str(whole.hits)],
        ["a", str(a.reads), str(a.hits)],
        ["b", str(b.reads), str(b.hits)],
    ]


def test_a_key_is_always_of_the_same_share() -> None:
    """Whatever the process, the day or the version: what is written here stays."""
    assert [number for number in range(20) if is_tried("acme", "x", str(number), 0.5)] == GOLDEN
    # Another tenant or type is another draw; no two parts run into each other.
    assert [is_tried("acme", "y", str(number), 0.5) for number in range(20)] != [
        is_tried("acme", "x", str(number), 0.5) for number in range(20)
    ]
    assert [is_tried("a", "xb", str(n), 0.5) for n in range(64)] != [
        is_tried("ax", "b", str(n), 0.5) for n in range(64)
    ]
    # Who is tried at a tenth is tried at a half as well: a trial can grow.
    for number in map(str, range(500)):
        assert is_tried("t", "x", number, 0.1) <= is_tried("t", "x", number, 0.5)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_share_is_as_large_as_it_says(share: float) -> None:
    tried = sum(is_tried("acme", "answer", f"id-{number}", share) for number in range(20_000))
    assert tried / 20_000 == pytest.approx(share, abs=0.012)


GOLDEN = [0, 1, 2, 5, 6, 8, 10, 11, 12, 15, 16]


async def test_a_trial_begins_and_ends_and_no_value_is_lost_or_loaded_twice(
    make_cache: MakeCache, tiers: str
) -> None:
    """The keys stay what they are: what is stored below is found, whichever policy holds."""
    cache = make_cache(policy=Policy(ttl=600))
    acme = cache.tenant("acme")
    loads: list[str] = []

    async def read_all() -> set[str]:
        for each in (*IN_A, *IN_B):

            async def load(each: str = each) -> str:
                loads.append(each)
                return f"value of {each}"

            hit = await acme.load("x", each, load)
            assert hit
            assert hit.value == f"value of {each}"
        await all_stored(acme)
        return set(loads)

    assert len(await read_all()) == 40
    for policy in (
        Policy(ttl=600, lookup="nearest", trial=Policy(ttl=300)),
        Policy(ttl=600, lookup="nearest"),
        Policy(ttl=600, lookup="nearest", trial=Policy(ttl=300), trial_share=0.9),
    ):
        loads.clear()
        cache.set_policy("x", policy)
        acme = cache.tenant("acme")
        # Memory alone begins anew with each policy, as it does without a trial.
        assert len(await read_all()) == (40 if tiers == "memory" else 0)
        assert len(loads) == len(set(loads))


async def test_an_invalidation_reaches_both_shares(make_cache: MakeCache) -> None:
    cache = make_cache(policy=TRIAL)
    acme = cache.tenant("acme")
    within = acme.within(agent="a1")
    ids = [*IN_A[:4], *IN_B[:4]]
    for invalidate in (
        lambda: acme.invalidate("x", "*"),
        lambda: acme.invalidate(tag="news"),
        lambda: acme.invalidate("x", ids),
        lambda: acme.invalidate(agent="a1"),
        lambda: acme.invalidate(),
    ):
        assert await within.set_many("x", {each: each for each in ids}, tags=["news"]) == [True] * 8
        assert [hit.value for hit in await within.get_many("x", ids)] == ids
        assert (await within.get("x", ids[0])).value == ids[0]
        await invalidate()
        assert not any(await within.get_many("x", ids))
        assert not any([await within.get("x", each) for each in (ids[0], ids[-1])])


async def test_a_batch_is_loaded_by_one_call_and_counted_by_share(make_cache: MakeCache) -> None:
    cache = make_cache(policy=TRIAL)
    acme = cache.tenant("acme")
    calls: list[list[str]] = []

    def rows(ids: Sequence[str]) -> list[str]:
        calls.append(list(ids))
        return [f"value of {each}" for each in ids]

    ids = [*IN_A[:5], *IN_B[:3]]
    for _ in range(3):
        hits = await acme.load_many("x", ids, rows)
        assert [hit.value for hit in hits if hit] == [f"value of {each}" for each in ids]
        await all_stored(acme)
    assert all(await acme.get_many("x", ids))
    assert calls == [ids]
    stats = await cache.stats()
    a, b = stats.trials["x"]["a"], stats.trials["x"]["b"]
    assert (a.loads, a.misses, a.hits) == (5, 5, 15)
    assert (b.loads, b.misses, b.hits) == (3, 3, 9)
    assert (a.stored, b.stored) == (5, 3)


async def test_each_share_lives_by_its_own_policy(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=60, stale_for=10, trial=Policy(ttl=600, stale_for=0)))
    acme = cache.tenant("acme")
    a, b = IN_A[0], IN_B[0]
    await acme.set_many("x", {a: 1, b: 2})
    await all_stored(acme)
    assert [await acme.ttl("x", each) for each in (a, b)] == [60, 600]
    assert await acme.touch("x", b, 700)
    clock.advance(65)
    hit = await acme.get("x", a)
    assert hit
    assert hit.stale
    clock.advance(536)
    assert not await acme.get("x", a)
    assert (await acme.get("x", b)).value == 2
    clock.advance(100)
    assert not await acme.get("x", b)


async def test_what_the_tried_policy_leaves_open_is_as_the_other_says() -> None:
    policy = Policy(ttl=60, max_ttl=90, stale_for=5, trial=Policy(ttl=600, stale_for=0))
    a, b = policy.variants
    assert a is policy
    assert (b.ttl, b.max_ttl, b.stale_for, b.trial) == (600, 90, 0, None)
    # Of a documented type both have what is built in.
    cache = Cache(policies={"agent_config": Policy(trial=Policy(stale_for=9))})
    a, b = (each.policy for each in inside(cache).kinds.of("acme", "agent_config").arms or ())
    assert (a.ttl, a.varies_by, b.ttl, b.varies_by) == (3600, ("agent",), 3600, ("agent",))
    assert (a.stale_for, b.stale_for) == (None, 9)
    await cache.aclose()


@pytest.mark.parametrize("field", OF_ALL_VALUES)
def test_what_is_of_all_values_cannot_be_tried(field: str) -> None:
    said = {"trial": Policy(), "type": int, "varies_by": ("agent",), "lookup": "exact"}
    given = said.get(field, {"version": 1}.get(field, False))
    with pytest.raises(InvalidPolicy, match=f"Policy.trial says {field}, which is the same"):
        Policy(trial=Policy(**{field: given}))  # type: ignore[arg-type]


async def brought_ahead(cache: Cache, clock: ManualClock, ask: Callable[[int], Any]) -> list[int]:
    """How much of each share was, when the same sequence was asked for again and again."""
    for _ in range(4):
        for number in range(6):
            await ask(number)
            await turns(5)
        clock.advance(61)
    found = (await cache.stats()).trials["x"]
    return [found[each].prefetch_fetched for each in ("a", "b")]


async def test_one_share_alone_may_be_loaded_ahead(clock: ManualClock) -> None:
    async def load(key: Key) -> str:
        return "ahead"

    def rows(ids: Sequence[str]) -> list[str]:
        return ["row"] * len(ids)

    policy = Policy(ttl=60, loader=load, trial=Policy(prefetch=True))
    async with Cache(policies={"x": policy}, clock=clock) as cache:
        acme = cache.tenant("acme")
        a, b = await brought_ahead(
            cache, clock, lambda n: acme.load_many("x", [IN_A[n], IN_B[n]], rows)
        )
        assert (a, b > 0) == (0, True), "of a batch whose first key is of the other share"

    async with Cache(clock=clock) as cache:

        @cached("x", cache=cache, policy=Policy(ttl=60, trial=Policy(prefetch=True)))
        async def row(number: int) -> int:
            return number

        with Context(tenant_id="acme"):
            a, b = await brought_ahead(cache, clock, row)
        assert (a, b > 0) == (0, True), "by what is known of a cached function"


async def test_swr_serves_each_share_as_long_again_as_it_is_fresh(clock: ManualClock) -> None:
    policy = Policy(ttl=10, trial=Policy(ttl=1000))
    async with Cache(policies={FLAT: policy}, clock=clock) as cache:
        before = configure(cache)
        try:
            with Context(tenant_id="acme"):
                for number in map(str, range(8)):
                    assert await swr_cache.get(number, lambda: "old") == "old"
                    clock.advance(1500)
                    tried = is_tried("acme", FLAT, number, 0.5)
                    now = await swr_cache.get(number, lambda: "new")
                    assert now == ("old" if tried else "new")
        finally:
            configure(before)


def test_a_share_is_of_a_trial() -> None:
    with pytest.raises(InvalidPolicy, match=r"Policy\.trial_share is of a trial; .*trial=Policy"):
        Policy(ttl=60, trial_share=0.5)


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, True, "0.5", None, float("nan")])
def test_a_share_is_between_0_and_1(share: object) -> None:
    with pytest.raises(InvalidPolicy, match=r"Policy\.trial_share is .*; pass a share of the keys"):
        Policy(trial=Policy(), trial_share=share)  # type: ignore[arg-type]


@pytest.mark.parametrize("trial", [60, {"ttl": 60}, Policy, "b"])
def test_a_trial_is_a_policy(trial: object) -> None:
    with pytest.raises(InvalidPolicy, match=r"Policy\.trial is .*; pass a Policy\(\.\.\.\)"):
        Policy(trial=trial)  # type: ignore[arg-type]


async def test_streams_threads_and_callers_at_once_count_where_they_belong() -> None:
    async with Cache(policies={"x": TRIAL}) as cache:
        acme = cache.tenant("acme")

        async def slow() -> str:
            await asyncio.sleep(0.005)
            return "value"

        a, b = IN_A[0], IN_B[0]
        await asyncio.gather(*(acme.load("x", each, slow) for each in (a, b, b) for _ in range(10)))
        await asyncio.to_thread(lambda: [cache.sync.tenant("acme").get("x", b) for _ in range(7)])
        found = (await cache.stats()).trials["x"]
        assert (found["a"].loads, found["a"].coalesced, found["a"].hits) == (1, 9, 0)
        assert (found["b"].loads, found["b"].coalesced, found["b"].hits) == (1, 19, 7)
        assert found["b"].answer_seconds >= 20 * 0.005


async def test_memory_gives_up_entries_of_both() -> None:
    """Records of both lie in one partition: what goes, goes from it."""
    async with Cache(policies={"x": TRIAL}, limits=Limits(l1_bytes=200_000)) as cache:
        acme = cache.tenant("acme")
        for number in range(1000):
            await acme.set("x", str(number), "v" * 1000)
        l1 = (await cache.stats()).tiers["l1"]
        assert 800 < l1.evictions < 1000
        assert l1.size_bytes <= 200_000
        there = [hit for hit in await acme.get_many("x", list(map(str, range(1000)))) if hit]
        assert len(there) == l1.entries
        found = (await cache.stats()).trials["x"]
        assert found["a"].hits + found["b"].hits == len(there)
        assert min(found["a"].hits, found["b"].hits) > 20
        await acme.invalidate("x", "*")
        assert not any(await acme.get_many("x", list(map(str, range(1000)))))
        await acme.set("x", "1", 1)
        assert (await acme.get("x", "1")).value == 1


async def test_names_are_held_once_for_both_and_as_long_as_there_are_records() -> None:
    async with Cache(policies={"x": TRIAL}) as cache:
        acme, records = cache.tenant("acme"), inside(cache).memory.records
        whole = records.partition(acme.key("x", "1")[:5])
        for each in (IN_A[0], IN_B[0]):
            await acme.set("x", each, 1)
            assert await acme.touch("x", each, 30)
        arms = {record.partition for record in whole.records.values()}
        assert len(arms) == 2
        assert whole not in arms
        assert [arm.cells for arm in arms] == [(), ()]
        assert whole.cells
        assert await acme.delete("x", IN_A[0])
        assert whole.cells
        assert await acme.delete("x", IN_B[0])
        assert (whole.cells, whole.records) == ((), {})
