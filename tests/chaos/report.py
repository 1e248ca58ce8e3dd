"""What was seen, as tables and traces in plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.chaos.board import Word
from tests.chaos.campaign import Outcome

TRACED = 3
"""Traces that are printed; the first ones tell most."""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line per run."""
    head = (
        "configuration", "workload", "reads", "L1", "L2", "L3", "loaded", "invalidations", "sets",
        "touches", "refused", "pending", "faults", "stale", "oldest", "not allowed", "permanent",
        "loaded twice", "errors",
    )  # fmt: skip
    return table([head, *(_row(outcome) for outcome in outcomes)])


def _row(outcome: Outcome) -> tuple[str, ...]:
    count = outcome.counts
    return (
        outcome.plan.config,
        outcome.plan.workload,
        f"{count[Word.READS]:,}",
        _share(count[Word.L1], count),
        _share(count[Word.L2], count),
        _share(count[Word.L3], count),
        _share(count[Word.SOURCE], count),
        f"{count[Word.INVALIDATIONS]:,}",
        f"{count[Word.SETS] + count[Word.FILLS]:,}",
        f"{count[Word.TOUCHES]:,}",
        f"{count[Word.SETS_REFUSED]:,}",
        f"{count[Word.PENDING]:,}",
        f"{sum(outcome.struck.values())}",
        f"{len(outcome.stale):,}",
        seconds(outcome.ages[-1]) if outcome.ages else "-",
        f"{len(outcome.broken):,}",
        f"{outcome.permanent_pairs}",
        f"{len(outcome.twice)}",
        f"{len(outcome.errors) + outcome.crashes + bool(outcome.hung)}",
    )


def _share(part: int, count: dict[Word, int]) -> str:
    answered = sum(count[word] for word in (Word.L1, Word.L2, Word.L3, Word.SOURCE))
    return f"{part / answered:.0%}" if answered else "-"


def ages(outcome: Outcome) -> str:
    """How old the stale reads were, by the tier that gave them."""
    rows = [("stale reads from", "count", "p50", "p90", "p99", "oldest")]
    for tier in sorted({record["tier"] for record in outcome.stale}):
        found = sorted(record["age"] for record in outcome.stale if record["tier"] == tier)
        marks = [found[min(len(found) - 1, int(len(found) * seq))] for seq in (0.5, 0.9, 0.99, 1.0)]
        rows.append((tier, f"{len(found):,}", *map(seconds, marks)))
    return table(rows) if len(rows) > 1 else "no stale read"


def seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def details(outcome: Outcome) -> str:
    """Everything that should not have been, with the traces of the first few."""
    parts = [f"{outcome.plan.config}: {_faults(outcome)}", ages(outcome)]
    for title, records in (
        ("not allowed", outcome.broken),
        ("permanent", outcome.permanent),
        ("loaded twice", outcome.twice),
    ):
        if records:
            parts.append(f"{title}:")
            parts += [f"  {_line(record)}" for record in records[:10]]
    if outcome.errors:
        parts += ["errors that no caller may see:", *(f"  {each}" for each in outcome.errors[:10])]
    if outcome.hung or outcome.crashes:
        parts += [f"{outcome.crashes} workers died; {outcome.hung}", outcome.said[-4000:]]
    if outcome.broken or outcome.permanent:
        parts.append(traces(outcome.traces))
    return "\n".join(parts)


def traces(lines: Sequence[dict[str, Any]]) -> str:
    """The operations of all processes on one row, in the order in which they happened."""
    parts = []
    for number in sorted({line["trace"] for line in lines})[:TRACED]:
        found = sorted(
            (line for line in lines if line["trace"] == number), key=lambda line: line["at"]
        )
        verdicts = [line["at"] for line in found if "STALE" in line["what"]]
        end = max(verdicts, default=found[-1]["at"])
        parts.append(f"trace {number}, row {found[0]['row']} (ms to the verdict, worker, what):")
        parts += [
            f"  {(line['at'] - end) / 1e6:10.2f}  {line['worker']}  {line['what']}"
            for line in found
            if line["at"] > end - 3_000_000_000
        ]
    return "\n".join(parts)


def _faults(outcome: Outcome) -> str:
    struck = ", ".join(f"{count} {name}" for name, count in sorted(outcome.struck.items()))
    blocked = outcome.counts[Word.BLOCKED]
    return (
        f"{outcome.seconds:.0f} s, seed {outcome.plan.seed}, workload {outcome.plan.workload}; "
        f"faults: {struck or 'none'}, {blocked} reads after a blocked event loop"
    )


def _line(record: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.4f}" if isinstance(value, float) else f"{name}={value}"
        for name, value in record.items()
        if name not in ("at", "allowed", "pid")
    )
