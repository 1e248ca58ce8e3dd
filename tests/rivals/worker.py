"""One process of the attack on a library: `python -m tests.rivals.worker SPEC`.

Lanes read and load rows of two tenants, and now and then change one: first the truth, then the
cache, and only when the cache has returned is the new version due. What raises is an error that the
caller saw, and no promise. When all is quiet every row is asked for twice, as it is and through a
new client without memory: what is old then stays old until it expires.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from cascada.tiers.capabilities import L1_LEASE
from tests.chaos.board import Board, Phase, State, Word
from tests.chaos.configs import PUSH
from tests.chaos.keyspace import NOWHERE, Row, Writing
from tests.chaos.loaders import Source
from tests.chaos.orphans import end_with
from tests.chaos.redis_ground import ADDRESSES
from tests.chaos.truth import Truth
from tests.chaos.witness import Promise, Witness
from tests.chaos.worker import Spec
from tests.rivals.adapters import RIVALS, TYPE, Rival

LANES: Final = 10
PAUSE: Final = 0.004
LOOK_EVERY: Final = 0.01
ALLOWED: Final = L1_LEASE + PUSH
"""Seconds for which every library's memory may give what another process has invalidated: what
cascada promises with its pushes cut off."""

MIX: Final = {"load": 70, "get": 22, "invalidate": 6, "look_back": 2}


def rows_of(count: int) -> list[Row]:
    return [
        Row(number, f"tenant{number % 2}", TYPE, NOWHERE, (), Writing.INVALIDATED)
        for number in range(count)
    ]


class Worker:
    """See the module's text."""

    def __init__(self, spec: Spec) -> None:
        folder = Path(spec.folder)
        self._make = RIVALS[spec.config]
        self._port: int = json.loads((folder / ADDRESSES).read_text("utf-8"))["server"]
        self._rng = rng = random.Random(f"{spec.seed} {spec.slot} {spec.incarnation}")
        self._board = Board(folder / "board")
        self._words = words = self._board.slot(spec.slot)
        self._truth = truth = Truth(folder / "truth")
        self._slot = spec.slot
        self._witness = Witness(truth, self._board, spec.slot, Promise(ALLOWED), folder)
        self._source = Source(truth, self._witness, words, rng, fails=0)
        self._rows = rows_of(truth.rows)
        self._records = (folder / f"permanent-{spec.slot}.jsonl").open("a", buffering=1)
        self._rival = self._make(self._port)

    async def run(self) -> None:
        """Follow the phases until the end. What is attacked is connected."""
        await self._rival.get("nobody", "nothing")
        while self._board.phase != Phase.END:
            await self._attack()
            await self._reach(Phase.AUDIT, Phase.END, as_=State.IDLE)
            if self._board.phase == Phase.AUDIT:
                await self._audit()
                await self._reach(Phase.ATTACK, Phase.END, as_=State.AUDITED)
        await self._rival.aclose()
        self._words[Word.STATE] = State.GONE

    async def _attack(self) -> None:
        self._words[Word.STATE] = State.ATTACKING
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(self._lane())

    async def _lane(self) -> None:
        operations = {
            "load": self._load,
            "get": self._get,
            "invalidate": self._invalidate,
            "look_back": self._look_back,
        }
        while self._board.attacking:
            (name,) = self._rng.choices([*MIX], [*MIX.values()])
            row = self._rows[int(len(self._rows) * self._rng.random() ** 2)]
            await self._attempt(operations[name], row)
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE))

    async def _attempt(self, operation: Callable[[Row], Awaitable[None]], row: Row) -> None:
        try:
            await operation(row)
        except Exception:  # noqa: BLE001 - whatever a library raises while its server is cut off
            self._words[Word.FAILURES] += 1

    # --- operations ---------------------------------------------------------------------------

    async def _get(self, row: Row) -> None:
        reading = self._witness.begin("get")
        self._words[Word.READS] += 1
        found = await self._rival.get(row.tenant, row.id)
        if found is not None:
            self._words[Word.L1] += 1
            self._witness.read(row, found, "l1", reading)

    async def _load(self, row: Row) -> None:
        async def loader() -> Any:
            version = self._source.look(row)
            await self._source.pause()
            return row.value(version)

        reading = self._witness.begin("load")
        self._words[Word.READS] += 1
        found = await self._rival.load(row.tenant, row.id, loader)
        self._words[Word.L1] += 1
        self._witness.read(row, found, "l1", reading)

    async def _invalidate(self, row: Row) -> None:
        version = self._truth.bump(row.number)
        self._words[Word.INVALIDATIONS] += 1
        await self._rival.invalidate(row.tenant, row.id)
        self._witness.returned([(row.number, version)], "invalidate")

    async def _look_back(self, row: Row) -> None:
        """Who has changed a row asks for it at once."""
        await self._invalidate(row)
        await self._load(row)

    # --- the audit ----------------------------------------------------------------------------

    async def _audit(self) -> None:
        await self._ask(self._rival, "memory")
        fresh = self._make(self._port)
        try:
            await self._ask(fresh, "shared")
        finally:
            await fresh.aclose()
        self._words[Word.AUDITS] += 1

    async def _ask(self, rival: Rival, where: str) -> None:
        for row in self._rows:
            try:
                found = await rival.get(row.tenant, row.id)
            except Exception:  # noqa: BLE001 - it says so, which is no old answer
                self._words[Word.FAILURES] += 1
                continue
            due = self._truth.due(row.number, 2**63)
            if found is not None and (got := row.version_of(found)) < due:
                record = {"worker": self._slot, "row": row.number, "got": got, "due": due,
                          "where": where}  # fmt: skip
                self._records.write(json.dumps(record) + "\n")

    async def _reach(self, *phases: Phase, as_: State) -> None:
        self._words[Word.STATE] = as_
        while self._board.phase not in phases:  # noqa: ASYNC110 - a word of other processes
            await asyncio.sleep(LOOK_EVERY)


async def main(spec: Spec) -> None:
    await Worker(spec).run()


if __name__ == "__main__":
    logging.disable()
    gc.freeze()
    spec = Spec(**msgspec.json.decode(sys.argv[1]))
    end_with(spec.parent)
    asyncio.run(main(spec))
