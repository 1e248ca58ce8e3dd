"""What a service begins along with its sync, and ends with it: a warm-up, and its alerts.

The keys that all tenants have used most, before the start, are warmed in the background, as many of
each tenant as there are turns: the service answers at once. It must never keep a start waiting, nor
be left running when the sync is stopped.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from cascada.api.context import Context
from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.model.door import arguments
from cascada.model.errors import BadInput, CacheClosed, TierUnavailable
from cascada.service.alerts import Alert, AlertRule, rules_given
from cascada.service.one_task import OneTask
from cascada.service.sharing import Shared
from cascada.service.warming import WarmReport
from cascada.telemetry.heat import MAX_KEYS

AGAIN: Final = 1.0
"""Seconds after which a list of keys that could not be read is asked for again."""

logger = logging.getLogger("cascada")

Warm = Callable[[Sequence[str]], Awaitable[WarmReport]]


class AtStart:
    """What was given to a service for its start, checked. `top` keys are warmed: 0 is none."""

    def __init__(
        self,
        warm_on_start: object,
        loader: object,
        alerts: object,
        on_alert: Callable[[Alert], Any] | None,
    ) -> None:
        self.rules: Sequence[AlertRule] = rules_given(alerts)
        if on_alert is not None:
            on_alert = arguments.plain_function(on_alert, "on_alert")
        self.on_alert = on_alert
        self.top = 0
        if warm_on_start is not None:
            self.top = arguments.integer(warm_on_start, "warm_on_start", 0, MAX_KEYS)
        if loader is not None:
            arguments.function(loader, "loader", "a function of a key")
            if warm_on_start is None:
                raise BadInput(
                    "loader is given, and nothing calls it: pass warm_on_start=, how many keys it "
                    "is to load at the start, too; or pass it to warm()"
                )
        elif self.top:
            raise BadInput(
                f"warm_on_start is {self.top}, which takes a loader=: a function of a key"
            )
        self.loader: Any = loader


class WarmUp(OneTask):
    """One warm-up, of one engine. `warm`: that of the service, for the current tenant."""

    def __init__(self, service: str, engine: Engine, shared: Shared, top: int, warm: Warm) -> None:
        self.life = engine.life
        self._service = service
        self._background = partial(getattr, engine.stack, "background")
        self._shared = shared
        self._top = top
        self._warm = warm

    @when_ready
    async def begin(self) -> None:
        """In nobody's context: who starts the service may be serving a tenant."""
        start = partial(self._background().run_aside, self._run(), "warm on start")
        self._task = contextvars.Context().run(start)

    async def _run(self) -> None:
        by_tenant: dict[str, list[str]] = {}
        for tenant, key in await self._most_used():
            by_tenant.setdefault(tenant, []).append(key)
        for tenant, keys in by_tenant.items():
            try:
                with Context(tenant_id=tenant):
                    report = await self._warm(keys)
            except CacheClosed:
                return
            except Exception as error:  # noqa: BLE001 - a tenant may be refused by now
                logger.warning("warm on start of %s: a tenant's failed: %r", self._service, error)
            else:
                logger.info(
                    "warm on start of %s: of %d keys %d were there, %d were loaded, %d failed, in "
                    "%.2f seconds", self._service, report.wanted, report.present, report.loaded,
                    report.failed, report.seconds,
                )  # fmt: skip

    async def _most_used(self) -> list[tuple[str, str]]:
        while True:
            try:
                return await self._shared.most_used_of_all(self._top)
            except TierUnavailable:
                await asyncio.sleep(AGAIN)
