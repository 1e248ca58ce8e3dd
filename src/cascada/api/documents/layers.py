"""Document N's flat calls: `get_cached_value`, `set_cached_value`, `delete_cached_value`, and the
ready strategies `standard_cache`, `swr_cache` and `tagged_cache`.

They share one namespace, the data type FLAT of the current tenant (of the current context, else
CASCADA_TENANT): what one has stored the others find. They are argument orders on a tenant's handle.
(`personalized_cache` is in `personalized.py`.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, overload

from cascada.api.context import current_tenant
from cascada.api.default import default_cache
from cascada.api.tenant.handle import Tenant
from cascada.engine.loading.loaders import SingleLoader, Terms
from cascada.model.door import arguments
from cascada.model.door.plain import number_of
from cascada.model.entry import UNSET, Unset
from cascada.model.keys import Id
from cascada.model.loaded import Loaded
from cascada.model.policy import CachePriority, priority_given
from cascada.model.ttl import FOREVER, Duration

T = TypeVar("T")

FLAT: Final = "cached_value"
"""The data type of all flat keys: give it a policy, and find it in `Cache.stats()`, by this name.
Nothing else of cascada uses it, so that a flat key is no other value's, whatever it looks like."""

NO_TAGS: Final[tuple[str, ...]] = ()


async def get_cached_value(key: Id, default: Any = None) -> Any:
    """The value of a flat key of the current tenant, or `default`."""
    hit = await flat().get(FLAT, arguments.identity(key, "key"))
    return hit.value if hit else default


async def set_cached_value(
    key: Id,
    value: Any,
    ttl: Duration | Unset | None = UNSET,
    priority: CachePriority = CachePriority.NORMAL,
    tags: Sequence[str] = NO_TAGS,
) -> bool:
    """Store a value under a flat key of the current tenant; True if it is stored.

    ttl: seconds or a timedelta; left out: as the policy of `cached_value` says, else
    REDIS_CACHE_TTL; None or 0: it never expires. After a miss of the key in this task, nothing is
    stored if the key was invalidated in between. None as a value only removes what is there.
    """
    name, given = arguments.identity(key, "key"), priority_given(priority)
    return await flat().set(FLAT, name, value, ttl=lifetime(ttl), tags=tags, priority=given)


async def delete_cached_value(key: Id) -> bool:
    """Remove a flat key of the current tenant, in every tier and process; True if it was there."""
    return await flat().delete(FLAT, arguments.identity(key, "key"))


class StandardCache:
    """Values with a fixed lifetime: `standard_cache`."""

    async def get(self, key: Id, default: Any = None) -> Any:
        """As `get_cached_value`."""
        return await get_cached_value(key, default)

    async def set(
        self,
        key: Id,
        value: Any,
        ttl: Duration | Unset | None = UNSET,
        priority: CachePriority = CachePriority.NORMAL,
    ) -> bool:
        """As `set_cached_value`."""
        return await set_cached_value(key, value, ttl, priority)

    async def delete(self, key: Id) -> bool:
        """As `delete_cached_value`."""
        return await delete_cached_value(key)


class TaggedCache:
    """Values that go together: `tagged_cache`."""

    async def get(self, key: Id, default: Any = None) -> Any:
        """As `get_cached_value`."""
        return await get_cached_value(key, default)

    async def set(
        self,
        key: Id,
        value: Any,
        tags: Sequence[str] = NO_TAGS,
        ttl: Duration | Unset | None = UNSET,
        priority: CachePriority = CachePriority.NORMAL,
    ) -> bool:
        """As `set_cached_value`, bearing `tags`, a list of names."""
        return await set_cached_value(key, value, ttl, priority, tags)

    async def delete(self, key: Id) -> bool:
        """As `delete_cached_value`."""
        return await delete_cached_value(key)

    async def delete_by_tag(self, tag: str) -> int:
        """Void everything of the current tenant that bears the tag, in one atomic step; at most so
        many values went.

        Also what `@cached(tags=)` and `Tenant.set(tags=)` have stored with it.
        """
        return (await flat().invalidate(tag=arguments.identity(tag, "tag"))).keys


class SwrCache:
    """Values that are served stale while they are refreshed: `swr_cache`."""

    @overload
    async def get(
        self,
        key: Id,
        revalidate_func: Callable[[], Awaitable[Loaded[T] | T | None]],
        ttl: Duration | Unset | None = UNSET,
        stale_for: Duration | None = None,
    ) -> T | None: ...

    @overload
    async def get(
        self,
        key: Id,
        revalidate_func: Callable[[], Loaded[T] | T | None],
        ttl: Duration | Unset | None = UNSET,
        stale_for: Duration | None = None,
    ) -> T | None: ...

    async def get(
        self,
        key: Id,
        revalidate_func: Callable[[], Any],
        ttl: Duration | Unset | None = UNSET,
        stale_for: Duration | None = None,
    ) -> Any:
        """The value; what is past its ttl comes at once, and is refreshed in the background.

        revalidate_func: without arguments, async or plain (plain: in a thread); it is awaited where
        nobody has the value, and runs once for all who ask, in all processes. What it returns is
        fresh for `ttl` (as in `set_cached_value`), and may be served for `stale_for` more (left
        out: as long again; 0: not at all). None is not stored. If a refresh fails, the stale value
        stays until its time is over; what was invalidated is never served.
        """
        name = arguments.identity(key, "key")
        arguments.function(revalidate_func, "revalidate_func")
        handle = flat()
        engine = handle._engine
        type_keys = handle._type_keys(FLAT)
        fresh = lifetime(ttl)
        if stale_for is not None:
            stale_for = (
                0.0 if number_of(stale_for) == 0 else arguments.duration(stale_for, "stale_for")
            )
        if not engine.check.armed:
            record = type_keys.records.get(name)
            if record is not None and (hit := engine.hits.one(record)) is not None:
                return hit.value
        request = type_keys.request(name)
        if stale_for is None:
            stale_for, _ = request.kind.policy.lifetimes(fresh, engine.kinds.default_ttl)
        request.stale_for = stale_for
        loader = SingleLoader(revalidate_func, clock=engine.clock, stored=Terms(fresh))
        return (await engine.load(request, loader)).value

    async def delete(self, key: Id) -> bool:
        """As `delete_cached_value`."""
        return await delete_cached_value(key)


standard_cache: Final = StandardCache()
tagged_cache: Final = TaggedCache()
swr_cache: Final = SwrCache()


def flat() -> Tenant:
    """The current tenant's handle, whose flat keys are meant."""
    return default_cache().tenant(current_tenant())


def lifetime(ttl: Duration | Unset | None) -> float | None:
    """How long a flat value lives: None as its policy says, `inf` for ever."""
    if isinstance(ttl, Unset):
        return None
    return FOREVER if ttl is None else arguments.duration(ttl, zero=True)
