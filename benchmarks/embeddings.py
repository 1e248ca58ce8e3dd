"""A batch of 1000 embeddings, 800 of them cached.

The vectors are 1536 float32. The provider answers at once, with lists, as one over HTTP does. BASE
is the least that a cache in Redis can be, by hand on redis-py: one MGET of raw numbers, arrays over
what it brings, one pipelined write of what was missing; it keeps nothing coherent. Cascada begins
each run as a new process does, connected and with nothing in memory; its callers have their vectors
before the missing ones are stored, so the time until they are is a row of its own. Peers that are
not installed are left out: pip install langchain-classic langchain-community redisvl
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import math
import random
import statistics
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from _caches import cache_of
from _rows import Row, ns, script
from _servers import RawClient, redis_server
from redis.asyncio import Redis

from cascada import Cache, Embeddings
from cascada.testing.inside import inside

NUMBERS, DAY, MODEL = 1536, 86_400, "text-embedding-3-small"
CACHED, MISSING = 800, 200
BASE = "BASE: redis-py by hand, arrays"
ARRAYS, LISTS, STORED = "cascada, arrays", "cascada, lists", "cascada, arrays, until stored"
SLOW = 3
"""Rounds of a peer that takes many times as long."""

_floats = struct.Struct(f"{NUMBERS}f")


@dataclass
class Contender:
    """`embed` is what is timed; `begin` comes before it, `end` after it. `database` is Redis'."""

    name: str
    embed: Callable[[list[str]], Awaitable[Any]]
    begin: Callable[[], Awaitable[None]] | None = None
    end: Callable[[], Awaitable[None]] | None = None
    database: int | None = None
    slow: bool = False


class Provider:
    """Answers at once, in lists."""

    def __init__(self) -> None:
        chance = random.Random(1)
        self._vectors = [_vector(chance) for _ in range(100)]

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._vectors[hash(text) % 100] for text in texts]

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return self.embed_documents(texts)


def _vector(chance: random.Random) -> list[float]:
    """Of length 1, and exact in 32 bits."""
    numbers = [chance.gauss(0, 1) for _ in range(NUMBERS)]
    length = math.sqrt(sum(number * number for number in numbers))
    return list(_floats.unpack(_floats.pack(*(number / length for number in numbers))))


class Texts:
    """Chunks of documents, of 500 characters: the same cached ones, ever new missing ones."""

    def __init__(self) -> None:
        self._made = 0
        self.cached = self._new(CACHED)

    def batch(self) -> list[str]:
        texts = [*self.cached, *self._new(MISSING)]
        random.Random(self._made).shuffle(texts)
        return texts

    def _new(self, count: int) -> list[str]:
        first, self._made = self._made, self._made + count
        words = "the quick brown fox jumps over the lazy dog. " * 11
        return [f"{number} {words}" for number in range(first, self._made)]


def by_hand(client: Redis, provider: Provider) -> Contender:
    async def embed(texts: list[str]) -> list[Any]:
        keys = [f"{MODEL}:{blake2b(text.encode(), digest_size=16).hexdigest()}" for text in texts]
        blobs: list[Any] = await client.mget(keys)
        missing = [index for index, blob in enumerate(blobs) if blob is None]
        vectors = await provider.embed([texts[index] for index in missing])
        pipeline = client.pipeline(transaction=False)
        for index, vector in zip(missing, vectors, strict=True):
            blobs[index] = _floats.pack(*vector)
            pipeline.set(keys[index], blobs[index], ex=DAY)
        await pipeline.execute()
        return [np.frombuffer(blob, "<f4") for blob in blobs]

    return Contender(BASE, embed, database=0)


def of_cascada(name: str, url: str, provider: Provider, *, as_array: bool) -> Contender:
    embeddings = Embeddings(provider, MODEL)
    cache = Cache()

    async def begin() -> None:
        nonlocal cache
        cache = cache_of(redis=url)
        await cache.tenant("acme").get("embedding", "none")

    async def stored() -> None:
        while finishing := inside(cache).finishing:
            await asyncio.wait(finishing)

    async def end() -> None:
        await stored()
        await cache.aclose()

    async def embed(texts: list[str]) -> None:
        _, metrics = await embeddings.of(cache.tenant("acme"), texts, as_array=as_array)
        assert metrics["cache_misses"] in (MISSING, CACHED), "the first to come fills it"
        if name == STORED:
            await stored()

    return Contender(name, embed, begin, end, database=1)


def of_langchain(port: int, provider: Provider) -> list[Contender]:
    """Its async methods run the plain ones in a thread."""
    cached: Any = importlib.import_module("langchain_classic.embeddings").CacheBackedEmbeddings
    stores: Any = importlib.import_module("langchain_core.stores")
    redis_store: Any = importlib.import_module("langchain_community.storage").RedisStore
    base: Any = importlib.import_module("langchain_core.embeddings").Embeddings

    class Provided(base):  # type: ignore[misc]
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return provider.embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            return provider.embed_documents([text])[0]

    def contender(name: str, store: Any, database: int | None) -> Contender:
        embeddings = cached.from_bytes_store(
            Provided(), store, namespace=MODEL, key_encoder="blake2b"
        )
        return Contender(name, embeddings.aembed_documents, database=database, slow=True)

    url = f"redis://127.0.0.1:{port}/2"
    return [
        contender("LangChain, InMemoryByteStore", stores.InMemoryByteStore(), None),
        contender("LangChain, RedisStore", redis_store(redis_url=url, ttl=DAY), 2),
    ]


def of_redisvl(port: int, provider: Provider) -> list[Contender]:
    module: Any = importlib.import_module("redisvl.extensions.cache.embeddings")
    one, many = (
        module.EmbeddingsCache(name=MODEL, redis_url=f"redis://127.0.0.1:{port}/{database}")
        for database in (3, 4)
    )

    async def one_by_one(texts: list[str]) -> list[Any]:
        found = [await one.aget(text, MODEL) for text in texts]
        vectors = [None if each is None else each["embedding"] for each in found]
        missing = [index for index, vector in enumerate(vectors) if vector is None]
        made = await provider.embed([texts[index] for index in missing])
        for index, vector in zip(missing, made, strict=True):
            await one.aset(texts[index], MODEL, vector)
            vectors[index] = vector
        return vectors

    async def together(texts: list[str]) -> list[Any]:
        found = await many.amget(texts, MODEL)
        vectors = [None if each is None else each["embedding"] for each in found]
        missing = [index for index, vector in enumerate(vectors) if vector is None]
        made = await provider.embed([texts[index] for index in missing])
        await many.amset(
            [
                {"content": texts[index], "model_name": MODEL, "embedding": vector}
                for index, vector in zip(missing, made, strict=True)
            ]
        )
        for index, vector in zip(missing, made, strict=True):
            vectors[index] = vector
        return vectors

    async def end() -> None:
        await one.adisconnect()
        await many.adisconnect()

    return [
        Contender("RedisVL, aget and aset", one_by_one, database=3, slow=True),
        Contender("RedisVL, amget and amset", together, end=end, database=4, slow=True),
    ]


def peers(port: int, provider: Provider) -> list[Contender]:
    found: list[Contender] = []
    for what, make in (
        ("langchain-classic langchain-community", of_langchain),
        ("redisvl", of_redisvl),
    ):
        try:
            found += make(port, provider)
        except ImportError:
            print(f"not installed: pip install {what}")
    return found


async def run(contender: Contender, texts: list[str]) -> float:
    """Seconds of one batch."""
    if contender.begin is not None:
        await contender.begin()
    gc.collect()
    gc.disable()
    started = time.perf_counter()
    await contender.embed(texts)
    spent = time.perf_counter() - started
    gc.enable()
    if contender.end is not None:
        await contender.end()
    return spent


async def filled(raw: RawClient, contender: Contender, texts: Texts) -> float | None:
    """Fill its cache with what is to be cached; bytes of Redis for each vector."""

    async def used() -> int:
        info = await raw.send(b"INFO", b"memory")
        return int(info.split(b"used_memory:")[1].split(b"\r\n")[0])

    before = await used()
    await run(contender, texts.cached)
    return None if contender.database is None else (await used() - before) / CACHED


def over(mine: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(one / two for one, two in zip(mine, other, strict=False))


def rows_of(
    contenders: Sequence[Contender], seen: dict[str, list[float]], sizes: dict[int, float]
) -> list[Row]:
    rows = []
    for each in contenders:
        took = 1e9 * statistics.median(seen[each.name])
        rows.append(Row(each.name, over(seen[each.name], seen[BASE]), "x", "BASE", took=ns(took)))
        if each.database is not None and each.name != STORED:
            rows.append(Row(f"{each.name}: Redis, a vector", sizes[each.database], "B"))
    goals = [("as arrays", ARRAYS, BASE, 1.3), ("as lists", LISTS, BASE, 2.5)]
    goals += [(f"beside {e.name}", ARRAYS, e.name, 1 / 20) for e in contenders if e.slow]
    for what, mine, other, reach in goals:
        rows.append(Row(what, over(seen[mine], seen[other]), "x", other, reach))
    return rows


async def measure(quick: bool) -> list[Row]:
    rounds = 1 if quick else 15
    provider, texts = Provider(), Texts()
    with redis_server() as server:
        client, raw = Redis(port=server.port), await RawClient.connect(server.port)
        url = f"redis://127.0.0.1:{server.port}/1"
        contenders = [
            by_hand(client, provider),
            of_cascada(ARRAYS, url, provider, as_array=True),
            of_cascada(LISTS, url, provider, as_array=False),
            of_cascada(STORED, url, provider, as_array=True),
            *([] if quick else peers(server.port, provider)),
        ]
        sizes: dict[int, float] = {}
        for each in contenders:
            if each.database not in sizes and (size := await filled(raw, each, texts)) is not None:
                assert each.database is not None
                sizes[each.database] = size
        seen: dict[str, list[float]] = {each.name: [] for each in contenders}
        for turn in range(-1, rounds):
            for each in contenders:
                if each.slow and turn >= SLOW:
                    continue
                spent = await run(each, texts.batch())
                if turn >= 0:
                    seen[each.name].append(spent)
        await client.aclose()
        raw.close()
    return rows_of(contenders, seen, sizes)


if __name__ == "__main__":
    script("1000 embeddings, 800 of them cached", measure)
