"""What a log has of reads while somebody listens to DEBUG, and that nothing is done for it else."""

from __future__ import annotations

import logging
import re

import pytest

from cascada import Cache, Limits
from cascada.model.events import Event
from cascada.telemetry.throttle import Sampled
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside

LOGGER = logging.getLogger("cascada")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """At the level of a service in production, until a test changes it."""
    caplog.set_level(logging.DEBUG, "cascada")  # what comes is kept ...
    LOGGER.setLevel(logging.INFO)  # ... but it does not come
    return caplog


def said(lines: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in lines.records if record.levelno == logging.DEBUG]


async def test_a_hit_and_a_full_miss_say_where_and_how_long(
    lines: pytest.LogCaptureFixture, tmp_path: object
) -> None:
    LOGGER.setLevel(logging.DEBUG)
    path = f"{tmp_path}/l3.db"
    async with Cache(database=path) as cache:
        acme = cache.tenant("acme")
        await acme.load("plan", "p1", lambda: "a value that is secret")
        await acme.get("plan", "p1")
    async with Cache(database=path) as cache:
        await cache.tenant("acme").get("plan", "p1")
    miss, l1, l3 = said(lines)
    assert re.fullmatch(r"Cache miss in all layers: acme:plan:p1, \d+\.\d{3} ms", miss)
    assert re.fullmatch(r"Cache hit L1: acme:plan:p1, \d+\.\d{3} ms", l1)
    assert re.fullmatch(r"Cache hit L3: acme:plan:p1, \d+\.\d{3} ms", l3)
    assert "secret" not in lines.text


async def test_of_many_a_few_are_told_and_for_how_many_they_stand(
    lines: pytest.LogCaptureFixture,
) -> None:
    LOGGER.setLevel(logging.DEBUG)
    clock = ManualClock()
    async with Cache(clock=clock) as cache:
        acme = cache.tenant("acme")
        for second in range(3):
            for number in range(500):
                await acme.get("plan", f"none-{second}-{number}")
            clock.advance(1)
        await acme.get("plan", "last")
    found = said(lines)
    assert len(found) == 4
    assert found[0].startswith("Cache miss in all layers: acme:plan:none-0-0, ")
    assert found[1].endswith("(one of 500 since the last such line)")
    assert found[3].startswith("Cache miss in all layers: acme:plan:last, ")


async def test_what_had_to_go_is_one_line_a_second(lines: pytest.LogCaptureFixture) -> None:
    LOGGER.setLevel(logging.DEBUG)
    clock = ManualClock()
    async with Cache(clock=clock, limits=Limits(l1_bytes=100_000)) as cache:
        acme = cache.tenant("acme")
        await acme.get("plan", "first")
        for number in range(400):
            await acme.set("plan", str(number), "v" * 1000)
        await acme.get("plan", "none")
        clock.advance(1)
        await acme.get("plan", "none")
        await acme.get("plan", "none")
        evictions = (await cache.stats()).tiers["l1"].evictions
    assert evictions > 300
    (line,) = [line for line in said(lines) if "gave up" in line]
    assert line == f"L1 gave up {evictions} entries: to stay within 100000 bytes (adaptive)"


async def test_a_hit_does_nothing_for_a_log_that_nobody_reads(
    lines: pytest.LogCaptureFixture,
) -> None:
    """The level may change while the cache runs; the next read of the slow path sees it."""
    async with Cache() as cache:
        acme, stack = cache.tenant("acme"), inside(cache).stack
        await acme.set("plan", "p1", 1)
        assert await acme.get("plan", "p1")
        assert (stack.watchers, stack.trace.observers) == (0, [])
        LOGGER.setLevel(logging.DEBUG)
        await acme.get("plan", "none")
        assert stack.watchers == len(stack.trace.observers) == 1
        assert await acme.get("plan", "p1")
        assert [line[:13] for line in said(lines)] == ["Cache miss in", "Cache hit L1:"]
        LOGGER.setLevel(logging.INFO)
        await acme.get("plan", "none")
        assert (stack.watchers, stack.trace.observers) == (0, [])
        await acme.get("plan", "p1")
        assert len(said(lines)) == 2


async def test_observers_of_the_application_stay_when_the_level_changes(
    lines: pytest.LogCaptureFixture,
) -> None:
    seen: list[Event] = []
    async with Cache(observers=[seen.append]) as cache:
        acme, stack = cache.tenant("acme"), inside(cache).stack
        for level in (logging.DEBUG, logging.INFO, logging.DEBUG, logging.INFO):
            LOGGER.setLevel(level)
            await acme.get("plan", "none")
            assert stack.watchers == 1
            assert len(stack.trace.observers) == 1 + (level == logging.DEBUG)
        assert [event.kind for event in seen] == ["miss"] * 4
        await cache.reset()
        LOGGER.setLevel(logging.DEBUG)
        await acme.set("plan", "p1", 1)
        assert await acme.get("plan", "p1")
        assert stack.watchers == 1
    assert [event.kind for event in seen][-1] == "hit"


async def test_a_burst_of_hits_is_told_together(lines: pytest.LogCaptureFixture) -> None:
    LOGGER.setLevel(logging.DEBUG)
    async with Cache() as cache:
        acme, stack = cache.tenant("acme"), inside(cache).stack
        await acme.set("plan", "p1", 1)
        for _ in range(1000):
            await acme.get("plan", "p1")
        assert stack.watchers == 0  # for a tenth of a second hits are only counted
        LOGGER.setLevel(logging.INFO)
        await acme.get("plan", "none")
    assert stack.watchers == 0
    assert len(said(lines)) <= 3


def test_the_first_of_its_sort_is_told_at_any_time_of_the_clock() -> None:
    """0.1 s before a moment is not 0.1 s before it, for some moments."""
    moments = [1568.3 + number / 7 for number in range(200)]
    assert [Sampled().due("hit", now) for now in moments] == [1] * 200
