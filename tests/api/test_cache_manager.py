"""`CacheManager` as the documents call it: on the class, and on the one instance."""

import inspect
import math
from typing import Any
from uuid import UUID

import numpy
import pytest

from cascada import (
    TTL_PERMANENT,
    Cache,
    CacheManager,
    CachePriority,
    MissingTenant,
    SerializationError,
    get_with_cache_aside,
)
from cascada.testing.clock import ManualClock

SIGNATURES = {
    "get": "data_type resource_id tenant_id agent_id conversation_id collection_id default",
    "set": "data_type resource_id value tenant_id agent_id conversation_id collection_id ttl tags "
    "priority version",
    "delete": "data_type resource_id tenant_id agent_id conversation_id collection_id",
    "invalidate": "tenant_id data_type resource_id agent_id conversation_id collection_id",
    "ttl": "data_type resource_id tenant_id agent_id conversation_id collection_id",
}


@pytest.mark.parametrize(("method", "names"), SIGNATURES.items())
def test_arguments_stand_in_the_documents_order(method: str, names: str) -> None:
    assert [*inspect.signature(getattr(CacheManager, method)).parameters] == names.split()


def test_there_is_one_instance() -> None:
    assert CacheManager.get_instance() is CacheManager.get_instance()
    assert isinstance(CacheManager.get_instance(), CacheManager)


async def test_the_documents_calls_on_the_class(cache: Cache) -> None:
    tenant_id = "tenant_abc"
    value = {"title": "t", "pages": [1, 2]}
    assert await CacheManager.set("document", "doc_123", value, tenant_id=tenant_id)
    got = await CacheManager.get(
        data_type="document", resource_id="doc_123", tenant_id="tenant_abc"
    )
    assert got == value
    assert await CacheManager.ttl("document", "doc_123", tenant_id) == 3600
    gone = await CacheManager.invalidate(
        tenant_id="tenant_abc", data_type="document", resource_id="doc_123"
    )
    assert gone == 1
    assert await CacheManager.get("document", "doc_123", tenant_id) is None
    await CacheManager.set("document", "doc_123", value, tenant_id)
    assert await CacheManager.delete("document", "doc_123", tenant_id=tenant_id) is True
    assert await CacheManager.delete("document", "doc_123", tenant_id=tenant_id) is False


async def test_the_same_calls_on_the_instance(cache: Cache) -> None:
    manager = CacheManager.get_instance()
    await manager.set("agent", "a1", [1], "acme", "a1", "c1")
    assert await CacheManager.get("agent", "a1", "acme", "a1", "c1") == [1]
    assert await manager.ttl("agent", "a1", "acme", "a1", "c1") == 3600
    assert await manager.invalidate("acme", "agent", "*") == 1
    assert await manager.get("agent", "a1", "acme", "a1", "c1", default="gone") == "gone"


async def test_get_gives_the_bare_value_or_the_default(cache: Cache) -> None:
    falsies: list[Any] = [0, "", [], {}, False]
    for falsy in falsies:
        await CacheManager.set("agent", "a1", falsy, "acme")
        assert await CacheManager.get("agent", "a1", "acme", default="default") == falsy
    assert await CacheManager.get("agent", "a2", "acme") is None
    assert await CacheManager.get("agent", "a2", "acme", default="default") == "default"


async def test_what_one_caller_changes_no_other_gets(cache: Cache) -> None:
    mine: dict[str, Any] = {"tools": ["x"]}
    await CacheManager.set("agent", "a1", mine, "acme")
    mine["tools"].append("y")
    first = await CacheManager.get("agent", "a1", "acme")
    first["tools"].append("z")
    assert await CacheManager.get("agent", "a1", "acme") == {"tools": ["x"]}


@pytest.mark.parametrize(
    ("data_type", "ttl", "seconds"),
    [
        ("agent_response", None, 300),
        ("embedding", None, 86400),
        ("whatever", None, 3600),
        ("agent_response", 20, 20),
        ("agent_response", TTL_PERMANENT, math.inf),
    ],
)
async def test_ttl_none_is_by_type_and_zero_is_never(
    cache: Cache, data_type: str, ttl: int | None, seconds: float
) -> None:
    await CacheManager.set(data_type, "r1", "v", "acme", ttl=ttl)
    assert await CacheManager.ttl(data_type, "r1", "acme") == seconds


async def test_time_passes(cache: Cache, clock: ManualClock) -> None:
    await CacheManager.set("agent", "a1", "v", "acme", ttl=10)
    clock.advance(4)
    assert await CacheManager.ttl("agent", "a1", "acme") == pytest.approx(6)
    clock.advance(6.5)
    assert await CacheManager.get("agent", "a1", "acme") is None
    assert await CacheManager.ttl("agent", "a1", "acme") is None


async def test_ttl_is_of_the_one_exact_key(cache: Cache) -> None:
    await CacheManager.set("agent", "a1", "v", "acme")
    assert await CacheManager.get("agent", "a1", "acme", agent_id="x") == "v"
    assert await CacheManager.ttl("agent", "a1", "acme", agent_id="y") is None


async def test_ids_are_text_numbers_or_uuids(cache: Cache) -> None:
    uid = UUID(int=5)
    await CacheManager.set("agent", 7, "seven", uid)
    assert await CacheManager.get("agent", "7", str(uid)) == "seven"


async def test_tenants_do_not_see_each_other(cache: Cache) -> None:
    await CacheManager.set("agent", "a1", "mine", "acme")
    assert await CacheManager.get("agent", "a1", "other") is None
    assert await CacheManager.invalidate("other", "agent", "*") == 0
    assert await CacheManager.get("agent", "a1", "acme") == "mine"


@pytest.mark.parametrize("method", ["get", "set", "delete", "ttl"])
async def test_a_tenant_that_was_left_out_is_missed(cache: Cache, method: str) -> None:
    value = ("v",) if method == "set" else ()
    with pytest.raises(MissingTenant, match="there is no default"):
        await getattr(CacheManager, method)("agent", "a1", *value)


async def test_the_hand_written_pattern_is_fenced_by_its_miss(cache: Cache) -> None:
    async def by_hand() -> bool:
        assert await CacheManager.get("agent", "a1", "acme") is None
        row = "read before the invalidation"
        await CacheManager.invalidate("acme", "agent", "a1")
        return await CacheManager.set("agent", "a1", row, "acme")

    assert await by_hand() is False
    assert await CacheManager.get("agent", "a1", "acme") is None


async def test_an_older_version_never_replaces_a_newer_one(cache: Cache) -> None:
    await CacheManager.set("document", "d1", "two", "acme", version=2)
    await CacheManager.set("document", "d1", "one", "acme", version=1)
    assert await CacheManager.get("document", "d1", "acme") == "two"
    await CacheManager.set("document", "d1", "three", "acme", version=3)
    assert await CacheManager.get("document", "d1", "acme") == "three"


async def test_tags_name_what_was_set(cache: Cache) -> None:
    await CacheManager.set("article", "1", "v", "acme", tags=["sports", "nutrition"])
    await cache.tenant("acme").invalidate(tag="nutrition")
    assert await CacheManager.get("article", "1", "acme") is None


async def test_a_priority_is_one_of_four(cache: Cache) -> None:
    for priority in CachePriority:
        await CacheManager.set("agent", "a1", "v", "acme", priority=priority)
    with pytest.raises(ValueError, match=r"priority is 'high'; pass a CachePriority"):
        await CacheManager.set("agent", "a1", "v", "acme", priority="high")  # type: ignore[arg-type]


async def test_vectors_come_back_as_lists(cache: Cache) -> None:
    await CacheManager.set("embedding", "e1", numpy.array([0.5, 0.25], "f4"), "acme")
    assert await CacheManager.get("embedding", "e1", "acme") == [0.5, 0.25]
    await CacheManager.set("embedding", "e1", [0.5, 0.25], "acme")
    assert await CacheManager.get("embedding", "e1", "acme") == [0.5, 0.25]


async def test_a_value_that_cannot_be_stored_says_where(cache: Cache) -> None:
    with pytest.raises(SerializationError, match=r"value\.client is an object"):
        await CacheManager.set("agent", "a1", {"client": object()}, "acme")


async def test_a_more_general_context_answers_the_documents_and_not_a_handle(cache: Cache) -> None:
    """For a type of one's own, whose policy says nothing of it; where it says so, it holds."""
    for data_type in ("own", "exact"):
        await CacheManager.set(data_type, "1", "for all", "acme")
    acme = cache.tenant("acme")
    assert not await acme.within(agent="a1").get("own", "1")
    assert (await acme.get("own", "1")).value == "for all"
    assert await CacheManager.get("own", "1", "acme", agent_id="a1") == "for all"
    value, metrics = await get_with_cache_aside("own", "1", "acme", lambda: None, agent_id="a1")
    assert (value, metrics["cache_hit"]) == ("for all", True)
    assert await CacheManager.get("exact", "1", "acme", agent_id="a1") is None
