"""The short form of `make chaos`: some seconds for each way to stand, without a broken promise."""

import sys

import pytest

from tests.chaos.board import Word
from tests.chaos.campaign import Plan, run
from tests.chaos.report import ages, details, summary


@pytest.mark.parametrize(("config", "seconds"), [("sqlite-tight", 4), ("redis-sqlite", 5)])
def test_nothing_stale_stays_and_nothing_is_older_than_promised(
    config: str, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(Plan(config, seconds=seconds, seed=1))
    with capsys.disabled():
        sys.stdout.write(f"\n{summary([outcome])}\n{ages(outcome)}\n")
    assert outcome.counts[Word.READS] > 500
    assert outcome.counts[Word.AUDITS] >= outcome.plan.configuration.workers
    assert outcome.kept, details(outcome)
