"""A route of the example service that is answered from memory, against one that returns a constant
of the same type; and what FastAPI takes for a dependency of each kind.

CPU time of all threads, by calls of the application itself: no server and no client are in it. The
constant is a route that is added to the application, so that it is found last; to find a route
takes FastAPI a third of its time. So the same constant stands there once more in the place and with
the parameter of the route that is measured: the least that this route could take, and what the
dependencies are compared with. The exit status is 1 when the ratio is over `--at-most`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

from _timing import ALL_CPU, Case, Timing, in_turn, machine, table
from fastapi import APIRouter, Depends, FastAPI, Request

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the example is no part of what is installed

from cascada.integrations.fastapi import tenant_of  # noqa: E402
from examples.agent_service.app import create_app  # noqa: E402
from examples.agent_service.bodies import AgentId  # noqa: E402
from examples.agent_service.records import Agent  # noqa: E402
from examples.agent_service.settings import Settings  # noqa: E402

AGENT: Final = Agent(
    id="a1", name="Librarian", instructions="Answer from the passages.", max_words=120
)
CALLS: Final = 20
READ: Final = "GET /agents/{agent_id}, in memory"
CONSTANT: Final = "a constant"
INSTEAD: Final = "a constant in its place"
ASYNC: Final = "... with a dependency: async def"
TENANT: Final = "... with a dependency: tenant_of"
CLASS: Final = "... with a dependency: a class"


async def get(app: FastAPI, path: str) -> None:
    """One request, as a server would hand it over."""
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
        "headers": [(b"host", b"bench"), (b"x-tenant-id", b"acme")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"{path} is answered with {message['status']}")

    await app(scope, receive, send)


def case(name: str, app: FastAPI, path: str) -> Case:
    async def run() -> None:
        for _ in range(CALLS):
            await get(app, path)

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


async def with_class(agent_id: AgentId, it: Annotated[Nothing, Depends(Nothing)]) -> Agent:
    return AGENT


def returning(endpoint: Callable[..., Awaitable[Agent]], app: FastAPI) -> FastAPI:
    """The application, where this answers `GET /agents/{agent_id}`: the routes of agents once more,
    before their own."""
    router = APIRouter(prefix="/agents")
    router.add_api_route("", endpoint, methods=["POST"])
    router.add_api_route("/{agent_id}", endpoint)
    app.include_router(router)
    app.router.routes.insert(0, app.router.routes.pop())
    return app


async def measure(rounds: int) -> dict[str, Timing]:
    with TemporaryDirectory() as folder:
        os.environ.pop("REDIS_URL", None)
        os.environ["CACHE_DATABASE_URL"] = f"sqlite:///{folder}/cache.db"
        url = f"sqlite+aiosqlite:///{folder}/service.db"
        settings = Settings(database_url=url)
        app = create_app(settings)
        app.add_api_route("/constant", plain)
        async with app.router.lifespan_context(app):
            await app.state.service.tenant("acme").writes.add_agent(AGENT)
            kinds = {
                INSTEAD: constant,
                ASYNC: with_async,
                TENANT: with_tenant,
                CLASS: with_class,
            }
            cases = [
                case(CONSTANT, app, "/constant"),
                case(READ, app, "/agents/a1"),
                *(
                    case(name, returning(each, create_app(settings)), "/agents/a1")
                    for name, each in kinds.items()
                ),
            ]
            return await in_turn(cases, rounds, clock=ALL_CPU)


def report(timings: dict[str, Timing]) -> None:
    lines = []
    for name, timing in timings.items():
        reach = "<= 1.20" if name == READ else ""
        ratios = (f"{timing.over(timings[base]):.2f}" for base in (CONSTANT, INSTEAD))
        lines.append((name, f"{timing.ns / 1000:,.0f}", *ratios, reach))
    heading = ("one request", "CPU us", "x a constant", "x one in its place", "reach of the first")
    print(table(heading, lines))


def main(rounds: int, at_most: float) -> int:
    print(machine())
    timings = asyncio.run(measure(rounds))
    report(timings)
    ratio = timings[READ].over(timings[CONSTANT])
    kept = ratio <= at_most
    print(f"{READ} is {ratio:.2f}x a constant, {'within' if kept else 'over'} {at_most:.2f}")
    return 0 if kept else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 60, for CI")
    parser.add_argument("--at-most", type=float, default=1.2, help="bound on the ratio")
    options = parser.parse_args()
    logging.disable()
    sys.exit(main(5 if options.quick else 60, options.at_most))
