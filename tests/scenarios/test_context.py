"""Whose context a value belongs to: the nearest one answers, and each part reaches its own."""

import pytest

from cascada.api.cache import Cache
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.scenarios.row import Row, all_stored, kept

ALL = {"agent": "a", "conversation": "c", "collection": "l"}
DOCUMENTED = [
    ("agent", "conversation", "collection"),
    ("agent", "conversation"),
    ("agent", "collection"),
    ("collection",),
    ("agent",),
    (),
]
"""The documents' order: from the whole context to none."""


def parts(names: tuple[str, ...]) -> dict[str, str]:
    return {name: ALL[name] for name in names}


@pytest.mark.parametrize("position", range(len(DOCUMENTED)))
async def test_the_nearest_context_answers_in_the_documented_order(
    cache: Cache, position: int
) -> None:
    acme = cache.tenant("acme")
    for names in DOCUMENTED[position:]:
        await acme.within(**parts(names)).set("x", "1", names)
    found = await acme.within(**ALL).get("x", "1")
    assert found.value == DOCUMENTED[position]
    assert (await acme.within(**ALL).load("x", "1", Row("not asked").read)).value == found.value


async def test_contexts_that_are_not_in_the_handle_do_not_answer(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for names in DOCUMENTED[:-1]:
        await acme.within(**parts(names)).set("x", "1", "of a context")
    assert not await acme.get("x", "1")
    assert not await acme.within(agent="other").get("x", "1")
    assert not await acme.within(conversation="c").get("x", "1")
    assert (await acme.within(agent="a", conversation="other").get("x", "1")).value


async def test_a_load_is_stored_for_the_whole_context_of_its_handle(cache: Cache) -> None:
    acme = cache.tenant("acme")
    mine = acme.within(agent="a", conversation="c")
    await mine.load("x", "1", Row("mine").read)
    assert await kept(mine) == "mine"
    assert not await acme.within(agent="a").get("x", "1")
    assert not await acme.get("x", "1")


async def test_exact_lookup_answers_for_its_own_context_only(make_cache: MakeCache) -> None:
    acme = make_cache(policy=Policy(lookup="exact")).tenant("acme")
    await acme.set("x", "1", "general")
    assert not await acme.within(agent="a").get("x", "1")
    assert (await acme.within(agent="a").load("x", "1", Row("own").read)).value == "own"


async def test_a_general_answer_gives_way_as_soon_as_a_more_specific_one_is_set(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    handle = acme.within(**ALL)
    for names in reversed(DOCUMENTED):
        await acme.within(**parts(names)).set("x", "1", names)
        for _ in range(3):  # memory may have taken the general answer by now
            assert (await handle.get("x", "1")).value == names


async def test_a_general_answer_gives_way_also_if_another_process_sets_the_specific_one(
    nodes: MakeNodes,
) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        mine = here.within(agent="a", collection="l")
        await there.set("x", "1", "general")
        await group.hear()
        assert (await mine.get("x", "1")).tier == "l3"
        assert (await mine.get("x", "1")).tier == "l1"
        await there.within(collection="l").set("x", "1", "in between")
        await group.hear()
        assert (await mine.get("x", "1")).value == "in between"
        await there.within(agent="a", collection="l").set("x", "1", "specific")
        await group.hear()
        assert (await mine.get("x", "1")).value == "specific"


async def test_a_general_answer_goes_with_what_names_the_general_value(
    nodes: MakeNodes,
) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        mine = here.within(agent="a")
        for invalidation in (
            {"data_type": "x", "resource_id": "1"},
            {"data_type": "x", "resource_id": "*"},
            {"tag": "news"},
            {},
        ):
            await there.set("x", "1", "general", tags=["news"])
            await group.hear()
            assert (await mine.get("x", "1")).value == "general"
            assert (await mine.get("x", "1")).tier == "l1"
            await there.invalidate(**invalidation)
            await group.hear()
            assert not await mine.get("x", "1"), invalidation


async def test_memory_keeps_a_general_answer_for_a_short_time_only(
    nodes: MakeNodes, clock: ManualClock
) -> None:
    async with nodes(1) as group:
        acme = group[0].tenant("acme")
        await acme.set("x", "1", "general", ttl=3600)
        await acme.within(agent="a").get("x", "1")
        clock.advance(5)
        await group.hear()
        assert (await acme.within(agent="a").get("x", "1")).tier == "l3"


async def test_a_general_value_in_memory_does_not_hide_a_specific_one_below(
    nodes: MakeNodes,
) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        await here.set("x", "1", "general")
        assert (await here.get("x", "1")).tier == "l1"
        await there.within(agent="a").set("x", "1", "specific")
        await group.hear()
        assert (await here.within(agent="a").get("x", "1")).value == "specific"


async def test_a_part_that_is_not_in_the_key_still_reaches_the_value(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(policy=Policy(varies_by=("collection",))).tenant("acme")
    mine = acme.within(agent="a", collection="l")
    for invalidation in (
        {"agent": "a"},
        {"data_type": "x", "resource_id": "*", "agent": "a"},
        {"collection": "l"},
        {"data_type": "x", "resource_id": "1"},
    ):
        await mine.set("x", "1", "shared by the agents")
        assert (await acme.within(agent="b", collection="l").get("x", "1")).value
        assert not await acme.within(agent="a", collection="other").get("x", "1")
        await acme.invalidate(**invalidation)
        assert not await mine.get("x", "1"), invalidation
    await mine.load("x", "1", Row("loaded").read)
    assert await kept(mine) == "loaded"
    await acme.invalidate(agent="other")
    assert await kept(mine) == "loaded"
    await acme.invalidate(agent="a")
    assert await kept(mine) is None


async def test_a_type_that_varies_by_nothing_is_one_value_for_all(make_cache: MakeCache) -> None:
    acme = make_cache(policy=Policy(varies_by=())).tenant("acme")
    await acme.within(agent="a").set("x", "1", "one")
    assert (await acme.within(agent="b", conversation="c").get("x", "1")).value == "one"
    assert (await acme.get("x", "1")).value == "one"
    await acme.within(conversation="c").invalidate("x", "1")
    assert not await acme.get("x", "1")


async def test_within_narrows_and_leaves_its_handle_as_it_was(cache: Cache) -> None:
    acme = cache.tenant("acme", agent="a")
    narrow = acme.within(conversation="c")
    assert narrow.scope == ("a", "c", None)
    assert acme.scope == ("a", None, None)
    assert narrow.within(agent="b").scope == ("b", "c", None)
    assert repr(narrow) == "Tenant('acme', agent='a', conv='c')"


async def test_a_known_absence_of_the_specific_context_hides_the_general_value(
    make_cache: MakeCache,
) -> None:
    acme = make_cache(policy=Policy(none_ttl=60)).tenant("acme")
    mine = acme.within(agent="a")
    await mine.load("x", "1", Row(None).read)
    await all_stored(mine)
    await acme.set("x", "1", "general")
    hit = await mine.get("x", "1")
    assert (hit.value, hit.absent) == (None, True)


@pytest.mark.parametrize("tenant", ["other", "acme:x", "acme%3Ax", "*", "ACME"])
async def test_tenants_never_see_each_others_values(cache: Cache, tenant: str) -> None:
    acme, other = cache.tenant("acme"), cache.tenant(tenant)
    await acme.set("x", "1", "acme's", tags=["news"])
    assert not await other.get("x", "1")
    await other.set("x", "1", "theirs", tags=["news"])
    await other.invalidate("x", "1")
    await other.invalidate(tag="news")
    await other.invalidate("x", "*")
    await other.invalidate()
    assert (await acme.get("x", "1")).value == "acme's"
