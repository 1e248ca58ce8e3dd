"""Hits in memory, for threads: read there without a detour by the cache's loop.

That takes a fiftieth of what a call that is carried takes. What is odd about a call (another type,
an argument to be refused) is left to that one: None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cascada.api.tenant.handle import Tenant
from cascada.model.door import arguments
from cascada.model.entry import Hit

Args = tuple[Any, ...]
Named = dict[str, Any]


def of_get(asked: Tenant, args: Args, named: Named) -> Hit[Any] | None:
    """The hit of `get(type, id)`."""
    if len(args) != 2 or not named.keys() <= {"default"}:
        return None
    return _hit(asked, *args)


def of_load(asked: Tenant, args: Args, named: Named) -> Hit[Any] | None:
    """The hit of `load(type, id, loader, ttl=...)`."""
    if len(args) != 3 or not callable(args[2]) or not named.keys() <= {"ttl"}:
        return None
    if asked._engine.check.armed:
        return None
    arguments.ttl(named.get("ttl"))
    return _hit(asked, *args[:2])


def _hit(asked: Tenant, data_type: Any, resource_id: Any) -> Hit[Any] | None:
    if data_type.__class__ is not str or resource_id.__class__ is not str:
        return None
    try:
        record = asked._types[data_type].records[resource_id]
    except KeyError:
        return None
    return asked._hits.elsewhere(record)


AT_ONCE: Final[dict[str, Callable[[Tenant, Args, Named], Hit[Any] | None]]] = {
    "get": of_get,
    "load": of_load,
}
"""By the name of the call."""
