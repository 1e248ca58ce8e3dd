"""The calls of `CacheService` that are about alerts, and the one watch that a service has.

It measures what `Cache.stats()` tells and the sync, and lets `alerts.py` judge. It must never let
a failure of who is told end the watch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from cascada.api.statistics import TypeStatistics, statistics
from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.model.door import arguments
from cascada.model.errors import CacheClosed
from cascada.service.alerts import (
    Alert,
    AlertRule,
    Counts,
    Figure,
    Judge,
    Window,
    rules_given,
)
from cascada.service.starting import AtStart
from cascada.service.sync.face import Syncing

logger = logging.getLogger("cascada")


class Watch:
    """The rules of one service on one engine, and their alerts."""

    def __init__(
        self,
        service: str,
        data_type: str,
        engine: Engine,
        sync: Syncing,
        rules: Sequence[AlertRule],
        on_alert: Callable[[Alert], Any] | None,
        every: float,
    ) -> None:
        self.life = engine.life
        self._data_type = data_type
        self._engine = engine
        self._sync = sync
        self._judges = [(rule, Judge(service, rule)) for rule in rules]
        self._on_alert = on_alert
        self._every = every
        self._window = Window()
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    @when_ready
    async def begin(self) -> None:
        if not self._is_over:  # who came at the same time has put another in its place
            self._task = self._engine.stack.background.keep_running(self._run, "alerts")

    async def end(self) -> None:
        self._is_over = True
        if self._task is not None and not self._task.done():
            await self._end(self._task)

    @when_ready
    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])

    @when_ready
    async def look(self) -> list[Alert]:
        """Judge all rules now; the alerts that stand."""
        figures = await self._measured()
        now = self._engine.clock.monotonic()
        for rule, judge in self._judges:
            alert = judge.look(figures[rule.figure], now)
            if alert is not None:
                self._tell(alert)
        return [judge.standing for _, judge in self._judges if judge.standing is not None]

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except CacheClosed:  # closing is about to end this task, too
                return
            await asyncio.sleep(self._every)

    async def _measured(self) -> dict[Figure, float | None]:
        engine, loop = self._engine, self._sync.known
        said = await statistics(engine, 0)
        own = said.types.get(self._data_type) or TypeStatistics()
        memory = said.tiers["l1"]
        errors = own.load_failures + sum(engine.trace.tier_errors.values())
        lag = 0.0
        if loop is not None:
            errors += loop.counts.errors.total()
            lag = loop.lag_seconds
        counts = Counts(
            own.hits, own.misses, own.answer_seconds, errors, memory.evictions, own.bulky
        )
        grown = self._window.grown(counts, engine.clock.monotonic())
        reads = 0 if grown is None else grown.hits + grown.misses
        full = memory.size_bytes / memory.capacity_bytes if memory.capacity_bytes else None
        return {
            "hit_ratio": grown.hits / reads if grown and reads else None,
            "latency": grown.seconds / reads if grown and reads else None,
            "memory": full,
            "sync_lag": lag,
            "errors": grown and grown.errors,
            "evictions": grown and grown.evictions,
            "bulky": grown and grown.bulky,
        }

    def _tell(self, alert: Alert) -> None:
        if self._on_alert is None:
            logger.log(logging.WARNING if alert.firing else logging.INFO, "alert of %s", alert)
            return
        try:
            self._on_alert(alert)
        except Exception:
            logger.exception("on_alert failed, of %s", alert)


class Alerting:
    """The base of `CacheService` that has its watch."""

    name: str
    _data_type: str
    _sync: Syncing
    _at_start: AtStart
    _watch: Watch | None = None

    async def start_alerts(
        self,
        rules: Sequence[AlertRule],
        on_alert: Callable[[Alert], Any] | None = None,
        *,
        every: float = 10.0,
    ) -> None:
        """Judge these rules every so many seconds from now on, in the place of any before.

        on_alert: a plain function that is told of each alert when it begins (`firing`) and when it
        ends; None: that of the service, else the log. The figures are those of all tenants, in this
        process.
        """
        checked = rules_given(rules)
        if on_alert is not None:
            on_alert = arguments.plain_function(on_alert, "on_alert")
        else:
            on_alert = self._at_start.on_alert
        every = arguments.seconds(every, "every")
        watch = Watch(
            self.name, self._data_type, self._engine, self._sync, checked, on_alert, every
        )
        before, self._watch = self._watch, watch
        if before is not None:
            await before.end()
        await watch.begin()

    async def stop_alerts(self) -> None:
        """Judge no more. Nothing if it does not."""
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.end()

    async def check_alerts(self) -> list[Alert]:
        """Judge the rules now; the alerts that stand, none without `start_alerts`."""
        return [] if self._watch is None else await self._watch.look()

    @property
    def _engine(self) -> Engine:
        raise NotImplementedError
