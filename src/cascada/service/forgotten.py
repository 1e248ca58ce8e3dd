"""The call of `CacheService` that forgets a tenant, in the cache and where it syncs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from cascada.api.cache import Cache
from cascada.model.door import arguments
from cascada.model.forgotten import ForgetProgress, ForgetReport
from cascada.model.keys import Id
from cascada.service.sync.erasing import Rows
from cascada.service.sync.face import Syncing

REMAINS: Final = (
    "the database of the sync may hold bytes of deleted rows in its files and logs: VACUUM it, and "
    "see to its backups; rows of mapped tables are the application's"
)


class Forgotten:
    """A base of `CacheService`."""

    _sync: Syncing

    async def forget(
        self,
        tenant: Id,
        *,
        compact: bool | None = None,
        on_progress: Callable[[ForgetProgress], Any] | None = None,
    ) -> ForgetReport:
        """As `Cache.forget` of this tenant, of all services; and the rows go that the sync of this
        one has written for him to `cascada.service_entries`, with what it has noted of mapped
        tables: `rows` of the report says how many. What another process was about to write there is
        refused; what is set meanwhile goes everywhere, or stays everywhere. No round of a sync is
        waited for, but the batch that is being written: `on_progress` hears of `database` before.
        Rows of mapped tables are the application's, and stay.
        """
        text = self.cache.tenant(tenant).tenant
        compact = None if compact is None else arguments.flag(compact, "compact")
        if on_progress is not None:
            on_progress = arguments.plain_function(on_progress, "on_progress")
        if (loop := self._sync.if_wanted()) is None:
            return await self.cache.forget(text, compact=compact, on_progress=on_progress)
        rows = Rows(loop.database, self.cache._engine, text, loop.service, on_progress)
        await rows.look()
        report = await self.cache._forget(text, None, compact, on_progress, rows.erase)
        return rows.told(replace(report, remains=(*report.remains, REMAINS)))

    # --- what `CacheService` says ---------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        raise NotImplementedError
