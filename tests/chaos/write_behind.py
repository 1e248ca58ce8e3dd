"""No acknowledged set is lost, and none is written twice, whoever is killed when.

    python -m tests.chaos.write_behind [--sets 10000] [--kills 20] [--redis-kills 5] [--seed 0]

Two processes set values behind a durable Redis (`appendfsync always`). They are killed at random
moments, and at each fail-point: between the script and its answer's use, between claim and upsert,
between COMMIT and what is then taken from the journal. So is Redis. Each set is noted before it is
made and when it was acknowledged; what was begun and not acknowledged is in flight, and may be
there or not. In the end the database must have, of each key, its last acknowledged value or one in
flight after that; and of what was ever written there (a trigger has noted it), each change once, in
the order of the key's sets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cascada import Cache, Limits
from cascada.engine import write_behind
from cascada.model.clock import SystemClock
from cascada.model.keys import Key
from cascada.testing.inside import inside
from cascada.tiers.capabilities import Change, Fate
from cascada.tiers.contract import Filled, Found
from cascada.tiers.redis.journal import RedisJournal
from cascada.tiers.sqlite.tier import SqliteTier
from tests.chaos.__main__ import say
from tests.chaos.fleet import ROOT
from tests.servers.redis import RedisServer

KEYS: Final = 60
"""Of each process; each is set by one lane, so that its sets have an order."""

LANES: Final = 12

FAIL_POINTS: Final = ("script|ack", "claim|upsert", "COMMIT|ack")

CLAIM: Final = 1.0
"""Seconds of a claim, so that what a dead process has claimed is soon written."""

_NOTES: Final = """
CREATE TABLE IF NOT EXISTS noted (key TEXT, number INTEGER);
CREATE TRIGGER IF NOT EXISTS first AFTER INSERT ON applied
 BEGIN INSERT INTO noted VALUES (new.key, new.number); END;
CREATE TRIGGER IF NOT EXISTS later AFTER UPDATE ON applied
 BEGIN INSERT INTO noted VALUES (new.key, new.number); END;
"""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a process is told. `fail_point` "": none; `sets`: how many it makes."""

    folder: str
    redis: str
    slot: int
    incarnation: int
    fail_point: str = ""
    after: int = 1
    sets: int = 10**9


def opened(folder: Path, redis: str) -> Cache:
    write_behind.CLAIM = CLAIM  # type: ignore[misc]
    return Cache(
        redis=redis,
        database=str(folder / "cache.db"),
        namespace="behind",
        write_strategy="WRITE_BEHIND",
        limits=Limits(op_timeout=10, invalidate_patience=0.1),
    )


# --- one process ------------------------------------------------------------------------------


async def work(spec: Spec) -> None:
    """Set values until killed."""
    _arm(spec)
    log = os.open(Path(spec.folder) / f"log-{spec.slot}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    left = spec.sets

    def note(what: str, key: str, number: int) -> None:
        os.write(log, f"{what} {key} {number}\n".encode())

    async with opened(Path(spec.folder), spec.redis) as cache:
        tenant = cache.tenant("acme")

        async def lane(which: int) -> None:
            nonlocal left
            number = spec.incarnation * 1_000_000
            while left > 0:
                for place in range(which, KEYS, LANES):
                    left, number = left - 1, number + 1
                    key = f"{spec.slot}-{place}"
                    note("begun", key, number)
                    kept = await tenant.set("doc", key, number, ttl=86_400)
                    note("kept" if kept else "refused", key, number)
                    if not kept:  # Redis is away: not as fast as that fails
                        await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as lanes:
            for which in range(LANES):
                lanes.create_task(lane(which))


def _arm(spec: Spec) -> None:
    """Die at the fail-point, when it was passed so often."""
    left = spec.after

    def passed() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    put, claim, apply = RedisJournal.put, RedisJournal.claim, SqliteTier.apply

    async def dies_put(self: RedisJournal, *what: Any) -> list[Filled]:
        answer = await put(self, *what)
        passed()
        return answer

    async def dies_claim(self: RedisJournal, most: int, seconds: float) -> list[Change]:
        answer = await claim(self, most, seconds)
        if answer:
            passed()
        return answer

    async def dies_apply(self: SqliteTier, changes: Sequence[Change]) -> list[Fate]:
        answer = await apply(self, changes)
        passed()
        return answer

    match spec.fail_point:
        case "script|ack":
            RedisJournal.put = dies_put  # type: ignore[method-assign, assignment]
        case "claim|upsert":
            RedisJournal.claim = dies_claim  # type: ignore[method-assign]
        case "COMMIT|ack":
            SqliteTier.apply = dies_apply  # type: ignore[method-assign]


# --- the campaign -----------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """What came of it. `lost`, `twice`, `disordered`: what must not be, in words."""

    kills: Counter[str] = field(default_factory=Counter)
    begun: int = 0
    kept: int = 0
    refused: int = 0
    in_flight: int = 0
    written: int = 0
    keys: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.twice or self.disordered)

    def table(self) -> str:
        rows = [
            *((f"killed: {kind}", times) for kind, times in sorted(self.kills.items())),
            ("sets begun", self.begun),
            ("acknowledged", self.kept),
            ("answered False", self.refused),
            ("in flight when killed", self.in_flight),
            ("changes written to the database", self.written),
            ("keys", self.keys),
            ("acknowledged and lost", len(self.lost)),
            ("written twice", len(self.twice)),
            ("out of order", len(self.disordered)),
        ]
        return "\n".join(f"{name:36} {value:>8,}" for name, value in rows)


class Campaign:
    """See the module's text."""

    def __init__(self, folder: Path, seed: int, processes: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._processes = processes
        self._say = say
        self._incarnation = 0
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.outcome = Outcome()
        (folder / "redis").mkdir()
        self._server = RedisServer(
            folder / "redis", "--appendonly", "yes", "--appendfsync", "always"
        )

    def run(self, sets: int, kills: int, redis_kills: int, fail_points: int) -> Outcome:
        asyncio.run(self._begin())
        strikes = [*FAIL_POINTS] * fail_points + ["process"] * kills + ["Redis"] * redis_kills
        self._rng.shuffle(strikes)
        try:
            for number, strike in enumerate(strikes, 1):
                self._strike(strike)
                self._say(
                    f"{number} of {len(strikes)}: {strike} killed, {self._acknowledged()} kept"
                )
            self._all_at_work()
            while self._acknowledged() < sets:
                time.sleep(0.05)
        finally:
            for slot in [*self._running]:
                self._end(slot)
                self.outcome.kills["process, at the end"] += 1
        try:
            asyncio.run(self._finish())
        finally:
            self._server.kill()
        self._judge()
        return self.outcome

    async def _begin(self) -> None:
        """The database, with what notes each change that is written there."""
        async with opened(self._folder, self._server.url) as cache:
            await cache.tenant("acme").get("doc", "none")
            await cache.tenant("acme").invalidate("doc", "none")
        with sqlite3.connect(self._folder / "cache.db") as connection:
            connection.executescript(_NOTES)
        connection.close()

    def _start(self, slot: int, fail_point: str, after: int = 1) -> None:
        self._incarnation += 1
        spec = Spec(str(self._folder), self._server.url, slot, self._incarnation, fail_point, after)
        told = json.dumps({name: getattr(spec, name) for name in Spec.__slots__})
        self._running[slot] = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.write_behind", "--work", told], cwd=ROOT
        )

    def _all_at_work(self) -> None:
        for slot in range(self._processes):
            if slot not in self._running:
                self._start(slot, "")

    def _strike(self, strike: str) -> None:
        slot = self._rng.randrange(self._processes)
        if strike == "Redis":
            self._all_at_work()
            time.sleep(self._rng.uniform(0.05, 0.6))
            self._server.kill()
            self._server.start()
        elif strike == "process":
            self._all_at_work()
            # Its start, too, is a moment at which it may be killed.
            time.sleep(self._rng.uniform(0.2, 1.2))
            self._end(slot)
        else:
            self._end(slot)
            self._start(slot, strike, self._rng.randrange(1, 30))
            self._running[slot].wait(timeout=60)
            assert self._end(slot) == -signal.SIGKILL, "the fail-point was not met"
        self.outcome.kills[strike] += 1

    def _end(self, slot: int) -> int:
        """Kill it, if it runs."""
        process = self._running.pop(slot, None)
        if process is None:
            return 0
        process.kill()
        return process.wait()

    def _acknowledged(self) -> int:
        return sum(path.read_bytes().count(b"kept") for path in self._folder.glob("log-*"))

    async def _finish(self) -> None:
        """Somebody comes later, and writes what is left."""
        async with opened(self._folder, self._server.url) as cache:
            await cache.tenant("acme").get("doc", "none")
            behind = inside(cache).stack.behind
            assert behind is not None
            for _ in range(3000):
                if not (await behind.backlog()).changes:
                    return
                await asyncio.sleep(0.01)
            self.outcome.lost.append(f"the journal is not empty: {await behind.backlog()}")

    def _judge(self) -> None:
        outcome = self.outcome
        begun: dict[str, list[int]] = defaultdict(list)
        kept: dict[str, int] = defaultdict(int)
        ended = set()
        for path in self._folder.glob("log-*"):
            for line in path.read_text().splitlines():
                what, key, number = line.split()
                if what == "begun":
                    begun[key].append(int(number))
                    continue
                ended.add((key, number))
                outcome.kept += what == "kept"
                outcome.refused += what == "refused"
                if what == "kept":
                    kept[key] = int(number)
        outcome.keys, outcome.begun = len(begun), sum(map(len, begun.values()))
        outcome.in_flight = outcome.begun - len(ended)
        for key, found in asyncio.run(self._there(list(begun))).items():
            # What came after the last one that was acknowledged may have replaced or ended it.
            later = [number for number in begun[key] if number > kept[key]]
            if found not in {kept[key], *later} and not (found is None and later):
                outcome.lost.append(f"{key}: {found} is there, {kept[key]} was acknowledged")
        self._judge_notes()

    def _judge_notes(self) -> None:
        outcome = self.outcome
        with sqlite3.connect(self._folder / "cache.db") as connection:
            noted = connection.execute("SELECT key, number FROM noted ORDER BY rowid").fetchall()
        connection.close()
        outcome.written = len(noted)
        latest = dict[str, int]()
        for key, number in noted:
            if number == latest.get(key):
                outcome.twice.append(f"{key}: {number}")
            elif number < latest.get(key, 0):
                outcome.disordered.append(f"{key}: {number} after {latest[key]}")
            latest[key] = number

    async def _there(self, ids: Sequence[str]) -> dict[str, int | None]:
        database = SqliteTier(self._folder / "cache.db", namespace="behind", clock=SystemClock())
        keys = [Key("acme", "doc", None, None, None, each) for each in ids]
        answers = await database.read(keys)
        await database.aclose()
        async with Cache(database=str(self._folder / "cache.db"), namespace="behind") as cache:
            tenant = cache.tenant("acme")
            values = [await tenant.get("doc", each) for each in ids]
        found: dict[str, int | None] = {}
        for each, answer, hit in zip(ids, answers, values, strict=True):
            found[each] = int(hit.value) if hit and isinstance(answer, Found) else None
        return found


def campaign(
    sets: int,
    kills: int,
    redis_kills: int,
    *,
    fail_points: int = 1,
    processes: int = 2,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="behind-") as folder:
        return Campaign(Path(folder), seed, processes, say).run(
            sets, kills, redis_kills, fail_points
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--redis-kills", type=int, default=5)
    parser.add_argument("--fail-points", type=int, default=5, help="times that each is met")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.work:
        asyncio.run(work(Spec(**json.loads(given.work))))
        return 0
    outcome = campaign(
        given.sets,
        given.kills,
        given.redis_kills,
        fail_points=given.fail_points,
        seed=given.seed,
        say=say,
    )
    say(outcome.table())
    for each in (*outcome.lost, *outcome.twice, *outcome.disordered):
        say(each)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
