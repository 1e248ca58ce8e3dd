"""The metrics of layers, and of the cache as a whole: sizes, times, errors, invalidations.

`prometheus.py` asks for them at each scrape. One of them is worked out then, the response times of
L1: to read the clock on a hit would cost as much as the hit, so that a scrape looks up a few of the
entries in memory, times that, and lets those times stand for all the hits since the scrape before.
Those of the other layers are measured, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

from msgspec.structs import astuple
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from cascada.engine.engine import Engine
from cascada.engine.kinds import OTHER
from cascada.engine.other_workers import Others
from cascada.engine.telling.probes import times_of_hits
from cascada.integrations.prometheus_types import filled
from cascada.model.entry import MEMORY
from cascada.telemetry.latency import BOUNDS, NO_TIMES, Times
from cascada.telemetry.scrapes import Label, Scrapes, Timed
from cascada.tiers.capabilities import Backlog
from cascada.tiers.contract import Usage

_BOUNDS: Final = [*map(str, BOUNDS), "+Inf"]


def response_times(
    engine: Engine,
    in_memory: Mapping[str, int],
    scrapes: Scrapes,
    others: Others,
    types: Mapping[str, str] | None,
) -> Metric:
    """`in_memory`: hits there, of all workers, by the label of their type. `types`: what each type
    is called, where each has times of its own."""
    text = "How long an answer took, by the layer that gave it (l1: estimated at each scrape)."
    labels = ["layer"] if types is None else ["layer", "data_type"]
    family = HistogramMetricFamily("cache_response_time_seconds", text, labels=labels)
    looks = times_of_hits(engine.stack.memory, engine.clock.monotonic)
    for data_type, hits in in_memory.items() if types is not None else ():
        timed = scrapes.of_types.setdefault(data_type, Timed())
        timed.let_stand(looks, hits)
        _add(family, (MEMORY, data_type), timed)
    found: dict[Label, Times] = {}
    if types is None:
        scrapes.let_stand(looks, sum(in_memory.values()))
        _add(family, (MEMORY,), scrapes)
        found |= dict.fromkeys(((layer,) for layer in engine.trace.latencies.names), NO_TIMES)
    own = ((by, latency.times) for by, latency in engine.trace.latencies.all())
    for (layer, data_type), times in (*own, *others.latencies.items()):
        label: Label = (layer,) if types is None else (layer, types.get(data_type, OTHER))
        found[label] = found.get(label, NO_TIMES) + times
    for label, times in found.items():
        _add(family, label, times)
    return family


def _add(family: HistogramMetricFamily, label: Label, times: Times | Timed) -> None:
    family.add_metric(label, [*zip(_BOUNDS, accumulate(times.counts), strict=True)], times.seconds)


def of_layers(engine: Engine, usage_here: Mapping[str, Usage], others: Others) -> Iterator[Metric]:
    """`usage_here`: what the tiers have said last."""
    stack, trace = engine.stack, engine.trace
    usage, workers = dict(usage_here), others.workers
    if others.memory is not None and MEMORY in usage:
        pairs = zip(astuple(usage[MEMORY]), astuple(others.memory), strict=True)
        usage[MEMORY] = Usage(*map(sum, pairs))
    gauge, counter, layer = GaugeMetricFamily, CounterMetricFamily, ["layer"]
    mode = gauge("cache_mode", "1 for the mode of the cache.", labels=["mode"])
    yield filled(mode, [((engine.options.mode,), 1)])
    one = gauge("cache_workers", "Workers whose counts these are.", labels=["group"])
    yield filled(one, [((others.group,), workers)])
    for kind, name, text in (
        (gauge, "size_bytes", "Bytes that the layer holds."),
        (gauge, "capacity_bytes", "Bytes that the layer may hold; 0 is unbounded."),
        (gauge, "entries", "Entries that the layer holds."),
        (counter, "evictions", "Entries given up to make room."),
    ):
        used = (((tier,), getattr(held, name)) for tier, held in usage.items())
        yield filled(kind(f"cache_{name}", text, labels=layer), used)
    up = gauge(
        "cache_tier_up",
        "1 while the layer is asked, 0 while it is skipped; the share of the workers that ask.",
        labels=layer,
    )
    lower = (
        ((tier.name,), (tier.available + others.up[tier.name]) / workers) for tier in stack.lower
    )
    yield filled(up, [((MEMORY,), 1), *lower])
    for name, label, text, counts in (
        (
            "tier_errors", "where", "Calls that a lower tier failed, by what called.",
            trace.tier_errors + others.named["tier_errors"],
        ),
        (
            "task_restarts", "task",
            "Failures of work that goes on for ever, which has begun again.",
            trace.restarts + others.named["restarts"],
        ),
    ):  # fmt: skip
        told = counter(f"cache_{name}", text, labels=[label])
        yield filled(told, (((said,), count) for said, count in counts.items()))
    done = trace.done + others.named["done"]
    yield counter("cache_invalidations", "Invalidations made here.", done["invalidations"])
    yield counter(
        "cache_invalidated_entries",
        "Entries that they ended (at most; see docs/invalidation.md).",
        done["invalidated_entries"],
    )


def of_journal(engine: Engine, backlog: Backlog | None, others: Others) -> Iterator[Metric]:
    """What waits to be written behind, for all processes, and what these have done about it."""
    for name, part, text in (
        ("journal_changes", "changes", "Changes that the database has not been told yet."),
        ("journal_bytes", "size_bytes", "Their bytes."),
        ("journal_set_aside", "set_aside", "Changes that it cannot take: look at these."),
    ):
        waiting = [] if backlog is None else [((), getattr(backlog, part))]
        yield filled(GaugeMetricFamily(f"cache_{name}", text, labels=[]), waiting)
    done = engine.trace.done + others.named["done"]
    for name, text in (
        ("journal_put", "Changes that were put there."),
        ("journal_written", "Changes of it that were written to the database."),
        ("journal_void", "Changes of it that something newer stood against."),
    ):
        yield CounterMetricFamily(f"cache_{name}", text, done[name])
