"""What several processes of one service know together, and what a restart finds."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cascada import BadInput, Cache, CacheService, Context, Limits
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideService, inside
from tests.servers.redis import RedisServer
from tests.service.conftest import MakeService


async def write(service: CacheService, times: int) -> None:
    for number in range(times):
        assert await service.set(f"k:{number}", number)


async def lives(service: CacheService) -> float | None:
    """Seconds that what is set now lives."""
    await InsideService(service).heard()
    await service.set("new", 1)
    cache = InsideService(service).cache
    return await cache.tenant("acme").ttl("service.default", "new")


async def test_two_processes_count_together(make_service: MakeService) -> None:
    here, there = make_service(), make_service()
    await write(here, 24)
    await write(there, 25)
    await InsideService(here).heard()
    assert await lives(there) == pytest.approx(3600, abs=1), "which is the 50th"
    await InsideService(there).heard()
    assert await lives(here) == pytest.approx(3600, abs=1), "50 are not over the threshold"
    assert await lives(here) == pytest.approx(1800, abs=1), "51 are"
    assert await lives(there) == pytest.approx(1800, abs=1)
    for service in (here, there):
        await InsideService(service).heard()
    (stat,) = there.hourly_access_stats
    assert stat["count"] == 53


async def test_a_restart_finds_what_was_counted(
    make_service: MakeService, clock: ManualClock
) -> None:
    before = make_service()
    await write(before, 50)
    clock.advance(3600)
    await write(before, 51)
    await InsideService(before).cache.aclose()  # at once: what was not told yet is told now
    after = make_service()
    await after.get("k:1")
    await InsideService(after).heard()
    assert [each["count"] for each in after.hourly_access_stats] == [50, 51]
    assert [after.is_peak_hour(hour) for hour in (20, 21)] == [False, True]
    clock.advance(10 * 86400)
    latest = make_service()
    await InsideService(latest).heard()
    assert latest.hourly_access_stats == []
    assert latest.is_peak_hour(9)


async def test_metrics_are_of_all_processes(make_service: MakeService) -> None:
    here, there = make_service(), make_service()
    await write(here, 3)
    for service in (here, there):
        await service.get("k:1")
        await service.get("nothing")
    with Context(tenant_id="umbrella"):
        await there.set("k:1", 1)
    told = [await here.get_metrics(), await there.get_metrics(), await here.get_metrics()]
    assert [(each.hit_count, each.miss_count) for each in told[1:]] == [(2, 2), (2, 2)]
    assert told[2].keys_count == 4
    await InsideService(here).cache.aclose()
    later = await make_service().get_metrics()
    assert (later.hit_count, later.miss_count, later.keys_count) == (2, 2, 4)


async def test_distinct_keys_are_of_all_processes(
    make_service: MakeService, clock: ManualClock
) -> None:
    here, there = make_service(), make_service()
    for number in range(30):
        await here.set(f"k:{number}", 1)
        await there.set(f"k:{number + 10}", 1)
        if number % 5 == 0:
            await InsideService(here).heard()
            await InsideService(there).heard()
    for service in (here, there):
        await InsideService(service).heard()
    later = make_service()
    await InsideService(later).heard()
    for service in (there, later):
        assert [len(each["keys"]) for each in service.hourly_access_stats] == [40]
    for _ in range(9 * 24):  # until its place is another hour's
        clock.advance(3600)
    clock.advance(-16 * 3600)
    await later.set("k:0", 1)
    await InsideService(later).heard()
    assert [len(each["keys"]) for each in later.hourly_access_stats] == [1]


async def test_what_is_counted_meanwhile_is_counted(make_service: MakeService) -> None:
    service = make_service()
    await write(service, 1)
    telling = asyncio.create_task(InsideService(service).heard())
    counted = 1
    while not telling.done():
        InsideService(service).record("k")
        counted += 1
        await asyncio.sleep(0)
    assert [each["count"] for each in service.hourly_access_stats] == [counted]
    await InsideService(service).heard()
    assert [each["count"] for each in service.hourly_access_stats] == [counted]


async def test_a_child_tells_nothing_of_its_parent_s(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()
    await write(service, 1)
    await InsideService(service).heard()
    await write(service, 3)  # which this process has not told yet when it is forked
    monkeypatch.setattr(os, "getpid", lambda: -1)
    await write(service, 2)
    await InsideService(service).heard()
    assert [each["count"] for each in service.hourly_access_stats] == [3]


async def test_services_count_apart(make_service: MakeService) -> None:
    here, other = make_service(), make_service(name="other")
    await write(here, 51)
    await InsideService(here).heard()
    await other.set("k", 1)
    assert [each["count"] for each in other.hourly_access_stats] == [1]


async def test_two_objects_of_one_name_count_once(make_service: MakeService) -> None:
    service = make_service()
    again = CacheService(cache=InsideService(service).cache, time_zone="UTC")
    await write(service, 2)
    await again.get("k:1")
    await again.set("k:1", 1)
    for each in (service, again):
        assert (await each.get_metrics()).hit_count == 1
        assert [stat["count"] for stat in each.hourly_access_stats] == [3]
    other = CacheService(cache=InsideService(service).cache, time_zone="Asia/Tokyo")
    with pytest.raises(BadInput, match="Asia/Tokyo"):
        other.adaptive_ttl()


async def test_no_counter_of_a_tenant_is_a_service_own(make_service: MakeService) -> None:
    service = make_service()
    await write(service, 2)
    await InsideService(service).heard()
    began = next(iter(InsideService(service).hours))
    acme = InsideService(service).cache.tenant("acme")
    for name in (":service.default", "service.default"):
        assert await acme.counter(name, f"accesses:{began}") == 0


async def test_redis_away_holds_up_no_set(
    redis_server: RedisServer, clock: ManualClock, tmp_path: Path
) -> None:
    limits = Limits(op_timeout=0.1, invalidate_patience=0.0)
    cache = Cache(
        redis="redis://127.0.0.1:1/0", database=str(tmp_path / "c.db"), clock=clock, limits=limits
    )
    service = CacheService(cache=cache, time_zone="UTC")
    began = asyncio.get_running_loop().time()
    await write_anyway(service, 60)
    assert asyncio.get_running_loop().time() - began < 5
    assert service.is_peak_hour(20), "this process knows its own"
    assert (await service.get_metrics()).keys_count >= 0
    await cache.aclose()


async def write_anyway(service: CacheService, times: int) -> None:
    for number in range(times):
        await service.set(f"k:{number}", number)


CHILD = """
import asyncio, sys
from cascada import BadInput, Cache, CacheService, Context, Limits
from cascada.testing import ManualClock

async def main():
    with Context(tenant_id="acme"):
        cache = Cache(redis=sys.argv[1], limits=Limits(op_timeout=10), clock=ManualClock())
        service = CacheService(cache=cache, time_zone="UTC")
        for number in range(int(sys.argv[2])):
            assert await service.set(f"k:{number}", number)
        await cache.aclose()

asyncio.run(main())
"""


async def test_pttl_after_another_process(redis_server: RedisServer) -> None:
    """What a real process has written decides what Redis says of this one's values."""
    redis_server.flush()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, redis_server.url, "50"
    )
    assert await child.wait() == 0
    cache = Cache(redis=redis_server.url, clock=ManualClock(), limits=Limits(op_timeout=10))
    service = CacheService(cache=cache, time_zone="UTC")
    for key, seconds in (("at 50", 3600), ("at 51", 1800)):
        await service.set(key, 1)
        said = redis_server.say("PTTL", f"cascada.0:{{b0}}:v:acme:service.default:{key}")
        assert seconds - 60 < int(said.strip(b":\r\n")) / 1000 <= seconds
    await cache.aclose()


@pytest.mark.parametrize("tier", ["redis"], indirect=True)
async def test_what_another_hand_has_written_stops_nothing(
    make_service: MakeService, redis_server: RedisServer
) -> None:
    before = make_service()
    await write(before, 1)
    await InsideService(before).heard()
    began = next(iter(InsideService(before).hours))
    prefix = "cascada.0:{b0}:c::service.default:"
    assert redis_server.say("GET", f"{prefix}accesses:{began}").strip() != b"$-1"
    redis_server.say("SET", f"{prefix}accesses:{began}", "many")
    redis_server.say("SET", f"{prefix}misses", "few")
    later = make_service()
    await later.get("nothing")
    await write(later, 2)
    assert (await later.get_metrics()).miss_count == 1
    assert later.hourly_access_stats[-1]["count"] >= 1


def utc(*moment: int) -> float:
    return datetime(*moment, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]  # of a date


async def test_pttl_over_both_changes_of_the_clock(redis_server: RedisServer) -> None:
    """Each step is a process that has just begun."""
    redis_server.flush()

    async def lives(moment: float, writes: int) -> float:
        """So many writes at that time, and the one whose PTTL it is."""
        cache = Cache(
            redis=redis_server.url, clock=ManualClock(moment), limits=Limits(op_timeout=10)
        )
        service = CacheService(cache=cache, time_zone="Europe/Madrid")
        await write(service, writes)
        await service.set("k", 1)
        said = redis_server.say("PTTL", "cascada.0:{b0}:v:acme:service.default:k")
        await cache.aclose()
        return round(int(said.strip(b":\r\n")) / 1000, -1)

    assert await lives(utc(2026, 3, 29, 0, 30), 50) == 3600  # 1:30, which is then at 51
    assert await lives(utc(2026, 3, 29, 0, 40), 0) == 1800
    assert await lives(utc(2026, 3, 29, 1, 30), 49) == 3600, "3:30: it is another hour"
    assert await lives(utc(2026, 3, 29, 1, 40), 0) == 3600, "at 50"
    assert await lives(utc(2026, 3, 29, 1, 50), 0) == 1800, "at 51"
    # Half a year later, of which nothing is known any more.
    assert await lives(utc(2026, 10, 25, 0, 30), 50) == 3600  # 2:30
    assert await lives(utc(2026, 10, 25, 1, 30), 0) == 1800, "2:30 again, an hour like the first"
    assert await lives(utc(2026, 10, 25, 1, 40), 0) == 3600, "which had 1 now: 26 in the mean"
    assert await lives(utc(2026, 10, 25, 2, 30), 0) == 3600  # 3:30


async def test_nothing_is_left_behind(make_service: MakeService) -> None:
    service = make_service()
    await write(service, 2)
    cache = InsideService(service).cache
    assert not inside(cache).finishing
    await cache.reset()
    assert not [t for t in asyncio.all_tasks() if "cascada:" in t.get_name()]
    await write(service, 1)
    await InsideService(service).heard()
    assert [each["count"] for each in service.hourly_access_stats] == [3]
