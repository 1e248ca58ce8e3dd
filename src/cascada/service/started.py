"""The calls of `CacheService` that begin and end what goes on by itself.

They are document V's: its `start_sync` in the application's startup begins all, and its `stop_sync`
ends all. Who wants alerts without a sync calls `start_alerts`.
"""

from __future__ import annotations

from functools import partial

from cascada.service.alerting import Alerting
from cascada.service.forgotten import Forgotten
from cascada.service.starting import WarmUp
from cascada.service.synced import Synced
from cascada.service.warmed import Warmed


class Started(Synced, Warmed, Alerting, Forgotten):
    """The base of `CacheService`, which makes `_at_start`."""

    _warm_up: WarmUp | None = None

    async def start_sync(self) -> None:
        """Begin to write what is set to the application's database: at once, and then every
        `sync_interval` seconds, for all tenants; and with that what the service was given for its
        start, `warm_on_start` and `alerts`. Nothing if it runs already.

        Misuse where the cache is in memory alone (nothing there would outlive the process, so that
        nothing can be promised to be written), and where there is no database to write to.
        """
        loop = self._sync.loop()
        before = loop.task
        await loop.start()
        if loop.task is before:
            return
        given = self._at_start
        if given.top:
            warm = partial(self.warm, loader=given.loader)
            self._warm_up = WarmUp(self.name, self._engine, self._shared, given.top, warm)
            await self._warm_up.begin()
        if given.rules:
            await self.start_alerts(given.rules)

    async def stop_sync(self) -> None:
        """End the sync, with a last round that takes at most 10 s; what is left stays in the
        journal. A warm-up and alerts that began with it end, too. Nothing if it does not run."""
        warm_up, self._warm_up = self._warm_up, None
        try:
            if warm_up is not None:
                await warm_up.end()
            if self._at_start.rules:
                await self.stop_alerts()
        finally:
            await super().stop_sync()
