"""The traps of the protocol, one test each, on a real server.

Each fails when the rule that its text names is left out.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cascada.model.names import key_name, tag_name, tenant_name, type_name
from cascada.testing.inside import InsidePush, InsideRedis
from cascada.tiers.contract import Found, Lease, Missing, Why
from cascada.tiers.redis_scripts.fill import FILL
from cascada.tiers.redis_scripts.steps import ACQUIRE
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, OTHER, Process, processes

TAG = tag_name("acme", "news")
TYPE = type_name("acme", "row")
TENANT = tenant_name("acme")


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    redis_server.flush()
    here, there = Process(redis_server.url), Process(redis_server.url)
    async with processes(here, there):
        yield here, there


# --- the epoch and its number ---------------------------------------------------------------------


async def test_numbers_that_begin_anew_are_not_taken_for_old_ones(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """q and nonce are one value: lost alone, number 1 would look like a number long heard of."""
    here, there = pair
    for _ in range(5):
        await here.tier.invalidate([TAG])
    assert await there.store()
    assert await there.keep()
    (missed,) = await there.tier.read([OTHER])
    assert missed.seq == 5
    redis_server.say("DEL", there.tier.layout.epoch.decode())
    told = await here.tier.invalidate([key_name(KEY), key_name(OTHER)])
    assert told.seq == 1
    await until(lambda: not there.has())
    (held,) = await there.tier.lease([OTHER], [missed], force=True)
    assert isinstance(held, Lease)
    (filled,) = await there.tier.fill([held], [there.entry(b"old")])
    assert not filled.accepted, "invalidated as number 1, after a miss that saw 5"


async def test_an_own_invalidation_of_another_epoch_counts_before_it_is_pushed(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """What memory holds bears higher numbers, so that this one names nothing there."""
    here, there = pair
    for _ in range(5):
        await here.tier.invalidate([TAG])
    assert await there.store()
    assert await there.keep()
    redis_server.say("DEL", there.tier.layout.epoch.decode())
    InsidePush(there.feed).transport.pause_reading()
    told = await there.tier.invalidate([key_name(KEY)])
    there.memory.apply(told.seq, [key_name(KEY)])
    there.feed.until = math.inf  # the last look was less than 5 ms ago
    assert not there.has()


async def test_a_load_of_another_epoch_stores_nothing_and_the_next_one_does(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """The ring dies with its epoch: in the next one its numbers would be of a far future."""
    here, _ = pair
    for _ in range(5):
        await here.tier.invalidate([TAG])
    assert await here.store(names=(TAG,))
    lease = await here.lease(OTHER)
    redis_server.say("DEL", here.tier.layout.epoch.decode())
    assert await here.found() is None
    assert await here.store(names=(TAG,))
    (filled,) = await here.tier.fill([lease], [here.entry(names=(TAG,))])
    assert not filled.accepted


async def test_an_older_snapshot_is_dead_on_arrival(server: RedisServer) -> None:
    """The epoch names the server process."""
    process = Process(server.url)
    async with processes(process):
        assert await process.store(data=b"old")
        assert await process.keep()
        assert server.say("SAVE") == b"+OK\r\n"
        shutil.copy(server.folder / "dump.rdb", server.folder / "older.rdb")
        await process.tier.invalidate([key_name(KEY)])
        server.kill()
        shutil.copy(server.folder / "older.rdb", server.folder / "dump.rdb")
        server.start()
        await until(lambda: InsideRedis(process.tier).link.wire is None)
        await process.tier.up()
        assert await process.found() is None
        await process.trusted()
        assert not process.has()
        assert await process.store(data=b"new")
        assert await process.found() == b"new"


async def test_a_server_emptied_under_a_memory_still_reaches_it(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """FLUSHALL: with redirected tracking it would push null; here the next number is a gap."""
    here, there = pair
    assert await there.store()
    assert await there.keep()
    redis_server.flush()
    await here.tier.invalidate([key_name(KEY)])
    await until(lambda: not there.has())
    assert await here.store(data=b"new")
    assert await there.keep()
    assert there.has()


# --- leases ---------------------------------------------------------------------------------------


async def test_a_lease_is_one_load_s_not_one_client_s(pair: tuple[Process, Process]) -> None:
    here, _ = pair
    first = await here.lease()
    await here.tier.invalidate([key_name(KEY)])
    second = await here.lease()
    (filled,) = await here.tier.fill([first], [here.entry(b"old")])
    assert not filled.accepted
    (filled,) = await here.tier.fill([second], [here.entry(b"new")])
    assert filled.accepted
    assert await here.found() == b"new"


async def test_a_lease_that_a_second_reader_has_made_again_does_not_serve_the_first(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    first = await here.lease()
    await there.tier.invalidate([TYPE])
    second = await there.lease()
    assert isinstance(second, Lease), "the first one is void, so nobody waits for it"
    (filled,) = await here.tier.fill([first], [here.entry(b"old")])
    assert not filled.accepted
    (filled,) = await there.tier.fill([second], [there.entry(b"new")])
    assert filled.accepted, "nor did the first one's fill take the second one's lease"


async def test_a_generation_that_was_evicted_is_a_miss_and_comes_back_as_another(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """A counter that is evicted begins again, and meets entries that bear its number."""
    here, there = pair
    # All of them: made again in the same order, counted ones would be equal.
    generations = [here.tier.layout.generation(name).decode() for name in (TENANT, TYPE)]
    assert await here.store(data=b"old")
    lease = await there.lease(OTHER)
    redis_server.say("DEL", *generations)
    assert await here.found() is None
    (filled,) = await there.tier.fill([lease], [there.entry()])
    assert not filled.accepted
    again = await there.lease(KEY._replace(resource_id="3"))
    assert isinstance(again, Lease)
    assert redis_server.say("EXISTS", *generations) == b":2\r\n"
    assert await here.found() is None


class Recorder:
    """Every script that a process sends, to be sent again."""

    def __init__(self, process: Process) -> None:
        self.sent: list[tuple[Any, ...]] = []
        send = InsideRedis(process.tier).link.send

        def record(*command: Any, **options: Any) -> Any:
            if command[0] in (b"EVALSHA", b"EVAL"):
                self.sent.append(command)
            return send(*command, **options)

        InsideRedis(process.tier).link.send = record
        self.again = send

    def of(self, digest: str, text: str) -> tuple[Any, ...]:
        return next(each for each in reversed(self.sent) if each[1] in (digest, text))


async def test_a_script_that_is_sent_twice_does_nothing_the_second_time(
    pair: tuple[Process, Process],
) -> None:
    """A proxy, or a client that retries: nonces are mixed with TIME, a lease serves once."""
    here, there = pair
    recorder = Recorder(here)
    assert await here.store(data=b"old")
    acquire = recorder.of(ACQUIRE.digest, ACQUIRE.text)
    fill = recorder.of(FILL.digest, FILL.text)
    blob = await InsideRedis(here.tier).link.send(b"GET", here.tier.layout.entry(KEY))
    await there.tier.invalidate([TENANT, TYPE])
    await recorder.again(*acquire)  # makes the generations again, and grants the very same token
    await InsideRedis(here.tier).link.send(b"SET", here.tier.layout.entry(KEY), blob)
    assert await here.found() is None, "the old nonce must not come back"
    await recorder.again(*fill)
    assert await here.found() is None


# --- set ------------------------------------------------------------------------------------------


async def test_a_set_that_is_delayed_behind_an_invalidation_stores_nothing(
    pair: tuple[Process, Process],
) -> None:
    """In one script it would overwrite what the invalidation has cleared."""
    here, there = pair
    lease = await here.lease(force=True)
    await there.tier.invalidate([key_name(KEY)])
    (filled,) = await here.tier.fill([lease], [here.entry(b"old")])
    assert not filled.accepted
    assert await there.found() is None


async def test_of_two_crossing_sets_the_one_that_began_last_stays(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    first, second = await here.lease(force=True), await there.lease(force=True)
    (late,) = await there.tier.fill([second], [there.entry(b"second")])
    (refused,) = await here.tier.fill([first], [here.entry(b"first")])
    assert (late.accepted, refused.accepted) == (True, False)
    # The refused one may have written its row last, so nothing that was stored is known to hold.
    assert await here.found() is None


async def test_a_set_after_a_miss_that_could_not_be_read_is_refused(
    pair: tuple[Process, Process],
) -> None:
    """Its fence knows no number: nothing tells what was invalidated since."""
    here, _ = pair
    (held,) = await here.tier.lease([KEY], [Missing(-1, Why.UNAVAILABLE)], force=True)
    assert isinstance(held, Lease)
    (filled,) = await here.tier.fill([held], [here.entry(b"old")])
    assert not filled.accepted
    assert await here.found() is None


@pytest.mark.parametrize("name", [key_name(KEY), TYPE])
async def test_a_set_after_a_miss_is_refused_if_the_key_was_named_since(
    pair: tuple[Process, Process], name: str
) -> None:
    """Get, miss, load, an invalidation by another, set."""
    here, there = pair
    (missed,) = await here.tier.read([KEY])
    await there.tier.invalidate([name])
    (held,) = await here.tier.lease([KEY], [missed], force=True)
    assert isinstance(held, Lease)
    (filled,) = await here.tier.fill([held], [here.entry(b"old")])
    assert not filled.accepted
    assert await here.found() is None


async def test_a_set_whose_ring_is_younger_than_its_miss_is_refused(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """The ring's low-water mark: what it has forgotten might have named the key."""
    here, there = pair
    (missed,) = await here.tier.read([KEY])
    await there.tier.invalidate([TYPE])
    redis_server.say("DEL", here.tier.layout.names_ring.decode())
    await there.store(OTHER)  # its lease makes a ring that knows of nothing before
    (held,) = await here.tier.lease([KEY], [missed], force=True)
    assert isinstance(held, Lease)
    (filled,) = await here.tier.fill([held], [here.entry(b"old")])
    assert not filled.accepted


async def test_a_version_holds_when_the_value_is_gone(pair: tuple[Process, Process]) -> None:
    here, there = pair

    async def put(process: Process, version: int) -> bool:
        lease = await process.lease(force=True)
        entry = process.entry(b"%d" % version, version=version)
        (filled,) = await process.tier.fill([lease], [entry])
        return filled.accepted

    assert await put(here, 5)
    await there.tier.invalidate([key_name(KEY)])
    assert not await put(there, 4)
    assert await here.found() is None
    assert await put(there, 6)


async def test_a_stopped_server_finds_an_invalidation_and_a_set_in_two_sockets(
    server: RedisServer,
) -> None:
    """In whichever order it takes them, the old value does not stay."""
    here, there = Process(server.url), Process(server.url)
    async with processes(here, there):
        for _ in range(10):
            lease = await here.lease(force=True)
            server.signal(signal.SIGSTOP)
            sent = [
                asyncio.ensure_future(there.tier.invalidate([key_name(KEY)])),
                asyncio.ensure_future(here.tier.fill([lease], [here.entry(b"old")])),
            ]
            await asyncio.sleep(0.01)
            server.signal(signal.SIGCONT)
            await asyncio.gather(*sent)
            assert await there.found() is None


# --- reads with dynamic names ---------------------------------------------------------------------


def between_the_reads(process: Process, act: Callable[[], Awaitable[object]]) -> None:
    """Let something happen between the two MGETs of a read whose names were not hinted."""
    mgets = InsideRedis(process.tier).mgets
    ask, rounds = mgets.ask, 0

    async def ask_and_act(keys: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            await act()
        return await ask(keys)

    mgets.ask = ask_and_act  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("name", "found"), [(TYPE, None), (TAG, None), (key_name(OTHER), b"value")]
)
async def test_a_second_read_counts_only_at_the_moment_of_the_first(
    pair: tuple[Process, Process], name: str, found: bytes | None
) -> None:
    """Without `e` in it, a static name that was invalidated in between goes unseen."""
    here, there = pair
    assert await here.store(names=(TAG,))
    between_the_reads(there, lambda: here.tier.invalidate([name]))
    assert await there.found() == found


async def test_what_both_reads_bring_together_is_of_one_moment(
    pair: tuple[Process, Process],
) -> None:
    """Else half of what goes at once would still be found."""
    here, there = pair
    assert await here.store(KEY)
    assert await here.store(OTHER, names=(TAG,))
    between_the_reads(there, lambda: here.tier.invalidate([key_name(KEY), TAG]))
    assert [type(each) for each in await there.tier.read([KEY, OTHER])] == [Missing, Missing]


async def test_what_a_second_read_has_completed_is_of_the_first_one_s_number(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    assert await here.store(names=(TAG,))
    (found,) = await there.tier.read([KEY])
    assert isinstance(found, Found)
    assert found.seq == 0
    await here.tier.invalidate([TAG])
    assert await there.found() is None


async def test_a_late_name_that_was_invalidated_during_the_load_voids_its_fill(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    lease = await here.lease()
    await there.tier.invalidate([TAG])
    (filled,) = await here.tier.fill([lease], [here.entry(names=(TAG,))])
    assert not filled.accepted
