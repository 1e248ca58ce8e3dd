"""The command line: attack the configurations for some minutes, or the mutants."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from tests.chaos.campaign import ROUND, Plan, run
from tests.chaos.configs import CONFIGURATIONS
from tests.chaos.hunt import hunt
from tests.chaos.report import details, summary
from tests.chaos.workload import WORKLOADS


def main() -> int:
    options = _options()
    if options.mutants is not None:
        return hunt(options.mutants, options.seed, say)
    outcomes = []
    for plan in _plans(options):
        say(f"{plan.config}, {plan.workload}: {plan.configuration.about}, {plan.seconds:.0f} s")
        outcomes.append(run(plan, say))
        say(details(outcomes[-1]))
    say("")
    say(summary(outcomes))
    kept = all(outcome.kept for outcome in outcomes)
    say("\nevery promise was kept" if kept else "\nA PROMISE WAS BROKEN, see above")
    return 0 if kept else 1


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Half of a configuration's time is for the usual workload, the others share the rest."""
    seconds = options.seconds or options.minutes * 60
    workloads = options.workload or list(WORKLOADS)
    for config in options.config or CONFIGURATIONS:
        for workload in workloads:
            share = 1.0
            if len(workloads) > 1:
                share = 0.5 if workload == "usual" else 0.5 / (len(workloads) - 1)
            time_for_it = max(seconds * share, min(seconds, ROUND))
            faults = () if options.calm else None
            yield Plan(config, time_for_it, options.seed, workload, faults=faults)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each configuration")
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument(
        "--config", action="append", choices=list(CONFIGURATIONS), help="default: all of them"
    )
    parser.add_argument(
        "--workload", action="append", choices=list(WORKLOADS), help="default: all of them"
    )
    parser.add_argument("--calm", action="store_true", help="without faults")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument(
        "--mutants", nargs="*", metavar="NAME", help="run the protocol less one rule at a time"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
