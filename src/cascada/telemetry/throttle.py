"""What has been warned of lately, so that a log says it once for each key and minute."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

EVERY: Final = 60.0
"""Seconds between two warnings of one key."""

MAX_KEYS: Final = 10_000
"""Keys that are remembered; of more than these in a minute, the oldest may be said again."""


class Warned(Generic[K]):
    """When each key was warned of last."""

    def __init__(self) -> None:
        self._last: dict[K, float] = {}

    def due(self, key: K, now: float) -> bool:
        """Whether to warn of a key now (monotonic seconds); it is remembered, if so."""
        last = self._last.pop(key, None)
        if last is not None and now - last < EVERY:
            self._last[key] = last
            return False
        self._last[key] = now
        while len(self._last) > MAX_KEYS:
            del self._last[next(iter(self._last))]
        return True
