"""The process's one default cache: what the documents' names and `@cached` act on.

It is the one that `configure` was given, else one that the environment describes, built at its
first use.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Final

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.door import arguments
from cascada.model.keys import Id

LEFT_OUT: Final = ""
"""A tenant that was not given: the same MissingTenant as for a blank one."""

_configured: Cache | None = None
_from_env: Cache | None = None
_building = Lock()


def configure(cache: Cache | None) -> Cache | None:
    """Make `cache` the default of this process; None goes back to the environment's.

    It returns what was configured before, which is not closed: whoever made it may still use it.
    """
    global _configured
    if cache is not None:
        arguments.instance(cache, "cache", Cache, "a Cache, or None for the environment's")
    before, _configured = _configured, cache
    return before


def default_cache() -> Cache:
    """The default cache. InvalidSettings if it has to be built and a variable is wrong."""
    global _from_env
    if _configured is not None:
        return _configured
    if _from_env is None:
        with _building:  # plain functions with @cached may come from several threads at once
            if _from_env is None:
                _from_env = Cache.from_env()
    return _from_env


def documents_tenant(
    tenant_id: Id | None,
    agent_id: Id | None = None,
    conversation_id: Id | None = None,
    collection_id: Id | None = None,
) -> Tenant:
    """Who the documents' functions ask, whatever the data type: a handle of the default cache that
    also answers with what was stored in a more general context."""
    cache = _configured or default_cache()
    handle = cache.tenant(
        tenant_id, agent=agent_id, conversation=conversation_id, collection=collection_id
    )
    if handle._documented is None:  # the same handle, but for that; made once
        handle._documented = Tenant(handle._engine, handle.tenant, handle.scope, nearest=True)
    return handle._documented


async def reset() -> None:
    """Close the default cache and start anew at the next use, on whatever loop (for tests).

    A configured cache stays configured; for one from the environment, the variables are read again.
    """
    global _from_env
    cache, _from_env = _configured or _from_env, None
    if cache is not None:
        await cache.reset()


def _after_fork_in_child() -> None:
    # Another thread of the parent's may have been building: here nobody would go on with that.
    global _building
    _building = Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
