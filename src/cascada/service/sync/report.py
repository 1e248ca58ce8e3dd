"""What the rounds of a sync have done: `SyncReport` of one, `SyncProgress` of its batches, and
how they are counted together."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from cascada.engine.telling.trace import Trace
from cascada.service.sync.records import (
    Conflict,
    Fill,
    Known,
    Outcome,
    Skipped,
    SyncFailed,
    Written,
)

SHOWN: Final = 100
"""Changes that were set aside, of one round, that a report names."""

LOGGED: Final = 10
"""The same of the log."""

logger = logging.getLogger("cascada")


class Unwritable(msgspec.Struct, frozen=True):
    """A change that was set aside: whose it is, and why. It is retried on demand."""

    tenant: str
    key: str
    number: int
    cause: str
    reason: str


class SyncReport(msgspec.Struct, frozen=True):
    """What one round has done.

    written: changes that the database has by it. known: it had them, or later ones, before. fills:
    what the row held already; stale_fills: what had been read before others changed the row, so
    that it went from the cache instead. skipped: of keys whose mapping writes nothing. conflicts:
    by strategy. set_aside: what can never be written (`unwritable` names up to 100). errors: by
    cause, "connection", "permission", "constraint", "timeout" or "schema". waiting: what is left,
    and lag_seconds how long its oldest has waited. finished: nothing failed. why: what failed
    first, in a sentence.
    """

    service: str
    written: int = 0
    known: int = 0
    fills: int = 0
    stale_fills: int = 0
    skipped: int = 0
    conflicts: dict[str, int] = {}
    set_aside: int = 0
    unwritable: tuple[Unwritable, ...] = ()
    errors: dict[str, int] = {}
    why: str = ""
    seconds: float = 0.0
    waiting: int = 0
    lag_seconds: float = 0.0
    finished: bool = True


class SyncProgress(NamedTuple):
    """Of a round that goes on: the changes that it has dealt with so far, and those that wait."""

    service: str
    done: int
    waiting: int
    seconds: float


@dataclass(slots=True)
class Tally:
    """A round as it goes."""

    written: int = 0
    known: int = 0
    fills: int = 0
    stale_fills: int = 0
    skipped: int = 0
    conflicts: Counter[str] = field(default_factory=Counter)
    set_aside: int = 0
    unwritable: list[Unwritable] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    why: str = ""

    @property
    def done(self) -> int:
        dealt_with = self.written + self.known + self.fills + self.stale_fills + self.skipped
        return dealt_with + self.conflicts.total() + self.set_aside

    def count(self, outcome: Outcome) -> None:
        """An outcome that ends its change; what was set aside counts as such (`put_aside`)."""
        match outcome:
            case Written():
                self.written += 1
            case Known():
                self.known += 1
            case Fill(stale=True):
                self.stale_fills += 1
            case Fill():
                self.fills += 1
            case Skipped():
                self.skipped += 1
            case Conflict(strategy=name):
                self.conflicts[name] += 1

    def put_aside(self, change: Unwritable) -> None:
        self.set_aside += 1
        if len(self.unwritable) < SHOWN:
            self.unwritable.append(change)

    def failed(self, failure: SyncFailed) -> None:
        self.errors[failure.cause] += 1
        self.why = self.why or f"{failure.cause}: {failure.sentence}"

    def report(self, service: str, seconds: float, waiting: int, lag: float) -> SyncReport:
        return SyncReport(
            service=service,
            written=self.written,
            known=self.known,
            fills=self.fills,
            stale_fills=self.stale_fills,
            skipped=self.skipped,
            conflicts=dict(self.conflicts),
            set_aside=self.set_aside,
            unwritable=tuple(self.unwritable),
            errors=dict(self.errors),
            why=self.why,
            seconds=seconds,
            waiting=waiting,
            lag_seconds=lag,
            finished=not self.errors,
        )


def log(report: SyncReport) -> None:
    """Tell of a round what an operator wants to know."""
    name = report.service
    for each in report.unwritable[:LOGGED]:
        logger.error("sync of %s: %s is set aside: %s", name, each.key, each.reason)
    if report.set_aside > LOGGED:
        logger.error("sync of %s: %d changes were set aside", name, report.set_aside)
    for strategy, times in report.conflicts.items():
        logger.warning("sync of %s: %d conflicts, decided by %s", name, times, strategy)
    if not report.finished:
        logger.error("sync of %s failed: %s", name, report.why)
    rows = report.written
    some = rows or report.conflicts or report.stale_fills
    level = logging.INFO if some else logging.DEBUG
    logger.log(level, "sync of %s: %d rows in %.2f seconds", name, rows, report.seconds)


ROWS: Final = ("written", "known", "fills", "stale_fills", "skipped")


class Said(NamedTuple):
    """What a name of `count` says. what: one of ROWS, "conflict" or "error"."""

    what: str
    label: str
    service: str


def said(name: str) -> Said:
    what, _, service = name.partition(" ")
    what, _, label = what.partition(":")
    return Said(what, label, service)


def count(trace: Trace, report: SyncReport) -> None:
    """Add a round to what the engine's process has counted, by service: "written NAME",
    "conflict:STRATEGY NAME", "error:CAUSE NAME"."""
    counts = {name: getattr(report, name) for name in ROWS}
    counts |= {f"conflict:{name}": times for name, times in report.conflicts.items()}
    counts |= {f"error:{cause}": times for cause, times in report.errors.items()}
    for name, times in counts.items():
        trace.synced[f"{name} {report.service}"] += times
    trace.rounds.add("sync", report.service, report.seconds, 1)
