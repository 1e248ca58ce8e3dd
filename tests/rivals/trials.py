"""What each library is tried with, and the figures that come of it.

races      several processes read, load and invalidate; nothing is broken
kills      the same, with processes killed and stopped, and connections cut by the server
callers    500 callers of one process ask for what is not there
tenants    names of tenants and ids that hold the separator which keys are joined with
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.board import Word
from tests.chaos.campaign import Outcome, Plan, run
from tests.chaos.configs import Configuration
from tests.chaos.fleet import ROOT
from tests.chaos.redis_ground import redis_ground
from tests.chaos.witness import Promise
from tests.rivals.adapters import RIVALS, Rival
from tests.rivals.worker import ALLOWED
from tests.servers.redis import RedisServer

PROCESSES: Final = 4
KILLS: Final = ("kill", "stop", "cut pushes", "cut commands")
CALLERS: Final = 500
LOADER_TAKES: Final = 0.5
"""So long that all have asked before the first load is done, on a busy machine as well."""
NAMES: Final = 100
HEARS_WITHIN: Final = 20.0
"""Seconds, of a machine that is busy with other things."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial(Plan):
    """An attack on one library, by the fleet and the faults of the checker."""

    workload: str = "contended"
    program: str = "tests.rivals.worker"
    settle: float = 4.0

    @property
    def configuration(self) -> Configuration:
        return Configuration(
            self.config,
            "a library over Redis, four processes",
            PROCESSES,
            Promise(ALLOWED),
            _opens_nothing,
            faults=(),
            settle=self.settle,
            # Its workers speak with the server itself.
            stand=lambda folder, workers: redis_ground(folder, 0),
        )


def _opens_nothing(folder: Path, slot: int) -> Any:
    raise NotImplementedError("a worker of the rivals opens its own library")


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attack has shown.

    old: reads that began after an invalidation had returned, and gave what it had ended; late:
    of these, those longer ago than every library is allowed, or invalidated by the very process
    that read; oldest: seconds. permanent: rows that were still old in a process, or in Redis, when
    all was quiet; errors: operations that raised.
    """

    seconds: float
    reads: int
    loads: int
    invalidations: int
    faults: int
    old: int
    late: int
    oldest: float
    permanent: int
    foreign: int
    errors: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one library."""

    races: Attack
    kills: Attack
    loads_of_500: int
    foreign_of_100: int


def attack(trial: Trial) -> Attack:
    """Attack one library; what came of it."""
    return _told(run(trial))


def _told(outcome: Outcome) -> Attack:
    if outcome.hung:
        raise RuntimeError(f"{outcome.plan.config}: {outcome.hung}\n{outcome.said[-2000:]}")
    count = outcome.counts
    return Attack(
        seconds=round(outcome.seconds, 1),
        reads=count[Word.READS],
        loads=count[Word.LOADS],
        invalidations=count[Word.INVALIDATIONS],
        faults=sum(outcome.struck.values()),
        old=len(outcome.stale),
        late=len(outcome.broken),
        oldest=round(max(outcome.ages, default=0.0), 3),
        permanent=outcome.permanent_pairs,
        foreign=len(outcome.errors),
        errors=count[Word.FAILURES],
    )


def figures(name: str, races: float, kills: float, say: Say) -> Figures:
    """Everything about one library; seconds of each attack."""
    say(f"rivals: {name}, {races:.0f} s of races")
    raced = attack(Trial(name, races, seed=1, faults=()))
    say(f"rivals: {name}, {kills:.0f} s with kills")
    killed = attack(Trial(name, kills, seed=1, faults=KILLS))
    say(f"rivals: {name}, {CALLERS} callers, and names with separators")
    loads, foreign, heard = in_one_process(name)
    if not heard:
        raise RuntimeError(f"{name} does not hear what another client changes")
    return Figures(raced, killed, loads, foreign)


def in_one_process(name: str) -> tuple[int, int, bool]:
    """`alone`, in a process of its own: what a library leaves open goes with it."""
    with tempfile.TemporaryDirectory(prefix="rivals-") as folder:
        server = RedisServer(Path(folder))
        try:
            said = subprocess.run(
                [sys.executable, "-m", "tests.rivals.trials", name, str(server.port)],
                cwd=ROOT, capture_output=True, text=True, check=True,
            )  # fmt: skip
        finally:
            server.kill()
    loads, foreign, heard = map(int, said.stdout.split())
    return loads, foreign, bool(heard)


async def alone(name: str, port: int) -> tuple[int, int, bool]:
    """What one process is enough for."""
    rival, other = RIVALS[name](port), RIVALS[name](port)
    try:
        heard = await hears(rival, other)
        return await loads_of_many(rival), await foreign_answers(rival), heard
    finally:
        await rival.aclose()
        await other.aclose()


async def hears(rival: Rival, other: Rival) -> bool:
    """Whether it comes to have what another client has changed, while nothing else goes on."""
    row = {"version": 1}

    async def loader() -> dict[str, int]:
        return dict(row)

    assert await rival.load("acme", "told", loader) == await other.load("acme", "told", loader)
    row["version"] = 2
    await other.invalidate("acme", "told")
    until = time.monotonic() + HEARS_WITHIN
    while await rival.load("acme", "told", loader) != row:
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.01)
    return True


async def loads_of_many(rival: Rival) -> int:
    """How often the loader runs for 500 callers at once."""
    calls = 0

    async def loader() -> dict[str, int]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(LOADER_TAKES)
        return {"row": 1}

    await rival.get("acme", "first")  # connected
    await asyncio.gather(*(rival.load("acme", "wanted", loader) for _ in range(CALLERS)))
    return calls


async def foreign_answers(rival: Rival) -> int:
    """How many of 100 reads give another tenant's row."""
    foreign = 0
    for number in range(NAMES):
        mine, other = ("acme", f"eu:{number}"), ("acme:eu", f"{number}")

        async def loader(owner: str = other[0]) -> dict[str, str]:
            return {"owner": owner}

        async def own(owner: str = mine[0]) -> dict[str, str]:
            return {"owner": owner}

        await rival.load(*other, loader)
        foreign += (await rival.load(*mine, own))["owner"] != mine[0]
    return foreign


if __name__ == "__main__":
    logging.disable()
    sys.stdout.write("{} {} {:d}".format(*asyncio.run(alone(sys.argv[1], int(sys.argv[2])))))
