"""What a record in memory really weighs: all that goes when it goes, in bytes.

The bound of the memory tier is a promise to the process's memory limit, so whatever exists because
of a record is counted with it: its payload, the decoded value, the key and its strings, the record
and its slots in dictionary and heap, and the cells of the names that it alone bears. The constants
are from CPython 3.11 (`tests/tiers/test_weight.py` compares them with tracemalloc).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cascada.model.entry import UNSET, Entry
from cascada.model.keys import Key

RECORD: Final = 500
"""A record with its numbers, key tuple, tuple of cells, and slots in dictionary and heap."""

NAME: Final = 300
"""A name that no other record bears: its cell, its text, and the weak reference to it."""

BYTES: Final = sys.getsizeof(b"")


def weight_of(key: Key, entry: Entry, own_names: Sequence[str]) -> int:
    """`own_names` are those that no record has borne before."""
    weight = RECORD + BYTES + len(entry.data) + sys.getsizeof(key.resource_id)
    if entry.value is not UNSET:
        weight += _decoded(entry)
    if own_names:
        weight += sum(map(len, own_names)) + NAME * len(own_names)
    return weight


def _decoded(entry: Entry) -> int:
    value = entry.value
    if isinstance(value, tuple | frozenset | list | dict | set):
        return 4 * len(entry.data)  # boxed items; msgpack is about a quarter of them
    if value is None or isinstance(value, str | bytes | int | float) or hasattr(value, "nbytes"):
        return sys.getsizeof(value)
    return sys.getsizeof(value) + len(entry.data)  # most of a large model are texts and arrays
