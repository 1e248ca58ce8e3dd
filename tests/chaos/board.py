"""What the parent and its workers tell each other, as words of one mapped file.

The parent sets the phase; each worker says how far it is and counts what it does. The words
survive a worker that is killed, so nothing that was counted is lost with it.
"""

from __future__ import annotations

import mmap
from enum import IntEnum, auto
from pathlib import Path


class Phase(IntEnum):
    """What the workers are to do."""

    ATTACK = auto()
    QUIET = auto()  # end what is under way, start nothing
    AUDIT = auto()  # look whether anything old was left behind
    END = auto()


class State(IntEnum):
    """How far a worker is."""

    STARTING = auto()
    ATTACKING = auto()
    IDLE = auto()
    AUDITED = auto()
    GONE = auto()


class Word(IntEnum):
    """The words of one worker: its state, then counters."""

    STATE = 0
    INCARNATION = auto()
    READS = auto()
    L1 = auto()
    L2 = auto()
    L3 = auto()
    SOURCE = auto()
    MISSES = auto()
    LOADS = auto()
    SETS = auto()
    SETS_REFUSED = auto()
    FILLS = auto()
    TOUCHES = auto()
    INVALIDATIONS = auto()
    PENDING = auto()
    BLOCKED = auto()
    FAILURES = auto()  # errors that a caller may well see (its own loader's)
    ERRORS = auto()  # errors that no caller may see
    STALE = auto()  # reads of an older version than was due
    BROKEN = auto()  # of these, those that the configuration's promise does not allow
    AUDITS = auto()


_HEADER = 8
_PHASE, _WANTED, _WANTED_ROW = range(3)
_WORDS = 32


class Board:
    """See the module's text."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self.workers = (len(self._words) - _HEADER) // _WORDS

    @classmethod
    def create(cls, path: Path, workers: int) -> Board:
        with path.open("wb") as file:
            file.truncate((_HEADER + workers * _WORDS) * 8)
        board = cls(path)
        board.set_phase(Phase.ATTACK)
        for slot in range(workers):
            board.slot(slot)[Word.STATE] = State.STARTING
        return board

    @property
    def phase(self) -> Phase:
        return Phase(self._words[_PHASE])

    def set_phase(self, phase: Phase) -> None:
        self._words[_PHASE] = phase

    @property
    def attacking(self) -> bool:
        return self._words[_PHASE] == Phase.ATTACK

    def slot(self, worker: int) -> memoryview[int]:
        """The words of one worker, by `Word`."""
        start = _HEADER + worker * _WORDS
        return self._words[start : start + _WORDS]

    def state(self, worker: int) -> State:
        return State(self.slot(worker)[Word.STATE])

    def total(self, word: Word) -> int:
        return sum(self.slot(worker)[word] for worker in range(self.workers))

    # --- traces -------------------------------------------------------------------------------

    def want_trace(self, row: int) -> None:
        """Ask every worker to write down what it did with a row."""
        self._words[_WANTED_ROW] = row
        self._words[_WANTED] += 1

    @property
    def wanted(self) -> tuple[int, int]:
        """The number of the latest request, and its row."""
        return self._words[_WANTED], self._words[_WANTED_ROW]
