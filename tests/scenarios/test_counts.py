"""Counts of what went are the same in every tier, whatever went before."""

from collections.abc import AsyncIterator

import pytest

from cascada import (
    Cache,
    CacheManager,
    Loaded,
    invalidate_agent_cache_cascade,
    invalidate_conversation_cache_cascade,
    register_conversation_resolver,
)
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import kept


@pytest.fixture
async def cache(make_cache: MakeCache) -> AsyncIterator[Cache]:
    cache = make_cache()
    CacheManager.configure(cache)
    yield cache
    CacheManager.configure(None)
    register_conversation_resolver(None)


async def fill(messages: int = 3) -> None:
    context = {"conversation_id": "c1", "agent_id": "a1"}
    assert await CacheManager.set("conversation_memory", "c1", "memory", "acme", **context)
    for number in range(messages):
        assert await CacheManager.set("conversation_message", f"m{number}", "m", "acme", **context)


@pytest.mark.parametrize("resolved", [False, True])
async def test_what_went_with_its_agent_is_not_counted_when_its_conversation_goes(
    cache: Cache, resolved: bool
) -> None:
    if resolved:
        register_conversation_resolver(lambda tenant_id, agent_id: ["c1"])
    for _ in range(2):
        await fill()
        await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
        await fill()
        told = await invalidate_conversation_cache_cascade("acme", "c1")
        assert told == {"memory": 1, "messages_list": 0, "messages": 3}


async def test_what_went_alone_is_not_counted_again(cache: Cache) -> None:
    acme = cache.tenant("acme")
    chat = acme.within(conversation="c1")
    for number in range(4):
        await chat.set("x", number, "value", tags=["news", f"n{number}"])
    await chat.delete("x", 0)
    await acme.invalidate("x", 1)
    told = await acme.invalidate(tag="news")
    assert told.keys == 3, "at most: what a group has ended is counted by others until it is gone"


async def test_a_tag_that_a_value_bears_no_more_does_not_count_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert await acme.set("x", "1", "value", tags=["old", "both"])
    assert await acme.set("x", "1", "value", tags=["both", "new"])
    await acme.load("x", "2", lambda: Loaded("value", tags=["both"]))
    assert await kept(acme, "2") == "value"
    assert (await acme.invalidate(tag="old")).keys == 0
    assert (await acme.invalidate(tag="both")).keys == 2
    await acme.set("x", "1", "value", tags=["new"])
    assert (await acme.invalidate(tag="new")).keys == 1


async def test_what_is_loaded_again_after_its_tag_has_gone_counts_once(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for _ in range(3):
        for number in range(2):
            await acme.load("x", number, lambda: Loaded("value", tags=["a", "b"]))
            assert await kept(acme, f"{number}") == "value"
        assert (await acme.invalidate(tag="a")).keys == 2
    for number in range(2):
        await acme.load("x", number, lambda: Loaded("value", tags=["a", "b"]))
        assert await kept(acme, f"{number}") == "value"
    assert (await acme.invalidate(tag="b")).keys == 2
