"""FastAPI: a cache that lives as long as the application, whom a request comes from, and what a
writer is told while nobody can be told of its change.

Whatever says who is asking makes it the current context of the request, so that `@cached` and
`@with_context` functions know it too, and the tasks and background tasks that the request starts.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

from cascada.api import headers
from cascada.api.cache import Cache
from cascada.api.context import Context
from cascada.api.tenant.handle import Tenant
from cascada.model.door import arguments
from cascada.model.errors import BadInput, MissingExtra
from cascada.model.keys import Id

try:
    from fastapi import Header, HTTPException, Request
    from fastapi.responses import JSONResponse
except ImportError as error:
    raise MissingExtra(
        "cascada.integrations.fastapi needs FastAPI; run `pip install cascada[fastapi]`"
    ) from error

from cascada.integrations.opened import cache_of, closed, opened
from cascada.integrations.responses import cached_response

if TYPE_CHECKING:
    from cascada.service.service import CacheService

T = TypeVar("T")

__all__ = [
    "Resolver", "cached_response", "context_of", "handle_from", "lifespan", "pending_handler",
    "tenant_from", "tenant_handle", "tenant_in", "tenant_of",
]  # fmt: skip

RETRY_AFTER: Final = 5
"""Seconds after which a writer may try again, as `pending_handler` tells it."""

Said: TypeAlias = "Context | Id | None"
Resolver: TypeAlias = Callable[[Request], "Said | Awaitable[Said]"]
"""What tells a request's tenant, or its whole Context: an async or a plain function."""


def lifespan(
    cache: Cache | CacheService, *services: CacheService
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """`FastAPI(lifespan=lifespan(cache))`: open at start-up; on shutdown what is being stored is.

    The server stops accepting first and lets its requests finish, so that the loads under way have
    answered by then; their values are stored before the process ends (at most 10 s).

    services: their syncs run meanwhile, and each ends with a last round, while the cache is open.
    `lifespan(service)` is of the cache that the service is a face of.
    """

    own = () if isinstance(cache, Cache) else (cache,)
    syncs = [_service(each, "cache", "a Cache or a CacheService") for each in own]
    syncs += [_service(each, "each of services", "a CacheService") for each in services]

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[None]:
        used = cache if isinstance(cache, Cache) else cache.cache
        async with used, AsyncExitStack() as running:
            for each in syncs:
                await each.start_sync()
                running.push_async_callback(each.stop_sync)
            opened(app, used)
            try:
                yield
            finally:
                closed(app)

    return run


def _service(given: Any, what: str, accepted: str) -> CacheService:
    from cascada.service.service import CacheService  # who has no sync does without it

    return arguments.instance(given, what, CacheService, accepted)


async def pending_handler(request: Request, error: Exception) -> JSONResponse:
    """`app.add_exception_handler(InvalidationPending, pending_handler)`: 503, with Retry-After.

    What the route has written is written, but other processes may go on showing what was there
    before, so that the caller is not told that all is well. To send the same request again is safe
    where the route is (a PUT, a DELETE), and by then it mostly gets through.
    """
    sentence = (
        "the change is stored, but not everybody can be told of it yet, so that the state before "
        "it may still be shown; it will be told as soon as that is possible"
    )
    return JSONResponse(
        {"detail": sentence}, status_code=503, headers={"Retry-After": str(RETRY_AFTER)}
    )


async def tenant_of(
    request: Request, x_tenant_id: Annotated[str | None, Header(alias="X-Tenant-ID")] = None
) -> AsyncIterator[str]:
    """`tenant: Annotated[str, Depends(tenant_of)]`: what the header X-Tenant-ID says, else 400.

    It is the tenant of the current context as well, so that `@cached` functions know it. Whoever
    may call may claim any tenant: put it behind what authenticates your callers, or use
    `tenant_from`.
    """
    tenant = tenant_in(request)
    with Context(tenant_id=tenant):
        yield tenant


async def context_of(
    request: Request,
    x_tenant_id: Annotated[str | None, Header(alias="X-Tenant-ID")] = None,
    x_agent_id: Annotated[str | None, Header(alias="X-Agent-ID")] = None,
    x_conversation_id: Annotated[str | None, Header(alias="X-Conversation-ID")] = None,
    x_collection_id: Annotated[str | None, Header(alias="X-Collection-ID")] = None,
) -> AsyncIterator[Context]:
    """`ctx: Annotated[Context, Depends(context_of)]`: what the headers say, made the current one.

    X-Tenant-ID as for `tenant_of`; X-Agent-ID, X-Conversation-ID and X-Collection-ID may be left
    out. 400 names the header that is wrong. `FastAPI(dependencies=[Depends(context_of)])` gives
    every route its context.
    """
    tenant_in(request)
    context = _or_400(headers.context_in, request)
    with context:
        yield context


def tenant_from(resolver: Resolver) -> Callable[[Request], AsyncIterator[str]]:
    """A dependency like `tenant_of`, with an own way to tell who is asking, such as a JWT claim.

    `resolver` gets the Request and returns the tenant, or a Context with more than that; headers
    are not looked at. An async one runs in the event loop, a plain one as well: it must not block.
    It refuses a caller with an HTTPException of its own (401); returning no tenant is 401, too.
    """

    arguments.function(resolver, "resolver", "a function of a request")

    async def tenant(request: Request) -> AsyncIterator[str]:
        named, context = await _said_by(resolver, request)
        with context:
            yield named

    return tenant


async def tenant_handle(
    request: Request, x_tenant_id: Annotated[str | None, Header(alias="X-Tenant-ID")] = None
) -> Tenant:
    """`mine: Annotated[Tenant, Depends(tenant_handle)]`: the handle of the tenant that the header
    X-Tenant-ID names, else 400, in the cache that this application's `lifespan` has opened (the
    default cache, if none has).

    As for `tenant_of`, whoever may call may claim any tenant. It makes nothing the current context.
    """
    return cache_of(request.app).tenant(tenant_in(request))


def handle_from(
    resolver: Resolver, cache: Cache | None = None
) -> Callable[[Request], Awaitable[Tenant]]:
    """A dependency like `tenant_handle`, where `resolver` tells who is asking, as for
    `tenant_from`. What a Context says beside the tenant narrows the handle.

    cache: the one to use (left out: what `lifespan` has opened, else the default).
    """
    arguments.function(resolver, "resolver", "a function of a request")
    if cache is not None:
        arguments.instance(cache, "cache", Cache, "a Cache")

    async def handle(request: Request) -> Tenant:
        named, context = await _said_by(resolver, request)
        return (cache or cache_of(request.app)).tenant(
            named,
            agent=context.agent_id,
            conversation=context.conversation_id,
            collection=context.collection_id,
        )

    return handle


async def _said_by(resolver: Resolver, request: Request) -> tuple[str, Context]:
    """The tenant that a resolver tells, and the Context; 401 if it tells none."""
    said = resolver(request)
    if inspect.isawaitable(said):
        said = await said
    context = said if isinstance(said, Context) else Context(tenant_id=said)
    try:
        return arguments.tenant(context.tenant_id), context
    except BadInput as error:
        sentence = f"the caller's tenant: {error}"
        raise HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"}) from error


def tenant_in(request: Request) -> str:
    """What the header X-Tenant-ID says, else 400: for a dependency of your own, which hands the
    tenant on itself.

    It makes nothing the current context. For that FastAPI enters and leaves a generator around each
    request, which costs about as much as a whole route that does nothing.
    """
    return _or_400(headers.tenant_in, request)


def _or_400(read: Callable[[headers.Headers], T], request: Request) -> T:
    try:
        return read(request.headers)
    except BadInput as error:
        raise HTTPException(400, str(error)) from error
