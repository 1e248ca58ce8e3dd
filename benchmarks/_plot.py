"""The plot of `make bench`: every figure that has a reach, as a share of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from _rows import Row, number

REACHED, MISSED = "#2a9d8f", "#e76f51"
LEAST = 0.05
"""A figure far below its reach is drawn as this share: that it is reached is what counts."""


def plot(sections: Sequence[Mapping[str, Any]], path: Path) -> None:
    mpl.use("agg")  # no screen is needed
    from matplotlib import pyplot

    held = [
        (section["script"], row)
        for section in sections
        for row in section["rows"]
        if row.reach is not None
    ]
    labels = [f"{script}: {row.name}" for script, row in held]
    shares = [max(share(row), LEAST) for _, row in held]
    colours = [REACHED if row.verdict == "reached" else MISSED for _, row in held]
    figure, axes = pyplot.subplots(figsize=(11, 0.22 * len(held) + 1.5))
    bars = axes.barh(labels, shares, color=colours)
    told = [f"{number(row.value)} {row.unit} (<= {number(row.reach or 0)})" for _, row in held]
    axes.bar_label(bars, told, padding=3, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(LEAST * 0.9, max([2.0, *shares]) * 4)
    axes.set_xlabel("of its reach (1: as much as is allowed; left of it: less)")
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def share(row: Row) -> float:
    """Of its reach. What must not happen at all, and did, is far over it."""
    if row.reach == 0:
        return LEAST if row.value == 0 else 10.0
    assert row.reach is not None
    return row.value / row.reach
