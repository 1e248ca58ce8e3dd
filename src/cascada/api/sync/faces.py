"""The faces that wait: one line for each call of `Cache`, `Tenant` and `TenantList`.

What is not here is not on them: a test compares the names with those of the async faces.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cascada.api.sync.waiting import Face, hits_or_waits, waits, waits_once
from cascada.api.tenant.data import TenantList
from cascada.api.tenant.handle import Tenant
from cascada.api.tenant.requests import NONE
from cascada.engine.home.bridge import bridge
from cascada.engine.home.carrying import waited, waited_for_each
from cascada.engine.streaming.pieces import MAX_ITEMS, MakePieces
from cascada.model.entry import Hit, Miss
from cascada.model.forgotten import ForgetProgress, ForgetReport
from cascada.model.keys import Id, Key, Scope
from cascada.model.made_of import Declared
from cascada.model.policy import Policy
from cascada.model.ttl import Duration

if TYPE_CHECKING:
    from cascada.api.statistics import Statistics
    from cascada.engine.warm_restart import WarmRestart

T = TypeVar("T")


class SyncCache(Face[Any]):
    """A cache for code that waits. Made by `Cache.sync`."""

    __slots__ = ()

    def tenant(
        self,
        tenant: Id | None,
        *,
        agent: Id | None = None,
        conversation: Id | None = None,
        collection: Id | None = None,
    ) -> SyncTenant:
        """The handle of one tenant. MissingTenant if there is none; there is no default."""
        given = {"agent": agent, "conversation": conversation, "collection": collection}
        return SyncTenant(self._life, self._asked.tenant(tenant, **given))

    def get(self, key: Key, *, default: Any = None) -> Hit[Any] | Miss:
        """The value of a key that `SyncTenant.key` made."""
        found: Hit[Any] | Miss = self._waited("get", key, default=default)
        return found

    def stats(self) -> Statistics:
        """What it has done since this process started, and what its tiers hold; print it."""
        found: Statistics = self._waited("stats")
        return found

    def set_policy(self, data_type: str, policy: Policy) -> None:
        """Say how a type is cached from now on. Memory starts anew; other tiers keep theirs."""

        async def at_home() -> None:
            self._asked.set_policy(data_type, policy)

        waited(self._life, at_home, "cache.sync.set_policy", "cache.set_policy")

    @property
    def warm_restart(self) -> WarmRestart:
        """As `Cache.warm_restart`."""
        progress: WarmRestart = self._asked.warm_restart
        return progress

    def rotate_keys(self, *, on_progress: Callable[[int, int], Any] | None = None) -> int:
        """As `Cache.rotate_keys`."""
        count: int = self._waited("rotate_keys", on_progress=on_progress)
        return count

    def forget(
        self,
        tenant: Id,
        *,
        user: Id | None = None,
        compact: bool | None = None,
        on_progress: Callable[[ForgetProgress], Any] | None = None,
    ) -> ForgetReport:
        """As `Cache.forget`."""
        given: dict[str, Any] = {"user": user, "compact": compact, "on_progress": on_progress}
        report: ForgetReport = self._waited("forget", tenant, **given)
        return report

    def reset(self) -> None:
        """Close everything and start anew at the next use (for tests)."""
        self._waited("reset")
        bridge().join()

    def close(self) -> None:
        """Store what is under way (at most 10 s), then close. The cache cannot be used again."""
        if not self._life.is_over:
            self._waited("aclose")
        bridge().join()

    def _waited(self, name: str, /, *args: Any, **named: Any) -> Any:
        work = partial(getattr(self._asked, name), *args, **named)
        return waited(self._life, work, f"cache.sync.{name}", f"cache.{name}")

    def bypass(self) -> AbstractContextManager[None]:
        """As `Cache.bypass`."""
        bypass: AbstractContextManager[None] = self._asked.bypass()
        return bypass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class SyncTenant(Face[Tenant]):
    """One tenant's view of the cache, for code that waits. Made by `cache.sync.tenant`."""

    __slots__ = ()

    @property
    def tenant(self) -> str:
        return self._asked.tenant

    @property
    def scope(self) -> Scope:
        return self._asked.scope

    def within(
        self,
        *,
        agent: Id | None = None,
        conversation: Id | None = None,
        collection: Id | None = None,
    ) -> SyncTenant:
        """This handle, with more of its context known."""
        asked = self._asked.within(agent=agent, conversation=conversation, collection=collection)
        return SyncTenant(self._life, asked)

    def key(self, data_type: str, resource_id: Id) -> Key:
        """The key of a value, for `cache.sync.get`, and for whoever shows or keeps it."""
        return self._asked.key(data_type, resource_id)

    def peek(self, data_type: str, resource_id: Id) -> Hit[Any] | None:
        """What memory answers at once, to any thread, or None: ask `get`, which looks further."""
        return self._asked.peek(data_type, resource_id)

    get = hits_or_waits(Tenant.get)
    get_many = waits(Tenant.get_many)
    load = hits_or_waits(Tenant.load)
    load_many = waits(Tenant.load_many)
    set = waits(Tenant.set)
    set_many = waits(Tenant.set_many)
    fill = waits(Tenant.fill)
    add = waits_once(Tenant.add)
    touch = waits(Tenant.touch)
    delete = waits(Tenant.delete)
    delete_many = waits(Tenant.delete_many)
    invalidate = waits(Tenant.invalidate)
    cascade = waits(Tenant.cascade)
    ttl = waits(Tenant.ttl)
    explain = waits(Tenant.explain)
    increment = waits_once(Tenant.increment)
    counter = waits(Tenant.counter)

    def stream(
        self,
        data_type: str,
        resource_id: Id,
        pieces: MakePieces[T],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        type: Any = None,
        max_items: int = MAX_ITEMS,
    ) -> Generator[T]:
        """What `pieces()` yields, item for item, as `Tenant.stream` gives it; each is waited for.

        A plain generator runs in threads of its own. Close what you do not read to its end
        (`contextlib.closing`).
        """
        items = self._asked.stream(
            data_type,
            resource_id,
            pieces,
            ttl=ttl,
            tags=tags,
            sources=sources,
            type=type,
            max_items=max_items,
        )
        return waited_for_each(self._life, items, "SyncTenant.stream", "Tenant.stream")

    def list(self, list_name: Id, *, type: Any = None) -> SyncList:
        """The list of that name, as `Tenant.list` gives it."""
        return SyncList(self._life, self._asked.list(list_name, type=type))


class SyncList(Face[TenantList]):
    """One list, for code that waits. Made by `SyncTenant.list`."""

    __slots__ = ()

    rpush = waits_once(TenantList.rpush)
    lpush = waits_once(TenantList.lpush)
    lpop = waits_once(TenantList.lpop)
    rpop = waits_once(TenantList.rpop)
    range = waits(TenantList.range)
    length = waits(TenantList.length)
    trim = waits_once(TenantList.trim)
