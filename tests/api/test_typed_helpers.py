"""The documents' helpers for embeddings, query results and agent configurations."""

import asyncio
from typing import Any

import numpy
import pytest

from cascada import (
    Cache,
    CacheManager,
    MissingTenant,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
)
from tests.api.settled import settled

TEXT, MODEL = "Texto a embeber", "text-embedding-ada-002"
VECTOR = [0.5, -1.0, 2.0]


@pytest.fixture(autouse=True)
def manager(cache: Cache) -> None:
    CacheManager.configure(cache)


async def test_an_embedding_is_there_for_its_text_and_model_alone() -> None:
    assert await CacheManager.get_embedding(TEXT, MODEL, "acme") is None
    assert await CacheManager.set_embedding(TEXT, VECTOR, MODEL, "acme")
    assert await CacheManager.get_embedding(text=TEXT, model_name=MODEL, tenant_id="acme") == VECTOR
    get = CacheManager.get_embedding
    for other in [(TEXT + ".", MODEL, "acme"), (TEXT, "m2", "acme"), (TEXT, MODEL, "globex")]:
        assert await get(*other) is None


async def test_every_other_keyword_is_part_of_an_embeddings_identity() -> None:
    await CacheManager.set_embedding(TEXT, VECTOR, MODEL, "acme", dimensions=3, input_type="query")
    get = CacheManager.get_embedding
    assert await get(TEXT, MODEL, "acme") is None
    assert await get(TEXT, MODEL, "acme", dimensions=3) is None
    assert await get(TEXT, MODEL, "acme", input_type="query", dimensions=3) == VECTOR


async def test_embeddings_come_as_lists_or_as_read_only_arrays() -> None:
    await CacheManager.set_embedding(TEXT, numpy.array(VECTOR, "f4"), MODEL, "acme")
    assert await CacheManager.get_embedding(TEXT, MODEL, "acme") == VECTOR
    array = await CacheManager.get_embedding(TEXT, MODEL, "acme", as_array=True)
    assert array.tolist() == VECTOR
    assert not array.flags.writeable


async def test_the_batch_finds_what_the_helper_has_stored_and_the_reverse() -> None:
    async def never(texts: list[str]) -> list[list[float]]:
        raise AssertionError(texts)

    await CacheManager.set_embedding(TEXT, VECTOR, MODEL, "acme", dimensions=3)
    found, metrics = await get_embeddings_batch_with_cache(
        [TEXT], "acme", MODEL, never, dimensions=3
    )
    assert found == [VECTOR]
    assert metrics["cache_hits"] == 1
    await get_embeddings_batch_with_cache(["b"], "acme", MODEL, lambda texts: [VECTOR])
    await settled()
    assert await CacheManager.get_embedding("b", MODEL, "acme") == VECTOR


@pytest.mark.parametrize("name", ["dimensions", "model", "provider", "ttl", "half", "max_wait"])
async def test_a_keyword_is_identity_in_a_batch_whatever_it_is_called(name: str) -> None:
    named: dict[str, Any] = {name: 7}
    await get_embeddings_batch_with_cache(["a"], "acme", MODEL, lambda texts: [VECTOR], **named)
    await settled()
    assert await CacheManager.get_embedding("a", MODEL, "acme", **named) == VECTOR
    assert await CacheManager.get_embedding("a", MODEL, "acme") is None


async def test_a_query_result_belongs_to_its_collection_and_its_parameters() -> None:
    query = "¿Cómo funciona X?"
    put, get = CacheManager.set_query_result, CacheManager.get_query_result
    await put(query, {"chunks": [1]}, "c1", "acme", similarity_top_k=4)
    assert await get(
        query=query, collection_id="c1", tenant_id="acme", similarity_top_k=4
    ) == {"chunks": [1]}  # fmt: skip
    assert await get(query, "c1", "acme", similarity_top_k=5) is None
    assert await get(query, "c1", "acme") is None
    assert await get(query, "c2", "acme", similarity_top_k=4) is None
    await CacheManager.invalidate("acme", "query_result", "*", collection_id="c1")
    assert await get(query, "c1", "acme", similarity_top_k=4) is None


async def test_an_agents_configuration_is_the_one_of_cache_aside() -> None:
    await CacheManager.set_agent_config("a1", {"temperature": 0}, "acme")
    value, metrics = await get_with_cache_aside("agent_config", "a1", "acme", lambda: None)
    assert (value, metrics["source"]) == ({"temperature": 0}, "cache")
    await get_with_cache_aside("agent_config", "a2", "acme", lambda: {"temperature": 1})
    await settled()
    assert await CacheManager.get_agent_config("a2", "acme") == {"temperature": 1}
    assert await CacheManager.get_agent_config(agent_id="a3", tenant_id="acme") is None


async def test_a_new_configuration_is_seen_by_reads_that_also_name_the_agent() -> None:
    async def read(temperature: int) -> dict[str, int]:
        value, _ = await get_with_cache_aside(
            "agent_config", "a1", "acme", lambda: {"temperature": temperature}, agent_id="a1"
        )
        await settled()
        return value

    assert await read(0) == {"temperature": 0}
    assert await CacheManager.get_agent_config("a1", "acme") == {"temperature": 0}
    assert await CacheManager.set_agent_config("a1", {"temperature": 1}, "acme")
    assert await read(2) == {"temperature": 1}


async def test_a_configuration_read_before_an_invalidation_is_not_set_after_it() -> None:
    assert await CacheManager.get_agent_config("a1", "acme") is None
    await asyncio.create_task(CacheManager.invalidate("acme", "agent_config", "a1"))
    assert not await CacheManager.set_agent_config("a1", {"temperature": 0}, "acme")
    assert await CacheManager.get_agent_config("a1", "acme") is None


async def test_a_tenant_is_mandatory() -> None:
    with pytest.raises(MissingTenant):
        await CacheManager.get_embedding(TEXT, MODEL)
    with pytest.raises(MissingTenant):
        await CacheManager.get_query_result("q", "c1")
    with pytest.raises(MissingTenant):
        await CacheManager.set_agent_config("a1", {})
