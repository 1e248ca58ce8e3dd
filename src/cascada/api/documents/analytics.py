"""`get_cache_analytics`: what the default cache has done in this process, by document N's names.

A view of `Cache.stats()` and of the response times that the engine keeps: it counts nothing itself.
"""

from __future__ import annotations

from typing import Final, TypedDict

from cascada.api.default import default_cache
from cascada.api.statistics import TierStatistics
from cascada.engine.engine import Engine
from cascada.engine.home.carrying import awaited
from cascada.engine.telling.probes import times_of_hits
from cascada.model.entry import MEMORY

LAYERS: Final = ("l1", "l2", "l3")
"""Those of the documents; each is told of, also where the cache has not got it."""


class GlobalStatistics(TypedDict):
    """All layers together. Hits and misses are reads with and without an answer from a layer;
    `coalesced` ones shared another caller's load, and are neither. `total_requests` are all three.

    average_response_time_ms: of the answers; that of a miss took its loader, and a `get` that finds
    nothing is none.
    """

    global_hit_ratio: float
    average_response_time_ms: float
    total_requests: int
    hits: int
    misses: int
    coalesced: int


class LayerStatistics(TypedDict):
    """One layer; `misses`: reads that came to it and that it did not answer. What it holds is 0
    where it does not answer now, and all is 0 of a layer that is not there. `capacity_bytes` 0 is
    unbounded."""

    hit_ratio: float
    hits: int
    misses: int
    entries: int
    size_bytes: int
    capacity_bytes: int
    evictions: int
    average_response_time_ms: float


class Analytics(TypedDict):
    """All layers together, and each by itself."""

    global_statistics: GlobalStatistics
    layer_statistics: dict[str, LayerStatistics]


async def get_cache_analytics() -> Analytics:
    """What the default cache has done since this process started, and what its layers hold.

    The same counts as `Cache.stats()`, of all tenants. The response time of `l1` is estimated by a
    few look-ups that are made for it now.
    """
    cache = default_cache()
    told = await cache.stats(tenants=0)
    total, engine = told.total, cache._engine
    layers = engine.trace.latencies.by_layer()
    spent = {name: (each.answers, each.seconds) for name, each in layers.items()}
    if times := await _times_of_hits(engine):
        in_memory = total.by_tier[MEMORY]
        spent[MEMORY] = in_memory, in_memory * sum(times) / len(times)
    answers, seconds = map(sum, zip(*spent.values(), strict=True))
    return {
        "global_statistics": {
            "global_hit_ratio": total.hit_ratio,
            "average_response_time_ms": _milliseconds(answers, seconds),
            "total_requests": total.reads + total.coalesced,
            "hits": total.hits,
            "misses": total.misses,
            "coalesced": total.coalesced,
        },
        "layer_statistics": {
            name: _layer(told.tiers.get(name, TierStatistics()), *spent.get(name, (0, 0.0)))
            for name in dict.fromkeys((*LAYERS, *told.tiers))
        },
    }


async def _times_of_hits(engine: Engine) -> list[float]:
    """Memory is looked into on the thread that it is at home on, and on no other."""

    async def there() -> list[float]:
        return times_of_hits(engine.stack.memory, engine.clock.monotonic)

    return await (there() if await engine.life.ready() else awaited(engine.life, there))


def _layer(tier: TierStatistics, answers: int, seconds: float) -> LayerStatistics:
    asked = tier.hits + tier.misses
    return {
        "hit_ratio": tier.hits / asked if asked else 0.0,
        "hits": tier.hits,
        "misses": tier.misses,
        "entries": tier.entries,
        "size_bytes": tier.size_bytes,
        "capacity_bytes": tier.capacity_bytes,
        "evictions": tier.evictions,
        "average_response_time_ms": _milliseconds(answers, seconds),
    }


def _milliseconds(answers: int, seconds: float) -> float:
    return round(seconds / answers * 1000, 6) if answers else 0.0
