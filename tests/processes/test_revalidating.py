"""The short form of `python -m tests.processes.revalidating`."""

from statistics import median

from tests.processes.conftest import Figures
from tests.processes.revalidating import run

SECONDS = 1.5


async def test_one_of_two_processes_revalidates_and_nobody_waits_for_it(figures: Figures) -> None:
    outcome = await run(100, SECONDS)
    figures(f"the slowest answer took {max(outcome.spent) * 1000:.2f} ms")
    assert median(outcome.spent) < SECONDS / 100  # some may meet a busy machine
    wrong = [each for each in outcome.wrong(SECONDS) if "took" not in each]
    assert wrong == []
