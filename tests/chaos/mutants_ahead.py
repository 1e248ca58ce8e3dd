"""What is brought before anybody asks, less one rule at a time (see `mutants`)."""

from __future__ import annotations

from typing import Any

from cascada.engine.loading.loaders import PLAIN
from cascada.engine.request import Loader, Request
from cascada.engine.strategies.ahead import Prefetcher
from cascada.engine.tasks.singleflight import LoadTask
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
