"""Readers in four processes never see half of a cascade: all of its values are old, or none is."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cascada import Cache, Dependent, Limits, Policy
from tests.api.settled import settled
from tests.servers.redis import RedisServer

PROCESSES, CONVERSATIONS, CASCADES = 2, 40, 6

READER = """
import asyncio, sys
from cascada import Cache, Limits, Policy

async def main():
    url, l1_bytes, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    policies = {"note": Policy(ttl=600, varies_by=(), strict=True)}
    limits = Limits(l1_bytes=l1_bytes, op_timeout=5.0)
    async with Cache(redis=url, policies=policies, limits=limits) as cache:
        acme = cache.tenant("acme")
        ids = [f"n{number}" for number in range(count)]
        await acme.get_many("note", ids)
        await asyncio.sleep(0.3)  # until the push connection is up, too
        print("ready", flush=True)
        over = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
        reads = whole = half = 0
        complete = None  # a version of which all values were there: from now on all or none is
        while not over.done():
            seen = [hit.value for hit in await acme.get_many("note", ids) if hit]
            reads += 1
            if len(seen) == count and len(set(seen)) == 1:
                whole += 1
                complete = seen[0]
            else:
                half += complete in seen
            await asyncio.sleep(0)
        print(reads, whole, half, flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def readers(url: str, l1_bytes: int) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", READER, url, f"{l1_bytes}", f"{CONVERSATIONS}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert await child.stdout.readline() == b"ready\n"
        yield children
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()


@pytest.mark.parametrize("memory", ["without memory", "through memory, strictly"])
async def test_all_values_of_a_cascade_are_old_or_none_is(
    redis_server: RedisServer, memory: str
) -> None:
    redis_server.flush()
    strict = memory != "without memory"
    conversations = [f"c{number}" for number in range(CONVERSATIONS)]
    cache = Cache(
        redis=redis_server.url,
        policies={"note": Policy(ttl=600, varies_by=())},
        # Each note is reached by the name of its own conversation: one cascade, forty names.
        dependencies={"conversation": [Dependent(data_type="note", within="conversation")]},
        limits=Limits(op_timeout=5.0),
    )
    async with cache, readers(redis_server.url, 50 * 2**20 if strict else 1) as children:
        acme = cache.tenant("acme")
        for version in range(CASCADES):
            for number, conversation in enumerate(conversations):
                here = acme.within(conversation=conversation)
                assert await here.load("note", f"n{number}", lambda v=version: v)
            await settled()
            await asyncio.sleep(0.05)  # for the readers
            done = await acme.cascade("conversation", conversation=conversations, strict=strict)
            assert done.counts["note"] == CONVERSATIONS
        ended = await asyncio.gather(*(each.communicate(b"\n") for each in children))
    said = [out.split() for out, _ in ended]
    for reads, whole, half in said:
        assert int(half) == 0, f"{half.decode()} of {reads.decode()} reads saw half of a cascade"
        assert int(whole) > CASCADES, "a test that has read nothing shows nothing"
