"""Two processes on one Redis, ten callers in each, and batches of texts that overlap."""

import asyncio
import json
import subprocess
import sys
from collections import Counter

from tests.servers.redis import RedisServer

PROCESSES, CALLERS, BATCH, APART = 2, 10, 60, 15

PROGRAM = """
import asyncio, json, sys
from cascada import Cache, Embeddings, Limits

url, callers, batch, apart = sys.argv[1], *map(int, sys.argv[2:])

def vector(text):
    return [float(len(text)), float(text.split()[1]), 0.5]

async def main():
    asked = []

    async def provider(texts):
        asked.extend(texts)
        await asyncio.sleep(0.05)
        return [vector(text) for text in texts]

    async with Cache(redis=url, limits=Limits(op_timeout=10.0)) as cache:
        acme = cache.tenant("acme")
        await acme.get("embedding", "warm")
        await asyncio.sleep(0.3)  # until the push connection is up, too
        embeddings = Embeddings(provider, "m", max_batch=32)

        async def call(number):
            texts = [f"text {number * apart + each}" for each in range(batch)]
            vectors, metrics = await embeddings.of(acme, texts)
            assert vectors == [vector(text) for text in texts]
            assert metrics["cache_hits"] + metrics["cache_misses"] == batch

        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*map(call, range(callers)))
    print(json.dumps(asked), flush=True)

asyncio.run(main())
"""


async def test_no_text_is_embedded_twice(redis_server: RedisServer) -> None:
    redis_server.flush()
    given = (redis_server.url, f"{CALLERS}", f"{BATCH}", f"{APART}")
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, *given), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    done = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    asked = Counter(text for out, _ in done for text in json.loads(out))
    assert set(asked) == {f"text {number}" for number in range((CALLERS - 1) * APART + BATCH)}
    assert set(asked.values()) == {1}
