"""One process of the attack: `python -m tests.chaos.worker SPEC`, where SPEC is a line of JSON."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from cascada import InvalidationPending, Key, Policy
from cascada.model.errors import SourceBusy, TierUnavailable
from cascada.testing.inside import inside
from tests.chaos.actions import EVERYBODY, Reads, Writes
from tests.chaos.audit import Audit
from tests.chaos.board import Board, Phase, State, Word
from tests.chaos.claims import Claims
from tests.chaos.configs import CONFIGURATIONS, watch
from tests.chaos.handles import Handles
from tests.chaos.keyspace import AHEAD, POLICIES, PRIORITIES, Keyspace, Row, placed_policies
from tests.chaos.loaders import Source, SourceFailed
from tests.chaos.mutations import all_mutants
from tests.chaos.once import Loads
from tests.chaos.orphans import end_with
from tests.chaos.truth import Truth
from tests.chaos.witness import Witness
from tests.chaos.workload import WORKLOADS, Mix, Operation, lane

LOOK_EVERY = 0.01
"""Seconds between two looks at the board."""

ROTATE_EVERY = 0.2

CLOSED = 0.1
"""Seconds in which nothing may be loaded for a cache that is closed."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker is told. `mutant` is the rule that it leaves out, "" for none; `parent` is the
    process that it ends with."""

    folder: str
    config: str
    workload: str
    mutant: str
    seed: int
    slot: int
    incarnation: int
    parent: int

    @property
    def name(self) -> int:
        """Who it is among all incarnations of all workers; never 0."""
        return self.slot << 32 | self.incarnation

    def text(self) -> str:
        return msgspec.json.encode(asdict(self)).decode()


class Worker:
    """See the module's text."""

    def __init__(self, spec: Spec) -> None:
        folder = Path(spec.folder)
        self._config = CONFIGURATIONS[spec.config]
        self._workload = WORKLOADS[spec.workload]
        self._rng = rng = random.Random(f"{spec.seed} {spec.slot} {spec.incarnation}")
        self._board = Board(folder / "board")
        self._words = words = self._board.slot(spec.slot)
        truth = Truth(folder / "truth")
        keyspace = Keyspace(self._workload.rows, self._workload.only)
        self._witness = witness = Witness(
            truth, self._board, spec.slot, self._config.promise, folder
        )
        self._cache = self._config.open(folder, spec.slot)
        watch(self._cache, witness, self._workload.late_news, rng)
        self._handles = handles = Handles(self._cache)
        errors = inside(self._cache).trace.tier_errors
        loads = (
            Loads(truth, spec.slot, folder, lambda: sum(errors.values()))
            if self._workload.once
            else None
        )
        self._source = source = Source(
            truth, witness, words, rng, self._workload.fails, self._workload.unstored, loads
        )
        policies = POLICIES
        if self._workload.placed:
            handles.priority = lambda: rng.choice(PRIORITIES)
            policies = placed_policies(spec.slot)
        if self._workload.ahead:
            self._walk = keyspace.walk_from(keyspace.rows[0])
            policies = {**policies, **_brought_ahead(policies, source.by_key(keyspace.rows))}
        for data_type, policy in () if policies is POLICIES else policies.items():
            self._cache.set_policy(data_type, policy)

        def owns(row: Row) -> bool:
            return row.owner(self._board.workers) == spec.slot

        self._mix = Mix(
            self._workload,
            keyspace,
            Reads(handles, keyspace, source, witness, words, rng),
            Writes(handles, truth, witness, words, rng, spec.name),
            Claims(handles, keyspace, truth, witness, rng),
            rng,
            owns,
            versions=self._config.remembers_versions,
            loses=self._config.loses,
        )
        self._audit = Audit(
            handles, keyspace, truth, witness, words, spec.slot, folder, self._is_alive
        )

    async def run(self) -> None:
        """Follow the phases until the end."""
        while self._board.phase != Phase.END:
            await self._attack()
            await self._reach(Phase.AUDIT, Phase.END, as_=State.IDLE)
            if self._board.phase == Phase.AUDIT:
                await self._audit.run(again=self._config.shares)
                await self._reach(Phase.ATTACK, Phase.END, as_=State.AUDITED)
        await self._close()
        self._words[Word.STATE] = State.GONE

    async def _close(self) -> None:
        """Close in the middle of what nobody waits for. Nothing of it goes on."""
        if self._workload.ahead:
            first = self._walk[0]
            handle = self._handles.of(first.tenant, first.home)
            with suppress(InvalidationPending, SourceBusy):
                for row in self._walk:
                    await handle.invalidate(row.data_type, row.id)
                await handle.load(first.data_type, first.id, lambda: None)
        await self._cache.aclose()
        self._source.closed = True
        for task in asyncio.all_tasks():
            if "cascada:" in task.get_name():
                self._witness.error(task.get_name(), "goes on in a cache that is closed")
        await asyncio.sleep(CLOSED)

    async def _attack(self) -> None:
        self._words[Word.STATE] = State.ATTACKING
        board = self._board
        async with asyncio.TaskGroup() as lanes:
            for _ in range(self._workload.lanes):
                lanes.create_task(
                    lane(
                        self._mix,
                        self._workload.pause,
                        self._rng,
                        lambda: board.attacking,
                        self._attempt,
                    )
                )
            if self._config.rotates:
                lanes.create_task(self._rotate())
            while board.attacking:
                self._witness.answer_requests()
                await asyncio.sleep(LOOK_EVERY)

    async def _rotate(self) -> None:
        while self._board.attacking:
            with suppress(TierUnavailable):
                await self._cache.rotate_keys()
            await asyncio.sleep(ROTATE_EVERY)

    async def _attempt(self, name: str, operation: Operation) -> None:
        """What a caller may see is counted; what no caller may see is an error."""
        try:
            await operation
        except (SourceFailed, SourceBusy):
            self._words[Word.FAILURES] += 1
        except Exception as error:  # noqa: BLE001 - to find out which is what this is for
            self._witness.error(name, error)

    async def _reach(self, *phases: Phase, as_: State) -> None:
        self._words[Word.STATE] = as_
        while self._board.phase not in phases:
            self._witness.answer_requests()
            await asyncio.sleep(LOOK_EVERY)

    def _is_alive(self, by: int) -> bool:
        if by == EVERYBODY:
            return True
        slot, incarnation = by >> 32, by & 0xFFFFFFFF
        return self._board.slot(slot)[Word.INCARNATION] == incarnation


def _brought_ahead(
    policies: Mapping[str, Policy], loader: Callable[[Key], Awaitable[Any]]
) -> dict[str, Policy]:
    """Those of all types that may be prefetched, so that they are."""
    how = {
        "prefetch": True, "loader": loader,
        "ttl": 1.5, "stale_for": 0.3, "refresh_at": 0.4, "refresh_hits": 2,
    }  # fmt: skip
    return {name: Policy(**{**policies[name].said, **how}) for name in AHEAD}


def main() -> None:
    spec = Spec(**msgspec.json.decode(sys.argv[1]))
    end_with(spec.parent)
    # SIGUSR1 makes a worker that hangs say where.
    faulthandler.register(signal.SIGUSR1)
    gc.freeze()
    if spec.mutant:
        all_mutants()[spec.mutant].apply()
    asyncio.run(Worker(spec).run())


if __name__ == "__main__":
    main()
