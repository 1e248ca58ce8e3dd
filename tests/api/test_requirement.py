"""`@with_context`: what a function asks for, it gets or it is not called."""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Path
from httpx import ASGITransport, AsyncClient

from cascada import Context, MissingContext, with_context
from cascada.api.context import current_tenant
from cascada.integrations.fastapi import tenant_of


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
    assert [*inspect.signature(asked).parameters] == ["number"]
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
