"""One process's counts, in a file that other processes read: kill -9 loses none of them.

`engine/filing.py` keeps an engine's counts here where the process is one of several workers;
`workers.py` adds up what all of them have written. The file is mapped, so that to write a number
is to store it in memory. The page then belongs to the system, whatever becomes of the process.

Two files: `<id>.counts` holds the numbers, doubles, row behind row in chunks; `<id>.rows` says in
one line of JSON what each row is, the first line what its columns are called. A row's line is
written before its first number. The process holds a lock on `<id>.counts` for as long as it lives:
who can take it knows that the process is dead. It must never open that file a second time: to close
that one would drop the lock.
"""

from __future__ import annotations

import fcntl
import mmap
import operator
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec

CHUNK: Final = max(2**16, mmap.ALLOCATIONGRANULARITY)
"""Bytes that are allocated, and mapped, at a time."""

NUMBER: Final = 8
"""Bytes of one number."""

_NO_ROOM: Final = "no room for a worker's counts"

Columns = Mapping[str, Sequence[str]]
"""What the columns of a row are called, by the first part of the row's key."""

Row = tuple[str, ...]
"""What a row counts: its kind, then what tells it from others of the kind."""

Numbers = dict[Row, list[float]]
"""Rows, each in the order of its columns."""


class Ledger:
    """The files of this process, made when this is. OSError if they cannot be."""

    def __init__(self, folder: Path, name: str, columns: Columns) -> None:
        self.name = name
        self._columns = columns
        self._end, self._full = 0, False
        self._lock = Lock()
        # All of them, for good: a mapping has the file open a second time, and closes that.
        self._chunks: dict[int, memoryview[float]] = {}
        fresh = folder / f".{name}.new"
        self._rows = FileIO(folder / f"{name}.rows", "a", opener=_private)
        self._write(columns)
        self._counts = FileIO(fresh, "x+", opener=_private)
        fcntl.lockf(self._counts, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Only now: what is seen without its lock is taken for a dead process's.
        fresh.rename(folder / f"{name}.counts")

    def row(self, *key: str) -> memoryview[float]:
        """A new row of zeros, to be written by index. OSError if there is no room for it.

        It is asked for once for each key, by any thread.
        """
        with self._lock:
            return self._new_row(key)

    def _new_row(self, key: Row) -> memoryview[float]:
        if self._full:
            raise OSError(_NO_ROOM)
        width = len(self._columns[key[0]])
        place = place_of(self._end, width)
        begin = place - place % CHUNK
        if begin not in self._chunks:
            # Written, not only made longer: a page that cannot be had later ends the process.
            self._full = os.pwrite(self._counts.fileno(), bytes(CHUNK), begin) < CHUNK
            if self._full:
                raise OSError(_NO_ROOM)
            mapped = mmap.mmap(self._counts.fileno(), CHUNK, offset=begin)
            self._chunks[begin] = memoryview(mapped).cast("d")
        self._write(key)
        self._end = place + width * NUMBER
        at = place % CHUNK // NUMBER
        return self._chunks[begin][at : at + width]

    def _write(self, what: object) -> None:
        line = msgspec.json.encode(what) + b"\n"
        # Half a line may only be the last one.
        self._full = self._rows.write(line) < len(line)
        if self._full:
            raise OSError(_NO_ROOM)

    def close(self) -> None:
        """Let go of the files, and of the lock: they are a dead process's from now on."""
        self._rows.close()
        self._counts.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not all made
            self.close()


def place_of(end: int, width: int) -> int:
    """Where a row begins, after one that ended at `end`: no row lies in two chunks."""
    size = width * NUMBER
    return end if end % CHUNK + size <= CHUNK else end - end % CHUNK + CHUNK


def read(folder: Path, name: str, columns: Columns) -> Numbers:
    """What another process has written so far, by these columns. OSError if its files are gone,
    ValueError if somebody else has written into them."""
    # The rows first: each that they name has its numbers by then. The last line may be half one.
    head, _, lines = (folder / f"{name}.rows").read_bytes().partition(b"\n")
    numbers = (folder / f"{name}.counts").read_bytes()
    counts = memoryview(numbers[: len(numbers) // CHUNK * CHUNK]).cast("d")
    said = msgspec.json.decode(head, type=dict[str, list[str]]) if head else {}
    keys = msgspec.json.decode(
        b"[" + b",".join(lines.split(b"\n")[:-1]) + b"]", type=list[tuple[str, ...]]
    )
    end, found = 0, Numbers()
    for key in keys:
        width = len(said.get("".join(key[:1]), ()))
        place = place_of(end, width)
        end = place + width * NUMBER
        if not width or end > len(numbers):
            raise ValueError(f"the rows of {name} are none of cascada's")
        found[key] = [*counts[place // NUMBER : end // NUMBER]]
    return in_order(found, said, columns)


def in_order(rows: Numbers, said: Columns, columns: Columns) -> Numbers:
    """Rows whose columns are those that were `said`, by other columns.

    Workers that began before and after an update may count other things.
    """
    if {kind: [*names] for kind, names in said.items()} == {
        kind: [*names] for kind, names in columns.items()
    }:
        return rows
    found = Numbers()
    for key, row in rows.items():
        if key[0] in columns:
            by_name = dict(zip(said[key[0]], row, strict=True))
            found[key] = [by_name.get(name, 0.0) for name in columns[key[0]]]
    return found


def add(into: Numbers, more: Numbers) -> None:
    """Add up, column by column."""
    for key, row in more.items():
        there = into.get(key)
        into[key] = row if there is None else [*map(operator.add, there, row)]


def _private(path: Any, flags: int) -> int:
    """Tenants' names are nobody else's business, whatever the umask is."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
