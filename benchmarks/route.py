"""A route of the example service that is answered from memory, against one that returns a constant
of the same type; what FastAPI takes for a dependency of each kind; and a route whose response is
kept whole (`cached_response`), given again and as 304.

CPU time of all threads, by calls of the application itself: no server and no client are in it. The
constant is a route that is added to the application, so that it is found last; to find a route
takes FastAPI a third of its time. So the same constant stands there once more in the place and with
the parameter of the route that is measured: the least that this route could take, and what the
dependencies are compared with.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

from _rows import Row, ns, script
from _timing import ALL_CPU, Case, Timing, in_turn
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.routing import Route

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the example is no part of what is installed

from cascada import Tenant as Handle  # noqa: E402
from cascada.integrations.fastapi import (  # noqa: E402
    cached_response,
    tenant_handle,
    tenant_of,
)
from examples.agent_service.app import create_app  # noqa: E402
from examples.agent_service.bodies import AgentId  # noqa: E402
from examples.agent_service.records import Agent  # noqa: E402
from examples.agent_service.routes.request import Tenant  # noqa: E402
from examples.agent_service.settings import Settings  # noqa: E402

AGENT: Final = Agent(
    id="a1", name="Librarian", instructions="Answer from the passages.", max_words=120
)
CALLS: Final = 20
READ: Final = "GET /agents/{agent_id}, in memory"
CONSTANT: Final = "a constant, found last"
INSTEAD: Final = "a constant in its place"
OWN: Final = "... with the service's own dependency"
ASYNC: Final = "... with a dependency: async def"
TENANT: Final = "... with a dependency: tenant_of"
CLASS: Final = "... with a dependency: a class"
HANDLE: Final = "... with a dependency: tenant_handle"
KEPT: Final = "a response that is kept, given again"
UNCHANGED: Final = "a response that is kept, as 304"


Fields = tuple[tuple[bytes, bytes], ...]


async def get(app: FastAPI, path: str, more: Fields = (), status: int = 200) -> Fields:
    """One request, as a server would hand it over, and the header fields that it is answered
    with."""
    said: Fields = ()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"bench"), (b"x-tenant-id", b"acme"), *more],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal said
        if message["type"] == "http.response.start":
            if message["status"] != status:
                raise RuntimeError(f"{path} is answered with {message['status']}")
            said = tuple(message["headers"])

    await app(scope, receive, send)
    return said


def case(name: str, app: FastAPI, path: str, more: Fields = (), status: int = 200) -> Case:
    async def run() -> None:
        for _ in range(CALLS):
            await get(app, path, more, status)

    return Case(name, CALLS, run)


async def plain() -> Agent:
    return AGENT


async def constant(agent_id: AgentId) -> Agent:
    return AGENT


async def nothing(request: Request) -> None:
    return None


class Nothing:
    """A dependency as a class: FastAPI makes one for each request, in a worker thread."""

    def __init__(self, request: Request) -> None: ...


async def with_async(agent_id: AgentId, it: Annotated[None, Depends(nothing)]) -> Agent:
    return AGENT


async def with_tenant(agent_id: AgentId, it: Annotated[str, Depends(tenant_of)]) -> Agent:
    return AGENT


async def with_own(tenant: Tenant, agent_id: AgentId) -> Agent:
    return AGENT


async def with_class(agent_id: AgentId, it: Annotated[Nothing, Depends(Nothing)]) -> Agent:
    return AGENT


async def with_handle(agent_id: AgentId, it: Annotated[Handle, Depends(tenant_handle)]) -> Agent:
    return AGENT


def returning(endpoint: Callable[..., Awaitable[Agent]], app: FastAPI, service: Any) -> FastAPI:
    """The application, where this answers `GET /agents/{agent_id}`: the routes of agents once more,
    before their own."""
    app.state.service = service
    router = APIRouter(prefix="/agents")
    router.add_api_route("", endpoint, methods=["POST"])
    router.add_api_route("/{agent_id}", endpoint)
    app.include_router(router)
    routes = app.router.routes
    # What FastAPI adds by itself (its documentation) stays before it, as before the agents' own.
    first = next(n for n, each in enumerate(routes) if type(each) is not Route)
    routes.insert(first, routes.pop())
    return app


async def timed(rounds: int) -> dict[str, Timing]:
    with TemporaryDirectory() as folder:
        os.environ.pop("REDIS_URL", None)
        os.environ["CACHE_DATABASE_URL"] = f"sqlite:///{folder}/cache.db"
        url = f"sqlite+aiosqlite:///{folder}/service.db"
        settings = Settings(database_url=url)
        app = create_app(settings)
        app.add_api_route("/constant", plain)
        async with app.router.lifespan_context(app):
            service = app.state.service
            await service.tenant("acme").writes.add_agent(AGENT)
            kinds = {
                INSTEAD: constant,
                OWN: with_own,
                ASYNC: with_async,
                TENANT: with_tenant,
                CLASS: with_class,
                HANDLE: with_handle,
            }
            keeping = cached_response(ttl=3600, cache=service.cache)(with_handle)
            kept = returning(keeping, create_app(settings), service)
            tag = dict(await get(kept, "/agents/a1"))[b"etag"]
            cases = [
                case(CONSTANT, app, "/constant"),
                case(READ, app, "/agents/a1"),
                *(
                    case(name, returning(each, create_app(settings), service), "/agents/a1")
                    for name, each in kinds.items()
                ),
                case(KEPT, kept, "/agents/a1"),
                case(UNCHANGED, kept, "/agents/a1", ((b"if-none-match", tag),), 304),
            ]
            return await in_turn(cases, rounds, clock=ALL_CPU)


async def measure(quick: bool) -> list[Row]:
    timings = await timed(2 if quick else 40)
    read = timings[READ]
    return [
        Row(READ, read.over(timings[CONSTANT]), "x", CONSTANT, 1.2, ns(read.ns)),
        Row(READ, read.over(timings[OWN]), "x", "a constant in its place and with its dependency"),
        *(Row(name, timings[name].over(timings[HANDLE]), "x", HANDLE, took=ns(timings[name].ns))
          for name in (KEPT, UNCHANGED)),
        *(Row(name, timing.over(timings[INSTEAD]), "x", INSTEAD, took=ns(timing.ns))
          for name, timing in timings.items()),
    ]  # fmt: skip


if __name__ == "__main__":
    script("A route of the example service, CPU of all threads", measure)
