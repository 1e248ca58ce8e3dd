"""`explain` says of every candidate in every tier what it is, and what a read would do."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import redis

from cascada import Limits
from cascada.api.cache import Cache
from cascada.engine.reading.explain import Explanation
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from tests.scenarios.conftest import NAMES, TIMEOUT, MakeCache, MakeNodes
from tests.scenarios.row import Row, kept
from tests.servers.redis import RedisServer


def states(explanation: Explanation) -> list[tuple[str, str, str]]:
    return [(finding.tier, finding.key, finding.state) for finding in explanation.findings]


async def test_a_hit_names_its_tier_its_key_its_age_and_its_names(
    make_cache: MakeCache, clock: ManualClock, tiers: str
) -> None:
    acme = make_cache(policy=Policy(ttl=100)).tenant("acme")
    await acme.set("x", "1", "value", tags=["news"])
    clock.advance(0.25)
    # The push of this set may not be read yet: until it is, memory says nothing.
    await acme.get("x", "1")
    explanation = await acme.explain("x", "1")
    assert explanation.verdict == "a hit in l1 (fresh), under acme:x:1"
    finding = explanation.findings[0]
    assert (finding.tier, finding.key, finding.state) == ("l1", "acme:x:1", "fresh")
    assert (finding.age, finding.fresh_for) == (0.25, 99.75)
    assert finding.names == ("#:acme:news",)
    assert finding.size
    assert f"{finding.size} B" in str(explanation)
    assert [found.tier for found in explanation.findings] == (NAMES[tiers])


async def test_a_miss_says_why_in_every_tier_for_every_candidate(cache: Cache, tiers: str) -> None:
    acme = cache.tenant("acme")
    explanation = await acme.within(agent="a").explain("x", "1")
    assert explanation.verdict == "a miss: no tier has a value that may be served"
    keys = ["acme:x:agent:a:1", "acme:x:1"]
    assert states(explanation) == [(tier, key, "absent") for tier in NAMES[tiers] for key in keys]


async def test_what_was_invalidated_names_who_did_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "value", tags=["news"])
    await acme.invalidate(tag="news")
    explanation = await acme.explain("x", "1")
    assert [finding.state for finding in explanation.findings] == ["invalidated"] * len(
        explanation.findings
    )
    assert explanation.findings[0].by == "#:acme:news"
    assert "by #:acme:news" in str(explanation)


async def test_the_marks_say_what_is_valid_and_what_is_not(cache: Cache, tiers: str) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "value", tags=["news"])
    for finding in (await acme.explain("x", "1")).findings:
        assert finding.marks
        assert all(mark.valid for mark in finding.marks), finding
        assert "#:acme:news" in {mark.name for mark in finding.marks}
    await acme.invalidate(tag="news")
    explanation = await acme.explain("x", "1")
    for finding in explanation.findings:
        assert [mark.name for mark in finding.marks if not mark.valid] == ["#:acme:news"]
        assert finding.by == "#:acme:news"
    now = {"l1": "last invalidated at ", "l2": "gone", "l3": "last invalidated at "}
    for tier in NAMES[tiers]:
        assert f"now {now[tier]}" in str(explanation)


async def test_what_another_server_process_has_stored_is_told(
    tmp_path: Path, nothing_left_behind: None
) -> None:
    """A snapshot that was restored: every value is there, and none of them counts."""
    server = RedisServer(tmp_path)
    async with Cache(redis=server.url) as cache:
        await cache.tenant("acme").set("x", "1", "value")
    assert server.say("SAVE") == b"+OK\r\n"
    server.kill()
    server.start()
    async with Cache(redis=server.url) as cache:
        explanation = await cache.tenant("acme").explain("x", "1")
        (_, finding) = explanation.findings
        dead = [mark.name for mark in finding.marks if not mark.valid]
        assert dead[0] == "the server and its epoch"
        assert "the server and its epoch" in str(explanation)
    server.kill()


async def test_it_tells_stale_from_kept_in_need_from_expired(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    policy = Policy(ttl=10, stale_for=10, stale_if_error=100, refresh_at=0.5)
    acme = make_cache(policy=policy).tenant("acme")
    await acme.set("x", "1", "value")
    seen = []
    for wait in (0, 6, 6, 10, 100):
        clock.advance(wait)
        seen.append((await acme.explain("x", "1")).findings[-1].state)
    assert seen == ["fresh", "refresh_due", "stale", "fallback", "expired"]
    assert not await acme.get("x", "1")


async def test_a_tier_that_does_not_answer_is_unavailable(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "value")
        flaky.fail("read")
        explanation = await acme.explain("x", "1")
        assert states(explanation) == [
            ("l1", "acme:x:1", "fresh"),
            ("l3", "acme:x:1", "unavailable"),
        ]
        assert "unavailable: this tier was told to fail" in str(explanation)


async def test_its_verdict_is_what_a_read_does(nodes: MakeNodes) -> None:
    """Memory that has a general value must not claim the answer of a specific one below."""
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        await here.set("x", "1", "general")
        await there.within(agent="a").set("x", "1", "specific")
        await group.hear()
        mine = here.within(agent="a")
        explanation = await mine.explain("x", "1")
        assert explanation.verdict == "a hit in l3 (fresh), under acme:x:agent:a:1"
        found = await mine.get("x", "1")
        assert (found.value, found.tier) == ("specific", "l3")


async def test_to_explain_changes_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("value")
    row.hold()
    loading = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    await acme.explain("x", "1")
    row.let_go()
    await loading
    assert await kept(acme) == "value"
    before = inside(cache).counted
    await acme.explain("x", "1")
    assert inside(cache).counted == before
    assert await acme.get("x", "1")


@pytest.mark.parametrize("everything", [False, True])
async def test_what_its_own_id_has_ended_says_so_and_when(
    make_cache: MakeCache, clock: ManualClock, tiers: str, everything: bool
) -> None:
    here, there = (make_cache().tenant("acme") for _ in range(2))
    await here.set("x", "1", "value")
    await here.invalidate("x", "*" if everything else "1")
    clock.advance(3)
    name = "y:acme:x" if everything else "k:acme:x:1"
    for handle in (here, here, there):
        findings = (await handle.explain("x", "1")).findings
        # Memory that has heard nothing for so long does not vouch for what it holds.
        shared = [each for each in findings if each.tier != "l1"]
        told = findings if tiers == "memory" and handle is here else shared
        assert [(each.state, each.by) for each in told] == [("invalidated", name)] * len(told)
        for each in told:
            # In Redis it is Redis that tells the time.
            assert each.ago is not None
            assert each.ago == 3 if each.tier != "l2" else 0 <= each.ago < 60
            assert f"invalidated by {name}, {each.ago:.0f} s ago" in str(each)
    if not everything:
        other = await here.explain("x", "2")
        assert {each.state for each in other.findings} == {"absent"}


async def test_a_set_is_no_invalidation_and_ends_what_is_told_of_one(
    cache: Cache, clock: ManualClock
) -> None:
    acme = cache.tenant("acme")
    await acme.invalidate("x", "1")
    await acme.set("x", "1", "value", ttl=10)
    clock.advance(11)
    states = {each.state for each in (await acme.explain("x", "1")).findings}
    assert states <= {"absent", "expired", "unavailable"}


async def test_when_it_was_is_forgotten_with_the_names(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.flush()
    async with Cache(redis=redis_server.url, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.invalidate("x", "1")
        with contextlib.closing(redis.Redis.from_url(redis_server.url)) as client:
            (times,) = client.keys("*}:t")
            client.zadd(times, {f"1.0 {number}": number for number in range(10, 5000)})
            await acme.invalidate("x", "2")
            assert client.zcard(times) < 5000 - 200
            client.zremrangebyrank(times, 0, 255)
        (l2,) = [each for each in (await acme.explain("x", "1")).findings if each.tier == "l2"]
        assert (l2.state, l2.ago) == ("absent", None)


async def test_what_does_not_decode_is_no_hit(make_cache: MakeCache) -> None:
    """A read would find it damaged, count it, and go on to the next tier and the source."""
    cache = make_cache()
    acme = cache.tenant("acme")
    await acme.set("x", "1", "no int")
    cache.set_policy("x", Policy(type=int))
    explanation = await acme.explain("x", "1")
    assert explanation.verdict.startswith("a miss")
    held = [finding for finding in explanation.findings if finding.state != "absent"]
    assert {finding.state for finding in held} <= {"corrupt"}
    assert all("does not decode" in str(finding.detail) for finding in held)
    assert not await acme.get("x", "1")
    assert (await cache.stats()).total.corrupt == len(held)
