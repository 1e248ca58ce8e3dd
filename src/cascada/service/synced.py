"""The calls of `CacheService` that are about its sync (`sync/loop.py` is what they call)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cascada.api.context import current_tenant
from cascada.model.door import arguments
from cascada.model.keys import Id
from cascada.service.sync.face import Syncing
from cascada.service.sync.report import SyncReport, Unwritable


class Synced:
    """The base of `CacheService`, which makes `_sync`."""

    _sync: Syncing

    async def start_sync(self) -> None:
        """Begin to write what is set to the application's database: at once, and then every
        `sync_interval` seconds, for all tenants. Nothing if it runs already.

        Misuse where the cache is in memory alone (nothing there would outlive the process, so that
        nothing can be promised to be written), and where there is no database to write to.
        """
        await self._sync.loop().start()

    async def stop_sync(self) -> None:
        """End the sync, with a last round that takes at most 10 s; what is left stays in the
        journal. Nothing if it does not run."""
        loop = self._sync.known
        if loop is not None and loop.task is not None and not loop.task.done():
            await loop.stop()

    async def sync_now(self) -> SyncReport:
        """Write what waits now; what came of it. What fails is in the report, and not raised."""
        return await self._sync.loop().sync_now()

    async def sync_set_aside(self, most: int = 100) -> list[Unwritable]:
        """Changes that can never be written as they are, the oldest first, and why."""
        most = arguments.integer(most, "most", 1)
        loop = self._sync.if_any()
        return [] if loop is None else await loop.aside(most)

    async def sync_retry(self, keys: Sequence[Id] | None = None) -> int:
        """Let what was set aside be tried again, of these keys of the current tenant, or (None) of
        all keys and tenants; how many changes that are."""
        names = None
        if keys is not None:
            tenant = arguments.tenant(current_tenant())
            names = [self._sync.key(tenant, name) for name in arguments.ids(keys, "keys")]
        loop = self._sync.if_any()
        return 0 if loop is None else await loop.retry(names)

    async def open_row(self, key: Id, data: bytes, *, type: Any = None) -> Any:
        """The value of a row of `cascada.service_entries` whose column `value` is NULL: of a
        sensitive type it is in `data`, sealed, for the current tenant and this key alone.

        type: what it is decoded to, as of `get`. CorruptEntry if it does not open here: it is of
        another key, tenant, service or namespace, or the key that it was sealed with is gone.
        """
        name, tenant = arguments.identity(key, "key"), arguments.tenant(current_tenant())
        given: object = data
        given = bytes(given) if isinstance(given, memoryview | bytearray) else given
        given = arguments.instance(given, "data", bytes, "the bytes of the column `data`")
        return await self._sync.rows().opened(self._sync.key(tenant, name), given, type)

    @property
    def sync_task(self) -> Any:
        """The task of the sync; None while it does not run."""
        return None if self._sync.known is None else self._sync.known.task

    @property
    def sync_lag(self) -> float:
        """Seconds that the oldest change has waited to be written, by the last look."""
        return 0.0 if self._sync.known is None else self._sync.known.lag_seconds

    @property
    def last_sync(self) -> datetime | None:
        """When a round of this process's sync ended well last."""
        return None if self._sync.known is None else self._sync.known.last_sync
