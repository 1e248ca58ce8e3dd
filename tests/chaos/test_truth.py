"""The source of truth: who may give which version, and since when it is too old."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fleet import ROOT
from tests.chaos.truth import DEPTH, FIRST, Truth


@pytest.fixture
def truth(tmp_path: Path) -> Iterator[Truth]:
    made = Truth.create(tmp_path / "truth", rows=3)
    yield made
    made.close()


def test_a_row_begins_with_a_version_that_is_due_from_the_beginning(truth: Truth) -> None:
    assert truth.version(0) == FIRST
    assert truth.due(0, started=1) == FIRST


def test_a_version_is_due_for_reads_that_began_when_its_invalidation_had_returned(
    truth: Truth,
) -> None:
    version = truth.bump(1)
    assert truth.due(1, started=100) == FIRST, "it has not returned yet"
    truth.returned(1, version, at=100)
    assert truth.due(1, started=99) == FIRST
    assert truth.due(1, started=100) == version
    assert (truth.due(0, 100), truth.due(2, 100)) == (FIRST, FIRST), "other rows are others"


def test_what_returned_later_makes_all_older_versions_too_old(truth: Truth) -> None:
    versions = [truth.bump(0) for _ in range(4)]
    truth.returned(0, versions[1], at=50)
    truth.returned(0, versions[3], at=70)
    assert truth.due(0, started=60) == versions[1]
    assert truth.due(0, started=80) == versions[3]
    assert truth.overdue_since(0, FIRST, started=80) == 50, "the first that it has missed"
    assert truth.overdue_since(0, versions[2], started=80) == 70


def test_a_version_that_was_drawn_anew_has_not_returned(truth: Truth) -> None:
    old = truth.bump(0)
    truth.returned(0, old, at=10)
    for _ in range(DEPTH):
        newest = truth.bump(0)
    assert newest % DEPTH == old % DEPTH
    assert truth.due(0, started=10**9) < newest


def test_a_process_that_slept_too_long_marks_nothing(truth: Truth) -> None:
    old = truth.bump(0)
    for _ in range(DEPTH - 1):
        truth.bump(0)
    truth.returned(0, old, at=10)
    assert truth.due(0, started=10**9) < truth.version(0)


def test_promises_count_until_a_later_version_has_returned(truth: Truth) -> None:
    first, second = truth.bump(0), truth.bump(0)
    truth.pending(0, first, by=7)
    truth.pending(0, second, by=8)
    assert list(truth.promised(0)) == [(second, 8), (first, 7)]
    truth.returned(0, second, at=10)
    assert not list(truth.promised(0))


BUMP_OFTEN = """
import sys
from pathlib import Path
from tests.chaos.truth import Truth
truth = Truth(Path(sys.argv[1]))
for _ in range(3000):
    truth.bump(2)
"""


def test_no_two_processes_draw_the_same_version(truth: Truth, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BUMP_OFTEN, str(tmp_path / "truth")]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert truth.version(2) == FIRST + 3 * 3000
