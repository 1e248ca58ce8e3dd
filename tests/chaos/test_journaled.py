"""The campaign of `tests.chaos.journaled`, in short."""

from tests.chaos.journaled import campaign


def test_no_acknowledged_change_is_lost_or_written_twice() -> None:
    outcome = campaign("sqlite", sets=150, kills=0, fail_points=0, processes=1, seed=1)
    assert outcome.sound, outcome.wrong
    assert outcome.kept >= 150
    assert outcome.written
