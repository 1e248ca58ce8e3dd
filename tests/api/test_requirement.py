"""`@with_context`: what a function asks for, it gets or it is not called."""

import functools
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Path, Request, WebSocket
from httpx import ASGITransport, AsyncClient
from starlette.requests import HTTPConnection

from cascada import Context, MissingContext, with_context
from cascada.api.context import current_context, current_tenant
from cascada.api.with_context import CONNECTION
from cascada.integrations.fastapi import context_of, tenant_from, tenant_of


@with_context(tenant=True, agent=True)
async def asked(number: int = 1, *, ctx: Context) -> tuple[int, str, str | None]:
    return number, ctx.get_tenant_id(), ctx.get_agent_id()


async def test_the_context_is_that_of_the_request() -> None:
    with Context(tenant_id="acme", agent_id="a1"):
        assert await asked(2) == (2, "acme", "a1")


async def test_an_explicit_one_goes_before_it_and_is_the_current_one_meanwhile() -> None:
    @with_context()
    async def whose(ctx: Context) -> tuple[str, str]:
        return ctx.get_tenant_id(), current_tenant()

    with Context(tenant_id="acme"):
        other = Context(tenant_id="globex")
        assert await whose(ctx=other) == ("globex", "globex")
        assert await whose(other) == ("globex", "globex"), "by position as well"
        assert await whose() == ("acme", "acme")
        assert current_tenant() == "acme"


def test_plain_functions_get_it_as_well() -> None:
    @with_context(tenant=False, conversation=True)
    def plain(ctx: Context) -> str | None:
        return ctx.get_conversation_id()

    with Context(conversation_id="c1"):
        assert plain() == "c1"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (None, "asked needs tenant, agent, but there is no current context; send X-Tenant-ID and"),
        (Context(tenant_id="acme"), "asked needs agent, but its context names none; send X-Agent"),
        (Context(tenant_id=" ", agent_id="a"), "asked needs tenant, but its context names none"),
    ],
)
async def test_what_is_missing_is_named(context: Context | None, said: str) -> None:
    with pytest.raises(MissingContext, match=said):
        await asked(ctx=context)


async def test_what_is_no_context_is_refused() -> None:
    with pytest.raises(MissingContext, match="asked was called with ctx='acme'; pass a Context"):
        await asked(ctx="acme")


def test_a_function_without_ctx_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="give it a parameter `ctx`"):

        @with_context()
        async def nothing() -> None: ...


def test_others_do_not_see_ctx_in_its_signature() -> None:
    assert {*inspect.signature(asked).parameters} - {CONNECTION} == {"number"}
    assert "ctx" not in asked.__annotations__


async def test_the_documents_route_works_as_written() -> None:
    """Document C: a route with Path, Depends and `ctx: Context = None`."""

    async def tenant(tenant: str = Depends(tenant_of)) -> AsyncIterator[str]:
        yield tenant

    app = FastAPI(dependencies=[Depends(tenant)])

    @app.put("/agents/{agent_id}")
    @with_context(tenant=True)
    async def update_agent(
        update_data: dict[str, Any],
        agent_id: str = Path(...),
        ctx: Context = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        return {"tenant": ctx.get_tenant_id(), "agent": agent_id, **update_data}

    async with AsyncClient(transport=ASGITransport(app), base_url="http://service") as client:
        answer = await client.put("/agents/a1", json={"x": 1}, headers={"X-Tenant-ID": "acme"})
        assert answer.json() == {"tenant": "acme", "agent": "a1", "x": 1}
        described = (await client.get("/openapi.json")).json()
        (parameters,) = [
            [each["name"] for each in operation["parameters"]]
            for operation in described["paths"]["/agents/{agent_id}"].values()
        ]
        assert parameters == ["agent_id", "X-Tenant-ID"]


def service(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app), base_url="http://service")


def handle_errors(function: Any) -> Any:
    """A decorator below, as the document has one."""

    @functools.wraps(function)
    async def handled(*args: Any, **named: Any) -> Any:
        return await function(*args, **named)

    return handled


def application(*dependencies: Any) -> FastAPI:
    """Document C's route, and others, in an application that knows nothing of contexts."""
    app = FastAPI(dependencies=[Depends(each) for each in dependencies])

    @app.put("/agents/{agent_id}")
    @with_context(tenant=True)
    @handle_errors
    async def update_agent(
        update_data: dict[str, Any],
        agent_id: str = Path(...),
        ctx: Context = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        return {"tenant": ctx.get_tenant_id(), "agent": agent_id, **update_data}

    @app.get("/plain")
    @with_context(tenant=True, agent=True)
    def plain(ctx: Context) -> dict[str, Any]:
        return {"tenant": ctx.get_tenant_id(), "agent": ctx.get_agent_id()}

    @app.get("/own-connection")
    @with_context(collection=True)
    async def own_connection(
        request: Request, connection: HTTPConnection, ctx: Context
    ) -> dict[str, Any]:
        assert request.headers == connection.headers
        assert current_context() is ctx
        return {"collection": ctx.get_collection_id()}

    @app.get("/request")
    @with_context()
    async def with_request(request: Request, ctx: Context) -> dict[str, Any]:
        return {"tenant": ctx.get_tenant_id(), "path": request.url.path}

    @app.websocket("/ws")
    @with_context()
    async def socket(websocket: WebSocket, ctx: Context) -> None:
        await websocket.accept()
        await websocket.send_text(ctx.get_tenant_id())
        await websocket.close()

    return app


async def test_a_route_needs_nothing_but_the_headers() -> None:
    async with service(application()) as client:
        headers = {"X-Tenant-ID": "acme", "X-Agent-ID": "a9"}
        answer = await client.put("/agents/a1", json={"x": 1}, headers=headers)
        assert answer.json() == {"tenant": "acme", "agent": "a1", "x": 1}
        assert answer.status_code == 200
        answer = await client.get("/plain", headers=headers)
        assert answer.json() == {"tenant": "acme", "agent": "a9"}
        answer = await client.get("/request", headers=headers)
        assert answer.json() == {"tenant": "acme", "path": "/request"}
        described = str((await client.get("/openapi.json")).json()["paths"])
        assert "ctx" not in described
        assert CONNECTION not in described


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], "needs tenant, agent, but its context names none; send X-Tenant-ID and X-Agent-ID"),
        ([("X-Tenant-ID", "acme")], "needs agent, but its context names none; send X-Agent-ID"),
        ([("X-Tenant-ID", "  ")], "X-Tenant-ID: tenant"),
        ([("X-Tenant-ID", "x" * 2000)], "X-Tenant-ID: tenant"),
        ([("X-Tenant-ID", "a"), ("X-Tenant-ID", "b")], "X-Tenant-ID: the request has it more than"),
        ([("X-Tenant-ID", "a"), ("X-Agent-ID", "")], 'X-Agent-ID: the id is ""'),
    ],
)
async def test_what_a_route_misses_is_the_callers_fault(
    headers: list[tuple[str, str]], said: str
) -> None:
    async with service(application()) as client:
        answer = await client.get("/plain", headers=headers)
        assert answer.status_code == 400
        assert said in answer.json()["detail"]


async def test_a_context_that_is_current_goes_before_headers() -> None:
    """A token has said whom the request comes from: a header must not say otherwise."""

    def claim(request: Request) -> str:
        return "of the token"

    async with service(application(tenant_from(claim))) as client:
        headers = {"X-Tenant-ID": "of the header", "X-Agent-ID": "a1"}
        answer = await client.put("/agents/a1", json={}, headers=headers)
        assert answer.json()["tenant"] == "of the token"
        answer = await client.get("/plain", headers=headers)
        assert answer.status_code == 400
        assert "needs agent" in answer.json()["detail"]


@pytest.mark.parametrize("dependencies", [[context_of], []], ids=["context_of", "none"])
async def test_a_function_that_wants_the_connection_itself_gets_it(
    dependencies: list[Any],
) -> None:
    async with service(application(*dependencies)) as client:
        headers = {"X-Tenant-ID": "acme", "X-Collection-ID": "k1"}
        answer = await client.get("/own-connection", headers=headers)
        assert answer.json() == {"collection": "k1"}


async def test_a_socket_has_headers_as_well() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket", "path": "/ws", "headers": [(b"x-tenant-id", b"acme")],
        "query_string": b"", "subprotocols": [],
    }  # fmt: skip
    await application()(scope, receive, send)
    assert sent[1] == {"type": "websocket.send", "text": "acme"}
