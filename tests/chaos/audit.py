"""When all is quiet: has anything old been left behind for good?

Every process asks for every row in every context, and for every answer, twice: as it is, so that
its memory answers, and after a reset, so that the shared tiers do. What is wrong now stays wrong
until it expires or is invalidated again by chance, so it counts as PERMANENT.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cascada import Hit
from tests.chaos.board import Word
from tests.chaos.handles import Handles
from tests.chaos.keyspace import Context, Keyspace, Row
from tests.chaos.truth import Truth
from tests.chaos.witness import Witness

ROAMING = tuple(Context(f"roam{number}", talk) for number in range(3) for talk in (None, "talk"))


class Audit:
    """The audit of one process. `alive(by)` says whether who owes something still lives."""

    def __init__(
        self,
        handles: Handles,
        keyspace: Keyspace,
        truth: Truth,
        witness: Witness,
        words: memoryview[int],
        worker: int,
        folder: Path,
        alive: Callable[[int], bool],
    ) -> None:
        self._handles = handles
        self._keyspace = keyspace
        self._truth = truth
        self._witness = witness
        self._words = words
        self._worker = worker
        self._records = (folder / f"permanent-{worker}.jsonl").open("a", buffering=1)
        self._alive = alive

    async def run(self, *, again: bool) -> None:
        """Ask for everything; `again`: also without memory."""
        await self._ask("memory")
        if again:
            await self._handles.cache.reset()
            await self._ask("shared")
        self._words[Word.AUDITS] += 1

    async def _ask(self, which: str) -> None:
        for row in self._keyspace.rows:
            for context in (row.home, *(ROAMING if row.roaming or row.visible else ())):
                handle = self._handles.of(row.tenant, context)
                found = await handle.get(row.data_type, row.id)
                if isinstance(found, Hit):
                    self._check(row, found.value, found.tier, f"{which} {context}")
        for answer in self._keyspace.answers:
            found = await self._handles.of(answer.tenant, Context()).get("answer", answer.id)
            if isinstance(found, Hit):
                for row, version in zip(answer.sources, found.value["versions"], strict=True):
                    if version is not None:
                        self._compare(row, version, found.tier, f"{which} answer {answer.number}")

    def _check(self, row: Row, value: Any, tier: str, where: str) -> None:
        version = self._truth.version(row.number)
        if value is not None:
            version = row.version_of(value)
        else:
            while version and not row.absent_at(version):
                version -= 1
        self._compare(row, version, tier, where)

    def _compare(self, row: Row, version: int, tier: str, where: str) -> None:
        due = self._settled(row.number)
        if version >= due:
            return
        record = {
            "worker": self._worker, "row": row.number, "type": row.data_type, "got": version,
            "due": due, "tier": tier, "where": where,
        }  # fmt: skip
        self._records.write(json.dumps(record) + "\n")
        self._witness.note(row.number, f"PERMANENT: {where} gives v{version} from {tier}")
        self._witness.want_trace(row.number)

    def _settled(self, row: int) -> int:
        """The version that must be there by now: returned, or owed by a process that lives."""
        owed = [version for version, by in self._truth.promised(row) if self._alive(by)]
        return max([self._truth.due(row, 2**63), *owed])
