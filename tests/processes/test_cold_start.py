"""A fresh interpreter: what importing costs, and event loop after event loop on one database."""

import statistics
import subprocess
import sys
from pathlib import Path

from tests.processes.conftest import Figures

ROUNDS = 5
GOAL = 1.5
GENEROUS = 2.0
"""Instead of GOAL: a busy machine must not fail the build. The figures tell the real ratio."""


def python(program: str, *arguments: str) -> str:
    """What a program says, all warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def seconds_of(statement: str) -> float:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from time import perf_counter; started = perf_counter()\n"
            f"{statement}\n"
            "print(perf_counter() - started)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def test_importing_cascada_is_cheap(figures: Figures) -> None:
    statements = ("import asyncio, msgspec", "import cascada", "from cascada import Cache")
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(ROUNDS):
        for statement in statements:
            times[statement].append(seconds_of(statement))
    base, bare, used = (statistics.median(times[statement]) for statement in statements)
    figures(f"import cascada: {bare / base:.2f}x `import asyncio, msgspec` (goal {GOAL})")
    figures(f"from cascada import Cache: {used / base:.2f}x (asyncio and msgspec included)")
    assert bare <= GENEROUS * base


def test_three_event_loops_in_a_row_share_a_database_and_leave_nothing(tmp_path: Path) -> None:
    program = """
import asyncio, sys, threading
from cascada import Cache

cache = Cache(database=sys.argv[1])
acme = cache.tenant("acme")

async def use(number):
    async def load():
        return number

    hit = await acme.load("row", "1", load)
    earlier = await acme.get("row", "2")
    await acme.invalidate("row", "1")
    await acme.set("row", "2", number)
    print(hit.value, earlier.value)

for number in range(3):
    asyncio.run(use(number))
asyncio.run(cache.aclose())
for thread in set(threading.enumerate()) - {threading.main_thread()}:
    thread.join(20)
print(threading.active_count())
"""
    said = python(program, str(tmp_path / "cache.sqlite")).splitlines()
    assert said == ["0 None", "1 0", "2 1", "1"]


def test_a_program_that_forgets_to_close_ends_all_the_same(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from cascada import Cache

async def use():
    cache = Cache(database=sys.argv[1])
    print(await cache.tenant("acme").set("row", "1", "kept"))

asyncio.run(use())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "cache.sqlite")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
