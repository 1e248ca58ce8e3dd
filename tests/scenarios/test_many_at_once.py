"""`set_many`, `delete_many` and an invalidation of many: what each of them does, done to many."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import numpy
import pytest

from cascada import BadInput, Cache, Loaded, Policy, SerializationError
from cascada.model.entry import Invalidated
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.redis_client.wire import Wire
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.servers.redis import RedisServer


async def values(cache: Cache, *ids: object) -> list[Any]:
    found = await cache.tenant("acme").get_many("x", ids)  # type: ignore[arg-type]
    return [each.value for each in found]


async def test_each_is_set_and_answered_in_its_order(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("made", "1", lambda: Loaded("of old", sources=[("x", "a")]))
    given = {"a": 1, 7: "seven", UUID(int=3): [None], numpy.int64(9): {"n": 9}}
    assert await acme.set_many("x", given, ttl=60, tags=["news"]) == [True] * 4
    assert await values(cache, "a", "7", UUID(int=3), 9) == [1, "seven", [None], {"n": 9}]
    assert 59 < (await acme.ttl("x", "7") or 0) <= 60
    assert not await acme.get("made", "1"), "what was made from the old one goes"
    assert await acme.set_many("x", [("a", 2), (7, "new"), ("a", 3)]) == [True] * 3
    assert await values(cache, "a", 7) == [3, "new"], "of an id that is there twice the last one"
    await acme.invalidate(tag="news")
    assert await values(cache, "a", 7, 9) == [3, "new", None]
    assert await acme.set_many("x", {}) == []
    assert await acme.set_many("x", []) == []


async def test_none_says_that_there_is_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set_many("x", {"a": 1, "b": 2})
    assert await acme.set_many("x", {"a": None, "b": 3}) == [True, True]
    assert await values(cache, "a", "b") == [None, 3]


async def test_one_bad_value_refuses_all_of_them(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert await acme.set("x", "a", "before")
    with pytest.raises(SerializationError, match=r"^of 'b7': "):
        await acme.set_many("x", {**{f"b{n}": n for n in range(7)}, "b7": object(), "a": 1})
    for bad, sentence in [
        ({"": 1}, 'each id of values is ""'),
        ({True: 1}, r"each id of values is True \(bool\)"),
        (["ab"], "values holds 'ab'; pass a dict of ids and values, or a list of such pairs"),
        ([("a", 1, 2)], r"values holds \('a', 1, 2\)"),
        ("ab", "values is 'ab'; pass a list of pairs"),
        (None, "values is None; pass a list of pairs"),
    ]:
        with pytest.raises(BadInput, match=sentence):
            await acme.set_many("x", bad)  # type: ignore[arg-type]
    assert await values(cache, "a", "b0") == ["before", None]


async def test_a_miss_of_this_task_fences_its_own_key_alone(cache: Cache) -> None:
    acme, other = cache.tenant("acme"), cache.tenant("acme")
    assert await values(cache, "a", "b") == [None, None]
    await asyncio.create_task(other.invalidate("x", "a"))
    assert await acme.set_many("x", {"a": "of the old row", "b": 1}) == [False, True]
    assert await values(cache, "a", "b") == [None, 1]


async def test_of_a_thousand_misses_each_fences_its_own_key(cache: Cache) -> None:
    acme, ids = cache.tenant("acme"), [str(number) for number in range(1000)]
    found = await acme.get_many("x", ids)
    await asyncio.create_task(acme.invalidate("x", ids[::300]))
    kept = await acme.set_many("x", dict.fromkeys(ids, "of the old row"))
    assert [rid for rid, each in zip(ids, kept, strict=True) if not each] == ids[::300]
    assert await values(cache, *ids[::300]) == [None] * 4
    assert len(found) == 1000
    assert all(await acme.set_many("x", dict.fromkeys(ids[::300], "later"))), "they have served"


async def test_a_source_that_changed_refuses_all(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("source", "s", 1)
    read = await acme.get("source", "s")
    await acme.set("x", "a", "before")
    assert await acme.set_many("x", {"a": 1, "b": 1}, sources=[read]) == [True, True]
    await acme.set("source", "s", 2)
    assert await values(cache, "a", "b") == [None, None]
    assert await acme.set_many("x", {"a": 1, "b": 1}, sources=[read]) == [False, False]
    assert await values(cache, "a", "b") == [None, None]


async def test_other_processes_have_them(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = group
        await there.tenant("acme").set_many("x", {"a": "old", "b": "old"})
        assert await values(here, "a", "b") == ["old", "old"]
        assert await there.tenant("acme").set_many("x", {"a": 1, "b": 2}) == [True, True]
        await group.hear()
        assert await values(here, "a", "b") == [1, 2]
        assert await here.tenant("acme").delete_many("x", ["b", "c"]) == [True, False]
        await group.hear()
        assert await values(there, "a", "b") == [1, None]


async def test_thousands_are_set_a_thousand_at_a_time(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    sent: Counter[str] = Counter()
    send = Wire.send

    def counting(self: Wire, command: Any, fits: Any = None) -> Any:
        if command[0] in (b"EVALSHA", b"EVAL"):
            sent[str(command[1])[:6]] += 1
        return send(self, command, fits)

    async with Cache(redis=redis_server.url) as cache:
        acme = cache.tenant("acme")
        await acme.set_many("x", {"warm": 1})
        await acme.delete_many("x", ["warm"])  # the server knows the scripts now
        monkeypatch.setattr(Wire, "send", counting)
        assert await acme.set_many("x", {n: n for n in range(1_050)}) == [True] * 1_050
        assert sorted(sent.values())[-2:] == [11, 11], "a script for each hundred and step"
        assert sum(sent.values()) <= 22 + 2, "and once it was asked how much room there is"
        sent.clear()
        assert await acme.delete_many("x", range(1000)) == [True] * 1000  # type: ignore[arg-type]
        assert sum(sent.values()) == 1, "one atomic step"
        inside(cache).memory.flush()
        assert await values(cache, 0, 999, 1000, 1049) == [None, None, 1000, 1049]


async def test_many_go_in_one_step_and_no_more_than_a_thousand(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set_many("x", {n: n for n in range(6)})
    await acme.load("made", "1", lambda: Loaded("of 1", sources=[("x", "1")]))
    assert await acme.delete_many("x", [0, 1, "1", "none"]) == [True, True, True, False]
    assert await values(cache, *range(3)) == [None, None, 2]
    assert not await acme.get("made", "1")
    assert await acme.delete_many("x", []) == []
    done = await acme.invalidate("x", [2, "3", 3, "none"])
    assert done.keys >= 2
    assert await values(cache, *range(6)) == [None, None, None, None, 4, 5]
    assert await acme.invalidate("x", []) == Invalidated(0), "nothing, and not all of the tenant"
    assert (await acme.invalidate("x", ("4",), dry_run=True)).keys >= 1
    assert await values(cache, 4, 5) == [4, 5]
    for refused in (acme.delete_many, acme.invalidate):
        with pytest.raises(BadInput, match="holds 1001 ids, of which at most 1000 go in one"):
            await refused("x", [f"{n}" for n in range(1001)])
    await acme.invalidate("x", [f"{n}" for n in range(1000)], tag="news")
    assert await values(cache, 4) == [None]
    await acme.set_many("x", {1: 1, 2: 2})
    await acme.invalidate("x", ["1", "*"])
    assert await values(cache, 1, 2) == [None, None]


async def test_a_list_in_a_context_reaches_that_context_alone(cache: Cache) -> None:
    acme = cache.tenant("acme")
    mine = acme.within(agent="a1")
    await acme.set_many("y", {"1": "all", "2": "all"})
    await mine.set_many("y", {"1": "mine", "2": "mine"})
    await mine.invalidate("y", ["1", "2"])
    assert [(await mine.get("y", each)).value for each in "12"] == ["all", "all"]
    await mine.set_many("y", {"1": "mine"})
    await acme.invalidate("y", ["1"])
    assert not await mine.get("y", "1")


async def test_a_tier_that_is_away_is_owed_all_of_them(shaky: Cache, flaky: FlakyTier) -> None:
    acme = shaky.tenant("acme")
    await acme.set_many("x", {"a": "old", "b": "old"})
    flaky.fail("fill")
    assert await acme.set_many("x", {"a": "new", "b": "new"}) == [False, False]
    flaky.heal()
    (tier,) = inside(shaky).lower
    assert set(tier.deferred) <= {"k:acme:x:a", "k:acme:x:b"}
    for each in await values(shaky, "a", "b"):
        assert each in (None, "new")


async def test_who_leaves_in_the_middle_leaves_nothing_old(shaky: Cache, flaky: FlakyTier) -> None:
    acme = shaky.tenant("acme")
    await acme.set_many("x", {"a": "old", "b": "old"})
    with flaky.hang("fill", carried_out=True) as held:
        setting = asyncio.ensure_future(acme.set_many("x", {"a": "new", "b": "new"}))
        await held.reached()
        setting.cancel()
        await asyncio.wait([setting])
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert set(await values(shaky, "a", "b")) <= {None, "new"}


async def test_where_nothing_is_stored_the_old_ones_go(make_cache: MakeCache) -> None:
    on, off = make_cache(policy=Policy()), make_cache(mode="off")
    await on.tenant("acme").set_many("x", {"a": "old"})
    assert await off.tenant("acme").set_many("x", {"a": "new", "b": "new"}) == [False, False]
    if inside(on).lower:
        inside(on).memory.flush()
        assert await values(on, "a", "b") == [None, None]
