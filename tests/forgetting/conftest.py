"""Processes that share tiers, and what lies in these tiers' files."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, Limits
from cascada.tiers.sqlite import erasing
from tests.servers.redis import RedisServer

MARKER = "mark-4711"

OTHERS = ("a:b", "a*", "a[b]", "a%", "t", "k", "g", "b", "A")
"""Tenants whose names begin like `a`, or mean something in a pattern or among names."""


class World:
    """One set of shared tiers, by name: "memory", or several of "redis", "sqlite", "behind"."""

    def __init__(self, kind: str, folder: Path, redis: RedisServer | None) -> None:
        self.kind = kind
        self.folder = folder
        self.redis = redis
        self.made: list[Cache] = []

    def cache(self, **options: Any) -> Cache:
        if self.redis is not None:
            options.setdefault("redis", self.redis.url)
        if "sqlite" in self.kind:
            options.setdefault("database", str(self.folder / "cache.db"))
        if "behind" in self.kind:
            options.setdefault("write_strategy", "WRITE_BEHIND")
        options.setdefault("limits", Limits(op_timeout=10, invalidate_patience=0.1))
        made = Cache(namespace="forget*", **options)
        self.made.append(made)
        return made

    def service(self, cache: Cache) -> CacheService:
        """One that journals what is set; nobody writes it anywhere."""
        database = f"sqlite:///{self.folder / 'app.db'}"
        return CacheService(name="notes", cache=cache, database=database)

    def found(self, marker: str = MARKER) -> dict[str, int]:
        """In which file of the tiers the marker is, and how often."""
        if self.redis is not None:
            assert self.redis.say("SAVE") == b"+OK\r\n"
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and (times := path.read_bytes().count(marker.encode())):
                found[path.name] = times
        return found


@pytest.fixture(params=["memory", "redis", "sqlite", "redis+sqlite", "redis+sqlite+behind"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from _world(request.param, tmp_path)


@pytest.fixture(params=["redis", "sqlite", "redis+sqlite"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    yield from _world(request.param, tmp_path)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[World]:
    yield from _world("redis+sqlite", tmp_path)


def _world(kind: str, folder: Path) -> Iterator[World]:
    redis = None
    if "redis" in kind:
        (folder / "redis").mkdir()
        # Strings as they are: compressed, the marker would not be found.
        redis = RedisServer(folder / "redis", "--rdbcompression", "no")
    yield World(kind, folder, redis)
    if redis is not None:
        redis.kill()


@pytest.fixture(autouse=True)
async def closed(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Caches close before the server goes."""
    name = next(
        (each for each in ("world", "shared", "both") if each in request.fixturenames), None
    )
    world = None if name is None else request.getfixturevalue(name)
    yield
    for cache in [] if world is None else world.made:
        await cache.aclose()


def text(marker: str, length: int, seed: int) -> str:
    """Something that no compression makes smaller, with the marker in it."""
    return marker + random.Random(seed).randbytes(length).hex()


async def fill(cache: Cache, tenant: str, marker: str, count: int) -> None:
    """Values of all kinds, whose keys, tags and payloads bear the marker."""
    handle = cache.tenant(tenant)
    values = {f"{marker}:{n}": {"v": text(marker, 20, n)} for n in range(count)}
    await handle.set_many("doc", values, tags=[marker], ttl=3600)
    await handle.set("doc", f"{marker}:large", text(marker, 200_000, 1), ttl=3600)
    await handle.set("doc", f"{marker}:0", [marker, "again"], ttl=3600)
    await handle.set("doc", f"{marker}:dated", marker, version=7, ttl=3600)
    await handle.delete("doc", f"{marker}:1")
    await handle.invalidate(tag=f"{marker}-never")
    await handle.within(agent=marker).set("doc", "of-agent", marker, ttl=3600)

    async def made_of_it() -> str:
        return str((await handle.get("doc", f"{marker}:2")).value) + marker

    await handle.load("answer", marker, made_of_it)
    await handle.list(marker).rpush(marker)
    await handle.list(f"{marker}-long").rpush(marker * 100)
    await handle.increment("calls", marker, amount=3)
    await handle.increment("calls", f"{marker}-ends", ttl=3600)


async def set_in_service(
    service: CacheService, tenant: str, marker: str, count: int, *, start: int = 0
) -> None:
    with Context(tenant_id=tenant):
        for n in range(start, start + count):
            assert await service.set(f"{marker}:{n}", text(marker, 20, n), fetched=False)
            for _ in range(2):
                await service.get(f"{marker}:{n}")


async def is_whole(cache: Cache, tenant: str, marker: str, count: int) -> bool:
    """Whether all that `fill` has made of this tenant is there."""
    handle = cache.tenant(tenant)
    ids = [f"{marker}:{n}" for n in range(count) if n != 1]
    hits = await handle.get_many("doc", [*ids, f"{marker}:large", f"{marker}:dated"])
    assert await handle.within(agent=marker).get("doc", "of-agent")
    assert await handle.list(marker).range() == [marker]
    assert await handle.list(f"{marker}-long").length() == 1
    assert await handle.counter("calls", marker) == 3
    assert await handle.counter("calls", f"{marker}-ends") == 1
    return all(hits)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a few rows, so that there are many."""
    monkeypatch.setattr(erasing, "CHUNK", 5)
