"""Strict lookups while the source changes: what was read before a change is stored nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cascada import Cache, Loaded, Policy, Scope
from tests.api.settled import settled

MakeCache = Callable[..., Cache]


async def test_what_was_asked_before_an_invalidation_is_kept_at_no_level(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(policy=Policy(ttl=100, lookup="by_level"))
    row = ["old"]
    acme = cache.tenant("acme", agent="a1")

    async def loader() -> Loaded[str]:
        read = row[0]
        if read == "old":
            row[0] = "new"
            await cache.tenant("acme").invalidate("x", "1")
        return Loaded(read, scope=Scope())

    await acme.load("x", "1", loader)
    await settled()
    plain: Any = await cache.tenant("acme").load("x", "1", lambda: row[0])
    assert plain.value == "new"
    assert (await acme.load("x", "1", loader)).value == "new"


async def test_what_was_asked_is_kept_with_what_the_loader_has_read(make_cache: MakeCache) -> None:
    cache = make_cache(policy=Policy(ttl=100, lookup="by_level"))
    acme = cache.tenant("acme", agent="a1")
    row = ["old"]

    async def loader() -> Loaded[str]:
        hit = await cache.tenant("acme").load("y", "source", lambda: row[0])
        return Loaded(f"made of {hit.value}", scope=Scope())

    await acme.load("x", "1", loader)
    await settled()
    row[0] = "new"
    await cache.tenant("acme").invalidate("y", "source")
    assert (await acme.load("x", "1", loader)).value == "made of new"
