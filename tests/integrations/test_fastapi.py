"""The FastAPI helpers, in an application."""

import subprocess
import sys
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI

from cascada.api.cache import Cache
from cascada.api.decorator import cached
from cascada.integrations.fastapi import lifespan, tenant_of
from cascada.model.errors import CacheClosed

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
