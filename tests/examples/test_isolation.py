"""No tenant ever sees, changes or learns of another's data; every route is held to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import event, select

from examples.agent_service.app import create_app
from examples.agent_service.schema import metadata
from examples.agent_service.settings import Settings
from tests.examples.attack import (
    OF_A_RESOURCE,
    OF_A_TENANT,
    OPEN,
    Ids,
    Operation,
    furnish,
    ids_of,
    operations,
    send,
)
from tests.examples.conftest import Running, new_database
from tests.servers.redis import RedisServer

SECRET = "classified"
"""Stands in every text of the victim, and nowhere else."""

State = dict[str, list[Any]]


VICTIM, OWN = ids_of("victim"), ids_of("own")


async def reads(client: httpx.AsyncClient, ids: Ids) -> list[str]:
    """All that a tenant can read, cached afterwards; each answer is there."""
    answers = []
    for operation in OF_A_RESOURCE:
        if operation.method == "GET" or operation.path.endswith("/query"):
            answer = await send(client, operation, ids)
            assert answer.status_code == 200, (str(operation), answer.text)
            answers.append(answer.text)
    return answers


async def rows(service: Running, tenant: str) -> State:
    """All that the database holds of a tenant."""
    fetch = service.service.database.fetch
    return {
        table.name: [tuple(row) for row in await fetch(
            select(table).where(table.c.tenant_id == tenant).order_by(*table.primary_key.columns)
        )]
        for table in metadata.sorted_tables
    }  # fmt: skip


class Victim:
    """A tenant with one of everything, and what it has."""

    def __init__(self, service: Running, ids: Ids, state: State, answers: list[str]) -> None:
        self._service = service
        self.client = service.client("victim")
        self.ids = ids
        self._rows = state
        self._answers = answers

    async def is_as_before(self, after: str) -> None:
        assert await rows(self._service, "victim") == self._rows, after
        assert await reads(self.client, self.ids) == self._answers, after


@pytest.fixture(params=["sqlite cold", "sqlite below", "sqlite redis", "postgresql memory"])
async def database_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An empty database, and where the victim's values are cached when an attack begins."""
    if request.param.endswith("redis"):
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.delenv("CACHE_DATABASE_URL")
    return await new_database(request.param.split()[0], request, tmp_path)


@pytest.fixture
def temperature(request: pytest.FixtureRequest, database_url: str) -> str:
    """`cold`: cached nowhere. `memory`: there. `below`: in the cache's database alone. `redis`: in
    Redis alone."""
    chosen: str = request.node.callspec.params["database_url"]
    return chosen.split()[1]


@pytest.fixture
async def victim(service: Running) -> Victim:
    """A tenant with one of everything, all of it cached; `temper` comes before each attack."""
    client = service.client("victim")
    ids = await furnish(client, VICTIM, SECRET)
    answers = await reads(client, ids)
    assert all(SECRET in answer for answer in answers)
    return Victim(service, ids, await rows(service, "victim"), answers)


async def temper(service: Running, temperature: str) -> None:
    cache = service.service.cache
    if temperature == "cold":
        await cache.tenant("victim").invalidate()
    elif temperature in ("below", "redis"):
        await cache.reset()


def attacks(operation: Operation, victim: Ids, own: Ids) -> Iterator[Ids]:
    """The victim's ids: all that an operation takes, then each in place of an own."""
    yield {**own, **{name: victim[name] for name in operation.ids}}
    if len(operation.ids) > 1:
        yield from ({**own, name: victim[name]} for name in operation.ids)


async def test_another_tenants_resources_are_not_there(
    service: Running, victim: Victim, temperature: str
) -> None:
    intruder = service.client("intruder")
    own = await furnish(intruder, OWN, "mine")
    await reads(intruder, own)
    before = await rows(service, "intruder")
    for operation in OF_A_RESOURCE:
        await temper(service, temperature)
        for ids in attacks(operation, victim.ids, own):
            answer = await send(intruder, operation, ids)
            what = f"{operation} with {ids}"
            assert answer.status_code == 404, (what, answer.text)
            assert SECRET not in answer.text + str(answer.headers), what
        await victim.is_as_before(str(operation))
    assert await rows(service, "intruder") == before


async def test_a_tenant_that_takes_the_same_ids_meets_its_own_alone(
    service: Running, victim: Victim, temperature: str
) -> None:
    twin = service.client("twin")
    own = await furnish(twin, VICTIM, "mine")
    for operation in OF_A_TENANT:
        if operation.method == "GET":  # which changes nothing: one twin reads all
            await temper(service, temperature)
            assert SECRET not in (await send(twin, operation, own)).text, str(operation)
    assert SECRET not in "".join(await reads(twin, own))
    for number, operation in enumerate(OF_A_TENANT):
        if operation.method != "GET":
            twin = service.client(f"twin-{number}")
            own = await furnish(twin, VICTIM, "mine")
            await temper(service, temperature)
            assert SECRET not in (await send(twin, operation, own)).text, str(operation)
    await victim.is_as_before("all twins' requests")


async def test_what_is_open_to_all_tells_nothing_of_anybody(
    service: Running, victim: Victim, temperature: str
) -> None:
    for path in sorted(OPEN | {"/", "/openapi.json", "/docs"}):
        answer = await service.client(None).get(path)
        assert answer.status_code == 200
        for word in (SECRET, "victim"):
            assert word not in answer.text + str(answer.headers), path


def test_the_document_tells_all_routes() -> None:
    assert len(OF_A_TENANT) >= 20
    assert {each.path for each in operations()} >= OPEN
    routed = [r for r in create_app(Settings()).routes if isinstance(r, APIRoute)]
    assert all(route.include_in_schema for route in routed)


@pytest.mark.parametrize("database_url", ["sqlite cold"], indirect=True)
@pytest.mark.parametrize("header", [{}, {"X-Tenant-ID": ""}, {"X-Tenant-ID": "  "}])
async def test_a_request_without_a_tenant_is_refused(
    service: Running, header: dict[str, str]
) -> None:
    for operation in OF_A_TENANT:
        method, path, body = operation.request({**OWN, "message_id": "1"})
        answer = await service.client(None).request(method, quote(path), json=body, headers=header)
        assert answer.status_code == 400, str(operation)
        sentence = answer.json()["detail"]
        assert sentence.startswith("X-Tenant-ID: ")
        assert "pass the id of the tenant whose data this is" in sentence


@pytest.fixture
def statements(service: Running) -> Iterator[list[str]]:
    """Every statement that reaches the database from now on."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    engine = service.service.database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("database_url", ["sqlite cold", "postgresql memory"], indirect=True)
async def test_each_attack_is_a_good_request_of_its_own_tenant_whom_every_statement_names(
    service: Running, statements: list[str]
) -> None:
    """Else the attacks would be refused for another reason, and prove nothing."""
    for number, operation in enumerate(OF_A_TENANT):
        client = service.client(f"honest-{number}")
        answer = await send(client, operation, await furnish(client, OWN, "mine"))
        assert answer.is_success, (str(operation), answer.status_code, answer.text)
    verbs = {statement.split()[0] for statement in statements}
    assert {"SELECT", "INSERT", "UPDATE", "DELETE"} <= verbs
    assert [statement for statement in statements if "tenant_id" not in statement] == []
