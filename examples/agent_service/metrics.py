"""The service's own counts for Prometheus, next to those that cascada gives of its cache.

Cascada's are those of all workers. Its `cache_spent_*` tell what loads cost; of these here, each
worker knows its own."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from cascada.integrations.prometheus import CONTENT_TYPE_LATEST as CONTENT_TYPE_LATEST
from cascada.integrations.prometheus import exposition
from examples.agent_service.service import Service


class _Counts(Collector):
    """What the service has asked of its database, its embedder and its model."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service = self._service
        for name, text, count in (
            ("database_queries", "Statements sent to the database.", service.database.queries),
            ("model_calls", f"Answers of the {service.model.name}.", service.model.calls),
            ("model_tokens", "Tokens that a hosted model would charge.", service.model.tokens),
            ("model_dollars", "What it would charge for them.", service.model.dollars),
            ("embedding_calls", "Calls of the embedder.", service.embedder.calls),
            ("embedded_texts", "Texts that were embedded.", service.embedder.texts),
        ):
            yield CounterMetricFamily(f"agent_service_{name}", f"{text} (this worker)", count)


async def metrics(service: Service) -> bytes:
    """Everything, as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(_Counts(service))
    return await exposition(service.cache) + generate_latest(registry)
