"""A value that is larger than its type should be: warned of, counted, and kept for less long."""

import logging
import math
import random
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cascada.api.cache import Cache
from cascada.integrations.prometheus import exposition
from cascada.model.entry import Hit
from cascada.model.errors import InvalidPolicy, InvalidTTL
from cascada.model.events import Event
from cascada.model.keys import Key
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.telemetry import throttle as warned
from cascada.telemetry.throttle import Warned
from cascada.testing import ManualClock

SMALL, LARGE = "x" * 10, "x" * 1000
TEXT = Policy(ttl=3600, bulky_bytes=500, bulky_ttl=60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def cache(clock: ManualClock, events: list[Event]) -> Any:
    policies = {
        "text": TEXT,
        "stale": Policy(ttl=3600, stale_for=30, bulky_bytes=500, bulky_ttl=60),
        "never": Policy(
            ttl=math.inf, stale_for=30, bulky_bytes=500, bulky_ttl=timedelta(minutes=1)
        ),
        "short": Policy(ttl=10, bulky_bytes=500, bulky_ttl=60),
    }
    async with Cache(policies=policies, observers=[events.append], clock=clock) as cache:
        yield cache


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    caplog.clear()
    return found


async def test_its_ttl_is_cut_however_it_is_stored(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("text", "small", lambda: SMALL)
    await acme.load("text", "loaded", lambda: LARGE)
    await acme.load("text", "said", lambda: Loaded(LARGE, ttl=900))
    await acme.load_many("text", ["m1", "m2"], lambda ids: [SMALL, LARGE])
    await acme.set("text", "set", LARGE)
    await acme.set("text", "given", LARGE, ttl=900)
    lives = {"small": 3600, "loaded": 60, "said": 60, "m1": 3600, "m2": 60, "set": 60, "given": 60}
    for name, seconds in lives.items():
        assert await acme.ttl("text", name) == seconds, name
    assert (await cache.stats()).types["text"].bulky == 5
    assert (await cache.stats()).types["text"].stored == 7
    assert (await cache.stats()).types["text"].stored_bytes > 5 * len(LARGE)


async def test_a_ttl_is_never_made_longer(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("short", "s1", LARGE)
    assert await acme.ttl("short", "s1") == 10
    await acme.set("never", "n1", LARGE)
    assert await acme.ttl("never", "n1") == 60
    await acme.set("never", "n2", SMALL)
    assert await acme.ttl("never", "n2") == math.inf


async def test_what_is_stale_may_be_served_as_long_as_ever(
    cache: Cache, clock: ManualClock
) -> None:
    acme = cache.tenant("acme")
    await acme.set("stale", "s1", LARGE)
    clock.advance(80)
    hit = await acme.get("stale", "s1")
    assert isinstance(hit, Hit)
    assert hit.stale
    clock.advance(11)
    assert not await acme.get("stale", "s1")


async def test_it_is_warned_of_once_for_each_key_and_minute(
    cache: Cache, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    acme = cache.tenant("acme")
    for _ in range(3):
        await acme.set("text", "t1", LARGE)
        await acme.set("text", "t2", LARGE)
        await acme.set("text", "t3", SMALL)
        clock.advance(19)
    first, second = warnings(caplog)
    assert first.startswith("acme:text:t1 has 10")
    assert first.endswith(" bytes, over bulky_bytes=500, so it is kept for at most 60")
    assert second.startswith("acme:text:t2 has ")
    await acme.set("text", "t1", LARGE)
    assert warnings(caplog) == []
    clock.advance(3)
    await acme.set("text", "t1", LARGE)
    assert len(warnings(caplog)) == 1
    assert (await cache.stats()).types["text"].bulky == 8


async def test_observers_and_prometheus_are_told_of_each(cache: Cache, events: list[Event]) -> None:
    acme = cache.tenant("acme")
    for name in ("t1", "t1", "t2"):
        await acme.set("text", name, LARGE)
    told = [event for event in events if event.kind == "bulky"]
    assert [event.key for event in told] == ["acme:text:t1", "acme:text:t1", "acme:text:t2"]
    assert "over bulky_bytes=500" in (told[0].detail or "")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families((await exposition(cache)).decode())
        for sample in family.samples
        if sample.labels.get("data_type") == "text"
    }
    assert samples["cache_bulky_total"] == 3
    assert samples["cache_stored_total"] == 3
    assert samples["cache_stored_bytes_total"] > 3 * len(LARGE)


async def test_what_is_not_stored_has_no_size(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("text", "t1", lambda: Loaded(LARGE, store=False))
    await acme.load("text", "t2", lambda: None)
    with cache.bypass():
        await acme.load("text", "t3", lambda: LARGE)
    types = (await cache.stats()).types
    assert (types["text"].stored, types["text"].bulky) == (0, 0)


def test_few_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warned, "MAX_KEYS", 2)
    lately = Warned()
    keys = [Key("acme", "text", None, None, None, name) for name in "abc"]
    assert [lately.due(key, 0.0) for key in keys] == [True] * 3
    assert not lately.due(keys[2], 1.0)
    assert lately.due(keys[0], 1.0), "it was forgotten for the third"
    assert lately.due(keys[2], 60.0)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "1000"])
def test_a_wrong_size_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidPolicy, match=r"Policy\.bulky_bytes is"):
        Policy(bulky_bytes=wrong)
    with pytest.raises(InvalidTTL, match=r"Policy\.bulky_ttl is"):
        Policy(bulky_ttl=-1)


async def test_a_megabyte_is_bulky_where_nobody_has_said_a_size(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told and counted, and lives as long as it was to."""
    large = random.Random(1).randbytes(2**20 + 1)
    policies = {
        "agent_config": Policy(bulky_bytes=2**21), "free": Policy(bulky_bytes=2**40),
        "cut": Policy(bulky_ttl=30),
    }  # fmt: skip
    async with Cache(clock=clock, policies=policies) as cache:
        acme = cache.tenant("acme")
        for data_type in ("text", "embedding", *policies):
            await acme.set(data_type, "1", large, ttl=3600)
        await acme.set("text", "2", large[: 2**20 - 100], ttl=3600)
        told = warnings(caplog)
        found = (await cache.stats()).types
        assert {name for name, row in found.items() if row.bulky} == {"text", "embedding", "cut"}
        assert found["text"].bulky == 1
        assert await acme.ttl("text", "1") == await acme.ttl("embedding", "1") == 3600
        assert await acme.ttl("cut", "1") == 30
    assert sorted(line.partition(":")[2].partition(":")[0] for line in told) == [
        "cut", "embedding", "text",
    ]  # fmt: skip
    assert [line.endswith("so it is kept for at most 30") for line in sorted(told)] == [1, 0, 0]
