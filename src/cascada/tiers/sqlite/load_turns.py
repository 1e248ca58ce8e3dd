"""Whose turn it is to load a key, among the processes that share a cache database.

A lease in SQLite is a number, which any number of processes may hold. Whoever is to LOAD takes the
key's turn as well: a lock on one byte of a file beside the database. The kernel gives it back when
its process ends, in whatever way. Turns only decide how often the source is asked. What is stored
is decided by the numbers alone, so that nothing here can make an answer wrong. Without turns (on
another system than Linux, or in a folder that may not be written) each process loads for itself.
(`docs/protocol.md` rule 39.)

The byte is chosen by the key and by the number that has named it last. So who asks after an
invalidation does not wait for a load that began before it. A process that stands still keeps its
locks. So who holds a turn writes the time down every now and then (`renew`); where that time is
old, nobody waits any longer.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from cascada.model.clock import Clock
from cascada.model.keys import Key, quote
from cascada.tiers.contract import Busy, Fence, Found, Lease, Seen
from cascada.tiers.sqlite.reads import Reader

POLL: Final = 0.02
"""Seconds until who waits for another process's load asks again."""

BEAT_LIFE: Final = 5.0
"""Seconds after which a holder that has written nothing down counts as gone."""

SUSPECTED: Final = 0.5
"""Seconds for which a holder is watched before it counts as gone: it may only just have begun."""

_SLOTS: Final = 2**16
_FIRST: Final = _SLOTS * 8  # the locks begin behind the times
_MAX_SUSPECTS: Final = 1024
_TIME: Final = struct.Struct("d")
_OFD_SETLK: Final[int | None] = (
    getattr(fcntl, "F_OFD_SETLK", None) if struct.calcsize("P") == 8 else None
)
_NOBODY: Final = b"\0" * 8


def take_turns(
    turns: Turns, questions: Reader, connection: sqlite3.Connection, leases: Sequence[Lease]
) -> list[Lease | Found | Busy]:
    """The leases with their turns, but for what another process loads, or has just loaded.

    A fence belongs to a value that has been made already: it waits for nobody, but others may wait
    for it. What was not read is not loaded.
    """
    answers: list[Lease | Found | Busy] = [*leases]
    loads = [at for at, lease in enumerate(leases) if lease.seen is not None]
    taken = []
    named = questions.named(connection, [leases[at].key for at in loads])
    for at, number in zip(loads, named, strict=True):
        lease = leases[at]
        turn, busy = turns.take(turns.place(lease.key, number))
        if isinstance(lease.seen, Fence):
            lease.token = turn
        elif busy:
            answers[at] = Busy(POLL)
        elif turn is not None:
            lease.token = turn
            taken.append(at)
    # Who had the turn before may have stored its value after this caller has looked, also in place
    # of what was damaged then.
    again = questions.read(connection, [leases[at].key for at in taken])
    for at, now in zip(taken, again, strict=True):
        if isinstance(now, Found) and not _is_same(now, leases[at].seen):
            end_turns([leases[at]])
            answers[at] = now
    return answers


def end_turns(leases: Sequence[Lease]) -> None:
    for lease in leases:
        if isinstance(lease.token, Turn):
            lease.token.end()


def renew_turns(leases: Sequence[Lease]) -> None:
    for lease in leases:
        if isinstance(lease.token, Turn):
            lease.token.renew()


def _is_same(found: Found, seen: Seen) -> bool:
    """Whether it is the entry that the caller has seen, and wants to replace."""
    if not isinstance(seen, Found):
        return False
    return (found.entry.created, found.entry.data) == (seen.entry.created, seen.entry.data)


class Turn:
    """One key's turn; it ends at the latest when nobody refers to it any more."""

    __slots__ = ("_turns", "at")

    def __init__(self, turns: Turns, at: int) -> None:
        self._turns: Turns | None = turns
        self.at = at

    def renew(self) -> None:
        """This process is alive."""
        if self._turns is not None:
            self._turns.beat(self.at)

    def end(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.give_back(self.at)

    # A lease may be dropped on the way, by a cancellation or an error, without a word to the tier.
    __del__ = end


class Turns:
    """The turns that this process takes. Threads may use it."""

    def __init__(self, database: Path, namespace: str, clock: Clock) -> None:
        self._path = f"{database}-turns"
        self._namespace = namespace
        self._now = clock.monotonic
        self._file: int | None = None
        self._ended = False
        self._gate = threading.Lock()
        self._held: Counter[int] = Counter()
        self._suspects: dict[int, tuple[bytes, float]] = {}

    def place(self, key: Key, named: int) -> int:
        """The byte of a key that was named last by the invalidation of this number."""
        text = f"{self._namespace}\0{quote(key.tenant)}\0{key.text}\0{named}".encode()
        return _FIRST + (int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 2)

    def take(self, at: int) -> tuple[Turn | None, bool]:
        """The turn, if it is to be had, and whether another process has it.

        Neither: there is nothing to take, or its holder is gone.
        """
        with self._gate:
            try:
                if not self._lock(at, fcntl.F_WRLCK):
                    return None, not self._is_gone(at)
            except OSError:
                return None, False
            self._held[at] += 1
            self._suspects.pop(at, None)
        turn = Turn(self, at)
        turn.renew()
        return turn, False

    def beat(self, at: int) -> None:
        with suppress(OSError):
            if self._file is not None:
                os.pwrite(self._file, _TIME.pack(self._now()), at % _SLOTS * 8)

    def give_back(self, at: int) -> None:
        with self._gate:
            self._held[at] -= 1
            if self._held[at] <= 0:
                del self._held[at]
                with suppress(OSError):
                    if self._file is not None:
                        self._lock(at, fcntl.F_UNLCK)

    def begin(self) -> None:
        """Let turns be taken, until `end`."""
        self._ended = False

    def end(self) -> None:
        """Give all back, and let none be taken: nobody would close the file again."""
        self._ended = True
        self.close()

    def close(self) -> None:
        """Give all back. In a forked child: let go of the parent's, which stay with the parent."""
        with self._gate:
            file, self._file = self._file, None
            self._held.clear()
            if file is not None:
                os.close(file)

    def _lock(self, at: int, kind: int) -> bool:
        """Whether the byte could be locked. OSError: nothing can be."""
        if _OFD_SETLK is None:
            raise OSError("this system has no such locks")
        if self._file is None:
            if self._ended:
                raise OSError("the cache was closed")
            self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        how = struct.pack("hhqqi4x", kind, os.SEEK_SET, at, 1, 0)
        try:
            # Of the open file, not of the process: two caches of one process keep each other out.
            fcntl.fcntl(self._file, _OFD_SETLK, how)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _is_gone(self, at: int) -> bool:
        """Whether the holder has stood still for long, and goes on to."""
        assert self._file is not None
        now = self._now()
        written = os.pread(self._file, 8, at % _SLOTS * 8) or _NOBODY
        if now - _TIME.unpack(written)[0] < BEAT_LIFE:
            self._suspects.pop(at, None)
            return False
        seen, since = self._suspects.get(at, (b"", now))
        if seen != written:
            if len(self._suspects) >= _MAX_SUSPECTS:
                self._suspects.clear()
            self._suspects[at] = written, now
            return False
        return now - since >= SUSPECTED
