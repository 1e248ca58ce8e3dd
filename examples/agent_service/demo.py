"""`python -m examples.agent_service.demo`: the same work without and with cascada, compared.

It starts the service twice on loopback, without a cache and with one (memory and SQLite; Redis too
where REDIS_URL is set), drives both over HTTP through one workload at three skews of popularity,
phase by phase in turn, so that both meet the same weather, checks that every answer of the second
run is right, and says what the cache saved. Exit code 0 if the targets hold at the middle skew and
no answer was wrong, else 1. Hits, queries, model calls and tokens decide; latency does only where
the machine has had time for it.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx

from examples.agent_service import terminal
from examples.agent_service.baseline import Baseline
from examples.agent_service.compare import compare
from examples.agent_service.corpus import standard_library
from examples.agent_service.drive import Driver, Refused, Run, create
from examples.agent_service.process import DidNotStart, running_service
from examples.agent_service.report import Outcome, figures, missed_targets, summary, table
from examples.agent_service.trace import Access, write_trace
from examples.agent_service.workload import Phase, make_phases
from examples.agent_service.world import Size, World, make_world

SEED: Final = 20
_SHOWN_WRONG: Final = 5


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.agent_service.demo")
    parser.add_argument("--reads", type=int, default=1300, help="of each run (default %(default)s)")
    parser.add_argument("--documents", type=int, default=1200, help="default %(default)s")
    parser.add_argument("--skews", type=float, nargs="+", default=[0.8, 1.0, 1.2])
    parser.add_argument("--latency", type=float, default=120.0, help="of the stand-in, median ms")
    parser.add_argument("--concurrency", type=int, default=16, help="default %(default)s")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second, at most")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the keys as a trace")
    try:
        return asyncio.run(_Demo(parser.parse_args(arguments)).run())
    except* (DidNotStart, Refused, httpx.HTTPError) as failed:
        for error in failed.exceptions:
            terminal.say(f"demo: {error!r}")
    except* KeyboardInterrupt:
        terminal.say("demo: stopped")
    return 1


class _Demo:
    """One execution of the demo, in a folder that goes when it ends."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._baseline = Baseline()
        self._namespace = f"demo-{uuid4().hex}"  # a shared Redis keeps nothing of earlier demos

    async def run(self) -> int:
        begun = time.perf_counter()
        chosen = self._chosen
        texts = standard_library(chosen.documents)
        world = make_world(texts, Size(chosen.documents), SEED)
        terminal.say(
            f"demo: {len(texts)} documents from Python's standard library, "
            f"{len(world.questions)} questions, {chosen.reads} reads a run; answers come from the "
            "local stand-in for a hosted model"
        )
        outcomes, wrong = [], 0
        with tempfile.TemporaryDirectory(prefix="cascada-demo-") as folder:
            filled = Path(folder) / "filled.db"
            await self._ingest(filled, world)
            for skew in chosen.skews:
                phases = make_phases(world, skew, chosen.reads, SEED)
                without, with_cache = await self._measure(filled, phases, skew)
                wrong += self._check(without, with_cache)
                outcomes.append(Outcome(skew, figures(without), figures(with_cache)))
                if chosen.record and skew == _middle(chosen.skews):
                    self._record(chosen.record, without)
        return self._conclude(outcomes, wrong, time.perf_counter() - begun)

    async def _ingest(self, database: Path, world: World) -> None:
        """Fill the database once, through the service; every run gets a copy."""
        environment = {"DATABASE_URL": f"sqlite:///{database}", "AGENT_SERVICE_CACHE": "off"}
        async with running_service(environment) as address, _client(address) as client:
            with terminal.stage("ingest", len(world.creations)) as progress:
                for request in world.creations:
                    await create(client, [request])
                    progress(1)

    async def _measure(self, filled: Path, phases: Sequence[Phase], skew: float) -> tuple[Run, Run]:
        """Both runs, without and with the cache, a phase of the one after that of the other."""
        async with AsyncExitStack() as opened:
            clients = []
            for cache in (False, True):
                environment = self._environment(filled, skew, cache=cache)
                address = await opened.enter_async_context(running_service(environment))
                clients.append(await opened.enter_async_context(_client(address)))
                name = f"skew {skew}, {'with' if cache else 'without'} cascada"
                terminal.say(f"{name}: statistics {address}/stats, metrics {address}/metrics")
            reads = len(clients) * sum(len(phase.reads) for phase in phases)
            with terminal.stage(f"skew {skew}, both", reads) as progress:
                drivers = [
                    Driver(
                        client,
                        concurrency=self._chosen.concurrency,
                        rate=self._chosen.rate,
                        progress=progress,
                    )
                    for client in clients
                ]
                for phase in phases:
                    for driver in drivers:
                        await driver.drive(phase)
                    self._baseline.look()
                without, with_cache = [await driver.end() for driver in drivers]
        return without, with_cache

    def _environment(self, filled: Path, skew: float, *, cache: bool) -> dict[str, str]:
        """A service's, on its own copy of the filled database."""
        own = filled.parent / uuid4().hex
        own.mkdir()
        shutil.copy(filled, own / "service.db")
        return {
            "DATABASE_URL": f"sqlite:///{own / 'service.db'}",
            "AGENT_SERVICE_CACHE": "on" if cache else "off",
            "AGENT_SERVICE_MODEL_LATENCY_MS": str(self._chosen.latency),
            "CACHE_DATABASE_URL": f"sqlite:///{own / 'cache.db'}",
            "CASCADA_MODE": "on",
            "CASCADA_NAMESPACE": f"{self._namespace}-{skew}",
        }

    def _check(self, without: Run, with_cache: Run) -> int:
        comparison = compare(without.answers, with_cache.answers)
        terminal.say(
            f"answers: {len(comparison.wrong)} of {comparison.compared} wrong "
            f"({comparison.told_apart} changes by writes could be seen)"
        )
        for sentence in comparison.wrong[:_SHOWN_WRONG]:
            terminal.say(f"  {sentence}")
        return len(comparison.wrong)

    def _record(self, path: Path, run: Run) -> None:
        answers = sorted(run.answers, key=lambda answered: answered.at)
        accesses = (
            Access(int(each.at * 1000), each.read.wish.key, len(each.body)) for each in answers
        )
        terminal.say(f"trace: {write_trace(path, accesses)} accesses in {path}")

    def _conclude(self, outcomes: Sequence[Outcome], wrong: int, seconds: float) -> int:
        terminal.say(table(outcomes))
        middle = outcomes[len(outcomes) // 2]
        missed = missed_targets(middle, still=self._baseline.is_still)
        terminal.say(
            f"took {seconds:.0f} s; before: without cascada, after: with it; the last line is of "
            f"skew {middle.skew}, its latency the mean; `make serve` leaves the service running"
        )
        if not self._baseline.is_still:
            terminal.say(
                f"latency does not count here: what computes took {self._baseline.wait:.1f} times "
                "its time, so other work shares this machine"
            )
        for sentence in missed:
            terminal.say(f"target missed: {sentence}")
        terminal.say(summary(middle))
        # Latency is told and does not decide: a slow machine computes longer beside the same model.
        return 1 if wrong or missed_targets(middle, still=False) else 0


def _middle(skews: Sequence[float]) -> float:
    return skews[len(skews) // 2]


def _client(address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=address, timeout=30, trust_env=False)


if __name__ == "__main__":
    sys.exit(main())
