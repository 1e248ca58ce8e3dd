"""`cascada top`: what is read, missed, stored and paid for most, by data type and tenant.

It is made of metrics pages, as `cascada report` is. How long reads waited is told of those that
memory did not answer at once: a hit in memory is not timed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

from cascada.api.statistics import TypeStatistics, added_up
from cascada.cli.pages import read
from cascada.model.errors import BadInput
from cascada.telemetry.latency import NO_TIMES, Times

BY: Final[dict[str, Callable[[TypeStatistics], Any]]] = {
    "hits": lambda row: row.hits,
    "misses": lambda row: row.misses,
    "bytes": lambda row: row.stored_bytes,
    "cost": lambda row: (row.spent.money or 0, row.spent.tokens_in or 0, row.spent.seconds),
}
"""What comes first has the most of it; cost: money, if anybody has said a price, else tokens, else
the seconds of loads."""

PER: Final[dict[str, Callable[[Any], Any]]] = {
    "type": itemgetter(0),
    "tenant": itemgetter(1),
    "both": lambda whose: whose,
}

_HEADINGS: Final = (
    "reads", "hits", "misses", "ratio", "MB stored", "KB each", "bulky", "mean ms", "p99 ms",
    "spent s", "spent money",
)  # fmt: skip


def top(sources: Sequence[str], by: str, per: str, most: int) -> str:
    """The table. `by`: of BY; `per`: of PER; `most`: rows. BadInput for a page that says nothing,
    or nothing of tenants where these are asked for."""
    _, pages = read(sources)
    found: defaultdict[Any, list[TypeStatistics]] = defaultdict(list)
    times: defaultdict[str, Times] = defaultdict(lambda: NO_TIMES)
    for page in pages:
        for whose, row in page.rows.items():
            found[PER[per](whose)].append(row)
        for data_type, each in page.times.items():
            times[data_type] += each
    if per != "type" and not any(tenant for page in pages for _, tenant in page.rows):
        raise BadInput(
            "no page tells tenants apart; let the service expose them with "
            "exposition(cache, tenants=50)"
        )
    rows = {whose: added_up(parts) for whose, parts in found.items()}
    # Of two that are alike the one whose name comes first: a sort leaves them in their order.
    first = sorted(sorted(rows), key=lambda whose: BY[by](rows[whose]), reverse=True)[:most]
    names = ["type", "tenant"] if per == "both" else [per]
    table = [(*names, *_HEADINGS)]
    for whose in first:
        called = whose if per == "both" else (whose,)
        # A histogram is of a type, of all its tenants.
        known = times.get(whose, NO_TIMES) if per == "type" else NO_TIMES
        table.append((*called, *_cells(rows[whose], known)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(_aligned(cells, widths, len(names))).rstrip() for cells in table]
    left = len(rows) - len(first)
    return "\n".join([*lines, *([f"and {left} more"] if left else [])])


def _aligned(cells: Sequence[str], widths: Sequence[int], names: int) -> list[str]:
    return [
        cell.ljust(width) if place < names else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


def _cells(row: TypeStatistics, times: Times) -> tuple[str, ...]:
    each = row.stored_bytes / row.stored / 1000 if row.stored else None
    money = row.spent.money
    return (
        str(row.reads),
        str(row.hits),
        str(row.misses),
        f"{row.hit_ratio:.3f}",
        f"{row.stored_bytes / 1e6:.1f}",
        "-" if each is None else f"{each:.1f}",
        str(row.bulky),
        _milliseconds(row.mean_seconds),
        _milliseconds(times.quantile(0.99)),
        f"{row.spent.seconds:.1f}",
        "-" if money is None else f"{money:.4f}",
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
