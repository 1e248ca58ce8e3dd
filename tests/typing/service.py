"""`CacheService` as a user writes it: mypy --strict must take it, and infer what it says."""

from typing import Any, assert_type

from cascada import Cache, CacheMetrics, CacheService


async def use() -> None:
    service = CacheService(60, "orders", cache=Cache(), time_zone="Europe/Madrid")
    service.settings["PEAK_TTL"] = 600
    assert_type(await service.set("k:1", {"a": 1}), bool)
    assert_type(await service.get("k:1"), Any)
    assert_type(await service.get("k:1", type=int), int | None)
    assert_type(await service.delete(7), bool)
    assert_type((await service.clear("k:*")).exact, bool)
    assert_type(await service.get_metrics(), CacheMetrics)
    assert_type(service.adaptive_ttl(), float)
    assert_type(service.is_peak_hour(9), bool)
