"""Redis from uvloop's event loop, which uvicorn takes wherever it is installed: its transports and
its loop have none of asyncio's private parts."""

import asyncio

import uvloop

from cascada import Cache
from tests.servers.redis import RedisServer


async def two_nodes(url: str) -> None:
    async with Cache(redis=url) as one, Cache(redis=url) as two:
        here, there = one.tenant("acme"), two.tenant("acme")
        assert await here.set("plan", "p1", {"n": 1})
        assert (await there.get("plan", "p1")).value == {"n": 1}
        assert (await there.get("plan", "p1")).tier == "l1"
        assert not (await here.invalidate("plan", "p1")).pending
        for _ in range(1000):
            if not await there.get("plan", "p1"):
                break  # it has heard of it
            await asyncio.sleep(0.005)
        assert not await there.get("plan", "p1")

        async def large() -> str:
            return "x" * 2_000_000

        loads = [node.load("plan", "p2", large) for node in (here, there) for _ in range(20)]
        assert {(await each).value for each in loads} == {await large()}


def test_a_cache_works_on_uvloop(redis_server: RedisServer) -> None:
    redis_server.flush()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(two_nodes(redis_server.url))
