"""The FastAPI application: routes, errors as sentences, and what lives as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from cascada import BadInput, CascadaError, MissingExtra
from examples.agent_service.callers import dependencies
from examples.agent_service.database import AlreadyThere, NotThere
from examples.agent_service.embedding import EmbeddingFailed
from examples.agent_service.routes import (
    agents,
    collections,
    conversations,
    operations,
    queries,
    tools,
)
from examples.agent_service.service import make_cache, open_service
from examples.agent_service.settings import Settings

_STATUS: dict[type[Exception], int] = {
    BadInput: 400,  # cascada refuses it: a tenant or an id that cannot be part of a key
    NotThere: 404,
    AlreadyThere: 409,
    MissingExtra: 501,
    EmbeddingFailed: 502,
    CascadaError: 503,  # too many loads at once, or an invalidation that is not through yet
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without settings it reads the environment.

    The cache is made here, where a wrong variable still stops the start with its sentence; it
    opens nothing before the lifespan begins.
    """
    chosen = settings or Settings.from_env()
    cache = make_cache(chosen)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(chosen, cache) as service:
            app.state.service = service
            yield

    app = FastAPI(title="Agent service", version="1", lifespan=lifespan)
    for resource in (agents, tools, conversations, collections, queries):
        app.include_router(resource.router, dependencies=dependencies(chosen))
    app.include_router(operations.router)
    for error, status in _STATUS.items():
        app.add_exception_handler(error, _answer_with(status))
    return app


def _answer_with(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=status)

    return answer
