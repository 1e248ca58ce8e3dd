"""Alerts of a service: rules on its figures, and who is told when one begins to hold, or ends.

An alert begins once its figure has been beyond `limit` for `lasts` seconds without a break, and
ends when it is back at `clears`. In between it stays as it is, so that a figure that swings about
its limit tells nobody twice. What counts grow by is of the last WINDOW seconds, as in a query of
Prometheus. It judges and knows of no cache: `alerting.py` measures, and owns who watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from cascada.model.door import arguments

Figure = Literal[
    "hit_ratio", "latency", "memory", "sync_lag", "errors", "evictions", "bulky"
]  # fmt: skip
FIGURES: Final[tuple[Figure, ...]] = get_args(Figure)

WINDOW: Final = 60.0
"""Seconds whose reads, errors, evictions and large values count."""

LEAST_APART: Final = 1.0
"""Seconds between two counts that are remembered: 60 of them at most."""

_BACK: Final = 0.1
"""The part of its limit by which a figure has to be back, if its rule does not say."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """`figure` beyond `limit` for `lasts` seconds (60) is an alert, until it is back at `clears`
    (None: a tenth better than the limit; of a ratio, half of the way to 1 at most).

    Figures: hit_ratio of the service's reads, 0 to 1 (under its limit; all others over theirs);
    latency, the mean seconds of a read; memory, its filled part, 0 to 1; sync_lag, seconds; in a
    minute, errors (of tiers, loads and the sync), evictions from memory and values over the type's
    bulky_bytes (bulky). Ratio and latency of no reads are no alert, and end none.
    """

    figure: Figure
    limit: float
    lasts: float = 60.0
    clears: float | None = None

    def __post_init__(self) -> None:
        arguments.choice(self.figure, "figure", FIGURES)
        share = self.figure in ("hit_ratio", "memory")
        limit = arguments.number(self.limit, "limit", 0)
        if share and limit > 1:
            raise arguments.refused("limit", self.limit, f"a {self.figure} of 0 to 1")
        if self.clears is not None:
            clears = arguments.number(self.clears, "clears", 0)
            if clears < limit if self.is_floor else clears > limit:
                accepted = f"None, or {'at least' if self.is_floor else 'at most'} its limit"
                raise arguments.refused("clears", self.clears, accepted)
        elif self.is_floor:
            clears = min(limit * (1 + _BACK), (limit + 1) / 2)
        else:
            clears = limit * (1 - _BACK)
        lasts = arguments.seconds(self.lasts, "lasts", zero=True)
        for name, value in (("limit", limit), ("lasts", lasts), ("clears", clears)):
            object.__setattr__(self, name, value)

    @property
    def is_floor(self) -> bool:
        """Whether the figure is to be over its limit."""
        return self.figure == "hit_ratio"


class Alert(NamedTuple):
    """That the figure of a rule was beyond its limit, or (`firing` False) is back. value: what it
    was; for_seconds: how long it has been so."""

    service: str
    rule: AlertRule
    firing: bool
    value: float
    for_seconds: float

    def __str__(self) -> str:
        rule, side = self.rule, "under" if self.rule.is_floor else "over"
        if self.firing:
            return (
                f"{self.service}: {rule.figure} is {self.value:.4g}, {side} {rule.limit:g} for "
                f"{self.for_seconds:.0f} seconds"
            )
        return f"{self.service}: {rule.figure} is back, at {self.value:.4g}"


class Counts(NamedTuple):
    """What only grows, since the process began."""

    hits: int = 0
    misses: int = 0
    seconds: float = 0.0
    errors: int = 0
    evictions: int = 0
    bulky: int = 0


class Window:
    """By how much counts have grown in the last WINDOW seconds. `known`: when they were what."""

    def __init__(self) -> None:
        self.known: deque[tuple[float, Counts]] = deque()

    def grown(self, counts: Counts, now: float) -> Counts | None:
        """None at the first look."""
        known = self.known
        if known and any(new < old for new, old in zip(counts, known[-1][1], strict=True)):
            known.clear()  # they count from zero again
        while len(known) > 1 and known[1][0] <= now - WINDOW:
            known.popleft()
        grown = None
        if known:
            grown = Counts._make(a - b for a, b in zip(counts, known[0][1], strict=True))
        if not known or now - known[-1][0] >= LEAST_APART:
            known.append((now, counts))
        return grown


class Judge:
    """One rule, and whether its alert stands. `since`: when its figure went beyond its limit."""

    def __init__(self, service: str, rule: AlertRule) -> None:
        self.standing: Alert | None = None
        self.since: float | None = None
        self.rule = rule
        self._service = service

    def alert(self, value: float, for_seconds: float = 0.0, *, firing: bool = True) -> Alert:
        return Alert(self._service, self.rule, firing, value, for_seconds)

    def look(self, value: float | None, now: float) -> Alert | None:
        """What is to be told of this value, if anything; None is no value."""
        rule = self.rule
        if value is None:
            if self.standing is None:
                self.since = None
            return None
        sign = -1 if rule.is_floor else 1
        clears = rule.limit if rule.clears is None else rule.clears
        if self.standing is not None:
            since = now if self.since is None else self.since
            self.standing = self.alert(value, now - since)
            if sign * value > sign * clears:
                return None
            self.standing = self.since = None
            return self.alert(value, now - since, firing=False)
        if sign * value <= sign * rule.limit:
            self.since = None
            return None
        if self.since is None:
            self.since = now
        if now - self.since < rule.lasts:
            return None
        self.standing = self.alert(value, now - self.since)
        return self.standing


class Standing(msgspec.Struct):
    """What the workers of a service leave each other: one of them judges after the other, so that
    all are told once. beyond: of each rule since when its figure is, and what it was when its alert
    began."""

    known: list[tuple[float, Counts]] = []
    beyond: dict[str, tuple[float, float | None]] = {}

    @classmethod
    def left(cls, data: bytes) -> Standing:
        """What was left; nothing, where another version has left something else."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError:
            return cls()

    def take(self, window: Window, judges: Sequence[Judge]) -> None:
        """Let these go on from here."""
        window.known = deque(self.known)
        for judge in judges:
            judge.since, value = self.beyond.get(repr(judge.rule), (None, None))
            judge.standing = None if value is None else judge.alert(value)

    def leave(self, window: Window, judges: Sequence[Judge]) -> bytes:
        """As the next one finds it."""
        self.known = list(window.known)
        self.beyond = {
            repr(each.rule): (each.since, each.standing and each.standing.value)
            for each in judges
            if each.since is not None
        }
        return msgspec.msgpack.encode(self)


def rules_given(rules: object) -> Sequence[AlertRule]:
    """A list of rules, checked."""
    given = arguments.several(rules, "rules", "AlertRules")
    return [arguments.instance(each, "each rule", AlertRule, "an AlertRule") for each in given]
