"""Warm restart: which keys are noted, and what is read of the list."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from cascada.engine import warm_restart
from cascada.engine.usage import Usage
from cascada.testing.inside import inside
from tests.service.restarts import MakeCache, hit, in_memory, started


async def test_long_keys_are_not_noted(make_cache: MakeCache) -> None:
    before = make_cache()
    await hit(before, "acme", "k" * 1000)
    await before.aclose()
    assert (await started(make_cache())).warm_restart.noted == 0


async def test_what_was_hit_goes_before_what_was_not(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_restart, "FIRST", 1000)  # it notes at its end, and not before the hits
    before = await started(make_cache(3))
    for number in range(20):
        await before.tenant("acme").set("row", str(number), number)
    for each in ("7", "12", "19"):
        while (await before.tenant("acme").get("row", each)).tier != "l1":
            pass  # memory had to ask whether it is up to date
    await before.aclose()
    after = await started(make_cache(3))
    assert await in_memory(after, "acme", *map(str, range(20))) == ["7", "12", "19"]


async def test_what_is_in_memory_no_more_leaves_the_list(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_restart, "FIRST", 0.005)
    monkeypatch.setattr(warm_restart, "EACH", 0.005)
    cache = await started(make_cache())
    store = inside(cache).engine.restart.store
    assert store is not None

    async def noted() -> list[str]:
        found = await Usage(warm_restart.LIST).most_of_all(store, 99)
        return sorted(key for _, key in found)

    async def becomes(wanted: list[str]) -> None:
        for _ in range(1000):
            if await noted() == wanted:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(await noted())

    await hit(cache, "acme", "1", "2")
    await becomes(["row:1", "row:2"])
    await cache.tenant("acme").invalidate("row", "1")
    await becomes(["row:2"])


async def test_a_large_tenant_keeps_no_small_one_out(make_cache: MakeCache) -> None:
    before = make_cache(10)
    await hit(before, "large", *map(str, range(100)))
    await hit(before, "small", "1", "2")
    await before.aclose()
    after = await started(make_cache(10))
    assert after.warm_restart.noted == 10
    assert await in_memory(after, "small", "1", "2") == ["1", "2"]


async def test_a_tenant_can_be_forgotten(make_cache: MakeCache) -> None:
    before = make_cache()
    await hit(before, "acme", "secret")
    await hit(before, "umbrella", "1")
    await before.aclose()
    off = make_cache(None)
    assert (await off.forget("acme")).complete
    await off.aclose()
    after = await started(make_cache())
    assert after.warm_restart.noted == 1
    assert await in_memory(after, "umbrella", "1") == ["1"]


async def test_what_another_hand_has_written_is_passed_over(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cascada")
    before = make_cache()
    await hit(before, "acme", "1")
    store = inside(before).engine.restart.store
    assert store is not None
    odd = [("", "row:1", 9), ("acme", "", 9), ("acme", "::", 9), ("acme", "row:%ZZ", -9),
           ("acme", "row:agent:x", 9), ("acme", "x:y:z:1", 9)]  # fmt: skip
    for item in (b"", b"\xc1", b"\x00" * 2**17, msgspec.msgpack.encode(odd)):
        await store.push(warm_restart.LIST, item, left=False)
    await before.aclose()
    after = await started(make_cache())
    assert await in_memory(after, "acme", "1") == ["1"]
    assert not [each for each in caplog.records if each.levelno > logging.INFO]
    assert "keys that were hot before, 1 are in memory again" in caplog.text


async def test_a_long_list_is_read_as_far_as_it_is_wanted(make_cache: MakeCache) -> None:
    before = make_cache(None)
    await hit(before, "acme", *map(str, range(50)))
    store = inside(before).engine.restart.store
    assert store is not None
    long = Usage(warm_restart.LIST, 40_000, 9)
    for first in range(5):
        part = {("acme", f"row:{number}"): 1 for number in range(first, 200_000, 5)}
        await long.add(store, {**part, ("acme", f"row:{first}"): 9})
    await before.aclose()
    after = await started(make_cache(100))
    assert after.warm_restart.noted == after.warm_restart.read == 100
    assert await in_memory(after, "acme", *"01234") == [*"01234"]


async def test_it_is_noted_again_and_again(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed has noted most of it; and the list stays short."""
    monkeypatch.setattr(warm_restart, "FIRST", 0.02)
    monkeypatch.setattr(warm_restart, "EACH", 0.02)
    monkeypatch.setattr(warm_restart, "HERE", 0)  # by a thread, as of many
    cache = await started(make_cache())
    store = inside(cache).engine.restart.store
    assert store is not None
    seen: set[int] = set()

    async def goes_on() -> bool:
        await hit(cache, "acme", "1", "2")
        seen.add(await store.length(warm_restart.LIST))
        return len(seen) >= 4

    for _ in range(500):
        if await goes_on():
            break
        await asyncio.sleep(0.01)
    assert max(seen) <= warm_restart.MOST_ITEMS + 1
    other = await started(make_cache())
    assert other.warm_restart.found == 2, "though the first one has not ended"
