"""The short form of `python -m tests.processes.adding`."""

import pytest

from tests.processes.adding import run


@pytest.mark.parametrize("tiers", ["memory", "redis+sqlite"])
async def test_of_all_processes_one_wins_each_key(tiers: str) -> None:
    outcome = await run(tiers, processes=3, keys=60, kills=1)
    assert not outcome.wrong
    assert outcome.won > 30
    assert outcome.killed >= 1
