"""The one door: every face, strategy and integration asks the engine, and nothing behind it.

A face checks what its caller passed and makes `Request`s of it; it calls a method here, and gives
the answer its public shape. The engine is bound to its event loop first (`when_ready`), looks at
the mode, and hands over to the path: `reading`, `streaming`, `writing`. `build` puts it together.
A face must not call the paths, nor a tier, by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, cast

from cascada.engine.bypass import Bypass, is_bypassed
from cascada.engine.filing import Filing
from cascada.engine.hits import Hits
from cascada.engine.home.carrying import Elsewhere, relayed_from
from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.home.ready import at_most_once, when_ready
from cascada.engine.journal import KeptJournal
from cascada.engine.kinds import Kind
from cascada.engine.loading.loaders import PLAIN, Terms
from cascada.engine.moving import Mover
from cascada.engine.reading import read, snapshots
from cascada.engine.reading.answers import hit_of, value_of
from cascada.engine.reading.explain import Explanation, explain
from cascada.engine.reading.levels import LevelLookup
from cascada.engine.reading.load import load, load_uncached
from cascada.engine.reading.snapshots import Snapshot
from cascada.engine.request import Answer, Loader, Request
from cascada.engine.selfcheck import SelfCheck
from cascada.engine.stack import Stack
from cascada.engine.streaming import stream
from cascada.engine.streaming.pieces import MakePieces, Pieces
from cascada.engine.tasks.callers import begins
from cascada.engine.warm_restart import Restart
from cascada.engine.writing import fill, journaled, write
from cascada.engine.writing.add import add
from cascada.engine.writing.cascade import Cascade, cascade
from cascada.engine.writing.invalidate import (
    count_entries,
    delete,
    delete_all,
    discard,
    invalidate,
)
from cascada.engine.writing.touch import touch
from cascada.model.bills.cost import Cost, packed
from cascada.model.clock import Clock
from cascada.model.dependencies import Reach
from cascada.model.entry import Entry, Hit, Invalidated, Miss
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.model.options import Options
from cascada.tiers.capabilities import Backlog, Feed
from cascada.tiers.contract import Usage
from cascada.tiers.datastore import DataStore
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.memory.datastore import MemoryData
from cascada.tiers.memory.record import Partition

LOOKED_UP: Final = 1000
"""Keys of one lookup: what its steps do with all of them at once blocks the loop for so long."""


class Engine:
    """A stack of tiers, its life on an event loop, and the calls that all faces make of them."""

    def __init__(
        self,
        options: Options,
        clock: Clock,
        stack: Stack,
        life: Lifecycle,
        check: SelfCheck,
        feed: Feed | None,
        data: DataStore,
        filing: Filing,
        mover: Mover,
        restart: Restart,
    ) -> None:
        self.options = options
        self.clock = clock
        self.stack = stack
        self.life = life
        self.check = check
        self.feed = feed
        self.filing = filing
        self.mover = mover
        self.restart = restart
        self._data = data
        self.shared_data = None if isinstance(data, MemoryData) else data  # on its own loop alone
        self.beside: dict[str, Any] = {}  # of faces, by names of their own
        self.kinds = stack.kinds
        self.dependencies = stack.dependencies
        self.declared = stack.codec.declared
        self.trace = stack.trace
        self.partition_of = stack.memory.records.partition
        self.hits = Hits(stack, life, lambda: self.passing_by)

    # --- reading ------------------------------------------------------------------------------

    @when_ready
    async def get(self, request: Request, default: Any = None) -> Hit[Any] | Miss:
        """What the tiers have, beyond what memory answers at once."""
        if self.passing_by:
            (miss,) = await self._pass_by([request], default)
            return miss
        return await read.get_one(self.stack, request, default)

    async def _pass_by(
        self, requests: Sequence[Request], default: Any, *, at_once: bool = False
    ) -> list[Miss]:
        """Misses for callers who are to ask their sources, whatever the tiers have."""
        if not self.storing:
            return [Miss(default, Snapshot(self.stack, request, {})) for request in requests]
        return await read.get_hidden(self.stack, requests, default, at_once=at_once)

    async def get_many(
        self,
        kind: Kind,
        partition: Partition,
        ids: Sequence[str],
        request_of: Callable[[str], Request],
        want: Any,
        default: Any = None,
    ) -> list[Hit[Any] | Miss]:
        """Hits in memory at one moment, all the rest in one lookup for each LOOKED_UP."""
        glanced: list[Hit[Any] | None] = [None] * len(ids)
        if want is None:
            glanced = self.hits.many(partition, ids)
        if None not in glanced:
            return cast("list[Hit[Any] | Miss]", glanced)
        found: dict[int, Hit[Any] | Miss] = {
            index: hit for index, hit in enumerate(glanced) if hit is not None
        }
        # Of a strict type all answers are of one moment. Memory may not have heard yet of what the
        # tier below it shows already: half of a cascade would be seen. So memory answers none of
        # them, nor what it has missed here and has all the same (as another type, as an absence).
        at_once = kind.policy.strict and bool(self.stack.lower)
        if at_once:
            found.clear()
        missing = [index for index in range(len(ids)) if index not in found]
        step = len(missing) if at_once else LOOKED_UP
        for first in range(0, len(missing), step):
            part = missing[first : first + step]
            requests = [request_of(ids[index]) for index in part]
            answers = await self._get_all(requests, default, at_once=at_once)
            found.update(zip(part, answers, strict=True))
            if first + step < len(missing):
                await asyncio.sleep(0)  # in memory alone nothing was waited for
        return [found[index] for index in range(len(ids))]

    @when_ready
    async def _get_all(
        self, requests: Sequence[Request], default: Any, *, at_once: bool
    ) -> Sequence[Hit[Any] | Miss]:
        if self.passing_by:
            return await self._pass_by(requests, default, at_once=at_once)
        return await read.get(self.stack, requests, default, at_once=at_once)

    @when_ready
    async def load(self, request: Request, loader: Loader | LevelLookup) -> Hit[Any] | Miss:
        """What the tiers have, else what the loader brings."""
        (answer,) = await self._answers([request], loader)
        return hit_of(self.stack, request, answer)

    @when_ready
    async def load_many(self, requests: Sequence[Request], loader: Loader) -> list[Hit[Any] | Miss]:
        """`load` of many, whose loader is called once for all that nobody has."""
        found = []
        for request, answer in zip(requests, await self._answers(requests, loader), strict=True):
            found.append(hit_of(self.stack, request, answer))
            if len(found) % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    @when_ready
    async def ask(self, request: Request, loader: Loader | LevelLookup) -> tuple[Any, Answer]:
        """`load` with all that is known of the answer, for faces that report it."""
        (answer,) = await self._answers([request], loader)
        return value_of(self.stack, request, answer), answer

    def _answers(
        self, requests: Sequence[Request], loader: Loader | LevelLookup
    ) -> Coroutine[Any, Any, list[Answer]]:
        """The answers of a load."""
        if self.passing_by or self.check.armed or isinstance(loader, LevelLookup):
            return self._unusual(requests, loader)
        return load(self.stack, requests, loader)

    async def _unusual(
        self, requests: Sequence[Request], loader: Loader | LevelLookup
    ) -> list[Answer]:
        """The same by level, in another mode, or with a hit to be compared with its source."""
        if isinstance(loader, LevelLookup):
            (request,) = requests
            wanted, storing = not self.passing_by, self.storing
            return [await loader.ask(request, self._answers, wanted=wanted, storing=storing)]
        if not self.storing:
            return await load_uncached(self.stack, requests, loader)
        answers = await load(self.stack, requests, loader)
        if self.options.mode == "observe":
            return await self.check.observe_load(requests, answers, loader)
        self.check.sample(requests, answers, loader)
        return answers

    def stream(self, request: Request, make: MakePieces[Any], **how: Any) -> AsyncGenerator[Any]:
        """What the caller's generator yields, item for item; `how` is as of `Pieces`."""
        return self._flow(request, Pieces(self.stack, request, make, **how))

    async def _flow(self, request: Request, source: Pieces) -> AsyncGenerator[Any]:
        if self.life.settled is not asyncio.get_running_loop() and not await self.life.ready():
            async with aclosing(relayed_from(self.life, self._flow(request, source))) as pieces:
                async for piece in pieces:
                    yield piece
            return
        hit = None
        if request.want is None and not self.check.armed:
            record = self.stack.memory.records.get(request.key)
            hit = None if record is None else self.hits.one(record)
        if hit is not None:
            request.kind.replayed += hit.origin.cost
            for piece in stream.replayed(request, hit.value):
                yield piece
            return
        async with aclosing(await self._pieces(request, source)) as pieces:
            async for piece in pieces:
                yield piece

    @when_ready
    async def _pieces(self, request: Request, source: Pieces) -> AsyncGenerator[Any]:
        """A stream's pieces, as the mode says."""
        if not self.passing_by:
            return stream.follow(self.stack, request, source, self.check)
        if self.storing:
            return stream.observe(self.stack, request, source, self.check)
        return stream.load_uncached(self.stack, request, source)

    @when_ready
    async def find(self, request: Request) -> Answer | None:
        """What the tiers have of the request's own key, for who asks about it and not for it."""
        return await read.find(self.stack, Request(request.kind, request.candidates[:1]))

    @when_ready
    async def explain(self, request: Request) -> Explanation:
        """Why a read is answered as it is."""
        return await explain(self.stack, request)

    # --- writing ------------------------------------------------------------------------------

    def to_be_set(
        self,
        request: Request,
        value: object,
        stored: Terms = PLAIN,
        version: int | None = None,
        cost: Cost | None = None,
    ) -> Entry | None:
        """What `set` or `fill` is to store; BadInput if it may not be, in every mode."""
        entry = write.to_be_set(self.stack, request, value, stored, version)
        if entry is not None and cost is not None:
            entry.cost = packed(0.0, cost, self.stack.prices)
        return entry

    @when_ready
    async def set(self, request: Request, entry: Entry | None, stored: Terms = PLAIN) -> bool:
        """Store it in every tier, or in those of its priority; whether it is there now."""
        self.stack.trace.made(request.kind, entry)
        if not self.storing:
            # Other processes must not go on with the value that this one replaces.
            await invalidate(self.stack, [key_name(request.key)])
            return False
        return await journaled.write(self.stack, request, entry, stored)

    @when_ready
    async def set_all(
        self,
        requests: Sequence[Request],
        entries: Sequence[Entry | None],
        stored: Terms = PLAIN,
    ) -> list[bool]:
        """`set` of many keys of one tenant, none of them twice."""
        kept: list[bool] = []
        for first in range(0, len(requests), LOOKED_UP):
            part = slice(first, first + LOOKED_UP)
            if self.storing:
                kept += await journaled.write_all(self.stack, requests[part], entries[part], stored)
            else:
                names = [key_name(request.key) for request in requests[part]]
                await invalidate(self.stack, names)
                kept += [False] * len(names)
            if first + LOOKED_UP < len(requests):
                await asyncio.sleep(0)  # in memory alone nothing was waited for
        return kept

    @at_most_once
    async def add(self, request: Request, entry: Entry, stored: Terms = PLAIN) -> bool:
        """Store it where nothing is; whether this caller has, of all callers of all processes."""
        return self.storing and await add(self.stack, request, entry, stored)

    @when_ready
    async def fill(self, miss: Snapshot, entry: Entry | None, stored: Terms = PLAIN) -> bool:
        """Store what was made after this miss, where no value is; whether it was."""
        snapshots.spend(miss)
        self.stack.trace.made(miss.request.kind, entry)
        return self.storing and await fill.fill(self.stack, miss, entry, stored)

    @when_ready
    async def fill_anew(self, request: Request, entry: Entry | None) -> bool:
        """`fill` for who has no miss to pass on. Without an entry what is there goes."""
        return self.storing and await fill.fill_anew(self.stack, request, entry)

    @when_ready
    async def invalidate(self, names: Sequence[str], *, strict: bool) -> Invalidated:
        """Void all that bears one of the names, which are all of one tenant."""
        return (await invalidate(self.stack, names, strict=strict)).told

    @when_ready
    async def delete(self, key: Key, *, strict: bool) -> bool:
        """Void this key alone; whether there was a value."""
        return await delete(self.stack, key, strict=strict)

    @when_ready
    async def touch(self, request: Request, ttl: float) -> bool:
        """Let the value of its key live for so many seconds from now; whether there was one."""
        return self.storing and await touch(self.stack, request, ttl)

    @when_ready
    async def delete_all(self, keys: Sequence[Key], *, strict: bool) -> list[bool]:
        """Void these keys of one tenant in one atomic step; of each, whether there was a value."""
        return await delete_all(self.stack, keys, strict=strict)

    @when_ready
    async def discard(self, request: Request, answer: Answer, *, strict: bool) -> None:
        """Let go of what its reader could not use, unless it was replaced since."""
        await discard(self.stack, request, answer, strict=strict)

    @when_ready
    async def count_entries(self, names: Sequence[str]) -> int:
        """How many entries an invalidation of these names would void."""
        return sum(map(sum, await count_entries(self.stack, names)))

    @when_ready
    async def cascade(self, reaches: Sequence[Reach], *, dry_run: bool, strict: bool) -> Cascade:
        """Void all that the rows reach, in one atomic step; `dry_run` only says what would go."""
        return await cascade(self.stack, reaches, dry_run=dry_run, strict=strict)

    # --- data, and how full it all is -----------------------------------------------------------

    async def data(self) -> DataStore:
        """Where lists and counters are; each call of it is carried out at most once."""
        if await self.life.ready():
            begins()  # its caller calls it next
            return self._data
        return cast(DataStore, Elsewhere(self.life, self.data))

    @when_ready
    async def usage(self) -> dict[str, Usage]:
        """How full each tier is; a tier that does not answer is left out."""
        found: dict[str, Usage] = {}
        for tier in self.stack.tiers:
            with suppress(TierUnavailable):
                found[tier.name] = await tier.usage()
        return found

    @when_ready
    async def backlog(self) -> Backlog | None:
        """What waits to be written behind; None if nothing can, or the journal does not answer."""
        with suppress(TierUnavailable):
            return None if self.stack.behind is None else await self.stack.behind.backlog()
        return None

    def journal(self, name: str) -> KeptJournal | None:
        """What sets with this `Request.journal` have left; None: no tier keeps any."""
        journals = self.stack.journals
        return None if journals is None else KeptJournal(self.stack, self.life, journals.of(name))

    # --- modes --------------------------------------------------------------------------------

    @property
    def passing_by(self) -> bool:
        """Whether this call goes straight to its source."""
        stack = self.stack
        return self.options.mode != "on" or (stack.bypasses > 0 and is_bypassed(stack))

    @property
    def storing(self) -> bool:
        """Whether the tiers are used at all: not in mode off, nor inside `bypass()`."""
        stack = self.stack
        return self.options.mode != "off" and not (stack.bypasses and is_bypassed(stack))

    def bypass(self) -> Bypass:
        """Inside the block, in this task and those it starts, reads go to their sources."""
        return Bypass(self.stack)
