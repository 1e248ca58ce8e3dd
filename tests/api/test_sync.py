"""`cache.sync`: the modern face for code that waits."""

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cascada import Cache, CacheClosed, SyncCache, SyncList, SyncTenant, Tenant, TenantList
from cascada.model.errors import WrongLoop


@pytest.fixture
def cache() -> Iterator[Cache]:
    made = Cache()
    yield made
    made.sync.close()


def public(kind: object) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_faces_that_wait_have_the_calls_of_those_that_are_awaited(cache: Cache) -> None:
    """A new call needs one line in `api/sync/faces.py`."""
    assert public(SyncTenant) == public(Tenant) - {"stream"}
    assert public(SyncList) == public(TenantList)
    of_cache = public(Cache) - {"aclose", "from_env", "sync", "options", "set_policy"} | {"close"}
    assert public(SyncCache) == of_cache
    for name in public(Tenant) - {"stream", "tenant", "scope"}:
        asked, waited = getattr(Tenant, name), getattr(SyncTenant, name)
        given, taken = inspect.signature(asked).parameters, inspect.signature(waited).parameters
        assert list(given)[1:] == list(taken)[1:], name


def test_a_program_without_a_loop_just_calls_it(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")
    miss = acme.get("x", "1", default="none")
    assert not miss
    assert miss.value == "none"
    assert acme.set("x", "1", "here")
    assert acme.get("x", "1").value == "here"
    assert acme.load("x", "2", lambda: "loaded").value == "loaded"
    assert acme.invalidate("x", "2").keys == 1
    assert [hit.value for hit in acme.get_many("x", ["1", "2"], default=0)] == ["here", 0]
    assert acme.list("inbox").rpush("first") == 1
    assert acme.list("inbox").range() == ["first"]
    assert acme.increment("seen", "1") == 1
    assert acme.delete("x", "1")
    assert cache.sync.stats().total.loads == 1


def test_from_many_threads(cache: Cache) -> None:
    acme = cache.sync.tenant("acme")

    def use(number: int) -> bool:
        acme.set("x", number, number)
        return acme.get("x", number).value == number

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(use, range(200)))


async def test_on_a_thread_whose_loop_runs_it_names_the_async_form() -> None:
    async with Cache() as cache:
        with pytest.raises(WrongLoop, match=r"event loop.*await Tenant\.get\(\.\.\.\)"):
            cache.sync.tenant("acme").get("x", "1")
        assert await asyncio.to_thread(cache.sync.tenant("acme").set, "x", "1", 1)
        assert await cache.tenant("acme").get("x", "1")


def test_it_is_closed_and_says_so() -> None:
    with Cache().sync as waiting:
        acme = waiting.tenant("acme")
        acme.set("x", "1", 1)
    with pytest.raises(CacheClosed):
        acme.get("x", "1")
