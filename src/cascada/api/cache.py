"""`Cache`: the whole of cascada in one object.

The engine is imported when the first cache is made, not with this module: a program that imports
`Cache`, `Policy` and `cached` starts nearly as fast as one that does not, and pays for what it
uses. What is below is built in `engine/build.py`; nothing here decides how a value is read.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from cascada.model.bills.cost import Price
from cascada.model.clock import Clock, SystemClock
from cascada.model.dependencies import Dependent
from cascada.model.door import arguments
from cascada.model.door.secret import Secret, Url, hidden
from cascada.model.entry import Hit, Miss
from cascada.model.errors import Misuse
from cascada.model.events import Observer
from cascada.model.forgotten import ForgetProgress, ForgetReport, Whom
from cascada.model.keys import Id, Key, scope_of
from cascada.model.limits import Limits
from cascada.model.options import Encrypt, Mode, Options, ReadStrategy, WriteStrategy
from cascada.model.policy import Policy

if TYPE_CHECKING:
    from cascada.api.statistics import Statistics
    from cascada.api.sync.faces import SyncCache
    from cascada.api.tenant.handle import Tenant
    from cascada.engine.warm_restart import WarmRestart
    from cascada.tiers.contract import Tier
    from cascada.tiers.memory.record import Partition, Record

_PLAIN: Final = frozenset({str, type(None)})

MAX_HANDLES: Final = 1024
"""Handles that are kept for those who ask for the same again, as every request does."""

MAX_KEYS: Final = 10_000
"""Keys of which it is remembered where memory keeps what they stand for."""

Place = tuple["Partition", dict[str, "Record"], str]
"""A partition, its records, and the id of one of them."""


class Cache:
    """A multi-tenant cache in tiers: memory, and a database below it.

    `Cache()` alone keeps values in memory. `redis` (any URL that redis-py takes; `redis_password`,
    if the URL has none) adds the tier that all processes share, on any number of machines;
    `database` ("sqlite:///path" or a path) the one that survives a restart. Either keeps the
    processes that use it coherent. `policies` say how each data type is cached; the documented
    types are built in. `limits` are the numbers: sizes, times, counts. Nothing is opened before the
    first use, and nothing is tied to an event loop before it.

    default_policy: of types without one. namespace: before every stored key, so that environments
    may share a server. mode: "on", "off" or "observe". read_strategy: "READ_AROUND" lets a read
    fill no tier with what a lower one has, "REFRESH_AHEAD" lets hits refresh what is hot before it
    expires. write_strategy: "WRITE_AROUND" stores in the lowest tier
    of a value alone. encryption_keys: "ID:KEY", and commas between several: what types with
    `Policy(sensitive=True)` keep, or with encrypt="all" all types, is sealed for its tenant before
    it leaves this process; the first key wraps the tenants' own, the others still open what they
    have wrapped. dependencies: rows of the application's own
    for `Tenant.cascade`, by subject. prices: what calls of models cost, by the model's name (a date
    behind it does not matter), as `Price(...)` or a dict of what that has. tenant_validator: may
    raise to refuse a tenant. observers: are called with each `Event`. debug: check what costs too
    much to be checked always, that values come back as they were stored and that nobody has changed
    one that is shared (None: in Python's development mode, `python -X dev`). clock: where the time
    comes from, tiers: ready tiers instead of `redis` and `database` (both for tests).
    """

    def __init__(
        self,
        *,
        redis: str | Url | None = None,
        redis_password: str | Secret | None = None,
        database: str | Url | None = None,
        policies: Mapping[str, Policy] | None = None,
        default_policy: Policy | None = None,
        limits: Limits | None = None,
        namespace: str = "cascada",
        mode: Mode = "on",
        read_strategy: ReadStrategy = "READ_THROUGH",
        write_strategy: WriteStrategy = "WRITE_THROUGH",
        encryption_keys: str | Secret | None = None,
        encrypt: Encrypt = "sensitive",
        dependencies: Mapping[str, Sequence[Dependent]] | None = None,
        prices: Mapping[str, Price | Mapping[str, Any]] | None = None,
        tenant_validator: Callable[[str], None] | None = None,
        observers: Sequence[Observer] = (),
        debug: bool | None = None,
        clock: Clock | None = None,
        tiers: Sequence[Tier] | None = None,
    ) -> None:
        from cascada.api import urls
        from cascada.api.context import enter
        from cascada.api.tenant.handle import Tenant
        from cascada.engine.build import build

        redis, database = hidden(redis), hidden(database)
        redis_password = hidden(redis_password, Secret)
        encryption_keys = hidden(encryption_keys, Secret)
        clock = SystemClock() if clock is None else clock
        arguments.offers(clock, "clock", ("time", "monotonic"), "a Clock")
        if tenant_validator is not None:
            arguments.plain_function(tenant_validator, "tenant_validator", "a function of a tenant")
        self.options = Options(
            policies={} if policies is None else policies,
            default_policy=Policy() if default_policy is None else default_policy,
            limits=Limits() if limits is None else limits,
            namespace=namespace,
            mode=mode,
            read_strategy=read_strategy,
            write_strategy=write_strategy,
            encryption_keys=encryption_keys,  # type: ignore[arg-type]  # checked there
            encrypt=encrypt,
            dependencies={} if dependencies is None else dependencies,
            prices={} if prices is None else prices,  # type: ignore[arg-type]  # checked there
            observers=observers,
            debug=sys.flags.dev_mode if debug is None else debug,
        )
        if redis_password is not None:
            redis_password = arguments.secret(redis_password, "redis_password", "a str")
        lower: list[Tier] = []
        if tiers is not None:
            lower = arguments.several(tiers, "tiers", "tiers")
            for tier in lower:
                arguments.offers(tier, "each of tiers", ("read", "lease", "fill"), "a tier")
        else:
            if redis is not None:
                accepted = "a URL, such as redis://HOST:PORT/DB"
                url = arguments.secret(redis, "redis", accepted, Url)
                lower.append(urls.redis_tier(url, redis_password, self.options, clock))
            if database is not None:
                url = arguments.secret(database, "database", "a URL or a path of a file", Url)
                lower.append(urls.database_tier(url, self.options, clock))
        self._engine = build(self.options, lower, clock, enter)
        self._hits = self._engine.hits
        self._handle_of = Tenant  # imported above, and made for each request
        self._handles: dict[Any, Tenant] = {}
        self._places: dict[Key, Place] = {}
        self._validate = tenant_validator

    @classmethod
    def from_env(cls, **given: Any) -> Self:
        """A cache as the environment describes it; arguments go before variables, and of `limits`
        each that is given.

        InvalidSettings names the variable, what it holds and what it may hold.
        """
        from cascada.api.settings import cache_arguments  # the names of variables load lazily

        for name in {"redis", "database"} & given.keys():
            given[name] = hidden(given[name], Url)
        for name in {"redis_password", "encryption_keys"} & given.keys():
            given[name] = hidden(given[name], Secret)
        return cls(**cache_arguments(**given))

    def tenant(
        self,
        tenant: Id | None,
        *,
        agent: Id | None = None,
        conversation: Id | None = None,
        collection: Id | None = None,
    ) -> Tenant:
        """The handle of one tenant. MissingTenant if there is none; there is no default."""
        given = (tenant, agent, conversation, collection)
        # What is equal to an id need not be one: 1 and True, or an object that says so.
        handle = self._handles.get(given) if _PLAIN.issuperset(map(type, given)) else None
        if handle is None:
            text, scope = arguments.tenant(tenant), scope_of(agent, conversation, collection)
            handle = self._handle_of(self._engine, text, scope)
            if len(self._handles) >= MAX_HANDLES:
                self._handles.clear()
            self._handles[text, *scope] = handle
        if self._validate is not None:
            self._validate(handle.tenant)
        return handle

    @cached_property
    def sync(self) -> SyncCache:
        """The same cache for code that waits: `cache.sync.tenant("acme").get(...)`."""
        from cascada.api.sync.faces import SyncCache  # most programs wait or await, not both

        return SyncCache(self._engine.life, self)

    async def get(self, key: Key, *too_many: object, default: Any = None) -> Hit[Any] | Miss:
        """The value of a key that `Tenant.key` made.

        `default` is as in `Tenant.get`; what takes a `type` is asked there.
        """
        if key.__class__ is not Key or too_many:
            raise arguments.refused(
                "the key of Cache.get",
                key,
                "a key that tenant.key(type, id) made, or ask a tenant: "
                "cache.tenant(...).get(type, id)",
            )
        try:
            _, records, resource_id = self._places[key]
            record = records[resource_id]
        except Exception:  # noqa: BLE001 - mostly that there is none; or a part that has no hash
            pass
        else:
            if (hit := self._hits.one(record)) is not None:
                return hit
        handle = self.tenant(
            key.tenant,
            agent=key.agent,
            conversation=key.conversation,
            collection=key.collection,
        )
        answer = await handle.get(key.data_type, key.resource_id, default=default)
        self._place(key)
        return answer

    def _place(self, key: Key) -> Place:
        """Where memory keeps what a key stands for, now and later."""
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= MAX_KEYS:
                self._places.clear()
            partition = self._engine.partition_of(key[:5])
            place = self._places[key] = partition, partition.records, key.resource_id
        return place

    def set_policy(self, data_type: str, policy: Policy) -> None:
        """Say how a type is cached from now on. Memory starts anew; other tiers keep theirs."""
        data_type = arguments.data_type(data_type)
        policy = arguments.instance(policy, "policy", Policy, "a Policy(...)")
        if policy.type is not None:
            self._engine.declared(policy.type, "Policy.type")
        lower = self._engine.stack.lower
        if policy.sensitive and lower and lower[-1].sealing is None:
            from cascada.tiers.sealing import NO_KEYS

            raise Misuse(f"{data_type} is sensitive, which takes keys: {NO_KEYS}")
        self._engine.stack.kinds.set_policy(data_type, policy)
        self._handles.clear()  # they have worked out what the keys of the type hold
        self._engine.stack.at_home(self._engine.stack.memory.flush)

    async def stats(self, *, tenants: int = 100) -> Statistics:
        """What it has done since this process started, and what its tiers hold; print it.

        So many `tenants`, the first ones that were met, have figures of their own as well.
        """
        from cascada.api.statistics import statistics

        return await statistics(self._engine, arguments.integer(tenants, "tenants", 0))

    @property
    def warm_restart(self) -> WarmRestart:
        """How far what `Limits(warm_restart=)` has noted before the start is in memory again."""
        return self._engine.restart.progress

    def bypass(self) -> AbstractContextManager[None]:
        """`with cache.bypass():` reads go to their sources, past all tiers, and store nothing."""
        return self._engine.bypass()

    async def rotate_keys(self, *, on_progress: Callable[[int, int], Any] | None = None) -> int:
        """Wrap the keys of all tenants by the first of `encryption_keys`; how many were wrapped by
        another one, which may then be left out. What they have sealed stays as it is. on_progress:
        a plain function, told after each tenant how many are done, and how many there are.

        CorruptEntry if some do not open (they are wrapped by a key that is not among them, say),
        which names their tenants, after all others are done. TierUnavailable if the lowest tier
        does not answer: what was done before that stays done.
        """
        from cascada.engine.rotation import Rotation  # hardly any process ever does this

        if on_progress is not None:
            on_progress = arguments.plain_function(on_progress, "on_progress")
        return await Rotation(self._engine, on_progress).run()

    async def forget(
        self,
        tenant: Id,
        *,
        user: Id | None = None,
        compact: bool | None = None,
        on_progress: Callable[[ForgetProgress], Any] | None = None,
    ) -> ForgetReport:
        """Make void all that a tenant has, and remove its bytes from every tier; or what one of his
        users has: all values in his collection `user:USER`, and what was made of them.

        Values, and what names them; of a tenant also lists, counters, his data key (so that what
        backups hold of sealed values is read by nobody), and what services note of him. Changes of
        his that wait for WRITE_BEHIND or for a sync are dropped, and counted. Rows that a sync has
        written stay (`CacheService.forget`), and so do figures. When it returns no process serves
        anything of before, nor stores what was under way. What is set meanwhile stays, or goes.

        compact: whether the database's file is written anew, so that its unused parts hold nothing,
        while nobody else writes; None: if it has at most 64 MB. on_progress: a plain function, told
        after each step. The report's `complete` is False where a tier does not answer, and says
        what to do. To go on after an interruption, call it again: that harms nobody.
        """
        return await self._forget(tenant, user, compact, on_progress)

    async def _forget(
        self,
        tenant: Id,
        user: Id | None,
        compact: bool | None,
        on_progress: Callable[[ForgetProgress], Any] | None,
        on_void: Callable[[int | None], Awaitable[None]] | None = None,
    ) -> ForgetReport:
        """`forget`; `on_void` as `engine.forgetting` says."""
        from cascada.engine.forgetting import Forgetting  # hardly any process ever does this

        named = None if user is None else arguments.identity(user, "user")
        whom = Whom(self.tenant(tenant).tenant, named)
        compact = None if compact is None else arguments.flag(compact, "compact")
        if on_progress is not None:
            on_progress = arguments.plain_function(on_progress, "on_progress")
        return await Forgetting(self._engine, whom, on_progress, compact, on_void).run()

    async def reset(self) -> None:
        """Close everything and start anew at the next use, on whatever loop (for tests)."""
        await self._engine.life.close(for_good=False)

    async def aclose(self) -> None:
        """Store what is under way (at most 10 s), then close. The cache cannot be used again."""
        await self._engine.life.close()

    async def __aenter__(self) -> Self:
        await self._engine.life.move_in()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
