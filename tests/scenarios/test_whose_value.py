"""A value belongs to its caller, the first one's too: the loader may keep what it gave."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cascada import Cache, Context, Loaded, cached, configure, get_with_cache_aside
from cascada.api.tenant.handle import Tenant
from cascada.model.policy import Policy

DEFAULT: dict[str, Any] = {"tools": ["search"], "limits": {"n": 1}}
"""What a module holds, and its loader hands out."""


async def default() -> dict[str, Any]:
    return DEFAULT


async def by_load(acme: Tenant) -> Any:
    return (await acme.load("x", 1, default)).value


async def by_plain_load(acme: Tenant) -> Any:
    return (await acme.load("x", 1, lambda: DEFAULT)).value


async def by_unstored_load(acme: Tenant) -> Any:
    return (await acme.load("x", 1, lambda: Loaded(DEFAULT, store=False))).value


async def by_load_many(acme: Tenant) -> Any:
    return (await acme.load_many("x", [1], lambda ids: [DEFAULT for _ in ids]))[0].value


async def by_cache_aside(acme: Tenant) -> Any:
    value, _ = await get_with_cache_aside("x", "1", "acme", default)
    return value


async def by_cached(acme: Tenant) -> Any:
    with Context(tenant_id="acme"):
        return await cached("x")(default)()


async def by_stream(acme: Tenant) -> Any:
    async def pieces() -> Any:
        yield DEFAULT

    (piece,) = [piece async for piece in acme.stream("x", 1, pieces)]
    return piece


Way = Callable[[Tenant], Awaitable[Any]]
WAYS = [
    by_load,
    by_plain_load,
    by_unstored_load,
    by_load_many,
    by_cache_aside,
    by_cached,
    by_stream,
]


@pytest.mark.parametrize("tiers", ["memory", "redis and sqlite"], indirect=True)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_the_first_caller_changes_nothing_but_his_own(cache: Cache, way: Way) -> None:
    configure(cache)
    acme = cache.tenant("acme")
    before = repr(DEFAULT)
    first, follower = await asyncio.gather(way(acme), way(acme))
    for value in (first, follower):
        value["tools"].append("mine")
        value["limits"]["n"] = 2
    assert repr(DEFAULT) == before
    assert repr(await way(acme)) == before


@pytest.mark.parametrize("tiers", ["memory"], indirect=True)
async def test_what_is_shared_or_immutable_is_one_object(make_cache: Callable[..., Cache]) -> None:
    acme = make_cache(policy=Policy(shared=True)).tenant("acme")
    first = await by_load(acme)
    assert first is not DEFAULT
    assert (await acme.get("x", 1)).value is first
    text = ("a tuple", 1.5)
    assert (await acme.load("y", 1, lambda: text)).value is (await acme.get("y", 1)).value
