"""A stream of keys as a file: gzip CSV `timestamp_ms,key,size`, one row for each request.

The format in which cache traces are commonly exchanged: `size` is fixed for each key (the largest
that was seen), and rows stand in the order of the requests.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = ("timestamp_ms", "key", "size")


class Access(NamedTuple):
    """One request of one key."""

    timestamp_ms: int
    key: str
    size: int


def write_trace(path: Path, accesses: Iterable[Access]) -> int:
    """Write the accesses; how many rows that made."""
    rows = list(accesses)
    largest: dict[str, int] = {}
    for access in rows:
        largest[access.key] = max(access.size, largest.get(access.key, 0))
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows((access.timestamp_ms, access.key, largest[access.key]) for access in rows)
    return len(rows)


def read_trace(path: Path) -> list[Access]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        if header != _HEADER:
            raise ValueError(f"{path} begins with {header}; a trace begins with {_HEADER}")
        return [Access(int(time), key, int(size)) for time, key, size in reader]
