"""The short form of `make rivals`: every library runs, and the checker sees what it is to see."""

import pytest

from tests.rivals.adapters import CONFIGURED, RIVALS
from tests.rivals.trials import NAMES, Trial, attack, in_one_process

SHARING = {"cascada", "cashews", "cashews, client side", "aiocache"}
"""Those whose callers share a load."""


@pytest.mark.parametrize("name", RIVALS)
def test_each_library_answers_500_callers_and_is_tried_with_names_that_hold_separators(
    name: str,
) -> None:
    loads, foreign, heard = in_one_process(name)
    assert loads == 1 if name in SHARING else loads > 1
    assert foreign == (0 if name == "cascada" else NAMES)
    assert heard, "it is not used as it is meant: it does not hear what another client changes"
    assert CONFIGURED.keys() == RIVALS.keys()


def test_what_a_hand_written_cache_keeps_of_old_rows_is_seen() -> None:
    found = attack(Trial("redis-py", 6, seed=1, faults=(), settle=1.0))
    assert found.reads > 100
    assert found.old > 0
    assert found.foreign == 0


def test_cascada_under_the_same_attack_gives_nothing_old() -> None:
    found = attack(Trial("cascada", 6, seed=1, faults=("kill",), settle=2.5))
    assert found.reads > 100
    assert (found.late, found.permanent, found.foreign) == (0, 0, 0)
