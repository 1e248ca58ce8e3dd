"""What one script is asked at a time, and where its names stand among its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cascada.tiers.redis.large_payloads import Fill
from cascada.tiers.redis.layout import Layout

AT_ONCE: Final = 100
"""Keys of one script: its run then takes about a millisecond of the server."""

NAMES_AT_ONCE: Final = 1000
"""Dynamic names of one script's keys, but that one key's are never parted."""


def parts_of(fills: Sequence[Fill]) -> list[list[Fill]]:
    """What one script does at a time."""
    parts: list[list[Fill]] = [[]]
    names = 0
    for fill in fills:
        lease, entry = fill
        mine = len(lease.names if entry is None else entry.names)
        names += mine
        if len(parts[-1]) == AT_ONCE or (names > NAMES_AT_ONCE and parts[-1]):
            parts.append([])
            names = mine
        parts[-1].append(fill)
    return parts


def places(generations: dict[bytes, int], wanted: Iterable[bytes]) -> list[int]:
    """Where these stand among a batch's generations, each of them once, counted from 1."""
    places = []
    for each in wanted:
        places.append(generations.setdefault(each, len(generations) + 1))
    return places


def names_of(layout: Layout, generations: Iterable[bytes]) -> list[bytes]:
    """The names that have these generations."""
    start = len(layout.generations)
    return [each[start:] for each in generations]
