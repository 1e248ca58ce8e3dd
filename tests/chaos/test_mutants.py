"""The checker can fail: it sees at once what is plainly broken, and every mutant fits."""

import subprocess
import sys

from tests.chaos.campaign import Plan, run
from tests.chaos.fleet import ROOT
from tests.chaos.report import details

APPLY_ALL = """
from cascada.tiers.redis import writes
from cascada.tiers.redis_scripts import fill, steps
from tests.chaos.mutations import all_mutants
whole = [(each, dict(vars(each))) for each in (fill, steps, writes)]
for each in all_mutants().values():
    each.apply()
    for module, names in whole:  # what one mutant has cut out, another may look for
        vars(module).update(names)
"""


def test_an_invalidation_that_stays_in_its_process_is_seen_at_once_and_in_the_audit() -> None:
    outcome = run(Plan("sqlite", seconds=5, seed=1, mutant="memory-alone", faults=()))
    assert not outcome.hung, outcome.said
    assert not outcome.kept
    assert len(outcome.broken) > 10
    assert outcome.permanent_pairs, "the audit finds what nobody mends"
    assert "STALE" in details(outcome), "with a trace of the first ones"


def test_a_fill_on_redis_that_asks_for_no_lease_is_seen_at_once() -> None:
    outcome = run(
        Plan("redis", 4, seed=1, workload="contended", mutant="fill-without-lease", faults=())
    )
    assert not outcome.hung, outcome.said
    assert len(outcome.broken) > 3
    assert "STALE" in details(outcome)


def test_all_that_mutants_leave_out_is_there() -> None:
    subprocess.run([sys.executable, "-c", APPLY_ALL], cwd=ROOT, check=True)
