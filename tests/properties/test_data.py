"""Lists and counters do what a Python list and an int do, in any order of calls."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.budget import thorough
from tests.properties.data_machine import (
    DataMachine,
    MemoryDataMachine,
    RedisDataMachine,
    SqliteDataMachine,
)
from tests.servers.redis import RedisServer


@pytest.mark.parametrize(
    ("machine", "examples"),
    [(MemoryDataMachine, 20), (SqliteDataMachine, 6), (RedisDataMachine, 6)],
)
def test_no_order_of_calls_shows_a_difference(
    machine: type[DataMachine], examples: int, redis_server: RedisServer
) -> None:
    RedisDataMachine.url = redis_server.url
    run_state_machine_as_test(machine, settings=thorough(examples))
