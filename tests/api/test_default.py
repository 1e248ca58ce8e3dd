"""The process's one default cache: configured, or built from the environment when first used."""

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cascada import Cache, CacheManager, InvalidSettings, configure, reset
from cascada.api.default import default_cache


@pytest.fixture(autouse=True)
async def unconfigured() -> None:
    configure(None)
    await reset()


async def test_the_first_use_builds_it_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CASCADA_NAMESPACE", "first")
    cache = default_cache()
    monkeypatch.setenv("CASCADA_NAMESPACE", "second")
    assert default_cache() is cache
    assert cache.options.namespace == "first"
    await reset()
    assert default_cache().options.namespace == "second"


def test_a_wrong_variable_stops_the_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_MODE", "maybe")
    with pytest.raises(InvalidSettings, match="CASCADA_MODE is 'maybe'"):
        default_cache()
    monkeypatch.setenv("CASCADA_MODE", "off")
    assert default_cache().options.mode == "off"


async def test_what_is_configured_is_used_by_all_faces(cache: Cache) -> None:
    configure(cache)
    assert default_cache() is cache
    await CacheManager.set("agent", "a1", {"n": 1}, "acme")
    assert (await cache.tenant("acme").get("agent", "a1")).value == {"n": 1}
    other = Cache()
    CacheManager.configure(other)
    assert default_cache() is other
    assert await CacheManager.get("agent", "a1", "acme") is None


async def test_a_configured_cache_stays_configured_after_reset() -> None:
    cache = Cache()
    configure(cache)
    await CacheManager.set("agent", "a1", 1, "acme")
    await reset()
    assert default_cache() is cache
    assert await CacheManager.get("agent", "a1", "acme") is None
    await CacheManager.set("agent", "a1", 2, "acme")
    assert await CacheManager.get("agent", "a1", "acme") == 2


def test_reset_frees_it_for_another_event_loop() -> None:
    async def use() -> object:
        await CacheManager.set("agent", "a1", 1, "acme")
        found = await CacheManager.get("agent", "a1", "acme")
        await reset()
        return found

    assert [asyncio.run(use()) for _ in range(3)] == [1, 1, 1]


def test_threads_that_come_at_once_get_the_same_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(8)

    def build() -> Cache:
        time.sleep(0.05)  # long enough for all of them to find that there is none
        return Cache()

    def get(_: int) -> Cache:
        barrier.wait()
        return default_cache()

    monkeypatch.setattr(Cache, "from_env", build)
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(get, range(8)))) == 1


def test_a_forked_child_does_not_wait_for_who_builds_it_in_the_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    building, go_on, from_env = threading.Event(), threading.Event(), Cache.from_env

    def slowly() -> Cache:
        building.set()
        assert go_on.wait(20)
        return from_env()

    monkeypatch.setattr(Cache, "from_env", slowly)
    thread = threading.Thread(target=default_cache)
    thread.start()
    assert building.wait(10)
    child = os.fork()
    go_on.set()
    if not child:
        try:
            signal.alarm(5)
            default_cache()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
