"""How long answers took, by layer, by data type and by tenant: in `stats()`, and on the page."""

from pathlib import Path

import pytest

from cascada.api.cache import Cache
from cascada.engine.other_workers import columns_of, others_of
from cascada.integrations.prometheus import exposition
from cascada.telemetry import latency
from cascada.telemetry.latency import BOUNDS, Times
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.testing.nodes import hear
from tests.integrations.test_prometheus import Scrape
from tests.scenarios.row import all_stored

TYPES = "quick", "slow"
COUNT, SUM = "cache_response_time_seconds_count", "cache_response_time_seconds_sum"


async def loaded(
    cache: Cache, clock: ManualClock, tenant: str, data_type: str, took: float
) -> None:
    """A load, hits in memory, and one at least in the tier below."""

    async def read() -> str:
        clock.advance(took)
        return "row"

    handle = cache.tenant(tenant)
    for _ in range(3):
        await handle.load(data_type, "r1", read)
        await all_stored(handle)
    inside(cache).memory.flush()
    await handle.load(data_type, "r1", read)


async def test_by_layer_and_type_on_request(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Cache(database=str(tmp_path / "l3.sqlite"), clock=clock) as cache:
        await loaded(cache, clock, "acme", "quick", 0.003)
        await loaded(cache, clock, "acme", "slow", 0.4)
        await loaded(cache, clock, "globex", "slow", 0.8)
        await hear(cache)  # a scrape looks up what memory may serve
        whole = Scrape(await exposition(cache))
        assert whole.labels(COUNT, "layer") == {"l1", "l3", "source"}
        for _ in range(2):  # a second scrape adds nothing
            said = Scrape(await exposition(cache, times_by_type=True))
            for layer in ("l1", "l3", "source"):
                assert said(COUNT, layer=layer) == whole(COUNT, layer=layer), layer
            for by in ({"layer": a, "data_type": b} for a in ("l1", "l3") for b in TYPES):
                assert said(COUNT, **by) == whole("cache_hit_total", **by) > 0, by
            assert said(SUM, layer="source", data_type="slow") == pytest.approx(1.2)
            assert said(SUM, layer="source", data_type="quick") == pytest.approx(0.003)
        source = {"layer": "source", "data_type": "slow"}
        assert said("cache_response_time_seconds_bucket", **source, le="0.25") == 0
        assert said("cache_response_time_seconds_bucket", **source, le="0.5") == 1
        assert said("cache_response_time_seconds_bucket", **source, le="1.0") == 2


async def test_always_in_the_statistics(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Cache(database=str(tmp_path / "l3.sqlite"), clock=clock) as cache:
        await loaded(cache, clock, "acme", "slow", 0.4)
        await loaded(cache, clock, "globex", "slow", 0.8)
        said = await cache.stats()
        slow = said.types["slow"]
        assert set(slow.times) == {"l3", "source"}
        assert (slow.times["source"].answers, slow.times["l3"].answers) == (2, slow.by_tier["l3"])
        assert slow.times["source"].mean == pytest.approx(0.6)
        assert said.total.times == slow.times, "all types are this one"
        # By tenant: the mean of what memory did not answer, one load and looks below it.
        for tenant, took in (("acme", 0.4), ("globex", 0.8)):
            of = said.tenants[tenant].total
            assert of.mean_seconds == pytest.approx(took / (1 + of.by_tier["l3"]))
        assert slow.mean_seconds == pytest.approx(1.2 / (2 + slow.by_tier["l3"]))


async def test_types_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "MAX_TYPES", 3)
    async with Cache() as cache:
        for number in range(6):
            await cache.tenant("acme").load(f"t{number}", "r", lambda: 1)
        times = inside(cache).engine.trace.latencies
        assert {data_type for (_, data_type), _ in times.all()} == {"t0", "t1", "t2", "other"}
        assert times.by_layer()["source"].answers == 6
        # A type that is called as the rest is, is of the rest.
        said = Scrape(await exposition(cache, times_by_type=True))
        assert said(COUNT, layer="source") == 6


def test_what_an_older_worker_has_filed_is_of_no_type() -> None:
    columns = columns_of(["l3"])
    row = [0.0] * len(columns["latency"])
    row[3], row[-1] = 2.0, 0.5
    live = {
        ("latency", "l3"): list(row), ("latency", "l3", "x"): list(row),
        ("latency", "l3", "other"): list(row),
    }  # fmt: skip
    dead = {("latency", "l3"): list(row), ("latency", "l3", "x"): list(row)}
    found = others_of(live, dead, ["l3"]).latencies
    assert {by: (each.answers, each.seconds) for by, each in found.items()} == {
        ("l3", "other"): (6, 1.5), ("l3", "x"): (4, 1.0),
    }  # fmt: skip


def test_quantiles_are_as_exact_as_the_buckets() -> None:
    counts = [0] * (len(BOUNDS) + 1)
    counts[BOUNDS.index(0.1)], counts[BOUNDS.index(0.5)] = 90, 10
    times = Times(tuple(counts), 9.0)
    assert times.mean == pytest.approx(0.09)
    assert times.quantile(0.45) == pytest.approx(0.075), "half of the way from 0.05 to 0.1"
    assert times.quantile(0.9) == pytest.approx(0.1)
    assert times.quantile(0.95) == pytest.approx(0.375)
    assert Times().quantile(0.5) is None
    assert Times().mean is None
    above = Times((*[0] * len(BOUNDS), 3), 300.0)
    assert above.quantile(0.5) == BOUNDS[-1]
