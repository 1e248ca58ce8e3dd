"""The command line: attack the configurations for some minutes, or the mutants."""

from __future__ import annotations

import argparse
import sys
import time

from tests.chaos.campaign import Plan, run
from tests.chaos.configs import CONFIGURATIONS
from tests.chaos.report import details, summary
from tests.chaos.workload import WORKLOADS


def main() -> int:
    options = _options()
    if options.mutants is not None:
        from tests.chaos.hunt import hunt

        return hunt(options.mutants, options.seed, say)
    seconds = options.seconds or options.minutes * 60
    outcomes = []
    for name in options.config or CONFIGURATIONS:
        say(f"{name}: {CONFIGURATIONS[name].about}, {seconds:.0f} s")
        faults = () if options.calm else None
        plan = Plan(name, seconds, options.seed, options.workload, faults=faults)
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for each configuration")
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument(
        "--config", action="append", choices=list(CONFIGURATIONS), help="default: all of them"
    )
    parser.add_argument("--workload", choices=list(WORKLOADS), default="usual")
    parser.add_argument("--calm", action="store_true", help="without faults")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument(
        "--mutants", nargs="*", metavar="NAME", help="run the protocol less one rule at a time"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
