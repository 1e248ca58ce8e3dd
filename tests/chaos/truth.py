"""The versioned source of truth: one mapped file that all processes read and write.

For every row it holds the newest version, and for each of the latest `DEPTH` versions when its
invalidation had RETURNED, in nanoseconds of CLOCK_MONOTONIC, which all processes of a machine
share. A read that began at `started` must give at least `due(row, started)`.

Every cell is one aligned 8-byte word that is written at once, so readers need no lock and see no
half of a value. Only `bump` takes one (a lock on one byte of the file, which the kernel drops when
its holder is killed), because two processes must not draw the same version.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEPTH = 1024
"""Versions of a row whose returns are remembered."""

FIRST = 1
"""The version that every row has in the beginning; versions of 0 mean that nothing is known."""


class Truth:
    """See the module's text. `path` is made by `create` and opened by everybody."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._words = memoryview(mmap.mmap(self._file, 0)).cast("Q")
        self.rows = len(self._words) // (2 * DEPTH + 1)
        self._returned = self.rows
        self._pending = self.rows * (DEPTH + 1)

    @classmethod
    def create(cls, path: Path, rows: int) -> Truth:
        with path.open("wb") as file:
            file.truncate(rows * (2 * DEPTH + 1) * 8)
        truth = cls(path)
        for row in range(rows):
            truth._words[row] = FIRST
        return truth

    def close(self) -> None:
        os.close(self._file)

    def version(self, row: int) -> int:
        """The newest version: what a loader that looks now finds."""
        return self._words[row]

    def bump(self, row: int) -> int:
        """Give the row its next version, and return that."""
        with self._locked(row):
            version = self._words[row] + 1
            # The cells held a version of long ago. They are emptied before anybody can take them
            # for this version's.
            self._words[self._returned + row * DEPTH + version % DEPTH] = 0
            self._words[self._pending + row * DEPTH + version % DEPTH] = 0
            self._words[row] = version
        return version

    def returned(self, row: int, version: int, at: int) -> None:
        """The invalidation of what is older than `version` had returned at `at`."""
        self._note(self._returned, row, version, at)

    def pending(self, row: int, version: int, by: int) -> None:
        """`by` (not 0) has promised to bring it about, though it could not yet."""
        self._note(self._pending, row, version, by)

    def due(self, row: int, started: int) -> int:
        """The oldest version that a read which began at `started` may give."""
        version = self._words[row]
        last = max(version - DEPTH, FIRST)
        cells = self._returned + row * DEPTH
        while version > last:
            if 0 < self._words[cells + version % DEPTH] <= started:
                return version
            version -= 1
        return version

    def overdue_since(self, row: int, version: int, started: int) -> int:
        """When the first of the invalidations returned that a read of `version` has missed."""
        newest = self._words[row]
        cells = self._returned + row * DEPTH
        times = [
            at
            for newer in range(max(version, newest - DEPTH) + 1, newest + 1)
            if 0 < (at := self._words[cells + newer % DEPTH]) <= started
        ]
        return min(times, default=started)

    def promised(self, row: int) -> Iterator[tuple[int, int]]:
        """The versions newer than the last returned one that somebody owes, and who."""
        version = self._words[row]
        last = max(version - DEPTH, FIRST)
        while version > last and not self._words[self._returned + row * DEPTH + version % DEPTH]:
            by = self._words[self._pending + row * DEPTH + version % DEPTH]
            if by:
                yield version, by
            version -= 1

    def _note(self, table: int, row: int, version: int, word: int) -> None:
        with self._locked(row):
            # A process that slept through half the ring would mark a newer version's cell.
            if self._words[row] - version < DEPTH // 2:
                self._words[table + row * DEPTH + version % DEPTH] = word

    @contextmanager
    def _locked(self, row: int) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, row)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)
