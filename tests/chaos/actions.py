"""The operations on one row or one answer, through the public API of cascada.

Each read is judged by the witness; each write first changes the truth, then the cache, and only
when the cache has returned is the new version due.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from cascada import Hit, InvalidationPending, Loaded, Miss, Tenant
from cascada.testing.inside import inside
from tests.chaos.board import Word
from tests.chaos.handles import Handles
from tests.chaos.keyspace import Answer, Context, Group, Keyspace, Row, Writing
from tests.chaos.loaders import Source
from tests.chaos.truth import Truth
from tests.chaos.witness import Reading, Witness

BLOCKED: Final = 0.004
"""The share of reads that come right after the event loop was blocked."""

EXACT: Final = 0.005
"""Seconds by which a life may end late: times are in milliseconds, of two clocks."""

Found = Hit[Any] | Miss
EVERYBODY: Final = 2**62
"""Who owes what no single process does."""

_TIERS: Final = {"l1": Word.L1, "l2": Word.L2, "l3": Word.L3, "source": Word.SOURCE}


class Reads:
    """Reads, and the fills that they bring with them."""

    def __init__(
        self,
        handles: Handles,
        keyspace: Keyspace,
        source: Source,
        witness: Witness,
        words: memoryview[int],
        rng: random.Random,
    ) -> None:
        self._handles = handles
        self._keyspace = keyspace
        self._source = source
        self._witness = witness
        self._words = words
        self._rng = rng

    async def get(self, row: Row) -> None:
        handle, reading = self._begin("get", row, looking=True)
        self._judge(row, await handle.get(row.data_type, row.id), reading)

    async def load(self, row: Row) -> None:
        handle, reading = self._begin("load", row)
        found = await handle.load(row.data_type, row.id, self._source.of_row(row))
        self._judge(row, found, reading, loaded=True)

    async def leave(self, row: Row) -> None:
        """A caller that does not wait for its load."""
        handle, reading = self._begin("left load", row)
        try:
            async with asyncio.timeout(self._rng.uniform(0.001, 0.03)):
                found = await handle.load(row.data_type, row.id, self._source.of_row(row))
        except TimeoutError:
            return
        self._judge(row, found, reading, loaded=True)

    async def get_many(self, rows: Sequence[Row]) -> None:
        handle, reading = self._at_home("get_many", rows[0])
        answers = await handle.get_many(rows[0].data_type, [row.id for row in rows])
        for row, found in zip(rows, answers, strict=True):
            self._judge(row, found, reading)

    async def load_many(self, rows: Sequence[Row]) -> None:
        handle, reading = self._at_home("load_many", rows[0])
        answers = await handle.load_many(
            rows[0].data_type, [row.id for row in rows], self._source.of_rows(rows)
        )
        for row, found in zip(rows, answers, strict=True):
            self._judge(row, found, reading, loaded=True)

    async def fill_by_hand(self, row: Row) -> None:
        """Get, miss, look, `set`: what people write who do not know `load`."""
        handle, found = await self._missed("get to set", row)
        if found:
            return
        version = self._source.look(row)
        await self._source.pause()
        if row.absent_at(version):
            return
        known = version if row.writing is Writing.VERSIONED or row.number % 2 else None
        stored = await handle.set(
            row.data_type,
            row.id,
            self._made(row, version),
            tags=row.tags,
            version=known,
            priority=self._handles.priority(),
        )
        self._words[Word.FILLS] += 1
        self._witness.note(row.number, f"set by hand v{version} -> {stored}")

    async def fill_once(self, row: Row) -> None:
        """Get, miss, look, `fill`: in another task, as often as not."""
        handle, miss = await self._missed("get to fill", row)
        if miss:
            return
        version = self._source.look(row)
        await self._source.pause()
        if row.absent_at(version):
            return
        filling = handle.fill(
            miss, self._made(row, version), tags=row.tags, priority=self._handles.priority()
        )
        stored = await (asyncio.create_task(filling) if self._rng.random() < 0.5 else filling)
        self._words[Word.FILLS] += 1
        self._witness.note(row.number, f"fill v{version} -> {stored}")

    async def _missed(self, operation: str, row: Row) -> tuple[Tenant, Found]:
        handle, reading = self._begin(operation, row)
        found = await handle.get(row.data_type, row.id)
        self._judge(row, found, reading)
        return handle, found

    def _made(self, row: Row, version: int) -> Any:
        """The row as it is for all, or as only this writer makes it."""
        value = row.value(version)
        if isinstance(value, dict) and self._rng.random() < 0.3:
            value["by"] = self._rng.random()
        return value

    async def answer(self, answer: Answer) -> None:
        """A value made of two rows, which is never older than either."""
        handle = self._handles.of(answer.tenant, Context())
        reading = self._begin_at(f"answer {answer.number}")
        found = await handle.load("answer", answer.id, lambda: self._make(answer))
        self._judge_answer(answer, found, reading)

    def _judge_answer(self, answer: Answer, found: Found, reading: Reading) -> None:
        if not isinstance(found, Hit):
            self._words[Word.MISSES] += 1
            return
        self._words[_TIERS[found.tier]] += 1
        if self._witness.excuses(found):
            return
        for row, version in zip(answer.sources, found.value["versions"], strict=True):
            if version is not None:
                self._witness.version(row.number, version, found.tier, reading, composed=True)

    async def _make(self, answer: Answer) -> Loaded[Any]:
        if answer.declared:
            versions: list[int | None] = [self._source.look(row) for row in answer.sources]
            await self._source.pause()
            sources = [f"{row.data_type}:{row.id}" for row in answer.sources]
        else:
            versions, sources = [], []
            for row in answer.sources:
                handle, reading = self._begin(f"load for answer {answer.number}", row)
                found = await handle.load(row.data_type, row.id, self._source.of_row(row))
                self._judge(row, found, reading, loaded=True)
                versions.append(None if found.value is None else row.version_of(found.value))
            if self._rng.random() < 0.3:
                await self._source.pause()
        for row, version in zip(answer.sources, versions, strict=True):
            self._witness.note(row.number, f"answer {answer.number} is made of v{version}")
        return Loaded({"versions": versions}, sources=sources)

    def _begin(self, operation: str, row: Row, *, looking: bool = False) -> tuple[Tenant, Reading]:
        context = self._keyspace.context_for(row, self._rng, looking=looking)
        return self._handles.of(row.tenant, context), self._begin_at(operation)

    def _at_home(self, operation: str, row: Row) -> tuple[Tenant, Reading]:
        return self._handles.of(row.tenant, row.home), self._begin_at(operation)

    def _begin_at(self, operation: str) -> Reading:
        self._words[Word.READS] += 1
        if self._rng.random() < BLOCKED:
            self._words[Word.BLOCKED] += 1
            time.sleep(self._rng.uniform(0.01, 0.3))
        return self._witness.begin(operation)

    def _judge(self, row: Row, found: Found, reading: Reading, *, loaded: bool = False) -> None:
        if isinstance(found, Hit):
            self._words[_TIERS[found.tier]] += 1
            if not self._witness.excuses(found):
                self._witness.read(row, found.value, found.tier, reading)
        elif loaded:  # a load that says "nothing" says that the row is absent
            self._words[Word.SOURCE] += 1
            self._witness.read(row, None, "source", reading)
        else:
            self._words[Word.MISSES] += 1


class Writes:
    """What changes the truth, or only the cache. `by` marks what this process still owes."""

    def __init__(
        self,
        handles: Handles,
        truth: Truth,
        witness: Witness,
        words: memoryview[int],
        rng: random.Random,
        by: int,
    ) -> None:
        self._handles = handles
        self._truth = truth
        self._witness = witness
        self._words = words
        self._rng = rng
        self._by = by
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Rows whose value this process has set, and nobody has given a shorter life since.
        self._lasting: set[int] = set()

    async def invalidate(self, row: Row) -> None:
        handle = self._handles.of(row.tenant, row.home)
        changed = self._change([row])
        await self._void(changed, handle, data_type=row.data_type, resource_id=row.id)

    async def invalidate_many(self, rows: Sequence[Row]) -> None:
        """Rows of one tenant, type and context, in one atomic step."""
        handle = self._handles.of(rows[0].tenant, rows[0].home)
        changed, ids = self._change(rows), [row.id for row in rows]
        await self._void(changed, handle, data_type=rows[0].data_type, resource_id=ids)

    async def delete(self, row: Row) -> None:
        """Removes exactly one key, so it is for rows that live in one context only."""
        changed = self._change([row])
        self._words[Word.INVALIDATIONS] += 1
        try:
            await self._handles.of(row.tenant, row.home).delete(row.data_type, row.id)
        except InvalidationPending:
            self._witness.pending(changed, "delete", self._by)
        else:
            if any(tier.deferred for tier in inside(self._handles.cache).lower):
                # It returns no more than whether there was a value; a tier may be owed this one.
                self._witness.pending(changed, "delete", EVERYBODY)
            else:
                self._witness.returned(changed, "delete")

    async def invalidate_group(self, group: Group) -> None:
        handle = self._handles.of(group.tenant, Context())
        await self._void(self._change(group.rows), handle, **group.arguments)

    async def cascade(self, row: Row, group: Group) -> None:
        """A row and a tag, in one atomic step."""
        handle = self._handles.of(row.tenant, row.home)
        changed = self._change([row, *group.rows])
        await self._void(
            changed, handle, data_type=row.data_type, resource_id=row.id, **group.arguments
        )

    async def set_owned(self, row: Row) -> None:
        """Write through, one write at a time: the only way that needs no version."""
        async with self._turns[row.number]:
            version = self._truth.bump(row.number)
            self._lasting.discard(row.number)
            if await self._set(row, version, None):
                self._lasting.add(row.number)

    async def set_many(self, rows: Sequence[Row]) -> None:
        """The same of several rows of one tenant, type, context and tags."""
        async with AsyncExitStack() as turns:
            for row in rows:
                await turns.enter_async_context(self._turns[row.number])
            written = [(row.number, self._truth.bump(row.number)) for row in rows]
            self._lasting.difference_update(row.number for row in rows)
            self._words[Word.SETS] += len(rows)
            values = {
                row.id: row.value(version) for row, (_, version) in zip(rows, written, strict=True)
            }
            handle = self._handles.of(rows[0].tenant, rows[0].home)
            kept = await handle.set_many(
                rows[0].data_type, values, tags=rows[0].tags, priority=self._handles.priority()
            )
            for each, stored in zip(written, kept, strict=True):
                if stored:
                    self._witness.returned([each], "set_many")
                else:
                    self._words[Word.SETS_REFUSED] += 1
                    self._witness.pending([each], "refused set_many", self._by)

    async def touch(self, found: Row | Answer) -> None:
        """Another life for whatever is there: it is no older for it, and no younger."""
        ttl = self._rng.choice((self._rng.uniform(0.05, 0.5), 20.0, 120.0, 600.0))
        if isinstance(found, Row):
            await self._touch(found, ttl)
        else:
            await self._handles.of(found.tenant, Context()).touch("answer", found.id, ttl)

    async def lengthen(self, row: Row) -> None:
        """A longer life, which `shorten` has to end in its turn."""
        async with self._turns[row.number]:
            if row.number in self._lasting:
                await self._touch(row, 600)

    async def shorten(self, row: Row) -> None:
        """A value ends soon, in all tiers and memories: from then on another version is due.

        Whoever loads from now on finds that version, so that only what is there, and what was
        loaded before, has to end.
        """
        async with self._turns[row.number]:
            if row.number not in self._lasting:
                return
            self._lasting.discard(row.number)
            changed = [(row.number, self._truth.bump(row.number))]
            ttl = self._rng.uniform(0.25, 0.7)
            if not await self._touch(row, ttl):
                return
            ends = ttl + EXACT
            if any(tier.deferred for tier in inside(self._handles.cache).lower):
                self._witness.pending(changed, "touch", EVERYBODY, within=ends)
            else:
                self._witness.returned(changed, "touch", within=ends)

    async def _touch(self, row: Row, ttl: float) -> bool:
        self._witness.note(row.number, f"touch for {ttl:.3f} s")
        touched = await self._handles.of(row.tenant, row.home).touch(row.data_type, row.id, ttl)
        self._words[Word.TOUCHES] += touched
        self._witness.note(row.number, f"touch for {ttl:.3f} s -> {touched}")
        return touched

    async def write_by_hand(self, row: Row) -> None:
        """Get, miss, WRITE the row, `set`. Anybody may: the miss tells if others were faster."""
        handle = self._handles.of(row.tenant, row.home)
        if not await handle.get(row.data_type, row.id):
            if self._rng.random() < 0.5:
                await asyncio.sleep(self._rng.uniform(0, 0.01))
            version = self._truth.bump(row.number)
            if self._rng.random() < 0.5:  # others read the row before the cache hears of it
                await asyncio.sleep(self._rng.uniform(0, 0.01))
            await self._set(row, version, None)

    async def set_versioned(self, row: Row) -> None:
        """Write through against all other processes; the version decides who is later."""
        version = self._truth.bump(row.number)
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.uniform(0, 0.01))
        await self._set(row, version, version)

    async def _set(self, row: Row, version: int, known: int | None) -> bool:
        handle = self._handles.of(row.tenant, row.home)
        self._words[Word.SETS] += 1
        self._witness.note(row.number, f"set v{version}")
        stored = await handle.set(
            row.data_type,
            row.id,
            row.value(version),
            tags=row.tags,
            version=known,
            priority=self._handles.priority(),
        )
        if stored:
            self._witness.returned([(row.number, version)], "set")
            return True
        self._words[Word.SETS_REFUSED] += 1
        self._witness.note(row.number, f"set v{version} was refused")
        if known is None:
            self._witness.pending([(row.number, version)], "refused set", self._by)
        # A version that no tier could be told may be undercut by an older one: the old values are
        # voided, but nothing remembers that this one was meant to be there.
        return False

    def _change(self, rows: Sequence[Row]) -> list[tuple[int, int]]:
        """Write the truth of those rows that are written so; the others are voided all the same."""
        changed = [
            (row.number, self._truth.bump(row.number))
            for row in dict.fromkeys(rows)
            if row.writing is Writing.INVALIDATED
        ]
        for number, version in changed:
            self._witness.note(number, f"truth is v{version}")
        return changed

    async def _void(self, changed: list[tuple[int, int]], handle: Tenant, **arguments: Any) -> None:
        self._words[Word.INVALIDATIONS] += 1
        try:
            told = await handle.invalidate(**arguments)
        except InvalidationPending:
            self._witness.pending(changed, f"invalidate {arguments}", self._by)
            return
        if told.pending:
            # The database keeps it for all processes, so that it comes about whoever dies.
            self._witness.pending(changed, f"invalidate {arguments}", EVERYBODY)
        else:
            self._witness.returned(changed, f"invalidate {arguments}")
