"""500 callers ask for one value that is not there; its loader takes 50 ms.

How often does the loader run, when do all have their value, and who is harmed when the first caller
goes away? The peers are used as their documents say that a stampede is met: cashews with its
shared calls (the default) and with its lock, aiocache with `cached_stampede`. Four processes share
one Redis and begin at the same moment: this script starts itself four times for that.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from _caches import cache_of
from _rows import Row, ns, script
from _servers import RawClient, redis_server
from aiocache import Cache as AioCache
from aiocache import cached_stampede
from async_lru import alru_cache
from cashews import Cache as Cashews

CALLERS: Final = 500
TAKES: Final = 0.05
TAKES_LONG: Final = 0.5
"""For several processes, so that all of them have asked before the first one is done."""
PROCESSES: Final = 4
MODULE: Final = "--one-process-of-many"
LOCKED: Final = "cashews: @cache(lock=True)"


class Loader:
    """Takes its time, and counts."""

    def __init__(self, takes: float = TAKES) -> None:
        self.calls = 0
        self._takes = takes

    async def __call__(self) -> str:
        self.calls += 1
        await asyncio.sleep(self._takes)
        return "a value"


@dataclass(frozen=True)
class Contender:
    """`ask(each, loader)` asks for one value."""

    name: str
    ask: Callable[[str, Loader], Awaitable[Any]]
    reached: bool = False


def contenders(cache: Any) -> list[Contender]:
    acme = cache.tenant("acme")
    cashews = Cashews()
    cashews.setup("mem://")
    loaders: dict[str, Loader] = {}

    def by_name(decorate: Any) -> Callable[[str, Loader], Awaitable[Any]]:
        @decorate
        async def load(each: str) -> Any:
            return await loaders[each]()

        async def ask(each: str, loader: Loader) -> Any:
            loaders[each] = loader
            return await load(each)

        return ask

    return [
        Contender("cascada: load", lambda each, loader: acme.load("row", each, loader), True),
        Contender("async_lru", by_name(alru_cache(ttl=60))),
        Contender("cashews: @cache", by_name(cashews(ttl=60, key="row:{each}"))),
        Contender(LOCKED, by_name(cashews(ttl=60, key="locked:{each}", lock=True))),
        Contender("aiocache: @cached_stampede", by_name(cached_stampede(lease=2, ttl=60))),
    ]  # fmt: skip


async def stampede(contender: Contender, each: str) -> tuple[int, float]:
    """How often the loader ran, and the seconds until all had their value."""
    loader = Loader()
    began = time.perf_counter()
    await asyncio.gather(*(contender.ask(each, loader) for _ in range(CALLERS)))
    return loader.calls, time.perf_counter() - began


async def harmed(contender: Contender, each: str) -> int:
    """How many callers have no value when the first one is cancelled."""
    loader = Loader()
    tasks = [asyncio.ensure_future(contender.ask(each, loader)) for _ in range(CALLERS)]
    await asyncio.sleep(TAKES / 5)
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return sum(isinstance(answer, BaseException) for answer in answers[1:])


async def in_one_process(quick: bool) -> list[Row]:
    rows = []
    async with cache_of() as cache:
        for each in contenders(cache):
            seen = [await stampede(each, f"r{turn}") for turn in range(1 if quick else 5)]
            calls, took = max(calls for calls, _ in seen), min(took for _, took in seen)
            hurt = await harmed(each, "cancelled")
            held = each.reached
            rows += [
                Row(f"{each.name}: loader calls", calls, "calls", reach=1 if held else None),
                Row(f"{each.name}: until all have it", took / TAKES, "x", "the loader's time",
                    1.25 if held else None, ns(took * 1e9)),
                Row(f"{each.name}: harmed by a cancelled caller", hurt, "callers",
                    reach=0 if held else None),
            ]  # fmt: skip
    return rows


# --- four processes over one Redis ------------------------------------------------------------


async def child(which: str, port: int) -> None:
    """One of the processes: prints how often its own loader ran, and how many callers failed."""
    loader = Loader(TAKES_LONG)
    async with cache_of(redis=f"redis://127.0.0.1:{port}/0") as cache:
        acme = cache.tenant("acme")
        await acme.get("row", "none")  # connected
        cashews = Cashews()
        cashews.setup(f"redis://127.0.0.1:{port}/1", client_side=False)

        @cashews(ttl=60, key="row:{each}", lock=True)
        async def of_cashews(each: str) -> str:
            return await loader()

        @cached_stampede(
            lease=2, ttl=60, cache=AioCache.REDIS, endpoint="127.0.0.1", port=port,
            pool_max_size=2 * CALLERS,
        )  # fmt: skip
        async def of_aiocache(each: str) -> str:
            return await loader()

        ask: dict[str, Callable[[], Awaitable[Any]]] = {
            "cascada: load": lambda: acme.load("row", "r1", loader),
            LOCKED: lambda: of_cashews("r1"),
            "aiocache: @cached_stampede": lambda: of_aiocache("r1"),
        }
        await all_ready(port)
        callers = (ask[which]() for _ in range(CALLERS // PROCESSES))
        answers = await asyncio.gather(*callers, return_exceptions=True)
        print(loader.calls, sum(isinstance(answer, BaseException) for answer in answers))
        await cashews.close()


async def all_ready(port: int) -> None:
    """Until the last of the processes is here."""
    raw = await RawClient.connect(port)
    await raw.send(b"INCR", b"ready")
    while int(await raw.send(b"GET", b"ready")) < PROCESSES:  # noqa: ASYNC110 - in other processes
        await asyncio.sleep(0.002)
    raw.close()


async def in_four_processes(which: str, port: int) -> tuple[int, int]:
    """How often the loader ran in all of them, and how many callers failed."""
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, __file__, MODULE, which, str(port), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]
    said = [(await each.communicate())[0].split()[-2:] for each in children]
    return sum(int(calls) for calls, _ in said), sum(int(failed) for _, failed in said)


async def measure(quick: bool) -> list[Row]:
    rows = await in_one_process(quick)
    whole = ("cascada: load", LOCKED, "aiocache: @cached_stampede")
    for name in whole[:1] if quick else whole:
        with redis_server() as server:
            calls, failed = await in_four_processes(name, server.port)
        held = name.startswith("cascada")
        rows += [
            Row(f"{name}: loader calls in four processes", calls, "calls",
                reach=1 if held else None),
            Row(f"{name}: callers who failed in four processes", failed, "callers",
                reach=0 if held else None),
        ]  # fmt: skip
    return rows


if __name__ == "__main__":
    if MODULE in sys.argv:
        logging.disable()
        asyncio.run(child(sys.argv[2], int(sys.argv[3])))
    else:
        script("A stampede: 500 callers, a loader of 50 ms", measure)
