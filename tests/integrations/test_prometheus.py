"""The metrics of a cache, as a Prometheus server reads them."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.engine import kinds
from cascada.integrations.prometheus import CacheCollector, exposition
from cascada.model.entry import Miss
from cascada.model.policy import Policy
from cascada.service.service import CacheService
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.testing.nodes import hear
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import Row, all_stored, until

ROOT = Path(__file__).parents[2]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """One scrape, parsed as a server would."""

    def __init__(self, text: bytes) -> None:
        self.types: dict[str, str] = {}
        self._samples: Samples = {}
        for family in text_string_to_metric_families(text.decode()):
            self.types[family.name] = family.type
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self._samples, "one series, once"
                self._samples[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the series that have at least these labels."""
        found = [
            value
            for (known, of), value in self._samples.items()
            if known == name and of >= set(labels.items())
        ]
        assert found, f"{name} {labels} is not among the metrics"
        return sum(found)

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(of)[label] for known, of in self._samples if known == name and dict(of)}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cache(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cache]:
    policies = {"x": Policy(ttl=60, stale_for=60)}
    async with Cache(database=str(tmp_path / "l3.sqlite"), clock=clock, policies=policies) as cache:
        yield cache


@pytest.fixture
def acme(cache: Cache) -> Tenant:
    return cache.tenant("acme")


async def scrape(cache: Cache, **options: Any) -> Scrape:
    return Scrape(await exposition(cache, **options))


async def test_hits_and_misses_are_counted_by_layer(cache: Cache, acme: Tenant) -> None:
    await acme.set("x", "1", "text")
    await acme.get("x", "1")
    await acme.get("x", "nothing")
    inside(cache).memory.flush()
    await acme.get("x", "1")
    said = await scrape(cache)
    assert said("cache_hit_total", layer="l1", data_type="x") == 1
    assert said("cache_hit_total", layer="l3", data_type="x") == 1
    assert said("cache_miss_total", layer="l1") == 2
    assert said("cache_miss_total", layer="l3") == 1


async def test_loads_and_what_became_of_them(cache: Cache, acme: Tenant) -> None:
    async def read() -> str:
        await asyncio.sleep(0)
        return "row"

    async def fail() -> str:
        raise OSError("the source is gone")

    async def invalidated_meanwhile() -> str:
        await acme.invalidate("x", "3")
        return "old"

    await asyncio.gather(*(acme.load("x", "1", read) for _ in range(5)))
    with pytest.raises(OSError, match="is gone"):
        await acme.load("x", "2", fail)
    await acme.load("x", "3", invalidated_meanwhile)
    await all_stored(acme)
    said = await scrape(cache)
    assert said("cache_loads_total") == 2
    assert said("cache_coalesced_total") == 4
    assert said("cache_load_failures_total") == 1
    assert said("cache_refused_total") >= 1
    assert said("cache_invalidations_total") == 1
    assert said("cache_response_time_seconds_count", layer="source") == 2


async def test_stale_corrupt_and_invalidated_entries(
    cache: Cache, acme: Tenant, clock: ManualClock
) -> None:
    await acme.set("x", "1", {"n": 1})
    await acme.set("x", "2", {"n": 2})
    record = inside(cache).memory.records.get(acme.key("x", "2"))
    assert record is not None
    record.data = b"\xc1"
    await acme.get("x", "2")
    clock.advance(61)
    assert (await acme.get("x", "1")).value == {"n": 1}
    await acme.invalidate("x", "1")
    said = await scrape(cache)
    assert said("cache_stale_total") == 1
    assert said("cache_corrupt_total") == 1
    assert said("cache_invalidated_entries_total") == 1


async def test_response_times_of_memory_stand_for_every_hit(cache: Cache, acme: Tenant) -> None:
    await acme.set("x", "1", "text")
    await acme.set("x", "2", {"n": 2})
    for _ in range(30):
        await acme.get("x", "1")
    first = await scrape(cache)
    assert first("cache_response_time_seconds_count", layer="l1") == 30
    assert first("cache_response_time_seconds_bucket", layer="l1", le="+Inf") == 30
    assert first.types["cache_response_time_seconds"] == "histogram"
    await acme.get("x", "2")
    inside(cache).memory.flush()
    waiting = await scrape(cache)
    assert waiting("cache_response_time_seconds_count", layer="l1") == 30
    await acme.get("x", "1")
    await acme.get("x", "1")
    said = await scrape(cache)
    assert said("cache_hit_total", layer="l1") == 32, "a scrape is no hit"
    assert said("cache_response_time_seconds_count", layer="l1") == 32
    assert said("cache_response_time_seconds_count", layer="l3") == 1


async def test_a_scrape_is_no_use_of_an_entry(
    cache: Cache, acme: Tenant, clock: ManualClock
) -> None:
    await acme.set("x", "1", "text")
    await acme.get("x", "1")
    record = inside(cache).memory.records.get(acme.key("x", "1"))
    assert record is not None
    before = record.used
    clock.advance(5)
    await hear(cache)
    said = await scrape(cache)
    assert said("cache_response_time_seconds_count", layer="l1") == 1
    assert record.used == before


async def test_saved_time_only_grows(cache: Cache, acme: Tenant, clock: ManualClock) -> None:
    async def read(seconds: float) -> str:
        clock.advance(seconds)
        await hear(cache)
        return "row"

    await acme.load("x", "1", lambda: read(4))
    await all_stored(acme)
    for _ in range(3):
        await acme.get("x", "1")
    assert (await scrape(cache))("cache_saved_seconds_total") == pytest.approx(12)
    await acme.load("x", "2", lambda: read(2))
    await all_stored(acme)
    assert (await scrape(cache))("cache_saved_seconds_total") == pytest.approx(12)
    await acme.get("x", "2")
    assert (await scrape(cache))("cache_saved_seconds_total") == pytest.approx(14)


async def test_what_came_of_comparing_hits_with_their_source(cache: Cache) -> None:
    check = inside(cache).check
    check.pauses = (0.0, 0.0)
    one, other = cache.tenant("one"), cache.tenant("other")
    for handle in (one, other):
        await handle.load("x", "1", lambda: "old")
        await all_stored(handle)
    for handle, now in ((one, "old"), (other, "new"), (other, None), (one, 1 / 3)):
        check.armed = True
        if now is None:

            def fail() -> str:
                raise OSError("the source is gone")

            await handle.load("x", "1", fail)
        else:
            await handle.load("x", "1", lambda now=now: now)  # type: ignore[misc]
        await until(lambda: not inside(cache).being_checked)
    said = await scrape(cache)
    assert said("cache_checked_total", data_type="x") == 3
    assert said("cache_unchecked_total", data_type="x") == 1
    for after in ("0s", "1s", "10s"):
        assert said("cache_differed_total", data_type="x", after=after) == 2
    assert said("cache_consistency_ratio", data_type="x") == pytest.approx(1 / 3)
    by_tenant = await scrape(cache, tenants=5)
    assert by_tenant("cache_consistency_ratio", tenant="one") == 0.5
    assert by_tenant("cache_consistency_ratio", tenant="other") == 0.0


async def test_no_ratio_is_told_of_what_never_was(cache: Cache, acme: Tenant) -> None:
    await acme.set("x", "1", "text")
    assert not re.search(rb"cache_(consistency_ratio|prefetch_precision){", await exposition(cache))
    kind = inside(cache).kinds.of("acme", "x")
    kind.prefetch_used, kind.prefetch_wasted = 3, 1
    assert (await scrape(cache))("cache_prefetch_precision", data_type="x") == 0.75


async def test_observing_tells_what_sources_took(clock: ManualClock) -> None:
    async with Cache(mode="observe", clock=clock) as cache:
        acme = cache.tenant("acme")

        async def read(seconds: float) -> str:
            clock.advance(seconds)
            return "row"

        await acme.load("x", "1", lambda: read(4))
        await all_stored(acme)
        assert isinstance(await acme.get("x", "1"), Miss)
        assert (await scrape(cache))("cache_saved_seconds_total") == 4, "as its load has taken"
        await acme.load("x", "1", lambda: read(1))
        said = await scrape(cache)
        assert said("cache_saved_seconds_total") == 5
        row = Row("row")
        row.hold()
        asked = asyncio.create_task(acme.load("x", "1", row.read))
        await row.being_read()
        assert (await scrape(cache))("cache_saved_seconds_total") == 5, "while it is being timed"
        clock.advance(3)
        row.let_go()
        await asked
        assert (await scrape(cache))("cache_saved_seconds_total") == 8
        assert said("cache_mode", mode="observe") == 1
        assert said.labels("cache_mode", "mode") == {"observe"}


async def test_sizes_and_the_state_of_the_layers(cache: Cache, acme: Tenant) -> None:
    await acme.set("x", "1", "text")
    said = await scrape(cache)
    for layer in ("l1", "l3"):
        assert said("cache_entries", layer=layer) == 1
        assert 0 < said("cache_size_bytes", layer=layer) < said("cache_capacity_bytes", layer=layer)
        assert said("cache_evictions_total", layer=layer) == 0
        assert said("cache_tier_up", layer=layer) == 1
    inside(cache).lower[0].defer(["k:acme:x:1"])
    await acme.get("x", "other")
    said = await scrape(cache)
    assert said("cache_tier_up", layer="l3") == 0
    assert said("cache_tier_errors_total", where="l3") >= 1


async def test_tenants_are_a_label_only_when_asked_for_and_only_so_many(cache: Cache) -> None:
    for tenant in ("t1", "t2", "t3", "t4"):
        await cache.tenant(tenant).get("x", "1")
    assert b"t1" not in await exposition(cache)
    said = await scrape(cache, tenants=2)
    assert said.labels("cache_miss_total", "tenant") == {"t1", "t2", kinds.OTHER}
    assert said("cache_miss_total", layer="l1", tenant=kinds.OTHER) == 2


async def test_data_types_are_only_so_many(cache: Cache, acme: Tenant) -> None:
    for number in range(5):
        await acme.get(f"type{number}", "1")
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache, data_types=3))
    said = Scrape(generate_latest(registry))
    assert said.labels("cache_hit_total", "data_type") == {"type0", "type1", "type2", "other"}
    assert said("cache_miss_total", layer="l1", data_type="other") == 2


async def test_counters_never_fall(cache: Cache, acme: Tenant, clock: ManualClock) -> None:
    before: Samples = {}
    for turn in range(4):
        await acme.load("x", turn, lambda: clock.advance(1) or "row")  # type: ignore[func-returns-value]
        await all_stored(acme)
        await hear(cache)
        for _ in range(20):
            await acme.get("x", turn)
        if turn == 2:
            await acme.invalidate()
        after = (await scrape(cache, tenants=1))._samples
        for key, value in before.items():
            if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
                assert after[key] >= value, key
        before = after


async def test_a_registry_may_be_scraped_from_another_thread(cache: Cache, acme: Tenant) -> None:
    await acme.set("x", "1", "text")
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache))
    said = Scrape(await asyncio.to_thread(generate_latest, registry))
    assert said("cache_entries", layer="l3") == 1


async def test_a_scrape_before_the_first_use_is_empty_but_valid() -> None:
    cache = Cache()
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache))
    assert Scrape(generate_latest(registry))("cache_tier_up", layer="l1") == 1


async def test_every_metric_is_documented_and_nothing_else(cache: Cache, acme: Tenant) -> None:
    await acme.set("x", "1", "text")
    assert await (service := CacheService(cache=cache)).sync_now(), service
    types = (await scrape(cache)).types
    exposed = {f"{name}_total" if kind == "counter" else name for name, kind in types.items()}
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    named = set(re.findall(r"^\| `(\w+)`", page, re.M))
    # What was saved has the same names as what was spent: the page has them once.
    named |= {name.replace("cache_spent", "cache_saved") for name in named}
    assert named == exposed


async def test_policies_on_trial_are_a_label_more_and_add_up() -> None:
    policies = {"x": Policy(ttl=60, trial=Policy(ttl=600))}
    async with Cache(policies=policies) as cache:
        acme = cache.tenant("acme")
        for number in range(40):
            await acme.load("x", str(number), lambda: "value")
            await acme.get("x", str(number))
        await acme.get("y", "1")
        found = await scrape(cache)
        assert found.labels("cache_hit_total", "variant") == {"", "a", "b"}
        of = (await cache.stats()).trials["x"]
        for variant in ("a", "b"):
            assert found("cache_hit_total", variant=variant) == of[variant].hits > 10
            assert found("cache_loads_total", variant=variant) == of[variant].loads
            waited = found("cache_answer_seconds_total", variant=variant)
            assert waited == pytest.approx(of[variant].answer_seconds)
        assert found("cache_hit_total", data_type="x") == 40
        assert found("cache_miss_total", data_type="y", variant="") == 1
        of_tenants = await scrape(cache, tenants=5)
        assert of_tenants("cache_hit_total", tenant="acme", variant="a") == of["a"].hits


def test_without_the_library_the_error_says_what_to_install() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['prometheus_client'] = None\n"
            "import cascada.integrations.prometheus",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "MissingExtra" in said.stderr
    assert "pip install cascada[prometheus]" in said.stderr


async def test_a_tier_of_another_name_is_counted_by_its_name(
    clock: ManualClock, tmp_path: Path
) -> None:
    """A further place for entries is data: nothing in the engine knows the tiers' names."""

    class Archive(SqliteTier):
        name = "archive"

    def tier() -> Archive:
        return Archive(tmp_path / "archive.sqlite", namespace="test", clock=clock)

    async with Cache(tiers=[tier()], clock=clock) as writer:
        await writer.tenant("acme").set("x", "1", "value")
    async with Cache(tiers=[tier()], clock=clock) as cache:
        acme = cache.tenant("acme")
        assert (await acme.get("x", "1")).tier == "archive"
        assert not await acme.get("x", "2")
        assert (await acme.load("x", "3", lambda: 3)).tier == "source"
        assert (await cache.stats()).total.by_tier == {"l1": 0, "archive": 1}
        assert (await cache.stats()).total.hits == 1
        said = Scrape(await exposition(cache))
        assert said("cache_hit_total", layer="archive") == 1
        assert said("cache_miss_total", layer="archive") == 2
        assert said("cache_response_time_seconds_count", layer="archive") == 1
        assert said.labels("cache_response_time_seconds_count", "layer") == {
            "l1", "archive", "source",
        }  # fmt: skip
        assert said("cache_tier_up", layer="archive") == 1
