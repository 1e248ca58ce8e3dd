"""The one door to private parts, for tests that must look or reach inside (white-box tests).

Only this module knows where things are, so that a part that moves is followed here and nowhere
else; a test of the house holds `tests` to it. Nothing here is promised to users: what a service
needs in its own tests is in `cascada.testing`.

`inside(cache)` is what a cache is made of. The tiers and feeds that keep parts of their own have a
door each, for their own tests: `InsideRedis`, `InsideSqlite`, `InsidePush`, `InsidePoll`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from itertools import count
from threading import get_ident
from types import SimpleNamespace
from typing import Any

from cascada.api.cache import Cache
from cascada.api.statistics import Statistics, counted
from cascada.api.tenant.handle import Tenant
from cascada.engine.hits import Hits
from cascada.engine.tasks.background import Background
from cascada.engine.tasks.singleflight import Flights
from cascada.model.clock import Clock
from cascada.model.keys import Key
from cascada.tiers.contract import Tier
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.polled_feed import ChangeLog, PolledFeed
from cascada.tiers.redis.feed import PushFeed
from cascada.tiers.sqlite import forks as sqlite_forks


class Inside:
    """What a cache, or the cache of a handle, is made of.

    `tiers` are the tiers by name as they were given; `lower` the shared ones, top to bottom, each
    behind its deadline and breaker. `feed` is None if there is none. `handles` are the handles that
    are kept for those who ask for the same again.
    """

    def __init__(self, cache: Cache | Tenant) -> None:
        self.engine = engine = cache._engine
        self.stack = stack = engine.stack
        self.memory = stack.memory
        self.tiers: dict[str, Tier] = {
            tier.name: getattr(tier, "tier", tier) for tier in stack.tiers
        }
        self.lower = stack.lower
        self.feed = engine.feed
        self.kinds = stack.kinds
        self.trace = stack.trace
        self.check = engine.check
        self.data = engine._data
        self.handles = cache._handles if isinstance(cache, Cache) else {}

    @property
    def counted(self) -> Statistics:
        """What `Cache.stats` tells, but for the tiers, which have to be asked."""
        return counted(self.engine)

    @property
    def flights(self) -> Flights | None:
        """The loads under way on the present event loop; None before the first use."""
        return getattr(self.stack, "flights", None)

    @property
    def home(self) -> int | None:
        """The thread that the cache's event loop runs on; None: it has none."""
        thread: int | None = self.engine.life.home._thread_id
        return thread

    @property
    def background(self) -> Background:
        """The owner of all tasks on the present event loop."""
        return self.stack.background

    @property
    def finishing(self) -> set[asyncio.Task[Any]]:
        """Tasks that end by themselves, and that closing waits for."""
        return self.stack.background._finishing

    @property
    def brings_ahead(self) -> bool:
        """Whether something is being prefetched, or about to be."""
        ahead: Any = self.stack.ahead
        return bool(ahead._under_way or ahead._queue)

    @property
    def being_checked(self) -> bool:
        """Whether a hit is being compared with its source."""
        return bool(+self.check._under_way)


inside = Inside
"""As tests ask: `inside(cache).memory`."""


def hits_of(memory: MemoryTier, clock: Clock) -> Hits:
    """The hits of a memory tier without an engine, in this thread; a value is its own bytes."""
    stack: Any = SimpleNamespace(
        memory=memory,
        timer=clock.monotonic,
        watchers=0,
        codec=SimpleNamespace(decode=lambda data, *how, **wanted: data),
    )
    life: Any = SimpleNamespace(home=SimpleNamespace(_thread_id=get_ident()))
    return Hits(stack, life, lambda: False)


class InsideRedis:
    """A Redis tier's connection, and what waits for it. `tier` is a RedisTier."""

    def __init__(self, tier: Any) -> None:
        self.link = tier._link
        self.mgets = tier._reads._mgets
        self.lanes_of_large = tier._large
        self.aside = tier._aside
        self.room = tier._room
        self._reads = tier._reads
        self._touching = tier._touching
        self._hearing = tier.hearing

    def behind_each_look(self, act: Callable[[int], Awaitable[object]]) -> None:
        """Let something happen between a touch's look and its script; it gets the look's number,
        from 1."""
        touches, glance, looks = self._touching, self._touching._glance, count(1)

        async def look_and_act(keys: Any) -> Any:
            found = await glance(keys)
            await act(next(looks))
            return found

        touches._glance = look_and_act

    async def count(self) -> None:
        """Count what the entries take, now."""
        self.room._counted_at = float("-inf")
        await self.room._count()

    @property
    def waited_for(self) -> bool:
        """Whether a load of this process waits for another's lease."""
        return bool(self._hearing._events)

    @property
    def hinted_keys(self) -> list[Key]:
        """The keys of which it is remembered what names their entries bore."""
        return list(self._reads._hints)

    @property
    def hinted_names(self) -> int:
        """The names that are remembered of them."""
        count: int = self._reads._hinted_names
        return count

    @property
    def planned_names(self) -> int:
        """The names in the plans that reads of single keys are made by."""
        return sum(len(plan.late) for plan in self._reads._plans.values())


class InsideSqlite:
    """A SQLite tier's threads. `tier` is a SqliteTier."""

    def __init__(self, tier: Any) -> None:
        self._tier = tier
        self.reader = tier._reader
        self.writer = tier._writer
        self.questions = tier._questions

    @property
    def abandoned(self) -> list[Any]:
        """The threads that forked processes have let go of without closing them."""
        return sqlite_forks.abandoned

    def without_upkeep(self) -> None:
        """Let writes begin no upkeep of their own from now on."""
        self.writer._after = None

    async def upkeep_step(self) -> bool:
        """One step of the upkeep; whether there is more to do."""
        more: bool = await self.writer.run(self._tier._upkeep.step)
        return more

    def before_the_next_write(self, work: Callable[[], object]) -> Future[object]:
        """Let the writer's thread do something before the next transaction."""
        with self.writer._lock:
            begun: Future[object] = self.writer._thread().submit(work)
            return begun

    def before_each_go(self, act: Callable[[int], Awaitable[object]]) -> None:
        """Let something happen before each go of a long batch; it gets the go's number, from 1."""
        read, goes = self._tier._read, count(1)

        async def act_and_read(keys: Any) -> Any:
            await act(next(goes))
            return await read(keys)

        self._tier._read = act_and_read

    async def restart(self, position: int) -> None:
        """Number anew, as when another process has remembered a `position` that is to come."""
        await self.writer.run(lambda connection: self._tier._restart(connection, position))


class InsidePush:
    """A pushed feed's connection, and its trust in it."""

    def __init__(self, feed: PushFeed) -> None:
        self._feed = feed
        self.link: Any = feed._link
        self.up = feed._up

    @property
    def nonce(self) -> bytes:
        """What distinguishes the server's pushes to this process; empty before the first."""
        return self._feed._nonce

    @property
    def server(self) -> Any:
        """What makes its connections."""
        return self.link._server

    @server.setter
    def server(self, server: Any) -> None:
        self.link._server = server

    @property
    def socket(self) -> int:
        """The file of the socket that pushes come in by."""
        number: int = self._feed._socket.fileno()
        return number

    @property
    def transport(self) -> Any:
        """What reads that socket."""
        return self.link.wire._transport

    def trust(self, until: float, poll: Any) -> None:
        """Let the feed be up until then, and ask `poll` whether a push waits."""
        self._feed._trusted_until = until
        self._feed._poll = poll


class InsidePoll:
    """Which tier a polled feed asks."""

    def __init__(self, feed: PolledFeed) -> None:
        self._feed = feed

    @property
    def log(self) -> ChangeLog:
        """The tier that it asks."""
        return self._feed._log

    @log.setter
    def log(self, log: ChangeLog) -> None:
        self._feed._log = log


def followers_of(learner: Any, key: Any) -> int:
    """Of how many keys a prefetching learner counts that they have followed this one."""
    return len(learner._rows[key].followers)


def turns_of(framework: Any) -> int:
    """How many calls that a cache of a framework's knows of are under way, or waited for."""
    turns = framework._asked._turns
    return len(turns._turns) + len(turns._led) + len(turns._waiting)


class InsideService:
    """A service's cache, and what its processes tell each other. `service` is a CacheService."""

    def __init__(self, service: Any) -> None:
        self.cache: Cache = service._cache
        self.hours: set[int] = service._shared._listed
        self._shared = service._shared
        self.record = service._shared.record

    async def heard(self) -> None:
        """Tell the other processes now, and learn from them."""
        await self._shared.heard(now=True)
