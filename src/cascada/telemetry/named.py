"""Counts by name: a Counter that somebody may be told of, as `engine/filing.py` wants to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class Named(Counter[str]):
    """`on_change` is told the name and the count of each that has changed."""

    on_change: Callable[[str, int], None] | None = None

    def __setitem__(self, name: str, count: int) -> None:
        super().__setitem__(name, count)
        if self.on_change is not None:
            self.on_change(name, count)
