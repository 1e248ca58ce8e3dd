"""What a cache is worth and whether it is right, by data type: the table that people read.

`Cache.report()` makes it of this process's counts, `cascada report` of the metrics pages of many.
Last comes one sentence: what the figures ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from cascada.api.statistics import statistics
from cascada.engine.kinds import Kind

_HEADINGS = (
    "reads", "hits", "ratio", "saved s", "checked", "differed", "1 s", "10 s", "consistent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TypeReport:
    """One data type. Reads that shared another caller's load are neither hits nor misses.

    `checked` hits were compared with their source; so many `differed` at once, 1 s and 10 s later.
    """

    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0
    checked: int = 0
    differed: int = 0
    differed_1s: int = 0
    differed_10s: int = 0

    @property
    def reads(self) -> int:
        return self.hits + self.misses

    @property
    def hit_ratio(self) -> float:
        return self.hits / self.reads if self.reads else 0.0

    @property
    def consistency(self) -> float | None:
        """The share of the checked hits that were right within 10 s; None if none was checked."""
        return 1 - self.differed_10s / self.checked if self.checked else None


@dataclass(frozen=True, slots=True)
class Report:
    """All types of a cache, or of many in the same `mode` ("mixed" if they are in several)."""

    mode: str
    types: Mapping[str, TypeReport]

    @property
    def total(self) -> TypeReport:
        rows = self.types.values()
        return TypeReport(
            **{field.name: sum(getattr(row, field.name) for row in rows) for field in _FIELDS}
        )

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("type", *_HEADINGS)]
        rows += [(name, *_cells(row)) for name, row in sorted(self.types.items())]
        rows.append(("all", *_cells(self.total)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_aligned(row, widths)) for row in rows]
        return "\n".join([*lines, "", self.advice])

    @property
    def advice(self) -> str:
        """One sentence: what the figures ask for."""
        total, wrong = self.total, self._wrong()
        would = "would have been" if self.mode == "observe" else "were"
        if not total.reads:
            return "Nothing has been read yet: come back when the service has had its traffic."
        if wrong:
            return (
                f"{total.differed_10s} of {total.checked} compared hits {would} wrong for 10 s and "
                f"longer: find what changes {_listed(wrong)} without invalidating it, or let it "
                "expire sooner."
            )
        if self.mode == "off":
            return "The cache is off: set CASCADA_MODE=observe to learn what it would do."
        worth = (
            f"{total.hit_ratio:.0%} of the reads {would} hits, which "
            f"{'would have ' if self.mode == 'observe' else ''}saved {total.saved_seconds:.1f} s"
        )
        if not total.checked:
            ask = "" if self.mode == "observe" else _ASK
            return f"{worth}, and no hit was compared with its source yet{ask}."
        late = f", though {total.differed} were late" if total.differed else ""
        advice = f"{worth}, and none of the {total.checked} compared was wrong after 10 s{late}"
        return f"{advice}: switch it on." if self.mode == "observe" else f"{advice}."

    def _wrong(self) -> list[str]:
        """The types with stale values, the worst first."""
        found = [(row.differed_10s, name) for name, row in self.types.items() if row.differed_10s]
        return [name for _, name in sorted(found, key=lambda each: (-each[0], each[1]))]


_ASK = (
    "; say Policy(checkable=False) of what a model makes, since a check asks the source again, and "
    "set CASCADA_SELF_CHECK=10 to compare some"
)
_FIELDS = fields(TypeReport)


def report_of(kinds: list[Kind], mode: str) -> Report:
    """The report of one cache in this process."""
    types = {
        name: TypeReport(**{field.name: getattr(row, field.name) for field in _FIELDS})
        for name, row in statistics(kinds).types.items()
    }
    return Report(mode, types)


def _cells(row: TypeReport) -> tuple[str, ...]:
    known = row.consistency
    return (
        str(row.reads),
        str(row.hits),
        f"{row.hit_ratio:.3f}",
        f"{row.saved_seconds:.1f}",
        str(row.checked),
        str(row.differed),
        str(row.differed_1s),
        str(row.differed_10s),
        "-" if known is None else f"{known:.4f}",
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    name, *numbers = row
    return [name.ljust(widths[0])] + [
        cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)
    ]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} other types" if len(names) > 3 else shown
