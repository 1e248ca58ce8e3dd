"""An answer made from hundreds of documents bears as many names as one may, and any one ends it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascada.model.names import MAX_NAMES, key_name, tag_name
from cascada.testing.inside import InsideRedis
from cascada.tiers.contract import Found, Lease, Missing, Why
from cascada.tiers.redis import reads as redis_reads
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, OTHER, Process, processes

NAMES = tuple(tag_name("acme", f"{number}") for number in range(MAX_NAMES))


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    redis_server.flush()
    here, there = Process(redis_server.url), Process(redis_server.url)
    async with processes(here, there):
        yield here, there


def commands(process: Process) -> list[Any]:
    """What the process sends from now on."""
    sent: list[Any] = []
    send = InsideRedis(process.tier).link.send

    def record(*command: Any, **options: Any) -> Any:
        sent.append(command[0])
        return send(*command, **options)

    InsideRedis(process.tier).link.send = record
    return sent


async def test_as_many_names_as_one_may_bear_cost_one_round_trip(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    assert await here.store(names=NAMES)
    assert await there.found() == b"value", "a second MGET brings what no hint told"
    sent = commands(there)
    (answer,) = await there.tier.read([KEY])
    assert isinstance(answer, Found)
    assert answer.entry.names == NAMES
    assert sent == [b"MGET"]


@pytest.mark.parametrize("number", [0, 511, MAX_NAMES - 1])
async def test_any_single_one_of_them_ends_it(pair: tuple[Process, Process], number: int) -> None:
    here, there = pair
    assert await here.store(names=NAMES)
    assert await there.found() == b"value"
    told = await there.tier.invalidate([NAMES[number]])
    assert told.keys == 1
    for process in pair:
        (answer,) = await process.tier.read([KEY])
        assert isinstance(answer, Missing)
        assert (answer.why, answer.by) == (Why.INVALIDATED, NAMES[number])


async def test_a_script_tells_that_one_of_them_has_ended_it(pair: tuple[Process, Process]) -> None:
    here, there = pair
    missed = await there.tier.read([KEY])
    assert await here.store(names=NAMES)
    (found,) = await there.tier.lease([KEY], missed)
    assert isinstance(found, Found)
    assert (await there.tier.invalidate([key_name(KEY)])).keys == 1
    assert await here.store(names=NAMES)
    await there.tier.invalidate([NAMES[700]])
    (lease,) = await there.tier.lease([KEY], missed)
    assert isinstance(lease, Lease)


async def test_a_batch_of_them_is_sent_in_more_scripts(pair: tuple[Process, Process]) -> None:
    here, there = pair
    keys = [KEY._replace(resource_id=f"{number}") for number in range(5)]
    leases = await here.tier.lease(keys, [None] * 5)
    sent = commands(here)
    names: list[tuple[str, ...]] = [NAMES[:300], NAMES, (), NAMES[600:], NAMES[:400]]
    filled = await here.tier.fill(leases, [here.entry(names=each) for each in names])  # type: ignore[arg-type]
    assert all(each.accepted for each in filled)
    assert len(sent) == 3, "what holds the server up is the names"
    found = await there.tier.read(keys)
    assert [each.entry.names for each in found if isinstance(each, Found)] == names


async def test_the_names_that_are_remembered_for_all_keys_are_bounded(
    pair: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    monkeypatch.setattr(redis_reads, "HINTED_NAMES", MAX_NAMES + 10)
    for key in (KEY, OTHER, KEY):
        assert await here.store(key, names=NAMES[:1000])
        assert await there.found(key) == b"value"
    remembered = InsideRedis(there.tier)
    assert remembered.hinted_keys == [KEY]
    assert remembered.hinted_names == 1000
    assert remembered.planned_names <= 1000
    assert await there.found(OTHER) == b"value"
