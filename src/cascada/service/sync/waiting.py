"""To wait for who writes to an SQLite file, so that the wait can be cancelled."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Final

from cascada.service.sync.numbered import fetched

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

AT_ONCE: Final = 100
"""Milliseconds that SQLite waits by itself: nobody can call the driver's thread off."""

PAUSE: Final = 0.02
"""Seconds between two tries."""


async def begun_in_time(connection: AsyncConnection) -> None:
    """Begin to write; the caller's timeout ends it."""
    ((before,),) = await fetched(connection, "PRAGMA busy_timeout")
    await fetched(connection, f"PRAGMA busy_timeout = {AT_ONCE}")
    try:
        while True:
            try:
                await fetched(connection, "BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            else:
                return
            await asyncio.sleep(PAUSE)
    finally:
        await fetched(connection, f"PRAGMA busy_timeout = {before}")
