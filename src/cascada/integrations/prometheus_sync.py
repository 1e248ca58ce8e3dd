"""The metrics of the syncs of services, of this process; `prometheus.py` asks at each scrape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate
from operator import add

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from cascada.engine.engine import Engine
from cascada.service.sync.face import loops_of
from cascada.service.sync.loop import SyncLoop
from cascada.telemetry.latency import BOUNDS


def of_syncs(engine: Engine) -> Iterator[Metric]:
    """By service; nothing where none has synced."""
    by_service: defaultdict[str, list[SyncLoop]] = defaultdict(list)
    for each in loops_of(engine):
        by_service[each.service].append(each)
    if not by_service:
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
    rounds = HistogramMetricFamily(
        "cache_sync_round_seconds", "How long a round took.", labels=["service"]
    )
    bounds = [*map(str, BOUNDS), "+Inf"]
    for service, loops in by_service.items():
        counts = [each.counts for each in loops]
        written = sum(each.rows["written"] for each in counts)
        decided = sum((each.conflicts for each in counts), Counter[str]())
        rows.add_metric([service], written)
        for strategy, times in decided.items():
            conflicts.add_metric([service, strategy], times)
        for cause, times in sum((each.errors for each in counts), Counter[str]()).items():
            errors.add_metric([service, cause], times)
        aside.add_metric([service], max(each.set_aside for each in counts))
        lag.add_metric([service], max(each.lag_seconds for each in loops))
        sums = [0] * (len(BOUNDS) + 1)
        for own in counts:
            sums = [*map(add, sums, own.rounds.counts)]
        seconds = sum(each.rounds.seconds for each in counts)
        buckets = [*zip(bounds, accumulate(sums), strict=True)]
        rounds.add_metric([service], buckets, seconds)
    yield from (rows, conflicts, errors, aside, lag, rounds)
