"""Redis pauses for a moment, or is gone for long; or it is this process that stands still."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Hit, InvalidationPending, Limits
from cascada.model.events import Event
from cascada.testing.inside import InsideSqlite, inside
from cascada.tiers.capabilities import L1_LEASE
from tests.options import grouped
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

PAUSES = [float(text) for text in os.environ.get("CASCADA_REDIS_PAUSES", "0.3 0.6 1").split()]
"""Seconds for which Redis stands still; `0.3 0.6 1 2 4` in the long form."""

GONE = float(os.environ.get("CASCADA_OUTAGE_SECONDS", "2"))
"""Seconds for which it does not come back; 60 in the long form."""

MANY = 50
ROWS = 10


class Service:
    """Rows that are written by one cache and read by two; each write is an invalidation."""

    def __init__(self, here: Cache, there: Cache) -> None:
        self.caches = here, there
        self.rows: Counter[str] = Counter()
        self.returned: dict[str, tuple[int, float]] = {}
        self.old: list[tuple[str, float]] = []
        self.slowest = 0.0
        self.writes = self.reads = self.pending = 0
        self.closed = False

    async def write(self, number: int) -> None:
        name = str(number % ROWS)
        while not self.closed:
            self.rows[name] += 1
            version, began = self.rows[name], time.monotonic()
            told = await self.caches[0].tenant("acme").invalidate("doc", name)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.writes += 1
            self.pending += told.pending
            if not told.pending and version > self.returned.get(name, (0, 0.0))[0]:
                self.returned[name] = version, time.monotonic()
            await asyncio.sleep(0.1)

    async def read(self, number: int) -> None:
        handle, name = self.caches[number % 2].tenant("acme"), str(number % ROWS)
        while not self.closed:
            due, returned = self.returned.get(name, (0, 0.0))
            began = time.monotonic()
            hit: Hit[int] = await handle.load("doc", name, lambda: self._row(name))  # type: ignore[assignment]
            self.reads += 1
            if not hit.stale and hit.value < due:
                self.old.append((hit.tier, began - returned))
            await asyncio.sleep(0.02)

    async def _row(self, name: str) -> int:
        version = self.rows[name]
        await asyncio.sleep(0.002)
        return version


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("below", [False, True], ids=["redis", "redis and sqlite"])
async def test_a_redis_that_pauses_makes_no_writer_raise_and_no_reader_read_old(
    server: RedisServer, tmp_path: Path, below: bool, pause: float
) -> None:
    options: dict[str, Any] = {"redis": server.url, "invalidate_patience": 30.0}
    if below:
        options["database"] = str(tmp_path / "cache.db")
    async with Cache(**grouped(options)) as here, Cache(**grouped(options)) as there:
        service = Service(here, there)
        async with asyncio.TaskGroup() as group:
            for number in range(MANY):
                group.create_task(service.write(number))
                group.create_task(service.read(number))
            await until(lambda: service.writes > 2 * MANY)
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(pause)
            server.signal(signal.SIGCONT)
            back = service.writes + 2 * MANY
            await until(lambda: service.writes > back)
            service.closed = True
        assert service.pending == 0, "a blink is waited for, also where a database keeps it"
        assert [old for old in service.old if old[1] > L1_LEASE] == []
        print(f"{service.writes=} {service.reads=} {service.slowest=:.2f}")  # noqa: T201


@pytest.mark.parametrize("below", [False, True], ids=["redis", "redis and sqlite"])
async def test_in_a_long_outage_later_writers_do_not_wait(
    server: RedisServer, tmp_path: Path, below: bool
) -> None:
    options: dict[str, Any] = {"redis": server.url, "invalidate_patience": 0.5}
    if below:
        options["database"] = str(tmp_path / "cache.db")
    async with Cache(**grouped(options)) as cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "old")
        server.kill()

        async def write() -> tuple[bool, float]:
            began = time.monotonic()
            try:
                told = await acme.invalidate("doc", "1")
            except InvalidationPending:
                return False, time.monotonic() - began
            return told.pending, time.monotonic() - began

        assert (await write())[0] is below
        ends = time.monotonic() + GONE
        took = []
        while time.monotonic() < ends:
            pending, seconds = await write()
            assert pending is below
            took.append(seconds)
            await asyncio.sleep(0.05)
        # The middle one, since this machine may be busy with something else for a moment.
        assert sorted(took)[len(took) // 2] < 0.5
        print(f"{len(took)=} {max(took)=:.3f}")  # noqa: T201
        server.start()
        await until(lambda: not inside(cache).lower[0].deferred)


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_a_process_that_stands_still_takes_no_tier_for_dead(
    redis_server: RedisServer, tmp_path: Path, kind: str
) -> None:
    events: list[Event] = []
    where: dict[str, Any] = {
        "redis": {"redis": redis_server.url},
        "sqlite": {"database": str(tmp_path / "cache.db")},
    }[kind]
    async with Cache(**where, observers=[events.append]) as cache:
        acme = cache.tenant("acme")
        for number in range(MANY):
            await acme.set("doc", f"{number}", number)
        for _ in range(3):
            inside(cache).memory.flush()
            reads = [asyncio.create_task(acme.get("doc", f"{n}")) for n in range(MANY)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.5)  # noqa: ASYNC251 - the loop is to be blocked
            assert [(await read).value for read in reads] == list(range(MANY))
    errors = [event for event in events if event.kind in ("tier_down", "tier_error")]
    assert [(event.kind, event.tier, event.detail) for event in errors] == []


async def test_a_hundred_jobs_before_ones_own_are_no_failure_of_the_disk(
    tmp_path: Path, make_slow: Callable[[Cache, float], None]
) -> None:
    """Each takes a fifth of the deadline; together they take far longer than one call may."""
    events: list[Event] = []
    database = str(tmp_path / "cache.db")
    async with Cache(
        database=database, limits=Limits(op_timeout=0.1), observers=[events.append]
    ) as cache:
        acme = cache.tenant("acme")
        make_slow(cache, 0.02)
        await asyncio.gather(*(acme.load("doc", f"{n}", lambda: "made") for n in range(30)))
    assert "tier_down" not in [event.kind for event in events]


@pytest.fixture
def make_slow() -> Callable[[Cache, float], None]:
    def slow(cache: Cache, seconds: float) -> None:
        questions = InsideSqlite(inside(cache).lower[0].tier).questions
        read = questions.read

        def slowly(*arguments: Any, **how: Any) -> Any:
            time.sleep(seconds)
            return read(*arguments, **how)

        questions.read = slowly

    return slow
