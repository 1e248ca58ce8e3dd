"""`python -m examples.agent_service.demo`: three ways to cache, side by side, in about a minute.

It starts a real Redis and the service in three columns of two workers: without a cache, with a TTL
cache written by hand (by_hand.py), and with cascada. All are driven over HTTP through one workload,
part by part in turn, so that they meet the same weather, while documents are edited. Every answer
is judged from outside (compare.py). Then an edit is followed through both workers, campaigns are
synced to their table (sync_act.py), Redis is killed, and two tenants ask the same (acts.py).

Exit code 0 if no answer of cascada's was wrong, no request failed and the targets hold. Counts
decide; latency is shown and does not.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Final
from uuid import uuid4

from cascada import get_ttl_for_data_type
from examples.agent_service import terminal
from examples.agent_service.acts import Acts
from examples.agent_service.answering import DOLLARS_IN, DOLLARS_OUT
from examples.agent_service.client import Client, NoAnswer
from examples.agent_service.compare import GRACE
from examples.agent_service.corpus import standard_library
from examples.agent_service.drive import Bill, Column
from examples.agent_service.process import (
    SERVICE,
    DidNotStart,
    RedisServer,
    running_redis,
    running_service,
)
from examples.agent_service.report import (
    HEADINGS,
    OBSERVABLE,
    Outcome,
    figures,
    missed_by_sync,
    missed_targets,
    own_account,
    rows,
    summary,
)
from examples.agent_service.sync_act import SYNC_INTERVAL, SyncAct, Synced
from examples.agent_service.workload import WORKERS, Step, steps
from examples.agent_service.world import COLLECTIONS, DOCUMENTS, TENANTS, World

SEED: Final = 20
SKEWS: Final = (0.8, 1.0, 1.2)
COLUMNS: Final = HEADINGS[:3]
BY_HAND: Final = ("examples.agent_service.by_hand",)
_TEXTS: Final = 300  # of the library, from which the documents are chosen
_PART: Final = 150
"""Steps that all columns have done before any goes on."""

_REFRESH: Final = 0.5
_SHOWN: Final = 5  # wrong answers and failures of a column that are written out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.agent_service.demo")
    parser.add_argument(
        "--reads", type=_count, default=4500, help="of each race (default %(default)s)"
    )
    parser.add_argument("--edit-every", type=_count, default=56, help="reads; default %(default)s")
    parser.add_argument(
        "--skews",
        type=_positive,
        nargs="*",
        default=SKEWS[1:2],
        help="of popularity (Zipf), a race each; without values three",
    )
    parser.add_argument(
        "--latency", type=_positive, default=120.0, help="of the stand-in, median ms"
    )
    parser.add_argument("--concurrency", type=_count, default=24, help="default %(default)s")
    parser.add_argument("--rate", type=_positive, default=160.0, help="requests a second, at most")
    try:
        return asyncio.run(_Demo(parser.parse_args(arguments)).run())
    except* (DidNotStart, NoAnswer) as failed:
        for error in failed.exceptions:
            terminal.say(f"demo: {error!r}")
    except* KeyboardInterrupt:
        terminal.say("demo: stopped")
    return 1


class _Demo:
    """One execution of the demo, in a folder that goes when it ends."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._skews = chosen.skews or SKEWS
        self._texts = standard_library(_TEXTS)
        self._synced: Synced | None = None

    async def run(self) -> int:
        begun = time.perf_counter()
        terminal.say(
            f"demo: {len(TENANTS)} tenants, {len(TENANTS) * COLLECTIONS * DOCUMENTS} documents "
            "from Python's standard library; answers come from a local stand-in for a hosted "
            f"model, at ${DOLLARS_IN:.2f} for a million tokens in and ${DOLLARS_OUT:.2f} out"
        )
        outcomes, missed = [], []
        for skew in self._skews:
            world = World(self._texts, SEED)
            namespace = f"demo-{uuid4().hex}"
            with tempfile.TemporaryDirectory(prefix="cascada-demo-") as folder:
                # Each race has a Redis of its own: the cache by hand knows no namespaces.
                async with (
                    running_redis(Path(folder)) as redis,
                    self._columns(Path(folder), redis, namespace) as columns,
                ):
                    await self._fill(columns, world)
                    outcomes.append(await self._race(columns, world, skew))
                    if skew == self._skews[-1]:
                        database = _database_of(Path(folder), COLUMNS[2])
                        missed += await self._act(columns, world, redis, namespace, database)
                        outcomes[-1] = replace(outcomes[-1], synced=self._synced)
                        missed += missed_by_sync(outcomes[-1])
                    missed += _failures(columns)
        return self._conclude(outcomes, missed, time.perf_counter() - begun)

    @asynccontextmanager
    async def _columns(
        self, folder: Path, redis: RedisServer, namespace: str
    ) -> AsyncIterator[list[Column]]:
        """Two workers of each, on a database of the column's own."""
        kinds = {
            COLUMNS[0]: (SERVICE, {"AGENT_SERVICE_CACHE": "off"}),
            COLUMNS[1]: (BY_HAND, {"REDIS_URL": redis.url}),
            COLUMNS[2]: (
                SERVICE,
                {
                    "REDIS_URL": redis.url,
                    "CASCADA_NAMESPACE": namespace,
                    "REDIS_SYNC_INTERVAL": SYNC_INTERVAL,
                },
            ),
        }
        async with AsyncExitStack() as opened:

            async def worker(name: str) -> Client:
                module, own = kinds[name]
                environment = {
                    "DATABASE_URL": f"sqlite:///{_database_of(folder, name)}",
                    "AGENT_SERVICE_CACHE": "on",
                    "AGENT_SERVICE_MODEL_LATENCY_MS": str(self._chosen.latency),
                    "AGENT_SERVICE_JWT_SECRET": "",
                    "CACHE_DATABASE_URL": "",
                    "CASCADA_MODE": "on",
                    "EMBEDDINGS_MODEL": "",
                    "EMBEDDINGS_URL": "",
                    "REDIS_PASSWORD": "",
                    **own,
                }
                address = await opened.enter_async_context(running_service(environment, module))
                return await opened.enter_async_context(Client(address))

            async with asyncio.TaskGroup() as group:
                started = {
                    name: [group.create_task(worker(name)) for _ in range(WORKERS)]
                    for name in COLUMNS
                }
            yield [
                Column(name, [each.result() for each in workers])
                for name, workers in started.items()
            ]

    async def _fill(self, columns: Sequence[Column], world: World) -> None:
        creations = list(world.creations())
        await asyncio.gather(*(column.create(creations) for column in columns))

    async def _race(self, columns: Sequence[Column], world: World, skew: float) -> Outcome:
        chosen = self._chosen
        planned = list(steps(world, chosen.reads, chosen.edit_every, skew, SEED))
        terminal.title(f"The race: {chosen.reads} reads of each column, skew {skew}")
        terminal.say(
            "TTL by hand: cache-aside over the same Redis with the lifetimes that cascada has "
            f"(answers: {get_ttl_for_data_type('agent_response')} s); an edit deletes the "
            "document's own key."
        )
        terminal.say(
            f"Wrong is an answer that shows a version which was replaced {GRACE * 1000:.0f} ms or "
            "longer before it was asked for, in every column."
        )
        before = await _bills(columns)
        with terminal.race(COLUMNS, len(planned)) as tell:

            async def told(done: int) -> list[Bill]:
                bills = [now - old for now, old in zip(await _bills(columns), before, strict=True)]
                tell(done, _counters(columns, bills))
                return bills

            done = 0

            async def refresh() -> None:
                while True:
                    await told(done)
                    await asyncio.sleep(_REFRESH)

            async with asyncio.TaskGroup() as group:
                refreshing = group.create_task(refresh())
                for start in range(0, len(planned), _PART):
                    part = planned[start:][:_PART]
                    await asyncio.gather(*(self._drive(column, part) for column in columns))
                    done += len(part)
                refreshing.cancel()
            bills = await told(done)
        without, by_hand, cascada = map(figures, columns, bills)
        return Outcome(skew, without, by_hand, cascada, len(columns[0].truth.seen))

    async def _drive(self, column: Column, steps: Sequence[Step]) -> None:
        await column.drive(steps, concurrency=self._chosen.concurrency, rate=self._chosen.rate)

    async def _act(
        self,
        columns: Sequence[Column],
        world: World,
        redis: RedisServer,
        namespace: str,
        database: Path,
    ) -> list[str]:
        chosen = self._chosen
        acts = Acts(world, redis, namespace, *columns)
        terminal.title("An edit, and what goes with it")
        missed = await acts.follow_an_edit()
        terminal.title("Campaigns, and the table that they are synced to")
        self._synced = await SyncAct(columns[2], database).play()
        terminal.title("Redis is killed")
        reads = int(chosen.rate * 2)
        alone = list(steps(world, reads, reads + 1, 1.0, SEED))
        missed += await acts.kill_redis(alone, concurrency=chosen.concurrency, rate=chosen.rate)
        terminal.title("Another tenant asks the same")
        return missed + await acts.ask_as_another()

    def _conclude(self, outcomes: Sequence[Outcome], missed: list[str], seconds: float) -> int:
        for outcome in outcomes:
            terminal.title(f"Skew {outcome.skew}: {outcome.observable} edits were seen in answers")
            terminal.table(HEADINGS, rows(outcome))
            terminal.say(own_account(outcome))
        middle = outcomes[len(outcomes) // 2]
        missed += missed_targets(middle, min(OBSERVABLE, self._chosen.reads // 30))
        terminal.say(f"took {seconds:.0f} s; `make serve` leaves a service running")
        for sentence in dict.fromkeys(missed):
            terminal.say(f"missed: {sentence}")
        terminal.say(summary(middle))
        return 1 if missed else 0


async def _bills(columns: Sequence[Column]) -> list[Bill]:
    return await asyncio.gather(*(column.bill() for column in columns))


def _counters(columns: Sequence[Column], bills: Sequence[Bill]) -> terminal.Rows:
    return [
        ("answers", *(f"{len(column.tally.seconds):,}" for column in columns)),
        ("edits of documents", *(f"{column.tally.edits:,}" for column in columns)),
        ("model calls", *(f"{bill.model_calls:,}" for bill in bills)),
        ("money", *(f"${bill.dollars:.2f}" for bill in bills)),
        ("database queries", *(f"{bill.queries:,}" for bill in bills)),
        ("WRONG ANSWERS", *(f"{len(column.tally.wrong):,}" for column in columns)),
    ]


def _failures(columns: Sequence[Column]) -> list[str]:
    """What cascada and no cache may not do: answer wrongly, or not at all."""
    found = []
    for column in columns:
        if column.name != COLUMNS[1]:
            found += [f"{column.name}: {each}" for each in column.tally.failed[:_SHOWN]]
            found += [f"{column.name}: {each}" for each in column.tally.wrong[:_SHOWN]]
    return found


def _database_of(folder: Path, column: str) -> Path:
    return folder / f"{column.replace(' ', '-')}.db"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < inf:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


if __name__ == "__main__":
    sys.exit(main())
