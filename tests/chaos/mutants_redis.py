"""The protocol on Redis less one rule at a time; see `mutants`.

Not here, because no run is likely to meet them; each has a deterministic test in
`tests/tiers/test_redis_traps.py`: a seq lost alone or kept alone, the fence of a degraded miss, the
seq of the second MGET, a second MGET without `e`, the time of the look taken after it, a "last
seen" seq from an MGET, a push connection at another live server, a delayed one-script set, a
forgotten version, an own invalidation of another epoch (whose push is there before its caller goes
on, unless pushes are frozen; then memory may be old for as long as its lease).

Nor what is right again at the next write, which `tests/contracts/test_less_one_rule.py` has:
equality without names, flags or version; a set that lands under another value's HOLD; a fill that
replaces, or draws a number. Nor a want of room that is answered though the lease is void, which
memory's own cells refuse as well (`tests/tiers/test_redis_room.py`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from cascada.engine.reading import snapshots
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Answer
from cascada.engine.stack import Stack
from cascada.engine.tasks.singleflight import Waiter
from cascada.engine.writing import redelivery
from cascada.engine.writing.invalidate import Result
from cascada.model.entry import Entry
from cascada.tiers.contract import Filled, Lease
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.memory.records import Records
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.redis import permissions as redis_rights
from cascada.tiers.redis import reads as redis_reads
from cascada.tiers.redis import touching as redis_touching
from cascada.tiers.redis import writes as redis_leases
from cascada.tiers.redis.feed import PushFeed
from cascada.tiers.redis.layout import Epoch
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.redis_scripts import fill as redis_filling
from cascada.tiers.redis_scripts import steps as redis_scripts
from cascada.tiers.redis_scripts.prelude import Script
from tests.chaos.mutations import mutant, swap, swap_invalidate

CALM: tuple[str, ...] = ()


def rewrite(name: str, old: str, new: str) -> None:
    """Put `new` in the place of `old`, which must be there, in a script."""
    modules = (redis_scripts, redis_filling, redis_leases, redis_rights, redis_touching)
    script: Script = next(getattr(each, name) for each in modules if hasattr(each, name))
    assert old in script.text, f"{old!r} is not in {name}"
    mutated = Script(script.text.replace(old, new))
    for module in modules:  # who imports a script by its name has its own
        if hasattr(module, name):
            setattr(module, name, mutated)


# --- fills ---------------------------------------------------------------------------------------


@mutant("redis: FILL asks for no lease", config="redis", workload="contended", faults=CALM)
def fill_without_lease() -> None:
    rewrite(
        "FILL", "local accepted = (once or anyhow or held == lease) and e", "local accepted = e"
    )
    rewrite("FILL", "accepted = table.concat(stamps) == string.sub(lease, 17)", "accepted = true")


@mutant("redis: FILL ignores the token", config="redis", workload="contended", faults=CALM)
def fill_without_token() -> None:
    rewrite(
        "FILL", "local accepted = (once or anyhow or held == lease) and e", "local accepted = e"
    )


@mutant("redis: FILL does not compare generations", config="redis", workload="groups", faults=CALM)
def fill_without_generations() -> None:
    rewrite("FILL", "accepted = table.concat(stamps) == string.sub(lease, 17)", "accepted = true")


@mutant("redis: late names are not looked for in the ring", config="redis", workload="answers")
def late_names_unchecked() -> None:
    rewrite("FILL", "if accepted and late > 0 and not anyhow then", "if false then")


@mutant(
    "redis: the ring has no low-water mark",
    config="redis",
    workload="answers",
    faults=("forgotten rings",),
)
def ring_without_low_water() -> None:
    rewrite("FILL", "low(KEYS[2], q) > since", "false")
    rewrite("FILL", "low(KEYS[3], q) > since", "false")
    rewrite("FILL", "redis.call('EXISTS', KEYS[2]) == 0", "false")
    rewrite("FILL", "redis.call('EXISTS', KEYS[3]) == 0", "false")


# --- reads ---------------------------------------------------------------------------------------


class _AnyServer(bytes):
    """A run_id that is equal to every other."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


@mutant(
    "redis: the server's run_id is not compared",
    config="redis",
    faults=("restored again and again",),
)
def run_id_not_compared() -> None:
    for name in ("BEGIN", "ACQUIRE", "FILL", "INVALIDATE"):
        rewrite(name, "string.sub(e, 9, 48) == run_id", "true")
    rewrite("FILL", "string.sub(e, 9, 48) == ARGV[1]", "true")
    rewrite("FILL", "string.sub(e, 9, 48) ~= ARGV[1]", "false")

    def parse(original: Any) -> Any:
        def trusting(value: bytes | None) -> Epoch | None:
            epoch: Epoch | None = original(value)
            if epoch is None:
                return None
            return Epoch(epoch.nonce, _AnyServer(epoch.run_id), epoch.layout, epoch.seq)

        return staticmethod(trusting)

    swap(Epoch, "parse", parse)


@mutant("redis: a read does not look at the entry's own names", config="redis", workload="groups")
def read_without_dynamic_names() -> None:
    own = 0

    def unpack(original: Any) -> Any:
        def nameless(*asked: Any) -> Entry:
            nonlocal own
            entry: Entry = original(*asked)
            own, entry.names = len(entry.names), ()
            return entry

        return nameless

    def stamps_of(original: Any) -> Any:
        def fewer(blob: bytes) -> tuple[bytes, ...]:
            stamps: tuple[bytes, ...] = original(blob)
            return stamps[: len(stamps) - own]

        return fewer

    swap(redis_reads, "unpack", unpack)
    swap(redis_reads, "stamps_of", stamps_of)


# --- memory and its feed -------------------------------------------------------------------------


@mutant("push: a fill of memory bears the number of its end", config="redis", workload="contended")
def pushed_number_at_the_end() -> None:
    def fill(original: Any) -> Any:
        def late(self: MemoryTier, lease: Lease, entry: Entry | None) -> Filled:
            if not lease.forced:
                lease.seq = max(lease.seq, self._seq)
            return original(self, lease, entry)  # type: ignore[no-any-return]

        return late

    swap(MemoryTier, "fill_one", fill)


@mutant(
    "push: memory is kept at a reconnect, whatever was missed",
    config="redis",
    faults=("cut again and again", "stop"),
)
def kept_at_reconnect() -> None:
    def flush(original: Any) -> Any:
        def adopting(self: PushFeed, epoch: Epoch | None) -> None:
            self._nonce, self._seq = (b"", 0) if epoch is None else (epoch.nonce, epoch.seq)

        return adopting

    swap(PushFeed, "_flush", flush)


@mutant(
    "memory: what was kept while Redis was away is served when it is back",
    config="redis-alone",
    faults=("frozen network", "cut commands"),
)
def kept_past_the_return() -> None:
    outlasting: set[Any] = set()

    def fill(original: Any) -> Any:
        def fresh(self: MemoryTier, lease: Lease, entry: Entry | None) -> Filled:
            filled: Filled = original(self, lease, entry)
            if lease.meanwhile is not None and filled.accepted and lease.key in self.meanwhile:
                del self.meanwhile[lease.key]
                if (record := self.records.get(lease.key)) is not None:
                    record.due = math.inf
                outlasting.add(lease.key)
            return filled

        return fresh

    def clear(original: Any) -> Any:
        def partly(self: Records) -> None:
            for record in list(self):
                if record.key not in outlasting:
                    self.drop(record)

        return partly

    swap(MemoryTier, "fill_one", fill)
    swap(Records, "clear", clear)


@mutant(
    "push: reads in flight are kept over a flush",
    config="redis",
    workload="contended",
    faults=("cut again and again",),
)
def reads_survive_a_flush() -> None:
    swap(MemoryTier, "_bar_what_is_under_way", lambda original: lambda self: None)


@mutant("push: a hit does not look whether a push waits in the socket", config="redis")
def hit_without_a_look() -> None:
    def extend(original: Any) -> Any:
        def blind(self: PushFeed, now: float) -> bool:
            self.until = self._trusted_until
            return now < self.until

        return blind

    swap(PushFeed, "extend", extend)


@mutant("push: memory is trusted though no heartbeat was answered", config="redis-frozen")
def trusted_without_heartbeat() -> None:
    def trust(original: Any) -> Any:
        def forever(self: PushFeed, sent: float, epoch: Epoch | None) -> None:
            original(self, sent, epoch)
            self._trusted_until = float("inf")

        return forever

    swap(PushFeed, "_trust", trust)


# --- the paths -----------------------------------------------------------------------------------


@mutant("load on redis: followers take what lands", config="redis", workload="contended")
def followers_trust_on_redis() -> None:
    def result(original: Any) -> Any:
        def trusting(self: Waiter) -> Answer | None:
            self._early = True
            answer: Answer | None = original(self)
            return answer

        return trusting

    swap(Waiter, "result", result)


@mutant(
    "load: what is read inside a load may come from Redis, above a database",
    config="redis-sqlite",
    workload="answers",
    faults=(),
)
def sources_from_redis() -> None:
    def but_memory(original: Any) -> Any:
        def made(self: Lookup, *asked: Any, **how: Any) -> None:
            original(self, *asked, **how)
            self.refused &= {"l1"}

        return made

    def invalidate(original: Any) -> Any:
        async def slow(self: RedisTier, *names: Any, **how: Any) -> Any:
            # What a slow way to Redis does to an invalidation; with the rule it changes nothing.
            await asyncio.sleep(0.03)
            return await original(self, *names, **how)

        return slow

    swap(Lookup, "__init__", but_memory)
    swap(RedisTier, "invalidate", invalidate)


@mutant("set on redis: no HOLD before the value is stored", config="redis-sqlite", workload="sets")
def set_without_hold() -> None:
    def fill(original: Any) -> Any:
        async def late(
            self: RedisTier, leases: Sequence[Lease], entries: Sequence[Entry | None]
        ) -> list[Filled]:
            for lease in leases:
                if lease.forced:
                    # What a slow way to Redis does to a set; with HOLD it would change nothing.
                    await asyncio.sleep(0.03)
                    (held,) = await self.lease([lease.key], [None], force=True)
                    assert isinstance(held, Lease)
                    lease.token, lease.seq = held.token, held.seq
            answers: list[Filled] = await original(self, leases, entries)
            return answers

        return late

    swap(RedisTier, "fill", fill)


@mutant("set on redis: what is there is kept, whatever it says", config="redis", workload="hands")
def kept_whatever_it_says_on_redis() -> None:
    rewrite("FILL", "and equal(found, new, 1 + static + late, ARGV[at + 9])", "")


@mutant("fill on redis: its fence is not compared", config="redis", workload="hands")
def fill_without_fence_on_redis() -> None:
    rewrite("FILL", "and not named_since(KEYS[3], 'k:' .. ARGV[at + 2], since)", "")
    rewrite("FILL", "and unnamed(since, at + 13, at + 12 + static)", "")


@mutant(
    "load on redis: followers of what is not stored are held to the key's own names alone",
    config="redis",
    workload="unstored",
    faults=CALM,
)
def unstored_unchecked_on_redis() -> None:
    def fill(original: Any) -> Any:
        async def blind(
            self: RedisTier, leases: Sequence[Lease], entries: Sequence[Entry | None]
        ) -> list[Filled]:
            for lease in leases:
                lease.names = ()
            answers: list[Filled] = await original(self, leases, entries)
            return answers

        return blind

    swap(RedisTier, "fill", fill)


@mutant("set on redis: no fence after a miss", config="redis", workload="sets")
def no_fence_on_redis() -> None:
    swap(snapshots, "take", lambda original: lambda stack, key: None)


@mutant(
    "invalidate: Redis is told before the database",
    config="redis-sqlite",
    workload="contended",
    faults=CALM,
)
def redis_first() -> None:
    def through(original: Any) -> Any:
        async def upside_down(stack: Stack, names: Sequence[str], **how: Any) -> Result:
            lower, stack.lower = stack.lower, stack.lower[::-1]
            try:
                found: Result = await original(stack, names, **how)
            finally:
                stack.lower = lower
            return found

        return upside_down

    swap_invalidate(through)


@mutant(
    "invalidate: a tier above one that could not be told is told once only",
    config="redis-sqlite",
    workload="contended",
    faults=("siege",),
)
def told_once() -> None:
    async def only_these(stack: Stack, tiers: Sequence[GuardedTier], names: Sequence[str]) -> bool:
        for tier in tiers:
            tier.defer(names)
        return False

    swap(redelivery, "defer", lambda original: only_these)
