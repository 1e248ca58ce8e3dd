"""What `cascada doctor` looks at of the database that services sync to: can the sync write there?

Nothing is made or written. All of it has a bound in time, whether the database is away or stands
still.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cascada.cli.database_checks import to_be_made
from cascada.cli.findings import Finding
from cascada.model.door.secret import Secret, Url
from cascada.model.errors import BadInput, MissingExtra
from cascada.service.sync.causes import told
from cascada.service.sync.databases import opened
from cascada.service.sync.records import SyncFailed
from cascada.service.sync.statements import APPLIED, ENTRIES, named

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

PATIENCE: Final = 5.0
"""Seconds that the database is waited for."""

CLOSING: Final = 1.0
"""Seconds that a goodbye to it may take: it may stand still."""

_CHECK: Final = "sync database"
_RIGHTS: Final = (
    "GRANT USAGE ON SCHEMA cascada, and SELECT, INSERT, UPDATE, DELETE on its tables, to it"
)
_CURES: Final = {
    "connection": "start the database, or correct its host, port and name",
    "permission": "put its user and password into the URL, and let it write to its tables",
    "timeout": "find out why it does not answer, or who holds a lock on it",
}
_IN_POSTGRES: Final = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'cascada' AND c.relname IN ('service_entries', 'applied')) = 2,
       CASE WHEN to_regnamespace('cascada') IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege('cascada', 'CREATE') END,
       to_regnamespace('cascada') IS NULL OR has_schema_privilege('cascada', 'USAGE')
"""
_MAY: Final = """
SELECT has_table_privilege($1, 'SELECT') AND has_table_privilege($1, 'INSERT')
   AND has_table_privilege($1, 'UPDATE') AND has_table_privilege($1, 'DELETE')
"""


def sync_findings(url: Url) -> list[Finding]:
    """What is found about the database that a URL names."""
    try:
        engine = opened(url.reveal())
    except BadInput:
        return [
            Finding(
                _CHECK, "fail", "its URL names no database that services sync to",
                "pass postgresql://USER@HOST/NAME or sqlite:///FILE",
            )
        ]  # fmt: skip
    except MissingExtra as error:
        return [Finding(_CHECK, "fail", f"{error}", "run `pip install 'cascada[sql]'`")]
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "")
        if not path.exists():  # to connect would make it
            return [to_be_made(path, _CHECK)]
    return [asyncio.run(_found(engine))]


async def _found(engine: AsyncEngine) -> Finding:
    try:
        async with asyncio.timeout(PATIENCE):
            async with engine.connect() as connection:
                if engine.dialect.name == "postgresql":
                    return await _postgres(connection)
                return await _sqlite(connection)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        failure = told(error)
        cause = failure.cause if isinstance(failure, SyncFailed) else "connection"
        cure = _CURES.get(cause, "look at what it says")
        return Finding(_CHECK, "fail", f"{cause}: {_shown(failure, engine)}", cure)
    finally:
        await _closed(engine)


async def _postgres(connection: AsyncConnection) -> Finding:
    row: Any = (await connection.exec_driver_sql(_IN_POSTGRES)).fetchone()
    only_read, there, may_make, may_use = row
    if only_read:
        return Finding(
            _CHECK, "fail", "it takes no writes: it is a replica, or read-only",
            "name the server that takes writes",
        )  # fmt: skip
    if not may_use:
        return Finding(_CHECK, "fail", "its user may not use the schema cascada", _RIGHTS)
    if not there:
        if not may_make:
            return Finding(
                _CHECK, "fail", "its tables are not there, and its user may not make them",
                "GRANT CREATE ON DATABASE to it for the first start, or make them as its owner",
            )  # fmt: skip
        return Finding(_CHECK, "ok", "it answers; its tables are made when a sync first starts")
    for table in (ENTRIES, APPLIED):
        name = named("postgresql", table)
        if not (await connection.exec_driver_sql(_MAY, (name,))).scalar():
            return Finding(_CHECK, "fail", f"its user may not write to {name}", _RIGHTS)
    return Finding(_CHECK, "ok", "it answers, and its user may write to its tables")


async def _sqlite(connection: AsyncConnection) -> Finding:
    await connection.exec_driver_sql("BEGIN IMMEDIATE")
    await connection.exec_driver_sql("ROLLBACK")
    found = await connection.exec_driver_sql(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('cascada_service_entries',"
        " 'cascada_applied')"
    )
    if found.scalar() != 2:
        return Finding(_CHECK, "ok", "it can be written; its tables are made at the first start")
    return Finding(_CHECK, "ok", "it can be written, and has its tables")


def _shown(failure: Exception, engine: AsyncEngine) -> str:
    """What it says, without the password of the URL."""
    return Secret(engine.url.password or "").hidden_in(str(failure))


async def _closed(engine: AsyncEngine) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSING):
            await engine.dispose()
