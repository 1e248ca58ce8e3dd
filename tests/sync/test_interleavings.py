"""The interleavings of `tests.sync.interleavings`, a few of each strategy."""

from pathlib import Path

import pytest

from tests.sync.interleavings import STRATEGIES, interleave


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_two_writers_and_a_reader_in_any_order(strategy: str, tmp_path: Path) -> None:
    found = await interleave(f"sqlite:///{tmp_path / 'app.db'}", tmp_path, strategy, 4, seed=1)
    assert found.wrong == []
    assert found.seen[strategy]
