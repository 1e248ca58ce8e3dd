"""What a record in memory really weighs: all that goes when it goes, in bytes.

The bound of the memory tier is a promise to the process's memory limit, so whatever exists because
of a record is counted with it: its payload, the decoded value, the key and its strings, the record
and its slot in a dictionary, and the cells of the names that it alone bears. The constants
are from CPython 3.11 (`tests/tiers/test_weight.py` compares them with tracemalloc).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from cascada.codecs.compression import size_of
from cascada.model.bills.bill import UNKNOWN
from cascada.model.entry import UNSET, Entry, Flag
from cascada.tiers.memory.record import Cell

RECORD: Final = 430
"""A record with its numbers, and its slot in a dictionary."""

PARTITION: Final = 600
"""A partition with its prefix and its place among the others, before it has two records."""

COST: Final = sys.getsizeof(UNKNOWN) + 15 & ~15
"""What its load took."""

NAME: Final = 300
"""A name that no other record bears: its cell, its text, and the weak reference to it."""

LOOKED_AT: Final = 10_000
"""Objects of one value that are looked at: some milliseconds."""

_AT_MOST: Final = 80
"""Bytes that one byte of msgpack becomes at most: an empty list."""

_COMPRESSED: Final = int(Flag.COMPRESSED)
_CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset})

_ATOMS: Final = frozenset({int, float, complex, str, bytes, bytearray})

BYTES: Final = sys.getsizeof(b"")


def weight_of(resource_id: str, entry: Entry, cells: Sequence[Cell]) -> int:
    """`cells` are of the names that may be its alone: those weigh that no record bears yet."""
    weight = RECORD + BYTES + len(entry.data) + sys.getsizeof(resource_id)
    if entry.cost != UNKNOWN:
        weight += COST
    if entry.value is not UNSET:
        weight += _decoded(entry)
    for cell in cells:
        if not cell.live:
            weight += NAME + len(cell.name)
    return weight


def _decoded(entry: Entry) -> int:
    """The decoded value's: at least its bytes without compression, whatever was looked at."""
    value = entry.value
    if value is None or type(value) in (bool, int, float, str, bytes):
        return sys.getsizeof(value)
    # A large value is looked at in part alone: to see all of it would stop the event loop.
    compressed = int(entry.flags) & _COMPRESSED
    size = size_of(entry.data) if compressed else len(entry.data)
    try:
        weight = _Scales(entry.data).weigh(value, LOOKED_AT)
        return max(weight, size) if compressed else weight
    except Exception:  # noqa: BLE001 - an object may raise anything when it is looked at, or be too deep
        return _AT_MOST * size


class _Scales:
    """What one value weighs; what it holds twice is counted once. `data`: counted already."""

    def __init__(self, data: bytes) -> None:
        self._seen = {id(data)}
        self._turn = 1

    def weigh(self, value: Any, most: int) -> int:
        """Looks at about `most` objects: at all of them, or at some in each container."""
        if id(value) in self._seen or value is None or value is True or value is False:
            return 0
        if type(value) is int and -5 <= value <= 256:  # there is one of each
            return 0
        self._seen.add(id(value))
        weight = sys.getsizeof(value) + 15 & ~15
        if type(value) in _ATOMS:
            return weight
        if isinstance(value, dict | list | tuple | set | frozenset) and value:
            weight += self._inside(value, most)
            if type(value) in _CONTAINERS:
                return weight
        return weight + self._parts(value, most)

    def _inside(self, value: Any, most: int) -> int:
        """The items of a container, by those of them that are looked at."""
        count = len(value)
        if most <= 1 and isinstance(value, list | tuple):
            return self.weigh(value[self._any_of(count)], 1) * count
        step = max(1, count // max(1, most // 2))
        some = self._some(value, step)
        if isinstance(value, dict):
            some += self._some(value.values(), step)
            count *= 2
        each = max(1, most // len(some))
        if step == 1:
            return sum([self.weigh(item, each) for item in some])
        # What is met again is there a few times over; what is met once stands for others like it.
        met = Counter(map(id, some))
        once = again = 0
        for item in some:
            if met[id(item)] == 1:
                once += self.weigh(item, each)
            else:
                again += self.weigh(item, each)
        return again + once * count // len(some)

    def _some(self, items: Any, step: int) -> list[Any]:
        """One of each `step` items, each time at another place: rows that are written one after the
        other have their heavy column at the same one."""
        items = items if isinstance(items, list | tuple) else list(items)
        if step == 1:
            return [*items]
        return [
            items[start + self._any_of(step)] for start in range(0, len(items) - step + 1, step)
        ]

    def _any_of(self, count: int) -> int:
        # A generator of Park and Miller's kind: the same value weighs the same each time.
        self._turn = self._turn * 48_271 % 2_147_483_647
        return self._turn % count

    def _parts(self, value: Any, most: int) -> int:
        """What an object of a class holds: its attributes, or an array's bytes."""
        base = getattr(value, "base", None) if hasattr(value, "nbytes") else None
        if base is not None:
            return self.weigh(base, most)
        weight = 0
        attributes = getattr(value, "__dict__", None)
        if attributes:
            weight += sys.getsizeof(attributes) + self._inside(attributes, most)
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                weight += self.weigh(getattr(value, name, None), most)
        return weight
