"""`CacheService` as a user writes it: mypy --strict must take it, and infer what it says."""

from typing import Any, assert_type

from cascada import (
    Alert,
    AlertRule,
    Cache,
    CacheMetrics,
    CacheService,
    ForgetReport,
    Mapping,
    SyncReport,
    WarmReport,
)


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
    await service.start_alerts([AlertRule("hit_ratio", 0.8, lasts=300)], print)
    assert_type(await service.check_alerts(), list[Alert])
    assert_type(await service.warm(["k:1"], loader=len), WarmReport)
    assert_type(await service.forget("acme", compact=True), ForgetReport)
    assert_type(await service.warm(top=9, loader=str.upper, on_progress=print), WarmReport)
    assert_type(service.is_peak_hour(9), bool)
    CacheService(warm_on_start=9, loader=len, alerts=[AlertRule("errors", 1)], on_alert=print)


async def synced() -> None:
    table = Mapping("k:", "public.ks", {"a": "b"}, "version", on_delete="soft")
    service = CacheService(database="sqlite:///app.db", mappings=[table], conflicts="cache_wins")
    CacheService(mappings=(table,), conflicts=lambda mine, theirs: mine | (theirs or {}))
    await service.start_sync()
    assert_type(await service.set("k:1", {"a": 1}, fetched=True), bool)
    assert_type(await service.delete("k:1", row=True), bool)
    assert_type(await service.sync_now(), SyncReport)
    assert_type(await service.sync_retry(["k:1"]), int)
    assert_type(await service.open_row("k:1", b"7"), Any)
    await service.stop_sync()
