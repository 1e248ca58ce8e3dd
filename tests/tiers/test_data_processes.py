"""Processes that count together and hand items to each other: nothing is lost, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits
from tests.properties.budget import FACTOR
from tests.servers.redis import RedisServer

PROGRAM = """
import asyncio, itertools, json, os, sys
from cascada import Cache, Limits

async def count(acme, times):
    left, highest = times, 0
    async def caller():
        nonlocal left, highest
        while left:
            left -= 1
            seen = await acme.increment("calls", "chat")
            highest = max(highest, seen)
    await asyncio.gather(*(caller() for _ in range(50)))
    return highest

async def produce(acme, name, times):
    for number in range(times):
        await acme.list("jobs").rpush((name, number))

async def consume(acme):
    taken, jobs = [], acme.list("jobs")
    while True:
        job = await jobs.lpop()
        if job is None:
            await asyncio.sleep(0.001)
        elif job == "stop":
            return taken
        else:
            taken.append(job)

async def toil(acme, name):
    numbers = itertools.count()
    async def caller():
        for number in numbers:
            await acme.list("done").lpush((name, number))
            await acme.increment("calls", "chat")
            os.write(1, b"%d\\n" % number)  # acknowledged, whatever becomes of this process
    await asyncio.gather(*(caller() for _ in range(5)))

async def main(where, role, *arguments):
    async with Cache(**where, limits=Limits(op_timeout=30.0)) as cache:
        acme = cache.tenant("acme")
        await acme.counter("calls", "chat")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await globals()[role](acme, *arguments)), flush=True)

asyncio.run(main(*json.loads(sys.argv[1])))
"""

Where = dict[str, str]


@pytest.fixture(params=["redis", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """What the caches of all processes share."""
    if request.param == "sqlite":
        return {"database": str(tmp_path / "cache.db")}
    server: RedisServer = request.getfixturevalue("redis_server")
    server.flush()
    return {"redis": server.url}


class Child:
    """One process, which does its part when it is told to and says what came of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, where: Where, role: str, *arguments: Any) -> Child:
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM, json.dumps([where, role, *arguments])),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )

    async def is_ready(self) -> None:
        assert self.process.stdout is not None
        assert await self.process.stdout.readline() == b"ready\n"

    async def go(self) -> Any:
        said, _ = await self.process.communicate(b"go\n")
        assert self.process.returncode == 0
        return json.loads(said)


@contextlib.asynccontextmanager
async def children(where: Where, *roles: tuple[Any, ...]) -> AsyncIterator[list[Child]]:
    started = [await Child.start(where, *role) for role in roles]
    try:
        for child in started:
            await child.is_ready()
        yield started
    finally:
        for child in started:
            if child.process.returncode is None:
                child.process.kill()
                await child.process.wait()


async def test_processes_count_exactly(where: Where) -> None:
    count, times = (8 if FACTOR > 1 else 4), (500 if "redis" in where else 150) * FACTOR
    async with children(where, *[("count", times)] * count) as counting:
        highest = await asyncio.gather(*(child.go() for child in counting))
    assert max(highest) == count * times
    async with Cache(**where) as cache:  # type: ignore[arg-type]
        assert await cache.tenant("acme").counter("calls", "chat") == count * times
        assert await cache.tenant("globex").counter("calls", "chat") == 0


async def test_two_processes_append_and_none_is_lost(where: Where) -> None:
    async with children(where, ("produce", "a", 300), ("produce", "b", 300)) as producing:
        await asyncio.gather(*(child.go() for child in producing))
    async with Cache(**where, limits=Limits(op_timeout=30.0)) as cache:  # type: ignore[arg-type]
        got = await cache.tenant("acme").list("jobs").range()
    assert len(got) == 600
    for name in ("a", "b"):
        assert [number for who, number in got if who == name] == [*range(300)]


async def test_what_is_pushed_is_popped_once_and_in_order(where: Where) -> None:
    times = 600 if "redis" in where else 200
    roles = [("produce", name, times) for name in ("a", "b")] + [("consume",)] * 3
    async with (
        children(where, *roles) as both,
        Cache(**where, limits=Limits(op_timeout=30.0)) as cache,
    ):  # type: ignore[arg-type]
        consuming = asyncio.gather(*(child.go() for child in both[2:]))
        await asyncio.gather(*(child.go() for child in both[:2]))
        jobs = cache.tenant("acme").list("jobs")
        for _ in range(3):
            await jobs.rpush("stop")
        taken = await consuming
        assert await jobs.length() == 0
    jobs_done = [(name, number) for each in taken for name, number in each]
    assert sorted(jobs_done) == sorted((name, n) for name in ("a", "b") for n in range(times))
    assert sum(len(each) > 10 for each in taken) > 1, "else it would have proved little"
    for each in taken:
        for name in ("a", "b"):
            numbers = [number for who, number in each if who == name]
            assert numbers == sorted(numbers), "a producer's items come in his order"


async def test_what_killed_processes_leave_behind_is_whole(where: Where) -> None:
    """Each is killed in the middle of it: what it was told is done is done, and at most once."""
    names = ["a", "b", "c"]
    async with children(where, *[("toil", name) for name in names]) as toiling:
        for child in toiling:
            assert child.process.stdin is not None
            child.process.stdin.write(b"go\n")
        acknowledged = []
        for child in toiling:
            stdout = child.process.stdout
            assert stdout is not None
            lines = [await stdout.readline() for _ in range(100)]
            child.process.kill()
            lines += (await stdout.read()).splitlines()
            acknowledged.append({int(line) for line in lines})
    async with Cache(**where, limits=Limits(op_timeout=30.0)) as cache:  # type: ignore[arg-type]
        acme = cache.tenant("acme")
        done = [(name, number) for name, number in await acme.list("done").range()]
        counted = await acme.counter("calls", "chat")
        assert await acme.list("done").length() == len(done) == len({*done})
        for name, numbers in zip(names, acknowledged, strict=True):
            assert numbers <= {number for who, number in done if who == name}
        assert sum(map(len, acknowledged)) <= counted <= len(done)
        assert await acme.list("done").rpush("next") == len(done) + 1
