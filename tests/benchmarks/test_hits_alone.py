"""What a hit takes of the least possible: measured when nothing else runs (tests/together.py)."""

from pathlib import Path

from tests.benchmarks.held import nothing_is_missing_or_far_off, rows_of

ATTEMPTS = 3
BOUND = 5.0


def test_hits_take_what_they_should(tmp_path: Path) -> None:
    """A busy machine slows down more who touches more memory, as does a slow phase of it (4.2 was
    seen where 2.4 is usual): the bound is wide, and the best attempt counts.
    """
    attempts: list[float] = []
    while len(attempts) < ATTEMPTS and min(attempts, default=BOUND + 1) > BOUND:
        rows = rows_of("l1", tmp_path)
        nothing_is_missing_or_far_off("l1", rows)
        # Its key at hand.
        attempts.append(next(row["value"] for row in rows if "the key at hand" in row["name"]))
    assert 1.0 < min(attempts) <= BOUND
