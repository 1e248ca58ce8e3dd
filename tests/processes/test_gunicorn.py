"""Four preloaded gunicorn workers on one SQLite file: what one invalidates, all forget."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from cascada import Cache
from tests.processes.conftest import Figures
from tests.processes.gunicorn import PATIENCE, Gunicorn, Worker

TRIALS = 32
BOUND = 0.5
"""Seconds: how long another process's memory may be trusted without news."""


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    with Gunicorn(tmp_path, workers=4) as running:
        yield running


@pytest.fixture
async def workers(gunicorn: Gunicorn) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as open_clients:
        yield await gunicorn.one_client_for_each_worker(open_clients)


async def in_memory_of_all(workers: list[Worker], name: str, value: str) -> None:
    for worker in workers:
        while (said := await worker.row(name))["tier"] != "l1":
            assert said["value"] == value
        assert said["value"] == value


async def last_seen(worker: Worker, name: str, old: str, returned: float) -> tuple[float, float]:
    """Seconds after `returned` when the last read began that got the old value, and the new one."""
    late = 0.0
    while late < 10 * BOUND:
        began = time.monotonic()
        said = await worker.row(name)
        if said["value"] != old:
            break
        late = began - returned
    return late, time.monotonic() - returned


async def test_what_one_worker_invalidates_all_have_forgotten_within_half_a_second(
    gunicorn: Gunicorn, workers: list[Worker], figures: Figures
) -> None:
    stale: list[float] = []
    seen: list[float] = []
    (gunicorn.source / "shared").write_text("0", "utf-8")
    for trial in range(TRIALS):
        old, new = str(trial), str(trial + 1)
        await in_memory_of_all(workers, "shared", old)
        writer = workers[trial % len(workers)]
        await writer.change("shared", new)
        returned = time.monotonic()
        for late, first in await asyncio.gather(
            *(last_seen(worker, "shared", old, returned) for worker in workers)
        ):
            stale.append(late)
            seen.append(first)
        assert (await writer.row("shared"))["value"] == new
    figures(f"the slowest of {TRIALS} trials: {max(seen):.3f} s until all had read the new value")
    figures(f"the last read that got an old one began {max(stale):.3f} s after the invalidation")
    assert max(stale) > 0, "memory answered while nothing had been heard, or this proves nothing"
    assert max(stale) < BOUND


async def test_a_worker_sees_its_own_invalidation_at_once(workers: list[Worker]) -> None:
    for trial in range(1, 20):
        worker = workers[trial % len(workers)]
        await worker.change("own", str(trial))
        assert (await worker.row("own"))["value"] == str(trial)


async def test_nothing_of_the_master_s_memory_reaches_a_worker(workers: list[Worker]) -> None:
    for worker in workers:
        assert worker.pid != worker.first["master"]
        assert worker.first["tier"] == "l3", "the master's row is in the database, not in memory"
        assert (await worker.row("early"))["tier"] == "l1"


async def test_sigterm_lets_a_load_answer_and_stores_it(
    gunicorn: Gunicorn, workers: list[Worker], figures: Figures
) -> None:
    worker = workers[0]
    asked = asyncio.ensure_future(worker.client.get("/slow/late/2.0"))
    async with asyncio.timeout(PATIENCE):
        while not (gunicorn.source / "loading").exists():  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.01)
    ended_after = asyncio.ensure_future(asyncio.to_thread(gunicorn.terminate))
    with closing(sqlite3.connect(gunicorn.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = await asked
        # The client has its answer, and the value still waits for this transaction: were the
        # worker to end with its last request, it would be lost.
        await asyncio.sleep(0.2)
        other.execute("ROLLBACK")
    assert answer.json() == {"value": f"loaded by {worker.pid}", "pid": worker.pid}
    spent = await ended_after
    figures(f"{spent:.2f} s from SIGTERM to the end of all processes")
    assert 1.0 < spent < 10.0, gunicorn.said
    assert gunicorn.process.returncode == 0
    assert "Traceback" not in gunicorn.said, gunicorn.said
    async with Cache(database=str(gunicorn.database)) as cache:
        hit = await cache.tenant("acme").get("row", "late")
        assert (hit.value, getattr(hit, "tier", None)) == (f"loaded by {worker.pid}", "l3")
