"""`get_with_cache_aside`: what callbacks are given, and what serializers make of values."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from cascada import (
    BadInput,
    Cache,
    CacheManager,
    Context,
    Loaded,
    Policy,
    get_with_cache_aside,
)
from tests.api.settled import settled


async def nothing(resource_id: str) -> None:
    return None


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

    monkeypatch.setattr("cascada.api.documents.callbacks.inspect.signature", counting)
    monkeypatch.setattr("cascada.api.documents.callbacks._inspected", WeakKeyDictionary())
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


async def test_what_no_longer_deserializes_is_replaced_once_for_many_who_meet_it(
    cache: Cache,
) -> None:
    """Who comes to let go of it late finds the new value there, and leaves it."""
    await CacheManager.set("complex_data", "x", {"layout": "of another release"}, "acme")
    fetched = []

    async def fetch() -> Complex:
        fetched.append(1)
        return Complex([7])

    async def later(turns: int) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await ask(fetch)

    answers = await asyncio.gather(*[later(turns % 25) for turns in range(100)])
    assert [value for value, _ in answers] == [Complex([7])] * 100
    assert len(fetched) == 1


async def test_a_deserializer_that_fails_on_a_new_value_fails_the_call(cache: Cache) -> None:
    fetched = []

    def fetch(resource_id: str) -> int:
        fetched.append(resource_id)
        return 1

    with pytest.raises(ZeroDivisionError):
        await get_with_cache_aside(
            "complex_data", "x", "acme", fetch, deserializer=lambda cached: cached / 0
        )
    assert fetched == ["x"]


async def test_a_known_absence_is_not_deserialized(cache: Cache) -> None:
    for hit in (False, True):
        value, metrics = await get_with_cache_aside(
            "remembered", "x", "acme", nothing, deserializer=lambda cached: cached["data"]
        )
        await settled()
        assert (value, metrics["cache_hit"]) == (None, hit)


async def test_the_serialized_form_is_of_no_declared_type(cache: Cache) -> None:
    cache.set_policy("complex_data", Policy(type=Complex))
    for hit in (False, True):
        value, metrics = await ask(lambda: Complex([1]))
        await settled()
        assert (value, metrics["cache_hit"]) == (Complex([1]), hit)


async def test_a_ctx_of_another_tenant_is_refused_also_on_a_hit(cache: Cache) -> None:
    def fetch(resource_id: str) -> str:
        return "acme's"

    own, other = Context(tenant_id="acme"), Context(tenant_id="globex")
    for _ in "miss", "hit":
        with pytest.raises(BadInput, match="tenant_id is 'acme', and ctx is of tenant 'globex'"):
            await get_with_cache_aside("d", "1", "acme", fetch, ctx=other)
        assert (await get_with_cache_aside("d", "1", "acme", fetch, ctx=own))[0] == "acme's"


async def test_callbacks_see_what_the_ctx_says_and_the_key_does_not(cache: Cache) -> None:
    ctx = Context(tenant_id="acme", agent_id=7, conversation_id="c1", collection_id="k1")

    def seen(agent_id: str, conversation_id: str, collection_id: str) -> list[str]:
        return [agent_id, conversation_id, collection_id]

    value, _ = await get_with_cache_aside("d", "1", "acme", seen, agent_id="mine", ctx=ctx)
    assert value == ["mine", "c1", "k1"]
    value, _ = await get_with_cache_aside("d", "2", "acme", None, seen, ctx=ctx)
    assert value == ["7", "c1", "k1"]
    await settled()
    assert await cache.tenant("acme").get("d", "2"), "under a key of the arguments alone"
