"""How the result of a cached function is loaded once its caller has gone: for prefetching.

What a request brings along must not be used after it: a session, a client, an object that a method
is bound to. So a call is remembered only if all of its arguments are plain data, and only as long
as its function is there: one that was made inside a request goes with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from weakref import ref

from cascada.api.cached.function import SCALARS, CachedFunction
from cascada.api.tenant.handle import Tenant
from cascada.engine.loading.loaders import SingleLoader
from cascada.engine.request import Loader, Request
from cascada.model.keys import Key
from cascada.model.made_of import Declared

_PLAIN: Final = SCALARS | {float}


def tell_how_to_load(
    tenant: Tenant,
    recipe: CachedFunction,
    key: Key,
    sources: Sequence[Declared],
    args: tuple[Any, ...],
    named: dict[str, Any],
) -> None:
    """Let the engine know how to load this key again, if that needs nobody's request.

    Not if its caller runs on another event loop than the cache: what it calls may belong there.
    """
    if tenant._engine.life.loop is not asyncio.get_running_loop():
        return
    if _PLAIN.issuperset(map(type, (*args, *named.values(), *recipe.brought))):
        way = partial(_again, tenant, ref(recipe), key, sources, args, named)
        tenant._engine.stack.ahead.knows(key, way)


def _again(
    tenant: Tenant,
    recipe_of: ref[CachedFunction],
    key: Key,
    sources: Sequence[Declared],
    args: tuple[Any, ...],
    named: dict[str, Any],
) -> tuple[Request, Loader] | None:
    recipe = recipe_of()
    if recipe is None:
        return None
    loader = SingleLoader(
        recipe.loader(args, named, key),
        clock=tenant._engine.clock,
        stored=tenant._terms(recipe.ttl, recipe.tags, sources),
    )
    return tenant._request(key.data_type, key.resource_id, recipe.wanted), loader
