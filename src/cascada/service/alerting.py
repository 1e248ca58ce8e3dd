"""The calls of `CacheService` that are about alerts, and the one watch that a service has.

It measures what the service's reads, its cache and its sync have counted, and lets `alerts.py`
judge. Of several workers of one service on a host each looks at the sums of all, and goes on from
what the one before him has left (`engine/filing.py`): so one of them tells, whoever of them dies.
It must never let a failure of who is told end the watch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.engine.other_workers import Others
from cascada.model.door import arguments
from cascada.model.errors import CacheClosed
from cascada.service.alerts import (
    Alert,
    AlertRule,
    Counts,
    Figure,
    Judge,
    Standing,
    Window,
    rules_given,
)
from cascada.service.one_task import OneTask
from cascada.service.starting import AtStart
from cascada.service.sync.face import Syncing
from cascada.service.sync.report import said
from cascada.tiers.contract import Usage

NOTHING: Final = Usage(0, 0, 0, 0)

logger = logging.getLogger("cascada")


class Watch(OneTask):
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
        self._service = service
        self._data_type = data_type
        self._engine = engine
        self._sync = sync
        self._judges = [Judge(service, rule) for rule in rules]
        self._on_alert = on_alert
        self._every = every
        self._window = Window()
        self._is_over = False

    @when_ready
    async def begin(self) -> None:
        if not self._is_over:  # who came at the same time has put another in its place
            self._task = self._engine.stack.background.keep_running(self._run, "alerts")

    async def end(self) -> None:
        self._is_over = True
        await super().end()

    @when_ready
    async def look(self) -> list[Alert]:
        """Judge all rules now; the alerts that stand."""
        filing, told = self._engine.filing, list[Alert]()
        if self._sync.known is not None:
            await self._sync.known.look()  # another worker may be the one that syncs
        if filing.workers is None:
            told = self._judge(Others())
        else:
            turn = filing.turn()
            # In a thread: the others' counts are in files, and one of them may be at it, too.
            others, state, alone = await asyncio.to_thread(turn.__enter__)
            try:
                if alone:
                    told = self._judge_for_all(others, state)
                elif not others.group:  # there is no room for files: each is by himself
                    told = self._judge(others)
            finally:
                turn.__exit__(None, None, None)
        for alert in told:  # by now all know that it was told, and nobody waits for who hears it
            self._tell(alert)
        return [each.standing for each in self._judges if each.standing is not None]

    def _judge_for_all(self, others: Others, state: dict[str, bytes]) -> list[Alert]:
        name = f"alerts {self._data_type}"
        left = Standing.left(state.get(name, b""))
        left.take(self._window, self._judges)
        told = self._judge(others)
        state[name] = left.leave(self._window, self._judges)
        return told

    def _judge(self, others: Others) -> list[Alert]:
        """What is to be told."""
        now = self._engine.clock.monotonic()
        figures = self._figures(others, now)
        looked = [each.look(figures[each.rule.figure], now) for each in self._judges]
        return [each for each in looked if each is not None]

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except CacheClosed:  # closing is about to end this task, too
                return
            await asyncio.sleep(self._every)

    def _figures(self, others: Others, now: float) -> dict[Figure, float | None]:
        engine, loop = self._engine, self._sync.known
        memory, held = engine.stack.memory, others.memory or NOTHING
        kinds = [
            each
            for each in (*engine.kinds.all(), *others.kinds)
            if each.data_type == self._data_type
        ]
        failed = sum(engine.trace.tier_errors.values()) + others.named["tier_errors"].total()
        synced = engine.trace.synced + others.named["synced"]
        failed += sum(
            times
            for name, times in synced.items()
            if said(name).what == "error" and said(name).service == self._service
        )
        counts = Counts(
            hits=sum(each.hits for each in kinds),
            misses=sum(each.misses for each in kinds),
            seconds=sum(each.answer_seconds for each in kinds),
            errors=sum(each.load_failures for each in kinds) + failed,
            evictions=memory.records.evictions + held.evictions,
            bulky=sum(each.bulky for each in kinds),
        )
        grown = self._window.grown(counts, now)
        reads = 0 if grown is None else grown.hits + grown.misses
        room = memory.capacity + (held.capacity_bytes or 0)
        return {
            "hit_ratio": grown.hits / reads if grown and reads else None,
            "latency": grown.seconds / reads if grown and reads else None,
            "memory": (memory.records.size + held.size_bytes) / room if room else None,
            "sync_lag": 0.0 if loop is None else loop.lag_seconds,
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
        ends; None: that of the service, else the log. The figures are those of all tenants; of
        several workers on a host they are sums, and one of them is told.
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
