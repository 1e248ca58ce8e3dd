"""Removing what cascada's own tables have of a tenant (`CacheService.forget`).

First his row with an empty key says that he was forgotten, when all transactions that were begun
before have ended: from then on no statement writes a change of his up to that number, whoever has
claimed it. Then his rows go, some at a time. It must never touch a table of the application's.
"""

from __future__ import annotations

import asyncio
from typing import Final

from cascada.engine.journal import KeptJournal
from cascada.service.sync.entries import without_nul
from cascada.service.sync.statements import APPLIED, ENTRIES, erase, latest, services, upsert
from cascada.service.sync.target import Target, failure_of

AT_ONCE: Final = 5_000
"""Rows that are deleted together."""

_SAID: Final = {ENTRIES.name: (None, None, True), APPLIED.name: (None, None, False)}
"""The rest of a row without a value."""


async def erased_of_all(database: str, namespace: str, tenant: str, now: float) -> int:
    """Of all services that have rows of his there, for who has none of them; how many rows went.
    SyncFailed if that fails: of the cause "schema" if no service has ever written there."""
    target, found = Target(database, namespace=namespace, service=""), set[str]()
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
        one = Target(database, namespace=namespace, service=service)
        rows += await erased(one, None, tenant, now)
    return rows


async def erased(target: Target, journal: KeptJournal | None, tenant: str, now: float) -> int:
    """How many rows went. SyncFailed or TierUnavailable if that fails; the next time goes on."""
    newest = 0 if journal is None else (await journal.backlog()).newest
    until = max(newest, int(now * 1e6))
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
            await connection.exec_driver_sql(*upsert(target.dialect, table, [row]))
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
