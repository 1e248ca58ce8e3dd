"""The short form of `python -m tests.processes.revalidating`."""

from tests.processes.conftest import Figures
from tests.processes.revalidating import run

SECONDS = 60.0
"""A hundredth of it is longer than a busy machine keeps anybody waiting."""


async def test_one_of_two_processes_revalidates_and_nobody_waits_for_it(figures: Figures) -> None:
    outcome = await run(100, SECONDS, cut=True)
    figures(f"the slowest answer took {max(outcome.spent) * 1000:.2f} ms")
    assert len(outcome.spent) == 100
    assert outcome.wrong(SECONDS) == []
