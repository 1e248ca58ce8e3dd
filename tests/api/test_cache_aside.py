"""`get_with_cache_aside`: where a value came from, what it took, and what was stored."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from cascada import (
    Cache,
    CacheManager,
    Context,
    Loaded,
    MissingTenant,
    get_with_cache_aside,
)
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


CTX = Context(tenant_id="acme")
GIVEN = {
    "resource_id": "r1",
    "tenant_id": "acme",
    "ctx": CTX,
    "agent_id": "a1",
    "conversation_id": "c1",
    "collection_id": "k1",
}


class Fetcher:
    def method(self, tenant_id: str, resource_id: str) -> list[str]:
        return [resource_id, tenant_id]

    async def __call__(self, collection_id: str) -> list[str]:
        return [collection_id]


async def async_fetch(resource_id: str, tenant_id: str, ctx: Context) -> list[Any]:
    return [resource_id, tenant_id, ctx.get_tenant_id()]


CALLBACKS: list[tuple[Callable[..., Any], list[Any]]] = [
    (async_fetch, ["r1", "acme", "acme"]),
    (lambda resource_id, tenant_id, **kwargs: [*sorted(kwargs)],
     ["agent_id", "collection_id", "conversation_id", "ctx"]),
    (lambda: [], []),
    (lambda *args: [*args], []),
    (lambda resource_id, /, tenant_id, *, agent_id: [resource_id, tenant_id, agent_id],
     ["r1", "acme", "a1"]),
    (lambda resource_id, limit=10: [resource_id, limit], ["r1", 10]),
    (Fetcher().method, ["r1", "acme"]),
    (Fetcher(), ["k1"]),
]  # fmt: skip


@pytest.mark.parametrize(("callback", "expected"), CALLBACKS)
async def test_callbacks_get_what_they_accept(
    cache: Cache, callback: Callable[..., Any], expected: list[Any]
) -> None:
    for fetch, generate in [(callback, None), (nothing, callback)]:
        value, _ = await get_with_cache_aside(
            "exact", "r1", "acme", fetch, generate, "a1", "c1", "k1", ctx=CTX
        )
        assert value == expected
        await CacheManager.invalidate("acme", "exact", "r1")


async def test_callbacks_that_share_their_code_but_not_what_they_wrap(cache: Cache) -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        call.__wrapped__ = function  # type: ignore[attr-defined]
        return call

    first, _ = await get_with_cache_aside("d", "1", "acme", logged(lambda resource_id: "one"))
    second, _ = await get_with_cache_aside("d", "2", "acme", logged(lambda tenant_id, ctx: "two"))
    assert (first, second) == ("one", "two")


async def test_a_function_is_inspected_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    inspected = []

    def counting(function: Callable[..., Any]) -> inspect.Signature:
        inspected.append(function)
        return inspect.Signature.from_callable(function)

    monkeypatch.setattr("cascada.api.callbacks.inspect.signature", counting)
    monkeypatch.setattr("cascada.api.callbacks._inspected", WeakKeyDictionary())
    for resource_id in "123":

        async def fetch_as_in_the_documents(resource_id: str) -> str:
            return resource_id

        await get_with_cache_aside("document", resource_id, "acme", fetch_as_in_the_documents)
    assert len(inspected) == 1


async def test_a_callback_that_takes_something_else_is_told_so(cache: Cache) -> None:
    with pytest.raises(TypeError, match=r"takes 'document_id', .* may take resource_id, tenant_id"):
        await get_with_cache_aside("document", "d1", "acme", lambda document_id: None)


async def test_a_callback_may_say_more_about_its_value(cache: Cache) -> None:
    async def fetch() -> Loaded[str]:
        return Loaded("v", ttl=9, tags=["news"])

    value, _ = await get_with_cache_aside("document", "d1", "acme", fetch)
    assert value == "v"
    await settled()
    assert await CacheManager.ttl("document", "d1", "acme") == 9
    await cache.tenant("acme").invalidate(tag="news")
    assert await CacheManager.get("document", "d1", "acme") is None


# --- serializer and deserializer ----------------------------------------------------------------


@dataclass
class Complex:
    data: list[int]


def serializer(value: Complex) -> dict[str, Any]:
    return {"serialized": True, "data": value.data}


def deserializer(cached: dict[str, Any]) -> Complex:
    return Complex(cached["data"])


async def ask(fetch: Callable[..., Any]) -> tuple[Any, Any]:
    return await get_with_cache_aside(
        "complex_data", "x", "acme", fetch, serializer=serializer, deserializer=deserializer
    )


async def test_the_serialized_form_is_stored_and_every_caller_gets_its_own(cache: Cache) -> None:
    original = Complex([1])
    first, _ = await ask(lambda: original)
    assert first == original
    assert first is not original
    first.data.append(2)
    second, metrics = await ask(lambda: None)
    assert (second, metrics["cache_hit"]) == (Complex([1]), True)
    await settled()
    stored = await CacheManager.get("complex_data", "x", "acme")
    assert stored == {"serialized": True, "data": [1]}


async def test_followers_get_their_own_deserialized_values(cache: Cache) -> None:
    go_on = asyncio.Event()

    async def fetch() -> Complex:
        await go_on.wait()
        return Complex([1])

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask(fetch)) for _ in range(4)]
        await asyncio.sleep(0)
        go_on.set()
    values = [task.result()[0] for task in asking]
    assert values == [Complex([1])] * 4
    assert len({id(value.data) for value in values}) == 4


async def test_nothing_is_not_serialized(cache: Cache) -> None:
    value, metrics = await ask(lambda: None)
    assert (value, metrics["source"]) == (None, "none")


async def test_what_no_longer_deserializes_is_a_miss(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    await CacheManager.set("complex_data", "x", {"layout": "of another release"}, "acme")
    value, metrics = await ask(lambda: Complex([7]))
    assert (value, metrics["source"]) == (Complex([7]), "supabase")
    assert "does not deserialize" in caplog.text
    assert "another release" not in caplog.text
    await settled()
    assert await CacheManager.get("complex_data", "x", "acme") == {"serialized": True, "data": [7]}


async def test_a_deserializer_that_fails_on_a_new_value_fails_the_call(cache: Cache) -> None:
    with pytest.raises(ZeroDivisionError):
        await get_with_cache_aside(
            "complex_data", "x", "acme", lambda: 1, deserializer=lambda cached: cached / 0
        )
