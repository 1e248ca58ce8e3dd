"""`Cache-Status` (RFC 9211): how a response over HTTP tells what a cache did for it.

A function of an answer, which gives the header's value. `cascada.integrations.http` hands it out,
and the transports of `cascada.ai` set the header by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from cascada.api.documents.cache_aside import CacheAsideMetrics
from cascada.model.door import arguments
from cascada.model.door.plain import number_of
from cascada.model.entry import Hit, Miss

_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_LARGEST: Final = 10**15 - 1
"""Structured fields know integers of at most fifteen digits (RFC 9651, 3.3.1)."""


def cache_status(
    answer: Hit[Any] | Miss | CacheAsideMetrics,
    *,
    ttl: float | None = None,
    stored: bool = True,
    bypassed: bool = False,
    cache: str = "cascada",
) -> str:
    """The value of `Cache-Status` for what `Tenant.load` or `get` answered, or for the metrics of
    `get_with_cache_aside`.

    A fresh value from a tier is `hit`, with `detail` naming the tier. A value past its ttl is
    `fwd=stale`: its source was asked, though it did not wait for it (`stale_for`), or got no answer
    (`stale_if_error`). All else is `fwd=miss`, `collapsed` where another caller's load brought it.

    ttl: seconds for which it goes on being fresh; a Hit says that itself (`Hit.ttl`). stored:
    whether what a load brings is handed to the tiers (False where it says `store=False`, or the
    type's ttl is 0). bypassed: the cache was not asked (mode off). cache: what this one is called.
    """
    token = "a name such as 'cascada' (letters, digits, -._)"
    cache = arguments.text(cache, "cache", token)
    if not _TOKEN.fullmatch(cache):
        raise arguments.refused("cache", cache, token)
    if ttl is None:
        ttl = answer.ttl if isinstance(answer, Hit) else None
    else:
        ttl = math.inf if number_of(ttl) == math.inf else arguments.number(ttl, "ttl")
    stored, bypassed = arguments.flag(stored, "stored"), arguments.flag(bypassed, "bypassed")
    told = ["fwd=bypass"] if bypassed else _told(answer, ttl, stored)
    return "; ".join([cache, *told])


def _told(
    answer: Hit[Any] | Miss | CacheAsideMetrics, ttl: float | None, stored: bool
) -> Iterator[str]:
    tier: str | None = None
    stale = coalesced = there = False
    if isinstance(answer, Hit):
        tier = None if answer.tier == "source" else answer.tier
        stale, coalesced, there = answer.stale, answer.coalesced, True
    elif not isinstance(answer, Miss):
        try:
            tier, stale, coalesced = answer["tier"], answer["stale"], answer["coalesced"]
            there = answer["source"] != "none"
        except Exception as error:
            accepted = "a Hit, a Miss, or the metrics of get_with_cache_aside"
            raise arguments.refused("answer", answer, accepted) from error
    if tier is None:
        yield "fwd=miss"
        # What was made of something stale goes to its callers and nowhere else.
        if stored and there and not stale:
            yield "stored"
        if coalesced:
            yield "collapsed"
    else:
        yield "fwd=stale" if stale else "hit"
    if ttl is not None and math.isfinite(ttl):
        yield f"ttl={max(-_LARGEST, min(math.floor(ttl), _LARGEST))}"
    if tier is not None:
        yield f"detail={tier}"
