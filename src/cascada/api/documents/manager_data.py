"""Lists and counters by the documents' names: argument orders on a tenant's handle.

Counters are callable on the class. The lists are methods of the instance alone, as the documents
have it, and say so to whoever calls them on the class.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any, NoReturn, TypeVar, cast

from cascada.api.default import LEFT_OUT, documents_tenant
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.errors import BadInput
from cascada.model.keys import Id
from cascada.model.ttl import Duration

F = TypeVar("F", bound=Callable[..., Any])


class OnInstance:
    """A method that cannot be called on the class."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        update_wrapper(self, function)

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        return self if instance is None else MethodType(self._function, instance)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        name = self._function.__name__
        raise TypeError(
            f"CacheManager.{name} is a method of the instance; "
            f"call CacheManager.get_instance().{name}(...)"
        )


def on_instance(function: F) -> F:
    """For type checkers it stays the plain method that it is on an instance."""
    return cast(F, OnInstance(function))


class ListsAndCounters:
    """What `CacheManager` inherits."""

    @classmethod
    async def increment_counter(
        cls,
        counter_type: str | None = None,
        amount: int = 1,
        resource_id: Id | None = None,
        tenant_id: Id = LEFT_OUT,
        metadata: object = None,
        *,
        scope: str | None = None,
        ttl: Duration | None = None,
    ) -> int:
        """Add to a counter; what it is now. `scope` is another word for `counter_type`.

        `ttl`: it is gone so long after it began (0, as None: never); as of `Tenant.increment`.
        TierUnavailable, if nobody answers, is not swallowed; `Unanswered` says that the counter may
        have changed. `metadata` goes to the log, at DEBUG.
        """
        handle, kind = documents_tenant(tenant_id), _kind(counter_type, scope)
        lasts = arguments.ttl(ttl, zero=True)
        return await handle.increment(
            kind, cast(Id, resource_id), amount, ttl=lasts, metadata=metadata
        )

    @classmethod
    async def get_counter(
        cls,
        scope: str | None = None,
        resource_id: Id | None = None,
        tenant_id: Id = LEFT_OUT,
        *,
        counter_type: str | None = None,
    ) -> int:
        """What a counter is; 0 if it never was. `scope` is its `counter_type`."""
        kind = _kind(counter_type, scope)
        return await documents_tenant(tenant_id).counter(kind, cast(Id, resource_id))

    @on_instance
    async def rpush(self, list_name: Id, value: object, tenant_id: Id = LEFT_OUT) -> int:
        """Append at the right end; how many there are now."""
        return await documents_tenant(tenant_id).list(list_name).rpush(value)

    @on_instance
    async def lpush(self, list_name: Id, value: object, tenant_id: Id = LEFT_OUT) -> int:
        """Put before the first; how many there are now."""
        return await documents_tenant(tenant_id).list(list_name).lpush(value)

    @on_instance
    async def lpop(self, list_name: Id, tenant_id: Id = LEFT_OUT) -> Any:
        """Take the first; None if there is none."""
        return await documents_tenant(tenant_id).list(list_name).lpop()

    @on_instance
    async def rpop(self, list_name: Id, tenant_id: Id = LEFT_OUT) -> Any:
        """Take the last; None if there is none."""
        return await documents_tenant(tenant_id).list(list_name).rpop()

    @on_instance
    async def lrange(
        self, list_name: Id, start: int, end: int, tenant_id: Id = LEFT_OUT
    ) -> list[Any]:
        """The items from `start` to `end`, both included; negative indices count from the end."""
        return await documents_tenant(tenant_id).list(list_name).range(start, end)

    @on_instance
    async def llen(self, list_name: Id, tenant_id: Id = LEFT_OUT) -> int:
        """How many items there are."""
        return await documents_tenant(tenant_id).list(list_name).length()

    @on_instance
    async def ltrim(self, list_name: Id, start: int, end: int, tenant_id: Id = LEFT_OUT) -> None:
        """Keep only the items from `start` to `end`, both included."""
        await documents_tenant(tenant_id).list(list_name).trim(start, end)


def _kind(counter_type: str | None, scope: str | None) -> str:
    """The counter's type, by either of its two words."""
    given = scope if counter_type is None else counter_type
    plain = arguments.data_type(given, "counter_type")
    if scope is not None and arguments.data_type(scope, "scope") != plain:
        raise BadInput(
            f"counter_type is {plain!r} and scope is {shown(scope)}; they mean the same, pass one"
        )
    return plain
