"""Which cache an application works with: the one that its lifespan has opened.

`lifespan` of `fastapi.py` says it; dependencies and `cached_response` ask. It opens and closes
nothing.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

from cascada.api.cache import Cache
from cascada.api.default import default_cache
from cascada.model.errors import Misuse

_opened: Final[WeakKeyDictionary[Any, Cache]] = WeakKeyDictionary()


def opened(app: Any, cache: Cache) -> None:
    """This application works with this cache from now on."""
    _opened[app] = cache


def closed(app: Any) -> None:
    _opened.pop(app, None)


def cache_of(app: Any) -> Cache:
    """The cache of an application, else of the only one that there is, in which it is mounted; if
    no lifespan has opened one, the default cache. Misuse: of several it could be any."""
    cache = _opened.get(app)
    if cache is not None:
        return cache
    others = {id(each): each for each in _opened.values()}
    if len(others) > 1:
        raise Misuse(
            f"{len(others)} caches are open, and none by this application's own lifespan; say "
            "which one with cache="
        )
    return next(iter(others.values())) if others else default_cache()
