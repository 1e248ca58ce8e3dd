"""The whole suite in the time of its longest part: three pytest processes beside each other.

Most tests wait (for servers, other processes, clocks of their own), so three of them keep two cores
busy. What measures time closely runs by itself at the end. Everything under tests/ is in one of the
parts; what is not named here is in the last of those that run together.

    python -m tests.together [arguments for each pytest]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

TESTS = Path(__file__).parent
TOGETHER = (
    ("scenarios", "contracts", "documents", "documented"),
    ("examples", "chaos", "processes", "house", "cli", "ai", "benchmarks"),
)
ALONE = "tests/benchmarks/test_hits_alone.py"
TELL_EVERY = 30.0


def folders() -> list[list[str]]:
    """Those that run together."""
    there = sorted(each.name for each in TESTS.iterdir() if any(each.rglob("test_*.py")))
    named = {name for part in TOGETHER for name in part}
    rest = [name for name in there if name not in named]
    return [[f"tests/{name}" for name in part] for part in (*TOGETHER, rest)]


class Part:
    """One pytest process, and what it has written so far."""

    def __init__(self, name: str, where: Sequence[str], arguments: Sequence[str], log: Path):
        self.name = name
        self._log = log
        with log.open("wb") as out:
            command = [sys.executable, "-m", "pytest", *where, *arguments]
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return self._log.read_text("utf-8", "replace")

    @property
    def percent(self) -> str:
        found = re.findall(r"\[ *(\d+)%\]", self.said)
        return f"{self.name} {found[-1] if found else 0} %"

    @property
    def failures(self) -> list[str]:
        """Which failed: told once more at the end, where people look."""
        return re.findall(r"^(?:FAILED|ERROR) .*", self.said, re.M)

    def counts(self) -> Counter[str]:
        """How many passed, failed, ... by its last line."""
        lines = [line for line in self.said.splitlines() if " in " in line and line.strip("= ")]
        found = re.findall(r"(\d+) (passed|failed|skipped|errors?)", lines[-1] if lines else "")
        return Counter({word.removesuffix("s"): int(number) for number, word in found})


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(parts: Sequence[Part]) -> None:
    """Wait for all of them, and tell how far they are."""
    told = time.monotonic()
    while any(part.process.poll() is None for part in parts):
        time.sleep(0.2)
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            say(f"test: {', '.join(part.percent for part in parts)}")
    for part in parts:
        say(f"\ntest: {part.name}\n{part.said}")


def main(arguments: Sequence[str]) -> int:
    together = folders()
    if (os.cpu_count() or 1) < 2:
        together = [[name for part in together for name in part]]
    with TemporaryDirectory() as folder:
        logs = iter(Path(folder) / f"{number}.log" for number in range(len(together) + 1))
        beside = [f"--ignore={ALONE}", *arguments]
        parts = [Part(where[0], where, beside, next(logs)) for where in together]
        run(parts)
        parts.append(Part("alone", [ALONE], arguments, next(logs)))
        run(parts[-1:])
        total = sum((part.counts() for part in parts), Counter[str]())
        for line in (line for part in parts for line in part.failures):
            say(line)
        ended = {part.process.returncode for part in parts}
    failed = total["failed"] + total["error"]
    say(f"{total['passed']} passed, {failed} failed, {total['skipped']} skipped")
    # With `-k` a part may have nothing to run, but not all of them.
    return 0 if 0 in ended and ended <= {0, pytest.ExitCode.NO_TESTS_COLLECTED} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
