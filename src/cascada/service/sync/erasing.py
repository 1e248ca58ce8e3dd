"""Removing what cascada's own tables have of a tenant (`CacheService.forget`).

It is done when all of his is void, up to the number that his invalidation has answered: what was
journaled before goes, and what was journaled later stays, in the journal as in the tables. First
his row with an empty key says so, when all transactions that were begun before have ended: from
then on no statement writes a change of his up to that number, whoever has claimed it. So a round
of a sync is not waited for, here or elsewhere, but for the batch that it is writing. Then his rows
go, some at a time. It must never touch a table of the application's.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from msgspec.structs import replace

from cascada.engine.engine import Engine
from cascada.engine.forgetting import PATIENCE, OnProgress, tell
from cascada.model.errors import BadInput, MissingExtra, TierUnavailable
from cascada.model.forgotten import ForgetProgress, ForgetReport, Removed
from cascada.service.given import service_of
from cascada.service.sync.databases import opened
from cascada.service.sync.entries import without_nul
from cascada.service.sync.numbered import fetched
from cascada.service.sync.records import SyncFailed
from cascada.service.sync.statements import APPLIED, ENTRIES, erase, latest, upsert
from cascada.service.sync.target import Target, failure_of
from cascada.tiers.breaker import Call
from cascada.tiers.erasing import Erases

AT_ONCE: Final = 5_000
"""Rows that are deleted together."""

SYNCED: Final = "database"
"""What reports and progress call it, beside the tiers."""

AWAY: Final = "the database of the sync has failed (%s), and may keep rows: run it again"
UNTOLD: Final = "the tier with its journal could not be told"

_SAID: Final = {ENTRIES.name: (None, None, True), APPLIED.name: (None, None, False)}
"""The rest of a row without a value."""

_TABLES: Final = (ENTRIES, APPLIED)


class Rows:
    """Those of a tenant, in one database: of one service, or (None) of all that have rows of his
    or a journal. `look` first, `erase` when he is void; neither raises but for bad arguments."""

    def __init__(
        self,
        database: Any,
        engine: Engine,
        tenant: str,
        service: str | None,
        on_progress: OnProgress | None,
    ) -> None:
        self.gone = 0
        self.failure: SyncFailed | TierUnavailable | None = None
        self._database = database
        self._engine = engine
        self._tenant = tenant
        self._service = service
        self._on_progress = on_progress
        self._began = engine.clock.monotonic()
        self._before: dict[str, int] = {}
        """Of each service the greatest number of his rows, before he was void."""

    def told(self, report: ForgetReport) -> ForgetReport:
        """The report, with what became of the rows."""
        removed = report.removed
        if self.failure is not None:
            removed = (*removed, Removed(SYNCED, incomplete=AWAY % self.failure))
        return replace(report, removed=removed, rows=self.gone)

    async def look(self) -> None:
        """See which rows there are: a journal that was lost may have left greater numbers."""
        target = self._target()
        try:
            await asyncio.to_thread(opened, self._database)  # as in `Target.begin`
            async with asyncio.timeout(target.patience):
                if not await target.are_there():
                    return
                async with target.connected() as connection:
                    for table in _TABLES:
                        of = without_nul(self._tenant)
                        asked = latest(target.dialect, table, (target.owner[0], of), self._service)
                        for service, number in await fetched(connection, *asked):
                            before = self._before.get(service, 0)
                            self._before[service] = max(before, number)
        except (BadInput, MissingExtra):
            raise
        except Exception as error:  # noqa: BLE001 - told in the report, beside what was forgotten
            self.failure = failure_of(error)
        finally:
            await target.aclose()

    async def erase(self, number: int | None) -> None:
        """What is `engine.forgetting.OnVoid`."""
        if self.failure is not None:
            return
        if not number:
            self.failure = TierUnavailable(UNTOLD)
            return
        self._tell()
        target = self._target()
        try:
            for service in await self._services():
                owner = (target.owner[0], service, without_nul(self._tenant))
                await target.begin()
                await self._erase(target, owner, number)
        except (SyncFailed, TierUnavailable) as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - as above
            self.failure = failure_of(error)
        finally:
            await target.aclose()

    def _target(self) -> Target:
        """With connections of its own: a round may be under way, which closes its own."""
        namespace = self._engine.options.namespace
        return Target(self._database, namespace=namespace, service=self._service or "")

    async def _services(self) -> list[str]:
        """As the tables have them."""
        if self._service is not None:
            return [without_nul(self._service)]
        found = {*self._before}
        for tier in self._engine.stack.lower:
            if isinstance(tier.tier, Erases):
                with Call(tier.breaker, PATIENCE):
                    names = map(service_of, await tier.tier.erasing.journals())
                found.update(without_nul(name) for name in names if name is not None)
        return sorted(found)

    async def _erase(self, target: Target, owner: tuple[str, str, str], number: int) -> None:
        async with asyncio.timeout(target.patience), target.transaction(alone=True) as connection:
            for table in _TABLES:
                row = (*owner, "", number, *_SAID[table.name])
                await connection.exec_driver_sql(*upsert(target.dialect, table, [row], asked=False))
        until = max(number, self._before.get(owner[1], 0))
        for table in _TABLES:
            gone = AT_ONCE
            while gone == AT_ONCE:
                them = erase(target.dialect, table, owner, until, AT_ONCE)
                async with asyncio.timeout(target.patience), target.transaction() as connection:
                    if target.dialect == "sqlite":
                        await connection.exec_driver_sql("PRAGMA secure_delete = ON")
                    gone = (await connection.exec_driver_sql(*them)).rowcount
                self.gone += gone
                self._tell()

    def _tell(self) -> None:
        seconds = self._engine.clock.monotonic() - self._began
        tell(self._on_progress, ForgetProgress(self._tenant, SYNCED, self.gone, seconds))
