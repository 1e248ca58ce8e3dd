"""No tenant ever sees, changes or learns of another's data; every route is held to it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import event

from examples.agent_service.app import create_app
from examples.agent_service.settings import Settings
from tests.examples.conftest import Running
from tests.examples.furniture import AGENT, created, furnish, said

IDS = {
    "agent_id": "a1",
    "tool_id": "t1",
    "conversation_id": "c1",
    "collection_id": "birds",
    "document_id": "owls",
}
# A body that is right for each route that takes one, so that nothing but the tenant stands against
# it; a route that is missing here fails the test.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/agents/{agent_id}"): {**AGENT, "name": "Intruder"},
    ("POST", "/agents/{agent_id}/tools"): {"id": "i", "name": "i", "description": "i"},
    ("POST", "/agents/{agent_id}/query"): {"collection_id": "birds", "question": "What?"},
    ("POST", "/conversations/{conversation_id}/messages"): {"text": "Intruder"},
    ("POST", "/collections/{collection_id}/documents"): {
        "documents": [{"id": "i", "title": "i", "text": "i."}]
    },
    ("PUT", "/collections/{collection_id}/documents/{document_id}"): {"title": "i", "text": "i."},
}
OPEN = {"/health", "/stats", "/metrics"}


def routes() -> list[tuple[str, str]]:
    """Every method and path of the service."""
    schema = create_app(Settings()).openapi()
    return [
        (method.upper(), path)
        for path, methods in sorted(schema["paths"].items())
        for method in methods
    ]


OF_A_TENANT = [(method, path) for method, path in routes() if path not in OPEN]
OF_A_RESOURCE = [(method, path) for method, path in OF_A_TENANT if "{" in path]


def test_the_list_of_routes_is_all_of_them() -> None:
    assert len(OF_A_TENANT) >= 20
    assert {path for _, path in routes()} >= OPEN
    hidden = [r for r in create_app(Settings()).routes if isinstance(r, APIRoute)]
    assert all(route.include_in_schema for route in hidden)


async def everything(client: httpx.AsyncClient) -> list[str]:
    """All that a tenant can read, cached by now."""
    reads = [path.format(**IDS) for method, path in OF_A_RESOURCE if method == "GET"]
    return [(await client.get(path)).text for path in reads] + [await said(client)]


@pytest.fixture
async def theirs(service: Running) -> httpx.AsyncClient:
    """A tenant with one of everything, all of it cached."""
    client = service.client("acme")
    await furnish(client)
    await created(client, "/agents/a1/tools", {"id": "t1", "name": "maps", "description": "Maps."})
    await created(client, "/conversations/c1/messages", {"text": "Secret."})
    await everything(client)
    return client


async def test_another_tenants_resource_is_not_there(
    service: Running, theirs: httpx.AsyncClient
) -> None:
    before = await everything(theirs)
    for method, path in OF_A_RESOURCE:
        body = BODIES[method, path] if method in {"POST", "PUT"} else None
        answer = await service.client("intruder").request(method, path.format(**IDS), json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        for secret in ("Librarian", "maps", "Secret", "Birds", "Owls"):
            assert secret not in answer.text
        assert await everything(theirs) == before, (method, path)


async def test_two_tenants_with_the_same_ids_never_meet(
    service: Running, theirs: httpx.AsyncClient
) -> None:
    other = service.client("acme2")
    await created(other, "/agents", {"id": "a1", **AGENT, "name": "Stranger"})
    await created(other, "/collections", {"id": "birds", "name": "Birds"})
    document = {"id": "owls", "title": "Owls", "text": "When do cranes migrate? Never here."}
    await created(other, "/collections/birds/documents", {"documents": [document]})
    assert await said(other) == "Stranger (Cite.): When do cranes migrate?"
    before = await everything(theirs)
    await other.put("/agents/a1", json={**AGENT, "name": "Changed"})
    await other.delete("/collections/birds/documents/owls")
    assert await said(other) == "Changed (Cite.): The documents say nothing about this."
    assert await everything(theirs) == before


@pytest.mark.parametrize("header", [{}, {"X-Tenant-ID": ""}, {"X-Tenant-ID": "  "}])
async def test_a_request_without_a_tenant_is_refused(
    service: Running, header: dict[str, str]
) -> None:
    for method, path in OF_A_TENANT:
        answer = await service.client(None).request(
            method, path.format(**IDS), json=BODIES.get((method, path), {}), headers=header
        )
        assert answer.status_code == 400, (method, path)
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


async def test_every_statement_names_the_tenant(
    service: Running, statements: list[str], theirs: httpx.AsyncClient
) -> None:
    for method, path in OF_A_RESOURCE:
        body = BODIES.get((method, path))
        await theirs.request(method, path.format(**IDS), json=body)
    verbs = {statement.split()[0] for statement in statements}
    assert {"SELECT", "INSERT", "UPDATE", "DELETE"} <= verbs
    assert [statement for statement in statements if "tenant_id" not in statement] == []
