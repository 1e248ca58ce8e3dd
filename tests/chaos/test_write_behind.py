"""The campaign of `tests.chaos.write_behind`, in short."""

from tests.chaos.write_behind import campaign


def test_no_acknowledged_set_is_lost_or_written_twice() -> None:
    outcome = campaign(sets=200, kills=0, redis_kills=1, processes=1, seed=1)
    assert outcome.sound, outcome.table()
    assert outcome.kept >= 200
    assert outcome.written
