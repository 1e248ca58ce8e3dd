"""What a cache has done since this process started, as plain numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from cascada.engine.kinds import Kind
from cascada.model.entry import MEMORY


@dataclass(frozen=True, slots=True)
class TypeStatistics:
    """Counts of one data type, all tenants together."""

    by_tier: Mapping[str, int] = field(default_factory=dict)
    """Hits, by the name of the tier that answered."""
    misses: int = 0
    coalesced: int = 0
    stale: int = 0
    loads: int = 0
    load_failures: int = 0
    load_seconds: float = 0.0
    refused: int = 0
    corrupt: int = 0
    checked: int = 0
    unchecked: int = 0
    differed: int = 0
    differed_1s: int = 0
    differed_10s: int = 0
    timed_hits: int = 0
    timed_seconds: float = 0.0
    stored: int = 0
    stored_bytes: int = 0
    bulky: int = 0
    oversized: int = 0
    unstorable: int = 0

    @property
    def hits(self) -> int:
        return sum(self.by_tier.values())

    @property
    def hit_ratio(self) -> float:
        """Hits over hits and misses; reads that shared another caller's load are neither."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0

    @property
    def saved_seconds(self) -> float:
        """What hits have saved: as their source was timed, else as loads have taken on average."""
        untimed = max(0, self.hits - self.timed_hits)
        return self.timed_seconds + (untimed * self.load_seconds / self.loads if self.loads else 0)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals, and the same by data type."""

    total: TypeStatistics
    types: dict[str, TypeStatistics]

    def __str__(self) -> str:
        rows = [f"{'type':<28}{'hits':>9}{'misses':>9}{'ratio':>8}{'loads':>8}"]
        for name, row in [*sorted(self.types.items()), ("all", self.total)]:
            rows.append(
                f"{name:<28}{row.hits:>9}{row.misses:>9}{row.hit_ratio:>8.3f}{row.loads:>8}"
            )
        return "\n".join(rows)


_SUMS = [each.name for each in fields(TypeStatistics) if each.name != "by_tier"]


def statistics(kinds: list[Kind]) -> Statistics:
    """The counts of all kinds, added up."""
    types: dict[str, list[Kind]] = {}
    for kind in kinds:
        types.setdefault(kind.data_type, []).append(kind)
    return Statistics(_sum(kinds), {name: _sum(of_type) for name, of_type in types.items()})


def _sum(kinds: list[Kind]) -> TypeStatistics:
    hits: Counter[str] = Counter({MEMORY: 0})
    for kind in kinds:
        hits.update(kind.by_tier)
    sums = {name: sum(getattr(kind, name) for kind in kinds) for name in _SUMS}
    return TypeStatistics(hits, **sums)
