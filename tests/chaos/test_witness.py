"""The judge: what it calls stale, what it excuses, and what it lets nobody get away with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.board import Board, Word
from tests.chaos.keyspace import Keyspace, Row
from tests.chaos.truth import FIRST, Truth
from tests.chaos.witness import Promise, Reading, Witness

LEASE = 0.5
MS = 1_000_000


class Court:
    """A witness over a truth, and what it has written down."""

    def __init__(self, folder: Path) -> None:
        self.rows = Keyspace(20).rows
        self.truth = Truth.create(folder / "truth", 20)
        self.board = Board.create(folder / "board", 2)
        self.witness = Witness(self.truth, self.board, 0, Promise(LEASE), folder)
        self._folder = folder

    def row(self, data_type: str) -> Row:
        return next(row for row in self.rows if row.data_type == data_type)

    def invalidated(self, row: Row, at: int) -> int:
        """Another process has invalidated the row."""
        version = self.truth.bump(row.number)
        self.truth.returned(row.number, version, at)
        return version

    @property
    def stale(self) -> list[dict[str, Any]]:
        lines = (self._folder / "stale-0.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def count(self, word: Word) -> int:
        return self.board.slot(0)[word]


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path)
    yield made
    made.truth.close()
    made.witness.close()


def begun(at: int, heard: int = 0) -> Reading:
    return Reading("get", at, heard)


def test_a_read_that_began_before_the_invalidation_returned_may_give_either(court: Court) -> None:
    row = court.row("doc")
    version = court.invalidated(row, at=1000 * MS)
    for given in (FIRST, version):
        assert court.witness.read(row, row.value(given), "l3", begun(999 * MS))
    assert not court.stale


def test_memory_may_be_old_for_a_lease_but_not_longer(court: Court) -> None:
    row = court.row("doc")
    court.invalidated(row, at=1000 * MS)
    for late, allowed in ((100, True), (499, True), (500, False), (900, False)):
        assert not court.witness.read(row, row.value(FIRST), "l1", begun((1000 + late) * MS))
        assert court.stale[-1]["age"] == pytest.approx(late / 1000)
        assert court.stale[-1]["allowed"] is allowed
    assert (court.count(Word.STALE), court.count(Word.BROKEN)) == (4, 2)


def test_memory_may_not_be_old_once_it_has_looked(court: Court) -> None:
    row = court.row("doc")
    court.invalidated(row, at=1000 * MS)
    court.witness.read(row, row.value(FIRST), "l1", begun(1100 * MS, heard=1050 * MS))
    assert court.stale[-1]["allowed"] is False


@pytest.mark.parametrize("tier", ["l2", "l3", "source"])
def test_below_memory_nothing_old_is_allowed(court: Court, tier: str) -> None:
    row = court.row("doc")
    court.invalidated(row, at=1000 * MS)
    court.witness.read(row, row.value(FIRST), tier, begun(1000 * MS))
    assert court.stale[-1]["allowed"] is False


def test_a_process_never_reads_what_it_has_invalidated_itself(court: Court) -> None:
    row = court.row("doc")
    version = court.truth.bump(row.number)
    court.witness.returned([(row.number, version)], "invalidate")
    reading = court.witness.begin("get")
    court.witness.read(row, row.value(FIRST), "l1", reading)
    assert (court.stale[-1]["own"], court.stale[-1]["allowed"]) == (True, False)


def test_nor_what_it_could_only_promise_to_invalidate(court: Court) -> None:
    row = court.row("doc")
    version = court.truth.bump(row.number)
    court.witness.pending([(row.number, version)], "invalidate", by=1)
    court.witness.read(row, row.value(FIRST), "l1", court.witness.begin("get"))
    assert (court.stale[-1]["own"], court.stale[-1]["allowed"]) == (True, False)


def test_an_absence_must_be_one_that_is_due(court: Court) -> None:
    row = court.row("maybe")
    while not row.absent_at(version := court.invalidated(row, at=1000 * MS)):
        pass
    assert court.witness.read(row, None, "l3", begun(1100 * MS))
    court.invalidated(row, at=1200 * MS)
    assert not court.witness.read(row, None, "l3", begun(1300 * MS))
    assert court.stale[-1]["got"] == version


@pytest.mark.parametrize("value", [None, "7/1", {"row": 7, "version": 1}, {"version": 1}, 5])
def test_what_is_not_this_rows_value_is_an_error(court: Court, value: object) -> None:
    assert not court.witness.read(court.row("doc"), value, "l1", begun(1))
    assert court.count(Word.ERRORS) == 1


def test_a_version_from_nowhere_is_an_error(court: Court) -> None:
    row = court.row("doc")
    assert not court.witness.read(row, row.value(FIRST + 1), "l1", begun(1))
    assert court.count(Word.ERRORS) == 1


def test_what_breaks_the_promise_is_traced(court: Court, tmp_path: Path) -> None:
    row = court.row("doc")
    court.invalidated(row, at=1000 * MS)
    court.witness.read(row, row.value(FIRST), "l3", begun(1100 * MS))
    assert court.board.wanted == (1, row.number)
    lines = (tmp_path / "traces-0.jsonl").read_text("utf-8").splitlines()
    told = [json.loads(line)["what"] for line in lines]
    assert told == ["get -> v1 from l3", "STALE: v1 from l3, due v2, 100.0 ms late"]
