"""`Policy` and `Limits` are records: checked when they are made, equal by what they say."""

import copy
import pickle

import pytest

from cascada import BadInput, InvalidPolicy, InvalidTTL, Limits, Policy
from cascada.model.door.checked import field


def test_a_record_of_ones_own_keeps_the_fields_and_checks_of_what_it_is_made_from() -> None:
    class Short(Policy):
        """For values that nobody misses."""

        owner: str = field("nobody", lambda given, what: str(given))

    assert Short(ttl=5, owner="me").said == {"ttl": 5, "owner": "me"}
    assert (Short(ttl=5).ttl, Short().owner, Short().lookup) == (5, "nobody", Policy().lookup)
    with pytest.raises(InvalidTTL, match=r"Policy\.ttl is -5"):
        Short(ttl=-5)
    with pytest.raises(InvalidPolicy, match="Short has no field 'tll'; pass one of ttl"):
        Short(tll=5)
    assert "owner" not in Policy.checks
    assert Short(ttl=5) != Policy(ttl=5)


@pytest.mark.parametrize("record", [Policy(ttl=5, lookup="exact"), Limits(l1_bytes=1000)])
def test_records_are_equal_by_what_they_say_and_travel_whole(record: Policy | Limits) -> None:
    for other in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert other == record
        assert hash(other) == hash(record)
        assert other.said == record.said
    assert record != type(record)()


def test_a_record_does_not_change() -> None:
    limits = Limits()
    with pytest.raises(AttributeError, match="make another one"):
        limits.l1_bytes = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="make another one"):
        del limits.l1_bytes
    with pytest.raises(BadInput, match="l1_bytes is 0"):
        Limits(l1_bytes=0)
