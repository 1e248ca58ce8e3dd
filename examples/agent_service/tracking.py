"""The service's own cache metrics, as its document describes them, beside what cascada counts."""

from __future__ import annotations

from typing import Final

from cascada import METRIC_CACHE_HIT, METRIC_CACHE_MISS, METRIC_LATENCY, track_cache_metrics

SERVICE: Final = "agent"


async def track_agent_cache_metrics(
    tenant_id: str,
    data_type: str,
    operation: str,
    cache_hit: bool,
    latency_ms: float,
    agent_id: str | None = None,
) -> None:
    """Record that an operation was answered by the cache or not, and how long it took."""
    await track_cache_metrics(
        data_type=data_type,
        tenant_id=tenant_id,
        metric_type=METRIC_CACHE_HIT if cache_hit else METRIC_CACHE_MISS,
        value=1,
        agent_id=agent_id,
        metadata={"operation": operation, "latency_ms": latency_ms, "service": SERVICE},
    )
    await track_cache_metrics(
        data_type=data_type,
        tenant_id=tenant_id,
        metric_type=METRIC_LATENCY,
        value=latency_ms,
        agent_id=agent_id,
        metadata={"operation": operation, "service": SERVICE},
    )
