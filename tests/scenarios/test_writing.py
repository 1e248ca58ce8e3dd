"""What set, delete and invalidate do, and what they say that they did."""

import asyncio
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.model.entry import Invalidated
from cascada.model.errors import BadInput, InvalidKey
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeNodes
from tests.scenarios.row import Row, kept


async def test_what_was_set_is_got_with_its_type_and_order(warm: Cache) -> None:
    acme = warm.tenant("acme")
    value = {"b": (1, 2), "a": {3}, "n": None, "bytes": b"\x00"}
    assert await acme.set("x", "1", value)
    value["b"] = "changed by the caller afterwards"
    hit = await acme.get("x", "1")
    assert hit.value == {"b": (1, 2), "a": {3}, "n": None, "bytes": b"\x00"}
    assert list(hit.value) == ["b", "a", "n", "bytes"]
    assert (hit.tier, hit.age, hit.stale) == ("l1", 0, False)


async def test_the_later_set_stands(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for value in ("one", "two", "three"):
        assert await acme.set("x", "1", value)
        assert (await acme.get("x", "1")).value == value


@pytest.mark.parametrize("rounds", range(5))
async def test_of_crossing_sets_one_stands_and_all_agree_on_it(
    nodes: MakeNodes, rounds: int
) -> None:
    async with nodes(3) as group:
        handles = [node.tenant("acme") for node in group]
        await asyncio.gather(*(
            handle.set("x", "1", f"{name} {number}")
            for number in range(4)
            for name, handle in enumerate(handles)
        ))  # fmt: skip
        await group.hear()
        seen = {(await handle.get("x", "1")).value for handle in handles}
        for node in group:
            inside(node).memory.flush()
        seen |= {(await handle.get("x", "1")).value for handle in handles}
        assert len(seen) == 1


async def test_a_set_is_seen_by_other_processes(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        await here.set("x", "1", "old")
        assert (await there.get("x", "1")).value == "old"
        await here.set("x", "1", "new")
        assert (await here.get("x", "1")).value == "new"
        await group.hear()
        assert (await there.get("x", "1")).value == "new"


async def test_delete_removes_exactly_one_key_and_says_if_there_was_one(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "general")
    await acme.within(agent="a").set("x", "1", "specific")
    assert await acme.delete("x", "1") is True
    assert await acme.delete("x", "1") is False
    assert not await acme.get("x", "1")
    assert (await acme.within(agent="a").get("x", "1")).value == "specific"


async def test_invalidating_a_resource_reaches_all_its_contexts(cache: Cache) -> None:
    acme = cache.tenant("acme")
    handles = [acme, acme.within(agent="a"), acme.within(agent="b", conversation="c")]
    for handle in handles:
        await handle.set("x", "1", "value")
        await handle.set("x", "2", "other")
    assert (await acme.invalidate("x", "1")).keys == 3
    for handle in handles:
        assert not await handle.get("x", "1")
        assert (await handle.get("x", "2")).value == "other"


async def test_invalidating_a_resource_in_a_context_reaches_that_and_what_is_more_specific(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    a = acme.within(agent="a")
    a_c = a.within(conversation="c")
    b_c = acme.within(agent="b", conversation="c")
    for handle in (acme, a, a_c, b_c):
        await handle.set("x", "1", str(handle.scope))
    assert (await a.invalidate("x", "1")).keys == 2
    assert (await acme.get("x", "1")).value == str(acme.scope)
    assert (await a.get("x", "1")).value == str(acme.scope), "only the general one is left"
    assert (await b_c.get("x", "1")).value == str(b_c.scope)
    await acme.invalidate("x", "1", conversation="c")
    assert (await b_c.get("x", "1")).value == str(acme.scope)
    assert (await acme.get("x", "1")).value == str(acme.scope)


async def test_a_star_as_the_id_is_every_resource_of_the_type(cache: Cache) -> None:
    acme = cache.tenant("acme")
    a = acme.within(agent="a")
    for handle in (acme, a):
        for name in ("1", "2"):
            await handle.set("x", name, "value")
            await handle.set("y", name, "value")
    await acme.invalidate("x", "*", agent="a")
    assert not (await acme.explain("x", "1")).verdict.startswith("a miss")
    assert (await acme.get("x", "1")).value == "value"
    assert (await a.explain("x", "1")).findings[0].state != "fresh"
    await acme.invalidate("x", "*")
    assert not await acme.get("x", "1")
    assert not await a.get("x", "2")
    assert (await a.get("y", "2")).value == "value"


async def test_a_star_is_an_ordinary_id_everywhere_else(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "*", "star")
    await acme.set("x", "1", "one")
    assert (await acme.get("x", "*")).value == "star"
    assert await acme.delete("x", "*")
    assert (await acme.get("x", "1")).value == "one"
    await acme.set("x", "a*", "with a star")
    await acme.invalidate("x", "a*")
    assert not await acme.get("x", "a*")
    assert (await acme.get("x", "1")).value == "one"


async def test_an_agent_a_tag_or_a_whole_tenant(cache: Cache) -> None:
    acme = cache.tenant("acme")
    a = acme.within(agent="a")
    await acme.set("x", "tagged", 1, tags=["news", "sport"])
    await a.set("x", "agent's", 1)
    await a.set("y", "agent's too", 1)
    await acme.set("x", "nobody's", 1)
    assert (await acme.invalidate(tag="sport")).keys == 1
    assert not await acme.get("x", "tagged")
    assert (await acme.invalidate(agent="a")).keys == 2
    assert not await a.get("y", "agent's too")
    assert (await acme.get("x", "nobody's")).value == 1
    assert (await acme.invalidate()).keys >= 1
    assert not await acme.get("x", "nobody's")


async def test_several_names_at_once_are_one_step(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.within(agent="a").set("x", "1", 1)
    await acme.within(conversation="c").set("x", "2", 1)
    await acme.set("x", "3", 1, tags=["news"])
    done = await acme.invalidate(tag="news", agent="a", conversation="c")
    assert done.keys == 3
    assert not any(await acme.get_many("x", [*"3"]))
    assert not await acme.within(agent="a").get("x", "1")
    assert not await acme.within(conversation="c").get("x", "2")


async def test_counts_say_what_went_or_at_most_what_went(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for name in range(5):
        await acme.set("x", name, name, tags=["even" if name % 2 == 0 else "odd"])
    assert (await acme.invalidate("x", 0)).keys == 1
    assert (await acme.invalidate("x", 0)).keys == 0
    done = await acme.invalidate(tag="even")
    assert done.keys == 2 or (done.keys > 2 and not done.exact)
    assert await acme.invalidate(tag="even") == Invalidated(0, exact=done.exact)
    await acme.set("x", 1, "again", tags=["odd"])
    done = await acme.invalidate("x", "*")
    assert done.keys == 2 or (done.keys > 2 and not done.exact)


async def test_an_invalidation_of_what_is_not_there_does_no_harm(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert (await acme.invalidate("x", "1")).keys == 0
    assert (await acme.invalidate(tag="none")).keys == 0
    assert (await acme.invalidate()).keys == 0


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"data_type": "x"}, 'pass its id, or "\\*"'),
        ({"resource_id": "1"}, "without a data_type"),
        ({"data_type": "x", "resource_id": ""}, "non-empty"),
        ({"data_type": "x", "resource_id": None}, "names no resource"),
        ({"data_type": "x", "resource_id": 1.5}, "pass a str, an int or a UUID"),
        ({"data_type": "", "resource_id": "1"}, "data_type"),
        ({"tag": ""}, "tag"),
        ({"agent": True}, "agent"),
    ],
)
async def test_what_names_nothing_is_refused_with_a_sentence(
    cache: Cache, named: dict[str, Any], sentence: str
) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "kept")
    with pytest.raises(BadInput, match=sentence):
        await acme.invalidate(**named)
    assert (await acme.get("x", "1")).value == "kept"


@pytest.mark.parametrize("wrong", ["", None, True, 1.5, b"x", "\ud800"])
async def test_what_is_no_id_is_refused_by_every_call(cache: Cache, wrong: Any) -> None:
    acme = cache.tenant("acme")
    calls = [
        lambda: acme.get("x", wrong),
        lambda: acme.get_many("x", ["1", wrong]),
        lambda: acme.load("x", wrong, Row().read),
        lambda: acme.load_many("x", ["1", wrong], lambda ids: ids),
        lambda: acme.set("x", wrong, 1),
        lambda: acme.delete("x", wrong),
        lambda: acme.set("x", "1", 1, tags=[wrong]),
    ]
    for call in calls:
        with pytest.raises(InvalidKey):
            await call()
    assert await kept(acme) is None


async def test_the_names_of_an_invalidation_belong_to_its_tenant(cache: Cache) -> None:
    acme, other = cache.tenant("acme"), cache.tenant("other")
    for tenant in (acme, other):
        await tenant.within(agent="a").set("x", "1", 1, tags=["news"])
    await acme.invalidate("x", "1")
    await acme.invalidate(tag="news")
    await acme.invalidate(agent="a")
    await acme.invalidate("x", "*")
    await acme.invalidate()
    assert (await other.within(agent="a").get("x", "1")).value == 1
