"""Changes that a round of the sync claims, writes and takes from the journal together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cascada.service.sync.records import Answer, Record, Rows, SyncFailed, Written
from cascada.tiers.capabilities import Change


class Batch(NamedTuple):
    """Changes that were claimed together, and what each says; in the end, what came of it."""

    changes: Sequence[Change] = ()
    said: Sequence[Record | Answer] = ()
    since: float = 0.0
    """When it was not claimed yet, by the database's clock."""

    rows: Rows = Rows()
    """Those that can be read, ready to be written."""

    @property
    def failures(self) -> list[SyncFailed]:
        """Each once, however many changes it concerns."""
        failures = {id(each): each for each in self.said if isinstance(each, SyncFailed)}
        return [*failures.values()]

    def parted(self) -> tuple[list[Change], list[tuple[Change, Record | Answer]]]:
        """Those that were written, which mostly all are, and the others."""
        written, others = list[Change](), list[tuple[Change, Record | Answer]]()
        for change, said in zip(self.changes, self.said, strict=True):
            if said.__class__ is Written:
                written.append(change)
            else:
                others.append((change, said))
        return written, others

    def answered(self, answers: Sequence[Answer]) -> Batch:
        """With what came of its rows."""
        if len(answers) == len(self.said):
            return self._replace(said=answers, rows=Rows())
        each_next = iter(answers)
        said = [next(each_next) if isinstance(each, Record) else each for each in self.said]
        return self._replace(said=said, rows=Rows())
