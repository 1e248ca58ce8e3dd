"""An engine's counts on file, where its process is one of several workers, and the others' sum.

What is counted stays where it is: in kinds, latencies, series and names. Here each of them gets a
row of the process's `Ledger` and writes its numbers there as it counts, before anybody is answered.
So what is on file is never less than what was answered, whenever the process is killed. For hits in
memory that is one store (`Kind.cells`); the counters of the slow paths write through properties of
the class that a kind is of from then on. A process that works alone has no file and none of this.

How full memory is, which tiers are up, and what loads took and cost, is written once a second, the
last of these at each scrape as well: so nobody has seen more of it than what is on file.

A fork drops all of it: what the parent has counted is not the child's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cascada.engine.kinds import NOWHERE, Counters, Kind
from cascada.engine.other_workers import COUNTERS, Others, columns_of, others_of
from cascada.engine.stack import Stack
from cascada.model.bills.bill import FIELDS, apart
from cascada.telemetry.custom import Series
from cascada.telemetry.latency import Latency
from cascada.telemetry.makers import maker_of_this
from cascada.telemetry.named import Named

if TYPE_CHECKING:
    from cascada.telemetry.ledger import Columns, Ledger
    from cascada.telemetry.workers import Workers

logger = logging.getLogger("cascada")

EACH: Final = 1.0
"""Seconds between two looks at how full memory is."""

AT_ONCE: Final = 500
"""Kinds whose bills are looked at before others have their turn."""

ordinals: Final[Counter[str]] = Counter()
"""How many caches of each namespace this process has made."""


class Filing:
    """The rows of one engine's counts. `name` tells its cache from others of the process."""

    def __init__(self, stack: Stack, namespace: str) -> None:
        ordinals[namespace] += 1
        which = f"{namespace}\n{ordinals[namespace]}".encode()
        self._name = hashlib.sha1(which, usedforsecurity=False).hexdigest()[:12]
        self._stack = stack
        self._tiers = [tier.name for tier in stack.lower]
        self._ledger: Ledger | None = None
        self._workers: Workers | None = None
        self._looked = False
        self._left: dict[str, bytes] = {}
        self._held: dict[str, memoryview[float] | None] = {}
        self._columns = columns_of(self._tiers)
        self._kind_class = _filed(self._tiers)
        self._told = False
        self._billed: dict[Kind, tuple[int, ...]] = {}

    @property
    def workers(self) -> Workers | None:
        """The workers that this process is one of; None if it works alone."""
        if not self._looked:
            self._looked = True
            try:
                self._workers = _workers(self._name, self._columns)
            except OSError as error:
                self._fail(error)
        return self._workers

    def begin(self) -> None:
        """Have a file, and keep it right: on an event loop, at the first use in this process."""
        if self._ledger is None and self.workers is not None:
            try:
                self._open(self.workers)
            except OSError as error:
                self._ledger = None
                self._fail(error)
        if self._ledger is not None:
            self._stack.background.keep_running(self._run, "metrics")

    def forget(self) -> None:
        """After a fork: count anew."""
        stack, trace = self._stack, self._stack.trace
        if self._ledger is not None:
            self._ledger.close()  # the lock is the parent's, and stays
        self._ledger = self._workers = None
        self._looked = False
        self._left = {}
        self._billed = {}
        stack.kinds.on_new = trace.tracked.on_change = None
        trace.tracked.clear()
        for kind in stack.kinds.all():
            kind.__class__ = Kind
            kind.cells, kind.told = NOWHERE, 0
            Counters.__init__(kind)
        trace.latencies.clear()
        trace.rounds.clear()
        for names in (trace.done, trace.tier_errors, trace.restarts, trace.synced):
            names.on_change = None
            names.clear()

    @contextmanager
    def scraped(self, *, wait: bool = True) -> Iterator[tuple[Others, dict[str, bytes]]]:
        """The others' counts, and a dict that the next scrape of any worker finds as it is left.

        `wait`: block for a moment where another one is being served. Else it may leave nothing.
        """
        with self.turn(wait=wait) as (others, state, _):
            yield others, state

    @contextmanager
    def turn(self, *, wait: bool = True) -> Iterator[tuple[Others, dict[str, bytes], bool]]:
        """The same, and whether the dict is left to others: False too of who works alone."""
        with ExitStack() as held:
            try:
                others, state, alone = self._gathered(held, wait)
            except (OSError, ValueError) as error:  # no room, or what is there is damaged
                self._fail(error)
                others, state, alone = Others(), self._left, False
            yield others, state, alone
            if alone and self._workers is not None:
                with suppress(OSError):  # the next one finds what the last one left
                    self._workers.keep(state)

    async def others(self) -> Others:
        """The others' counts, and nothing is left for them."""
        if self.workers is None:
            return Others()
        scraped = self.scraped(wait=False)
        # In a thread: they are in files.
        others, _ = await asyncio.to_thread(scraped.__enter__)
        scraped.__exit__(None, None, None)
        return others

    def _gathered(self, held: ExitStack, wait: bool) -> tuple[Others, dict[str, bytes], bool]:
        """The others' counts, what was left, and whether nobody else scrapes while it is `held`."""
        workers = self.workers
        if workers is None:
            return Others(), self._left, False
        alone = held.enter_context(workers.locked(wait=wait))
        own = None if self._ledger is None else self._ledger.name
        alive, live, dead = workers.others(own, alone=alone)
        others = others_of(live, dead, self._tiers)
        others.workers, others.group = alive + 1, workers.group
        return others, workers.state(), alone

    def write_bills(self) -> None:
        """Write what loads took and cost: whoever has told of it has it on file then."""
        if self._ledger is not None:
            self._write_bills(self._stack.kinds.all())

    def _write_bills(self, kinds: Sequence[Kind]) -> None:
        at = len(COUNTERS) + len(self._tiers)
        for kind in kinds:
            bills = kind.bills
            # Most kinds have not been used since, of which there may be thousands.
            if kind.cells is not NOWHERE and self._billed.get(kind) != bills:
                self._billed[kind] = bills
                for place, bill in enumerate(bills):
                    first = at + place * len(FIELDS)
                    kind.cells[first : first + len(FIELDS)] = _doubles(apart(bill))

    def _open(self, workers: Workers) -> None:
        from cascada.telemetry.ledger import Ledger

        name = f"{self._name}.{os.getpid()}-{os.urandom(4).hex()}"
        self._ledger = ledger = Ledger(workers.folder, name, self._columns)
        stack, trace = self._stack, self._stack.trace
        self._memory = ledger.row("memory")
        self._up = [ledger.row("up", name) for name in self._tiers]
        self._held = {}
        for kind_of_row, latencies in (("latency", trace.latencies), ("rounds", trace.rounds)):
            latencies.on_new = partial(self._file_latency, kind_of_row)
            for by, latency in latencies.all():
                self._file_latency(kind_of_row, *by, latency)
        with stack.kinds.lock:  # another thread may meet a type, or count a hit, at this moment
            stack.kinds.on_new = self._file_kind
            for kind in stack.kinds.all():
                self._file_kind(kind)
        for what in ("done", "tier_errors", "restarts", "synced"):
            names: Named = getattr(trace, what)
            names.on_change = partial(self._file_named, what, {})
            for name, count in names.items():
                names.on_change(name, count)
        trace.tracked.on_change = partial(self._file_series, {})
        for series in trace.tracked.all():
            trace.tracked.on_change(series)

    def _file_kind(self, kind: Kind) -> None:
        variant = (kind.variant,) if kind.variant else ()
        cells = self._row("type", kind.tenant, kind.data_type, *variant)
        if cells is None:
            return
        kind.cells = cells
        kind.__class__ = self._kind_class
        for place, name in enumerate(COUNTERS):
            cells[place] = getattr(kind, name)
        for place, tier in enumerate(self._tiers, len(COUNTERS)):
            cells[place] = kind.below.get(tier, 0)

    def _file_latency(self, row: str, layer: str, data_type: str, latency: Latency) -> None:
        cells = self._row(row, layer, data_type)
        if cells is not None:
            latency.cells = cells
            cells[:-1] = _doubles(latency.counts)
            cells[-1] = latency.seconds

    def _file_named(self, what: str, rows: dict[str, Any], name: str, count: int) -> None:
        if name not in rows:
            rows[name] = self._row("named", what, name)
        if rows[name] is not None:
            rows[name][0] = count

    def _file_series(self, rows: dict[int, Any], series: Series) -> None:
        if id(series) not in rows:
            rows[id(series)] = self._row("series", series.metric, series.data_type, series.tenant)
        if (cells := rows[id(series)]) is not None:
            cells[0], cells[1] = series.count, series.total

    def _row(self, *key: str) -> memoryview[float] | None:
        assert self._ledger is not None
        try:
            return self._ledger.row(*key)
        except OSError as error:
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "metrics are of each worker alone, since their counts cannot be kept in a file: %s",
                error,
            )

    async def _run(self) -> None:
        try:
            while True:
                self._look()
                kinds = self._stack.kinds.all()
                for first in range(0, len(kinds), AT_ONCE):
                    self._write_bills(kinds[first : first + AT_ONCE])
                    await asyncio.sleep(0)
                await asyncio.sleep(EACH)
        finally:
            if self._ledger is not None:  # not what a fork has let go of
                self._look()
                self.write_bills()

    def _look(self) -> None:
        memory = self._stack.memory
        used = len(memory.records), memory.records.size, memory.capacity, memory.records.evictions
        for place, number in enumerate(used):
            self._memory[place] = number
        for row, tier in zip(self._up, self._stack.lower, strict=True):
            row[0] = tier.available
        for data_type in memory.records.bounded:
            if data_type not in self._held:
                self._held[data_type] = self._row("held", data_type)
            if (held := self._held[data_type]) is not None:
                held[0] = memory.records.size_of(data_type)


def _workers(name: str, columns: Columns) -> Workers | None:
    if maker_of_this() is None:
        return None
    from cascada.telemetry.workers import Workers, folder_of_group

    folder = folder_of_group()
    return None if folder is None else Workers(folder, name, columns)


def _filed(tiers: Sequence[str]) -> type[Kind]:
    """A Kind that writes what it counts into its cells, too; `in_memory` is by who counts."""
    places = {name: place for place, name in enumerate(tiers, len(COUNTERS))}

    class Filed(Kind):
        __slots__ = ()

        def hit_below(self, tier: str) -> None:
            super().hit_below(tier)
            self.cells[places[tier]] = self.below[tier]

    for place, name in enumerate(COUNTERS):
        if name != "in_memory":
            setattr(Filed, name, _written(name, place))
    return Filed


def _written(name: str, place: int) -> property:
    slot: Any = Counters.__dict__[name]
    keep = slot.__set__

    def write(kind: Kind, count: float) -> None:
        keep(kind, count)
        kind.cells[place] = count

    return property(slot.__get__, write)


def _doubles(numbers: list[int]) -> Any:
    import array

    return array.array("d", numbers)
