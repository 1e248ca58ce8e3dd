"""What a name reaches is counted apart: what it says of entries, and what was made of those."""

import pytest

from cascada.api.cache import Cache
from cascada.model.keys import Key, Scope
from cascada.model.names import all_of_type, key_name, tag_name
from cascada.testing.inside import inside
from cascada.tiers.contract import EntryCount

NONE = EntryCount(0, 0)


@pytest.fixture
async def names(cache: Cache) -> list[str]:
    """Names of a context, of two keys, of a tag, and of nothing, with values that bear them."""
    acme = cache.tenant("acme")
    at_agent = all_of_type("acme", "x", Scope(agent="a1"))
    plain, made, absent = (Key("acme", "x", None, None, None, id_) for id_ in ("p", "m", "absent"))
    await acme.within(agent="a1").set("x", "1", "in the context of the agent")
    await acme.within(agent="a1", conversation="c1").set("x", "1", "and of a conversation")
    await acme.set("x", "p", "without context")
    await acme.set("x", "m", "made of another", sources=["x:p"], tags=["news"])
    return [*at_agent, key_name(plain), key_name(made), tag_name("acme", "news"), key_name(absent)]


REACHED = [EntryCount(2, 0), EntryCount(1, 1), EntryCount(1, 0), EntryCount(0, 1), NONE]


async def test_every_tier_says_the_same(cache: Cache, names: list[str]) -> None:
    for tier in inside(cache).stack.tiers:
        assert await tier.count_entries(names) == REACHED, tier.name


async def test_an_invalidation_says_what_it_has_reached(cache: Cache, names: list[str]) -> None:
    for tier in inside(cache).stack.tiers[1:] or inside(cache).stack.tiers:
        assert (await tier.invalidate(names)).counts == tuple(REACHED), tier.name
        assert set(await tier.count_entries(names)) == {NONE}


async def test_what_is_set_again_is_counted_once(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for number in range(3):
        await acme.within(agent="a1", conversation="c1").set("x", "1", number, tags=["news"])
        await acme.within(agent="a1").set("x", "2", number)
    names = [*all_of_type("acme", "x", Scope(agent="a1")), tag_name("acme", "news")]
    for tier in inside(cache).stack.tiers:
        assert await tier.count_entries(names) == [EntryCount(2, 0), EntryCount(0, 1)], tier.name
    assert (await acme.invalidate(agent="a1")).keys == 2
