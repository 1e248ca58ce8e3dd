"""Prometheus: what a cache has counted, read when it is scraped. `docs/metrics.md` lists the names.

Nothing here runs on a hit. What `Cache.stats()` tells is turned into metrics at the scrape, and one
of them is worked out then, the response times of L1. To read the clock on a hit would cost as much
as the hit, so that a scrape looks up a few of the entries in memory, times that, and lets those
times stand for all the hits since the scrape before. Those of the other layers are measured, one by
one.

Labels are bounded: so many data types, and so many tenants if tenants are asked for, in the order
in which they were first met; what comes later is `other`, as a label and only there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, islice
from operator import add
from typing import Any, Final
from weakref import WeakKeyDictionary

from msgspec.structs import astuple

from cascada.api.cache import Cache
from cascada.api.statistics import TypeStatistics, by_tier, counts_by
from cascada.engine.kinds import OTHER, Kind
from cascada.engine.other_workers import Others
from cascada.model.door import arguments
from cascada.model.entry import MEMORY
from cascada.model.errors import MissingExtra
from cascada.telemetry.custom import Series
from cascada.telemetry.latency import BOUNDS, Latency
from cascada.telemetry.scrapes import Label, Scrapes, first
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


Rows = Mapping[Label, TypeStatistics]

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


BILLED: Final = {
    "seconds": "Seconds of loading",
    "tokens_in": "Tokens that models were given",
    "tokens_out": "Tokens that models said",
    "tokens_cached": "Tokens that models were given, and had in a cache of their provider's",
    "money": "Money, in the currency of the prices",
    "unpriced": "How many have no known price, and so no part in the money",
}
"""What is told of what was spent, and of what was saved, as `cache_spent_<name>_total`."""

LOOKS: Final = {"0s": "differed", "1s": "differed_1s", "10s": "differed_10s"}
"""Counters of checked hits that differed from their source, by how long after they were served."""


_NOTHING: Final = Latency()


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
        self._scrapes = Scrapes()

    async def refresh(self) -> None:
        """Ask the tiers how full they are."""
        self._usage = await self._engine.usage()

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry need not scrape to find out the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now: of all workers, where this process is one of several."""
        self._refresh_from_another_thread()
        with self._engine.filing.scraped(wait=not _on_a_loop()) as found:
            metrics = self.page(*found)
        yield from metrics

    def page(self, others: Others, left: dict[str, bytes]) -> list[Metric]:
        """All metrics, with what other workers have counted; see `Filing.scraped`."""
        scrape = f"{self._tenants} {self._data_types}"
        self._scrapes = Scrapes.of(left.get(scrape))
        metrics = [*self._metrics(others)]
        self._engine.filing.write_bills()
        left[scrape] = self._scrapes.left()
        return metrics

    def _metrics(self, others: Others) -> Iterator[Metric]:
        rows = counts_by(self._engine, self._labels(others), others.kinds)
        yield from self._reads(rows)
        yield from self._counted(rows)
        yield self._response_times(sum(row.by_tier[MEMORY] for row in rows.values()), others)
        yield from self._tiers(others)
        yield from self._tracked(others)

    def _tracked(self, others: Others) -> Iterator[Metric]:
        """What the application measures under names of its own, all tenants together."""
        names = ["metric", "data_type"]
        counts = CounterMetricFamily(
            "cache_tracked", "Measurements that the application has tracked.", labels=names
        )
        sums = GaugeMetricFamily(
            "cache_tracked_sum", "The values of those measurements, added up.", labels=names
        )
        series = [*self._engine.trace.tracked.all(), *others.series]
        tracked = (each.data_type for each in series)
        shown = first(self._data_types, self._scrapes.tracked, tracked)
        measured: defaultdict[Label, list[Series]] = defaultdict(list)
        for each in series:
            measured[each.metric, shown.get(each.data_type, OTHER)].append(each)
        for label, found in measured.items():
            counts.add_metric(label, sum(each.count for each in found))
            sums.add_metric(label, sum(each.total for each in found))
        yield counts
        yield sums

    def _reads(self, rows: Rows) -> Iterator[Metric]:
        names = ["layer", *self._label_names]
        hits = CounterMetricFamily("cache_hit", "Reads that the layer answered.", labels=names)
        misses = CounterMetricFamily(
            "cache_miss", "Reads that the layer was asked and did not answer.", labels=names
        )
        for label, row in rows.items():
            for layer, found, missed in by_tier(row, self._engine):
                hits.add_metric([layer, *label], found)
                misses.add_metric([layer, *label], missed)
        yield hits
        yield misses

    def _counted(self, rows: Rows) -> Iterator[Metric]:
        """The counts of each data type, and what came of comparing hits with their source."""
        names = self._label_names
        for name, text in COUNTED.items():
            counts = ((label, getattr(row, name)) for label, row in rows.items())
            yield _family(CounterMetricFamily(f"cache_{name}", text, labels=names), counts)
        yield from self._costs(rows)
        yield _family(
            CounterMetricFamily(
                "cache_differed",
                "Checked hits that differed from their source, still so long after they were "
                "served.",
                labels=["after", *names],
            ),
            (
                ((after, *label), getattr(row, name))
                for after, name in LOOKS.items()
                for label, row in rows.items()
            ),
        )
        yield _family(
            GaugeMetricFamily(
                "cache_consistency_ratio",
                "The share of the checked hits that were right within 10 s.",
                labels=names,
            ),
            ((label, row.consistency) for label, row in rows.items() if row.checked),
        )

    def _costs(self, rows: Rows) -> Iterator[Metric]:
        """What sources took and cost, and what reads have saved of that, by how."""
        names = self._label_names
        spent = [(label, row.spent) for label, row in rows.items()]
        saved = [
            ((how, *label), bill)
            for label, row in rows.items()
            for how, bill in row.saved_by.items()
        ]
        for what, whose, labels, bills in (
            ("spent", "of what sources were asked for", names, spent),
            ("saved", "of reads that were answered without", ["by", *names], saved),
        ):
            for part, text in BILLED.items():
                family = CounterMetricFamily(
                    f"cache_{what}_{part}", f"{text}: {whose}.", labels=labels
                )
                told = ((label, getattr(bill, part)) for label, bill in bills)
                yield _family(family, ((label, each) for label, each in told if each is not None))

    def _response_times(self, hits: int, others: Others) -> Metric:
        scrapes = self._scrapes
        self._time_hits(hits - scrapes.timed)
        family = HistogramMetricFamily(
            "cache_response_time_seconds",
            "How long an answer took, by the layer that gave it (l1: estimated at each scrape).",
            labels=["layer"],
        )
        times = {MEMORY: (scrapes.counts, scrapes.seconds)}
        for layer, own in self._engine.trace.latencies.items():
            more = others.latencies.get(layer, _NOTHING)
            counts = [*map(add, own.counts, more.counts)]
            times[layer] = counts, own.seconds + more.seconds
        bounds = [*map(str, BOUNDS), "+Inf"]
        for layer, (counts, seconds) in times.items():
            family.add_metric([layer], [*zip(bounds, accumulate(counts), strict=True)], seconds)
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
        scrapes = self._scrapes
        for index, spent in enumerate(times):
            share = count * (index + 1) // len(times) - count * index // len(times)
            scrapes.add(spent, share)
        if times:
            scrapes.timed += count  # else they wait for a scrape that finds something to look up

    def _tiers(self, others: Others) -> Iterator[Metric]:
        stack, trace = self._engine.stack, self._engine.trace
        usage, workers = dict(self._usage), others.workers
        if others.memory is not None and MEMORY in usage:
            pairs = zip(astuple(usage[MEMORY]), astuple(others.memory), strict=True)
            usage[MEMORY] = Usage(*map(sum, pairs))
        gauge, counter, layer = GaugeMetricFamily, CounterMetricFamily, ["layer"]
        mode = gauge("cache_mode", "1 for the mode of the cache.", labels=["mode"])
        yield _family(mode, [((self._engine.options.mode,), 1)])
        one = gauge("cache_workers", "Workers whose counts these are.", labels=["group"])
        yield _family(one, [((others.group,), workers)])
        for family, name, text in (
            (gauge, "size_bytes", "Bytes that the layer holds."),
            (gauge, "capacity_bytes", "Bytes that the layer may hold; 0 is unbounded."),
            (gauge, "entries", "Entries that the layer holds."),
            (counter, "evictions", "Entries given up to make room."),
        ):
            used = (((tier,), getattr(held, name)) for tier, held in usage.items())
            yield _family(family(f"cache_{name}", text, labels=layer), used)
        up = gauge(
            "cache_tier_up",
            "1 while the layer is asked, 0 while it is skipped; the share of the workers that ask.",
            labels=layer,
        )
        lower = (
            ((tier.name,), (tier.available + others.up[tier.name]) / workers)
            for tier in stack.lower
        )
        yield _family(up, [((MEMORY,), 1), *lower])
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
            yield _family(told, (((said,), count) for said, count in counts.items()))
        done = trace.done + others.named["done"]
        yield counter("cache_invalidations", "Invalidations made here.", done["invalidations"])
        yield counter(
            "cache_invalidated_entries",
            "Entries that they ended (at most; see docs/invalidation.md).",
            done["invalidated_entries"],
        )

    @property
    def _label_names(self) -> list[str]:
        return ["data_type", "tenant"] if self._tenants else ["data_type"]

    def _labels(self, others: Others) -> Callable[[Kind], Label]:
        """What each type of each tenant is called."""
        kinds, scrapes = [*self._engine.kinds.all(), *others.kinds], self._scrapes
        types = first(self._data_types, scrapes.types, (kind.data_type for kind in kinds))
        tenants = first(self._tenants, scrapes.tenants, (kind.tenant for kind in kinds))
        named = len(self._label_names)
        return lambda kind: (
            types.get(kind.data_type, OTHER), tenants.get(kind.tenant, OTHER)
        )[:named]  # fmt: skip

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


def _on_a_loop() -> bool:
    """Whether whoever waits here keeps an event loop waiting."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Page(Collector):
    """Metrics as they are."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


_collectors: WeakKeyDictionary[Cache, dict[int, CacheCollector]] = WeakKeyDictionary()


async def exposition(cache: Cache, *, tenants: int = 0) -> bytes:
    """All metrics of the cache as text, for a `/metrics` route; its type is CONTENT_TYPE_LATEST."""
    arguments.instance(cache, "cache", Cache, "a Cache")
    tenants = arguments.integer(tenants, "tenants", 0)
    known = _collectors.setdefault(cache, {})
    if tenants not in known:
        known[tenants] = CacheCollector(cache, tenants=tenants)
    collector = known[tenants]
    await collector.refresh()
    scraped = cache._engine.filing.scraped()
    # In a thread: the others' counts are in files, and one of them may be reading them, too.
    found = await asyncio.to_thread(scraped.__enter__)
    try:
        page = collector.page(*found)
    finally:
        scraped.__exit__(None, None, None)
    registry = CollectorRegistry()
    registry.register(_Page(page))
    return generate_latest(registry)


def _family(
    family: CounterMetricFamily | GaugeMetricFamily, samples: Iterable[tuple[Label, Any]]
) -> Metric:
    """A family with one sample for each set of labels."""
    for label, value in samples:
        family.add_metric(label, value)
    return family
