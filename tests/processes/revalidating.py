"""Two processes, many callers and one stale key: who answers, how soon, and who revalidates.

    python -m tests.processes.revalidating [--callers 100] [--seconds 2]

Each process asks `swr_cache` for two keys that are stale, with a loader that takes `seconds`. While
it runs, one of the keys is deleted: what it brings was read before that.

Where its time would only be waited for (`cut`), a loader ends as soon as all have their answers and
the key is deleted: nobody who had waited for it could have one by then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cascada import (
    Cache,
    Context,
    Limits,
    configure,
    delete_cached_value,
    get_cached_value,
    swr_cache,
)
from tests.servers.redis import RedisServer

ROOT: Final = Path(__file__).parents[2]
PROCESSES: Final = 2
FRESH: Final = 0.5
"""Seconds until the keys are stale."""

PROGRAM: Final = """
import asyncio, sys
from tests.processes.revalidating import ask
asyncio.run(ask(*sys.argv[1:]))
"""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def appending(path: str) -> Any:
    """A file in which each line is as soon as it is written."""
    return Path(path).open("ab", buffering=0)


def opened(url: str) -> Cache:
    cache = Cache(redis=url, limits=Limits(op_timeout=30.0))
    configure(cache)
    return cache


async def ask(url: str, callers: str, seconds: str, told: str) -> None:
    """What one process does."""
    ended = asyncio.Event()
    with appending(told) as file:

        async def load(key: str) -> float:
            began = time.time()
            file.write(f"{key} {began}\n".encode())
            await asyncio.wait([asyncio.ensure_future(ended.wait())], timeout=float(seconds))
            return began

        async def one(key: str) -> tuple[float | None, float]:
            began = time.perf_counter()
            value = await swr_cache.get(key, lambda: load(key), ttl=FRESH, stale_for=60)
            return value, time.perf_counter() - began

        with Context(tenant_id="acme"):
            async with opened(url):
                await get_cached_value("connected")
                say("ready")
                await asyncio.to_thread(sys.stdin.readline)
                await asyncio.gather(one("kept"), one("deleted"))  # fresh, and in memory
                say("warm")
                await asyncio.to_thread(sys.stdin.readline)
                keys = ["kept", "deleted"] * (int(callers) // 2)
                answers = await asyncio.gather(*map(one, keys))
                say(json.dumps(answers))
                await asyncio.to_thread(sys.stdin.readline)
                ended.set()
                await asyncio.to_thread(sys.stdin.readline)


OLD: Final = 0.0
"""What is there at first; later values are the times when their loads began."""


@dataclass(frozen=True)
class Outcome:
    """The answers and what they took, when which key was loaded and when one was deleted, and what
    is there at the end."""

    values: list[float | None]
    spent: list[float]
    loads: list[tuple[str, float]]
    deleted_at: float
    kept: float | None
    deleted: float | None

    def wrong(self, seconds: float) -> list[str]:
        found = []
        if {*self.values} != {OLD}:
            found.append(f"answers were { ({*self.values}) }, not the stale value")
        if max(self.spent) > seconds / 100:
            found.append(f"an answer took {max(self.spent):.4f} s, the loader {seconds} s")
        # Who waited for the load that the deletion has ended may begin his own after it.
        before = sorted(key for key, began in self.loads if began < self.deleted_at)
        if before != ["deleted", "kept"]:
            found.append(f"loaded were {before}")
        if not self.kept:
            found.append(f"at the end there is {self.kept!r}")
        if self.deleted is not None and self.deleted < self.deleted_at:
            found.append("what was loaded before the deletion is there after it")
        return found


async def run(callers: int, seconds: float, *, cut: bool = False) -> Outcome:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swr-")))
        server = RedisServer(folder)
        stack.callback(server.kill)
        told = folder / "told"
        arguments = [server.url, str(callers // PROCESSES), str(seconds), str(told)]
        processes = [_started(arguments) for _ in range(PROCESSES)]
        for process in processes:
            stack.callback(_end, process)
        with Context(tenant_id="acme"):
            async with opened(server.url):
                return await _watched(processes, told, 0.0 if cut else seconds)


async def _watched(
    processes: Sequence[subprocess.Popen[bytes]], told: Path, held: float
) -> Outcome:
    assert await _said(processes) == [b"ready\n"] * len(processes)
    for key in ("kept", "deleted"):
        await swr_cache.get(key, lambda: OLD, ttl=FRESH, stale_for=60)
    for process in processes:
        _go(process)
    assert await _said(processes) == [b"warm\n"] * len(processes)
    await asyncio.sleep(1.2 * FRESH)
    for process in processes:
        _go(process)
    said = await _said(processes)
    for _ in range(1000):  # both loads have begun
        if len(_read(told)) == 2:
            break
        await asyncio.sleep(0.001)
    deleted_at = time.time()
    await delete_cached_value("deleted")
    answers = [tuple(each) for line in said for each in json.loads(line)]
    await asyncio.sleep(held)
    for process in processes:
        _go(process)
    for _ in range(500):
        if await get_cached_value("kept"):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    found = Outcome(
        [value for value, _ in answers],
        [spent for _, spent in answers],
        _read(told),
        deleted_at,
        await get_cached_value("kept"),
        await get_cached_value("deleted"),
    )
    for process in processes:
        _go(process)
        await asyncio.to_thread(process.wait, 30)
    return found


def _started(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )


async def _said(processes: Sequence[subprocess.Popen[bytes]]) -> list[bytes]:
    return await asyncio.gather(*(asyncio.to_thread(_line, each) for each in processes))


def _read(told: Path) -> list[tuple[str, float]]:
    pairs = (line.split() for line in told.read_text().splitlines())
    return [(key, float(began)) for key, began in pairs]


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:  # closes its pipes
        process.kill()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.processes.revalidating")
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args(arguments)
    os.environ["CASCADA_TENANT"] = "acme"
    outcome = asyncio.run(run(asked.callers, asked.seconds))
    say(
        f"{len(outcome.values)} answers, the slowest took {max(outcome.spent) * 1000:.2f} ms, half "
        f"at most {statistics.median(outcome.spent) * 1000:.2f} ms; loads "
        f"{[key for key, _ in outcome.loads]}"
    )
    for each in (wrong := outcome.wrong(asked.seconds)):
        say(f"WRONG: {each}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
