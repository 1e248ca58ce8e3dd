"""What is brought ahead, and what nobody brings twice, less one rule at a time (see `mutants`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.engine.loading.loaders import PLAIN
from cascada.engine.reading import load_task
from cascada.engine.reading.item import Item
from cascada.engine.request import Loader, Request
from cascada.engine.stack import Stack
from cascada.engine.strategies.ahead import Prefetcher
from cascada.engine.tasks.singleflight import Flights, LoadTask
from cascada.engine.writing import write
from tests.chaos.mutations import mutant, swap


@mutant(
    "prefetch: what was loaded ahead is stored under no lease from before",
    config="memory",
    workload="ahead",
    faults=(),
)
def prefetch_without_lease() -> None:
    def load(original: Any) -> Any:
        def reckless(self: Prefetcher, request: Request, loader: Loader) -> LoadTask:
            owner = LoadTask(kept=True)
            stack = self._stack

            async def work() -> None:
                (made,) = await loader.load([request])
                if made.absent or not made.store:
                    return
                entry = write.to_be_set(stack, request, made.value, PLAIN, None)
                await write.write(stack, request, entry)

            owner.task = stack.background.run(work(), "prefetch")
            return owner

        return reckless

    swap(Prefetcher, "_load", load)


@mutant(
    "prefetch: it goes on when the cache is closed",
    config="memory",
    workload="ahead",
    faults=(),
    errs=True,
)
def prefetch_outlives_the_cache() -> None:
    def load(original: Any) -> Any:
        def nobodys(self: Prefetcher, request: Request, loader: Loader) -> LoadTask | None:
            owner: LoadTask | None = original(self, request, loader)
            if owner is not None and owner.task is not None:
                self._stack.background._finishing.discard(owner.task)
            return owner

        return nobodys

    swap(Prefetcher, "_load", load)
    swap(Prefetcher, "stop", lambda original: lambda self: None)


@mutant("load: nobody waits for the lease of another process", config="redis", workload="once")
def lease_not_waited_for() -> None:
    def hand_out(original: Any) -> Any:
        def impatient(stack: Stack, items: Sequence[Item]) -> Any:
            for item in items:
                item.busy = None
            return original(stack, items)

        return impatient

    swap(load_task, "_hand_out", hand_out)


@mutant("load: nobody waits for his turn at the database", config="sqlite", workload="once")
def turn_not_waited_for() -> None:
    lease_not_waited_for()


@mutant("load: the flight of a key is not joined", config="memory", workload="once")
def flight_not_joined() -> None:
    swap(Flights, "find", lambda original: lambda self, key: None)
