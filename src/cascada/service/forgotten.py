"""The call of `CacheService` that forgets a tenant, in the cache and where it syncs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from cascada.api.cache import Cache
from cascada.model.door import arguments
from cascada.model.errors import TierUnavailable
from cascada.model.forgotten import ForgetProgress, ForgetReport, Removed
from cascada.model.keys import Id
from cascada.service.sync.face import Syncing
from cascada.service.sync.records import SyncFailed

SYNCED: Final = "database"
"""What the report calls it, beside the tiers."""

AWAY: Final = "the database of the sync has failed (%s), and may keep rows: run it again"
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
        refused. Rows of mapped tables are the application's, and stay.
        """
        text = self.cache.tenant(tenant).tenant
        compact = None if compact is None else arguments.flag(compact, "compact")
        if on_progress is not None:
            on_progress = arguments.plain_function(on_progress, "on_progress")
        loop, rows, failed = self._sync.if_wanted(), 0, ""
        if loop is not None:
            # First: what waits in the journal is then refused there, until it has gone.
            try:
                rows = await loop.erase(text)
            except (SyncFailed, TierUnavailable) as error:
                failed = AWAY % error
        report = await self.cache.forget(text, compact=compact, on_progress=on_progress)
        if loop is None:
            return report
        removed = report.removed
        if failed:
            removed = (*removed, Removed(SYNCED, incomplete=failed))
        remains = (*report.remains, REMAINS)
        return msgspec.structs.replace(report, removed=removed, rows=rows, remains=remains)

    # --- what `CacheService` says ---------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        raise NotImplementedError
