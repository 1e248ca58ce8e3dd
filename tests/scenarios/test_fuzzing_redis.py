"""Whatever a Redis server answers, and whenever: nobody gets another's answer, nobody an error that
is not cascada's, and the cache is used again soon after the server is sane.

`CASCADA_FUZZ=all` runs each fault at each step of the greeting and twice afterwards, on a machine
that has nothing else to do: the cache has then to be used again within 3 s.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from cascada import Cache, CascadaError, Limits
from cascada.testing.inside import inside
from tests.servers.fuzzing_redis import FAULTS, FuzzingRedis, Plan
from tests.servers.redis import RedisServer

ALL: Final = os.environ.get("CASCADA_FUZZ") == "all"
AT_ONCE: Final = 4 if ALL else 16
"""Caches, each with a server of its own kind of madness."""

TICK: Final = 0.005
STEPS: Final = (0, 1, 2, 3, 4)
ROUNDS: Final = 4 if ALL else 1

AGAIN: Final = 3.0 if ALL else 30.0
"""Seconds within which the cache is used again. Its own pauses add up to less than 3."""

LIES: Final = frozenset((1, 5, -7, 9223372036854775807, 0))
"""Numbers that the faults make up: nobody else's."""

UNITS: Final = {"acme": 1_000, "globex": 1_001}


@dataclass
class Seen:
    """What all calls came to."""

    calls: int = 0
    struck: int = 0
    slowest: float = 0.0
    slowest_call: str = ""
    slowest_return: float = 0.0
    blocked: float = 0.0
    grown: int = 0
    now: float = 0.0
    wrong: list[str] = field(default_factory=list)


Operation = Callable[[], Awaitable[Any]]


class Caller:
    """One tenant, whose every value bears his name."""

    def __init__(self, cache: Cache, tenant: str) -> None:
        self.tenant = cache.tenant(tenant)
        self.name, self.unit = tenant, UNITS[tenant]
        self.items = self.tenant.list("items")
        self.number = 0

    def mine(self) -> str:
        self.number += 1
        return f"{self.name} {self.number}"

    def operations(self) -> dict[str, Operation]:
        tenant, row = self.tenant, f"{self.number % 7}"
        keys = [f"{number}" for number in range(5)]
        return {
            "get": lambda: tenant.get("row", row),
            "set": lambda: tenant.set("row", row, self.mine()),
            "load": lambda: tenant.load("row", row, self.mine),
            "get_many": lambda: tenant.get_many("row", keys),
            "load_many": lambda: tenant.load_many(
                "row", keys, lambda missing: {key: self.mine() for key in missing}
            ),
            "delete": lambda: tenant.delete("row", row),
            "invalidate": lambda: tenant.invalidate("row", row),
            "invalidate all": lambda: tenant.invalidate(),
            "ttl": lambda: tenant.ttl("row", row),
            "explain": lambda: tenant.explain("row", row),
            "rpush": lambda: self.items.rpush(self.mine()),
            "lpop": lambda: self.items.lpop(),
            "range": lambda: self.items.range(),
            "length": lambda: self.items.length(),
            "trim": lambda: self.items.trim(-5, -1),
            "increment": lambda: tenant.increment("calls", "n", self.unit),
            "counter": lambda: tenant.counter("calls", "n"),
        }

    NEVER_RAISE: Final = frozenset(("get", "load", "get_many", "load_many", "set"))

    def owns(self, operation: str, answer: Any) -> bool:
        """Whether the answer can be this caller's."""
        if operation in ("get", "load"):
            return not answer or answer.value.startswith(self.name)
        if operation in ("get_many", "load_many"):
            return all(not each or each.value.startswith(self.name) for each in answer)
        if operation == "range":
            return all(each.startswith(self.name) for each in answer)
        if operation == "lpop":
            return answer is None or answer.startswith(self.name)
        if operation in ("increment", "counter"):
            return answer in LIES or answer % self.unit == 0
        return True


class Attack:
    """One cache, and one server that goes mad and comes to its senses."""

    def __init__(self, name: str, plan: Plan, port: int, seen: Seen) -> None:
        self.name, self.plan, self.seen = name, plan, seen
        self.port = port

    async def run(self) -> None:
        async with FuzzingRedis(self.port) as server:
            async with Cache(
                redis=server.url,
                limits=Limits(
                    redis_connection_timeout=1, redis_socket_timeout=1, invalidate_patience=0.3
                ),
                namespace=self.name.replace(" ", "-").encode("ascii", "replace").decode()[:40],
            ) as cache:
                callers = [Caller(cache, tenant) for tenant in UNITS]
                await self._wanting(cache, callers[0])
                server.plan = self.plan
                if self.plan.step is not None:
                    server.cut_all()
                rounds = 0
                while rounds < ROUNDS or (not server.struck and rounds < 100):
                    rounds += 1
                    inside(cache).memory.flush()
                    await asyncio.gather(*(self._round(caller) for caller in callers))
                    await asyncio.sleep(0.05)
                self.seen.struck += server.struck
                server.plan = None
                await self._is_used_again(cache, callers)
            assert server.struck, "the fault never struck: this proves nothing"

    async def _round(self, caller: Caller) -> None:
        operations = list(caller.operations().items())
        random.Random(caller.number).shuffle(operations)
        await asyncio.gather(*(self._call(caller, *each) for each in operations))

    async def _call(self, caller: Caller, operation: str, call: Operation) -> None:
        seen, started = self.seen, self.seen.now
        try:
            answer = await call()
        except CascadaError as error:
            if operation in caller.NEVER_RAISE:
                seen.wrong.append(f"{self.name}: {operation} raised {error!r}")
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            seen.wrong.append(f"{self.name}: {operation} raised {error!r}")
        else:
            if not caller.owns(operation, answer):
                seen.wrong.append(f"{self.name}: {caller.name}'s {operation} is {answer!r}"[:200])
        spent = seen.now - started
        seen.calls += 1
        if spent > seen.slowest:
            seen.slowest, seen.slowest_call = spent, f"{operation}, {self.name}"

    async def _is_used_again(self, cache: Cache, callers: list[Caller]) -> None:
        started = self.seen.now
        for caller in callers:
            while wanting := await self._wanting(cache, caller):
                if self.seen.now - started > AGAIN:
                    self.seen.wrong.append(f"{self.name}: not used again: {wanting}")
                    return
                await asyncio.sleep(0.1)
        self.seen.slowest_return = max(self.seen.slowest_return, self.seen.now - started)

    async def _wanting(self, cache: Cache, caller: Caller) -> str:
        """What does not work: what is stored is found in Redis, lists and counters act."""
        mine = caller.mine()
        try:
            if not await caller.tenant.set("row", "again", mine):
                return "set"
            inside(cache).memory.flush()
            hit = await caller.tenant.get("row", "again")
            if not hit or (hit.value, hit.tier) != (mine, "l2"):
                return f"get: {hit!r}"
            await caller.items.rpush(mine)
            await caller.tenant.counter("calls", "n")
            return "" if mine in await caller.items.range() else "range"
        except CascadaError as error:
            return repr(error)


class Watch:
    """How long this process's loop was busy with one thing, in its own time; and how it grows.

    It also keeps the time: one in which nothing passes while other work holds the loop up.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def run(self) -> None:
        first = resident()
        while True:
            before, began = time.thread_time(), time.perf_counter()
            await asyncio.sleep(TICK)
            self._seen.now += min(time.perf_counter() - began, 2 * TICK)
            self._seen.blocked = max(self._seen.blocked, time.thread_time() - before)
            self._seen.grown = max(self._seen.grown, resident() - first)


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def plans() -> list[tuple[str, Plan]]:
    """Each fault once: in the greeting, afterwards always, or afterwards now and then."""
    made = []
    for number, (name, fault) in enumerate(FAULTS.items()):
        ways = [*(Plan(fault, step) for step in STEPS), Plan(fault), Plan(fault, None, 0.3)]
        for way, plan in enumerate(ways):
            when = f"step {plan.step}" if plan.step is not None else f"{plan.probability:.0%}"
            if ALL or (way == (3 * number) % len(ways) and not (name[0] == "-" and number % 3)):
                made.append((f"{name} ({when})", plan))
    return made


@pytest.fixture
def _frozen() -> Iterator[None]:
    """A collection of what other tests have left is none of the server's doing."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_frozen")
async def test_whatever_a_server_answers(
    redis_server: RedisServer, record_testsuite_property: Callable[[str, object], None]
) -> None:
    redis_server.flush()
    seen = Seen()
    turns = asyncio.Semaphore(AT_ONCE)

    async def attack(name: str, plan: Plan) -> None:
        async with turns:
            await Attack(name, plan, redis_server.port, seen).run()

    watching = asyncio.create_task(Watch(seen).run())
    attacks = plans()
    await asyncio.gather(*(attack(*each) for each in attacks))
    watching.cancel()
    figures = (
        f"{len(attacks)} faults, which struck {seen.struck} times; {seen.calls} calls; slowest "
        f"{seen.slowest:.2f} s ({seen.slowest_call}); used again within {seen.slowest_return:.2f} s"
        f"; loop blocked {seen.blocked:.3f} s; grown {seen.grown / 2**20:.0f} MiB"
    )
    record_testsuite_property("fuzzing", figures)
    assert not seen.wrong, "\n".join([figures, *seen.wrong[:40]])
    assert seen.slowest < 5
    assert seen.blocked < 0.3
    assert seen.grown < 200 * 2**20
