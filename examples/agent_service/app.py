"""The FastAPI application: routes, errors as sentences, and what lives as long as it does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from cascada import BadInput, CascadaError, InvalidationPending, MissingExtra
from cascada.integrations.fastapi import pending_handler
from examples.agent_service.callers import declared, tenant_of_request
from examples.agent_service.campaigns import NotKept
from examples.agent_service.database import AlreadyThere, NotThere, unavailable
from examples.agent_service.embedding import EmbeddingFailed
from examples.agent_service.routes import (
    agents,
    campaigns,
    collections,
    conversations,
    executions,
    operations,
    pages,
    queries,
    tools,
)
from examples.agent_service.routes.answers import OF_A_TENANT, UNAUTHORIZED
from examples.agent_service.service import make_cache, open_service
from examples.agent_service.settings import Settings

logger = logging.getLogger(__name__)

_STATUS: dict[type[Exception], int] = {
    BadInput: 400,  # cascada refuses it: a tenant or an id that cannot be part of a key
    NotThere: 404,
    AlreadyThere: 409,
    MissingExtra: 501,
    EmbeddingFailed: 502,
    CascadaError: 503,  # too many loads at once
    NotKept: 503,
}
_ROUTERS: Final = (
    agents.router,
    tools.router,
    conversations.router,
    executions.router,
    collections.router,
    collections.documents,
    queries.router,
    campaigns.router,
)
_DESCRIPTION: Final = """\
A multi-tenant service whose agents answer questions from documents, cached with cascada.

To try it: say who you are (*Authorize*: the id of a tenant, or a token if the service wants one),
create a collection, store documents in it, create an agent, and ask it. Ask twice: the
header `Cache-Status` of every read says where its answer came from. Then change a document."""
_TAGS: Final = (
    ("agents", "Who answers, and with which instructions."),
    ("tools", "What an agent may use."),
    ("conversations", "What was said, and what an agent remembers of it."),
    ("executions", "How far an agent has come with a piece of work."),
    ("collections", "Sets of documents that are searched together."),
    ("documents", "The texts that answers are made from."),
    ("queries", "Questions and answers."),
    ("campaigns", "Rows that are changed often, and written by the sync."),
    ("operations", "For whoever runs the service."),
)


class _Application(FastAPI):
    """FastAPI, whose document says how callers say who they are.

    A dependency could say it as well, but would be solved anew for each request.
    """

    caller: dict[str, Any]

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["securitySchemes"] = {"caller": self.caller}
        for methods in document["paths"].values():
            for operation in methods.values():
                if operations.router.tags[0] not in operation["tags"]:
                    operation["security"] = [{"caller": []}]
        return document


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

    app = _Application(
        title="Agent service",
        version="1",
        description=_DESCRIPTION,
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS],
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages fetch their scripts from another host; routes/pages.py
        redoc_url=None,
    )
    app.caller = declared(chosen)
    app.state.tenant_of = tenant_of_request(chosen)
    refusals = OF_A_TENANT if chosen.jwt_secret is None else {**OF_A_TENANT, **UNAUTHORIZED}
    for router in _ROUTERS:
        app.include_router(router, responses=refusals)
    app.include_router(operations.router)
    pages.add_pages(app)
    for error, status in _STATUS.items():
        app.add_exception_handler(error, _answer_with(status))
    for driver_error in unavailable:
        app.add_exception_handler(driver_error, _no_database)
    app.add_exception_handler(InvalidationPending, pending_handler)
    app.add_exception_handler(RequestValidationError, _wrong_values)
    return app


def _answer_with(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=status)

    return answer


async def _no_database(request: Request, error: Exception) -> JSONResponse:
    """Not in the driver's words, which are a statement and what was in its row."""
    logger.warning("the database does not answer: %s", type(error).__name__)
    return JSONResponse(
        {"detail": "the database does not answer; try again"},
        status_code=503,
        headers={"Retry-After": "1"},
    )


async def _wrong_values(request: Request, error: Exception) -> JSONResponse:
    """What is wrong and where, without the value: not everything that may be sent can be sent back
    (NaN, half a character)."""
    assert isinstance(error, RequestValidationError)
    kept = [{name: each[name] for name in ("loc", "msg", "type")} for each in error.errors()]
    return JSONResponse({"detail": kept}, status_code=422)
