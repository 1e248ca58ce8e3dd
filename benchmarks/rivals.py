"""`make rivals`: other libraries under the checker of coherence (tests/rivals), beside cascada.

Each is attacked by four processes, at first with nothing broken, then with processes killed and
stopped and connections cut; about two minutes each. Writes docs/benchmarks/rivals.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import _servers as _  # noqa: F401 - it finds the tests
from _taken import ROOT, pretty, taken

from tests.rivals.adapters import CONFIGURED, RIVALS
from tests.rivals.trials import figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few seconds each")
    parser.add_argument("--only", nargs="*", choices=list(RIVALS), default=list(RIVALS))
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "benchmarks")
    options = parser.parse_args()
    races, kills = (8.0, 8.0) if options.quick else (36.0, 60.0)
    told = []
    for name in options.only:
        began = time.perf_counter()
        found = figures(name, races, kills, say)
        told.append({"name": name, "configured": CONFIGURED[name], **asdict(found)})
        say(
            f"rivals: {name}, {found.races.late} late and {found.races.permanent} permanent in "
            f"races, {found.kills.late} and {found.kills.permanent} with kills, "
            f"{time.perf_counter() - began:.0f} s"
        )
    options.into.mkdir(parents=True, exist_ok=True)
    path = options.into / "rivals.json"
    path.write_bytes(pretty({"taken": taken(quick=options.quick), "rivals": told}))
    return 0


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
