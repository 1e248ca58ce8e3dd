"""Prometheus: what a cache has counted, read when it is scraped. `docs/metrics.md` lists the names.

Nothing here runs on a hit. What `Cache.stats()` tells is turned into metrics at the scrape:
`prometheus_types.py` has those of data types, `prometheus_layers.py` those of layers.

Labels are bounded: so many data types, and so many tenants if tenants are asked for, in the order
in which they were first met; what comes later is `other`, as a label and only there. While a policy
is tried beside another one, its type has a third label: `variant`, a or b.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from cascada.api.cache import Cache
from cascada.api.statistics import counts_by
from cascada.engine.kinds import OTHER, Kind
from cascada.engine.other_workers import Others
from cascada.model.door import arguments
from cascada.model.entry import MEMORY
from cascada.model.errors import MissingExtra
from cascada.telemetry.custom import Series
from cascada.telemetry.scrapes import Label, Scrapes, first
from cascada.tiers.capabilities import Backlog
from cascada.tiers.contract import Usage

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    from cascada.integrations.prometheus_layers import of_journal, of_layers, response_times
    from cascada.integrations.prometheus_sync import look_at_syncs, of_syncs
    from cascada.integrations.prometheus_types import of_types
except ImportError as error:
    raise MissingExtra(
        "cascada.integrations.prometheus needs prometheus-client; "
        "run `pip install cascada[prometheus]`"
    ) from error

__all__ = ["CONTENT_TYPE_LATEST", "CacheCollector", "exposition"]

USAGE_TIMEOUT: Final = 1.0
"""Seconds that a scrape from another thread waits for the tiers to say how full they are."""


class CacheCollector(Collector):
    """The metrics of one cache, for a registry: `REGISTRY.register(CacheCollector(cache))`.

    tenants: how many get a label of their own (0: no `tenant` label). data_types: the same for
    types. times_by_type: response times bear the label of their data type, too. A scrape on the
    cache's own event loop shows the sizes that `refresh` has fetched last; one from another thread
    fetches them itself.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        tenants: int = 0,
        data_types: int = 200,
        times_by_type: bool = False,
    ) -> None:
        arguments.instance(cache, "cache", Cache, "a Cache")
        self._engine = cache._engine
        self._tenants = arguments.integer(tenants, "tenants", 0)
        self._data_types = arguments.integer(data_types, "data_types", 0)
        self._times_by_type = arguments.flag(times_by_type, "times_by_type")
        self._usage: dict[str, Usage] = {}
        self._backlog: Backlog | None = None
        self._scrapes = Scrapes()

    async def refresh(self) -> None:
        """Ask the tiers how full they are."""
        self._usage = await self._engine.usage()
        self._backlog = await self._engine.backlog()
        await look_at_syncs(self._engine)

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
        scrape = f"{self._tenants} {self._data_types}{' times by type' * self._times_by_type}"
        self._scrapes = Scrapes.of(left.get(scrape))
        metrics = [*self._metrics(others)]
        self._engine.filing.write_bills()
        left[scrape] = self._scrapes.left()
        return metrics

    def _metrics(self, others: Others) -> Iterator[Metric]:
        kinds = [*self._engine.kinds.all(), *others.kinds]
        names = self._label_names(kinds)
        rows = counts_by(self._engine, self._labels(kinds, names), others.kinds)
        yield from of_types(rows, names, self._engine)
        in_memory: Counter[str] = Counter()
        for (data_type, *_), row in rows.items():
            in_memory[data_type] += row.by_tier[MEMORY]
        types = {name: name for name in self._scrapes.types} if self._times_by_type else None
        yield response_times(self._engine, in_memory, self._scrapes, others, types)
        yield from of_layers(self._engine, self._usage, others)
        yield from of_journal(self._engine, self._backlog, others)
        yield from of_syncs(self._engine, others)
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

    def _label_names(self, kinds: Sequence[Kind]) -> list[str]:
        names = ["data_type"]
        if any(kind.variant for kind in kinds):
            names.append("variant")
        return [*names, "tenant"] if self._tenants else names

    def _labels(self, kinds: Sequence[Kind], names: Sequence[str]) -> Callable[[Kind], Label]:
        """What each type of each tenant is called."""
        scrapes = self._scrapes
        types = first(self._data_types, scrapes.types, (kind.data_type for kind in kinds))
        tenants = first(self._tenants, scrapes.tenants, (kind.tenant for kind in kinds))
        called: Mapping[str, Callable[[Kind], str]] = {
            "data_type": lambda kind: types.get(kind.data_type, OTHER),
            "variant": lambda kind: kind.variant,
            "tenant": lambda kind: tenants.get(kind.tenant, OTHER),
        }
        shown = [called[name] for name in names]
        return lambda kind: tuple([of(kind) for of in shown])

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


_collectors: WeakKeyDictionary[Cache, dict[tuple[int, bool], CacheCollector]] = WeakKeyDictionary()


async def exposition(cache: Cache, *, tenants: int = 0, times_by_type: bool = False) -> bytes:
    """All metrics of the cache as text, for a `/metrics` route; its type is CONTENT_TYPE_LATEST.

    tenants, times_by_type: as of `CacheCollector`.
    """
    arguments.instance(cache, "cache", Cache, "a Cache")
    tenants = arguments.integer(tenants, "tenants", 0)
    known = _collectors.setdefault(cache, {})
    by = tenants, arguments.flag(times_by_type, "times_by_type")
    if by not in known:
        known[by] = CacheCollector(cache, tenants=tenants, times_by_type=times_by_type)
    collector = known[by]
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
