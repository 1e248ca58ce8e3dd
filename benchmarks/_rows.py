"""What a benchmark gives back: rows. Every script prints its own; run.py collects them all.

A script ends with `script(TITLE, measure)`, where `measure(quick)` yields its rows. Alone it prints
them as a table and exits with 1 when a reach is missed by more than `--slack` times; with `--json`
it writes them for run.py. `--quick` measures few rounds: enough to see that everything runs, and
what is wrong by an order of magnitude.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from _timing import machine, table


@dataclass(frozen=True)
class Row:
    """One figure. `value` is at most `reach` where it has one. A `unit` of "x" is a ratio to
    `against`; `took` is what it took on this machine, for orientation."""

    name: str
    value: float
    unit: str = "x"
    against: str = ""
    reach: float | None = None
    took: str = ""

    @property
    def verdict(self) -> str:
        if self.reach is None:
            return ""
        return "reached" if self.value <= self.reach else "missed"

    def cells(self) -> tuple[str, str, str, str, str, str]:
        figure = f"{number(self.value)}{'' if self.unit == 'x' else ' '}{self.unit}"
        reach = "" if self.reach is None else f"<= {number(self.reach)}"
        return self.name, figure, self.against, reach, self.verdict, self.took


HEADING = ("", "figure", "of", "reach", "", "took")

Measure = Callable[[bool], Awaitable[list[Row]]]


def number(value: float) -> str:
    """Three digits that count; whole above a hundred."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def ns(value: float) -> str:
    """Nanoseconds, in the unit that reads best."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} ns"


def over(rows: Sequence[Row], slack: float) -> list[Row]:
    """Those that miss their reach by more than `slack` times."""
    return [row for row in rows if row.reach is not None and row.value > row.reach * slack]


def script(title: str, measure: Measure) -> None:
    """Run one benchmark as a program."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="few rounds, for CI")
    parser.add_argument(
        "--slack", type=float, default=2.0, help="by how much a reach may be missed"
    )
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    logging.disable()
    rows = asyncio.run(measure(options.quick))
    print(f"{title} ({machine()})")
    print(table(HEADING, [row.cells() for row in rows]))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode([asdict(row) for row in rows]))
    sys.exit(1 if over(rows, options.slack) else 0)
