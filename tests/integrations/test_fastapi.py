"""The FastAPI helpers, in an application."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request

from cascada import Limits
from cascada.api.cache import Cache
from cascada.api.cached.decorator import cached
from cascada.api.context import Context, current_context
from cascada.integrations.fastapi import (
    Resolver,
    context_of,
    lifespan,
    pending_handler,
    tenant_from,
    tenant_in,
    tenant_of,
)
from cascada.model.clock import SystemClock
from cascada.model.errors import CacheClosed, InvalidationPending
from cascada.testing.flaky import FlakyTier
from cascada.tiers.sqlite.tier import SqliteTier

Tenant = Annotated[str, Depends(tenant_of)]


def application(cache: Cache) -> FastAPI:
    app = FastAPI(lifespan=lifespan(cache))

    @cached("greeting", cache=cache)
    async def greeting(name: str) -> str:
        return f"hello {name}"

    @app.get("/who")
    async def who(tenant: Tenant) -> dict[str, str]:
        key = greeting.cache_key("you")
        return {"tenant": tenant, "key": key.text, "said": await greeting("you")}

    return app


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_a_request_names_its_tenant_for_the_route_and_for_cached_functions() -> None:
    cache = Cache()
    app = application(cache)
    async with lifespan(cache)(app), client(app) as http:
        for tenant in ("acme", "other"):
            said = (await http.get("/who", headers={"X-Tenant-ID": tenant})).json()
            assert said["tenant"] == tenant
            assert said["key"].startswith(f"{tenant}:greeting:")
            assert said["said"] == "hello you"


async def test_a_request_without_a_tenant_is_told_what_is_missing() -> None:
    cache = Cache()
    app = application(cache)
    async with lifespan(cache)(app), client(app) as http:
        for headers in ({}, {"X-Tenant-ID": "  "}, {"X-Tenant-ID": "x" * 2000}):
            refused = await http.get("/who", headers=headers)
            assert refused.status_code == 400
            assert "X-Tenant-ID: tenant" in refused.json()["detail"]


async def test_the_cache_is_closed_with_the_application() -> None:
    cache = Cache()
    async with lifespan(cache)(application(cache)):
        assert await cache.tenant("acme").set("x", "1", "text")
    try:
        await cache.tenant("acme").set("x", "1", "text")
    except CacheClosed:
        return
    raise AssertionError("a closed cache was used")


def test_without_the_library_the_error_says_what_to_install() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['fastapi'] = None\nimport cascada.integrations.fastapi",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "MissingExtra" in said.stderr
    assert "pip install cascada[fastapi]" in said.stderr


def everybody(cache: Cache) -> FastAPI:
    """Routes that are told who asks by the headers, and one by a resolver."""
    app = FastAPI(dependencies=[Depends(context_of)])

    @app.get("/context")
    async def context(ctx: Annotated[Context, Depends(context_of)]) -> dict[str, str | None]:
        assert current_context() == ctx
        return {
            "tenant": ctx.get_tenant_id(),
            "agent": ctx.get_agent_id(),
            "conversation": ctx.get_conversation_id(),
            "collection": ctx.get_collection_id(),
        }

    return app


async def test_the_headers_name_a_context() -> None:
    async with client(everybody(Cache())) as http:
        headers = {"X-Tenant-ID": "acme", "X-Agent-ID": "a1", "X-Collection-ID": "7"}
        said = (await http.get("/context", headers=headers)).json()
        assert said == {"tenant": "acme", "agent": "a1", "conversation": None, "collection": "7"}
        headers = {"X-Tenant-ID": "acme", "X-Conversation-ID": "c1"}
        assert (await http.get("/context", headers=headers)).json()["conversation"] == "c1"


async def test_a_wrong_header_is_named() -> None:
    async with client(everybody(Cache())) as http:
        for name in ("X-Agent-ID", "X-Conversation-ID", "X-Collection-ID"):
            for wrong in ("", "x" * 2000):
                headers = {"X-Tenant-ID": "acme", name: wrong}
                refused = await http.get("/context", headers=headers)
                assert refused.status_code == 400
                assert refused.json()["detail"].startswith(f"{name}: the id ")
        twice = [("X-Tenant-ID", "acme"), ("X-Tenant-ID", "other")]
        refused = await http.get("/context", headers=twice)
        assert (refused.status_code, "more than once" in refused.text) == (400, True)
        missing = await http.get("/context", headers={"X-Agent-ID": "a1"})
        assert missing.status_code == 400
        assert missing.json()["detail"].startswith("X-Tenant-ID: tenant is None")


def resolved(resolver: Resolver) -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who(tenant: Annotated[str, Depends(tenant_from(resolver))]) -> list[str | None]:
        ctx = current_context()
        assert ctx is not None
        return [tenant, ctx.get_tenant_id(), ctx.get_agent_id()]

    return app


async def test_the_header_is_read_without_a_current_context() -> None:
    app = FastAPI()

    @app.get("/who")
    async def who(request: Request) -> list[str | None]:
        return [tenant_in(request), repr(current_context())]

    async with client(app) as http:
        said = await http.get("/who", headers={"X-Tenant-ID": "acme"})
        assert said.json() == ["acme", "None"]
        refused = await http.get("/who")
        assert refused.status_code == 400
        assert refused.json()["detail"].startswith("X-Tenant-ID: tenant is None")


async def of_a_task(request: Request) -> str | None:
    await asyncio.sleep(0)
    return request.headers.get("Session")


def plain(request: Request) -> Context:
    return Context(tenant_id=request.headers.get("Session"), agent_id="a1")


async def test_an_own_resolver_tells_the_tenant_or_more() -> None:
    for resolver, agent in ((of_a_task, None), (plain, "a1")):
        async with client(resolved(resolver)) as http:
            headers = {"Session": "acme", "X-Tenant-ID": "other"}
            assert (await http.get("/who", headers=headers)).json() == ["acme", "acme", agent]
            for nobody in ({}, {"Session": " "}, {"X-Tenant-ID": "acme"}):
                refused = await http.get("/who", headers=nobody)
                assert refused.status_code == 401
                assert refused.headers["WWW-Authenticate"] == "Bearer"


def refusing(request: Request) -> str:
    raise HTTPException(403, "not you")


async def test_a_resolver_may_refuse_in_its_own_words() -> None:
    async with client(resolved(refusing)) as http:
        refused = await http.get("/who")
        assert (refused.status_code, refused.json()) == (403, {"detail": "not you"})


async def test_what_requests_start_stays_with_their_tenants() -> None:
    """Background tasks, tasks and threads that two tenants' requests start at the same time."""
    cache = Cache()
    app = FastAPI()
    found: dict[str, list[str]] = {"acme": [], "other": []}

    @cached("owner", cache=cache)
    async def owner(number: int) -> str:
        await asyncio.sleep(0)
        context = current_context()
        assert context is not None
        return f"{number} of {context.get_tenant_id()}"

    @cached("plain_owner", cache=cache)
    def plain_owner(number: int) -> str:
        context = current_context()
        assert context is not None
        return f"{number} of {context.get_tenant_id()}"

    async def look(tenant: str, number: int) -> None:
        await asyncio.sleep(0)
        found[tenant].append(await owner(number % 5))

    def look_in_a_thread(tenant: str, number: int) -> None:
        found[tenant].append(plain_owner(number % 5))

    @app.post("/start/{number}")
    async def work(tenant: Tenant, number: int, tasks: BackgroundTasks) -> None:
        tasks.add_task(look, tenant, number)
        tasks.add_task(look_in_a_thread, tenant, number)
        async with asyncio.TaskGroup() as group:
            group.create_task(look(tenant, number))

    async with lifespan(cache)(app), client(app) as http, asyncio.TaskGroup() as group:
        for number in range(60):
            tenant = "acme" if number % 2 else "other"
            group.create_task(http.post(f"/start/{number}", headers={"X-Tenant-ID": tenant}))
    for tenant, texts in found.items():
        assert len(texts) == 3 * 30
        assert set(texts) == {f"{number} of {tenant}" for number in range(5)}


async def test_a_writer_whose_change_cannot_be_told_gets_503_and_when_to_come_again(
    tmp_path: Path,
) -> None:
    tier = FlakyTier(SqliteTier(tmp_path / "cache.db", namespace="test", clock=SystemClock()))
    cache = Cache(tiers=[tier], limits=Limits(invalidate_patience=0))
    app = FastAPI(lifespan=lifespan(cache))
    app.add_exception_handler(InvalidationPending, pending_handler)

    @app.put("/row")
    async def write(tenant: Tenant) -> None:
        await cache.tenant(tenant).invalidate("row", "1")

    async with lifespan(cache)(app), client(app) as http:
        http.headers["X-Tenant-ID"] = "acme"
        assert (await http.put("/row")).status_code == 200
        tier.fail("invalidate")
        answer = await http.put("/row")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"].isdigit()
        assert "stored" in answer.json()["detail"]
        assert "acme" not in answer.text
        tier.heal()
