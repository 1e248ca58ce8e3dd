"""`get_with_cache_aside`: where a value came from, what it took, and what was stored."""

import asyncio
import inspect
from typing import Any

import pytest

from cascada import (
    Cache,
    CacheManager,
    MissingTenant,
    configure,
    get_with_cache_aside,
)
from cascada.model.options import Mode
from cascada.testing.clock import ManualClock
from tests.api.settled import settled

FIELDS = {
    "source",
    "cache_hit",
    "cache_check_time_ms",
    "db_check_time_ms",
    "generation_time_ms",
    "total_time_ms",
    "data_type",
    "resource_id",
    "tier",
    "stale",
    "coalesced",
}


async def nothing(resource_id: str) -> None:
    return None


def test_arguments_stand_in_the_documents_order() -> None:
    assert " ".join(inspect.signature(get_with_cache_aside).parameters) == (
        "data_type resource_id tenant_id fetch_from_db_func generate_func agent_id "
        "conversation_id collection_id ctx ttl serializer deserializer"
    )


async def test_from_the_database_then_from_the_cache(cache: Cache, clock: ManualClock) -> None:
    async def fetch(resource_id: str, tenant_id: str, ctx: object) -> dict[str, str]:
        clock.advance(0.030)
        return {"id": resource_id, "tenant": tenant_id}

    async def generate(resource_id: str, tenant_id: str, ctx: object) -> None:
        pytest.fail("the database had it")

    value, metrics = await get_with_cache_aside(
        data_type="document",
        resource_id="d1",
        tenant_id="acme",
        fetch_from_db_func=fetch,
        generate_func=generate,
    )
    assert value == {"id": "d1", "tenant": "acme"}
    assert metrics.keys() == FIELDS
    assert metrics == {
        "source": "supabase",
        "cache_hit": False,
        "cache_check_time_ms": 0,
        "db_check_time_ms": pytest.approx(30),
        "generation_time_ms": 0,
        "total_time_ms": pytest.approx(30),
        "data_type": "document",
        "resource_id": "d1",
        "tier": None,
        "stale": False,
        "coalesced": False,
    }
    value, metrics = await get_with_cache_aside("document", "d1", "acme", fetch)
    assert value == {"id": "d1", "tenant": "acme"}
    assert metrics.keys() == FIELDS
    assert (metrics["source"], metrics["cache_hit"], metrics["tier"]) == ("cache", True, "l1")
    assert metrics["db_check_time_ms"] == metrics["generation_time_ms"] == 0
    assert metrics["cache_check_time_ms"] == metrics["total_time_ms"]


async def test_what_the_database_lacks_is_generated_and_stored(
    cache: Cache, clock: ManualClock
) -> None:
    async def fetch(resource_id: str, tenant_id: str, **kwargs: Any) -> None:
        clock.advance(0.010)

    async def create(resource_id: str, tenant_id: str, **kwargs: Any) -> dict[str, Any]:
        clock.advance(0.200)
        return {"messages": [], "agent_id": kwargs.get("agent_id")}

    memory, metrics = await get_with_cache_aside(
        data_type="conversation_memory",
        resource_id="c1",
        tenant_id="acme",
        fetch_from_db_func=fetch,
        generate_func=create,
        agent_id="a1",
        conversation_id="c1",
    )
    assert memory == {"messages": [], "agent_id": "a1"}
    assert metrics["source"] == "generation"
    assert metrics["db_check_time_ms"] == pytest.approx(10)
    assert metrics["generation_time_ms"] == pytest.approx(200)
    assert metrics["total_time_ms"] == pytest.approx(210)
    await settled()
    found = await CacheManager.get("conversation_memory", "c1", "acme", conversation_id="c1")
    assert found == memory


async def test_what_nobody_has_is_none_and_asked_again(cache: Cache) -> None:
    asked = []

    async def fetch(resource_id: str) -> None:
        asked.append(resource_id)

    for _ in range(2):
        value, metrics = await get_with_cache_aside("document", "d1", "acme", fetch)
        assert value is None
        assert (metrics["source"], metrics["cache_hit"]) == ("none", False)
    assert asked == ["d1", "d1"]


async def test_a_known_absence_is_a_hit_of_source_none(cache: Cache) -> None:
    await get_with_cache_aside("remembered", "r1", "acme", nothing)

    async def fail() -> None:
        pytest.fail("it is known that there is nothing")

    value, metrics = await get_with_cache_aside("remembered", "r1", "acme", fail)
    assert value is None
    assert (metrics["source"], metrics["cache_hit"], metrics["tier"]) == ("none", True, "l1")


async def test_a_generator_is_asked_though_an_absence_without_one_is_known(cache: Cache) -> None:
    await get_with_cache_aside("remembered", "r1", "acme", nothing)

    async def generate() -> str:
        return "generated"

    value, metrics = await get_with_cache_aside("remembered", "r1", "acme", nothing, generate)
    assert (value, metrics["source"]) == ("generated", "generation")


async def test_an_absence_that_a_generator_confirmed_stands(cache: Cache) -> None:
    asked = []

    async def generate(resource_id: str) -> None:
        asked.append(resource_id)

    for _ in range(2):
        await get_with_cache_aside("remembered", "r1", "acme", nothing, generate)
    assert asked == ["r1"]


@pytest.mark.parametrize("falsy", [0, "", [], {}, False])
async def test_falsy_values_are_values(cache: Cache, falsy: object) -> None:
    async def fetch() -> object:
        return falsy

    async def generate() -> None:
        pytest.fail("the database had a value")

    await get_with_cache_aside("document", "d1", "acme", fetch, generate)
    value, metrics = await get_with_cache_aside("document", "d1", "acme", fetch, generate)
    assert value == falsy
    assert metrics["cache_hit"]


async def test_a_follower_reports_the_load_s_source_and_only_its_own_waiting(
    cache: Cache, clock: ManualClock
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def fetch() -> dict[str, int]:
        started.set()
        await go_on.wait()
        clock.advance(0.050)
        return {"n": 1}

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(get_with_cache_aside("document", "d1", "acme", fetch))
        await started.wait()
        others = [
            tasks.create_task(get_with_cache_aside("document", "d1", "acme", fetch))
            for _ in range(5)
        ]
        await asyncio.sleep(0)
        go_on.set()
    value, metrics = first.result()
    assert (metrics["source"], metrics["coalesced"]) == ("supabase", False)
    assert metrics["db_check_time_ms"] == pytest.approx(50)
    value["n"] = 2
    for other in others:
        value, metrics = other.result()
        assert value == {"n": 1}, "a follower's value is its own"
        assert (metrics["source"], metrics["cache_hit"]) == ("supabase", False)
        assert metrics["coalesced"] is True
        assert metrics["tier"] is None
        assert metrics["cache_check_time_ms"] == metrics["db_check_time_ms"] == 0
        assert metrics["generation_time_ms"] == 0
        assert metrics["total_time_ms"] == pytest.approx(50)


async def test_a_stale_value_says_so(cache: Cache, clock: ManualClock) -> None:
    async def fetch() -> str:
        return "v"

    await get_with_cache_aside("swr", "r1", "acme", fetch)
    clock.advance(11)
    value, metrics = await get_with_cache_aside("swr", "r1", "acme", fetch)
    assert (value, metrics["stale"], metrics["cache_hit"]) == ("v", True, True)


async def test_a_failing_source_raises_or_leaves_a_spare(cache: Cache, clock: ManualClock) -> None:
    async def fetch() -> str:
        return "v"

    async def fail() -> str:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database"):
        await get_with_cache_aside("spare", "r1", "acme", fail)
    await get_with_cache_aside("spare", "r1", "acme", fetch)
    clock.advance(11)
    value, metrics = await get_with_cache_aside("spare", "r1", "acme", fail)
    assert (value, metrics["stale"], metrics["source"]) == ("v", True, "cache")


@pytest.mark.parametrize("mode", ["observe", "off"])
async def test_in_other_modes_the_source_answers(mode: Mode) -> None:
    async with Cache(mode=mode) as cache:
        configure(cache)
        answers = iter([[1], [2], [3]])
        for expected in ([1], [2]):
            value, metrics = await get_with_cache_aside("d", "1", "acme", lambda: next(answers))
            await settled()
            assert (value, metrics["source"], metrics["cache_hit"]) == (expected, "supabase", False)
    configure(None)


async def test_bypassed_it_goes_to_the_source_and_stores_nothing(cache: Cache) -> None:
    await CacheManager.set("document", "d1", "cached", "acme")
    with cache.bypass():
        value, metrics = await get_with_cache_aside("document", "d1", "acme", lambda: "fetched")
    assert (value, metrics["source"]) == ("fetched", "supabase")
    assert await CacheManager.get("document", "d1", "acme") == "cached"


# --- ttl and arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "seconds"), [(None, 300), (7, 7), (0, float("inf"))])
async def test_ttl_none_is_by_type_and_zero_is_never(
    cache: Cache, ttl: int | None, seconds: float
) -> None:
    async def fetch() -> str:
        return "v"

    await get_with_cache_aside("agent_response", "r1", "acme", fetch, ttl=ttl)
    await settled()
    assert await CacheManager.ttl("agent_response", "r1", "acme") == seconds


async def test_a_tenant_that_was_left_out_is_missed(cache: Cache) -> None:
    with pytest.raises(MissingTenant, match="there is no default"):
        await get_with_cache_aside("agent", "a1", fetch_from_db_func=nothing)


async def test_there_must_be_somebody_to_ask(cache: Cache) -> None:
    with pytest.raises(ValueError, match="pass fetch_from_db_func"):
        await get_with_cache_aside("agent", "a1", "acme")
