"""What the caches of frameworks have in common: whose an answer is, looking it up, keeping it.

LangChain and LangGraph look up and store by themselves (`turns.py`). A lookup that fails, or an
answer that cannot be stored, never fails the call that it is for: it is made without the cache, and
the log says so once a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, Unpack
from weakref import WeakKeyDictionary

from cascada.api.cache import Cache
from cascada.api.keeping import Keeper, Keeping, asking_tenant
from cascada.api.sync.faces import SyncTenant
from cascada.api.tenant.handle import Tenant
from cascada.engine.home.carrying import waited
from cascada.integrations.turns import Turns
from cascada.model.bills.cost import Cost
from cascada.model.door import arguments
from cascada.model.entry import Hit, Miss
from cascada.model.errors import CascadaError, WrongLoop
from cascada.model.keys import Key
from cascada.model.ttl import Duration
from cascada.telemetry.throttle import Warned

logger = logging.getLogger("cascada")

T = TypeVar("T")

WAIT: Final = 60.0
"""Seconds for which a caller waits for the calls of others, unless it is said."""

MAX_MISSED: Final = 4096
"""Misses that are remembered; what comes after an older one is stored as if nobody had looked."""

_turns: WeakKeyDictionary[Cache, Turns] = WeakKeyDictionary()

Missed = Hit[Any] | Miss
Caller = int | None


def forget(oldest: dict[Any, Any], beyond: int) -> None:
    """Let go of what is beyond that many, the oldest first."""
    while len(oldest) > beyond:
        with suppress(RuntimeError):  # another thread has changed it at this moment
            oldest.pop(next(iter(oldest), None), None)


class Guest(Keeper):
    """A cache for a framework: its `tenant` is for where nobody else says who asks."""

    def tenant(self) -> Tenant:
        return self.cache.tenant(asking_tenant(self.cache._engine.stack, self._given))

    def waiting(self) -> SyncTenant:
        """Who asks, for a thread that waits."""
        return self.cache.sync.tenant(self.tenant().tenant)


class Asked(Guest):
    """What a framework asks again and again, and makes itself where nothing is kept.

    Who looks, and later stores what came, is a CALLER: the same number both times, such as that of
    a task or a thread. By it his miss is found again, so that nothing is stored that was cleared
    meanwhile. None: whoever looked last.
    """

    def __init__(
        self, cache: Cache, want: Any, *, wait: float = WAIT, **kept: Unpack[Keeping]
    ) -> None:
        """`want`: what is stored decodes to it, else it is a miss."""
        super().__init__(cache, **kept)
        self._warned: Warned[str] = Warned()
        self._want = want
        self._wait = arguments.seconds(wait, "wait")
        # A service may make an object of the framework's for each request.
        self._turns = _turns.setdefault(cache, Turns())
        self._missed: dict[tuple[Caller, Key], Missed] = {}

    async def look(self, asked: Mapping[str, Caller]) -> list[Missed]:
        """What there is under these ids. Where nothing is, this task leads, unless another does."""
        tenant, turns = self.tenant(), self._turns
        read = partial(tenant.get_many, self.data_type, list(asked), type=self._want)
        if self.cache._engine.passing_by:  # nobody finds what another one stores
            return await read()
        keys = [tenant.key(self.data_type, each) for each in asked]
        until = asyncio.get_running_loop().time() + self._wait
        while led := turns.of_others(keys, until):
            if not await turns.over(led, until):
                break
        # Before it reads, so that of a hundred callers one does, and all others find what it finds.
        taken = turns.take(keys, self._wait)
        try:
            found = await read()
        except BaseException:
            for turn in taken:
                turns.end(turn)
            raise
        self._remember(keys, found, asked)
        answers = dict(zip(keys, found, strict=True))
        for turn in taken:
            if answers[turn.key]:
                turns.end(turn)
        return found

    async def keep(
        self,
        resource_id: str,
        value: object,
        caller: Caller,
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        cost: Cost | None = None,
    ) -> None:
        """Store what came: after this caller's miss where no value is, else in any case.

        cost: what the call took, if that was said.
        """
        if not self.cache._engine.storing:
            return
        tenant = self.tenant()
        key = tenant.key(self.data_type, resource_id)
        turn, futile = self._turns.of(key), False
        try:
            await self._store(tenant, key, value, caller, ttl, tags, cost)
        except CascadaError as error:
            futile = True
            self.not_kept(error)
        finally:
            if turn is not None:
                self._turns.end(turn, futile=futile)

    async def clear(self, tags: Sequence[str] | None = None) -> None:
        """Drop what is kept for the tenant that asks: all, or what bears one of these tags."""
        tenant = self.tenant()
        if tags is None:
            await tenant.invalidate(self.data_type, "*")
        for tag in tags or ():
            await tenant.invalidate(tag=tag)

    def drop(self, resource_id: str) -> None:
        """What came cannot be stored at all."""
        turn = self._turns.of(self.tenant().key(self.data_type, resource_id))
        if turn is not None:
            self._turns.end(turn, futile=True)

    # --- for threads that wait: they do not show when a call has failed ---------------------------

    def look_plainly(self, asked: Mapping[str, Caller]) -> list[Missed]:
        """What there is under these ids. Nobody waits for the call of who finds nothing."""
        tenant = self.tenant()
        read = partial(tenant.get_many, self.data_type, list(asked), type=self._want)
        try:
            found = self._waited(read)
        except WrongLoop as error:
            self.not_kept(error)
            return [Miss() for _ in asked]
        if not self.cache._engine.passing_by:
            keys = [tenant.key(self.data_type, each) for each in asked]
            self._remember(keys, found, asked)
        return found

    def keep_plainly(
        self,
        resource_id: str,
        value: object,
        caller: Caller,
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        cost: Cost | None = None,
    ) -> None:
        """`keep`, for a thread that waits."""
        if not self.cache._engine.storing:
            return
        tenant = self.tenant()
        key = tenant.key(self.data_type, resource_id)
        store = partial(self._store, tenant, key, value, caller, ttl, tags, cost)
        try:
            self._waited(store)
        except CascadaError as error:
            self.not_kept(error)

    def clear_plainly(self, tags: Sequence[str] | None = None) -> None:
        """`clear`, for a thread that waits."""
        self._waited(partial(self.clear, tags))

    def _waited(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return waited(self.cache._engine.life, work, "invoke", "ainvoke")

    # --- both ---------------------------------------------------------------------------------

    async def _store(
        self,
        tenant: Tenant,
        key: Key,
        value: object,
        caller: Caller,
        ttl: Duration | None,
        tags: Sequence[str],
        cost: Cost | None,
    ) -> None:
        terms: dict[str, Any] = {
            "ttl": self.terms["ttl"] if ttl is None else ttl,
            "tags": (*self.terms["tags"], *tags),
            "cost": cost,
        }
        if (miss := self._missed.pop((caller, key), None)) is None:
            await tenant.set(key.data_type, key.resource_id, value, **terms)
        else:
            await tenant.fill(miss, value, **terms)

    def _remember(
        self, keys: Sequence[Key], found: Sequence[Missed], asked: Mapping[str, Caller]
    ) -> None:
        for key, answer, caller in zip(keys, found, asked.values(), strict=True):
            if not answer:
                self._missed[caller, key] = answer
        forget(self._missed, MAX_MISSED)

    def not_kept(self, why: object) -> None:
        """Say that an answer is for its caller alone."""
        if self._warned.due(type(why).__name__, self.cache._engine.stack.timer()):
            logger.warning("an answer of type %s is not kept: %s", self.data_type, why)
