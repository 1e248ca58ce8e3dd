"""Processes that add the same keys at once, and are killed meanwhile: one winner each.

    python -m tests.processes.adding [--processes 8] [--keys 1000] [--tiers redis sqlite ...]

Each process tries all keys, in the same order, and writes down which it was told that it has. Now
and then one is killed (-9), and another one begins in its place. In the end each key has a value,
and whoever was told that he has it is the one who wrote it. A key that nobody was told of was
written by one that was killed before it could say so.
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
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cascada import Cache, Limits
from tests.servers.redis import RedisServer

ROOT: Final = Path(__file__).parents[2]

LANES: Final = 8
"""Adds at once in one process."""

TIERS: Final = ("memory", "sqlite", "redis", "redis+sqlite")

PROGRAM: Final = """
import asyncio, sys
from tests.processes.adding import add_all
asyncio.run(add_all(*sys.argv[1:]))
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def cache_on(where: str) -> Cache:
    return Cache(**json.loads(where), limits=Limits(op_timeout=30.0))


def appending(path: str) -> Any:
    """A file in which each line is as soon as it is written, whoever is killed then."""
    return Path(path).open("ab", buffering=0)


async def add_all(where: str, me: str, told: str, keys: str) -> None:
    """What one process does."""
    with appending(told) as file:
        async with cache_on(where) as cache:
            acme = cache.tenant("acme")
            left = iter(range(int(keys)))

            async def lane() -> None:
                for number in left:
                    if await acme.add("job", number, {"by": me}):
                        file.write(b"%d\n" % number)

            say("ready")
            await asyncio.to_thread(sys.stdin.readline)
            await asyncio.gather(*(lane() for _ in range(LANES)))


@dataclass(frozen=True)
class Outcome:
    """How many keys there were, how many were won by those who lived to say so, how many processes
    were killed, and what was wrong."""

    keys: int
    won: int
    killed: int
    seconds: float
    wrong: tuple[str, ...]


class Fleet:
    """The processes of one run; `told` is the folder in which each has a file."""

    def __init__(self, where: dict[str, str], told: Path, keys: int) -> None:
        self._arguments = json.dumps(where), keys
        self._told = told
        self._begun = 0
        self.killed: list[str] = []

    def start(self) -> tuple[str, subprocess.Popen[bytes]]:
        me = f"p{self._begun}"
        self._begun += 1
        where, keys = self._arguments
        (self._told / me).touch()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, where, me, str(self._told / me), str(keys)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        return me, process

    def run(self, processes: int, kills: int, rng: random.Random) -> None:
        running = dict(self.start() for _ in range(processes))
        try:
            for process in running.values():
                assert process.stdout is not None
                process.stdout.readline()
            for process in running.values():
                _go(process)
            while running:
                for me in [me for me, process in running.items() if process.poll() is not None]:
                    ended = running.pop(me)
                    _end(ended)
                    assert ended.returncode == 0, f"{me} failed"
                if running and kills and self._is_at_work(running):
                    me = rng.choice([*running])
                    _end(running.pop(me))
                    self.killed.append(me)
                    kills -= 1
                    me, process = self.start()
                    _go(process)
                    running[me] = process
                time.sleep(rng.uniform(0.01, 0.05))
        finally:
            for process in running.values():
                _end(process)

    def _is_at_work(self, running: dict[str, Any]) -> bool:
        """Whether something was won, so that whoever is killed is killed at work."""
        return any((self._told / me).stat().st_size for me in running)

    def told(self) -> dict[str, list[int]]:
        """Which keys each process was told that it has."""
        return {
            path.name: [int(line) for line in path.read_text().split()]
            for path in self._told.iterdir()
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """kill -9, if it has not ended by itself."""
    with process:  # closes its pipes
        process.kill()


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


async def run(tiers: str, *, processes: int, keys: int, kills: int, seed: int = 0) -> Outcome:
    """One run on these tiers."""
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adding-")))
        (folder / "told").mkdir()
        where = {}
        if "redis" in tiers:
            server = RedisServer(folder)
            stack.callback(server.kill)
            where["redis"] = server.url
        if "sqlite" in tiers:
            where["database"] = str(folder / "cache.db")
        if tiers == "memory":
            told, values, killed = await _in_one_process(processes, keys)
        else:
            fleet = Fleet(where, folder / "told", keys)
            await asyncio.to_thread(fleet.run, processes, kills, random.Random(seed))
            told, killed = fleet.told(), fleet.killed
            async with cache_on(json.dumps(where)) as cache:
                found = await cache.tenant("acme").get_many("job", range(keys))
            values = [each.value for each in found]
    won = Counter(number for each in told.values() for number in each)
    return Outcome(
        keys, len(won), len(killed), time.monotonic() - began,
        tuple(_wrong(won, told, values, killed)),
    )  # fmt: skip


def _wrong(
    won: Counter[int], told: dict[str, list[int]], values: list[Any], killed: list[str]
) -> list[str]:
    wrong = [f"key {number} was won {times} times" for number, times in won.items() if times > 1]
    winner = {number: me for me, numbers in told.items() for number in numbers}
    for number, value in enumerate(values):
        by = None if value is None else value["by"]
        if by is None:
            wrong.append(f"key {number} has no value")
        elif number in winner and winner[number] != by:
            wrong.append(f"key {number} was won by {winner[number]}, and has the value of {by}")
        elif number not in winner and by not in killed:
            wrong.append(f"key {number} has the value of {by}, who was told that he has it not")
    return wrong


async def _in_one_process(
    callers: int, keys: int
) -> tuple[dict[str, list[int]], list[Any], list[str]]:
    """The same where memory is all there is: who is killed there is a task that is cancelled."""
    told: dict[str, list[int]] = {f"p{number}": [] for number in range(2 * callers)}
    killed = []
    async with Cache() as cache:
        acme = cache.tenant("acme")

        async def add_them(me: str) -> None:
            for number in range(keys):
                await asyncio.sleep(0)
                if await acme.add("job", number, {"by": me}):
                    told[me].append(number)

        running = {me: asyncio.ensure_future(add_them(me)) for me in told}
        for me in [*running][:callers]:
            await asyncio.sleep(0.002)
            running[me].cancel()
            killed.append(me)
        await asyncio.wait(running.values())
        found = await acme.get_many("job", range(keys))
    return told, [each.value for each in found], killed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--tiers", nargs="*", choices=TIERS, default=TIERS)
    options = parser.parse_args()
    failed = False
    for tiers in options.tiers:
        outcome = asyncio.run(
            run(tiers, processes=options.processes, keys=options.keys, kills=options.kills)
        )
        failed |= bool(outcome.wrong)
        say(
            f"{tiers}: {outcome.keys} keys, {outcome.won} won by who lived to say so, "
            f"{outcome.killed} killed, {len(outcome.wrong)} wrong, {outcome.seconds:.1f} s"
        )
        for sentence in outcome.wrong[:10]:
            say(f"    {sentence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
