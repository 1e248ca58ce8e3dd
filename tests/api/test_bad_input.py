"""What the documents call an error says what to do about it, through every face alike."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from cascada import (
    Cache,
    CacheManager,
    Context,
    InvalidKey,
    InvalidPolicy,
    InvalidTTL,
    MissingTenant,
    Policy,
    SerializationError,
    cached,
    get_with_cache_aside,
)

SURROGATE = "\ud800"

TENANTS = [
    (None, MissingTenant, "tenant is None; pass the id of the tenant whose data this is"),
    ("", MissingTenant, "tenant is ''; pass the id of the tenant"),
    (" \t", MissingTenant, "there is no default, so that no tenant ever sees another's values"),
    (True, InvalidKey, "tenant is True (bool); pass a str, an int or a UUID"),
    (b"acme", InvalidKey, "tenant is b'acme' (bytes); pass a str, an int or a UUID"),
    (SURROGATE, InvalidKey, "lone surrogate"),
    ("x" * 1025, InvalidKey, "tenant has 1025 characters, at most 1024 are allowed"),
]
IDS = [
    (None, "resource_id is None (NoneType); pass a str, an int or a UUID"),
    ("", 'resource_id is ""; pass a non-empty id'),
    (False, "resource_id is False (bool); pass a str, an int or a UUID"),
    (1.5, "resource_id is 1.5 (float); pass a str, an int or a UUID"),
    (["d1"], "resource_id is ['d1'] (list)"),
    (SURROGATE, "lone surrogate"),
    ("x" * 1025, "pass generate_resource_id_hash(...) of it"),
]
TTLS = [
    (-1, "ttl is -1; a duration is at least 0 (0 means never)"),
    (-0.5, "ttl is -0.5; a duration is at least 0 (0 means never)"),
    (timedelta(seconds=-1), "a duration is at least 0"),
    (float("nan"), "ttl is nan"),
    (True, "ttl is True (bool); pass seconds, a timedelta, or FOREVER (0) for never"),
    ("300", "ttl is '300' (str); pass seconds, a timedelta, or FOREVER (0) for never"),
    ([300], "ttl is [300] (list)"),
]


async def fetch() -> str:
    return "v"


Face = Callable[..., Awaitable[Any]]


async def manager_get(tenant: Any = "acme", resource_id: Any = "r1", **parts: Any) -> Any:
    return await CacheManager.get("agent", resource_id, tenant, **parts)


async def manager_set(
    tenant: Any = "acme", resource_id: Any = "r1", ttl: Any = 5, value: Any = "v", **parts: Any
) -> Any:
    return await CacheManager.set("agent", resource_id, value, tenant, ttl=ttl, **parts)


async def manager_invalidate(tenant: Any = "acme", resource_id: Any = "r1", **parts: Any) -> Any:
    return await CacheManager.invalidate(tenant, "agent", resource_id, **parts)


async def manager_delete(tenant: Any = "acme", resource_id: Any = "r1", **parts: Any) -> Any:
    return await CacheManager.delete("agent", resource_id, tenant, **parts)


async def manager_ttl(tenant: Any = "acme", resource_id: Any = "r1", **parts: Any) -> Any:
    return await CacheManager.ttl("agent", resource_id, tenant, **parts)


async def aside(
    tenant: Any = "acme", resource_id: Any = "r1", ttl: Any = 5, value: Any = "v", **parts: Any
) -> Any:
    def given() -> Any:
        return value

    return await get_with_cache_aside("agent", resource_id, tenant, given, ttl=ttl, **parts)


FACES: list[Face] = [
    manager_get,
    manager_set,
    manager_invalidate,
    manager_delete,
    manager_ttl,
    aside,
]
STORING: list[Face] = [manager_set, aside]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("tenant", "error", "sentence"), TENANTS)
async def test_tenants(
    cache: Cache, face: Face, tenant: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        await face(tenant=tenant)
    assert sentence in str(caught.value)
    assert caught.value.__context__ is None  # a traceback shows nothing before it
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(("resource_id", "sentence"), IDS)
async def test_ids(cache: Cache, face: Face, resource_id: Any, sentence: str) -> None:
    if face is manager_invalidate and isinstance(resource_id, list):
        assert await face(resource_id=resource_id) == 0  # which takes several
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is compared below
        await face(resource_id=resource_id)
    if not (face is manager_invalidate and resource_id is None):
        assert isinstance(caught.value, InvalidKey)
        assert sentence in str(caught.value)
    else:
        assert '"*" for every resource of the type' in str(caught.value)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("part", ["agent", "conversation", "collection"])
async def test_context_parts(cache: Cache, face: Face, part: str) -> None:
    for uuid in (UUID(int=1), 7, None):
        await face(**{f"{part}_id": uuid})
    with pytest.raises(InvalidKey, match=f'{part} is ""; leave it out'):
        await face(**{f"{part}_id": ""})


@pytest.mark.parametrize("face", STORING)
@pytest.mark.parametrize(("ttl", "sentence"), TTLS)
async def test_ttls(cache: Cache, face: Face, ttl: Any, sentence: str) -> None:
    with pytest.raises(InvalidTTL) as caught:
        await face(ttl=ttl)
    assert sentence in str(caught.value)
    await manager_set()
    with pytest.raises(InvalidTTL):
        await face(ttl=ttl)  # on a hit as well


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "value is an object, which would not come back as it is"),
        ({"a": [1, {"b": fetch}]}, "value.a[1].b is a function"),
        ({"when": iter([])}, "value.when is a list_iterator"),
        ({"text": SURROGATE}, "lone surrogate, which is no character; pass it as bytes"),
        ([bytearray(1)], "value[0] is a bytearray"),
    ],
)
async def test_values_that_cannot_be_stored(cache: Cache, value: Any, sentence: str) -> None:
    with pytest.raises(SerializationError) as caught:
        await manager_set(value=value)
    assert sentence in str(caught.value)
    loaded, metrics = await aside(value=value)  # what a loader has made goes to its caller
    assert loaded is value
    assert metrics["source"] == "supabase"


@pytest.mark.parametrize(("tenant", "error", "sentence"), TENANTS[3:])
async def test_the_decorator_s_tenant(
    cache: Cache, tenant: Any, error: type[Exception], sentence: str
) -> None:
    with Context(tenant_id=tenant), pytest.raises(error) as caught:
        await cached("agent")(fetch)()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("field", ["ttl", "max_ttl", "none_ttl", "stale_for", "stale_if_error"])
@pytest.mark.parametrize("wrong", [-1, True, "5"])
def test_policies(field: str, wrong: Any) -> None:
    with pytest.raises(InvalidTTL, match=f"Policy.{field} is {wrong!r}"):
        Policy(**{field: wrong})


@pytest.mark.parametrize(
    ("field", "known"), [("lookup", "nearest, exact, by_level"), ("codec", "f32, f64")]
)
def test_what_a_policy_may_choose(field: str, known: str) -> None:
    with pytest.raises(InvalidPolicy, match=f"Policy.{field} is 'most'; pass one of {known}"):
        Policy(**{field: "most"})  # type: ignore[arg-type]
