"""Each rule that is taken away is missed by the machine that is there to notice."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.budget import FACTOR, thorough
from tests.properties.mutants import MUTANTS, Mutant, imported

HELD_BY_NAME = {
    "MemoryMachine: expiry at the read",
    "MemoryMachine: due time of a hit",
    "MemoryMachine: older versions are refused",
    "MemoryMachine: flush ends answers of before",
    "MemoryMachine: flush drops records",
    "MemoryMachine: low-water mark raised",
    "MemoryMachine: low-water mark at the fill",
    "MemoryMachine: a set voids other leases",
    "MemoryMachine: a void set leaves nothing",
    "SqliteMachine: expiry at the read",
    "SqliteMachine: the floor at the read",
    "SqliteMachine: the floor at the fill",
    "SqliteMachine: numbers of another database at the fill",
    "SqliteMachine: a set leaves a tombstone",
    "SqliteMachine: a void set removes the row",
    "SqliteMachine: a lease is as old as what was seen",
    "SqliteMachine: older versions are refused",
    "SqliteMachine: a tombstone remembers the version",
    "SqliteMachine: the sweep looks before it lifts",
    "SqliteMachine: the sweep lifts what is valid",
    "SqliteMachine: the floor rises before tombstones go",
    "SqliteMachine: nothing is left below a new floor",
    "SqliteMachine: [liveness] a sweep keeps the newest tombstones",
    # Changes nothing: a fill that stands is valid at every number up to the present one.
    "SqliteMachine: a row keeps the counter of its lease",
}
"""Rules whose absence takes a rarer order of calls than the short form tries; tests/contracts and
tests/tiers hold them one by one. `CASCADA_EXAMPLES=50` lets the machine look for them as well."""

SLOW = {
    "MemoryMachine: [liveness] an answer found is as young as the read",
    "MemoryMachine: dynamic names are borne",
    "MemoryMachine: an invalidated key's record is dropped",
    "MemoryMachine: names of the cells on a hit",
    "MemoryMachine: ring for late names",
    "MemoryMachine: static names are borne",
    "MemoryMachine: the clock is moved",
    "MemoryMachine: the clock on a hit",
    "SqliteMachine: a restored file voids what it holds",
}
"""Rules that the machine misses after some seconds and more; the long form looks for them."""

LOOKED_FOR = [
    mutant
    for mutant in MUTANTS
    if FACTOR > 1 or not (mutant.name in HELD_BY_NAME or mutant.name in SLOW)
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_is_left_out_stands_in_the_source_once(mutant: Mutant) -> None:
    """In the short form, too: a rule that only the long form looks for could get lost unseen."""
    found = find_spec(f"cascada.{mutant.module}")
    assert found is not None
    mutant.replaced(Path(str(found.origin)).read_text("utf-8"))


@pytest.mark.parametrize("mutant", LOOKED_FOR, ids=lambda mutant: mutant.name)
def test_a_rule_that_is_left_out_is_missed(mutant: Mutant) -> None:
    with imported(mutant) as machine:
        for derandomize in (True, False, False):
            chosen = settings(thorough(400, shrink=False), derandomize=derandomize)
            try:
                run_state_machine_as_test(machine, settings=chosen)
            except (AssertionError, FlakyFailure):  # flaky: seen once, and not the second time
                return
    pytest.fail(f"nothing noticed that this rule was gone: {mutant.name}")
