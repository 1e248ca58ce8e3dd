"""The page of one of several workers has what all of them count, and nothing of their maker."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cascada import Cache, Policy
from cascada.engine import filing
from cascada.integrations.prometheus import CacheCollector, exposition
from cascada.telemetry import ledger, workers
from cascada.testing.inside import inside

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who made a process is not known")

PROGRAM = """
import asyncio, json, multiprocessing, os, signal, sys
from cascada import Cache, configure, track_cache_metrics
from cascada.engine import filing
from cascada.testing.inside import inside
from cascada.integrations.prometheus import exposition
from prometheus_client.parser import text_string_to_metric_families

cache = Cache(database=sys.argv[1])
filing.EACH = 0.001

async def use(tenant, times):
    acme = cache.tenant(tenant)
    await acme.load("x", "1", lambda: "value")
    while not await acme.get("x", "1"):
        await asyncio.sleep(0.001)
    for _ in range(times):
        await acme.get("x", "1")
    await acme.set("y", tenant, "value")
    await acme.invalidate("y", tenant)
    configure(cache)
    await track_cache_metrics("x", tenant, "answers", 2.5)
    configure(None)
    inside(cache).trace.tier_failed("feed", "for the test")

async def page():
    found = {}
    for family in text_string_to_metric_families((await exposition(cache)).decode()):
        for sample in family.samples:
            if "le" not in sample.labels:
                labels = [v for k, v in sorted(sample.labels.items()) if k != "group"]
                found[" ".join([sample.name, *labels])] = sample.value
    return found

def worker(tenant, times, inbox, outbox):
    async def work():
        await use(tenant, times)
        await asyncio.sleep(0.1)  # until it has looked how full memory is
        while True:
            outbox.send(await page())
            await asyncio.to_thread(inbox.recv)
    asyncio.run(work())

if __name__ == "__main__":
    asyncio.run(use("master", 7))
    asyncio.run(cache.reset())
    context = multiprocessing.get_context("fork")
    workers = []
    for tenant, times in (("a", 3), ("b", 4)):
        inbox, tell = context.Pipe(False)
        told, outbox = context.Pipe(False)
        process = context.Process(target=worker, args=(tenant, times, inbox, outbox))
        process.start()
        print(json.dumps(told.recv()))
        workers.append((process, tell, told))
    workers[0][1].send(0)
    print(json.dumps(workers[0][2].recv()))
    workers[0][0].kill()
    workers[0][0].join()
    workers[1][1].send(0)
    print(json.dumps(workers[1][2].recv()))
    workers[1][0].kill()
    print(json.dumps(asyncio.run(page())))
"""


def test_what_workers_count(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), str(tmp_path / "cache.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, again, without, master = map(json.loads, done.stdout.splitlines())

    def counts(page: dict[str, float]) -> list[float]:
        names = (
            "cache_loads_total x", "cache_stored_total y", "cache_invalidations_total",
            "cache_tier_errors_total feed", "cache_response_time_seconds_count source",
            "cache_tracked_total x answers",
        )  # fmt: skip
        return [page[name] for name in names]

    assert counts(first) == [1] * 6
    for page in (second, again, without):
        assert counts(page) == [2] * 6
        assert page["cache_tracked_sum x answers"] == 5
        hits = page["cache_hit_total x l1"]
        assert hits == page["cache_response_time_seconds_count l1"]
    assert again["cache_hit_total x l1"] == without["cache_hit_total x l1"] >= 3 + 4
    assert [page["cache_workers"] for page in (first, second, again, without)] == [1, 2, 2, 1]
    assert again["cache_entries l1"] == 2, "one of each"
    assert again["cache_capacity_bytes l1"] == 2 * first["cache_capacity_bytes l1"]
    assert again["cache_tier_up l3"] == 1
    assert without["cache_entries l1"] == 1, "what the dead one held is gone"
    assert again["cache_entries l3"] == without["cache_entries l3"], "what they share is there once"
    assert counts(master)[0] == 1, "who made them is none of them"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is a worker; the folder of its group."""
    monkeypatch.setattr(filing, "maker_of_this", os.getppid)
    monkeypatch.setattr(workers, "folder_of_group", lambda: tmp_path)
    return tmp_path


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


async def misses(cache: Cache) -> str:
    await cache.tenant("acme").get("x", "1")
    (line,) = [
        line
        for line in (await exposition(cache)).decode().splitlines()
        if line.startswith("cache_miss_total")
    ]
    return line.split()[-1]


async def test_without_room_each_worker_tells_its_own(
    worker: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger.os, "pwrite", lambda *args: 1)
    with caplog.at_level(logging.WARNING, "cascada"):
        async with Cache() as cache:
            assert [await misses(cache) for _ in range(2)] == ["1.0", "2.0"]
    (record,) = caplog.records
    assert "metrics are of each worker alone" in record.getMessage()


async def test_a_damaged_file_fails_no_scrape(
    worker: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cache() as cache:
        assert await misses(cache) == "1.0"
        own = only(worker, "*.counts")
        name = own.name.partition(".")[0]
        (worker / f"{name}.other.counts").write_bytes(b"odd")
        (worker / f"{name}.other.rows").write_bytes(b"[]\n")
        with caplog.at_level(logging.WARNING, "cascada"):
            assert [await misses(cache) for _ in range(2)] == ["2.0", "3.0"]
        assert len(caplog.records) == 1


async def test_a_scrape_on_the_loop_waits_for_nobody(worker: Path) -> None:
    async with Cache() as cache:
        assert await misses(cache) == "1.0"
        lock = only(worker, "*.lock")
        registry = CollectorRegistry()
        registry.register(CacheCollector(cache))
        with lock.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            began = time.perf_counter()
            assert b"cache_miss_total" in generate_latest(registry)
            assert time.perf_counter() - began < workers.PATIENCE


async def test_policies_on_trial_are_counted_by_all_workers(
    worker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for _ in range(2):  # the second one finds what the first has left
        monkeypatch.setattr(filing, "ordinals", Counter())
        async with Cache(policies={"x": Policy(ttl=60, trial=Policy(ttl=600))}) as cache:
            for number in range(20):
                await cache.tenant("acme").load("x", str(number), lambda: "value")
            page = (await exposition(cache)).decode().splitlines()
            loads_of = [line.split() for line in page if line.startswith("cache_loads_total")]
            found = {name: float(count) for name, count in loads_of}
            of = (await cache.stats()).trials["x"]
            pages.append(([of["a"].loads, of["b"].loads], found))
    (once, first), (_, second) = pages
    assert sum(once) == 20
    for variant, loads in zip("ab", once, strict=True):
        name = f'cache_loads_total{{data_type="x",variant="{variant}"}}'
        assert (first[name], second[name]) == (loads, 2 * loads)


def test_a_type_that_another_thread_meets_meanwhile_is_filed_as_well(worker: Path) -> None:
    cache = Cache()
    acme = cache.tenant("acme")
    assert acme.key("x", "1")
    kinds = inside(cache).stack.kinds
    with ThreadPoolExecutor(1) as threads:
        with kinds.lock:  # as who has not quite made another
            used = threads.submit(asyncio.run, acme.get("x", "1"))
            while not [*worker.glob("*.counts")]:
                time.sleep(0.001)
            time.sleep(0.02)
            assert kinds.on_new is None, "nobody looks for kinds meanwhile"
        assert not used.result()
    assert kinds.on_new is not None
    cache.sync.close()
