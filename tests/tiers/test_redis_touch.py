"""A touch in Redis: what lies there physically, and what comes between the look and the script."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cascada.model.entry import Entry
from cascada.model.names import key_name, tag_name, type_name
from cascada.testing.inside import InsideRedis
from cascada.tiers.contract import Busy, Found, Lease, Renewed
from cascada.tiers.large_values import BULKY
from cascada.tiers.redis import touching
from cascada.tiers.redis.touching import TOUCH, TRIES
from cascada.tiers.redis_scripts.prelude import Script
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes

TAG = tag_name("acme", "news")
DAY = 86_400
LARGE = bytes(BULKY + 1)


@pytest.fixture
async def here(redis_server: RedisServer) -> AsyncIterator[Process]:
    redis_server.flush()
    process = Process(redis_server.url)
    async with processes(process):
        yield process


@pytest.fixture
async def there(redis_server: RedisServer, here: Process) -> AsyncIterator[Process]:
    process = Process(redis_server.url)
    async with processes(process):
        yield process


def for_seconds(process: Process, seconds: float) -> Renewed:
    ends = process.clock.time() + seconds
    return lambda entry, size: entry.lasting(ends, ends)


def between(process: Process, act: Callable[[], Awaitable[Any]], times: int = 1) -> None:
    """Let something happen behind each of the next looks of a touch."""

    async def acting(look: int) -> None:
        if look <= times:
            await act()

    InsideRedis(process.tier).behind_each_look(acting)


def lasts(server: RedisServer, process: Process) -> dict[str, float]:
    """Seconds for which each of the server's keys lives, less what all begin with."""
    start = len(process.tier.layout.prefix)
    found = {}
    for line in server.say("KEYS", "*").split(b"\r\n"):
        if line.startswith(process.tier.layout.prefix):
            name = line.decode()
            left = int(server.say("PTTL", name)[1:])
            found[name[start:]] = left / 1000
    return found


@pytest.mark.parametrize("data", [b"value", LARGE], ids=["small", "large"])
async def test_all_that_an_entry_needs_lives_as_long_as_it_does(
    redis_server: RedisServer, here: Process, data: bytes
) -> None:
    lease = await here.lease()
    (filled,) = await here.tier.fill([lease], [here.entry(data, (TAG,), version=3)])
    assert filled.accepted
    before = lasts(redis_server, here)
    assert max(before.values()) <= 31 * DAY
    assert (await here.tier.touch(KEY, for_seconds(here, 100 * DAY))).entry is not None
    after = lasts(redis_server, here)
    text = KEY.text
    for name, left in after.items():
        needed = {f"v:{text}": 1, f"n:{text}": 1}.get(name, 1 if name.startswith("b:") else 2)
        if name[:2] in ("v:", "n:", "b:", "g:"):
            assert left > 99 * DAY * needed, name
    assert before.keys() == after.keys()
    assert len([name for name in after if name.startswith("g:")]) == 3, "tenant, type and tag"
    assert len([name for name in after if name.startswith("b:")]) == (data is LARGE)
    await here.tier.touch(KEY, for_seconds(here, 50))
    short = lasts(redis_server, here)
    assert short[f"v:{text}"] <= 50
    assert all(left <= 111 for name, left in short.items() if name.startswith("b:"))
    assert all(left > 99 * DAY for name, left in short.items() if name[:2] in ("g:", "n:"))
    assert await here.found() == data
    await here.tier.touch(KEY, lambda entry, size: entry.lasting(math.inf, math.inf))
    assert lasts(redis_server, here)[f"v:{text}"] > 29 * DAY
    assert await here.found() == data


@pytest.mark.parametrize("data", [b"value", LARGE], ids=["small", "large"])
async def test_what_replaces_the_value_behind_the_look_is_touched_in_its_place(
    here: Process, there: Process, data: bytes
) -> None:
    await here.store(data=data)

    async def replace() -> None:
        lease = await there.lease(force=True)
        (filled,) = await there.tier.fill([lease], [there.entry(b"new" + data)])
        assert filled.accepted

    between(here, replace)
    touched = await here.tier.touch(KEY, for_seconds(here, 50))
    assert touched.entry is not None
    (found,) = await there.tier.read([KEY])
    assert isinstance(found, Found)
    assert found.entry.data == b"new" + data
    assert found.entry.expires == pytest.approx(there.clock.time() + 50, abs=1)
    assert there.tier.corrupt == 0


async def test_who_does_not_compare_spoils_what_has_replaced_it(
    here: Process, there: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of the test above."""
    old = "string.sub(v, 4, 7) ~= ARGV[8]"
    assert old in TOUCH.text
    monkeypatch.setattr(touching, "TOUCH", Script(TOUCH.text.replace(old, "false")))
    with pytest.raises(AssertionError):
        await test_what_replaces_the_value_behind_the_look_is_touched_in_its_place(
            here, there, b"value"
        )


@pytest.mark.parametrize("name", [key_name(KEY), type_name("acme", "row"), TAG])
async def test_what_is_invalidated_behind_the_look_is_not_there(
    here: Process, there: Process, name: str
) -> None:
    await here.store(names=(TAG,))
    between(here, lambda: there.tier.invalidate([name]))
    touched = await here.tier.touch(KEY, for_seconds(here, 50))
    assert (touched.was, touched.entry) == (None, None)
    assert await there.found() is None


async def test_a_value_that_is_replaced_again_and_again_was_touched_first(
    here: Process, there: Process
) -> None:
    await here.store()
    written = 0

    async def replace() -> None:
        nonlocal written
        written += 1
        lease = await there.lease(force=True)
        await there.tier.fill([lease], [there.entry(b"%d" % written)])

    between(here, replace, times=1000)
    assert (await here.tier.touch(KEY, for_seconds(here, 50))).entry is not None
    assert written == TRIES
    assert await here.found() == b"%d" % TRIES


async def test_an_entry_whose_payload_is_gone_is_none(
    redis_server: RedisServer, here: Process
) -> None:
    for below in (False, True):
        await here.store(data=LARGE)
        (payload,) = [name for name in lasts(redis_server, here) if name.startswith("b:")]
        redis_server.say("DEL", here.tier.layout.prefix.decode() + payload)
        (before,) = await here.tier.read([KEY])
        touched = await here.tier.touch(KEY, for_seconds(here, 50), below=below)
        assert (touched.was, touched.entry) == (None, None)
        assert touched.seq - before.seq == below, "told where the tier below had it"


async def test_what_an_add_has_left_there_stays(here: Process) -> None:
    """By it the add knows itself again, when the reply is lost and it is sent once more."""
    (miss,) = await here.tier.read([KEY])
    (lease,) = await here.tier.lease([KEY], [miss], once=True)
    assert isinstance(lease, Lease)
    lease.adds = bytes(16)
    entry = here.entry(b"added")
    assert (await here.tier.fill([lease], [entry]))[0].accepted
    assert (await here.tier.touch(KEY, for_seconds(here, 50))).entry is not None
    assert (await here.tier.fill([lease], [entry]))[0].accepted, "the very same once more"


async def test_who_waits_for_the_load_whose_lease_it_ends_asks_again(
    here: Process, there: Process
) -> None:
    lease = await here.lease()
    assert isinstance(lease, Lease)
    busy = await there.lease()
    assert isinstance(busy, Busy)
    await here.tier.touch(KEY, for_seconds(here, 50), below=True)
    async with asyncio.timeout(5):
        await busy.over()
    assert isinstance(await there.lease(), Lease)


async def test_memory_that_has_read_the_old_life_does_not_keep_it(
    here: Process, there: Process
) -> None:
    await here.store()
    (bar,) = await there.memory.lease([KEY], [None])
    (found,) = await there.tier.read([KEY])
    assert isinstance(bar, Lease)
    assert isinstance(found, Found)
    bar.seq = found.seq
    touched = await here.tier.touch(KEY, for_seconds(here, 50))
    await until(lambda: there.memory.names.highest >= touched.seq)
    (filled,) = await there.memory.fill([bar], [found.entry])
    assert not filled.accepted
    assert await there.keep()
    record: Entry | None = there.memory.peek(KEY)
    assert record is not None
    assert record.expires == pytest.approx(there.clock.time() + 50, abs=1)
