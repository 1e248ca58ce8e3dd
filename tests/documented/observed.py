"""What a test of an example puts in beside it, and looks at afterwards."""

from cascada import Cache, CacheManager
from cascada.telemetry.custom import Series
from cascada.testing.inside import inside

TENANT = "acme"


async def put(data_type: str, resource_id: str, **context: str) -> None:
    assert await CacheManager.set(data_type, resource_id, {"v": 1}, TENANT, **context)


async def there(data_type: str, resource_id: str, **context: str) -> bool:
    return await CacheManager.get(data_type, resource_id, TENANT, **context) is not None


def tracked(cache: Cache, metric: str, data_type: str) -> Series:
    """The one series of a metric and a type."""
    (found,) = [
        each
        for each in inside(cache).counted.tracked
        if (each.metric, each.data_type) == (metric, data_type)
    ]
    return found


async def answer(cache: Cache) -> set[str]:
    """The names of the tiers that answer."""
    return {name for name, tier in (await cache.stats()).tiers.items() if tier.available}


def hits_and_misses(cache: Cache, data_type: str = "x") -> tuple[int, int]:
    counts = inside(cache).counted.types[data_type]
    return counts.hits, counts.misses
