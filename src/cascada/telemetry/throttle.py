"""What a log has said lately: a warning once for each key and minute, of many reads a few."""

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


class Sampled:
    """Of things that happen all the time, one each EACH seconds, by what they are called."""

    EACH: Final = 0.1

    def __init__(self) -> None:
        self._said: dict[str, tuple[float | None, int]] = {}

    def due(self, what: str, now: float, count: int = 1) -> int:
        """How many there were since the last one that was told of, if this one is to be; else 0."""
        last, untold = self._said.get(what, (None, 0))
        untold += count
        if last is not None and now - last < self.EACH:
            self._said[what] = last, untold
            return 0
        self._said[what] = now, 0
        return untold
