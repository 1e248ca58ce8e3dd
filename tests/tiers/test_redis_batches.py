"""Leases and fills of many keys: few scripts, and each key by itself all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascada.model.names import key_name, tag_name, type_name
from cascada.testing.inside import InsideRedis
from cascada.tiers.contract import Busy, Found, Lease
from cascada.tiers.redis.writes import AT_ONCE
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes

MANY = [KEY._replace(resource_id=f"{number}") for number in range(2 * AT_ONCE + 50)]
IN_CONTEXT = [key._replace(agent="a", conversation="c") for key in MANY[:3]]
TYPE = type_name("acme", "row")


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    redis_server.flush()
    here, there = Process(redis_server.url), Process(redis_server.url)
    async with processes(here, there):
        yield here, there


async def granted(process: Process, keys: Any, *, force: bool = False) -> list[Lease]:
    leases = await process.tier.lease(keys, await process.tier.read(keys), force=force)
    assert all(isinstance(lease, Lease) for lease in leases)
    return leases  # type: ignore[return-value]


async def test_a_long_batch_is_sent_in_few_parts_and_all_of_it_is_there(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    sent: list[Any] = []
    send = InsideRedis(here.tier).link.send

    def record(*command: Any, **options: Any) -> Any:
        sent.append(command[0])
        return send(*command, **options)

    await here.store()  # the server knows the scripts from now on
    await here.tier.invalidate([key_name(KEY)])
    InsideRedis(here.tier).link.send = record
    leases = await granted(here, MANY)
    entries = [here.entry(key.resource_id.encode()) for key in MANY]
    filled = await here.tier.fill(leases, entries)
    assert all(each.accepted for each in filled)
    assert sent == [b"MGET"] + [b"EVALSHA"] * 6
    found = await there.tier.read(MANY)
    assert [each.entry.data for each in found if isinstance(each, Found)] == [
        key.resource_id.encode() for key in MANY
    ]
    told = await there.tier.invalidate([TYPE])
    assert told.keys == len(MANY)
    assert not any(isinstance(each, Found) for each in await here.tier.read(MANY))


async def test_each_key_of_a_batch_is_refused_or_stored_by_itself(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    keys = [*MANY[:3], *IN_CONTEXT]
    leases = await granted(here, keys)
    await there.tier.invalidate([key_name(MANY[1]), f"s:acme:row:{2}:agent:a"])
    filled = await here.tier.fill(leases, [here.entry(b"value") for _ in keys])
    assert [each.accepted for each in filled] == [True, False, True, True, True, False]
    found = await there.tier.read(keys)
    assert [isinstance(each, Found) for each in found] == [True, False, True, True, True, False]


async def test_a_batch_meets_what_others_have_stored_or_hold(pair: tuple[Process, Process]) -> None:
    here, there = pair
    missed = await here.tier.read(MANY[:4])
    assert await there.store(MANY[0], b"stored")
    (held,) = await granted(there, [MANY[1]])
    first, second, *others = await here.tier.lease(MANY[:4], missed)
    assert isinstance(first, Found)
    assert first.entry.data == b"stored"
    assert isinstance(second, Busy)
    assert all(isinstance(each, Lease) for each in others)
    await there.tier.fill([held], [None])
    assert isinstance((await here.tier.lease([MANY[1]], [None]))[0], Lease)


@pytest.mark.parametrize("set_first", [False, True])
async def test_what_was_made_from_a_key_of_the_same_batch_goes_when_that_is_set(
    pair: tuple[Process, Process], set_first: bool
) -> None:
    here, there = pair
    source, made = MANY[:2]
    (loaded,) = await granted(here, [made])
    (by_set,) = await granted(here, [source], force=True)
    batch = [
        (loaded, here.entry(b"made of the old one", (key_name(source),))),
        (by_set, here.entry(b"new")),
    ]
    leases, entries = zip(*(batch[::-1] if set_first else batch), strict=True)
    await here.tier.fill(leases, entries)
    assert await there.found(made) is None
    assert await there.found(source) == b"new"


async def test_late_names_are_each_entry_s_own(pair: tuple[Process, Process]) -> None:
    here, there = pair
    one, two = tag_name("acme", "one"), tag_name("acme", "two")
    leases = await granted(here, MANY[:3])
    await there.tier.invalidate([two])
    filled = await here.tier.fill(
        leases, [here.entry(names=(one,)), here.entry(names=(one, two)), here.entry()]
    )
    assert [each.accepted for each in filled] == [True, False, True]
    await there.tier.invalidate([one])
    assert [await there.found(key) for key in MANY[:3]] == [None, None, b"value"]
