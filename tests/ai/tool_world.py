"""A world of agents that read and write through tools: is what they are told true, and how much of
it is kept?

    python -m tests.ai.tool_world [--calls 100000] [--tier redis] [--writes 10]

Ten agents, in two processes (in one, for memory alone), read accounts one by one, in pairs, by
folders and all together; some of their calls write. The accounts' versions lie in a file that all
share. A tool that reads looks at them, and pauses before it returns, as one does that asks a
server; one that writes pauses behind its write, and sometimes fails there.

WRONG is a result with a version that was older than the latest write that had returned when the
call began, judged as the checker of the cache judges: another process's memory is given the moment
that news take (`tests/chaos/witness.py`). Hits are compared with an oracle's, which sees the same
calls at the same times, and drops exactly what each write has changed. Points are the difference
among the reads that crossed no write of what they read: of the others a cache may know no better.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from cascada import Cache, Event, Limits
from cascada.ai import Tools
from cascada.tiers.capabilities import L1_LEASE
from tests.chaos.board import Board, Word
from tests.chaos.configs import PUSH, watch
from tests.chaos.mutations import all_mutants
from tests.chaos.truth import Truth
from tests.chaos.witness import Promise, Witness
from tests.servers.redis import RedisServer

AGENTS: Final = 10
ACCOUNTS: Final = 240
FOLDER: Final = 8
"""Accounts of one folder."""

FAILS: Final = 0.1
"""Of the writes, those that fail after they have written."""

ROOT: Final = Path(__file__).parents[2]
ALLOWED: Final = 2.0
"""Points that hits may differ from the oracle's."""

_wrote: ContextVar[list[tuple[int, int]]] = ContextVar("wrote")
"""What the write of this agent has written, also when it fails."""

_asked: ContextVar[list[str]] = ContextVar("asked")
"""What the read of this agent asks; a second word says that its own tool ran."""

PROMISES: Final = {
    "memory": Promise(lease=0),
    "sqlite": Promise(lease=L1_LEASE),
    "redis": Promise(lease=PUSH),
    "redis-sqlite": Promise(lease=PUSH),
}
WRITES: Final = (2, 10, 30)


@dataclass(frozen=True)
class Spec:
    """One process of one run. `writes`: percent of the calls; `calls`: of all its agents."""

    folder: str
    tier: str
    redis: str | None
    slot: int
    agents: int
    calls: int
    writes: float
    seed: int = 1
    mutant: str = ""

    def cache(self, told: Callable[[Event], None]) -> Cache:
        database = f"sqlite:///{self.folder}/cache.db" if "sqlite" in self.tier else None
        limits = Limits(max_loads_per_type=64)
        return Cache(redis=self.redis, database=database, limits=limits, observers=[told])


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    tier: str
    processes: int
    writes: float
    calls: int
    wrong: int
    late: int
    oracle: Oracle
    seconds: float

    @property
    def kept(self) -> bool:
        return not self.wrong and abs(self.oracle.calm) <= ALLOWED

    def __str__(self) -> str:
        return (
            f"{self.tier:<13}{self.processes:>9}{self.writes:>7.0f} %{self.calls:>9,}"
            f"{self.wrong:>7}{self.late:>6}{self.oracle.crossed:>9,}"
            f"{self.oracle.hits:>8.1f} %{self.oracle.right:>8.1f} %{self.oracle.calm:>+7.1f}"
            f"{self.calls / self.seconds:>10,.0f}"
        )


HEADING: Final = (
    f"{'tier':<13}{'processes':>9}{'writes':>9}{'calls':>9}{'wrong':>7}{'late':>6}"
    f"{'crossed':>9}{'hits':>10}{'oracle':>10}{'points':>7}{'calls/s':>10}"
)


Line = tuple[int, str, str, list[int]]
"""When what happened, to what, and which rows it is of."""

# --- one process ----------------------------------------------------------------------------------


class World:
    """The tools, and the agents of one process that call them."""

    def __init__(self, spec: Spec, cache: Cache) -> None:
        folder = Path(spec.folder)
        self._spec = spec
        self._dice = random.Random(f"{spec.seed} {spec.slot}")
        self._truth = Truth(folder / "truth")
        self._board = Board(folder / "board")
        self.witness = Witness(self._truth, self._board, spec.slot, PROMISES[spec.tier], folder)
        self._weights = [*accumulate(1 / (rank + 1) for rank in range(ACCOUNTS))]
        self._left = spec.calls
        self.log: list[Line] = []
        self.tools = Tools(cache, tenant="acme", ttl=3600)
        self._declare()

    def _declare(self) -> None:
        tools = self.tools

        @tools.reads(("account", "{account}"))
        async def balance(account: int) -> dict[int, int]:
            return await self._look([account])

        @tools.reads(("account", "{one}"), ("account", "{other}"))
        async def compare(one: int, other: int) -> dict[int, int]:
            return await self._look([one, other])

        @tools.reads(lambda folder: [("account", each) for each in rows_of(folder)])
        async def folder(folder: int) -> dict[int, int]:
            return await self._look(rows_of(folder))

        @tools.reads(("account", "*"))
        async def everything() -> dict[int, int]:
            return await self._look(range(ACCOUNTS))

        @tools.writes(("account", "{account}"))
        async def deposit(account: int, fails: bool) -> None:
            await self._write([account], fails=fails)

        @tools.writes(("account", "{source}"), ("account", "{target}"))
        async def transfer(source: int, target: int, fails: bool) -> None:
            await self._write([source, target], fails=fails)

    async def _look(self, rows: Sequence[int]) -> dict[int, int]:
        asked = _asked.get()
        asked.append("ran")
        self.log.append((time.monotonic_ns(), "runs", asked[0], [*rows]))
        found = {row: self._truth.version(row) for row in rows}
        await asyncio.sleep(self._dice.choice((0, 0, 0.001, 0.003)))
        return found

    async def _write(self, rows: Sequence[int], *, fails: bool) -> None:
        wrote = _wrote.get()
        for row in rows:
            wrote.append((row, self._truth.bump(row)))
        await asyncio.sleep(self._dice.choice((0, 0, 0.001, 0.003)))
        if fails:
            raise OSError("the server has hung up")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as agents:
            for _ in range(self._spec.agents):
                agents.create_task(self._agent())

    async def _agent(self) -> None:
        while self._left > 0:
            self._left -= 1
            if self._dice.random() * 100 < self._spec.writes:
                await self._writing()
            else:
                await self._reading()
            await asyncio.sleep(0)

    async def _reading(self) -> None:
        kind = self._dice.random()
        if kind < 0.6:
            rows = [self._account()]
            name, given = "balance", {"account": rows[0]}
        elif kind < 0.85:
            rows = [self._account(), self._account()]
            name, given = "compare", {"one": rows[0], "other": rows[1]}
        elif kind < 0.995:
            number = self._account() // FOLDER
            rows = rows_of(number)
            name, given = "folder", {"folder": number}
        else:
            rows = [*range(ACCOUNTS)]
            name, given = "everything", {}
        text = json.dumps(given)
        asked = [f"{name} {text}"]
        _asked.set(asked)
        reading = self.witness.begin(name)
        self.log.append((reading.started, "asks", asked[0], rows))
        found = await self.tools.call(name, text)
        for row, version in found.items():
            self.witness.version(int(row), version, "l1", reading)
        if sorted(map(int, found)) != sorted({*rows}):
            self.witness.error(f"{name} {text} gave {found}", "of others")
        how = "loaded" if asked[1:] else "hit"
        self.log.append((time.monotonic_ns(), how, str(reading.started), rows))

    async def _writing(self) -> None:
        fails = self._dice.random() < FAILS
        rows = [self._account()]
        given: dict[str, Any] = {"account": rows[0], "fails": fails}
        name = "deposit"
        if self._dice.random() < 0.3 and (other := self._account()) != rows[0]:
            rows.append(other)
            given = {"source": rows[0], "target": rows[1], "fails": fails}
            name = "transfer"
        wrote: list[tuple[int, int]] = []
        _wrote.set(wrote)
        with suppress(OSError):
            await self.tools.call(name, given)
        self.witness.returned(wrote, name)

    def told(self, event: Event) -> None:
        """For the oracle a write is when all has heard of it, not when its agent has its turn."""
        if event.kind == "invalidate" and (rows := [row for row, _ in _wrote.get([])]):
            self.log.append((time.monotonic_ns(), "wrote", "", rows))

    def _account(self) -> int:
        (found,) = self._dice.choices(range(ACCOUNTS), cum_weights=self._weights)
        return found


def rows_of(folder: int) -> list[int]:
    return [*range(folder * FOLDER, (folder + 1) * FOLDER)]


async def work(spec: Spec) -> dict[str, Any]:
    if spec.mutant:
        all_mutants()[spec.mutant].apply()
    worlds: list[World] = []
    async with spec.cache(lambda event: worlds[0].told(event)) as cache:
        worlds.append(world := World(spec, cache))
        watch(cache, world.witness, 0, random.Random(1))
        await world.tools.wrote(("account", "none"))  # connected by now
        go = Path(spec.folder) / "go"
        (Path(spec.folder) / f"ready-{spec.slot}").touch()
        while not await asyncio.to_thread(go.exists):  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.005)
        began = time.monotonic()
        await world.run()
        took = time.monotonic() - began
        world.witness.close()
        return {"log": world.log, "seconds": took}


# --- all of them ----------------------------------------------------------------------------------


def run(tier: str, writes: float, calls: int, redis: str | None, mutant: str = "") -> Outcome:
    processes = 1 if tier == "memory" else 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Truth.create(folder / "truth", ACCOUNTS).close()
        board = Board.create(folder / "board", processes)
        specs = [
            Spec(name, tier, redis if "redis" in tier else None, slot, AGENTS // processes,
                 calls // processes, writes, mutant=mutant)
            for slot in range(processes)
        ]  # fmt: skip
        started = [_start(spec) for spec in specs]
        for spec in specs:
            while not (folder / f"ready-{spec.slot}").exists():
                if any(each.poll() for each in started):
                    raise RuntimeError("a process of the world has ended")
                time.sleep(0.005)
        (folder / "go").touch()
        said = []
        for each in started:
            out, _ = each.communicate(timeout=3600)
            if each.returncode:
                raise RuntimeError(f"a process of the world has failed: {out!r}")
            said.append(json.loads(out))
        errors = [path.read_text() for path in folder.glob("errors-*.txt")]
        if any(errors):
            raise RuntimeError("".join(errors)[:2000])
        judged = Oracle(sorted(tuple(each) for one in said for each in one["log"]))
        wrong, stale = board.total(Word.BROKEN), board.total(Word.STALE)
        return Outcome(
            tier, processes, writes, judged.calls, wrong, stale - wrong, judged,
            max(one["seconds"] for one in said),
        )  # fmt: skip


def _start(spec: Spec) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.ai.tool_world", "--worker", json.dumps(asdict(spec))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


class Oracle:
    """A cache that drops exactly what a write has changed, in the same world.

    `hits` and `right`: reads that were hits, and that are to the oracle; `calm`: how many more, or
    less, these are in percent of the reads that crossed no write.
    """

    def __init__(self, log: Sequence[Line]) -> None:
        self._keys: dict[int, set[str]] = {}
        self._there: set[str] = set()
        reads: list[tuple[bool, bool, bool]] = []
        under_way: dict[str, list[Any]] = {}
        self.calls = 0
        for at, what, key, rows in log:
            if what == "wrote":
                self.calls += 1
                for row in rows:
                    self._there -= self._keys.pop(row, set())
                for read in under_way.values():
                    read[1] = read[1] or not read[0].isdisjoint(rows)
            elif what == "asks":
                self.calls += 1
                under_way[str(at)] = [{*rows}, False, key in self._there]
                self._add(key, rows)  # it loads at once, as those do who come then
            elif what == "runs":
                self._add(key, rows)  # and as late as it was done
            else:
                _, crossed, right = under_way.pop(key)
                reads.append((what == "hit", right, crossed))
        self.hits = 100 * sum(hit for hit, _, _ in reads) / len(reads)
        self.right = 100 * sum(right for _, right, _ in reads) / len(reads)
        self.crossed = sum(crossed for _, _, crossed in reads)
        calm = [hit - right for hit, right, crossed in reads if not crossed]
        self.calm = 100 * sum(calm) / len(calm)

    def _add(self, key: str, rows: Sequence[int]) -> None:
        self._there.add(key)
        for row in rows:
            self._keys.setdefault(row, set()).add(key)


@contextmanager
def a_redis() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            yield server.url
        finally:
            server.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ai.tool_world", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="of all agents, for each line")
    parser.add_argument("--tier", action="append", choices=list(PROMISES))
    parser.add_argument("--writes", action="append", type=float, help="percent of the calls")
    parser.add_argument("--mutant", default="", help="a rule of the cache to leave out")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.stdout.write(json.dumps(asyncio.run(work(Spec(**json.loads(options.worker))))))
        return 0
    sys.stdout.write(f"{HEADING}\n")
    kept = True
    for tier in options.tier or PROMISES:
        for writes in options.writes or WRITES:
            with a_redis() as url:
                outcome = run(tier, writes, options.calls, url, options.mutant)
            sys.stdout.write(f"{outcome}{'' if outcome.kept else '  BROKEN'}\n")
            sys.stdout.flush()
            kept = kept and outcome.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
