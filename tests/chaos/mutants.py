"""The protocol less one rule at a time. A checker that cannot fail proves nothing: each of these
must be caught by it, the weak ones in a workload that is made for them.

A mutant is applied inside the worker processes, by its name, before the cache is opened. Those of
the engine and of memory are here, those of the database tier in `mutants_sqlite`.

Not here, because another rule also covers what they leave out, so that no run can tell: the check
of a lease at the fill of memory or of the database while the number of the lease is kept (the entry
is then void when it is read, and refusing it only saves the space).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cascada.engine import decide
from cascada.engine.loading import dependencies as sources
from cascada.engine.loading import encode as store
from cascada.engine.reading import load_task, read, snapshots
from cascada.engine.reading.item import Item
from cascada.engine.request import Answer
from cascada.engine.stack import Stack
from cascada.engine.tasks.singleflight import Waiter
from cascada.engine.writing import fill as filling
from cascada.engine.writing import write
from cascada.engine.writing.invalidate import Result
from cascada.model.entry import Entry, Invalidated
from cascada.tiers.contract import Filled, Lease
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.memory.record import Record
from cascada.tiers.memory.records import Records
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.polled_feed import Changes, PolledFeed
from cascada.tiers.sqlite.tier import SqliteTier
from tests.chaos.mutations import mutant, swap, swap_invalidate


@mutant("memory: a fill bears the number of its end, not of its beginning", config="memory")
def number_at_the_end() -> None:
    def fill(original: Any) -> Any:
        def late(self: MemoryTier, lease: Lease, entry: Entry | None) -> Filled:
            if not lease.forced:
                lease.seq = max(lease.seq, self._seq)
            return original(self, lease, entry)  # type: ignore[no-any-return]

        return late

    swap(MemoryTier, "fill_one", fill)


@mutant("memory: late names (tags, sources) are not kept", config="memory", workload="groups")
def memory_without_late_names() -> None:
    def keep(original: Any) -> Any:
        def bare(self: Records, partition: Any, resource_id: str, entry: Entry, *at: Any) -> Any:
            without = Entry(
                entry.data, entry.codec, entry.flags, entry.created, entry.fresh_until,
                entry.expires, (), entry.version, entry.value,
            )  # fmt: skip
            return original(self, partition, resource_id, without, *at)

        return bare

    swap(Records, "store", keep)


@mutant("memory: what is found valid counts as heard of up to the latest number")
def heard_too_much() -> None:
    def still_valid(original: Any) -> Any:
        def rash(self: MemoryTier, record: Record) -> bool:
            valid = bool(original(self, record))
            if valid:
                record.seq = max(record.seq, self.names.highest)
            return valid

        return rash

    swap(MemoryTier, "still_valid", still_valid)


@mutant(
    "memory: fills under way survive a flush",
    config="redis",
    workload="contended",
    faults=("cut again and again", "freeze"),
)
def fills_survive_a_flush() -> None:
    def flush(original: Any) -> Any:
        def partly(self: MemoryTier) -> None:
            before = self._flushes
            original(self)
            self._flushes, self._flushed_at = before, 0

        return partly

    swap(MemoryTier, "flush", flush)


@mutant(
    "feed: memory is fresh from the answer on, not from the question",
    workload="late news",
    faults=("stop",),
)
def fresh_from_the_answer() -> None:
    def poll(original: Any) -> Any:
        async def generous(self: PolledFeed) -> bool:
            looked = bool(await original(self))
            if looked:
                self.until = self._now() + self._lease
            return looked

        return generous

    swap(PolledFeed, "poll", poll)


@mutant("feed: memory stays fresh though nobody looks", workload="contended", faults=("freeze",))
def fresh_for_ever() -> None:
    def poll(original: Any) -> Any:
        async def trusting(self: PolledFeed) -> bool:
            looked = bool(await original(self))
            if looked:
                self.until = float("inf")
            return looked

        return trusting

    swap(PolledFeed, "poll", poll)


@mutant(
    "feed: memory is kept although news was lost",
    config="sqlite-tight",
    workload="groups",
    faults=("freeze",),
)
def kept_although_lost() -> None:
    def changes(original: Any) -> Any:
        async def never_lost(self: SqliteTier, since: int | None) -> Changes:
            answer: Changes = await original(self, since)
            return Changes(answer.position, answer.names, lost=False)

        return never_lost

    swap(SqliteTier, "changes", changes)


@mutant("load: followers take what lands without a second look", workload="contended")
def followers_trust() -> None:
    def result(original: Any) -> Any:
        def trusting(self: Waiter) -> Answer | None:
            self._early = True
            answer: Answer | None = original(self)
            return answer

        return trusting

    swap(Waiter, "result", result)


@mutant("load: an invalidated value is served when its source fails", workload="failing")
def served_in_need() -> None:
    async def trusting(stack: Stack, spares: Sequence[Answer]) -> list[bool]:
        return [True] * len(spares)

    swap(load_task, "still_there", lambda original: trusting)


@mutant("load: what is read inside a load may come from memory", workload="answers")
def sources_from_memory() -> None:
    swap(sources, "must_ask_below", lambda original: lambda stack: False)


@mutant("load: a declared source is not reached by its type", workload="answers")
def sources_without_type() -> None:
    for module in (store, write):
        swap(
            module,
            "source_names",
            lambda original: lambda tenant, source: original(tenant, source)[:-1],
        )


@mutant(
    "read: memory keeps a general answer without the names that it came under",
    workload="looking",
)
def general_without_names() -> None:
    def as_general(original: Any) -> Any:
        def nameless(entry: Entry, candidates: Any, now: float) -> Entry:
            answer: Entry = original(entry, candidates, now)
            answer.names = entry.names
            return answer

        return nameless

    swap(decide, "as_general_answer", as_general)


@mutant("set: no fence after a miss of the same key", workload="sets")
def no_fence() -> None:
    swap(snapshots, "take", lambda original: lambda stack, key: None)


@mutant("set: what is there is kept, whatever it says", workload="hands")
def kept_whatever_it_says() -> None:
    swap(Entry, "equals", lambda original: lambda self, other: True)


@mutant("fill: no fence", workload="hands")
def fill_without_fence() -> None:
    def fill(original: Any) -> Any:
        async def late(stack: Stack, miss: snapshots.Snapshot, *what: Any) -> bool:
            now = await read.snapshot_now(stack, miss.request)
            return bool(await original(stack, now, *what))

        return late

    swap(filling, "fill", fill)


@mutant(
    "load: followers of what is not stored are held to the key's own names alone",
    config="memory",
    workload="unstored",
)
def unstored_unchecked() -> None:
    def backfill(original: Any) -> Any:
        async def blind(
            stack: Stack, items: Sequence[Item], entries: Sequence[Entry | None]
        ) -> list[bool]:
            for item in items:
                for lease in item.leases.values():
                    lease.names = ()
            proofs: list[bool] = await original(stack, items, entries)
            return proofs

        return blind

    swap(load_task, "backfill", backfill)


@mutant("invalidate: memory alone is told")
def memory_alone() -> None:
    def through(original: Any) -> Any:
        async def shallow(stack: Stack, names: Sequence[str], **how: bool) -> Result:
            found = await stack.memory.invalidate(names)
            return Result(Invalidated(found.keys, found.exact), found.counts)

        return shallow

    swap_invalidate(through)


@mutant("invalidate: memory is told before the database, not after it", workload="contended")
def memory_first() -> None:
    def through(original: Any) -> Any:
        async def upside_down(stack: Stack, names: Sequence[str], **how: bool) -> Result:
            stack.memory.flush()
            until = asyncio.get_running_loop().time() + stack.invalidate_patience
            for tier in reversed(stack.lower):
                await tier.invalidate(names, until=until)
            return Result(Invalidated(0), ())

        return upside_down

    swap_invalidate(through)


@mutant("invalidate: what a failing tier could not be told is forgotten", faults=("siege",))
def nothing_owed() -> None:
    swap(GuardedTier, "defer", lambda original: lambda self, names: None)


@mutant("invalidate: a tier is read although it is owed", workload="contended", faults=("siege",))
def read_while_owing() -> None:
    swap(GuardedTier, "_refuse", lambda original: lambda self: None)
