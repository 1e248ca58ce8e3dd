"""Moving entries to where they are read from: measures, plans (`strategies/distribution.py`),
carries out, and looks afterwards at what came of it.

`advanced_cache_manager` calls it, and it calls itself at an interval where
`Limits(optimize_every=)` says so. What is brought up is read behind the lease of its new place
(`docs/protocol.md` rules 13 and 41), so that nothing comes that was invalidated on its way. What
leaves memory is given up, as by eviction. It must never move a value that it has read before it had
the lease.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from heapq import nsmallest
from itertools import islice
from typing import Final, NamedTuple

from cascada.engine.decide import Verdict, judge
from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.home.ready import when_ready
from cascada.engine.reading.backfill import lease
from cascada.engine.reading.item import Item
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.strategies.distribution import READS, Held, Plan, Wanted, plan
from cascada.model.entry import MEMORY, Entry, Flag, priority_bits
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.model.policy import CachePriority
from cascada.tiers.contract import Found
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.large_values import told_of_only
from cascada.tiers.memory.record import Record
from cascada.tiers.memory.weight import RECORD

logger = logging.getLogger("cascada")

MAX_MOVES: Final = 1000
MAX_BYTES: Final = 64 * 2**20
"""What one call may move if nobody says."""

LOOKED_AT: Final = 4000
MOST_LISTED: Final = 100_000
"""Records that one call looks at for those to give up, and of how many: some milliseconds, in one
step."""

AT_ONCE: Final = 100
"""Entries of one step, between which others have their turn."""


class Counts(NamedTuple):
    """What the cache has answered at one moment."""

    reads: int
    in_memory: int
    below: int

    def since(self, before: Counts) -> Counts:
        return Counts(*(now - was for now, was in zip(self, before, strict=True)))

    @property
    def ratio(self) -> float:
        """The share of the reads that memory answered."""
        return self.in_memory / self.reads if self.reads else 0.0


class Moved(NamedTuple):
    """What was really moved: entries and bytes of payload that came up, and entries that left
    memory."""

    up: int
    size: int
    down: int


class Effect(NamedTuple):
    """What came of a plan: more of READS that memory was expected to answer, and that it has
    answered in so many reads since."""

    expected: float
    measured: float
    reads: int


Result = tuple[Plan, Moved, Effect | None]


class Mover:
    """The moves of one cache. `every`: seconds between two that it makes by itself. `life` is the
    engine's, and given to it by who builds both."""

    life: Lifecycle

    def __init__(self, stack: Stack, every: float | None = None) -> None:
        self._stack = stack
        self._every = every
        self._since = Counts(0, 0, 0)
        self._moved_at = -math.inf
        self._expected: tuple[float, float] | None = None
        self._turn = asyncio.Lock()

    def begin(self) -> None:
        """Start on an event loop."""
        self._turn = asyncio.Lock()
        if self._every:
            self._stack.background.keep_running(self._keep_moving, "optimize")

    async def _keep_moving(self) -> None:
        assert self._every is not None
        while True:
            await asyncio.sleep(self._every)
            await self._optimize(dry_run=False, max_moves=MAX_MOVES, max_bytes=MAX_BYTES)

    @when_ready
    async def optimize(self, dry_run: bool, max_moves: int, max_bytes: int) -> Result:
        """A plan of now, what was moved by it, and what came of the plan before it.

        It comes to its end though its caller is cancelled: leases would be left behind.
        """
        work = self._optimize(dry_run, max_moves, max_bytes)
        return await asyncio.shield(self._stack.background.answer(work, "optimize", Context()))

    async def _optimize(self, dry_run: bool, max_moves: int, max_bytes: int) -> Result:
        async with self._turn:  # two at once would count on the same room
            effect = self._effect()
            made = await self._plan(max_moves, max_bytes)
            if dry_run or not made.moves:
                return made, Moved(0, 0, 0), effect
            before = self._counts().since(self._since)
            moved = await self._carry_out(made)
            self._expected = made.hits, before.ratio
            self._since = self._counts()
            self._moved_at = self._stack.timer()
            self._stack.trace.heat.clear()
        logger.info(
            "moved %d entries up (%d bytes), and %d out of memory: of the next %d reads %.0f more "
            "are expected to be answered by memory",
            *moved, READS, made.hits,
        )  # fmt: skip
        return made, moved, effect

    # --- what is measured -------------------------------------------------------------------------

    def _counts(self) -> Counts:
        reads = in_memory = below = 0
        for kind in self._stack.kinds.all():
            hits = kind.by_tier
            all_hits = sum(hits.values())
            reads += all_hits + kind.misses
            in_memory += hits[MEMORY]
            below += all_hits - hits[MEMORY]
        return Counts(reads, in_memory, below)

    def _effect(self) -> Effect | None:
        """What has come of the last plan that was carried out."""
        if self._expected is None:
            return None
        expected, before = self._expected
        now = self._counts().since(self._since)
        return Effect(expected, (now.ratio - before) * READS, now.reads)

    async def _plan(self, max_moves: int, max_bytes: int) -> Plan:
        stack = self._stack
        memory, counts = stack.memory, self._counts().since(self._since)
        if not stack.lower or not counts.reads or not stack.trace.heat.noted:
            return Plan()
        # So many of READS a count of one stands for.
        each = counts.below / counts.reads / stack.trace.heat.noted * READS
        wanted = await self._wanted(max_moves, max_bytes, each)
        room = memory.capacity - memory.records.size
        lacking = sum(each.weight for each in wanted) - room
        held = await self._held(max_moves, lacking, READS / counts.reads) if lacking > 0 else []
        return plan(
            wanted,
            held,
            room=room,
            seconds=self._seconds(),
            max_moves=max_moves,
            max_bytes=max_bytes,
        )

    def _seconds(self) -> dict[str, float]:
        """What an answer of each tier below memory takes; that of memory is next to nothing."""
        layers = self._stack.trace.latencies.by_layer()
        return {name: mean for name, each in layers.items() if (mean := each.mean) is not None}

    async def _wanted(self, most: int, max_bytes: int, each: float) -> list[Wanted]:
        """What was read below, and is there now."""
        hot = {
            key: count * each
            for key, count in self._stack.trace.heat.hottest(most)
            # Not by a look, which would count as a hit.
            if (record := self._stack.memory.records.get(key)) is None or not record.is_valid
        }
        found = []
        for key, (tier, entry, size, passed) in (await self._where(hot, max_bytes)).items():
            if entry.flags & Flag.ABSENT or entry.fresh_until <= self._stack.now():
                continue
            weight = RECORD + size + len(key.resource_id)
            found.append(Wanted(key, tier, hot[key], size, weight, passed))
        return found

    async def _held(self, most: int, lacking: int, each: float) -> list[Held]:
        """What memory has and would be missed least, as far as a tier below has it: about so many
        bytes as are lacking."""
        # A few of very many, the same ones each time.
        records = list(islice(self._stack.memory.records, MOST_LISTED))
        some = records[:: len(records) // LOOKED_AT + 1]
        coldest: dict[Key, Record] = {}
        for record in nsmallest(most, some, key=self._density):
            coldest[record.key] = record
            lacking -= record.weight
            if lacking <= 0:
                break
        held = []
        for key, (tier, _, _, _) in (await self._where(coldest, MAX_BYTES)).items():
            record = coldest[key]
            hits = self._hits(record) * each
            held.append(Held(key, tier, hits, len(record.data), record.weight, record.priority))
        return held

    def _density(self, record: Record) -> tuple[float, int]:
        return self._hits(record) / record.weight, -record.weight

    def _hits(self, record: Record) -> float:
        """How often it was hit in the time that was measured, if it was all the time alike."""
        if record.used < self._moved_at:
            return 0.0
        now = self._stack.timer()
        measured, age = now - self._moved_at, now - record.born
        return record.hits * measured / age if age > measured else float(record.hits)

    async def _where(
        self, keys: Iterable[Key], max_bytes: int
    ) -> dict[Key, tuple[str, Entry, int, str | None]]:
        """The first tier below memory that has each, the entry, its size, and the shared tier that
        was passed. Large payloads are not brought for that; after `max_bytes` of others it ends."""
        found: dict[Key, tuple[str, Entry, int, str | None]] = {}
        passed: str | None = None
        open_ = list(keys)
        for tier in self._stack.lower:
            missing: list[Key] = []
            for first in range(0, len(open_), AT_ONCE):
                some = open_[first : first + AT_ONCE]
                if max_bytes <= 0:
                    break
                try:
                    answers = await tier.glance(some)
                except TierUnavailable:
                    break
                for key, answer in zip(some, answers, strict=True):
                    if isinstance(answer, Found):
                        entry = answer.entry
                        large = told_of_only(answer)
                        size = int(entry.data) if large else len(entry.data)
                        found[key] = tier.name, entry, size, passed
                        max_bytes -= 0 if large else size
                    else:
                        missing.append(key)
            else:
                passed = passed or tier.name
            open_ = missing
        return found

    # --- what is moved ----------------------------------------------------------------------------

    async def _carry_out(self, made: Plan) -> Moved:
        down = self._give_up([move.key for move in made.moves if move.target is None])
        await asyncio.sleep(0)
        up = size = 0
        # The shared tiers first, so that what memory gets is there as well.
        for target in dict.fromkeys(move.target for move in made.moves if move.target is not None):
            moves = {move.key: move.size for move in made.moves if move.target == target}
            keys = list(moves)
            for first in range(0, len(keys), AT_ONCE):
                come = await self._bring(target, keys[first : first + AT_ONCE])
                up += len(come)
                size += sum(moves[key] for key in come)
        return Moved(up, size, down)

    def _give_up(self, keys: Sequence[Key]) -> int:
        records = self._stack.memory.records
        there = [record for key in keys if (record := records.get(key)) is not None]
        for record in there:
            records.drop(record)
        return len(there)

    async def _bring(self, target: str, keys: Sequence[Key]) -> list[Key]:
        """Those that have come."""
        stack = self._stack
        with suppress(TierUnavailable):
            if target == MEMORY:
                return await self._remember(keys)
            for depth, tier in enumerate(stack.lower):
                if tier.name == target:
                    return await self._share(tier, stack.lower[depth + 1 :], keys)
        return []

    async def _remember(self, keys: Sequence[Key]) -> list[Key]:
        """Fill memory, whatever place the table has for these: it was measured that they are read.

        As in a look-up, its leases are as old as what the tier has answered that numbers the
        invalidations, and nothing comes that a read would not be given.
        """
        stack, memory = self._stack, self._stack.memory
        leases = {key: memory.grant(key) for key in keys}
        come: list[Key] = []
        open_ = list(keys)
        for tier in stack.lower:
            answers = await tier.read(open_) if open_ else []
            for key, answer in zip(open_, answers, strict=True):
                if tier is stack.authority:
                    leases[key].seq = answer.seq
                if isinstance(answer, Found) and self._is_servable(key, answer.entry):
                    entry = _as_normal(answer.entry)
                    come += [key] if memory.fill_one(leases[key], entry).accepted else []
            open_ = [
                key
                for key, answer in zip(open_, answers, strict=True)
                if not isinstance(answer, Found)
            ]
        there = []
        for key in come:
            if (record := memory.records.get(key)) is not None:
                # Eviction is to know of it what it knows of the others.
                record.hits += self._stack.trace.heat.count(key)
                there.append(key)
        return there

    def _is_servable(self, key: Key, entry: Entry) -> bool:
        """Whether a read would be given it as a matter of course."""
        stack = self._stack
        kind = stack.kinds.of_prefix(key[:5]).of(key.tenant, key.resource_id)
        if judge(entry, kind.policy, stack.now(), generating=False) is not Verdict.FRESH:
            return False
        try:
            stack.decode(entry, kind)
        except CorruptEntry:
            return False
        return True

    async def _share(
        self, tier: GuardedTier, below: Sequence[GuardedTier], keys: Sequence[Key]
    ) -> list[Key]:
        """Fill a shared tier from those below it: its leases first, then the values."""
        kind_of = self._stack.kinds.of_prefix
        items = [Item(Request(kind_of(key[:5]), (key,))) for key in keys]
        for item, answer in zip(items, await tier.read(keys), strict=True):
            item.seen[tier.name] = [answer]
        await lease(self._stack, tier, items)
        held = {item.request.key: item.leases[tier] for item in items if tier in item.leases}
        entries: dict[Key, Entry] = {}
        try:
            for source in below:
                asked = [key for key in held if key not in entries]
                with suppress(TierUnavailable):
                    for key, answer in zip(asked, await source.read(asked), strict=True):
                        if isinstance(answer, Found):
                            entries[key] = answer.entry
        finally:
            # Also where this is cancelled: others would wait for a load that nobody runs.
            filled = await tier.fill([*held.values()], [entries.get(key) for key in held])
        return [
            key
            for key, answer in zip(held, filled, strict=True)
            if answer.accepted and key in entries
        ]


def _as_normal(entry: Entry) -> Entry:
    """What memory gets of an entry that is LOW: it was measured to be read, and would else be the
    first to go for whatever is read once."""
    if entry.priority >= CachePriority.NORMAL:
        return entry
    raised = entry.lasting(entry.fresh_until, entry.expires)
    raised.flags &= ~priority_bits(CachePriority.LOW)
    return raised
