"""Lists of sensitive names, and what else a tenant keeps that is no entry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Policy
from cascada.model.errors import BadInput, CorruptEntry, TierUnavailable
from cascada.testing.inside import inside
from cascada.tiers.datastore import DataStore
from tests.sealing.conftest import KEYS, Make, key_of

MARKER = "hush-0815"
SENSITIVE = {"jobs": Policy(sensitive=True), "a:b%": Policy(sensitive=True)}


async def stored(cache: Cache, name: str) -> list[bytes]:
    """The items as they lie in the store."""
    await cache.tenant("acme").list(name).length()
    return await store_of(cache).range(f"acme:{name}", 0, -1)


def store_of(cache: Cache) -> DataStore:
    for guarded in inside(cache).stack.lower:
        if (data := getattr(guarded.tier, "data", None)) is not None:
            found: DataStore = data
            return found
    raise AssertionError("no tier keeps lists")


@pytest.mark.parametrize("options", [{"policies": SENSITIVE}, {"policies": {}, "encrypt": "all"}])
async def test_items_are_sealed_and_come_back(make: Make, options: dict[str, Any]) -> None:
    here, there = make(**options), make(**options)
    one, other = here.tenant("acme").list("jobs"), there.tenant("acme").list("jobs")
    items = [MARKER, {"x": MARKER}, "", None, [MARKER] * 2000, MARKER]
    for item in items:
        await one.rpush(item)
    assert await other.lpush(0) == 7
    assert await other.range() == [0, *items]
    assert not [item for item in await stored(here, "jobs") if MARKER.encode() in item]
    assert await other.range(-1, -1) == [MARKER]
    await one.trim(0, 4)
    assert (await one.rpop(), await other.lpop(), await one.length()) == (None, 0, 3)
    assert await one.lpop() == MARKER
    assert await there.tenant("globex").list("jobs").lpop("none") == "none"


async def test_a_name_is_the_type_of_its_policy(make: Make) -> None:
    here = make(policies=SENSITIVE)
    odd, plain = here.tenant("acme").list("a:b%"), here.tenant("acme").list("other")
    await odd.rpush(MARKER)
    await plain.rpush("in the clear")
    assert MARKER.encode() not in b"".join(await stored(here, "a%3Ab%25"))
    assert b"in the clear" in b"".join(await stored(here, "other"))
    assert (await odd.lpop(), await plain.lpop()) == (MARKER, "in the clear")


async def test_many_tenants_and_processes_at_once(make: Make) -> None:
    caches = [make(policies=SENSITIVE) for _ in range(3)]
    lists = [cache.tenant(f"t{n % 2}").list("jobs") for cache in caches for n in range(4)]
    await asyncio.gather(*[each.rpush([at, MARKER]) for at, each in enumerate(lists)])
    found = [item for each in lists[:2] for item in await each.range()]
    assert sorted(found) == [[at, MARKER] for at in range(len(lists))]


async def test_an_item_opens_in_its_own_list_alone(make: Make) -> None:
    here = make(policies={}, encrypt="all")
    await here.tenant("acme").list("jobs").rpush(MARKER)
    (item,) = await stored(here, "jobs")
    store = store_of(here)
    for place in ("acme:other", "globex:jobs"):
        await store.push(place, item, left=True)
    await here.tenant("globex").list("jobs").rpush("own")
    for stranger in (here.tenant("acme").list("other"), here.tenant("globex").list("jobs")):
        with pytest.raises(CorruptEntry, match="an item of the list"):
            await stranger.range()
        with pytest.raises(CorruptEntry):
            await stranger.lpop()
    assert await here.tenant("globex").list("jobs").range() == ["own"]
    for bit in range(0, 8 * len(item), 7):
        changed = bytearray(item)
        changed[bit // 8] ^= 1 << bit % 8
        await store.push("acme:flipped", bytes(changed), left=True)
        with pytest.raises(CorruptEntry):
            await here.tenant("acme").list("flipped").range()
        await store.pop("acme:flipped", left=True)


async def test_an_item_from_before_is_refused_and_stays(make: Make) -> None:
    """Whoever can write to the store could put one there; but it may be nobody's fault, either."""
    before, here = make(encryption_keys=None, policies={}), make(policies=SENSITIVE)
    jobs = here.tenant("acme").list("jobs")
    await before.tenant("acme").list("jobs").rpush("one")
    await before.tenant("acme").list("jobs").rpush("two")
    for take in (jobs.lpop, jobs.rpop, jobs.range):
        with pytest.raises(CorruptEntry, match="by a cache without encryption"):
            await take()
    old = before.tenant("acme").list("jobs")
    assert [await old.lpop(), await old.lpop()] == ["one", "two"]
    await jobs.rpush("three")
    assert await jobs.lpop() == "three"


async def test_nothing_is_taken_that_cannot_be_opened(make: Make) -> None:
    """Its operator's key is missing here: the item waits for who has it."""
    here, stranger = (
        make(policies=SENSITIVE),
        make(policies=SENSITIVE, encryption_keys=f"b:{key_of(2)}"),
    )
    await here.tenant("acme").list("jobs").rpush(MARKER)
    with pytest.raises(
        TierUnavailable, match="wrapped by 'a', which CACHE_ENCRYPTION_KEYS does not"
    ):
        await stranger.tenant("acme").list("jobs").lpop()
    with pytest.raises(TierUnavailable):
        await stranger.tenant("acme").list("jobs").rpush("another")
    assert await here.tenant("acme").list("jobs").lpop() == MARKER


async def test_what_is_put_is_sealed_by_the_key_of_now(make: Make) -> None:
    """A process goes on with a key for 30 s, which costs misses if it was dropped; what is put into
    a list is nowhere else."""
    here, there = (make(policies=SENSITIVE).tenant("acme").list("jobs") for _ in range(2))
    await here.rpush("before")
    other = make(policies=SENSITIVE)
    await other.tenant("acme").list("jobs").length()
    dropping = inside(other).stack.lower[-1].sealing
    assert dropping is not None
    assert await dropping.drop("acme")
    await there.rpush("by another key")
    await here.rpush("after")
    with pytest.raises(CorruptEntry):
        await there.lpop()
    assert [await there.lpop(), await there.lpop()] == ["by another key", "after"]


async def test_a_counter_of_a_sensitive_type_is_refused(make: Make) -> None:
    here = make(policies=SENSITIVE)
    with pytest.raises(BadInput, match="jobs is sensitive, and a counter is a number"):
        await here.tenant("acme").increment("jobs", "1", 4711)
    assert await here.tenant("acme").counter("jobs", "1") == 0
    assert await here.tenant("acme").increment("others", "1") == 1
    assert await make(policies={}, encrypt="all").tenant("acme").increment("others", "1") == 2
    alone = Cache(policies=SENSITIVE, encryption_keys=KEYS)
    assert await alone.tenant("acme").increment("jobs", "1") == 1, "memory is this process"
    await alone.aclose()


def test_lists_in_memory_alone_need_no_keys(tmp_path: Path) -> None:
    async def run() -> None:
        async with Cache(policies=SENSITIVE) as cache:
            await cache.tenant("acme").list("jobs").rpush(MARKER)
            assert await cache.tenant("acme").list("jobs").lpop() == MARKER

    asyncio.run(run())
