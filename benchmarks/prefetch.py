"""What prefetching would do for real traffic: `python benchmarks/prefetch.py FOLDER`.

FOLDER holds traces, `*.csv.gz` with a line for each request (timestamp_ms,key,size). Each is
replayed twice through a memory of 1 % of its keys, all of one size, least recently used goes first:
once alone, once with the learner that the cache itself uses. Of each trace it tells the hit ratio
of both, the precision (of what was fetched ahead, the share that was asked for before it went) and
the fetches from the source, those ahead among them, over those without.

It exits with 1 if prefetching makes a hit ratio worse by more than half a point, or fetches more
than 1.05 times as much.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from _timing import table

from cascada.engine.strategies.prefetch import Learner
from cascada.model.limits import Limits

SHARE = 0.01
"""Of the keys of a trace, how many memory has room for."""

WORSE, MORE = 0.005, 1.05
"""What prefetching may cost: of the hit ratio, and times the fetches without it."""


@dataclass(frozen=True)
class Replay:
    """One trace. `alone` and `ahead` are hit ratios; `fetches` is times those without; `seconds`
    of a fetch are what the learner took for each miss and each first use, in microseconds."""

    trace: str
    requests: int
    room: int
    alone: float
    ahead: float
    precision: float | None
    prefetched: int
    fetches: float
    took_us: float

    @property
    def held(self) -> bool:
        return self.ahead >= self.alone - WORSE and self.fetches <= MORE

    def cells(self) -> tuple[str, ...]:
        known = "-" if self.precision is None else f"{self.precision:.3f}"
        return (
            self.trace, f"{self.requests:,}", f"{self.room:,}", f"{self.alone:.3f}",
            f"{self.ahead:.3f}", f"{100 * (self.ahead - self.alone):+.1f}", known,
            f"{self.prefetched:,}", f"{self.fetches:.3f}", f"{self.took_us:.1f}",
        )  # fmt: skip


HEADING = (
    "trace", "requests", "room", "alone", "ahead", "points", "precision", "prefetched", "fetches",
    "us/miss",
)  # fmt: skip


class Memory:
    """An LRU of so many keys, and what was fetched into it ahead."""

    def __init__(self, room: int, learner: Learner[Any] | None = None) -> None:
        self._room = room
        self._learner = learner
        self._keys: OrderedDict[Any, None] = OrderedDict()
        self._unused: set[Any] = set()
        self.hits = self.misses = self.prefetched = self.used = self.wasted = 0

    def ask(self, key: Any) -> None:
        """A caller's read."""
        keys, learner = self._keys, self._learner
        if key in keys:
            keys.move_to_end(key)
            self.hits += 1
            if key not in self._unused or learner is None:
                return
            self._unused.discard(key)
            self.used += 1
            predicted = learner.used(key)
        else:
            self.misses += 1
            self._keep(key)
            predicted = [] if learner is None else learner.saw(key)
        for each in predicted:
            if learner is not None and each not in keys and learner.affords:
                learner.fetched(each)
                self.prefetched += 1
                self._unused.add(each)
                self._keep(each)

    def _keep(self, key: Any) -> None:
        self._keys[key] = None
        if len(self._keys) > self._room:
            gone, _ = self._keys.popitem(last=False)
            if gone in self._unused and self._learner is not None:
                self._unused.discard(gone)
                self.wasted += 1
                self._learner.wasted(gone)


def replay(trace: str, keys: Sequence[Any], room: int | None = None) -> Replay:
    """Both runs over one trace; `room` is in keys."""
    room = room or max(1, int(SHARE * len(set(keys))))
    alone, took = _run(keys, Memory(room))
    ahead, took_ahead = _run(keys, Memory(room, Learner(Limits.prefetch_budget)))
    known = ahead.used + ahead.wasted
    return Replay(
        trace,
        len(keys),
        room,
        alone.hits / len(keys),
        ahead.hits / len(keys),
        ahead.used / known if known else None,
        ahead.prefetched,
        (ahead.misses + ahead.prefetched) / alone.misses,
        1e6 * max(0.0, took_ahead - took) / (ahead.misses + ahead.used),
    )


def _run(keys: Sequence[Any], memory: Memory) -> tuple[Memory, float]:
    started, ask = time.process_time(), memory.ask
    for key in keys:
        ask(key)
    return memory, time.process_time() - started


def keys_of(path: Path) -> list[int]:
    """The keys of a trace, numbered as they come."""
    numbers: dict[str, int] = {}
    with gzip.open(path, "rt", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        return [numbers.setdefault(row[1], len(numbers)) for row in rows]


def plot(replays: Sequence[Replay], path: Path) -> None:
    """Both hit ratios of each trace, side by side."""
    import matplotlib as mpl

    mpl.use("agg")  # no screen is needed
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(replays) + 1.5))
    places = range(len(replays))
    axes.barh([at + 0.2 for at in places], [each.alone for each in replays], 0.4, label="LRU alone")
    axes.barh([at - 0.2 for at in places], [each.ahead for each in replays], 0.4, label="prefetch")
    axes.set_yticks([*places], [each.trace for each in replays])
    axes.set_xlabel("hit ratio, room for 1 % of the keys")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="What prefetching would do for real traffic.")
    parser.add_argument("folder", type=Path, help="traces, *.csv.gz: timestamp_ms,key,size")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw both hit ratios")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.csv.gz"))
    if not paths:
        parser.error(f"there are no *.csv.gz in {options.folder}")
    replays = [replay(path.name.removesuffix(".csv.gz"), keys_of(path)) for path in paths]
    if options.json:
        said = [{**asdict(each), "held": each.held} for each in replays]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(said)).decode() + "\n")
    else:
        sys.stdout.write(table(HEADING, [each.cells() for each in replays]) + "\n")
    if options.plot is not None:
        plot(replays, options.plot)
    sys.exit(0 if all(each.held for each in replays) else 1)


if __name__ == "__main__":
    main()
