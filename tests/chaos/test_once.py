"""Which loads count as the second one of a lease."""

import json
import time
from pathlib import Path
from typing import Any

from tests.chaos.keyspace import Keyspace
from tests.chaos.once import Loads, twice
from tests.chaos.truth import Truth

ROW = next(row for row in Keyspace(20).rows if not row.roaming)


def crossing(
    folder: Path, between: Any = lambda truth: None, errors: Any = lambda: 0
) -> list[dict[str, Any]]:
    """What was written down of two loads, of which the second begins while the first runs."""
    path = folder / "truth"
    truth = Truth(path) if path.exists() else Truth.create(path, 20)
    first, second = (Loads(truth, worker, folder, errors) for worker in range(2))
    with first.running([ROW]):
        between(truth)
        with second.running([ROW]):
            pass
    for each in (first, second, truth):
        each.close()
    lines = [
        line for path in folder.glob("loads-*") for line in path.read_text("utf-8").splitlines()
    ]
    return [json.loads(line) for line in lines]


def test_two_loads_at_once_are_one_too_many(tmp_path: Path) -> None:
    (found,) = twice(crossing(tmp_path))
    assert found["workers"] == [0, 1]


def test_two_one_after_the_other_are_not(tmp_path: Path) -> None:
    loads = crossing(tmp_path)
    for load in loads:
        load["ended"] = load["began"] + 1
    assert not twice(loads)


def test_nor_are_they_if_something_has_changed_in_between(tmp_path: Path) -> None:
    assert not twice(crossing(tmp_path, lambda truth: truth.bump(ROW.number)))


def test_nor_if_the_first_has_begun_soon_after_a_change(tmp_path: Path) -> None:
    truth = Truth.create(tmp_path / "truth", 20)
    version = truth.bump(ROW.number)
    truth.returned(ROW.number, version, time.monotonic_ns())
    truth.close()
    assert not twice(crossing(tmp_path))


def test_nor_where_a_tier_has_failed(tmp_path: Path) -> None:
    failures = iter(range(99))
    assert not twice(crossing(tmp_path, errors=lambda: next(failures)))
