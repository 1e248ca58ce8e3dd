"""Removing what cascada's own tables have of a tenant (`CacheService.forget`).

First his row with an empty key says that he was forgotten, when all transactions that were begun
before have ended: from then on no statement writes a change of his up to that number, whoever has
claimed it. Then his rows go, some at a time. It must never touch a table of the application's.
"""

from __future__ import annotations

import asyncio
from typing import Final

from cascada.engine.engine import Engine
from cascada.engine.journal import KeptJournal
from cascada.service.given import data_type
from cascada.service.sync.entries import with_nul, without_nul
from cascada.service.sync.statements import APPLIED, ENTRIES, erase, latest, services, upsert
from cascada.service.sync.target import Target, failure_of

AT_ONCE: Final = 5_000
"""Rows that are deleted together."""

_SAID: Final = {ENTRIES.name: (None, None, True), APPLIED.name: (None, None, False)}
"""The rest of a row without a value."""


async def erased_of_all(database: str, engine: Engine, tenant: str) -> int:
    """Of all services that have rows of his there, for who has none of them; how many rows went.
    TierUnavailable or SyncFailed if that fails: of the cause "schema" if none has ever written
    there."""
    namespace, found = engine.options.namespace, set[str]()
    target = Target(database, namespace=namespace, service="")
    owner = target.owner[0], without_nul(tenant)
    try:
        async with asyncio.timeout(target.patience), target.transaction() as connection:
            for table in (ENTRIES, APPLIED):
                answer = await connection.exec_driver_sql(*services(target.dialect, table, owner))
                found.update(service for (service,) in answer.fetchall())
    except Exception as error:
        raise failure_of(error) from error
    finally:
        await target.aclose()
    rows = 0
    for service in sorted(found):
        name = with_nul(service)
        journal = engine.journal(data_type(name))
        assert journal is not None  # there is a tier, or nobody had anything to forget
        rows += await erased(Target(database, namespace=namespace, service=name), journal, tenant)
    return rows


async def erased(target: Target, journal: KeptJournal, tenant: str) -> int:
    """How many rows went. SyncFailed or TierUnavailable if that fails; the next time goes on."""
    # Not what the time is here: the journal may lie where it is another.
    until = (await journal.backlog()).last
    await target.begin()
    try:
        return await _erased(target, (*target.owner, without_nul(tenant)), until)
    except Exception as error:
        raise failure_of(error) from error
    finally:
        await target.aclose()


async def _erased(target: Target, owner: tuple[str, str, str], until: int) -> int:
    tables, rows = (ENTRIES, APPLIED), 0
    async with asyncio.timeout(target.patience), target.transaction(alone=True) as connection:
        for table in tables:
            answer = await connection.exec_driver_sql(*latest(target.dialect, table, owner))
            until = max(until, *[number or 0 for (number,) in answer.fetchall()])
        for table in tables:
            row = (*owner, "", until, *_SAID[table.name])
            await connection.exec_driver_sql(*upsert(target.dialect, table, [row], asked=False))
    for table in tables:
        gone = AT_ONCE
        while gone == AT_ONCE:
            them = erase(target.dialect, table, owner, until, AT_ONCE)
            async with asyncio.timeout(target.patience), target.transaction() as connection:
                if target.dialect == "sqlite":
                    await connection.exec_driver_sql("PRAGMA secure_delete = ON")
                gone = (await connection.exec_driver_sql(*them)).rowcount
            rows += gone
    return rows
