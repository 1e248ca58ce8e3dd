"""What invalidations leave behind in Redis, how they are counted, and a server that is full."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cascada.model.errors import TierUnavailable
from cascada.model.names import key_name, tag_name, type_name
from cascada.tiers.contract import Lease
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, OTHER, Process, processes

TAG = tag_name("acme", "news")


@pytest.fixture
async def process(redis_server: RedisServer) -> AsyncIterator[Process]:
    redis_server.flush()
    made = Process(redis_server.url)
    async with processes(made):
        yield made


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--maxmemory-policy", request.param)
    yield server
    server.kill()


def info(server: RedisServer, field: str) -> int:
    found = re.search(rf"{field}:(\d+)".encode(), server.say("INFO"))
    assert found is not None
    return int(found.group(1))


# --- counts ---------------------------------------------------------------------------------------


async def test_a_key_counts_if_it_was_alive(process: Process) -> None:
    told = await process.tier.invalidate([key_name(KEY)])
    assert (told.keys, told.exact) == (0, True)
    assert await process.store()
    assert await process.store(OTHER)
    told = await process.tier.invalidate([key_name(KEY), key_name(OTHER)])
    assert (told.keys, told.exact) == (2, True)
    told = await process.tier.invalidate([key_name(KEY)])
    assert (told.keys, told.exact) == (0, True)


@pytest.mark.parametrize("died_of", ["type", "tag", "eviction", "epoch"])
async def test_a_key_that_was_dead_already_counts_nothing(
    process: Process, redis_server: RedisServer, died_of: str
) -> None:
    """Its bytes are still there: to invalidate a group is to delete its generation."""
    assert await process.store(names=(TAG,))
    layout = process.tier.layout
    if died_of == "type":
        await process.tier.invalidate([type_name("acme", "row")])
    elif died_of == "tag":
        await process.tier.invalidate([TAG])
    elif died_of == "eviction":
        redis_server.say("DEL", layout.generation(TAG).decode())
    else:
        redis_server.say("DEL", layout.epoch.decode())
    assert redis_server.say("EXISTS", layout.entry(KEY).decode()) == b":1\r\n"
    told = await process.tier.invalidate([key_name(KEY)])
    assert (told.keys, told.exact) == (0, True)
    assert redis_server.say("EXISTS", layout.entry(KEY).decode()) == b":0\r\n"


async def test_what_one_command_voids_twice_is_counted_at_most(process: Process) -> None:
    assert await process.store(names=(TAG,))
    told = await process.tier.invalidate([key_name(KEY), TAG])
    assert told.keys >= 1
    assert not told.exact


# --- memory ---------------------------------------------------------------------------------------

GROUPS, KEYS_OF_A_GROUP, VALUE = 100, 60, b"x" * 1000
ROOM = 3 * 2**20


@pytest.mark.parametrize("small", ["volatile-lru"], indirect=True)
async def test_what_was_invalidated_makes_room_even_if_it_was_to_stay_for_ever(
    small: RedisServer,
) -> None:
    """Permanent entries of ever new ids, invalidated by their group: nobody deletes them.

    Without a physical time to live volatile-lru would evict none of them, and the server be full.
    """
    process = Process(small.url)
    async with processes(process):
        limit = info(small, "used_memory") + ROOM
        small.say("CONFIG", "SET", "maxmemory", str(limit))
        used: list[int] = []
        stored = 0
        for group in range(GROUPS):
            keys = [
                KEY._replace(resource_id=f"{group}.{number}") for number in range(KEYS_OF_A_GROUP)
            ]
            granted = await process.tier.lease(keys, [None] * len(keys))
            leases = [lease for lease in granted if isinstance(lease, Lease)]
            entry = process.entry(VALUE, (TAG,), for_ever=True)
            filled = await process.tier.fill(leases, [entry] * len(leases))
            stored += sum(each.accepted for each in filled)
            await process.tier.invalidate([TAG])
            assert await process.found(keys[0]) is None
            used.append(info(small, "used_memory"))
        written = GROUPS * KEYS_OF_A_GROUP
        assert written * len(VALUE) > 1.5 * ROOM
        # Redis tells uses apart by the second, and all this takes half of one: now and then it
        # evicts a generation of what is being filled, and with it a group of fills.
        assert stored > 0.8 * written, "what is evicted is mostly what is old"
        assert info(small, "evicted_keys") > 0.3 * written
        assert max(used) < limit + 2**19
        last, middle = max(used[-GROUPS // 4 :]), max(used[GROUPS // 2 : -GROUPS // 4])
        assert last < middle + 2**18, "it is flat"


@pytest.mark.parametrize("small", ["noeviction"], indirect=True)
async def test_a_full_server_still_forgets(small: RedisServer) -> None:
    """UNLINK comes first: writes are refused from the first one that needs more memory."""
    process = Process(small.url)
    async with processes(process):
        assert await process.store(names=(TAG,))
        assert await process.store(OTHER)
        small.say("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(TierUnavailable):
            await process.lease(KEY._replace(resource_id="3"))
        for names, key in (([TAG], KEY), ([key_name(OTHER)], OTHER)):
            try:
                await process.tier.invalidate(names)
            except TierUnavailable:
                assert small.say("EXISTS", process.tier.layout.epoch.decode()) == b":0\r\n"
            assert await process.found(key) is None
        small.say("CONFIG", "SET", "maxmemory", "0")
        assert await process.found() is None
        assert await process.found(OTHER) is None
        assert await process.store()


# --- what never expires ---------------------------------------------------------------------------

DAY = 86_400_000


async def a_permanent_entry(process: Process, *, days: float) -> None:
    """Stored so many days ago."""
    entry = process.entry(names=(TAG,), version=7, for_ever=True)
    entry.created -= days * 86_400
    (filled,) = await process.tier.fill([await process.lease()], [entry])
    assert filled.accepted


def lives(server: RedisServer, process: Process, milliseconds: int | None = None) -> list[int]:
    """What is left to the entry, its version and all its generations; `milliseconds` sets it."""
    layout = process.tier.layout
    entry, _, _, _, version = layout.fill_keys(KEY.text.encode())
    _, generations = layout.borne(KEY)
    keys = [key.decode() for key in (entry, version, *generations, layout.generation(TAG))]
    if milliseconds is not None:
        for key in keys:
            assert server.say("PEXPIRE", key, f"{milliseconds}") == b":1\r\n"
    return [int(server.say("PTTL", key)[1:]) for key in keys]


async def test_a_permanent_entry_is_renewed_by_a_read_in_the_second_half_of_its_life(
    process: Process, redis_server: RedisServer
) -> None:
    await a_permanent_entry(process, days=16)
    lives(redis_server, process, 14 * DAY)
    assert await process.found() == b"value"
    assert await process.found() == b"value", "the commands of a connection keep their order"
    entry, version, *generations = lives(redis_server, process)
    assert 29 * DAY < entry <= 30 * DAY
    assert version > 29 * DAY, "an older version must not replace it meanwhile"
    assert all(59 * DAY < each <= 60 * DAY for each in generations)
    lives(redis_server, process, 14 * DAY)
    assert await process.found() == await process.found() == b"value"
    assert max(lives(redis_server, process)) <= 14 * DAY, "one process does so once a day"


@pytest.mark.parametrize(("days", "left"), [(14, 14), (16, 16)])
async def test_in_the_first_half_it_is_left_alone(
    process: Process, redis_server: RedisServer, days: int, left: int
) -> None:
    await a_permanent_entry(process, days=days)
    lives(redis_server, process, left * DAY)
    assert await process.found() == await process.found() == b"value"
    assert max(lives(redis_server, process)) <= left * DAY


async def test_a_generation_that_others_need_for_longer_is_not_shortened(
    process: Process, redis_server: RedisServer
) -> None:
    await a_permanent_entry(process, days=16)
    lives(redis_server, process, 200 * DAY)
    entry = process.tier.layout.entry(KEY).decode()
    redis_server.say("PEXPIRE", entry, f"{DAY}")
    assert await process.found() == await process.found() == b"value"
    renewed, _, *generations = lives(redis_server, process)
    assert renewed > 29 * DAY
    assert all(each > 199 * DAY for each in generations)


@pytest.mark.parametrize("small", ["noeviction"], indirect=True)
async def test_a_full_server_keeps_what_is_not_named(small: RedisServer) -> None:
    """Nothing bears the name, so that nothing goes by which room is made for the new number."""
    process = Process(small.url)
    async with processes(process):
        assert await process.store()
        small.say("CONFIG", "SET", "maxmemory", "1")
        assert (await process.tier.invalidate([TAG])).keys == 0
        assert await process.found() == b"value"
