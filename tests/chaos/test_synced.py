"""The campaign of `tests.chaos.synced`, in short."""

from tests.chaos.synced import campaign


def test_no_acknowledged_change_is_missing_or_written_twice() -> None:
    outcome = campaign("sqlite", "mapped", sets=100, kills=0, fail_points=0, processes=1, seed=1)
    assert outcome.sound, outcome.wrong
    assert outcome.kept >= 100
    assert outcome.written
