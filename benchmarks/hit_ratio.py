"""Hit ratios by policy on a folder of traces: `hit_ratio.py FOLDER [--policy NAME] [--json]`.

A trace is a `*.csv.gz` with the header `timestamp_ms,key,size`, a row for each request. It is
replayed with room for 0.1, 1 and 10 % of its footprint (each key once, in bytes). LRU, LFU and
ADAPTIVE are the classes that decide in memory itself; the others are there to compare. Costs are
equal; `--costs` gives each key one of 1 ms to 5 s (log-uniform), and compares ADAPTIVE that is told
them with ADAPTIVE that is not, by the seconds of loading that it avoids of those that a memory
without a bound would.

What counts is by how much a policy lowers FIFO's miss ratio, on the mean over all cells; and how
far it is, in the worst cell, below the best of the five that are known to be good. Cells that have
room for fewer than 64 objects do not count for that. With `reference.json` (of libcachesim) in the
folder, its figures are compared as well.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from _policies import POLICIES, Item
from _timing import table

from cascada.model.limits import COUNTED
from cascada.tiers.memory.adaptive import Weighed

FRACTIONS: Final = (0.001, 0.01, 0.1)
BASE: Final = "FIFO"
FIVE: Final = ("LRU", "SIEVE", "GDSF", "S3FIFO", "WTinyLFU")
LEAST: Final = 64
"""Objects that a cell has room for, if the distance from the best counts."""


class Trace(NamedTuple):
    """Requests by the number of their key, and the size of each key."""

    name: str
    requests: Sequence[int]
    sizes: Sequence[int]


class Cell(NamedTuple):
    """What one policy did with one trace and one capacity."""

    trace: str
    fraction: float
    policy: str
    capacity: int
    objects: int
    miss_ratio: float
    byte_miss_ratio: float
    seconds: float


def traces(folder: Path) -> Iterator[Trace]:
    for path in sorted(folder.glob("*.csv.gz")):
        yield read(path)


def read(path: Path) -> Trace:
    numbers: dict[str, int] = {}
    requests: list[int] = []
    sizes: list[int] = []
    with gzip.open(path, "rt", newline="") as lines:
        rows = csv.reader(lines)
        if next(rows, None) != ["timestamp_ms", "key", "size"]:
            raise SystemExit(f"{path.name} has not the header timestamp_ms,key,size")
        for _, key, size in rows:
            number = numbers.setdefault(key, len(sizes))
            if number == len(sizes):
                sizes.append(int(size))
            sizes[number] = max(sizes[number], int(size))
            requests.append(number)
    return Trace(path.name.removesuffix(".csv.gz"), requests, sizes)


def most_counted(policy: object) -> int:
    """Up to where hits are counted: as by memory."""
    return COUNTED if isinstance(policy, Weighed) else sys.maxsize


def replay(
    trace: Trace,
    capacity: int,
    make: Callable[[int], Any],
    costs: Sequence[float] | None = None,
    *,
    told: bool = True,
) -> tuple[float, float, float]:
    """Shares that missed: of the requests, of the bytes, of the cost. `told`: the policy is."""
    policy, sizes = make(capacity), trace.sizes
    hit, asked = getattr(policy, "hit", None), getattr(policy, "asked", None)
    counted = most_counted(policy)
    held: dict[int, Item] = {}
    size = misses = bytes_missed = 0
    cost_missed = 0.0
    for now, key in enumerate(trace.requests):
        record = held.get(key)
        if asked is not None:
            asked(key)
        if record is not None:
            record.used = now
            record.hits = min(record.hits + 1, counted)
            if hit is not None:
                hit(record)
            continue
        weight = sizes[key]
        misses += 1
        bytes_missed += weight
        if costs is not None:
            cost_missed += costs[key]
        if weight > capacity:
            continue
        record = Item(key, weight, now)
        if costs is not None and told:
            record.worth = costs[key]
        while size + weight > capacity:
            victim = policy.victim(record)
            if victim is record:
                break
            del held[victim.key]
            size -= victim.weight
        else:
            held[key] = record
            size += weight
            policy.admit(record)
    requests = len(trace.requests)
    all_bytes = sum(sizes[key] for key in trace.requests)
    all_cost = requests if costs is None else sum(costs[key] for key in trace.requests)
    lost = misses if costs is None else cost_missed
    return misses / requests, bytes_missed / all_bytes, lost / all_cost


def measure(folder: Path, policies: Sequence[str], say: Callable[[str], None]) -> list[Cell]:
    """Every policy on every trace with each capacity."""
    cells = []
    found = sorted(folder.glob("*.csv.gz"))
    if not found:
        raise SystemExit(f"{folder} has no *.csv.gz")
    for number, path in enumerate(found, 1):
        trace = read(path)
        footprint = sum(trace.sizes)
        for fraction in FRACTIONS:
            capacity = int(footprint * fraction)
            objects = capacity * len(trace.sizes) // footprint
            for policy in policies:
                began = time.perf_counter()
                ratios = replay(trace, capacity, POLICIES[policy])
                spent = time.perf_counter() - began
                cells.append(
                    Cell(
                        trace.name,
                        fraction,
                        policy,
                        capacity,
                        objects,
                        *ratios[:2],
                        round(spent, 2),
                    )
                )
            told = ", ".join(
                f"{each.policy} {each.miss_ratio:.4f}" for each in cells[-len(policies) :]
            )
            say(f"{number} of {len(found)}: {trace.name}, {fraction:.1%}: {told}")
    return cells


def with_costs(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """What ADAPTIVE avoids of what can be avoided, told of costs and not, and by how much more."""
    gains, cells = [], []
    for path in sorted(folder.glob("*.csv.gz")):
        trace = read(path)
        footprint, draw = sum(trace.sizes), random.Random(trace.name)
        costs = [0.001 * 5000 ** draw.random() for _ in trace.sizes]
        everything = sum(costs[key] for key in trace.requests)
        most = 1 - sum(costs) / everything
        for fraction in FRACTIONS:
            capacity = int(footprint * fraction)
            avoided = [
                (1 - replay(trace, capacity, POLICIES["ADAPTIVE"], costs, told=told)[2]) / most
                for told in (True, False)
            ]
            if avoided[1] > 0:
                gains.append(100 * (avoided[0] / avoided[1] - 1))
            cells.append({"trace": trace.name, "fraction": fraction, "avoided": avoided})
            say(f"{trace.name}, {fraction:.1%}: {avoided[0]:.1%} told, {avoided[1]:.1%} not")
    return {"cells": cells, "gain_percent": sum(gains) / max(len(gains), 1)}


Grid = dict[tuple[str, float], dict[str, Cell]]


def grid_of(cells: Sequence[Cell]) -> Grid:
    grid: Grid = {}
    for cell in cells:
        grid.setdefault((cell.trace, cell.fraction), {})[cell.policy] = cell
    return grid


def reduction(ratio: float, base: float) -> float:
    """By how many percent it is lower."""
    return 100 * (1 - ratio / base) if base else 0.0


def summary(
    grid: Grid, policies: Sequence[str], known: dict[tuple[str, float], dict[str, float]]
) -> dict[str, Any]:
    """For each policy the mean over all cells, and the worst distance from the best of five."""
    told: dict[str, Any] = {}
    for policy in policies:
        means, worst = [], (math.inf, "", 0.0)
        for where, row in grid.items():
            base = row[BASE].miss_ratio
            own = reduction(row[policy].miss_ratio, base)
            means.append(own)
            theirs = known.get(where) or {
                each: row[each].miss_ratio for each in FIVE if each in row
            }
            best = max([reduction(each, base) for each in theirs.values()], default=own)
            if row[policy].objects >= LEAST:
                worst = min(worst, (own - best, *where))
        told[policy] = {"mean": sum(means) / len(means), "worst": worst[0], "where": worst[1:]}
    return told


def references(folder: Path) -> dict[tuple[str, float], dict[str, float]]:
    """The miss ratios of libcachesim, where the folder has them."""
    path = folder / "reference.json"
    found: dict[tuple[str, float], dict[str, float]] = {}
    for row in json.loads(path.read_text()) if path.exists() else []:
        where = row["trace"], row["frac"]
        found.setdefault(where, {})[row["policy"].removesuffix("10")] = row["object_miss_ratio"]
    return found


def say(line: str) -> None:
    """How far it is."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--policy", action="append", choices=list(POLICIES), help="of several, each"
    )
    parser.add_argument(
        "--json", action="store_true", help="all cells as JSON, in place of the table"
    )
    parser.add_argument("--plot", type=Path, help="draw the means here")
    parser.add_argument("--costs", action="store_true", help="of 1 ms to 5 s for each key")
    options = parser.parse_args()
    policies = list(POLICIES) if options.policy is None else [BASE, *options.policy]
    policies = list(dict.fromkeys(policies))
    if options.costs:
        by_cost = with_costs(options.folder, say)
        gain = f"{by_cost['gain_percent']:.1f} % more seconds avoided, mean over the cells"
        print(json.dumps(by_cost) if options.json else gain)
        return 0
    cells = measure(options.folder, policies, say)
    reference = references(options.folder)
    five = {
        where: {each: row[each] for each in FIVE if each in row} for where, row in reference.items()
    }
    grid = grid_of(cells)
    told = summary(grid, policies, five)
    off = {
        f"{policy}, {where[0]}, {where[1]:.1%}": (cell.miss_ratio, reference[where][policy])
        for where, row in grid.items()
        for policy, cell in row.items()
        if policy in ("FIFO", "LRU", "LFU", "SIEVE")
        and policy in reference.get(where, {})
        and abs(cell.miss_ratio - reference[where][policy]) > 0.00006
    }
    if options.json:
        print(
            json.dumps({"cells": [cell._asdict() for cell in cells], "policies": told, "off": off})
        )
    else:
        show(grid, policies, told, off, bool(reference))
    if options.plot is not None:
        draw(told, options.plot)
    return 1 if off else 0


def show(
    grid: Grid,
    policies: Sequence[str],
    told: dict[str, Any],
    off: dict[str, tuple[float, float]],
    compared: bool,
) -> None:
    rows = [
        [
            f"{trace}, {fraction:.1%}",
            f"{row[BASE].objects:,}",
            f"{row[BASE].miss_ratio:.4f}",
            *(
                f"{reduction(row[each].miss_ratio, row[BASE].miss_ratio):.1f}"
                for each in policies[1:]
            ),
        ]
        for (trace, fraction), row in grid.items()
    ]
    print("Miss ratio of FIFO, and by how many percent each policy lowers it")
    print(table(["trace, capacity", "objects", BASE, *policies[1:]], rows))
    print()
    rows = [
        [
            policy,
            f"{each['mean']:.2f}",
            f"{each['worst']:.1f}",
            f"{each['where'][0]}, {each['where'][1]:.1%}",
        ]
        for policy, each in told.items()
    ]
    print(table(["policy", "mean %", "worst, of the best of five", "where"], rows))
    if compared:
        print(f"\n{len(off)} cells of FIFO, LRU, LFU and SIEVE differ from reference.json")
        for what, (own, theirs) in off.items():
            print(f"  {what}: {own:.5f}, not {theirs:.5f}")


def draw(told: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")  # no screen is needed
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(told) + 1.2))
    bars = axes.barh(list(told), [each["mean"] for each in told.values()], color="#2a9d8f")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlabel("percent by which the miss ratio is lower than FIFO's, mean over all cells")
    axes.invert_yaxis()
    axes.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
