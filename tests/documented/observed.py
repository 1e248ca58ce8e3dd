"""What a test of an example puts in beside it, and looks at afterwards."""

from cascada import Cache, CacheManager
from cascada.telemetry.custom import Series

TENANT = "acme"


async def put(data_type: str, resource_id: str, **context: str) -> None:
    assert await CacheManager.set(data_type, resource_id, {"v": 1}, TENANT, **context)


async def there(data_type: str, resource_id: str, **context: str) -> bool:
    return await CacheManager.get(data_type, resource_id, TENANT, **context) is not None


def tracked(cache: Cache, metric: str, data_type: str) -> Series:
    """The one series of a metric and a type."""
    (found,) = [
        each for each in cache.tracked() if (each.metric, each.data_type) == (metric, data_type)
    ]
    return found
