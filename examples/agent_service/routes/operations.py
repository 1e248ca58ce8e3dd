"""What operators ask: is it alive, what has it done, and the same for Prometheus."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from examples.agent_service.campaigns import standing
from examples.agent_service.routes.answers import NO_LIBRARY
from examples.agent_service.routes.request import RunningService

router = APIRouter(tags=["operations"])


@router.get("/health", summary="Is it alive?")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/stats", summary="What it has done")
async def stats(service: RunningService) -> dict[str, Any]:
    """What was asked of the database, the embedder and the model, and what the cache answered."""
    # Measurements of the application's own are by tenant, and this is open to all.
    statistics = replace(await service.cache.stats(tenants=0), tracked=())
    total = statistics.total
    cache = asdict(statistics) | {"total": {**asdict(total), "saved": asdict(total.saved)}}
    return {
        "database": {"queries": service.database.queries},
        "model": {
            "name": service.model.name,
            "calls": service.model.calls,
            "tokens": service.model.tokens,
            "dollars": service.model.dollars,
        },
        "embedding": {
            "name": service.embedder.name,
            "calls": service.embedder.calls,
            "texts": service.embedder.texts,
        },
        "campaigns": await standing(service.campaigns),
        "cache": {"on": service.settings.cache, **cache},
    }


@router.get(
    "/metrics",
    summary="The same, for Prometheus",
    response_class=PlainTextResponse,
    responses=NO_LIBRARY,
)
async def metrics(service: RunningService) -> Response:
    """Without Prometheus' client library, a sentence that says what to install."""
    from examples.agent_service import metrics as exposed

    return Response(await exposed.metrics(service), media_type=exposed.CONTENT_TYPE_LATEST)
