"""The connection that is kept up in the background ends when it is told to."""

import asyncio

from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.server import server_of
from cascada.tiers.redis_client.wire import Wire
from tests.servers.redis import RedisServer


async def test_a_link_that_is_cancelled_while_it_connects_ends(redis_server: RedisServer) -> None:
    """redis-py loses cancellations there; the cache would never finish closing."""

    async def greet(wire: Wire) -> None:
        await wire.send((b"PING",))

    for turns in range(60):
        running = asyncio.create_task(Link(server_of(redis_server.url), greet=greet).run())
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=5)
        if not done:
            running.cancel()  # the next one is not lost, so that the test itself can end
        assert done, f"cancelled after {turns} turns of the loop, it went on"
