"""The source that the cache stands before: slow in a mixed way, and failing now and then.

What counts is WHEN a loader looks at the truth while it takes its time. Looking first and
answering late is what meets an invalidation in the middle, so most of them do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from cascada import Key, Loaded
from tests.chaos.board import Word
from tests.chaos.keyspace import Row
from tests.chaos.once import Loads
from tests.chaos.truth import Truth
from tests.chaos.witness import Witness

IN_A_THREAD: Final = 0.05


class SourceFailed(Exception):
    """The source had a bad moment; its caller may see this, unless something stale may be had."""


class Source:
    """Loaders of rows. `fails` is the share of loads that fail, `unstored` of results that are not
    to be stored. `loads`: where they are counted."""

    def __init__(
        self,
        truth: Truth,
        witness: Witness,
        words: memoryview[int],
        rng: random.Random,
        fails: float,
        unstored: float = 0.0,
        loads: Loads | None = None,
    ) -> None:
        self._truth = truth
        self._witness = witness
        self._words = words
        self._rng = rng
        self._fails = fails
        self._unstored = unstored
        self._loads = loads
        self.closed = False

    def of_row(self, row: Row) -> Callable[[], Any]:
        """A loader of one row: async, or now and then a plain function, which runs in a thread."""
        if self._rng.random() < IN_A_THREAD:
            return lambda: self._in_a_thread(row)
        return lambda: self._row(row)

    def by_key(self, rows: Sequence[Row]) -> Callable[[Key], Awaitable[Any]]:
        """A loader of any of these rows, for who is not asked by a caller."""

        async def load(key: Key) -> Any:
            found = await self._row(rows[int(key.resource_id[1:])])
            await asyncio.sleep(self._rng.uniform(0.0, 0.02))  # nobody waits, but much may happen
            return found

        return load

    def of_rows(self, rows: Sequence[Row]) -> Callable[[list[str]], Awaitable[Mapping[str, Any]]]:
        """A batch loader, which looks at all rows at one moment."""
        by_id = {row.id: row for row in rows}

        async def load(ids: list[str]) -> Mapping[str, Any]:
            before, after = self._delays()
            with self._running([by_id[each] for each in ids]):
                await asyncio.sleep(before)
                found = {each: self.look(by_id[each]) for each in ids}
                await asyncio.sleep(after)
            return {each: self._loaded(by_id[each], version) for each, version in found.items()}

        return load

    def look(self, row: Row) -> int:
        """The version that the truth has now."""
        self._words[Word.LOADS] += 1
        if self.closed:
            self._witness.error(f"row {row.number}", "loaded for a cache that is closed")
        version = self._truth.version(row.number)
        self._witness.note(row.number, f"loader looks: v{version}")
        return version

    async def pause(self) -> None:
        """What a hand-written fill takes between its look and its `set`."""
        await asyncio.sleep(sum(self._delays()))

    async def _row(self, row: Row) -> Loaded[Any]:
        before, after = self._delays()
        with self._running([row]):
            await asyncio.sleep(before)
            version = self.look(row)
            await asyncio.sleep(after)
        if self._rng.random() < self._fails:
            raise SourceFailed(row.id)
        return self._loaded(row, version)

    def _running(self, rows: Sequence[Row]) -> AbstractContextManager[None]:
        """Note it, where loads are counted. A plain loader is not: its thread outlives its load."""
        return nullcontext() if self._loads is None else self._loads.running(rows)

    def _in_a_thread(self, row: Row) -> Loaded[Any]:
        before, after = self._delays()
        time.sleep(before)
        version = self.look(row)
        time.sleep(after)
        return self._loaded(row, version)

    def _loaded(self, row: Row, version: int) -> Loaded[Any]:
        """Tags come with the value: late names, which no lease knew when it was granted."""
        known = version if row.number % 2 else None
        if row.data_type == "versioned":
            known = version
        store = self._rng.random() >= self._unstored
        return Loaded(row.value(version), tags=row.tags, version=known, store=store)

    def _delays(self) -> tuple[float, float]:
        """Seconds before and after the look: in all mostly 1..3 ms, some 20..50, few 200..1000."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.86:
            whole = rng.uniform(0.001, 0.003)
        elif draw < 0.98:
            whole = rng.uniform(0.02, 0.05)
        else:
            whole = rng.uniform(0.2, 1.0)
        before = 0.0 if rng.random() < 0.7 else whole * rng.random()
        return before, whole - before
