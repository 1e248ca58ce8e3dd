"""The promise between real processes that read, load, set, invalidate, evict, sweep and die."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from cascada.model.clock import SystemClock
from cascada.tiers.contract import Found
from cascada.tiers.sqlite.tier import SqliteTier
from tests.tiers.sqlite_process import KEYS, key_of, run

PROCESSES = 3
STEPS = 400


async def test_no_process_ever_finds_what_an_invalidation_had_ended(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    path = str(tmp_path / "cache.db")
    current, returned = spawn.Array("q", KEYS, lock=False), spawn.Array("q", KEYS, lock=False)
    lock, report = spawn.Lock(), spawn.Queue()

    def start(seed: int, steps: int) -> multiprocessing.process.BaseProcess:
        process = spawn.Process(
            target=run, args=(path, seed, current, returned, lock, steps, report)
        )
        process.start()
        return process

    workers = [start(seed, STEPS) for seed in range(PROCESSES)]
    doomed = [start(100 + seed, 0) for seed in range(2)]
    reports = [report.get(timeout=120) for _ in workers]
    for process in workers + doomed:
        process.join(30)
    assert [process.exitcode for process in workers] == [0] * PROCESSES
    assert [process.exitcode for process in doomed] == [-9, -9]

    stale = [text for found, *_ in reports for text in found]
    assert stale == []
    reads, hits, invalidations, sets = (
        sum(report[column] for report in reports) for column in range(1, 5)
    )
    assert reads > 2000
    assert hits > reads / 20  # else it would have proved little
    assert invalidations > 200
    assert sets > 100

    # Now that all is quiet: nothing old is left behind for good.
    tier = SqliteTier(path, namespace="test", clock=SystemClock())
    answers = await tier.read([key_of(index) for index in range(KEYS)])
    left = {
        index: int(answer.entry.data)
        for index, answer in enumerate(answers)
        if isinstance(answer, Found)
    }
    assert left == {index: current[index] for index in left}
    usage = await tier.usage()
    assert usage.evictions > 100
    await tier.aclose()
