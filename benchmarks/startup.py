"""What it takes to start: CPU time of whole processes beside one that imports asyncio and msgspec.

They are started in turn, and each has its modules compiled already.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Final

from _rows import Row, script
from _servers import redis_server

BASE: Final = "import asyncio, msgspec"
HELP: Final = "cascada --help"
SET: Final = """
import asyncio
from cascada import Cache
async def main():
    async with Cache.from_env() as cache:
        await cache.tenant("acme").set("document", "d1", "a value")
asyncio.run(main())
"""


@dataclass(frozen=True)
class Start:
    """One process: its arguments, and the environment that it wants besides."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    reach: float | None = None


def starts(url: str, folder: str) -> list[Start]:
    database = {"CACHE_DATABASE_URL": f"sqlite:///{folder}/cache.db"}
    return [
        Start(BASE, ("-c", BASE), {}),
        Start("nothing", ("-c", "pass"), {}),
        Start("import cascada", ("-c", "import cascada"), {}),
        Start(
            "from cascada import Cache, Policy, cached",
            ("-c", "from cascada import Cache, Policy, cached"), {}, 1.2,
        ),
        Start("Cache.from_env() and a first set", ("-c", SET), {}, 2.0),
        Start("the same with Redis", ("-c", SET), {"REDIS_URL": url}, 3.5),
        Start("the same with SQLite", ("-c", SET), database),
        Start(HELP, ("-m", "cascada", "--help"), {}),
    ]  # fmt: skip


def run(start: Start) -> tuple[float, float]:
    """CPU seconds and seconds of one process."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CASCADA_", "REDIS_", "CACHE_", "L1_"))
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *start.arguments],
        env={**clean, **start.environment},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{start.name} failed"
    return used.ru_utime + used.ru_stime, time.perf_counter() - began


async def measure(quick: bool) -> list[Row]:
    with redis_server() as server, tempfile.TemporaryDirectory() as folder:
        every = starts(server.url, folder)
        seen: dict[str, list[tuple[float, float]]] = {each.name: [] for each in every}
        for turn in range(2 if quick else 21):
            for each in every:
                spent = run(each)
                if turn:
                    seen[each.name].append(spent)
    rows = []
    for each in every:
        pairs = zip(seen[each.name], seen[BASE], strict=True)
        ratio = statistics.median(mine / base for (mine, _), (base, _) in pairs)
        took = statistics.median(cpu for cpu, _ in seen[each.name])
        rows.append(Row(each.name, ratio, "x", BASE, each.reach, f"{1000 * took:.0f} ms"))
    walls = statistics.median(wall for _, wall in seen[HELP])
    return [*rows, Row(HELP, walls, "s", reach=0.4)]


if __name__ == "__main__":
    script("Start-up, CPU of whole processes", measure)
