"""Prometheus: what a cache has counted, read when it is scraped. `docs/metrics.md` lists the names.

Nothing here runs on a hit. The engine's counters are turned into metrics at the scrape, and two of
them are worked out then:

- Response times of L1. To read the clock on a hit would cost as much as the hit, so that a scrape
  looks up a few of the entries in memory, times that, and lets those times stand for all the hits
  since the scrape before. Those of the other layers are measured, one by one.
- Saved time: the hits since the scrape before, each worth what a load of its type has taken so far
  (in mode observe: what its source took).

Labels are bounded: so many data types, and so many tenants if tenants are asked for, in the order
in which they were first met; what comes later is `other`, as a label and only there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import Final
from weakref import WeakKeyDictionary

from cascada.api.cache import Cache
from cascada.engine.kinds import OTHER, Kind
from cascada.model import arguments
from cascada.model.entry import MEMORY
from cascada.model.errors import MissingExtra
from cascada.telemetry.latency import BOUNDS, Latency
from cascada.tiers.contract import Usage

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra(
        "cascada.integrations.prometheus needs prometheus-client; "
        "run `pip install cascada[prometheus]`"
    ) from error

__all__ = ["CONTENT_TYPE_LATEST", "CacheCollector", "exposition"]

PROBES: Final = 16
"""Entries that a scrape looks up to tell how long a hit in memory takes."""

USAGE_TIMEOUT: Final = 1.0
"""Seconds that a scrape from another thread waits for the tiers to say how full they are."""

COUNTED: Final = {
    "loads": "Values that loaders brought.",
    "load_failures": "Loads that raised.",
    "load_seconds": "Seconds that loads took, added up.",
    "coalesced": "Reads that were answered by another caller's load.",
    "stale": "Answers past their ttl, served while refreshing or since the source failed.",
    "refused": "Loaded values that a tier refused, because they were invalidated meanwhile.",
    "corrupt": "Stored entries that did not decode, and so were misses.",
    "stored": "Values that loads and sets gave to the layers to store.",
    "stored_bytes": "Their encoded bytes, added up.",
    "bulky": "Stored values over bulky_bytes of their type, which are kept for bulky_ttl.",
    "oversized": "Loaded values over max_value_bytes, which were handed out and not stored.",
    "unstorable": "Loaded values that cannot be stored: their callers alone had them.",
    "checked": "Hits that were compared with their source (self-check, or mode observe).",
    "unchecked": "Hits that were to be compared, and whose source did not say.",
}
"""Counters of a data type that are exposed as they are, as `cache_<name>_total`."""


LOOKS: Final = {"0s": "differed", "1s": "differed_1s", "10s": "differed_10s"}
"""Counters of checked hits that differed from their source, by how long after they were served."""


class CacheCollector(Collector):
    """The metrics of one cache, for a registry: `REGISTRY.register(CacheCollector(cache))`.

    tenants: how many get a label of their own (0: no `tenant` label). data_types: the same for
    types. A scrape on the cache's own event loop shows the sizes that `refresh` has fetched last;
    one from another thread fetches them itself.
    """

    def __init__(self, cache: Cache, *, tenants: int = 0, data_types: int = 200) -> None:
        arguments.instance(cache, "cache", Cache, "a Cache")
        self._engine = cache._engine
        self._tenants = arguments.integer(tenants, "tenants", 0)
        self._data_types = arguments.integer(data_types, "data_types", 0)
        self._usage: dict[str, Usage] = {}
        self._in_memory = Latency()
        self._timed = 0
        self._credited: dict[Kind, int] = {}
        self._saved: defaultdict[Kind, float] = defaultdict(float)

    async def refresh(self) -> None:
        """Ask the tiers how full they are."""
        self._usage = await self._engine.usage()

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry need not scrape to find out the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now."""
        self._refresh_from_another_thread()
        kinds = self._engine.stack.kinds.all()
        labels = self._labels(kinds)
        yield from self._reads(kinds, labels)
        yield from self._counted(kinds, labels)
        yield from self._checked(kinds, labels)
        yield self._response_times(sum(kind.l1 for kind in kinds))
        yield from self._tiers()
        yield from self._tracked()

    def _tracked(self) -> Iterator[Metric]:
        """What the application measures under names of its own, all tenants together."""
        names = ["metric", "data_type"]
        counts = CounterMetricFamily(
            "cache_tracked", "Measurements that the application has tracked.", labels=names
        )
        sums = GaugeMetricFamily(
            "cache_tracked_sum", "The values of those measurements, added up.", labels=names
        )
        shown: dict[str, str] = {}
        series = self._engine.stack.trace.tracked.all()
        for each in series:
            room = len(shown) < self._data_types
            shown.setdefault(each.data_type, each.data_type if room else OTHER)
        _add_up(counts, (((each.metric, shown[each.data_type]), each.count) for each in series))
        _add_up(sums, (((each.metric, shown[each.data_type]), each.total) for each in series))
        yield counts
        yield sums

    def _reads(self, kinds: list[Kind], labels: dict[Kind, tuple[str, ...]]) -> Iterator[Metric]:
        """Hits, and misses as each layer sees them: what one lacks, the next is asked for."""
        names = ["layer", *self._label_names]
        hits = CounterMetricFamily("cache_hit", "Reads that the layer answered.", labels=names)
        misses = CounterMetricFamily(
            "cache_miss", "Reads that the layer was asked and did not answer.", labels=names
        )
        below = {labels[kind]: 0 for kind in kinds}
        for kind in kinds:
            below[labels[kind]] += kind.misses
        for layer in reversed([tier.name for tier in self._engine.stack.tiers]):
            found = dict.fromkeys(below, 0)
            for kind in kinds:
                found[labels[kind]] += kind.by_tier.get(layer, 0)
            for label, count in found.items():
                hits.add_metric([layer, *label], count)
                misses.add_metric([layer, *label], below[label])
                below[label] += count
        yield hits
        yield misses

    def _counted(self, kinds: list[Kind], labels: dict[Kind, tuple[str, ...]]) -> Iterator[Metric]:
        for name, text in COUNTED.items():
            family = CounterMetricFamily(f"cache_{name}", text, labels=self._label_names)
            _add_up(family, ((labels[kind], getattr(kind, name)) for kind in kinds))
            yield family
        for kind in kinds:
            # A hit whose source is being timed is credited at a scrape, and not once more later.
            new = kind.hits - kind.timed_hits - self._credited.get(kind, 0)
            if kind.loads and new > 0:
                self._credited[kind] = kind.hits - kind.timed_hits
                self._saved[kind] += new * kind.load_seconds / kind.loads
        saved = CounterMetricFamily(
            "cache_saved_seconds",
            "Seconds of loading that hits have saved, at what loads of the type have taken.",
            labels=self._label_names,
        )
        _add_up(saved, ((labels[kind], self._saved[kind] + kind.timed_seconds) for kind in kinds))
        yield saved

    def _checked(self, kinds: list[Kind], labels: dict[Kind, tuple[str, ...]]) -> Iterator[Metric]:
        """What came of comparing hits with their source."""
        differed = CounterMetricFamily(
            "cache_differed",
            "Checked hits that differed from their source, still so long after they were served.",
            labels=["after", *self._label_names],
        )
        for after, name in LOOKS.items():
            _add_up(differed, (((after, *labels[kind]), getattr(kind, name)) for kind in kinds))
        yield differed
        ratio = GaugeMetricFamily(
            "cache_consistency_ratio",
            "The share of the checked hits that were right within 10 s.",
            labels=self._label_names,
        )
        checked: Counter[tuple[str, ...]] = Counter()
        wrong: Counter[tuple[str, ...]] = Counter()
        for kind in kinds:
            checked[labels[kind]] += kind.checked
            wrong[labels[kind]] += kind.differed_10s
        for label, count in checked.items():
            if count:
                ratio.add_metric(label, 1 - wrong[label] / count)
        yield ratio

    def _response_times(self, hits: int) -> Metric:
        self._time_hits(hits - self._timed)
        family = HistogramMetricFamily(
            "cache_response_time_seconds",
            "How long an answer took, by the layer that gave it (l1: estimated at each scrape).",
            labels=["layer"],
        )
        latencies = {MEMORY: self._in_memory, **self._engine.stack.trace.latencies}
        bounds = [*map(str, BOUNDS), "+Inf"]
        for layer, latency in latencies.items():
            totals = zip(bounds, accumulate(latency.counts), strict=True)
            family.add_metric([layer], list(totals), latency.seconds)
        return family

    def _time_hits(self, count: int) -> None:
        """Let the times of a few look-ups stand for `count` hits."""
        memory, now = self._engine.stack.memory, self._engine.clock.monotonic
        times = []
        try:
            probes = list(islice(memory.records, PROBES))
        except RuntimeError:  # from another thread: memory has changed under the walk
            return
        for record in probes:
            used = record.used
            started = now()
            found = memory.peek(record.key)
            spent = now() - started
            if found is not None:
                times.append(spent)
                found.used = used  # a scrape is no use of an entry
        for index, spent in enumerate(times):
            share = count * (index + 1) // len(times) - count * index // len(times)
            self._in_memory.add(spent, share)
        if times:
            self._timed += count  # else they wait for a scrape that finds something to look up

    def _tiers(self) -> Iterator[Metric]:
        stack = self._engine.stack
        mode = GaugeMetricFamily("cache_mode", "1 for the mode of the cache.", labels=["mode"])
        mode.add_metric([self._engine.options.mode], 1)
        yield mode
        for name, text in {
            "size_bytes": "Bytes that the layer holds.",
            "capacity_bytes": "Bytes that the layer may hold; 0 is unbounded.",
            "entries": "Entries that the layer holds.",
        }.items():
            gauge = GaugeMetricFamily(f"cache_{name}", text, labels=["layer"])
            for layer, used in self._usage.items():
                gauge.add_metric([layer], getattr(used, name))
            yield gauge
        evictions = CounterMetricFamily(
            "cache_evictions", "Entries given up to make room.", labels=["layer"]
        )
        for layer, used in self._usage.items():
            evictions.add_metric([layer], used.evictions)
        yield evictions
        up = GaugeMetricFamily(
            "cache_tier_up", "1 while the layer is asked, 0 while it is skipped.", labels=["layer"]
        )
        up.add_metric([MEMORY], 1)
        for tier in stack.lower:
            up.add_metric([tier.name], float(tier.available))
        yield up
        errors = CounterMetricFamily(
            "cache_tier_errors", "Calls that a lower tier failed, by what called.", labels=["where"]
        )
        for where, count in stack.trace.tier_errors.items():
            errors.add_metric([where], count)
        yield errors
        restarts = CounterMetricFamily(
            "cache_task_restarts",
            "Failures of work that goes on for ever, which has begun again.",
            labels=["task"],
        )
        for task, count in stack.trace.restarts.items():
            restarts.add_metric([task], count)
        yield restarts
        yield CounterMetricFamily(
            "cache_invalidations", "Invalidations made here.", stack.trace.invalidations
        )
        yield CounterMetricFamily(
            "cache_invalidated_entries",
            "Entries that they ended (at most; see docs/invalidation.md).",
            stack.trace.invalidated_entries,
        )

    @property
    def _label_names(self) -> list[str]:
        return ["data_type", "tenant"] if self._tenants else ["data_type"]

    def _labels(self, kinds: list[Kind]) -> dict[Kind, tuple[str, ...]]:
        types = _first(self._data_types, (kind.data_type for kind in kinds))
        tenants = _first(self._tenants, (kind.tenant for kind in kinds))
        return {
            kind: (types.get(kind.data_type, OTHER), tenants.get(kind.tenant, OTHER))
            if self._tenants
            else (types.get(kind.data_type, OTHER),)
            for kind in kinds
        }

    def _refresh_from_another_thread(self) -> None:
        loop = self._engine.life.loop
        if loop is None or not loop.is_running():
            return
        try:
            if asyncio.get_running_loop() is loop:
                return  # it would wait for itself
        except RuntimeError:
            pass
        fetched = asyncio.run_coroutine_threadsafe(self.refresh(), loop)
        try:
            fetched.result(USAGE_TIMEOUT)
        except TimeoutError:
            fetched.cancel()


_collectors: WeakKeyDictionary[Cache, dict[int, CacheCollector]] = WeakKeyDictionary()


async def exposition(cache: Cache, *, tenants: int = 0) -> bytes:
    """All metrics of the cache as text, for a `/metrics` route; its type is CONTENT_TYPE_LATEST."""
    arguments.instance(cache, "cache", Cache, "a Cache")
    tenants = arguments.integer(tenants, "tenants", 0)
    known = _collectors.setdefault(cache, {})
    if tenants not in known:
        known[tenants] = CacheCollector(cache, tenants=tenants)
    await known[tenants].refresh()
    registry = CollectorRegistry()
    registry.register(known[tenants])
    return generate_latest(registry)


def _first(count: int, names: Iterable[str]) -> dict[str, str]:
    """The first `count` different names, each for itself."""
    return {name: name for name in islice(dict.fromkeys(names), count)}


def _add_up(
    family: CounterMetricFamily | GaugeMetricFamily, values: Iterable[tuple[tuple[str, ...], float]]
) -> None:
    """One sample for each set of labels."""
    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for label, value in values:
        sums[label] += value
    for label, value in sums.items():
        family.add_metric(label, value)
