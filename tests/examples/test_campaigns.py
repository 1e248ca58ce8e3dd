"""Campaigns: acknowledged at once, and rows of a table by the sync, in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import text

import examples
from cascada import AlertRule, Context
from examples.agent_service.database import Database
from examples.agent_service.process import SERVICE
from examples.agent_service.settings import Settings
from tests.examples.conftest import Running, running
from tests.examples.furniture import created
from tests.examples.serving import served
from tests.examples.test_service import ODD_IDS
from tests.servers.redis import RedisServer

SPRING = {"id": "spring", "name": "Spring", "budget": 10.0}
Row = tuple[str, float, int]
LOCKED = {
    "sqlite": "UPDATE campaigns SET version = version",
    "postgresql": "LOCK TABLE campaigns IN EXCLUSIVE MODE",
}
"""What keeps everybody else from writing until its transaction ends."""


async def rows(service: Running) -> list[Row]:
    return await rows_of(service.service.database)


async def rows_of(database: Database) -> list[Row]:
    """Name, budget and version of each, as the table has them."""
    query = text("SELECT name, budget, version FROM campaigns ORDER BY tenant_id, id")
    return [(row[0], row[1], row[2]) for row in await database.fetch(query)]


async def by_sql(service: Running, statement: str) -> None:
    async with service.service.database.transaction() as connection:
        await connection.execute(text(statement))


async def put(client: httpx.AsyncClient, name: str, budget: float = 10.0) -> dict[str, Any]:
    answer = await client.put("/campaigns/spring", json={"name": name, "budget": budget})
    assert answer.status_code == 200, answer.text
    campaign: dict[str, Any] = answer.json()
    return campaign


async def sync(service: Running) -> Any:
    return await service.service.campaigns.sync_now()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(600):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


async def test_an_update_is_read_at_once_and_is_a_row_after_the_sync(
    service: Running, acme: httpx.AsyncClient
) -> None:
    assert await created(acme, "/campaigns", SPRING) == {**SPRING, "version": 1}
    assert (await acme.post("/campaigns", json=SPRING)).status_code == 409
    for number in range(5):
        changed = await put(acme, "Summer", number)
        assert (await acme.get("/campaigns/spring")).json() == changed
        assert (await acme.get("/campaigns")).json() == [changed]
    assert await rows(service) == [("Spring", 10, 1)]
    assert (await sync(service)).written == 1, "five updates are one row"
    assert await rows(service) == [("Summer", 4, 2)]
    stats = (await acme.get("/stats")).json()["campaigns"]
    assert stats["synced"] is True
    assert stats["lag_seconds"] == 0
    assert stats["last_sync"] is not None
    assert 'cache_sync_rows_total{service="campaigns"} 1.0' in (await acme.get("/metrics")).text


async def test_what_is_cleared_is_read_again_and_its_row_stays(
    service: Running, acme: httpx.AsyncClient
) -> None:
    other = service.client("other")
    for client in (acme, other):
        await created(client, "/campaigns", SPRING)
        await put(client, "Summer")
    cleared = await acme.post("/campaigns/clear")
    assert cleared.json()["cleared"] == 1
    assert (await acme.get("/campaigns/spring")).json() == {**SPRING, "version": 1}, "as its row is"
    assert (await sync(service)).written == 2, "what waited is written all the same"
    assert (await acme.get("/campaigns/spring")).json()["name"] == "Summer"
    await acme.post("/campaigns/clear")
    queries = service.service.database.queries
    assert (await other.get("/campaigns/spring")).json()["name"] == "Summer"
    assert service.service.database.queries == queries, "another tenant's are where they were"
    assert (await acme.get("/campaigns/spring")).json() == {
        **SPRING,
        "name": "Summer",
        "version": 2,
    }
    assert service.service.database.queries == queries + 1
    assert await rows(service) == [("Summer", 10, 2)] * 2


async def test_what_was_read_is_not_written_back(service: Running, acme: httpx.AsyncClient) -> None:
    for number in range(20):
        await created(acme, "/campaigns", {**SPRING, "id": str(number)})
        await acme.get(f"/campaigns/{number}")
    await by_sql(service, "UPDATE campaigns SET name = 'Winter', version = 2 WHERE id = '7'")
    report = await sync(service)
    assert (report.written, report.fills, report.stale_fills) == (0, 19, 1)
    assert (await acme.get("/campaigns/7")).json()["name"] == "Winter"
    assert [row[2] for row in await rows(service)].count(1) == 19


async def test_a_row_that_others_have_changed_stays(
    service: Running, acme: httpx.AsyncClient
) -> None:
    await created(acme, "/campaigns", SPRING)
    await put(acme, "Summer")
    await by_sql(service, "UPDATE campaigns SET name = 'Winter', version = version + 1")
    assert (await acme.get("/campaigns/spring")).json()["name"] == "Summer", "until it is synced"
    assert (await sync(service)).conflicts == {"database_wins": 1}
    assert await rows(service) == [("Winter", 10, 2)]
    assert (await acme.get("/campaigns/spring")).json()["name"] == "Winter"
    told = 'cache_sync_conflicts_total{service="campaigns",strategy="database_wins"} 1.0'
    assert told in (await acme.get("/metrics")).text
    await put(acme, "Autumn")
    assert not (await sync(service)).conflicts
    assert await rows(service) == [("Autumn", 10, 3)]


async def test_the_lag_is_seen_while_the_database_takes_nothing(
    service: Running, acme: httpx.AsyncClient, database_url: str
) -> None:
    await created(acme, "/campaigns", SPRING)
    locking = Database(Settings.from_env({"DATABASE_URL": database_url}).database_url)

    async def lag() -> bool:
        return (await acme.get("/stats")).json()["campaigns"]["lag_seconds"] > 0

    async with locking.transaction() as connection:
        await connection.execute(text(LOCKED[database_url.partition(":")[0]]))
        await put(acme, "Summer")
        assert (await acme.get("/campaigns")).json()[0]["name"] == "Summer"
        syncing = asyncio.create_task(sync(service))
        await until(lag)
        assert not syncing.done()
    await locking.aclose()
    assert (await syncing).written == 1
    assert not await lag()
    assert await rows(service) == [("Summer", 10, 2)]


async def test_what_is_not_there_is_not_made(service: Running, acme: httpx.AsyncClient) -> None:
    await created(service.client("other"), "/campaigns", SPRING)
    for _ in range(2):
        assert (await acme.get("/campaigns/spring")).status_code == 404
        body = {"name": "Summer", "budget": 1}
        assert (await acme.put("/campaigns/spring", json=body)).status_code == 404
    assert (await acme.get("/campaigns")).json() == []
    await created(acme, "/campaigns", SPRING)
    for wrong in (-1, 1e13, "1", None, True):
        body = {"name": "Summer", "budget": wrong}
        assert (await acme.put("/campaigns/spring", json=body)).status_code == 422, wrong
    assert (await sync(service)).written == 0


async def test_any_id_is_an_id_and_many_are_written_at_once(
    service: Running, acme: httpx.AsyncClient
) -> None:
    """None is another's, nor a pattern."""
    ids = [*ODD_IDS, "clear", "campaign:*", "x" * 200, *(f"{n}" for n in range(30))]
    for each in ids:
        await created(acme, "/campaigns", {**SPRING, "id": each})

    async def change(each: str, number: int) -> None:
        path = f"/campaigns/{quote(each, safe='')}"
        answer = await acme.put(path, json={"name": each, "budget": number})
        assert (answer.status_code, answer.json()["name"]) == (200, each)

    await asyncio.gather(*(change(each, number) for number, each in enumerate(ids)))
    assert (await sync(service)).written == len(ids)
    listed = (await acme.get("/campaigns")).json()
    assert {each["id"]: each["budget"] for each in listed} == {
        each: number for number, each in enumerate(ids)
    }
    assert all(each["name"] == each["id"] for each in listed)
    assert {name for name, _, _ in await rows(service)} == {*ids}


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AGENT_SERVICE_CACHE", "off"), ("CACHE_DATABASE_URL", ""), ("CASCADA_MODE", "observe")],
)
async def test_without_a_journal_an_update_is_written_at_once(
    tmp_path: Path, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'service.db'}")
    monkeypatch.setenv(variable, value)
    async with running(Settings.from_env()) as service:
        acme = service.client("acme")
        await created(acme, "/campaigns", SPRING)
        for number in range(3):
            assert (await put(acme, "Summer", number))["version"] == 2 + number
            assert (await acme.get("/campaigns/spring")).json()["budget"] == number
        assert await rows(service) == [("Summer", 2, 4)]
        assert (await acme.get("/stats")).json()["campaigns"]["synced"] is False


async def test_what_the_journal_does_not_take_is_refused(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that may evict anything is none that anything can be promised of."""
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.delenv("CACHE_DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'service.db'}")
    async with running(Settings.from_env()) as service:
        acme = service.client("acme")
        await created(acme, "/campaigns", SPRING)
        refused = await acme.put("/campaigns/spring", json={"name": "Summer", "budget": 1})
        assert (refused.status_code, refused.json()["detail"]) == (
            503,
            "the change could not be kept; try again",
        )
        assert (await acme.get("/campaigns/spring")).json()["name"] == "Spring"
        assert (await sync(service)).written == 0
        assert await rows(service) == [("Spring", 10, 1)]


# --- two workers ----------------------------------------------------------------------------------

EACH = 15
WRITES_ITSELF_DOWN = {
    "sqlite": [
        "CREATE TABLE written (before integer, after integer)",
        "CREATE TRIGGER note AFTER UPDATE ON campaigns BEGIN "
        "INSERT INTO written VALUES (old.version, new.version); END",
    ],
    "postgresql": [
        "CREATE TABLE written (before integer, after integer)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO written VALUES (old.version, new.version); RETURN new; END $$",
        "CREATE TRIGGER note AFTER UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION note()",
    ],
}


@asynccontextmanager
async def worker() -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    """The service in a process of its own, which may be killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *SERVICE), stdout=PIPE, cwd=Path(examples.__file__).parent.parent
    )
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        headers = {"X-Tenant-ID": "acme"}
        async with httpx.AsyncClient(
            base_url=address, headers=headers, timeout=60, trust_env=False
        ) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_two_workers_update_one_campaign_and_one_is_killed(
    database_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row, whose version each write raises by one; what was acknowledged outlives kill -9."""
    kind = database_url.partition(":")[0]
    if kind == "postgresql":  # the one journal in a file, the other in Redis
        redis_server.flush()
        monkeypatch.setenv("REDIS_URL", redis_server.url)
        monkeypatch.delenv("CACHE_DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_SYNC_INTERVAL", "1")
    monkeypatch.setenv("CASCADA_OP_TIMEOUT", "10")  # a machine that is slow refuses nothing
    async with worker() as (process, theirs):
        async with running(Settings.from_env()) as service, served(service.app) as address:
            for statement in WRITES_ITSELF_DOWN[kind]:
                await by_sql(service, statement)
            headers = {"X-Tenant-ID": "acme"}
            async with httpx.AsyncClient(
                base_url=address, headers=headers, timeout=60, trust_env=False
            ) as ours:
                await created(ours, "/campaigns", SPRING)
                async with asyncio.TaskGroup() as group:
                    for name, client in (("ours", ours), ("theirs", theirs)):
                        for number in range(EACH):
                            group.create_task(put(client, f"{name} {number}"))
                last = (await put(ours, "the last", 7))["name"]

                async def is_there() -> bool:
                    return [row[0] for row in await rows(service)] == [last]

                await until(is_there)
                for client in (ours, theirs):
                    assert (await client.get("/campaigns/spring")).json()["name"] == last
                    assert "cache_sync_conflicts_total{" not in (await client.get("/metrics")).text
            written = await service.service.database.fetch(text("SELECT * FROM written"))
            assert [after - before for before, after in written] == [1] * len(written)
            assert (await rows(service))[0][2] == 1 + len(written) <= 2 + 2 * EACH
            assert (await sync(service)).set_aside == 0

        # Now its table is locked, so that nothing can be written, and yet no call fails.
        database = Database(Settings.from_env().database_url)
        async with database.transaction() as connection:
            await connection.execute(text(LOCKED[kind]))
            await put(theirs, "acknowledged", 8)
            process.kill()
            await process.wait()
        before = await rows_of(database)
        await database.aclose()
        assert before == [("the last", 7, before[0][2])]
        async with running(Settings.from_env()) as service:

            async def is_there() -> bool:
                return await rows(service) == [("acknowledged", 8, before[0][2] + 1)]

            await until(is_there)


async def test_operators_see_what_is_set_aside_and_which_alerts_stand(
    service: Running, acme: httpx.AsyncClient
) -> None:
    async def standing() -> dict[str, Any]:
        told: dict[str, Any] = (await acme.get("/stats")).json()["campaigns"]
        return told

    await created(acme, "/campaigns", SPRING)
    await sync(service)
    assert ((await standing())["set_aside"], (await standing())["alerts"]) == (0, [])
    campaigns = service.service.campaigns
    with Context(tenant_id="acme"):
        assert await campaigns.set("campaign:nameless", {"name": None, "budget": 1})
    await sync(service)
    assert (await standing())["set_aside"] == 1, "it waits for somebody"
    await campaigns.start_alerts([AlertRule("memory", 0, lasts=0)])
    (alert,) = (await standing())["alerts"]
    assert alert.startswith("campaigns: memory is ")
