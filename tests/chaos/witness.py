"""The judge of every read, in the process that made it.

A read is STALE if it gave a version older than was due when it began; its age is its start minus
the return of the first invalidation that it has missed. A stale read BREAKS the promise unless the
configuration allows it (`Promise`). What was stale is written down at once, so that a kill loses
nothing, and for the first few broken ones every process writes down its latest operations on that
row: which interleaving it was can only be seen from all of them together.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cascada import Hit
from tests.chaos.board import Board, Word
from tests.chaos.keyspace import ABSENT_EVERY, Row
from tests.chaos.truth import FIRST, Truth

RING: Final = 60
"""Operations per row that a process remembers."""

TRACES: Final = 6
"""Traces that one process asks for."""

OWN: Final = 8
"""Own invalidations per row that are remembered."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a configuration allows.

    `lease`: the seconds for which memory may answer with what another process has invalidated
    (0: not at all), and it may not once it has looked. Below memory, nothing stale is ever allowed.
    `degrades`: while its tiers are away, memory may go on with anything, if it calls it stale.
    """

    lease: float
    degrades: bool = False

    def allows(self, stale: Stale) -> bool:
        # A value that a loader has just made of other rows is as old as what memory gave it.
        from_memory = stale.tier == "l1" or (stale.tier == "source" and stale.composed)
        return from_memory and not stale.own and not stale.heard and stale.age < self.lease


@dataclass(slots=True)
class Reading:
    """One read under way: when it began, and when its process had last heard the news."""

    operation: str
    started: int
    heard: int


@dataclass(frozen=True, slots=True)
class Stale:
    """One stale read. `own`: this very process had made the invalidation; `heard`: it had looked
    at the feed since. Seconds, and nanoseconds of the monotonic clock."""

    at: int
    worker: int
    row: int
    got: int
    due: int
    age: float
    tier: str
    operation: str
    own: bool
    heard: bool
    composed: bool


class Witness:
    """See the module's text. `heard` is when the latest look at the feed that succeeded began."""

    def __init__(
        self, truth: Truth, board: Board, worker: int, promise: Promise, folder: Path
    ) -> None:
        self.heard = 0
        self._truth = truth
        self._board = board
        self._worker = worker
        self._words = board.slot(worker)
        self._promise = promise
        self._records = (folder / f"stale-{worker}.jsonl").open("a", buffering=1)
        self._traces = (folder / f"traces-{worker}.jsonl").open("a", buffering=1)
        self._errors = (folder / f"errors-{worker}.txt").open("a", buffering=1)
        self._rings: defaultdict[int, deque[tuple[int, str]]] = defaultdict(
            lambda: deque(maxlen=RING)
        )
        self._own: defaultdict[int, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=OWN))
        self._asked = 0
        self._answered = board.wanted[0]

    def close(self) -> None:
        for file in (self._records, self._traces, self._errors):
            file.close()

    # --- reads --------------------------------------------------------------------------------

    def begin(self, operation: str) -> Reading:
        return Reading(operation, time.monotonic_ns(), self.heard)

    def excuses(self, found: Hit[Any]) -> bool:
        """Whether this answer may be old: it says so itself, and that is promised."""
        return found.stale and self._promise.degrades

    def read(self, row: Row, value: Any, tier: str, reading: Reading) -> bool:
        """Judge the value that a read of `row` gave; None says that the row is absent."""
        try:
            version = self._absence(row) if value is None else row.version_of(value)
        except (ValueError, TypeError, KeyError) as error:
            self.error(f"{reading.operation} of row {row.number} gave {value!r}", error)
            return False
        return self.version(row.number, version, tier, reading)

    def version(
        self, row: int, version: int, tier: str, reading: Reading, *, composed: bool = False
    ) -> bool:
        """Judge one version. `composed`: it is part of a value that was made of several rows."""
        if version > self._truth.version(row):
            self.error(f"{reading.operation} of row {row} gave version {version}", "never written")
            return False
        started = reading.started
        self.note(row, f"{reading.operation} -> v{version} from {tier}", started)
        due = self._truth.due(row, started)
        own = max((v for v, at in self._own.get(row, ()) if at <= started), default=0)
        if version >= due and version >= own:
            return True
        own_missed = version < own
        since = (
            self._truth.overdue_since(row, version, started)
            if version < due
            else min(at for v, at in self._own[row] if v > version and at <= started)
        )
        self._stale(
            Stale(
                started,
                self._worker,
                row,
                version,
                max(due, own),
                (started - since) / 1e9,
                tier,
                reading.operation,
                own_missed,
                since <= reading.heard,
                composed,
            )
        )
        return False

    # --- writes -------------------------------------------------------------------------------

    def returned(self, rows: list[tuple[int, int]], what: str, *, within: float = 0.0) -> None:
        """An invalidation (or a `set`) of these rows at these versions has returned; what is older
        ends in so many seconds."""
        at = time.monotonic_ns() + int(within * 1e9)
        for row, version in rows:
            self._truth.returned(row, version, at)
            self._own[row].append((version, at))
            self.note(row, f"{what} v{version} returned", at)

    def pending(
        self, rows: list[tuple[int, int]], what: str, by: int, *, within: float = 0.0
    ) -> None:
        """It has not happened yet, but will; this process alone has forgotten the old value."""
        self._words[Word.PENDING] += 1
        at = time.monotonic_ns() + int(within * 1e9)
        for row, version in rows:
            self._truth.pending(row, version, by)
            self._own[row].append((version, at))
            self.note(row, f"{what} v{version} is pending", at)

    def won_twice(self, number: int, version: int) -> None:
        """Somebody else had won this claim as well."""
        at, slot = time.monotonic_ns(), self._worker
        self._stale(
            Stale(at, slot, number, version, version + 1, 0.0, "add", "add", False, True, False)
        )

    # --- what is written down -----------------------------------------------------------------

    def note(self, row: int, text: str, at: int | None = None) -> None:
        self._rings[row].append((time.monotonic_ns() if at is None else at, text))

    def error(self, what: str, error: BaseException | str) -> None:
        """Something that no caller may see, whatever happens to the cache."""
        self._words[Word.ERRORS] += 1
        if self._words[Word.ERRORS] < 1000:
            self._errors.write(f"{what}: {error!r}\n")

    def answer_requests(self) -> None:
        """Write down the ring of a row that somebody wants traced."""
        number, row = self._board.wanted
        if number == self._answered:
            return
        self._answered = number
        for at, text in list(self._rings[row]):
            line = {"trace": number, "row": row, "at": at, "worker": self._worker, "what": text}
            self._traces.write(json.dumps(line) + "\n")

    def want_trace(self, row: int) -> None:
        """Have all processes write down what they did with a row."""
        if self._asked < TRACES:
            self._asked += 1
            self._board.want_trace(row)
            self.answer_requests()

    def _stale(self, stale: Stale) -> None:
        allowed = self._promise.allows(stale)
        self._words[Word.STALE] += 1
        self._words[Word.BROKEN] += not allowed
        record = {name: getattr(stale, name) for name in Stale.__slots__}
        self._records.write(json.dumps({**record, "allowed": allowed, "pid": os.getpid()}) + "\n")
        if not allowed:
            missed = f"STALE: v{stale.got} from {stale.tier}, due v{stale.due}"
            self.note(stale.row, f"{missed}, {stale.age * 1000:.1f} ms late")
            self.want_trace(stale.row)

    def _absence(self, row: Row) -> int:
        """The newest version that said "nothing": an absence does not tell its own."""
        if row.data_type != "maybe":
            raise ValueError("an absence, of a row that is always there")
        version = self._truth.version(row.number)
        absent = version - version % ABSENT_EVERY
        if absent < FIRST:
            raise ValueError("an absence, of a row that never was absent")
        return absent
