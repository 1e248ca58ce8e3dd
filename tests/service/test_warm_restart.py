"""Warm restart: what was hot before is in memory again, and nothing that was invalidated since."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cascada import BadInput, Cache, CacheService, Context, Limits, Policy
from cascada.engine import warm_restart
from cascada.engine.usage import Usage
from cascada.testing.inside import inside
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

MakeCache = Callable[..., Cache]
KEYS = 1000


@pytest.fixture
async def make_cache(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[MakeCache]:
    """Caches over one Redis and one database, as one process after the other has them."""
    redis_server.flush()
    made: list[Cache] = []

    def make(warm: int | None = 10_000, **given: Any) -> Cache:
        limits = {"op_timeout": 10, "warm_restart": warm, **given.pop("limits", {})}
        where = {"redis": redis_server.url, "database": str(tmp_path / "c.db"), **given}
        made.append(Cache(**where, limits=Limits(**limits)))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


async def started(cache: Cache) -> Cache:
    """It has read what was noted."""
    await cache.tenant("acme").get("nothing", "0")
    await until(lambda: cache.warm_restart.finished)
    return cache


class Rows:
    """A source whose rows have versions, and readers of some more often than of others."""

    def __init__(self) -> None:
        self.rows = dict.fromkeys(map(str, range(KEYS)), 1)
        self.loads = 0
        self._random = Random(8)
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(KEYS)))

    async def load(self, ids: list[str]) -> dict[str, int]:
        self.loads += len(ids)
        return {each: self.rows[each] for each in ids}

    async def read(self, cache: Cache, reads: int) -> float:
        """The share of them that memory answered; none of them was old."""
        drawn = self._random.choices(list(self.rows), cum_weights=self._weights, k=reads)
        tiers: Counter[str | None] = Counter()
        for first in range(0, reads, 50):
            ids = list(dict.fromkeys(drawn[first : first + 50]))
            hits = await cache.tenant("acme").load_many("row", ids, self.load)
            for each, hit in zip(ids, hits, strict=True):
                assert hit.value == self.rows[each], "an old value"
                tiers[hit.tier if hit else None] += 1
        return tiers["l1"] / tiers.total()


async def test_a_restart_has_its_hit_ratio_again_and_nothing_old(make_cache: MakeCache) -> None:
    rows, before = Rows(), await started(make_cache())
    await rows.read(before, 3000)
    ratio = await rows.read(before, 1000)
    await before.aclose()
    again = await started(make_cache())
    assert again.warm_restart.found == again.warm_restart.noted > 300
    loads, warm = rows.loads, await rows.read(again, 1000)
    assert warm >= 0.95 * ratio
    await again.aclose()
    # Half of the keys change while nobody runs who would hear of it.
    hottest = list(rows.rows)[: KEYS // 2]
    other = make_cache(None)
    for first in range(0, len(hottest), 500):
        part = hottest[first : first + 500]
        rows.rows.update(dict.fromkeys(part, 2))
        await other.tenant("acme").invalidate("row", part)
    await other.aclose()
    after = await started(make_cache())
    assert after.warm_restart.noted > 300
    assert after.warm_restart.found <= KEYS // 2
    assert rows.loads - loads < KEYS // 2, "nothing was loaded for it"
    await rows.read(after, 1000)
    cold = await started(make_cache(0))
    assert cold.warm_restart == (0, 0, 0, 0.0, True)
    assert await rows.read(cold, 1000) < 0.9 * ratio


async def hit(cache: Cache, tenant: str, *ids: str, data_type: str = "row") -> None:
    handle = (await started(cache)).tenant(tenant)
    await handle.set_many(data_type, {each: f"of {each}" for each in ids})
    for _ in range(2):
        assert all(await handle.get_many(data_type, ids))


async def in_memory(cache: Cache, tenant: str, *ids: str) -> list[str]:
    await cache.tenant(tenant).get("nothing", "0")  # memory is up to date
    return [each for each in ids if cache.tenant(tenant).peek("row", each) is not None]


async def test_keys_come_back_as_they_are(make_cache: MakeCache) -> None:
    odd = ["ä/ö", "100%", "a:b", "*", "{x}", "\x07", "1"]
    before = make_cache()
    await hit(before, "a:cme", *odd)
    agent = before.tenant("a:cme", agent="x:1")
    await agent.set("row", "of agent", 1)
    await agent.get("row", "of agent")
    await before.aclose()
    after = await started(make_cache())
    assert await in_memory(after, "a:cme", *odd) == odd
    assert after.tenant("a:cme", agent="x:1").peek("row", "of agent") is not None
    assert after.warm_restart.noted == len(odd) + 1


async def test_long_keys_are_not_noted(make_cache: MakeCache) -> None:
    before = make_cache()
    await hit(before, "acme", "k" * 1000)
    await before.aclose()
    assert (await started(make_cache())).warm_restart.noted == 0


async def test_what_was_hit_goes_before_what_was_not(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_restart, "FIRST", 1000)  # it notes at its end, and not before the hits
    before = await started(make_cache(3))
    for number in range(20):
        await before.tenant("acme").set("row", str(number), number)
    for each in ("7", "12", "19"):
        while (await before.tenant("acme").get("row", each)).tier != "l1":
            pass  # memory had to ask whether it is up to date
    await before.aclose()
    after = await started(make_cache(3))
    assert await in_memory(after, "acme", *map(str, range(20))) == ["7", "12", "19"]


async def test_what_is_in_memory_no_more_leaves_the_list(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_restart, "FIRST", 0.005)
    monkeypatch.setattr(warm_restart, "EACH", 0.005)
    cache = await started(make_cache())
    store = inside(cache).engine.restart.store
    assert store is not None

    async def noted() -> list[str]:
        found = await Usage(warm_restart.LIST).most_of_all(store, 99)
        return sorted(key for _, key in found)

    async def becomes(wanted: list[str]) -> None:
        for _ in range(1000):
            if await noted() == wanted:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(await noted())

    await hit(cache, "acme", "1", "2")
    await becomes(["row:1", "row:2"])
    await cache.tenant("acme").invalidate("row", "1")
    await becomes(["row:2"])


async def test_a_large_tenant_keeps_no_small_one_out(make_cache: MakeCache) -> None:
    before = make_cache(10)
    await hit(before, "large", *map(str, range(100)))
    await hit(before, "small", "1", "2")
    await before.aclose()
    after = await started(make_cache(10))
    assert after.warm_restart.noted == 10
    assert await in_memory(after, "small", "1", "2") == ["1", "2"]


async def test_a_tenant_can_be_forgotten(make_cache: MakeCache) -> None:
    before = make_cache()
    await hit(before, "acme", "secret")
    await hit(before, "umbrella", "1")
    await before.aclose()
    off = make_cache(None)
    assert (await off.forget("acme")).complete
    await off.aclose()
    after = await started(make_cache())
    assert after.warm_restart.noted == 1
    assert await in_memory(after, "umbrella", "1") == ["1"]


async def test_what_another_hand_has_written_is_passed_over(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cascada")
    before = make_cache()
    await hit(before, "acme", "1")
    store = inside(before).engine.restart.store
    assert store is not None
    odd = [("", "row:1", 9), ("acme", "", 9), ("acme", "::", 9), ("acme", "row:%ZZ", -9),
           ("acme", "row:agent:x", 9), ("acme", "x:y:z:1", 9)]  # fmt: skip
    for item in (b"", b"\xc1", b"\x00" * 2**17, msgspec.msgpack.encode(odd)):
        await store.push(warm_restart.LIST, item, left=False)
    await before.aclose()
    after = await started(make_cache())
    assert await in_memory(after, "acme", "1") == ["1"]
    assert not [each for each in caplog.records if each.levelno > logging.INFO]
    assert "keys that were hot before, 1 are in memory again" in caplog.text


async def test_a_long_list_is_read_as_far_as_it_is_wanted(make_cache: MakeCache) -> None:
    before = make_cache(None)
    await hit(before, "acme", *map(str, range(50)))
    store = inside(before).engine.restart.store
    assert store is not None
    long = Usage(warm_restart.LIST, 40_000, 9)
    for first in range(5):
        part = {("acme", f"row:{number}"): 1 for number in range(first, 200_000, 5)}
        await long.add(store, {**part, ("acme", f"row:{first}"): 9})
    await before.aclose()
    after = await started(make_cache(100))
    assert after.warm_restart.noted == after.warm_restart.read == 100
    assert await in_memory(after, "acme", *"01234") == [*"01234"]


async def test_memory_takes_no_more_than_it_has_room_for(make_cache: MakeCache) -> None:
    before = await started(make_cache())
    handle = before.tenant("acme")
    for number in range(40):
        await handle.set("row", str(number), Random(number).randbytes(50_000))
        await handle.get("row", str(number))
    await before.aclose()
    after = await started(make_cache(limits={"l1_bytes": 500_000}))
    progress, memory = after.warm_restart, (await after.stats()).tiers["l1"]
    assert progress.found <= 10 < progress.noted
    assert memory.evictions <= 2
    assert progress.read < progress.noted
    assert progress.finished


async def test_a_start_without_redis_is_not_held_up(
    make_cache: MakeCache, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is noted lies in the database, and is read again when Redis is back, though empty."""
    monkeypatch.setattr(warm_restart, "AGAIN", 0.01)
    before = make_cache(redis=server.url)
    await hit(before, "acme", "1", "2", "3")
    await before.aclose()
    with server.down():
        after = make_cache(redis=server.url, limits={"op_timeout": 0.5})
        assert await after.tenant("acme").get("row", "1")
        await until(lambda: after.warm_restart.noted == 3)
        assert not after.warm_restart.finished
    await until(lambda: after.warm_restart.finished)
    assert after.warm_restart.found == 3  # the feed that begins anew may empty memory after that


async def test_a_list_that_cannot_be_read_is_asked_for_again(
    make_cache: MakeCache, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Redis alone, which is away at the start."""
    monkeypatch.setattr(warm_restart, "AGAIN", 0.02)
    before = make_cache(redis=server.url, database=None)
    await hit(before, "acme", "1")
    await before.aclose()
    server.signal(signal.SIGSTOP)
    after = make_cache(redis=server.url, database=None, limits={"op_timeout": 0.2})
    assert await after.tenant("acme").get("row", "2") is not None
    assert after.warm_restart == (0, 0, 0, 0.0, False)
    server.signal(signal.SIGCONT)
    await until(lambda: after.warm_restart.finished)
    assert after.warm_restart.noted == 1


async def test_two_that_start_at_once(make_cache: MakeCache) -> None:
    before = make_cache()
    await hit(before, "acme", *map(str, range(200)))
    await before.aclose()
    pair = await asyncio.gather(*(started(make_cache()) for _ in range(2)))
    assert [each.warm_restart.found for each in pair] == [200, 200]


async def test_who_closes_meanwhile_leaves_what_is_noted(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no task, nor a list of the few keys that it has read so far."""
    before = make_cache()
    await hit(before, "acme", *map(str, range(100)))
    await before.aclose()
    read, met = warm_restart.Lookup.run, asyncio.Event()

    async def hanging(lookup: warm_restart.Lookup) -> Any:
        if after.warm_restart.read > 5:
            met.set()
            await asyncio.Event().wait()
        return await read(lookup)

    after = make_cache()
    with monkeypatch.context() as patched:
        patched.setattr(warm_restart.Lookup, "run", hanging)
        handle = after.tenant("acme")
        await inside(after).engine.life.ready()
        await asyncio.wait_for(met.wait(), 10)
        assert 5 < after.warm_restart.read < 100
        assert not after.warm_restart.finished
        assert handle.peek("row", "99") is None
        await after.aclose()
    last = await started(make_cache())
    assert last.warm_restart.found == 100


async def test_it_is_noted_again_and_again(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed has noted most of it; and the list stays short."""
    monkeypatch.setattr(warm_restart, "FIRST", 0.02)
    monkeypatch.setattr(warm_restart, "EACH", 0.02)
    monkeypatch.setattr(warm_restart, "HERE", 0)  # by a thread, as of many
    cache = await started(make_cache())
    store = inside(cache).engine.restart.store
    assert store is not None
    seen: set[int] = set()

    async def goes_on() -> bool:
        await hit(cache, "acme", "1", "2")
        seen.add(await store.length(warm_restart.LIST))
        return len(seen) >= 4

    for _ in range(500):
        if await goes_on():
            break
        await asyncio.sleep(0.01)
    assert max(seen) <= warm_restart.MOST_ITEMS + 1
    other = await started(make_cache())
    assert other.warm_restart.found == 2, "though the first one has not ended"


@pytest.mark.parametrize("how", [
    {"mode": "off"}, {"mode": "observe"}, {"read_strategy": "READ_AROUND"},
    {"redis": None, "database": None},
])  # fmt: skip
async def test_where_nothing_could_come_back(make_cache: MakeCache, how: dict[str, Any]) -> None:
    cache = make_cache(**how)
    await cache.tenant("acme").get("row", "1")
    assert cache.warm_restart.finished
    assert inside(cache).engine.restart.is_on is False


async def test_the_keys_of_a_service_come_back(make_cache: MakeCache) -> None:
    with Context(tenant_id="acme"):
        before = CacheService(cache=await started(make_cache()))
        await before.set("campaign:1", {"name": "Spring"})
        await before.get("campaign:1")
        await before.cache.aclose()
        after = CacheService(cache=await started(make_cache()))
        assert after.cache.warm_restart.found == 1
        assert await after.get("campaign:1") == {"name": "Spring"}


@pytest.mark.parametrize("wrong", [-1, True, 1.5, "10", 50_001])
def test_no_other_numbers(wrong: Any) -> None:
    with pytest.raises(BadInput):
        Limits(warm_restart=wrong)


def test_sealed_values_come_back(tmp_path: Path) -> None:
    """Values are opened as by any reader; key texts are noted as they are, like all ids."""
    keys = "one:" + "QUJD" * 10 + "QUI="

    async def run() -> None:
        def make() -> Cache:
            limits = Limits(warm_restart=10, op_timeout=10)
            return Cache(
                database=str(tmp_path / "c.db"), limits=limits, encryption_keys=keys, encrypt="all",
                policies={"row": Policy(ttl=100)},
            )  # fmt: skip

        async with make() as before:
            await hit(before, "acme", "id-in-the-clear")
        async with make() as after:
            await started(after)
            assert await in_memory(after, "acme", "id-in-the-clear") == ["id-in-the-clear"]
            store = inside(after).engine.restart.store
            assert store is not None
            (item,) = await store.range(warm_restart.LIST, 0, -1)
            assert b"id-in-the-clear" in item

    asyncio.run(run())
