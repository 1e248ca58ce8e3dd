"""What the application tracks beside the engine's own counts: measurements under its own names.

A series is a metric of one data type of one tenant. There are so many at most; what comes later is
added to the series `other` of its metric, and names of metrics beyond theirs to the metric `other`,
so that neither memory nor labels grow with what callers make up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_SERIES: Final = 10_000
MAX_METRICS: Final = 200
OTHER: Final = "other"


@dataclass(slots=True)
class Series:
    """One metric of one data type of one tenant: how often it was measured, and what.

    `metadata` is that of the last measurement.
    """

    metric: str
    data_type: str
    tenant: str
    count: int = 0
    total: float = 0.0
    last: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Tracked:
    """All series of one cache. `on_change` is told of each that has changed."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], Series] = {}
        self._metrics: set[str] = set()
        self.on_change: Callable[[Series], None] | None = None

    def add(
        self, metric: str, data_type: str, tenant: str, value: float, metadata: Mapping[str, Any]
    ) -> None:
        """Record one measurement."""
        if metric not in self._metrics:
            if len(self._metrics) >= MAX_METRICS:
                metric = OTHER
            self._metrics.add(metric)
        series = self._series.get((metric, data_type, tenant))
        if series is None:
            if len(self._series) >= MAX_SERIES:
                data_type = tenant = OTHER
            series = self._series.setdefault(
                (metric, data_type, tenant), Series(metric, data_type, tenant)
            )
        series.count += 1
        series.total += value
        series.last = value
        series.metadata = metadata
        if self.on_change is not None:
            self.on_change(series)

    def clear(self) -> None:
        """Begin anew."""
        self._series.clear()
        self._metrics.clear()

    def all(self) -> list[Series]:
        """Every series, in the order in which it was first measured."""
        return list(self._series.values())
