"""By what a cascade finds what depends on its subject, and what it does not find."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cascada import (
    Cache,
    CacheManager,
    invalidate_agent_cache_cascade,
    invalidate_conversation_cache_cascade,
    invalidate_document_update,
)
from tests.api.settled import settled
from tests.scenarios.conftest import MakeCache
from tests.scenarios.test_cascades import put, there


@pytest.fixture
async def cache(make_cache: MakeCache) -> AsyncIterator[Cache]:
    cache = make_cache()
    CacheManager.configure(cache)
    yield cache
    CacheManager.configure(None)


async def test_chunks_go_with_their_document_by_the_context_of_its_collection(cache: Cache) -> None:
    await put("embedding", "d1")
    await put("embedding", "d1#chunk-0", collection_id="k1")
    await put("embedding", "d1#chunk-1", collection_id="k1", agent_id="a1")
    await put("embedding", "of another collection", collection_id="k2")
    await put("embedding", "of a text")
    counts = await invalidate_document_update("acme", "d1", "k1")
    assert counts["embedding"] == 3
    await settled()
    assert not await there("embedding", "d1")
    assert not await there("embedding", "d1#chunk-0", collection_id="k1")
    assert not await there("embedding", "d1#chunk-1", collection_id="k1", agent_id="a1")
    assert await there("embedding", "of another collection", collection_id="k2")
    assert await there("embedding", "of a text")


async def test_a_conversation_goes_with_itself(cache: Cache) -> None:
    for context in ({}, {"conversation_id": "c1"}, {"conversation_id": "c1", "agent_id": "a1"}):
        await put("conversation", "c1", **context)
        counts = await invalidate_conversation_cache_cascade("acme", "c1")
        assert counts == {"memory": 0, "messages_list": 0, "messages": 0}
        assert not await there("conversation", "c1", **context)
    await put("conversation", "c1", conversation_id="c1", agent_id="a1")
    await invalidate_agent_cache_cascade("acme", "a1", invalidate_conversations=True)
    assert not await there("conversation", "c1", conversation_id="c1")


@pytest.mark.parametrize(
    ("data_type", "part", "is_found"),
    [
        ("agent_tools", "agent_id", invalidate_agent_cache_cascade),
        ("agent_execution_state", "agent_id", invalidate_agent_cache_cascade),
        ("conversation_message", "conversation_id", invalidate_conversation_cache_cascade),
    ],
)
async def test_what_a_cascade_will_not_find_is_told_once_a_type(
    cache: Cache,
    caplog: pytest.LogCaptureFixture,
    data_type: str,
    part: str,
    is_found: Callable[..., Any],
) -> None:
    await put(data_type, "with it", **{part: "p1"})
    assert not caplog.records
    for resource_id in ("of its own", "another"):
        await put(data_type, resource_id)
    await cache.tenant("globex").load(data_type, "of its own", lambda: 1)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"acme:{data_type}:of its own is stored without {part}" in told
    assert f"pass {part}=" in told
    await is_found("acme", "p1")
    assert not await there(data_type, "with it", **{part: "p1"})
    assert await there(data_type, "of its own")


async def test_several_ways_to_name_what_goes_are_a_union(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("agent", "a3", 1)
    await acme.set("note", "n1", 1, tags=["x"])
    await acme.set("agent", "a4", 1)
    await acme.invalidate("agent", "a3", tag="x")
    assert [bool(await acme.get(*each)) for each in (("agent", "a3"), ("note", "n1"))] == [
        False
    ] * 2
    assert await acme.get("agent", "a4")
