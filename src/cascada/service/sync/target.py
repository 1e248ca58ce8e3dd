"""The application's database, to which changes are written: PostgreSQL or SQLite, by SQLAlchemy.

`loop` calls it. A batch is written in parts (`at_once` of a table), each as a whole or not at all.
Where a row cannot be written the part is halved until that row is found, so that one bad row costs
a few statements and sets aside itself alone. It must never say that something is written
before it is committed, and never write without comparing the journal's number.

SQLAlchemy is imported when it is used (the extra `sql`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cascada.model.door import arguments
from cascada.model.errors import BadInput, MissingExtra
from cascada.service.sync.causes import RowsFault, told
from cascada.service.sync.conflicts import DATABASE_WINS, Strategy
from cascada.service.sync.databases import ACCEPTED, opened
from cascada.service.sync.entries import Entries, without_nul
from cascada.service.sync.mapping import Mapping
from cascada.service.sync.numbered import SomeAreKnown, fetched
from cascada.service.sync.records import (
    Answer,
    Known,
    Outcome,
    Part,
    Poison,
    Record,
    Rows,
    Skipped,
    SyncFailed,
)
from cascada.service.sync.statements import APPLIED, ENTRIES, TIME, Dialect, forget, made, named
from cascada.service.sync.tables import Mapped
from cascada.service.sync.waiting import begun_in_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

logger = logging.getLogger("cascada")

PATIENCE: Final = 10.0
"""Seconds that one transaction may take."""

STOPPED: Final = 15_000
"""Milliseconds after which PostgreSQL ends a transaction whose process has stopped in the midst of
it: its locks would hold up everybody else."""

CLAIMED: Final = 3600.0
"""Seconds after which a change is not written by who has claimed it: he has stood still, and comes
back to it by another claim."""

KEPT: Final = 86_400
"""Seconds for which rows stay that are there for their number alone. Longer than CLAIMED by far:
so who has an older change of such a key finds the row, or does not write."""

FORGOTTEN: Final = 10_000
"""Of such rows, that are deleted together."""

_LOCK: Final = 0x6361736361646101
"""The advisory lock under which tables are made: two processes that begin at once both would."""

_FORGETTING: Final = _LOCK + 1
"""The one that whoever writes shares, and who forgets a tenant has for himself."""

Writer = Entries | Mapped
Once = Callable[[Sequence[Any]], Awaitable[list[Outcome]]]
"""Writes rows in one transaction."""


class Target:
    """Where one service's changes go. `tenant`: whose the tables without a tenant column are."""

    def __init__(
        self,
        database: str | AsyncEngine,
        *,
        namespace: str,
        service: str,
        mappings: Sequence[Mapping] = (),
        strategy: Strategy = DATABASE_WINS,
        tenant: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        for each in mappings:
            if each.writes and each.tenant_column is None and (each.tenant or tenant) is None:
                raise BadInput(
                    f"{each!r} names no tenant; pass tenant_column= for a table of many tenants, "
                    "or tenant= (or CASCADA_TENANT) for a table of one"
                )
        self.database = database
        self.patience = patience
        self.owner = without_nul(namespace), without_nul(service)
        self._entries = Entries(namespace, service)
        self._mapped = [Mapped(each, namespace, service, strategy, tenant) for each in mappings]
        self._engine: AsyncEngine | None = None
        self.dialect: Dialect = "sqlite"
        self._ready = False
        self.seen = 0.0
        """The database's own time, by its last answer: for `write`."""
        self._here: tuple[int, asyncio.AbstractEventLoop] | None = None

    # --- the connection -----------------------------------------------------------------------

    def _opened(self) -> AsyncEngine:
        here = os.getpid(), asyncio.get_running_loop()
        if here != self._here:
            self._forget()
            self._here = here
        if self._engine is None:
            self._engine = opened(self.database)
            name = self._engine.dialect.name
            if name not in ("postgresql", "sqlite"):
                raise arguments.refused("database", name, ACCEPTED)
            self.dialect = "postgresql" if name == "postgresql" else "sqlite"
        return self._engine

    def connected(self) -> AsyncConnection:
        """A connection to read by, which waits for nobody."""
        return self._opened().connect()

    async def aclose(self) -> None:
        """Close its connections, until it writes again; an engine that was given stays open."""
        if self._engine is not None and self._engine is not self.database:
            await self._engine.dispose()

    def _forget(self) -> None:
        """After a fork, and on another event loop: the connections are those of before."""
        engine, self._engine, self._ready = self._engine, None, False
        if engine is not None and engine is not self.database:
            engine.sync_engine.dispose(close=False)

    @asynccontextmanager
    async def transaction(
        self, since: float | None = None, *, alone: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """`alone`: when all others that were begun before have ended."""
        async with self._opened().connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            if self.dialect == "sqlite":
                # From the start: what was read would else be no basis for what is written.
                if not getattr(driver, "in_transaction", False):
                    if alone:
                        await begun_in_time(connection)
                    else:
                        await fetched(connection, "BEGIN IMMEDIATE")
                await self._look(connection)
            else:
                limits = "idle_in_transaction_session_timeout", "lock_timeout"
                times = STOPPED, round(self.patience * 500)
                chosen = ", ".join(
                    f"set_config('{name}', '{time}', true)"
                    for name, time in zip(limits, times, strict=True)
                )
                lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
                await self._look(connection, f"{chosen}, {lock}({_FORGETTING}), ")
            if since is not None and self.seen - since > CLAIMED:
                raise SyncFailed("timeout", "it took too long until what was claimed came here")
            yield connection
            await connection.commit()
            if getattr(driver, "in_transaction", False):  # SQLAlchemy has not heard of it
                await driver.commit()

    async def _look(self, connection: AsyncConnection, first: str = "") -> None:
        """What time it is there."""
        ((*_, self.seen),) = await fetched(connection, f"SELECT {first}{TIME[self.dialect]}")

    async def look(self) -> None:
        """Begin, and see what time it is there. SyncFailed if that fails."""
        await self.begin()
        try:
            async with asyncio.timeout(self.patience), self._opened().connect() as connection:
                await self._look(connection)
        except Exception as error:
            raise failure_of(error) from error

    async def begin(self) -> None:
        """Make the tables that cascada owns, if they are not there. SyncFailed if that fails."""
        if self._ready:
            return
        # Not here: to load them takes a good while, in which nobody else would have a turn.
        await asyncio.to_thread(opened, self.database)
        try:
            async with asyncio.timeout(self.patience):
                if not await self.are_there():
                    async with self.transaction() as connection:
                        await self._make(connection)
        except (SyncFailed, BadInput, MissingExtra):
            raise
        except Exception as error:
            raise failure_of(error) from error
        self._ready = True

    async def are_there(self) -> bool:
        """Whether they need not be made: who may write rows may not always make tables."""
        from sqlalchemy.exc import DBAPIError

        async with self._opened().connect() as connection:
            try:
                for table in (ENTRIES, APPLIED):
                    columns = ", ".join(table.columns)
                    name = named(self.dialect, table)
                    await connection.exec_driver_sql(f"SELECT {columns} FROM {name} LIMIT 0")
            except DBAPIError as error:
                if (failure := failure_of(error)).cause != "schema":
                    raise failure from error
                return False
        return True

    async def _make(self, connection: AsyncConnection) -> None:
        if self.dialect == "postgresql":
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            await connection.exec_driver_sql('CREATE SCHEMA IF NOT EXISTS "cascada"')
        for table in (ENTRIES, APPLIED):
            await connection.exec_driver_sql(made(self.dialect, table))

    # --- changes ------------------------------------------------------------------------------

    async def look_at_tables(self) -> None:
        """Say at once to which of the application's nothing can be written, and close the
        connections; a database that does not answer has said nothing of them."""
        try:
            for mapped in self._mapped:
                try:
                    if mapped.mapping.writes:
                        await self._find(mapped)
                except SyncFailed as failure:
                    if failure.cause != "schema":
                        return
                    logger.error("sync of %s: %s", self.owner[1], failure)  # noqa: TRY400 - it says all
        finally:
            await self.aclose()

    async def _find(self, mapped: Mapped) -> None:
        if mapped.is_found:
            return
        try:
            async with asyncio.timeout(self.patience), self._opened().connect() as connection:
                await mapped.find(connection)
        except SyncFailed:
            raise
        except Exception as error:
            raise failure_of(error) from error

    async def rows_of(self, records: Sequence[Record]) -> Rows:
        """Each as a row of its table, while others are written: nothing is asked of the database,
        whose only connection may be theirs. So a table that is not known yet has no rows here."""
        answers: dict[int, Answer] = {}
        parts: list[Part] = []
        for writer, places in self._groups(records, answers):
            them = [records[place] for place in places]
            known = writer.is_found if isinstance(writer, Mapped) else True
            parts.append(Part(writer, places, await writer.prepared(them) if known else None))
        return Rows(records, answers, parts)

    async def write(
        self, records: Sequence[Record] | Rows, since: float | None = None
    ) -> list[Answer]:
        """Write each, once; what came of each, in their order. Nothing is raised but BadInput and
        MissingExtra: what failed is an answer, and concerns no other table unless the database
        itself is away. since: `seen`, before they were claimed."""
        rows = records if isinstance(records, Rows) else await self.rows_of(records)
        answers = {**rows.answers}
        away: SyncFailed | None = None
        for writer, places, prepared in rows.parts:
            found: list[Answer]
            if away is None:
                try:
                    await self.begin()
                    if prepared is None:
                        await self._find(writer)
                        prepared = await writer.prepared([rows.records[place] for place in places])
                    once = partial(self._once, writer, since)
                    found = await self._written(writer, prepared, once)
                except SyncFailed as error:
                    found = [error] * len(places)
                    away = error if error.cause in ("connection", "timeout") else None
            else:
                found = [away] * len(places)
            answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(rows.records))]

    def _groups(
        self, records: Sequence[Record], answers: dict[int, Answer]
    ) -> list[tuple[Writer, list[int]]]:
        """The records by table. Of a key the latest alone is written; the others are known then."""
        latest: dict[tuple[str, str], int] = {}
        for place, record in enumerate(records):
            before = latest.get((record.tenant, record.key))
            if before is not None and records[before].number >= record.number:
                answers[place] = Known()
                continue
            if before is not None:
                answers[before] = Known()
            latest[record.tenant, record.key] = place
        if not self._mapped:
            return [(self._entries, [*latest.values()])]
        groups: dict[Writer, list[int]] = {}
        for place in latest.values():
            groups.setdefault(self._writer(records[place].key), []).append(place)
        return [*groups.items()]

    def _writer(self, key: str) -> Writer:
        for mapped in self._mapped:
            if key.startswith(mapped.mapping.prefix):
                return mapped
        return self._entries

    async def _written(self, writer: Writer, prepared: Sequence[Any], once: Once) -> list[Answer]:
        sound = [place for place, each in enumerate(prepared) if not _is_said(each)]
        answers: list[Answer] = [*prepared]
        suspects: list[int] = []
        for start in range(0, len(sound), writer.at_once):
            part = sound[start : start + writer.at_once]
            suspects += await self._halved(once, part, prepared, answers)
        for place in suspects:
            # Once more, when all others are there: it may need one of them, or have met another
            # process that inserted it.
            await self._halved(once, [place], prepared, answers)
        return answers

    async def _halved(
        self, once: Once, places: list[int], prepared: Sequence[Any], answers: list[Answer]
    ) -> list[int]:
        """Write these; those that cannot be written, each with its poison as its answer."""
        if not places:
            return []
        try:
            found = await once([prepared[place] for place in places])
        except RowsFault as fault:
            if len(places) == 1:
                answers[places[0]] = fault.poison
                return places
            suspects = []
            for half in (places[: len(places) // 2], places[len(places) // 2 :]):
                suspects += await self._halved(once, half, prepared, answers)
            return suspects
        for place, outcome in zip(places, found, strict=True):
            answers[place] = outcome
        return []

    async def _once(self, writer: Any, since: float | None, rows: Sequence[Any]) -> list[Outcome]:
        write = writer.write
        while True:
            try:
                async with asyncio.timeout(self.patience), self.transaction(since) as connection:
                    found: list[Outcome] = await write(connection, self.dialect, rows)
            except SomeAreKnown:
                write = writer.write_each
            except (SyncFailed, RowsFault):
                raise
            except Exception as error:
                raise told(error) from error
            else:
                return found

    async def forget(self, below: int) -> None:
        """Delete rows that are there for their number alone, if it is below that of each change
        that waits. SyncFailed if that fails; the next time goes on."""
        await self.begin()
        try:
            for table in (ENTRIES, APPLIED):
                gone = FORGOTTEN
                while gone == FORGOTTEN:
                    them = forget(self.dialect, table, self.owner, below, KEPT, FORGOTTEN)
                    async with asyncio.timeout(self.patience), self.transaction() as connection:
                        gone = (await connection.exec_driver_sql(*them)).rowcount
        except Exception as error:
            raise failure_of(error) from error


def _is_said(prepared: Any) -> bool:
    """Whether it is an outcome already."""
    return isinstance(prepared, (Poison, Skipped))


def failure_of(error: Exception) -> SyncFailed:
    """Where no row is concerned."""
    found = told(error)
    return found if isinstance(found, SyncFailed) else SyncFailed("schema", str(found))
