"""The metrics of the syncs of services, of all workers; `prometheus.py` asks at each scrape.

What was done is counted by each process, and added up like all that workers count. What waits is in
a journal, which all of them see: it is asked at the scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from cascada.engine.engine import Engine
from cascada.engine.other_workers import Others
from cascada.service.sync.face import loops_of
from cascada.service.sync.report import said
from cascada.telemetry.latency import BOUNDS, NO_TIMES


async def look_at_syncs(engine: Engine) -> None:
    """See what waits in the journals now."""
    for each in loops_of(engine):
        await each.look()


def of_syncs(engine: Engine, others: Others) -> Iterator[Metric]:
    """By service; nothing where none has synced."""
    loops = {each.service: each for each in loops_of(engine)}
    counts: Counter[str] = engine.trace.synced + others.named["synced"]
    rounds = dict(others.rounds)
    for (_, service), latency in engine.trace.rounds.all():
        rounds[service] = rounds.get(service, NO_TIMES) + latency.times
    if not loops and not rounds:
        return
    rows = CounterMetricFamily("cache_sync_rows", "Rows that it wrote.", labels=["service"])
    conflicts = CounterMetricFamily(
        "cache_sync_conflicts",
        "Rows that others had changed, by what decided.",
        labels=["service", "strategy"],
    )
    errors = CounterMetricFamily(
        "cache_sync_errors", "What failed, by cause.", labels=["service", "cause"]
    )
    aside = GaugeMetricFamily(
        "cache_sync_set_aside", "Changes that cannot be written: look.", labels=["service"]
    )
    lag = GaugeMetricFamily(
        "cache_sync_lag_seconds", "How long the oldest change has waited.", labels=["service"]
    )
    times_of = HistogramMetricFamily(
        "cache_sync_round_seconds", "How long a round took.", labels=["service"]
    )
    for service in sorted(loops.keys() | rounds.keys()):
        rows.add_metric([service], counts[f"written {service}"])
        times = rounds.get(service, NO_TIMES)
        bounds = zip([*map(str, BOUNDS), "+Inf"], accumulate(times.counts), strict=True)
        times_of.add_metric([service], [*bounds], times.seconds)
    for name, number in counts.items():
        what, label, service = said(name)
        if what == "conflict":
            conflicts.add_metric([service, label], number)
        elif what == "error":
            errors.add_metric([service, label], number)
    for service, loop in loops.items():
        aside.add_metric([service], loop.set_aside)
        lag.add_metric([service], loop.lag_seconds)
    yield from (rows, conflicts, errors, aside, lag, times_of)
