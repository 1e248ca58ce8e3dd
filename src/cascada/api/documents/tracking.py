"""`track_cache_metrics`: measurements of the application's own, beside what the engine counts.

`track_agent_cache_metrics` is the Agent Service's way of calling it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascada.api.default import default_cache
from cascada.api.documents.constants import METRIC_CACHE_HIT, METRIC_CACHE_MISS, METRIC_LATENCY
from cascada.model.door import arguments
from cascada.model.errors import BadInput
from cascada.model.keys import Id


async def track_cache_metrics(
    data_type: str,
    tenant_id: Id,
    metric_type: str | None = None,
    value: float = 1,
    agent_id: Id | None = None,
    conversation_id: Id | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    operation: str | None = None,
    hit: bool | None = None,
    latency_ms: float | None = None,
) -> None:
    """Record a measurement under `metric_type`, one of the METRIC_* constants or a name of one's
    own; or, in the short form, that `operation` was a `hit` or not and took `latency_ms`.

    Hits, misses, latencies and sizes of the cache itself are counted without this. What is tracked
    is in `Cache.stats()`, and in Prometheus as `cache_tracked_total` and `cache_tracked_sum`.
    At most 200 names of metrics and 10,000 series are kept apart.
    """
    value = arguments.number(value, "value")
    if metadata is not None:
        metadata = arguments.mapping(metadata, "metadata", "a dict")
    handle = default_cache().tenant(tenant_id, agent=agent_id, conversation=conversation_id)
    data_type = arguments.data_type(data_type)
    known = {"agent_id": agent_id, "conversation_id": conversation_id, "operation": operation}
    said = {**(metadata or {}), **{key: each for key, each in known.items() if each is not None}}
    if operation is not None:
        operation = arguments.text(operation, "operation")
    was_hit = hit is not None and arguments.flag(hit, "hit")
    if latency_ms is not None:
        latency_ms = arguments.number(latency_ms, "latency_ms", 0)
    if metric_type is not None:
        measured = {arguments.data_type(metric_type, "metric_type"): value}
    elif operation is not None:
        measured = {METRIC_CACHE_HIT if was_hit else METRIC_CACHE_MISS: 1.0}
        if latency_ms is not None:
            measured[METRIC_LATENCY] = latency_ms
    else:
        raise BadInput(
            "track_cache_metrics was told neither a metric_type nor an operation; "
            "pass metric_type=METRIC_LATENCY, value=... or operation=..., hit=..., latency_ms=..."
        )
    for metric, each in measured.items():
        handle._engine.trace.track(metric, data_type, handle.tenant, each, said)


async def track_agent_cache_metrics(
    tenant_id: Id,
    data_type: str,
    operation: str,
    cache_hit: bool,
    latency_ms: float,
    agent_id: Id | None = None,
) -> None:
    """Record that an operation of the agent service was a hit or a miss, and its latency."""
    handle = default_cache().tenant(tenant_id, agent=agent_id)
    data_type = arguments.data_type(data_type)
    said: dict[str, Any] = {
        "operation": arguments.text(operation, "operation"),
        "service": "agent",
    }
    if agent_id is not None:
        said["agent_id"] = agent_id
    counted = METRIC_CACHE_HIT if arguments.flag(cache_hit, "cache_hit") else METRIC_CACHE_MISS
    latency_ms = arguments.number(latency_ms, "latency_ms", 0)
    track = handle._engine.trace.track
    track(counted, data_type, handle.tenant, 1.0, {**said, "latency_ms": latency_ms})
    track(METRIC_LATENCY, data_type, handle.tenant, latency_ms, said)
