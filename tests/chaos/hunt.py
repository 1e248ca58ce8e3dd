"""The hunt for mutants: each must be seen, and without a mutant the same runs must be clean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.campaign import Outcome, Plan, run
from tests.chaos.mutations import Mutant, all_mutants
from tests.chaos.report import details, seconds, table

SECONDS: Final = 12.0
"""Of one run; a mutant that is not seen gets more, up to the last of these."""

TRIES: Final = 3
"""Runs of a mutant, each with another seed, before it counts as not caught."""


@dataclass(frozen=True, slots=True)
class Catch:
    """What the runs of one mutant have shown."""

    mutant: Mutant
    outcome: Outcome
    tries: int

    @property
    def caught(self) -> bool:
        erred = self.mutant.errs and self.outcome.errors
        outcome = self.outcome
        return bool(outcome.broken or outcome.permanent or outcome.twice or erred)


def hunt(names: Sequence[str], seed: int, say: Callable[[str], None]) -> int:
    """Run the mutants (all, if none is named) and their controls; 1 if any escaped."""
    mutants = all_mutants()
    hunted = [mutants[name] for name in names or mutants]
    clean = _controls(hunted, seed, say)
    catches = []
    for number, mutant in enumerate(hunted, 1):
        catches.append(_hunt(mutant, seed))
        say(f"{number} of {len(hunted)}: {_line(catches[-1])}")
    say("")
    say(_table(catches))
    escaped = [catch.mutant.name for catch in catches if not catch.caught]
    say(f"\nnot caught: {', '.join(escaped)}" if escaped else "\nevery mutant was caught")
    return 1 if escaped or not clean else 0


def _controls(hunted: Sequence[Mutant], seed: int, say: Callable[[str], None]) -> bool:
    """The same configurations, workloads and faults with every rule in place."""
    clean = True
    for config, workload, faults in dict.fromkeys(
        (mutant.config, mutant.workload, mutant.faults) for mutant in hunted
    ):
        outcome = run(Plan(config, SECONDS, seed, workload, faults=faults))
        clean &= outcome.kept
        say(f"control {config}, {workload}: {'clean' if outcome.kept else details(outcome)}")
    return clean


def _hunt(mutant: Mutant, seed: int) -> Catch:
    for tries in range(1, TRIES + 1):
        plan = Plan(
            mutant.config, SECONDS, seed + tries, mutant.workload, mutant.name, mutant.faults
        )
        catch = Catch(mutant, run(plan), tries)
        if catch.caught:
            break
    return catch


def _table(catches: Sequence[Catch]) -> str:
    head = (
        "rule left out", "configuration", "workload", "runs", "stale", "oldest", "permanent",
        "twice",
    )  # fmt: skip
    return table([head, *(_row(catch) for catch in catches)])


def _row(catch: Catch) -> tuple[str, ...]:
    broken = sorted(record["age"] for record in catch.outcome.broken)
    return (
        catch.mutant.rule,
        catch.mutant.config,
        catch.mutant.workload,
        f"{catch.tries}",
        f"{len(broken)}",
        seconds(broken[-1]) if broken else "-",
        f"{catch.outcome.permanent_pairs}",
        f"{len(catch.outcome.twice)}",
    )


def _line(catch: Catch) -> str:
    _, _, _, tries, stale, oldest, permanent, doubled = _row(catch)
    verdict = "caught" if catch.caught else "NOT CAUGHT"
    return (
        f"{verdict}: {catch.mutant.name}, {stale} stale that must not be, "
        f"oldest {oldest}, {permanent} permanent, {doubled} loaded twice, in run {tries}"
    )
