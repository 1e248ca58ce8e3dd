"""Run tests beside other work: `python -m tests.beside [-n 4] [--times 3] -- PYTEST ARGUMENTS`.

As many processes that do nothing but count run at the tests' own priority, so that the tests get a
part of the processors, and late. They must be alive at the end, or the run proves nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

COUNTING = "while True: pass"


@contextmanager
def busy(loops: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that each take as much of a processor as they get."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(loops):
            started.append(subprocess.Popen([sys.executable, "-c", COUNTING]))
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def say(sentence: str) -> None:
    sys.stderr.write(f"beside: {sentence}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.beside", description=__doc__)
    parser.add_argument("-n", "--loops", type=int, default=4, help="busy processes")
    parser.add_argument("--times", type=int, default=1, help="runs, one after the other")
    parser.add_argument("tests", nargs="*", help="arguments of pytest, after --")
    asked = parser.parse_args()
    with busy(asked.loops) as beside:
        for number in range(1, asked.times + 1):
            say(f"run {number} of {asked.times}, {asked.loops} busy processes")
            ended = subprocess.run([sys.executable, "-m", "pytest", *asked.tests], check=False)
            if dead := [each.pid for each in beside if each.poll() is not None]:
                say(f"{len(dead)} of the busy processes ended early; this proves nothing")
                return 2
            if ended.returncode:
                return ended.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
