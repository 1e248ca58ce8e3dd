"""FastAPI: a cache that lives as long as the application, and the tenant of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

from cascada.api.cache import Cache
from cascada.api.context import Context
from cascada.model.errors import BadInput, MissingExtra
from cascada.model.keys import tenant_text

try:
    from fastapi import Header, HTTPException
except ImportError as error:
    raise MissingExtra(
        "cascada.integrations.fastapi needs FastAPI; run `pip install cascada[fastapi]`"
    ) from error

__all__ = ["lifespan", "tenant_of"]


def lifespan(cache: Cache) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """`FastAPI(lifespan=lifespan(cache))`: open at start-up; on shutdown what is being stored is.

    The server stops accepting first and lets its requests finish, so that the loads under way have
    answered by then; their values are stored before the process ends (at most 10 s).
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[None]:
        async with cache:
            yield

    return run


async def tenant_of(
    x_tenant_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[str]:
    """`tenant: Annotated[str, Depends(tenant_of)]`: what the header X-Tenant-ID says, else 400.

    It is the tenant of the current context as well, so that `@cached` functions know it. Whoever
    may call may claim any tenant: put it behind what authenticates your callers.
    """
    try:
        tenant = tenant_text(x_tenant_id)
    except BadInput as error:
        raise HTTPException(400, f"X-Tenant-ID: {error}") from error
    with Context(tenant_id=tenant):
        yield tenant
