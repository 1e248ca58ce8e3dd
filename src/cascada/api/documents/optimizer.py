"""`advanced_cache_manager`: document N's name for who moves entries to where they are read from.

It checks what it was passed and gives the answer of the engine (`engine/moving.py`) its
public shape. It moves nothing itself.
"""

from __future__ import annotations

from typing import Final, TypedDict

from cascada.api.default import default_cache
from cascada.engine.moving import MAX_BYTES, MAX_MOVES
from cascada.engine.strategies.distribution import READS
from cascada.model.door import arguments

PlannedMove = TypedDict(
    "PlannedMove",
    {
        "key": str,
        "from": str,
        "to": str | None,
        "bytes": int,
        "hits": float,
        "milliseconds": float,
        "why": str,
    },
)
"""One entry on its way. `to` None: it leaves memory; a tier below has it. `hits` and
`milliseconds`: what is gained by it, less than 0 for what leaves."""


class Expected(TypedDict):
    """What a plan gains among so many next `reads`: `hits` more that memory answers, and
    `milliseconds` that callers wait less; `bytes` of payload are brought up for that."""

    reads: int
    hits: float
    milliseconds: float
    bytes: int


class MovedEntries(TypedDict):
    """What was really moved: entries (and bytes) that came up, entries that left memory."""

    entries: int
    bytes: int
    left_memory: int


class Measured(TypedDict):
    """What came of the plan before this one: more hits in memory among 10,000 reads than before
    it, as they were expected, and as they are in the `reads` since."""

    expected_hits: float
    hits: float
    reads: int


class Distribution(TypedDict):
    """A plan, what was moved by it, and what came of the one before."""

    dry_run: bool
    moves: list[PlannedMove]
    expected: Expected
    moved: MovedEntries
    measured: Measured | None


class AdvancedCacheManager:
    """See the module's text."""

    async def optimize_cache_distribution(
        self, dry_run: bool = False, max_moves: int = MAX_MOVES, max_bytes: int = MAX_BYTES
    ) -> Distribution:
        """Move entries of the default cache to where they are read from, and tell what is gained.

        What is read in Redis or the database again and again comes into memory, and what Redis has
        lost comes back to it from the database; for that, what is hardly used leaves memory, the
        bulky first, but never what is CRITICAL or HIGH. It is measured since the last time that
        something was moved, for the 4,096 keys that are read most. At most `max_moves` entries and
        `max_bytes` of payload are moved. `dry_run` only says what would be. By itself at an
        interval: `Limits(optimize_every=)`.
        """
        dry_run = arguments.flag(dry_run, "dry_run")
        max_moves = arguments.integer(max_moves, "max_moves", 1)
        max_bytes = arguments.integer(max_bytes, "max_bytes", 1)
        mover = default_cache()._engine.mover
        made, moved, effect = await mover.optimize(dry_run, max_moves, max_bytes)
        return {
            "dry_run": dry_run,
            "moves": [
                {
                    "key": move.key.text,
                    "from": move.source,
                    "to": move.target,
                    "bytes": move.size,
                    "hits": move.hits,
                    "milliseconds": move.milliseconds,
                    "why": move.why,
                }
                for move in made.moves
            ],
            "expected": {
                "reads": READS,
                "hits": float(made.hits),
                "milliseconds": made.milliseconds,
                "bytes": made.size,
            },
            "moved": {"entries": moved.up, "bytes": moved.size, "left_memory": moved.down},
            "measured": None
            if effect is None
            else {
                "expected_hits": effect.expected,
                "hits": effect.measured,
                "reads": effect.reads,
            },
        }


advanced_cache_manager: Final = AdvancedCacheManager()
