"""Which entries would be better placed elsewhere, and what that gains: a plan, and nothing else.

A pure function of what was measured: how often a value was read below memory (`heat.py`), how large
it is, what an answer of each tier takes, how important its caller has called it, and what memory
holds. `moving.py` measures, and carries a plan out. Nothing here asks a tier or reads a clock.

What is read below is worth bringing up if it is expected to be hit more often than what has to go
for it. The densest goes first: hits times the time saved by each, for a byte. What is CRITICAL or
HIGH never goes, nor what no tier below has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cascada.model.entry import MEMORY
from cascada.model.keys import Key
from cascada.model.policy import CachePriority

READS: Final = 10_000
"""Of so many reads it is told what a plan is expected to gain."""

MARGIN: Final = 2.0
"""How many times as many hits as what goes must be expected of what comes: a move costs something,
and both are guesses."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that is read below memory. hits: reads of it that are expected among READS. tier:
    the first that has it; passed: a shared tier above that, which has not. weight: the bytes that
    memory would need for it; size: of its payload."""

    key: Key
    tier: str
    hits: float
    size: int
    weight: int
    passed: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A value that memory has, and that a tier below has as well; the rest as of `Wanted`."""

    key: Key
    tier: str
    hits: float
    size: int
    weight: int
    priority: CachePriority = CachePriority.NORMAL


@dataclass(frozen=True, slots=True)
class Move:
    """One entry on its way: `target` gets it, or (None) it leaves memory.

    hits, milliseconds: what is gained among READS, less than nothing for what leaves.
    """

    key: Key
    source: str
    target: str | None
    size: int
    hits: float
    milliseconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be moved: what leaves memory first."""

    moves: Sequence[Move] = field(default_factory=tuple)

    @property
    def hits(self) -> float:
        """More of READS that memory answers."""
        return sum(move.hits for move in self.moves if move.target in (None, MEMORY))

    @property
    def milliseconds(self) -> float:
        """What callers save among READS."""
        return sum(move.milliseconds for move in self.moves)

    @property
    def size(self) -> int:
        """Bytes of payload that are brought up."""
        return sum(move.size for move in self.moves if move.target is not None)


def plan(
    wanted: Iterable[Wanted],
    held: Iterable[Held],
    *,
    room: int,
    seconds: Mapping[str, float],
    max_moves: int,
    max_bytes: int,
) -> Plan:
    """The best moves within a budget: so many entries, and so many bytes of payload brought up.

    room: bytes that are free in memory. seconds: what an answer of each tier takes.
    """
    up: list[Move] = []
    down: list[Move] = []
    leaving = [each for each in held if each.priority < CachePriority.HIGH]
    # The last one goes first: of those that nobody hits the bulkiest.
    leaving.sort(key=lambda each: (each.hits / each.weight, -each.weight), reverse=True)
    ordered = sorted(wanted, key=lambda each: _saved(each, seconds) / each.weight, reverse=True)
    for each in ordered:
        if each.hits <= 0:
            continue
        going, freed, lost = 0, room, 0.0
        while freed < each.weight and going < len(leaving):
            going += 1
            freed += leaving[-going].weight
            lost += leaving[-going].hits
        fits = freed >= each.weight and each.hits > lost * MARGIN
        moves = [] if each.passed is None else [_shared(each, seconds, is_all=not fits)]
        if fits:
            moves.append(_to_memory(each, seconds))
            moves += [_leaves(leaving[-n], seconds) for n in range(1, going + 1)]
        size = each.size * sum(move.target is not None for move in moves)
        if len(up) + len(down) + len(moves) > max_moves or size > max_bytes:
            continue
        for move in moves:
            (down if move.target is None else up).append(move)
        if fits:
            del leaving[len(leaving) - going :]
            room = freed - each.weight
        max_bytes -= size
    return Plan((*down, *up))


def _saved(each: Wanted, seconds: Mapping[str, float]) -> float:
    return each.hits * max(_between(each.tier, MEMORY, seconds), 1e-9)


def _between(slow: str, fast: str, seconds: Mapping[str, float]) -> float:
    return seconds.get(slow, 0.0) - seconds.get(fast, 0.0)


def _to_memory(each: Wanted, seconds: Mapping[str, float]) -> Move:
    why = f"read about {each.hits:.0f} times of {READS:,} in {each.tier}, and not in memory"
    saved = each.hits * _between(each.tier, MEMORY, seconds) * 1000
    return Move(each.key, each.tier, MEMORY, each.size, each.hits, saved, why)


def _shared(each: Wanted, seconds: Mapping[str, float], *, is_all: bool) -> Move:
    """Up to the tier that all processes share; `is_all`: this one's memory does not get it."""
    assert each.passed is not None
    why = f"read about {each.hits:.0f} times of {READS:,} in {each.tier}; {each.passed} has lost it"
    hits = each.hits if is_all else 0.0
    saved = hits * _between(each.tier, each.passed, seconds) * 1000
    return Move(each.key, each.tier, each.passed, each.size, hits, saved, why)


def _leaves(each: Held, seconds: Mapping[str, float]) -> Move:
    why = f"hit about {each.hits:.0f} times of {READS:,}, and takes {each.weight:,} bytes"
    lost = each.hits * _between(each.tier, MEMORY, seconds) * 1000
    return Move(each.key, MEMORY, None, each.size, -each.hits, -lost, why)
