"""Processes that set values, and are killed at any moment: is what they acknowledged kept?

`write_behind` and `journaled` say what is set where (`Ground`), and run the campaign. Each set is
noted before it is made and when it was acknowledged; what was begun and not acknowledged is in
flight, and may be there or not. In the end the last acknowledged value of each key must be there,
or one in flight after that; and of what was ever written there, each change once, in the order of
the key's sets.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from tests.chaos.fleet import ROOT
from tests.servers.redis import RedisServer

KEYS: Final = 60
"""Of each process; each is set by one lane, so that its sets have an order."""

LANES: Final = 12

STOPPED: Final = 1.5
"""Seconds for which a process is stopped: longer than its claims last."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a process is told. `fail_point` "": none; `sets`: how many it makes."""

    ground: str
    folder: str
    redis: str
    slot: int
    incarnation: int
    fail_point: str = ""
    after: int = 1
    sets: int = 10**9


class Process(Protocol):
    """What a process does."""

    async def set(self, key: str, number: int) -> bool:
        """Set it to this number, or to what the ground makes of it."""
        ...

    async def look(self, key: str, number: int) -> str:
        """What is wrong with what is read after this was acknowledged; nothing: ""."""
        ...


class Ground(ABC):
    """What is set where. `name` is the module and what it is made with: "module:argument".

    `fail_points`: where a process may be made to die, each behind what it awaits: whose that is,
    and how it is called. `needs_redis`: a durable one, which is killed as well.
    """

    name: str
    fail_points: Mapping[str, tuple[Any, str]]
    needs_redis = True

    @abstractmethod
    def opened(self, folder: Path, redis: str) -> AbstractAsyncContextManager[Process]:
        """A process's cache, at work."""

    @abstractmethod
    async def begin(self, folder: Path, redis: str) -> None:
        """What is there before the first process."""

    @abstractmethod
    async def finish(self, folder: Path, redis: str) -> str:
        """Write what is left; what is left all the same, in words."""

    @abstractmethod
    async def there(self, folder: Path, ids: Sequence[str]) -> dict[str, int | None]:
        """What was written of these keys."""

    @abstractmethod
    def noted(self, folder: Path) -> list[tuple[str, int]]:
        """Each change that was ever written: its key and the journal's number."""

    def value(self, number: int) -> int | None:
        """What is there once this was set."""
        return number


def ground(name: str) -> Ground:
    """The ground of a name."""
    module, _, argument = name.partition(":")
    made: Ground = importlib.import_module(module).ground(argument)
    return made


# --- one process ------------------------------------------------------------------------------


async def work(spec: Spec) -> None:
    """Set values until killed."""
    on, left = ground(spec.ground), spec.sets
    _arm(on, spec)
    folder = Path(spec.folder)
    log = os.open(folder / f"log-{spec.slot}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, key: str, number: object) -> None:
        os.write(log, f"{what} {key} {number}\n".encode())

    async with on.opened(folder, spec.redis) as process:

        async def lane(which: int) -> None:
            nonlocal left
            number = spec.incarnation * 1_000_000
            while left > 0:
                for place in range(which, KEYS, LANES):
                    left, number = left - 1, number + 1
                    key = f"{spec.slot}-{place}"
                    note("begun", key, number)
                    kept = await process.set(key, number)
                    note("kept" if kept else "refused", key, number)
                    if not kept:  # Redis is away: not as fast as that fails
                        await asyncio.sleep(0.02)
                    elif wrong := await process.look(key, number):
                        note("wrong", key, wrong)

        async with asyncio.TaskGroup() as lanes:
            for which in range(LANES):
                lanes.create_task(lane(which))


def _arm(on: Ground, spec: Spec) -> None:
    """Die at the fail-point, when it was passed so often; what had nothing to do passes none."""
    if not spec.fail_point:
        return
    owner, name = on.fail_points[spec.fail_point]
    left, passes = spec.after, getattr(owner, name)

    async def dies(*what: Any, **how: Any) -> Any:
        nonlocal left
        answer = await passes(*what, **how)
        left -= answer is None or bool(answer)
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, dies)


# --- the campaign -----------------------------------------------------------------------------


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
            ("read older than acknowledged", len(self.old)),
        ]
        return "\n".join(f"{name:36} {value:>8,}" for name, value in rows)


class Campaign:
    """See the module's text."""

    def __init__(
        self, on: Ground, folder: Path, seed: int, processes: int, say: Callable[[str], None]
    ) -> None:
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
        self, sets: int, kills: int, redis_kills: int, fail_points: int, stops: int = 0
    ) -> Outcome:
        asyncio.run(self._ground.begin(self._folder, self._redis))
        strikes = [*self._ground.fail_points] * fail_points
        strikes += ["process"] * kills + ["stopped"] * stops
        strikes += ["Redis"] * (redis_kills if self._server else 0)
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
            left = asyncio.run(self._ground.finish(self._folder, self._redis))
            if left:
                self.outcome.lost.append(left)
        finally:
            if self._server is not None:
                self._server.kill()
        self._judge()
        return self.outcome

    def _start(self, slot: int, fail_point: str, after: int = 1) -> None:
        self._incarnation += 1
        spec = Spec(
            self._ground.name, str(self._folder), self._redis, slot, self._incarnation,
            fail_point, after,
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
        if strike in ("Redis", "process", "stopped"):
            self._all_at_work()
        match strike:
            case "Redis":
                assert self._server is not None
                self._some_more(slot)
                self._server.kill()
                self._server.start()
            case "process":
                # Its start, too, is a moment at which it may be killed.
                if self._rng.random() < 0.2:
                    time.sleep(self._rng.uniform(0.2, 1.2))
                else:
                    self._some_more(slot)
                self._end(slot)
            case "stopped":
                self._some_more(slot)
                self._running[slot].send_signal(signal.SIGSTOP)
                time.sleep(STOPPED)
                self._running[slot].send_signal(signal.SIGCONT)
                time.sleep(0.2)
            case _:
                self._end(slot)
                self._start(slot, strike, self._rng.randrange(1, 30))
                self._running[slot].wait(timeout=240)
                assert self._end(slot) == -signal.SIGKILL, "the fail-point was not met"
        self.outcome.kills[strike] += 1

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


if __name__ == "__main__":
    asyncio.run(work(Spec(**json.loads(sys.argv[1]))))
