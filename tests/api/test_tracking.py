"""`track_cache_metrics`: measurements of the application's own."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cascada import (
    METRIC_CACHE_HIT,
    METRIC_CACHE_MISS,
    METRIC_LATENCY,
    BadInput,
    Cache,
    CacheManager,
    Event,
    MissingTenant,
    track_agent_cache_metrics,
    track_cache_metrics,
)
from cascada.integrations.prometheus import CacheCollector
from cascada.telemetry.custom import MAX_METRICS, MAX_SERIES, Series, Tracked
from cascada.testing.inside import inside


@pytest.fixture(autouse=True)
def manager(cache: Cache) -> None:
    CacheManager.configure(cache)


def told(cache: Cache) -> dict[tuple[str, str, str], Series]:
    return {
        (each.metric, each.data_type, each.tenant): each for each in inside(cache).counted.tracked
    }


async def test_measurements_of_one_name_type_and_tenant_add_up(cache: Cache) -> None:
    for value in (35.7, 4.3):
        await track_cache_metrics(
            data_type="embedding",
            tenant_id="acme",
            metric_type="custom_metric_name",
            value=value,
            agent_id="a1",
            metadata={"source": "mi_servicio"},
        )
    (series,) = (await cache.stats()).tracked
    assert (series.metric, series.data_type, series.tenant) == (
        "custom_metric_name", "embedding", "acme",
    )  # fmt: skip
    assert (series.count, series.total, series.last) == (2, 40.0, 4.3)
    assert series.metadata == {"source": "mi_servicio", "agent_id": "a1"}


async def test_the_short_form_records_a_hit_or_a_miss_and_its_latency(cache: Cache) -> None:
    await track_cache_metrics("agent", "acme", operation="read", hit=True, latency_ms=2.5)
    await track_cache_metrics("agent", "acme", operation="read", hit=False)
    series = told(cache)
    assert series[METRIC_CACHE_HIT, "agent", "acme"].count == 1
    assert series[METRIC_CACHE_MISS, "agent", "acme"].count == 1
    assert series[METRIC_LATENCY, "agent", "acme"].total == 2.5
    assert series[METRIC_LATENCY, "agent", "acme"].metadata == {"operation": "read"}


@pytest.mark.parametrize("hit", [True, False])
async def test_the_agent_service_s_form_is_a_hit_or_a_miss_and_a_latency(
    cache: Cache, hit: bool
) -> None:
    await track_agent_cache_metrics("acme", "agent_config", "read", hit, 12.5, "a1")
    counted, latency = (await cache.stats()).tracked
    assert counted.metric == (METRIC_CACHE_HIT if hit else METRIC_CACHE_MISS)
    assert (counted.total, latency.metric, latency.total) == (1, METRIC_LATENCY, 12.5)
    known = {"operation": "read", "service": "agent", "agent_id": "a1"}
    assert counted.metadata == {**known, "latency_ms": 12.5}
    assert latency.metadata == known


@pytest.mark.parametrize("value", ["5", None, True, float("nan")])
async def test_what_is_no_number_is_refused(cache: Cache, value: Any) -> None:
    with pytest.raises(BadInput, match="pass a number"):
        await track_cache_metrics("agent", "acme", "latency", value)
    assert (await cache.stats()).tracked == []


async def test_something_has_to_be_tracked_and_of_somebody() -> None:
    with pytest.raises(BadInput, match="neither a metric_type nor an operation"):
        await track_cache_metrics("agent", "acme")
    with pytest.raises(MissingTenant):
        await track_cache_metrics("agent", "", "latency")


async def test_observers_and_prometheus_are_told() -> None:
    events: list[Event] = []
    async with Cache(observers=[events.append]) as cache:
        CacheManager.configure(cache)
        await track_cache_metrics("agent", "acme", METRIC_LATENCY, 12.5)
        await track_cache_metrics("agent", "globex", METRIC_LATENCY, 7.5)
        registry = CollectorRegistry()
        registry.register(CacheCollector(cache))
        page = generate_latest(registry).decode()
    assert [(event.kind, event.tenant, event.detail) for event in events] == [
        ("tracked", "acme", "latency=12.5"),
        ("tracked", "globex", "latency=7.5"),
    ]
    assert 'cache_tracked_total{data_type="agent",metric="latency"} 2.0' in page
    assert 'cache_tracked_sum{data_type="agent",metric="latency"} 20.0' in page


def test_names_and_series_are_bounded() -> None:
    tracked = Tracked()
    for number in range(MAX_METRICS + 50):
        tracked.add(f"metric {number}", "agent", "acme", 1, {})
    metrics = {each.metric for each in tracked.all()}
    assert len(metrics) == MAX_METRICS + 1
    assert sum(each.count for each in tracked.all()) == MAX_METRICS + 50
    for number in range(MAX_SERIES + 50):
        tracked.add("metric 1", "agent", f"tenant {number}", 1, {})
    assert len(tracked.all()) <= MAX_SERIES + MAX_METRICS + 1
    assert sum(each.count for each in tracked.all()) == MAX_METRICS + 50 + MAX_SERIES + 50
