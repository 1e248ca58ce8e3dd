"""How the benchmarks time: in turn, in one process, and only ratios count.

The cases run one after the other, round after round, so that a slow minute of the machine slows all
of them. In a round a case runs a few times, and its fastest run counts: what slows the others down
is not its doing. A case's ratio is the median over the rounds of (its time / the base's time in the
same round); nanoseconds are medians, shown for orientation. The garbage collector runs between
rounds and not inside a case, and what was built before is frozen out of its sight.

Time is the wall's, or (`clock=CPU`) the CPU time of this thread: beside a server, the wall shows
the machine's other work above all.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RUNS: Final = 5
"""Of a case in one round."""

Clock = Callable[[], int]
WALL: Final[Clock] = time.perf_counter_ns
CPU: Final[Clock] = time.thread_time_ns
ALL_CPU: Final[Clock] = time.process_time_ns
"""Of all threads: for those who work in threads of their own."""


@dataclass(frozen=True)
class Case:
    """`run` does `operations` operations; its own loop stands inside, as a user would write it.
    `before`: what is done before each run, and not timed."""

    name: str
    operations: int
    run: Callable[[], Awaitable[None]]
    before: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True)
class Timing:
    """Nanoseconds of one operation, one sample for each round."""

    samples: tuple[float, ...]

    @property
    def ns(self) -> float:
        return statistics.median(self.samples)

    def over(self, base: Timing) -> float:
        """The median ratio to `base`, round by round."""
        return statistics.median(
            mine / its for mine, its in zip(self.samples, base.samples, strict=True)
        )

    def less(self, other: Timing) -> float:
        """The median difference to `other`, round by round."""
        return statistics.median(
            mine - its for mine, its in zip(self.samples, other.samples, strict=True)
        )


async def in_turn(
    cases: Sequence[Case], rounds: int, *, clock: Clock = WALL, runs: int = RUNS
) -> dict[str, Timing]:
    """Time every case once in each round; of several, one more before them counts for nothing."""
    samples: dict[str, list[float]] = {case.name: [] for case in cases}
    for case in cases if rounds > 1 else ():
        await _time(case, WALL, 1)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(rounds):
            for case in cases:
                samples[case.name].append(await _time(case, clock, runs))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return {name: Timing(tuple(each)) for name, each in samples.items()}


async def _time(case: Case, clock: Clock, runs: int) -> float:
    fastest = math.inf
    for _ in range(runs):
        if case.before is not None:
            await case.before()
        started = clock()
        await case.run()
        fastest = min(fastest, clock() - started)
    return fastest / case.operations


def machine() -> str:
    """The machine, in one line."""
    model = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, {python}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their headings; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    lines = [heading, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
