"""Every tier keeps the promise in any order of calls that hypothesis thinks of."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.budget import thorough
from tests.properties.machine import TierMachine
from tests.properties.worlds import MemoryMachine, SharedSqliteMachine, SqliteMachine


@pytest.mark.parametrize(
    ("machine", "examples"),
    [(MemoryMachine, 60), (SqliteMachine, 20), (SharedSqliteMachine, 20)],
)
def test_no_order_of_calls_breaks_the_promise(machine: type[TierMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=thorough(examples))
