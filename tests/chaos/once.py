"""One load per lease: no two loaders run at once for a key that nobody invalidates.

Each load notes when it began and ended, and which version it found at its beginning. A lease may be
taken some time before its loader begins, and what it could not outlive may have come between: so
only a load counts before whose beginning nothing had changed for a while. If another one began
while it ran, with the same version still the newest, one lease has had two loads.

Faults take leases away, as do sets and touches. So a workload that is counted has neither; and a
load counts only if no tier has failed this process for a while (the machine may be busy).
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.chaos.keyspace import Row
from tests.chaos.truth import Truth

QUIET: Final = 1_000_000_000
"""Nanoseconds for which nothing may have changed; a lease does not wait longer for its loader."""


class Loads:
    """Those of one process, each written down when it ends. `errors`: how often tiers failed."""

    def __init__(
        self, truth: Truth, worker: int, folder: Path, errors: Callable[[], int] = lambda: 0
    ) -> None:
        self._truth = truth
        self._errors = errors
        self._known = errors()
        self._failed_at = 0
        self._worker = worker
        self._records = (folder / f"loads-{worker}.jsonl").open("a", buffering=1)

    def close(self) -> None:
        self._records.close()

    @contextmanager
    def running(self, rows: Iterable[Row]) -> Iterator[None]:
        """A loader of these rows. One that roams is loaded under many keys, and not noted."""
        began = time.monotonic_ns()
        self._look_for_errors()
        found = [
            (row.number, version, self._truth.due(row.number, began - QUIET) == version)
            for row in rows
            if not row.roaming and (version := self._truth.version(row.number))
        ]
        try:
            yield
        finally:
            ended = time.monotonic_ns()
            self._look_for_errors()
            sound = self._failed_at < began - QUIET
            for row, version, quiet in found:
                record = {
                    "row": row, "version": version, "quiet": quiet, "sound": sound, "began": began,
                    "ended": ended, "worker": self._worker,
                }  # fmt: skip
                self._records.write(json.dumps(record) + "\n")

    def _look_for_errors(self) -> None:
        if self._errors() != self._known:
            self._known, self._failed_at = self._errors(), time.monotonic_ns()


def twice(loads: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each load that began while another one of its key ran, and needed not to."""
    by_row = defaultdict(list)
    for load in loads:
        by_row[load["row"]].append(load)
    found = []
    for row, those in by_row.items():
        latest: dict[str, Any] = {"version": 0, "ended": 0}
        sound = [load for load in those if load["sound"]]
        for load in sorted(sound, key=lambda each: each["began"]):
            if load["began"] < latest["ended"] and load["version"] == latest["version"]:
                found.append(
                    {
                        "row": row,
                        "workers": [latest["worker"], load["worker"]],
                        "into": (load["began"] - latest["began"]) / 1e9,
                        "left": (latest["ended"] - load["began"]) / 1e9,
                    }
                )
            if load["quiet"] and load["ended"] > latest["ended"]:
                latest = load
    return found
