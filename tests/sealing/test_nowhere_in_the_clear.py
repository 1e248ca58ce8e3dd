"""Of whatever a cache does with sensitive values, no piece of one is found where others can look:
snapshots and log of Redis, files of the database and the journal, logs, events, explanations."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from cascada import (
    Cache,
    CacheService,
    Context,
    Loaded,
    Mapping,
    Policy,
    Tenant,
    configure,
    get_cache_analytics,
)
from cascada.integrations.fastapi import cached_response, lifespan, tenant_handle
from cascada.integrations.langgraph import CascadaCache
from cascada.integrations.prometheus import exposition
from cascada.model.errors import CascadaError
from cascada.model.events import Event
from cascada.testing.inside import inside
from tests.sealing.conftest import KEYS
from tests.sealing.test_sealed import everything
from tests.servers.redis import RedisServer

SECRET = "hush1512"


class Odd:
    """What cannot be stored, and shows what it holds."""

    def __repr__(self) -> str:
        return SECRET


async def values_of_all_kinds(cache: Cache) -> None:
    t = cache.tenant("acme")

    async def pieces() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{SECRET}-{number}"

    async def broken() -> AsyncIterator[str]:
        yield SECRET
        raise ValueError(SECRET)

    async def fails() -> str:
        raise ValueError(SECRET)

    assert len([each async for each in t.stream("doc", "stream", pieces)]) == 3
    with pytest.raises(ValueError, match=SECRET):
        [each async for each in t.stream("doc", "broken", broken)]
    for _ in range(2):
        with pytest.raises(ValueError, match=SECRET):
            await t.load("doc", "fails", fails)
    assert (await t.load("doc", "loaded", lambda: Loaded(SECRET * 9, tags=["a-tag"]))).value
    assert (await t.load("doc", "stale", lambda: SECRET, ttl=0.001)).value
    await asyncio.sleep(0.01)
    assert (await t.load("doc", "stale", fails)).stale
    assert (await t.load("doc", "odd", lambda: {SECRET: Odd(), 5: [SECRET, Odd()]})).value
    assert (await t.load("doc", "large", lambda: SECRET * 200_000)).value
    assert (await t.load("doc", "array", lambda: [0.5] * 100)).value
    for wrong in (Odd(), {SECRET: Odd()}, [SECRET, {1: Odd()}]):
        with pytest.raises(CascadaError):
            await t.set("doc", "wrong", wrong)
    await t.set("number", "1", {"n": SECRET})
    assert not await t.get("number", "1", type=int)
    await t.set_many("doc", {f"{n}": (SECRET, n) for n in range(9)})
    await t.touch("doc", "3", 100)
    await t.add("doc", "added", SECRET)
    assert await t.fill(await t.get("doc", "filled"), SECRET)
    for _ in range(3):
        await t.list("queue").rpush([SECRET])
    await t.set("doc", "absent", None)
    explained = [await t.explain("doc", name) for name in ("odd", "large", "3", "fails")]
    assert SECRET not in f"{explained!r}{[str(each) for each in explained]}"


async def kept_responses(cache: Cache) -> None:
    app = FastAPI(lifespan=lifespan(cache))

    @app.get("/page")
    @cached_response(ttl=60)
    async def page(mine: Annotated[Tenant, Depends(tenant_handle)]) -> dict[str, str]:
        return {"secret": SECRET}

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        for _ in range(2):
            answer = await http.get("/page", headers={"X-Tenant-ID": "acme"})
            assert answer.json() == {"secret": SECRET}


async def of_a_graph(cache: Cache) -> None:
    kept: CascadaCache[Any] = CascadaCache(cache, tenant="acme")
    await kept.aset({(("a",), "k"): ({"messages": [SECRET]}, None)})


async def of_a_service(cache: Cache, folder: Path) -> None:
    mapped = Mapping("odd:", "odd", ["name"], tenant="acme")
    with sqlite3.connect(folder / "application.db") as connection:
        connection.execute("CREATE TABLE odd (id TEXT PRIMARY KEY, name TEXT CHECK (name = '?'))")
        connection.execute("INSERT INTO odd VALUES ('1', '?')")
    connection.close()
    service = CacheService(
        cache=cache, database=f"sqlite:///{folder / 'application.db'}", mappings=[mapped]
    )
    with Context(tenant_id="acme"):
        assert await service.set("a:1", {"name": SECRET})
        assert await service.set("a:2", (SECRET, b"x"))
        assert (await service.sync_now()).written == 2
        assert await service.set("odd:1", {"name": SECRET}, fetched=False)
        assert await service.set("odd:2", {"name": [SECRET]}, fetched=False)
        report = await service.sync_now()
        assert report.set_aside
        assert SECRET not in repr(report)
        assert SECRET not in repr(await service.sync_set_aside())
        await service.get("a:1", type=int)
    await service.stop_sync()


@pytest.mark.parametrize("write_strategy", ["WRITE_THROUGH", "WRITE_BEHIND"])
async def test_no_piece_of_a_value_is_where_others_can_look(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, write_strategy: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    # No values: whoever tests is not sealed.
    for loud in ("httpx", "aiosqlite", "asyncio"):
        logging.getLogger(loud).setLevel(logging.WARNING)
    server.say("CONFIG", "SET", "appendonly", "yes")
    events: list[Event] = []
    cache = Cache(
        redis=server.url, database=str(tmp_path / "cache.db"), encryption_keys=KEYS,
        encrypt="all", write_strategy=write_strategy, observers=[events.append],
        default_policy=Policy(stale_if_error=60, none_ttl=60),
    )  # fmt: skip
    configure(cache)
    async with cache:
        await values_of_all_kinds(cache)
        await kept_responses(cache)
        await of_a_graph(cache)
        await of_a_service(cache, tmp_path)
        stats = await cache.stats()
        told = f"{events!r}{stats!r}{stats}{await get_cache_analytics()}{await exposition(cache)!r}"
        assert SECRET not in told
        await cache.tenant("acme").set("canary", SECRET + "-id", 1)  # ids are in the clear
        inside(cache).stack.memory.flush()
        server.say("SAVE")
    found = b"".join(everything(tmp_path))
    assert f"{SECRET}-id".encode() in found, "else nothing would be found at all"
    assert SECRET.encode() not in found.replace(f"{SECRET}-id".encode(), b"")
    assert SECRET not in caplog.text.replace(f"{SECRET}-id", "")
