"""A connection that is made when it is first needed, and anew when the path leads elsewhere.

What is promised about forks: `hold` closes the connection and keeps it closed until `release`.
SQLite remembers in the process's memory which locks it holds on a file. A child inherits that
memory while the locks stay with the parent, so a connection that is open during a fork leaves a
child that neither takes nor respects locks on that file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from cascada.model.clock import Clock
from cascada.model.errors import TierUnavailable
from cascada.tiers.sqlite.schema import (
    check_layout,
    connect,
    inode_of,
    prepare,
)

MISUSE: Final = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
"""What SQLite says of a statement and its values: that is no failure of the disk or the file."""

_LOOK_AGAIN: Final = 0.1  # seconds until the path is looked at again: is it still this file?


class Link:
    """A connection to the database; `with link as connection` has it to itself.

    What the block raises as sqlite3.Error leaves it as TierUnavailable, but for `MISUSE`.
    """

    def __init__(self, path: Path, clock: Clock, timeout: float) -> None:
        self._path = path
        self._clock = clock
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._inode: str | None = None
        self._look_at = 0.0
        self._gate = threading.Lock()
        self._held = False

    def __enter__(self) -> sqlite3.Connection:
        self._gate.acquire()
        try:
            return self._current()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, sqlite3.Error | OSError) and not isinstance(error, MISUSE):
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    self._close()  # whatever it is, a new connection has the better chance
                message = f"the cache database {self._path} did not answer: {error}"
                raise TierUnavailable(message) from error
        finally:
            self._gate.release()

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        with self._gate:
            self._close()

    def hold(self) -> None:
        """Close the connection and let nobody open it until `release`: a fork is coming.

        A job that hangs must not hang the fork, so after a while the fork has its way.
        """
        self._held = self._gate.acquire(timeout=5)
        if self._held:
            self._close()

    def release(self) -> None:
        if self._held:
            self._held = False
            self._gate.release()

    def _current(self) -> sqlite3.Connection:
        now = self._clock.monotonic()
        if self._connection is not None and now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN
            if inode_of(self._path) != self._inode:
                # Deleted or replaced: others work on the new file, to stay would be to part ways.
                self._close()
            else:
                check_layout(self._connection, self._path)
        if self._connection is None:
            self._connection = self._open()
            self._look_at = now + _LOOK_AGAIN
        return self._connection

    def _open(self) -> sqlite3.Connection:
        for _ in range(5):
            inode = inode_of(self._path)
            if inode is None:
                # An empty file, whose inode is then known before SQLite opens it. Only ever a new
                # one: to open and close what a connection of this process has open would drop all
                # locks that the process holds on it, by the rules of POSIX.
                with suppress(FileExistsError):
                    os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
                inode = inode_of(self._path) or ""
            connection = connect(self._path, self._timeout)
            try:
                prepare(connection, self._path, inode, self._clock)
            except BaseException:
                connection.close()
                raise
            # Between the two looks the file was not replaced, so this is what was opened.
            if inode_of(self._path) == inode:
                self._inode = inode
                return connection
            connection.close()
        raise TierUnavailable(f"{self._path} is replaced again and again; no look at it lasted")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
