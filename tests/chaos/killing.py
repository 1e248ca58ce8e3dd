"""Processes that set values, and are killed at any moment: is what they acknowledged kept?

`killed` is one of them. They are killed at random moments, and at each fail-point; stopped there
and elsewhere for longer than a claim lasts, and let go on; so are the servers killed that they
need. What was begun and not acknowledged is in flight, and may be there or not. In the end the last
acknowledged value of each key must be there, or one in flight after that; and of what was ever
written there, each change once, in the order of the key's sets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.fleet import ROOT
from tests.chaos.killed import Ground, Spec
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

STOPPED: Final = 1.5
"""Seconds for which a process is stopped: longer than its claims last."""

AT_MOST: Final = 240.0
"""Seconds until a process meets a fail-point."""

_RANDOM: Final = ("process", "stopped", "Redis", "PostgreSQL", "PostgreSQL switched off")
"""What happens at a random moment."""


@dataclass(slots=True)
class Outcome:
    """What came of it. `lost`, `twice`, `disordered`, `old`: what must not be, in words."""

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
    old: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        return [*self.lost, *self.twice, *self.disordered, *self.old]

    @property
    def sound(self) -> bool:
        return not self.wrong

    def table(self) -> str:
        rows = [
            *(
                (kind if "stopped" in kind else f"killed: {kind}", times)
                for kind, times in sorted(self.kills.items())
            ),
            ("sets begun", self.begun),
            ("acknowledged", self.kept),
            ("answered False", self.refused),
            ("in flight when killed", self.in_flight),
            ("changes written to the database", self.written),
            ("keys", self.keys),
            ("acknowledged and lost", len(self.lost)),
            ("written twice", len(self.twice)),
            ("out of order", len(self.disordered)),
            ("read older than acknowledged", len(self.old)),
        ]
        return "\n".join(f"{name:36} {value:>8,}" for name, value in rows)


class Campaign:
    """See the module's text."""

    def __init__(
        self,
        on: Ground,
        folder: Path,
        seed: int,
        processes: int,
        say: Callable[[str], None],
        database: PostgresServer | None = None,
    ) -> None:
        self._database = database
        self._ground = on
        self._folder = folder
        self._rng = random.Random(seed)
        self._processes = processes
        self._say = say
        self._incarnation = 0
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.outcome = Outcome()
        self._server: RedisServer | None = None
        if on.needs_redis:
            (folder / "redis").mkdir()
            self._server = RedisServer(
                folder / "redis", "--appendonly", "yes", "--appendfsync", "always"
            )

    @property
    def _redis(self) -> str:
        return "" if self._server is None else self._server.url

    def run(
        self,
        sets: int,
        kills: int,
        redis_kills: int,
        fail_points: int,
        stops: int = 0,
        database_kills: int = 0,
    ) -> Outcome:
        points = [*self._ground.fail_points]
        asyncio.run(self._ground.begin(self._folder, self._redis))
        strikes = points * fail_points + [f"stopped at {point}" for point in points] * stops
        strikes += ["process"] * kills + ["stopped"] * stops
        strikes += ["Redis"] * (redis_kills if self._server else 0)
        if self._database:
            half = database_kills // 2
            strikes += ["PostgreSQL"] * (database_kills - half)
            strikes += ["PostgreSQL switched off"] * half
        self._rng.shuffle(strikes)
        try:
            for number, strike in enumerate(strikes, 1):
                self._strike(strike)
                self._say(f"{number} of {len(strikes)}: {strike}, {self._acknowledged()} kept")
            self._all_at_work()
            while self._acknowledged() < sets:
                time.sleep(0.05)
        finally:
            for slot in [*self._running]:
                self._end(slot)
                self.outcome.kills["process, at the end"] += 1
        try:
            left = asyncio.run(self._ground.finish(self._folder, self._redis))
            if left:
                self.outcome.lost.append(left)
        finally:
            if self._server is not None:
                self._server.kill()
        self._judge()
        return self.outcome

    def _start(self, slot: int, fail_point: str, after: int = 1, *, stops: bool = False) -> None:
        self._incarnation += 1
        spec = Spec(
            self._ground.name, str(self._folder), self._redis, slot, self._incarnation,
            fail_point, after, stops,
        )  # fmt: skip
        told = json.dumps({name: getattr(spec, name) for name in Spec.__slots__})
        self._running[slot] = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.killed", told], cwd=ROOT
        )

    def _all_at_work(self) -> None:
        for slot in range(self._processes):
            if slot not in self._running:
                self._start(slot, "")

    def _strike(self, strike: str) -> None:
        slot = self._rng.randrange(self._processes)
        what, _, point = strike.partition(" at ")
        if strike in _RANDOM:
            self._all_at_work()
        match what:
            case "Redis":
                assert self._server is not None
                self._some_more(slot)
                self._server.kill()
                self._server.start()
            case "PostgreSQL" | "PostgreSQL switched off":
                assert self._database is not None
                self._some_more(slot)
                self._database.kill() if what == "PostgreSQL" else self._database.stop()
                time.sleep(self._rng.uniform(0, 0.5))
                self._database.start()
            case "process":
                # Its start, too, is a moment at which it may be killed.
                if self._rng.random() < 0.2:
                    time.sleep(self._rng.uniform(0.2, 1.2))
                else:
                    self._some_more(slot)
                self._end(slot)
            case "stopped":
                if point:
                    self._end(slot)
                    self._start(slot, point, self._rng.randrange(1, 30), stops=True)
                    self._all_at_work()
                    self._wait_until_stopped(slot)
                else:
                    self._some_more(slot)
                    self._running[slot].send_signal(signal.SIGSTOP)
                time.sleep(STOPPED)
                self._running[slot].send_signal(signal.SIGCONT)
                time.sleep(0.2)
            case _:
                self._end(slot)
                self._start(slot, strike, self._rng.randrange(1, 30))
                self._running[slot].wait(timeout=AT_MOST)
                assert self._end(slot) == -signal.SIGKILL, "the fail-point was not met"
        self.outcome.kills[strike] += 1

    def _wait_until_stopped(self, slot: int) -> None:
        """A process that stops itself."""
        pid, until = self._running[slot].pid, time.monotonic() + AT_MOST
        how = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        while (ended := os.waitid(os.P_PID, pid, how)) is None:
            assert time.monotonic() < until, "the fail-point was not met"
            time.sleep(0.01)
        assert ended.si_code == os.CLD_STOPPED, "the process has ended"

    def _some_more(self, slot: int) -> None:
        """Let a process make some sets, and go on for a moment."""
        log = self._folder / f"log-{slot}"
        was = log.stat().st_size if log.exists() else 0
        more, until = self._rng.randrange(1, 20_000), time.monotonic() + 20
        while time.monotonic() < until and (not log.exists() or log.stat().st_size < was + more):
            time.sleep(0.002)
        time.sleep(self._rng.uniform(0, 0.01))

    def _end(self, slot: int) -> int:
        """Kill it, if it runs."""
        process = self._running.pop(slot, None)
        if process is None:
            return 0
        process.kill()
        return process.wait()

    def _acknowledged(self) -> int:
        return sum(path.read_bytes().count(b"kept") for path in self._folder.glob("log-*"))

    def _judge(self) -> None:
        outcome = self.outcome
        begun: dict[str, list[int]] = defaultdict(list)
        kept: dict[str, int] = defaultdict(int)
        ended = set()
        for path in self._folder.glob("log-*"):
            for line in path.read_text().splitlines():
                what, key, said = line.split(maxsplit=2)
                if what == "wrong":
                    outcome.old.append(f"{key}: {said}")
                elif what == "begun":
                    begun[key].append(int(said))
                else:
                    ended.add((key, said))
                    outcome.kept += what == "kept"
                    outcome.refused += what == "refused"
                    if what == "kept":
                        kept[key] = int(said)
        outcome.keys, outcome.begun = len(begun), sum(map(len, begun.values()))
        outcome.in_flight = outcome.begun - len(ended)
        self._judge_values(begun, kept)
        self._judge_notes()

    def _judge_values(self, begun: dict[str, list[int]], kept: dict[str, int]) -> None:
        value = self._ground.value
        for key, found in asyncio.run(self._ground.there(self._folder, list(begun))).items():
            # What came after the last one that was acknowledged may have replaced or ended it.
            last = kept[key]
            later = [value(number) for number in begun[key] if number > last]
            if found not in {value(last) if last else None, *later} and not (
                found is None and later
            ):
                self.outcome.lost.append(f"{key}: {found} is there, {last} was acknowledged")

    def _judge_notes(self) -> None:
        outcome, noted = self.outcome, self._ground.noted(self._folder)
        outcome.written = len(noted)
        latest = dict[str, int]()
        for key, number in noted:
            if number == latest.get(key):
                outcome.twice.append(f"{key}: {number}")
            elif number < latest.get(key, 0):
                outcome.disordered.append(f"{key}: {number} after {latest[key]}")
            latest[key] = number


def asked(text: str | None, *, redis_kills: int = 5) -> argparse.ArgumentParser:
    """What the campaigns of all grounds are asked."""
    parser = argparse.ArgumentParser(description=str(text).partition("\n")[0])
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--redis-kills", type=int, default=redis_kills)
    parser.add_argument("--fail-points", type=int, default=5, help="times that each is met")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def tell(outcome: Outcome, say: Callable[[str], None]) -> int:
    """Say what came of it; how the program ends."""
    say(outcome.table())
    for each in outcome.wrong:
        say(each)
    return 0 if outcome.sound else 1
