"""The interleavings of `tests.sync.interleavings`, a few of each strategy."""

from collections import Counter
from pathlib import Path

from tests.sync.interleavings import STRATEGIES, interleave


async def test_two_writers_and_a_reader_in_any_order(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for strategy in STRATEGIES:
        found = await interleave(f"sqlite:///{tmp_path / 'app.db'}", tmp_path, strategy, 3, seed=0)
        assert found.wrong == []
        seen += found.seen
    assert sum(map(bool, seen.values())) > 2, "hardly anything has met"
