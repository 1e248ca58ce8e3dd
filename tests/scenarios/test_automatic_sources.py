"""What a loader reads through the cache becomes a source: when that goes, so does its result."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.entry import Hit
from cascada.model.loaded import Loaded
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, kept

Invalidate = Callable[[Tenant], Any]


async def made_of_source(acme: Tenant) -> None:
    """`x:1`, made of `doc:d` (in memory), which bears a tag and belongs to an agent."""
    doc = acme.within(agent="writer")
    await doc.set("doc", "d", "text", tags=["news"])
    await acme.load("x", "1", lambda: _text_of(doc))
    assert await kept(acme) == "made of text"


async def _text_of(handle: Tenant) -> str:
    return f"made of {(await handle.get('doc', 'd')).value}"


@pytest.mark.parametrize(
    "change",
    [
        lambda acme: acme.within(agent="writer").invalidate("doc", "d"),
        lambda acme: acme.invalidate("doc", "d"),
        lambda acme: acme.within(agent="writer").set("doc", "d", "changed"),
        lambda acme: acme.within(agent="writer").delete("doc", "d"),
        lambda acme: acme.invalidate("doc", "*"),
        lambda acme: acme.invalidate("doc", "*", agent="writer"),
        lambda acme: acme.invalidate(tag="news"),
        lambda acme: acme.invalidate(agent="writer"),
        lambda acme: acme.invalidate(),
    ],
    ids=["key", "resource", "set", "delete", "type", "type at agent", "tag", "agent", "tenant"],
)
async def test_whatever_names_the_source_reaches_what_was_made_of_it(
    cache: Cache, change: Invalidate
) -> None:
    acme = cache.tenant("acme")
    await made_of_source(acme)
    await change(acme)
    assert await kept(acme) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda acme: acme.invalidate("doc", "other"),
        lambda acme: acme.invalidate("other", "*"),
        lambda acme: acme.invalidate(tag="other"),
        lambda acme: acme.invalidate(agent="other"),
        lambda acme: acme.within(agent="other").invalidate("doc", "d"),
    ],
)
async def test_what_does_not_name_the_source_leaves_the_result(
    cache: Cache, change: Invalidate
) -> None:
    acme = cache.tenant("acme")
    await made_of_source(acme)
    await change(acme)
    assert await kept(acme) == "made of text"


async def test_a_source_that_was_not_there_is_a_source_too(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: _text_of(acme))
    assert await kept(acme) == "made of None"
    await acme.set("doc", "d", "there now")
    assert await kept(acme) is None


async def test_sources_reach_through_two_levels(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def middle() -> str:
        return f"middle {(await acme.load('doc', 'd', Row('text').read)).value}"

    async def outer() -> str:
        return f"outer {(await acme.load('x', 'middle', middle)).value}"

    await acme.load("x", "1", outer)
    assert await kept(acme) == "outer middle text"
    await acme.invalidate("doc", "d")
    assert await kept(acme) is None
    assert await kept(acme, "middle") is None


async def test_sources_reach_through_a_middle_that_is_found_in_a_tier(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def middle() -> str:
        return f"middle {(await acme.load('doc', 'd', Row('text').read)).value}"

    async def outer() -> str:
        return f"made of {(await acme.load('x', 'middle', middle)).value}"

    await acme.load("x", "middle", middle)
    await all_stored(acme)
    for drop in (False, True):
        if drop:
            inside(cache).memory.flush()
        await acme.load("x", "1", outer)
        assert await kept(acme) == "made of middle text"
        await acme.invalidate("doc", "d")
        assert await kept(acme) is None


async def test_sources_reach_through_a_middle_that_found_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def middle() -> None:
        assert not await acme.get("doc", "d")

    async def outer() -> str:
        return f"made of {(await acme.load('x', 'middle', middle)).value}"

    await acme.load("x", "1", outer)
    assert await kept(acme) == "made of None"
    await acme.set("doc", "d", "there now")
    assert await kept(acme) is None


async def test_sources_reach_through_a_middle_that_another_caller_is_loading(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    row = Row("text")
    row.hold()

    async def middle() -> Any:
        return (await acme.load("doc", "d", row.read)).value

    first = asyncio.create_task(acme.load("x", "middle", middle))
    await row.being_read()

    async def outer() -> Any:
        return (await acme.load("x", "middle", middle)).value

    second = asyncio.create_task(acme.load("x", "1", outer))
    await asyncio.sleep(0.01)
    row.let_go()
    await asyncio.gather(first, second)
    assert await kept(acme) == "text"
    await acme.invalidate("doc", "d")
    assert await kept(acme) is None


async def test_everything_that_reads_counts(cache: Cache) -> None:
    acme = cache.tenant("acme")
    reads: dict[str, Callable[[], Any]] = {
        "get": lambda: acme.get("doc", "get"),
        "get_many": lambda: acme.get_many("doc", ["get_many", "also"]),
        "load": lambda: acme.load("doc", "load", Row().read),
        "load_many": lambda: acme.load_many("doc", ["load_many"], lambda ids: ids),
        "cache.get": lambda: cache.get(acme.key("doc", "cache.get")),
        "in a task": lambda: asyncio.create_task(acme.get("doc", "in a task")),
        "gathered": lambda: asyncio.gather(acme.get("doc", "gathered"), acme.get("doc", "b")),
    }
    for name, read in reads.items():

        async def fetch(read: Callable[[], Any] = read) -> str:
            await read()
            return "made"

        for there in (False, True):
            if there:
                await acme.set("doc", name, "there")
            await acme.load("x", name, fetch)
            assert await kept(acme, name) == "made"
            await acme.invalidate("doc", name)
            assert await kept(acme, name) is None, (name, there)


async def test_what_a_loader_reads_past_the_cache_counts_too(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> Any:
        with cache.bypass():
            return (await acme.load("doc", "d", Row("text").read)).value

    await acme.load("x", "1", fetch)
    assert await kept(acme) == "text"
    await acme.invalidate("doc", "d")
    assert await kept(acme) is None


async def test_what_is_read_outside_of_a_loader_is_no_source(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("doc", "d", "text")
    row = Row("value")
    row.hold()
    loading = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    await acme.get("doc", "d")
    await acme.load("doc", "e", Row().read)
    row.let_go()
    await loading
    await acme.invalidate("doc", "*")
    assert await kept(acme) == "value"


async def test_an_invalidation_of_a_source_during_the_load_voids_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("doc", "d", "old")
    row = Row("")
    row.hold()

    async def fetch() -> str:
        text = (await acme.get("doc", "d")).value
        await row.read()
        return f"made of {text}"

    first = asyncio.create_task(acme.load("x", "1", fetch))
    await row.being_read()
    await acme.set("doc", "d", "new")
    row.let_go()
    assert (await first).value == "made of old"
    assert await kept(acme) is None
    assert (await acme.load("x", "1", fetch)).value == "made of new"


async def test_what_was_made_of_too_many_sources_is_not_stored(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> str:
        await acme.get_many("doc", range(1100))
        return "made"

    assert (await acme.load("x", "1", fetch)).value == "made"
    assert await kept(acme) is None


async def test_one_of_a_hundred_sources_reaches_what_was_made_of_them(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> str:
        await acme.get_many("doc", range(100))
        return "made"

    await acme.load("x", "1", fetch)
    assert await kept(acme) == "made"
    await acme.set("doc", 50, "there now")
    assert await kept(acme) is None


async def test_tags_are_kept_however_many_sources_there_are(cache: Cache) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> Loaded[str]:
        await acme.get_many("doc", range(100))
        return Loaded("made", tags=["news"])

    await acme.load("x", "1", fetch)
    assert await kept(acme) == "made"
    await acme.invalidate(tag="news")
    assert await kept(acme) is None


async def test_made_of_something_stale_is_returned_as_stale_and_not_stored(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policies={"doc": Policy(ttl=10, stale_for=60)}).tenant("acme")
    await acme.set("doc", "d", "stale")
    clock.advance(20)

    async def middle() -> str:
        return f"made of {(await acme.get('doc', 'd')).value}"

    async def outer() -> Any:
        return (await acme.load("x", "middle", middle)).value

    answers = await asyncio.gather(acme.load("x", "1", outer), acme.load("x", "1", outer))
    for answer in answers:
        assert (answer.value, answer.tier, answer.stale) == ("made of stale", "source", True)
    assert await kept(acme) is None
    assert await kept(acme, "middle") is None


async def test_made_of_what_another_tenant_has_is_returned_and_not_stored(cache: Cache) -> None:
    acme, other = cache.tenant("acme"), cache.tenant("other")
    await other.set("doc", "d", "theirs")
    await acme.load("x", "1", lambda: _text_of(other))
    assert await kept(acme) is None


async def test_made_through_others_of_what_another_tenant_has_is_not_stored_either(
    cache: Cache,
) -> None:
    acme, other = cache.tenant("acme"), cache.tenant("other")
    await other.set("doc", "d", "theirs")

    async def outer() -> Any:
        return (await acme.load("x", "middle", lambda: _text_of(other))).value

    assert (await acme.load("x", "1", outer)).value == "made of theirs"
    assert await kept(acme, "middle") is None
    assert await kept(acme) is None


async def test_a_loader_that_writes_and_invalidates_is_not_voided_by_itself(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")

    async def fetch() -> str:
        await acme.set("doc", "by the way", "kept")
        await acme.invalidate("doc", "another")
        return "made"

    await acme.load("x", "1", fetch)
    assert await kept(acme) == "made"
    assert (await acme.get("doc", "by the way")).value == "kept"


async def test_a_hit_in_memory_counts_while_a_loader_runs_also_after_a_bypass(
    cache: Cache,
) -> None:
    with cache.bypass():
        await cache.tenant("acme").get("x", "first use")
    acme = cache.tenant("acme")
    await acme.set("doc", "d", "text")
    assert isinstance(await acme.get("doc", "d"), Hit)
    await acme.load("x", "1", lambda: _text_of(acme))
    assert await kept(acme) == "made of text"
    await acme.invalidate("doc", "d")
    assert await kept(acme) is None
