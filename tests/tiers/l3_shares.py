"""A database of fixed size and many tenants: what one that writes far too much costs the others.

    python -m tests.tiers.l3_shares --mb 40
    python -m tests.tiers.l3_shares --mb 200 --prune

Four quiet tenants read what a tenth of the file holds for each, the better known keys more often
(Zipf); a noisy one writes ten times its quota, over and over. The hit ratio of the quiet ones is
compared with what each has alone in the file, and that of all with a run in which all are one
tenant, so that the file is not shared out. It ends with 1 if either falls by a point or more.

`--prune`: instead, a file twice as large as allowed is brought down to its size while another
connection reads; the longest of its reads is told beside those of a file at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from pathlib import Path

from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.testing.clock import ManualClock
from cascada.tiers.contract import Found, Lease
from cascada.tiers.sqlite.tier import SqliteTier

VALUE = 2000
ROW = VALUE + 400
QUIET = ("a", "b", "c", "d")
NOISY = "noisy"
AT_ONCE = 50


class Bench:
    """A tier of so many bytes, and how often each tenant has found something."""

    def __init__(self, path: Path, size: int, *, one: bool = False) -> None:
        self.clock = ManualClock()
        self.tier = SqliteTier(path, namespace="shares", clock=self.clock, capacity_bytes=size)
        self._one = one
        self.reads: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()

    async def read(self, asked: list[tuple[str, int]]) -> None:
        """Read these, and load what is not there, as a service would."""
        keys = [
            Key("all" if self._one else tenant, "row", None, None, None, f"{tenant}{number}")
            for tenant, number in asked
        ]
        answers = await self.tier.read(keys)
        missed: dict[Key, Found | object] = {}
        for (tenant, _), key, answer in zip(asked, keys, answers, strict=True):
            self.reads[tenant] += 1
            self.hits[tenant] += isinstance(answer, Found)
            if not isinstance(answer, Found):
                missed[key] = answer
        if missed:
            leases = [
                each
                for each in await self.tier.lease([*missed], [None] * len(missed))
                if isinstance(each, Lease)
            ]
            entry = Entry(bytes(VALUE), created=self.clock.time())
            await self.tier.fill(leases, [entry] * len(leases))
        self.clock.advance(2.0)

    def ratio(self, *tenants: str) -> float:
        """Hits of these over their reads."""
        reads = sum(self.reads[tenant] for tenant in tenants)
        return sum(self.hits[tenant] for tenant in tenants) / reads


def traffic(size: int, rounds: int, tenants: tuple[str, ...]) -> Iterator[list[tuple[str, int]]]:
    """What is asked for, the same whoever else is there."""
    keys = size // 10 // ROW
    weights = [*accumulate(1 / (rank + 1) for rank in range(keys))]
    chances = {tenant: random.Random(tenant) for tenant in (*QUIET, NOISY)}
    noise = 0
    quota = size // (len(QUIET) + 1) // ROW
    for _ in range(rounds):
        asked: list[tuple[str, int]] = []
        for tenant in QUIET:
            drawn = chances[tenant].choices(range(keys), cum_weights=weights, k=AT_ONCE)
            if tenant in tenants:
                asked += [(tenant, number) for number in drawn]
        if NOISY in tenants:
            asked += [(NOISY, (noise + number) % (10 * quota)) for number in range(3 * AT_ONCE)]
            noise += 3 * AT_ONCE
        yield asked


async def measured(
    folder: Path, size: int, rounds: int, tenants: tuple[str, ...], **how: bool
) -> Bench:
    """One run, over its second half."""
    bench = Bench(folder / f"{'-'.join(tenants)}{len(how)}.db", size, **how)
    for number, asked in enumerate(traffic(size, rounds, tenants)):
        if number == rounds // 2:
            bench.reads.clear()
            bench.hits.clear()
        await bench.read(asked)
    await bench.tier.aclose()
    return bench


async def compare(
    folder: Path, size: int, rounds: int, quiet: tuple[str, ...] = QUIET
) -> tuple[dict[str, float], float]:
    """By how many points each of these quiet tenants, and all together, fall."""
    everybody = (*QUIET, NOISY)
    shared = await measured(folder, size, rounds, everybody)
    falls = {}
    for tenant in quiet:
        alone = await measured(folder, size, rounds, (tenant,))
        falls[tenant] = 100 * (alone.ratio(tenant) - shared.ratio(tenant))
    whole = await measured(folder, size, rounds, everybody, one=True)
    return falls, 100 * (whole.ratio(*everybody) - shared.ratio(*everybody))


def reads(path: Path, stop: Path) -> list[float]:
    """How long reads of single rows take, by a process of its own, until that file is there."""
    stop.with_suffix(".begun").touch()
    connection = sqlite3.connect(path, isolation_level=None)
    took, chance = list[float](), random.Random(1)
    ((last,),) = connection.execute("SELECT max(id) FROM entries").fetchall()
    while not stop.exists():
        began = time.perf_counter()
        connection.execute(
            "SELECT envelope FROM entries WHERE id = ?", (chance.randrange(last),)
        ).fetchall()
        took.append(time.perf_counter() - began)
        time.sleep(0.0005)
    connection.close()
    return sorted(took)


async def prune(folder: Path, size: int) -> str:
    """Bring a file down to half of what it holds, in the background, and read meanwhile."""
    path, clock = folder / "large.db", ManualClock()
    tier = SqliteTier(path, namespace="shares", clock=clock, capacity_bytes=0)
    total = 2 * size // ROW
    for first in range(0, total, 1000):
        keys = [
            Key(QUIET[n % 4], "row", None, None, None, f"{n}")
            for n in range(first, min(first + 1000, total))
        ]
        leases = await tier.lease(keys, [None] * len(keys))
        granted = [each for each in leases if isinstance(each, Lease)]
        await tier.fill(granted, [Entry(bytes(VALUE), created=1.0)] * len(granted))
    await tier.aclose()
    smaller = SqliteTier(path, namespace="shares", clock=clock, capacity_bytes=size)
    told = []
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    for what in ("at rest", "while it shrinks"):
        stop = folder / what
        reading = asyncio.get_running_loop().run_in_executor(pool, reads, path, stop)
        while not stop.with_suffix(".begun").exists():  # noqa: ASYNC110 - another process's file
            await asyncio.sleep(0.05)
        began = time.perf_counter()
        if what == "at rest":
            await asyncio.sleep(3)
        else:
            # One write, and what it has begun goes on by itself.
            lease = await smaller.lease([Key("a", "row", None, None, None, "new")], [None])
            await smaller.fill([each for each in lease if isinstance(each, Lease)], [Entry(b"x")])
            while (await smaller.usage()).size_bytes > size:  # noqa: ASYNC110 - the file has none
                await asyncio.sleep(0.02)
        seconds = time.perf_counter() - began
        stop.touch()
        took = [1000 * each for each in await reading]
        told.append(
            f"{what} ({seconds:.1f} s): {len(took):,} reads, of 1,000 the longest "
            f"{took[-1 - len(took) // 1000]:.1f} ms, of all {took[-1]:.1f} ms"
        )
    pool.shutdown()
    usage = await smaller.usage()
    await smaller.aclose()
    return (
        f"{usage.evictions:,} rows went from {2 * size / 2**20:.0f} MB, "
        f"{usage.size_bytes / 2**20:.1f} MB are left. " + "; ".join(told)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=40)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--prune", action="store_true")
    given = parser.parse_args()
    size = int(given.mb * 2**20)
    with tempfile.TemporaryDirectory(prefix="l3-shares-") as folder:
        if given.prune:
            sys.stdout.write(asyncio.run(prune(Path(folder), size)) + "\n")
            return 0
        falls, total = asyncio.run(compare(Path(folder), size, given.rounds))
    quiet = ", ".join(f"{tenant} {fall:+.2f}" for tenant, fall in falls.items())
    sys.stdout.write(
        f"points that a quiet tenant has less than alone: {quiet}; all together less than in a "
        f"file that is not shared out: {total:+.2f}\n"
    )
    return int(max(*falls.values(), total) >= 1)


if __name__ == "__main__":
    sys.exit(main())
