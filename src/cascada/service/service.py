"""`CacheService`: document V's cache of flat keys in groups, a thin face of one `Cache`.

A flat key is an id of the one data type `service.NAME`, of the current tenant. The part up to its
first colon is its group, and a tag of the entry: so a group is cleared in one step, however many
keys it has. How long a value lives that is set without a ttl is judged by the hour (`hours.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from cascada.api import settings as variables
from cascada.api.cache import Cache
from cascada.api.context import current_tenant
from cascada.api.default import default_cache
from cascada.api.tenant.handle import Tenant
from cascada.codecs.digest import generate_resource_id_hash
from cascada.engine.engine import Engine
from cascada.engine.loading.loaders import Terms
from cascada.engine.matching import delete_matching
from cascada.engine.request import Request
from cascada.engine.writing.journaled import removal
from cascada.model.door import arguments
from cascada.model.entry import Entry, Hit, Miss
from cascada.model.keys import Id
from cascada.model.names import type_name
from cascada.model.ttl import Duration
from cascada.service import given
from cascada.service.alerts import Alert, AlertRule
from cascada.service.hours import HourlyAccess
from cascada.service.metrics import CacheMetrics, Counted
from cascada.service.settings import Settings, whole
from cascada.service.sharing import EACH, Shared, shared_of
from cascada.service.started import Started
from cascada.service.starting import AtStart
from cascada.service.sync.conflicts import Conflicts
from cascada.service.sync.face import Syncing
from cascada.service.sync.mapping import Mapping as TableMapping
from cascada.service.sync.report import SyncProgress
from cascada.service.types import fitting

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

logger = logging.getLogger("cascada")

T = TypeVar("T")

Accesses = Literal["writes", "all"]

LONGEST_GROUP: Final = 512
"""Characters of a group that are a tag as they are; of longer ones it is a hash of them."""

_GLOB: Final = frozenset("*?[")


class CacheService(Started):
    """Document V's cache service. Making one opens nothing, and needs no tenant and no server.

    sync_interval: seconds between two rounds of the sync (None: REDIS_SYNC_INTERVAL, else 300).
    name: services of other names have other keys. cache: the one that it is a face of (None: the
    default cache, at each call). count: which accesses make an hour one of peak, "writes", or "all"
    for reads, too. time_zone: whose hours are meant, a `zoneinfo.ZoneInfo` or its name (None: the
    process's local time). types: what the values of a group are, by group: a value that does not
    fit its type is refused before it is stored.

    database: where the sync writes, PostgreSQL or SQLite, as a URL or as SQLAlchemy's AsyncEngine
    (None: CASCADA_SYNC_DATABASE, else into the database that is a tier of the cache). mappings:
    which keys are rows of tables of the application; the others go to `cascada.service_entries`.
    conflicts: whose a row is that others have changed, "database_wins", "last_write_wins",
    "cache_wins" or a function of both rows that returns the one to write. on_sync_progress is told
    after each batch.

    With its sync begin, and end: warm_on_start: `warm`, by `loader`, of so many of the keys that
    were read most before (at most 4096), of all tenants in turns, in the background; alerts: rules
    that are judged every 10 seconds, and on_alert, who is told (None: the log).

    `settings` may be changed while it runs (`Settings` says what is there); DEFAULT_TTL begins as
    the default ttl of `cache`, if that says one, else as REDIS_CACHE_TTL.
    """

    def __init__(
        self,
        sync_interval: float | None = None,
        name: str = "default",
        *,
        cache: Cache | None = None,
        count: Accesses = "writes",
        time_zone: tzinfo | str | None = None,
        types: Mapping[str, Any] | None = None,
        database: str | AsyncEngine | None = None,
        mappings: Sequence[TableMapping] = (),
        conflicts: Conflicts = "database_wins",
        on_sync_progress: Callable[[SyncProgress], None] | None = None,
        warm_on_start: int | None = None,
        loader: Callable[[str], Any] | None = None,
        alerts: Sequence[AlertRule] = (),
        on_alert: Callable[[Alert], Any] | None = None,
    ) -> None:
        if sync_interval is None:
            sync_interval = variables.variable("REDIS_SYNC_INTERVAL")
        if database is None:
            database = variables.variable("CASCADA_SYNC_DATABASE")
        self.sync_interval = whole(arguments.seconds(sync_interval, "sync_interval"))
        self.name = given.named(name)
        if cache is not None:
            arguments.instance(cache, "cache", Cache, "a Cache, or None for the default one")
        self._cache = cache
        self._counts_reads = arguments.choice(count, "count", ("writes", "all")) == "all"
        self._zone = given.zone(time_zone)
        self._types = given.types(types)
        self._settings = Settings(given.default_ttl(cache))
        self._data_type = given.data_type(self.name)
        self._known: tuple[Engine, Shared] | None = None
        self._sync = Syncing(
            self.name,
            self._data_type,
            lambda: self._engine,
            lambda: self.sync_interval,
            database=database,
            mappings=mappings,
            conflicts=conflicts,
            on_progress=on_sync_progress,
            on_end=lambda now: self._shared.synced(now),
        )
        self._at_start = AtStart(warm_on_start, loader, alerts, on_alert)
        self._most, self._look_again = 0, 0.0

    def __repr__(self) -> str:
        return f"CacheService(name={self.name!r}, sync_interval={self.sync_interval!r})"

    @property
    def settings(self) -> Settings:
        """What may be changed while it runs; an equal dict may be assigned as well."""
        return self._settings

    @settings.setter
    def settings(self, settings: Mapping[str, Any]) -> None:
        self._settings.update(arguments.mapping(settings, "settings", "a dict of settings"))

    # --- values -------------------------------------------------------------------------------

    @overload
    async def get(self, key: Id, default: Any = None, *, type: type[T]) -> T | None: ...

    @overload
    async def get(self, key: Id, default: Any = None, *, type: Any = None) -> Any: ...

    async def get(self, key: Id, default: Any = None, *, type: Any = None) -> Any:
        """The value of a key of the current tenant, or `default`.

        type: what it is decoded to (None: as it was stored, a dict as a dict). What does not fit it
        is a miss.
        """
        name = arguments.identity(key, "key")
        handle, shared = self._handle(), self._shared
        if self._counts_reads:
            shared.record(name)
        now = asyncio.get_running_loop().time()
        if now >= self._look_again:
            self._look_again = now + EACH
            self._bound_memory(self._is_peak_now())
            shared.nudge()
        shared.usage.note(handle.tenant, name)
        hit = await self._read(handle, name, type)
        return hit.value if hit else default

    async def _read(self, handle: Tenant, name: str, type: Any = None) -> Hit[Any] | Miss:
        if type is None and (hit := handle.peek(self._data_type, name)) is not None:
            return hit
        request = handle._request(self._data_type, name, type)
        request.journal = self._sync.journal  # who misses is given what waits there
        return await handle._engine.get(request)

    async def set(
        self,
        key: Id,
        value: Any,
        ttl: Duration | None = None,
        *,
        type: Any = None,
        fetched: bool | None = None,
    ) -> bool:
        """Store a value; whether it was accepted.

        ttl: seconds or a timedelta; None: `adaptive_ttl()`; 0: it never expires. type: what it is,
        before `types`. A value that cannot be stored exactly, or does not fit its type, raises
        SerializationError, which names the place in it. After a miss of the key in this task,
        nothing is stored if the key was invalidated in between. None as a value only removes what
        is there.

        With a sync, True says that the value is in the journal, and will be written to the
        database; False, that it is not (the journal is full, or its tier does not answer). fetched:
        True, it was read there, and is not to be written; False, it is a change. None: after a miss
        of the key in this task it is taken for what was read: where a mapped row says something
        else, the row stays, and the key is let go of.
        """
        name = arguments.identity(key, "key")
        lasts = None if ttl is None else arguments.duration(ttl, zero=True)
        fetched = None if fetched is None else arguments.flag(fetched, "fetched")
        return await self._store(self._handle(), name, value, lasts, type=type, fetched=fetched)

    async def _store(
        self,
        handle: Tenant,
        name: str,
        value: Any,
        lasts: float | None,
        *,
        type: Any,
        fetched: bool | None,
    ) -> bool:
        shared = self._shared
        await shared.heard()
        # By what was counted before this access, as the document has it.
        request, stored = self._to_store(handle, name, lasts)
        request.journal, request.fetched, request.durably = self._sync.journal, fetched, True
        entry = self._fitting(request, value, stored, type)
        shared.record(name)
        return await handle._engine.set(request, entry, stored)

    def _to_store(self, handle: Tenant, name: str, lasts: float | None) -> tuple[Request, Terms]:
        """What is stored of a key, and how, this hour."""
        peak = self._is_peak_now()
        self._bound_memory(peak)
        group = group_of(name)
        tags = () if group is None else (self._tag(group),)
        stored = Terms(self._ttl_at(peak) if lasts is None else lasts, tags)
        return handle._request(self._data_type, name), stored

    def _fitting(
        self, request: Request, value: Any, stored: Terms, type: Any = None
    ) -> Entry | None:
        """What is to be stored of a value; SerializationError if it does not fit its type."""
        engine = self._engine
        group = group_of(request.key.resource_id) or ""
        wanted = self._types.get(group) if type is None else engine.declared(type)
        return fitting(engine, request, value, stored, wanted)

    async def delete(self, key: Id, *, row: bool = False) -> bool:
        """Remove a key from the cache, in every tier and process; True if it was there.

        row: its row in the database goes, too, by the sync (a mapping says how); True then says
        that this is in the journal, False that it is not.
        """
        name, handle = arguments.identity(key, "key"), self._handle()
        if not arguments.flag(row, "row"):
            return await handle.delete(self._data_type, name)
        if self._sync.if_any() is None:
            await handle.delete(self._data_type, name)
            return False
        request = handle._request(self._data_type, name)
        request.journal = self._sync.journal
        engine = handle._engine
        return await engine.set(request, removal(engine.stack, request))

    async def clear(self, pattern: str = "*") -> Counted:
        """Remove what the pattern matches of the current tenant's keys of this service; how many.

        "*": all of them. "GROUP:*": the keys that begin so. Both are one atomic step, however many
        keys they are. A key without `*`, `?` and `[`: that one. Any other pattern (with `*`, `?`,
        `[ab]`, `[!ab]`) is looked for among all keys of this service, step by step, and the log
        says so; what is set meanwhile may stay. Rows of a database are not touched. `exact` of the
        answer says whether so many went, or at most so many.
        """
        pattern = arguments.identity(pattern, "pattern")
        handle = self._handle()
        group, colon, rest = pattern.partition(":")
        if _GLOB.isdisjoint(pattern):
            return Counted(await self.delete(pattern))
        if pattern == "*":
            gone = await handle.invalidate(self._data_type, "*")
        elif colon and rest == "*" and _GLOB.isdisjoint(group):
            gone = await handle.invalidate(tag=self._tag(group), strict=self._is_strict)
        else:
            return Counted(await self._walk(handle, pattern))
        return Counted(gone.keys, exact=gone.exact)

    async def _walk(self, handle: Tenant, pattern: str) -> int:
        """Remove the keys that match, by going through all of them."""
        engine = handle._engine
        gone = await delete_matching(
            engine.stack,
            engine.life,
            handle.tenant,
            self._data_type,
            lambda name: fnmatchcase(name, pattern),
            strict=self._is_strict,
        )
        logger.info("%s: clear went through all keys of a tenant, and removed %d", self, gone)
        return gone

    # --- the hours ----------------------------------------------------------------------------

    def adaptive_ttl(self) -> float:
        """Seconds that a value lives which is set now without a ttl; `inf` is never."""
        return self._ttl_at(self._is_peak_now())

    def is_peak_hour(self, hour: int) -> bool:
        """Whether an hour of the day, 0 to 23, is one of peak.

        So is one whose accesses, in the mean over the days of the last seven that have any in that
        hour, are more than USAGE_THRESHOLD. Without any statistics at all: 9 to 18.
        """
        hour = arguments.integer(hour, "hour", 0, 23)
        return self._shared.hours.is_peak(hour, self._settings["USAGE_THRESHOLD"])

    @property
    def hourly_access_stats(self) -> list[HourlyAccess]:
        """The accesses of each hour of the last seven days that had any, the oldest first."""
        return self._shared.hours.statistics()

    def _ttl_at(self, peak: bool) -> float:
        return self._settings.lifetime("PEAK_TTL" if peak else "DEFAULT_TTL")

    def _is_peak_now(self) -> bool:
        hours = self._shared.hours
        return hours.is_peak(hours.current().hour, self._settings["USAGE_THRESHOLD"])

    # --- figures ------------------------------------------------------------------------------

    async def get_metrics(self) -> CacheMetrics:
        """What the service has done and holds, for all tenants."""
        engine, shared = self._engine, self._shared
        await shared.heard(now=True)
        hits, misses = shared.hits_and_misses
        keys = 0
        for tenant in sorted(await shared.tenants()):
            keys += await engine.count_entries([type_name(tenant, self._data_type)])
        return CacheMetrics(
            hit_count=hits,
            miss_count=misses,
            hit_rate=hits / (hits + misses) if hits + misses else 0.0,
            memory_usage_bytes=engine.stack.memory.records.size_of(self._data_type)
            + (await engine.filing.others()).held[self._data_type],
            keys_count=Counted(keys, exact=False),
            last_sync=await shared.last_sync(),
        )

    # --- what it stands on --------------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        """The cache that it is a face of."""
        return self._cache or default_cache()

    @property
    def _engine(self) -> Engine:
        return self.cache._engine

    @property
    def _shared(self) -> Shared:
        """Of the engine that is used now: tests, above all, use several in a row."""
        engine = self._engine
        if self._known is None or self._known[0] is not engine:
            self._known = engine, shared_of(engine, self._data_type, self._zone)
            self._most = 0
        return self._known[1]

    def _bound_memory(self, peak: bool) -> None:
        """Let memory keep as many entries of this service as the hour allows."""
        most = int(self._settings["PEAK_CACHE_SIZE" if peak else "DEFAULT_CACHE_SIZE"])
        if most != self._most:
            self._most, stack = most, self._engine.stack
            stack.at_home(partial(stack.memory.records.bound, self._data_type, most))

    @property
    def _is_strict(self) -> bool:
        return self._engine.kinds.policy(self._data_type).strict

    def _handle(self) -> Tenant:
        """The current tenant's; MissingTenant if there is none."""
        return self.cache.tenant(current_tenant())

    def _tag(self, group: str) -> str:
        """What the entries of a group bear: no other service's, and nobody's by accident."""
        if len(group) > LONGEST_GROUP:
            group = f"#{generate_resource_id_hash(group)}"
        return f"{self._data_type}:{group}"


def group_of(key: str) -> str | None:
    """The part up to the first colon; None of a key that has none."""
    group, colon, _ = key.partition(":")
    return group if colon else None
