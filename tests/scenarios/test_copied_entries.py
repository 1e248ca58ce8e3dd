"""What somebody copies inside a store is nobody's value there, and the cache goes on without it."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
import redis

from cascada.model.entry import Miss
from cascada.model.errors import CorruptEntry
from tests.scenarios.conftest import MakeCache
from tests.servers.redis import RedisServer


def copy_in_redis(server: RedisServer, source: str, target: str) -> None:
    """An entry's bytes, with the stamps of the one that they replace."""
    with contextlib.closing(redis.Redis.from_url(server.url)) as client:
        (there,) = client.keys(f"*:v:{target}")
        secret = client.get(there.decode().replace(target, source))
        old = client.get(there)
        end = 50 + 8 * int.from_bytes(old[46:48], "little")
        client.set(there, secret[:50] + old[50:end] + secret[end:])


def copy_in_database(path: Path, source: str, target: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE entries SET envelope = (SELECT envelope FROM entries WHERE key = ?)"
            " WHERE key = ?",
            (source, target),
        )


@pytest.mark.parametrize("target", ["evil:x:1", "acme:x:2"])
async def test_a_copied_entry_is_a_counted_miss_that_the_next_load_replaces(
    make_cache: MakeCache,
    tiers: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    target: str,
) -> None:
    writer, reader = make_cache(), make_cache()
    tenant, _, number = target.split(":")
    await writer.tenant("acme").set("x", "1", "secret")
    await writer.tenant(tenant).set("x", number, "own")
    if "redis" in tiers:
        copy_in_redis(request.getfixturevalue("redis_server"), "acme:x:1", target)
    if "sqlite" in tiers:
        copy_in_database(tmp_path / "cache.db", "acme:x:1", target)
    there = reader.tenant(tenant)
    lower = 0 if tiers == "memory" else tiers.count(" and ") + 1
    assert isinstance(await there.get("x", number), Miss)
    assert (await reader.stats()).types["x"].corrupt == lower
    # The database drops what was found damaged, at some moment from here on.
    states = [each.state for each in (await there.explain("x", number)).findings]
    assert states[:2] == ["absent", "corrupt"] if "redis" in tiers else "fresh" not in states
    assert (await there.load("x", number, lambda: "loaded")).value == "loaded"
    hit = await make_cache().tenant(tenant).load("x", number, lambda: "again")
    assert hit.value == ("again" if tiers == "memory" else "loaded")


async def test_an_item_that_was_copied_to_another_list_is_none_of_its_items(
    make_cache: MakeCache, redis_server: RedisServer
) -> None:
    redis_server.flush()
    cache = make_cache(redis=redis_server.url)
    await cache.tenant("acme").list("l").rpush("secret")
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as client:
        (there,) = client.keys("*:d:acme:l")
        client.copy(there, there.replace(b"acme", b"evil"))
    for call in ("range", "lpop"):
        with pytest.raises(CorruptEntry, match="another key"):
            await getattr(cache.tenant("evil").list("l"), call)()
    assert await cache.tenant("acme").list("l").range() == ["secret"]
