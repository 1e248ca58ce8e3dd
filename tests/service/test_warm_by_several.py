"""`warm` in bad weather: two at once, one that is killed, what hangs, and what is too large."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, Limits, Loaded, Policy
from cascada.testing.clock import ManualClock
from tests.scenarios.row import until
from tests.servers.redis import free_port
from tests.service.conftest import MakeService

KEYS = [f"k:{number}" for number in range(60)]


async def test_two_at_once_load_each_key_once(make_service: MakeService) -> None:
    """In two processes, as far as their caches can tell."""
    asked: Counter[str] = Counter()

    async def load(key: str) -> str:
        asked[key] += 1
        await asyncio.sleep(0.001)
        return f"of {key}"

    services = [make_service() for _ in range(2)]
    one, other = await asyncio.gather(*(each.warm(KEYS, loader=load) for each in services))
    assert asked == Counter(KEYS), "each of them once"
    assert (one.failed, one.refused, other.failed, other.refused) == (0, 0, 0, 0)
    assert one.loaded + other.loaded == len(KEYS)
    assert one.present + other.present == len(KEYS)
    for each in services:
        assert await each.get("k:59") == "of k:59"


async def test_a_loader_that_hangs_is_ended_with_its_call(make_service: MakeService) -> None:
    service, begun, ended = make_service(), list[str](), list[str]()

    async def load(key: str) -> str:
        if key == "k:0":
            return "there"
        begun.append(key)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)
        raise AssertionError("nobody has set it")

    task = asyncio.ensure_future(service.warm(KEYS, loader=load, at_once=3))
    await until(lambda: len(begun) == 3)
    await until(lambda: service.cache.tenant("acme").peek("service.default", "k:0") is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: sorted(ended) == sorted(begun))
    report = await service.warm(KEYS, loader=str.upper)  # no lease was left behind
    assert (report.present, report.loaded) == (1, len(KEYS) - 1)


async def test_values_that_are_too_large_are_failures_that_say_so(clock: ManualClock) -> None:
    cache = Cache(clock=clock, limits=Limits(max_value_bytes=1000, load_timeout=0.05))
    service = CacheService(cache=cache, types={"n": int})

    async def load(key: str) -> Any:
        if key == "slow":
            await asyncio.Event().wait()
        return {"n:1": "none", "n:2": 2, "large": os.urandom(2000)}[key]

    report = await service.warm(["large", "n:1", "n:2", "slow"], loader=load)
    assert (report.loaded, report.failed) == (1, 3)
    assert "max_value_bytes=1000" in report.errors["large"]
    assert "Expected `int`" in report.errors["n:1"]
    assert "load_timeout" in report.errors["slow"]
    assert await service.get("n:2") == 2
    await cache.aclose()


@dataclass
class Campaign:
    name: str
    budget: float = 0.0


async def test_what_is_loaded_has_its_group_s_type(make_service: MakeService) -> None:
    service = make_service(types={"campaign": Campaign})
    values = {"campaign:1": Campaign("Spring", 2.5), "campaign:2": {"name": "Autumn"}}
    report = await service.warm(list(values), loader=values.__getitem__)
    assert (report.loaded, report.failed) == (2, 0)
    assert await service.get("campaign:1") == {"name": "Spring", "budget": 2.5}
    assert await service.get("campaign:2", type=Campaign) == Campaign("Autumn")
    assert await service.clear("campaign:*") == 2


async def test_a_loader_may_say_how_long(make_service: MakeService, clock: ManualClock) -> None:
    service = make_service()
    await service.warm(["k:1"], loader=lambda _: Loaded("short", ttl=5))
    await service.warm(["k:2"], loader=lambda _: "long", ttl=50)
    clock.advance(6)
    assert await service.get("k:1") is None
    assert await service.get("k:2") == "long"


async def test_known_absence_is_none(clock: ManualClock) -> None:
    cache = Cache(clock=clock, policies={"service.default": Policy(none_ttl=60)})
    service, asked = CacheService(cache=cache), list[str]()

    def load(key: str) -> None:
        asked.append(key)

    for _ in range(2):
        report = await service.warm(["k:1"], loader=load)
        assert (report.absent, report.loaded, report.failed) == (1, 0, 0)
    assert asked == ["k:1"]
    await cache.aclose()


async def test_what_only_memory_has_for_a_while_is_not_called_loaded() -> None:
    limits = Limits(op_timeout=0.2)
    cache = Cache(redis=f"redis://127.0.0.1:{free_port()}/0", limits=limits)
    report = await CacheService(cache=cache).warm(KEYS[:3], loader=str.upper)
    assert (report.refused, report.loaded, report.failed) == (3, 0, 0)
    await cache.aclose()


async def test_more_at_once_than_there_may_be_loads(clock: ManualClock) -> None:
    """They wait for none: who waits too long would fail."""
    cache = Cache(clock=clock, limits=Limits(max_loads_per_type=4, load_wait=0.001))
    now, most = 0, 0

    async def load(key: str) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.003)
        now -= 1
        return key

    report = await CacheService(cache=cache).warm(KEYS, loader=load, at_once=1000)
    assert (report.loaded, most) == (len(KEYS), 4)
    await cache.aclose()


KILLED = """
import asyncio, sys
from cascada import Cache, CacheService, Context, Limits

async def load(key):
    if key == "k:9":
        print("at it", flush=True)
        await asyncio.Event().wait()
    return key

async def main():
    service = CacheService(cache=Cache(database=sys.argv[1], limits=Limits(op_timeout=10)))
    with Context(tenant_id="acme"):
        await service.warm([f"k:{number}" for number in range(60)], loader=load, at_once=1)

asyncio.run(main())
"""


def test_who_is_killed_leaves_what_he_has_stored(tmp_path: Path) -> None:
    path = str(tmp_path / "c.db")
    command = [sys.executable, "-c", KILLED, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at it\n"
        process.send_signal(signal.SIGKILL)

    async def rest() -> None:
        async with Cache(database=path, limits=Limits(op_timeout=10)) as cache:
            with Context(tenant_id="acme"):
                report = await CacheService(cache=cache).warm(KEYS, loader=str.upper)
        assert (report.present, report.loaded, report.failed) == (9, 51, 0)

    asyncio.run(rest())
