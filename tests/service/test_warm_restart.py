"""Warm restart: what was hot before is in memory again, and nothing that was invalidated since."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cascada import BadInput, Cache, CacheService, Context, Limits, Policy
from cascada.codecs.values import ValueCodec
from cascada.engine import warm_restart
from cascada.model.entry import UNSET
from cascada.testing.inside import inside
from tests.service.restarts import MakeCache, hit, in_memory, started

KEYS = 1000


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
            for each, found in zip(ids, hits, strict=True):
                assert found.value == self.rows[each], "an old value"
                tiers[found.tier if found else None] += 1
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


class Row(msgspec.Struct):
    name: str


@pytest.mark.parametrize("shared", [False, True])
async def test_nothing_is_decoded_that_memory_does_not_keep_so(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """It would take most of the time, and for a large value stop the event loop."""
    policies = {"row": Policy(shared=shared, type=Row)}
    before = await started(make_cache(policies=policies))
    await before.tenant("acme").set("row", "1", Row("Ana"))
    assert await before.tenant("acme").get("row", "1")
    await before.aclose()
    decoded = list[bytes]()
    decode = ValueCodec.decode

    def counted(codec: ValueCodec, data: bytes, *args: Any, **named: Any) -> Any:
        decoded.append(data)
        return decode(codec, data, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(ValueCodec, "decode", counted)
        after = await started(make_cache(policies=policies))
    assert len(decoded) == shared
    (record,) = inside(after).engine.stack.memory.records
    assert (record.value is not UNSET) is shared
    assert (await after.tenant("acme").get("row", "1")).value == Row("Ana")


async def test_what_does_not_decode_any_more_is_a_miss(make_cache: MakeCache) -> None:
    """It comes to memory, and is found out there as it would be below."""
    before = make_cache()
    await hit(before, "acme", "1")
    await before.aclose()
    after = await started(make_cache(policies={"row": Policy(type=Row)}))
    assert after.warm_restart.found == 1
    row = await after.tenant("acme").load("row", "1", lambda: Row("Ana"))
    assert (row.value, row.tier) == (Row("Ana"), "source")


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
