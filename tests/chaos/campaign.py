"""One run against one configuration: rounds of attack, quiet and audit, and what came of it.

There are several rounds because traffic heals: a row that is wrong for good is right again as
soon as somebody happens to invalidate it. So the attack pauses every few seconds and is audited.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.board import Board, Phase, State, Word
from tests.chaos.configs import CONFIGURATIONS, Configuration
from tests.chaos.faults import Arena, striking
from tests.chaos.fleet import Fleet, Hung
from tests.chaos.keyspace import Keyspace
from tests.chaos.once import twice
from tests.chaos.truth import Truth
from tests.chaos.workload import WORKLOADS

ROUND: Final = 12.0
"""Seconds of one round, quiet and audit included."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `mutant`: the rule to leave out; `faults` None: the configuration's own;
    `program`: the module that each worker is."""

    config: str
    seconds: float
    seed: int = 0
    workload: str = "usual"
    mutant: str = ""
    faults: tuple[str, ...] | None = None
    program: str = "tests.chaos.worker"

    @property
    def configuration(self) -> Configuration:
        return CONFIGURATIONS[self.config]


@dataclass(slots=True)
class Outcome:
    """What was seen. `stale` and `permanent` are the witnesses' records. `twice`: see `once`."""

    plan: Plan
    seconds: float
    counts: dict[Word, int]
    struck: dict[str, int]
    stale: list[dict[str, Any]]
    permanent: list[dict[str, Any]]
    errors: list[str]
    traces: list[dict[str, Any]]
    crashes: int = 0
    hung: str = ""
    said: str = ""
    twice: list[dict[str, Any]] = field(default_factory=list)
    ages: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.ages = sorted(record["age"] for record in self.stale)

    @property
    def broken(self) -> list[dict[str, Any]]:
        """Stale reads that the promise does not allow."""
        return [record for record in self.stale if not record["allowed"]]

    @property
    def permanent_pairs(self) -> int:
        return len({(record["worker"], record["row"]) for record in self.permanent})

    @property
    def kept(self) -> bool:
        """Whether all that is promised was kept."""
        wrong = self.broken or self.permanent or self.twice or self.errors
        return not (wrong or self.crashes or self.hung)


def run(plan: Plan, progress: Progress = lambda text: None) -> Outcome:
    """Attack, and tell what was seen."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        config = plan.configuration
        rows = WORKLOADS[plan.workload].rows
        Truth.create(folder / "truth", Keyspace(rows).claims.stop).close()
        board = Board.create(folder / "board", config.workers)
        with config.stand(folder, config.workers) as ground:
            fleet = Fleet(
                folder, board, plan.config, plan.workload, plan.mutant, plan.seed, plan.program
            )
            arena = Arena(fleet, folder, ground)
            began = time.monotonic()
            hung = ""
            fleet.start()
            try:
                _rounds(plan, fleet, arena, progress)
            except Hung as error:
                hung = str(error)
            finally:
                fleet.end()
        return Outcome(
            plan,
            time.monotonic() - began,
            {word: board.total(word) for word in Word},
            dict(arena.struck),
            _records(folder, "stale"),
            _records(folder, "permanent"),
            _errors(folder),
            _records(folder, "traces"),
            fleet.crashes,
            hung,
            fleet.said(),
            twice(_records(folder, "loads")),
        )


def _rounds(plan: Plan, fleet: Fleet, arena: Arena, progress: Progress) -> None:
    config, board = plan.configuration, fleet.board
    faults = config.faults if plan.faults is None else plan.faults
    if WORKLOADS[plan.workload].once:
        faults = ()
    rounds = max(1, round(plan.seconds / ROUND))
    attack = max(2.0, plan.seconds / rounds - config.settle - 1.0)
    for number in range(1, rounds + 1):
        fleet.wait_for(State.ATTACKING)
        with striking(arena, faults, f"{plan.seed} {number}"):
            time.sleep(attack)
        board.set_phase(Phase.QUIET)
        fleet.wait_for(State.IDLE)
        time.sleep(config.settle)
        board.set_phase(Phase.AUDIT)
        fleet.wait_for(State.AUDITED)
        # A killed worker's successor may still have been starting when the attack ended; it then
        # passes all phases, so that from here on all are alike.
        progress(
            f"{plan.config}: round {number} of {rounds}, {board.total(Word.READS):,} reads, "
            f"{board.total(Word.INVALIDATIONS) + board.total(Word.SETS):,} writes, "
            f"{sum(arena.struck.values())} faults, {board.total(Word.STALE)} stale "
            f"({board.total(Word.BROKEN)} not allowed), {len(_records(fleet.folder, 'permanent'))} "
            f"permanent, {board.total(Word.ERRORS)} errors"
        )
        if number < rounds:
            board.set_phase(Phase.ATTACK)


def _records(folder: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        # A worker that was killed in the middle of a line has left half of it.
        whole, _, _ = path.read_text("utf-8").rpartition("\n")
        found += [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return found


def _errors(folder: Path) -> list[str]:
    return [
        line
        for path in sorted(folder.glob("errors-*.txt"))
        for line in path.read_text("utf-8").splitlines()
    ]
