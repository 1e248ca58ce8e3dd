"""Responses that are kept whole: lists that a browser asks for again and again, and that are large.
(A route that reads one cached value is as quick without; kept, that would lie in memory twice.)

What a route reads through the cache is a source of its response, so whatever ends that ends the
response. Who asks again with its entity tag gets 304 until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from fastapi import Response

from cascada import get_ttl_for_data_type
from cascada.integrations.fastapi import cached_response
from examples.agent_service.routes.request import TenantRequest

P = ParamSpec("P")
Endpoint = Callable[P, Coroutine[Any, Any, Any]]


def kept(data_type: str, of: str) -> Callable[[Endpoint[P]], Endpoint[P]]:
    """Keep the responses of a route that reads `of`, for as long as that lives.

    Each that is given again is tracked as a hit of that; what the route itself reads, it tracks by
    `told`.
    """
    keep = cached_response(
        ttl=get_ttl_for_data_type(of),
        data_type=data_type,
        tenant=lambda tenant: tenant.handle,
        ignore=("tenant",),
    )

    def decorate(endpoint: Endpoint[P]) -> Any:
        respond: Any = keep(endpoint)

        @wraps(respond)
        async def tracked(**arguments: Any) -> Any:
            begun = time.perf_counter()
            answer = await respond(**arguments)
            if isinstance(answer, Response) and "hit" in answer.headers.get("Cache-Status", ""):
                tenant: TenantRequest = arguments["tenant"]
                agent = arguments.get("agent_id")
                await tenant.track(of, (time.perf_counter() - begun) * 1000, agent, hit=True)
            return answer

        return tracked

    return decorate
