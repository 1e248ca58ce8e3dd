"""What befalls the account of room in Redis between two steps of who keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from cascada.model.names import key_name
from cascada.testing.inside import InsideRedis
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes
from tests.tiers.test_redis_room import ENTRY, MB, account, flushed, load, named, put

__all__ = ["flushed"]


async def test_an_account_that_is_lost_in_the_middle_of_a_count_is_put_right(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that evicts any key may evict this one; what grew before is in no account then."""
    process = Process(redis_server.url, capacity_bytes=MB)
    async with processes(process):
        for number in range(400):
            await load(process, named(number))
        right = account(redis_server, process)
        inner, steps = InsideRedis(process.tier), 0
        ask = inner.link.ask

        async def ask_and_lose(*command: Any, **how: Any) -> Any:
            nonlocal steps
            answer = await ask(*command, **how)
            if (steps := steps + 1) == 1:
                redis_server.say("DEL", process.tier.layout.account.decode())
            return answer

        monkeypatch.setattr(inner.link, "ask", ask_and_lose)
        await inner.count()
        assert steps > 1
        assert right[0] <= account(redis_server, process)[0] <= right[0] + ENTRY


async def test_a_payload_whose_place_goes_before_it_comes_is_counted_all_the_same(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An equal one lay there, which needed no room, and is invalidated."""
    process = Process(redis_server.url, capacity_bytes=10 * MB)
    async with processes(process):
        await load(process, KEY)
        inner, key = InsideRedis(process.tier), named("large")
        reserve, asked = inner.room.reserve, 0

        async def reserve_and_invalidate(*of: Any) -> bool:
            nonlocal asked
            has_room = await reserve(*of)
            if (asked := asked + 1) == 1:
                await process.tier.invalidate([key_name(key)])
            return has_room

        await load(process, key, b"x" * MB)
        monkeypatch.setattr(inner.room, "reserve", reserve_and_invalidate)
        await put(process, key, b"x" * MB)
        assert account(redis_server, process)[0] > MB, "it lies there, whatever became of the set"
        await put(process, key, b"x" * MB)
        await process.tier.invalidate([key_name(key)])
        assert 0 < account(redis_server, process)[0] < 2 * ENTRY
