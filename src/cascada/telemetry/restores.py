"""Why values are stored: whether they are new, or were there before, and how that ended.

So a low hit ratio has a reason: a ttl that is too short, keys that never come again, values that go
before their time. Keys are sampled by their hash, so that all of a sampled key's stores are seen;
half as many are sampled each time there are too many. Only who stores pays for it, never a hit.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

MAX_KEYS: Final = 2048
"""Sampled keys of which it is known when their value ends: some 200 bytes each."""

MAX_TYPES: Final = 1000
"""Data types that are told apart; callers may make up any number."""

NEW: Final = "new"
EXPIRED: Final = "expired"
SOONER: Final = "sooner"


class Restores:
    """The counts of one engine, by data type."""

    def __init__(self) -> None:
        self._ends: dict[Hashable, float] = {}
        self._mask = 0
        self._counts: dict[str, dict[str, int]] = {}

    def note(self, data_type: str, key: Hashable, ends: float, now: float) -> None:
        """A value is stored that lives until `ends`; monotonic seconds."""
        if hash(key) & self._mask:
            return
        counts = self._counts.get(data_type)
        if counts is None:
            if len(self._counts) >= MAX_TYPES:
                return
            counts = self._counts[data_type] = {NEW: 0, EXPIRED: 0, SOONER: 0}
        before = self._ends.get(key)
        counts[NEW if before is None else EXPIRED if before <= now else SOONER] += 1
        self._ends[key] = ends
        if len(self._ends) > MAX_KEYS:
            self._mask = 2 * self._mask + 1
            self._ends = {
                each: until for each, until in self._ends.items() if not hash(each) & self._mask
            }

    def of(self, data_type: str) -> Mapping[str, int]:
        """How many of the sampled stores were of a key that was "new", of one whose value had
        "expired", and of one whose value went "sooner", or was replaced."""
        return dict(self._counts.get(data_type, {}))
