"""What tests of writing behind look at."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cascada import Cache
from cascada.engine.write_behind import WriteBehind
from cascada.model.keys import Key
from cascada.testing.inside import inside
from cascada.tiers.contract import Found
from cascada.tiers.redis.journal import RedisJournal
from cascada.tiers.redis.layout import Layout
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier


def key(number: object = 1) -> Key:
    return Key("acme", "doc", None, None, None, str(number))


def behind(cache: Cache) -> WriteBehind:
    found = inside(cache).stack.behind
    assert found is not None
    return found


def journal(cache: Cache) -> RedisJournal:
    found = behind(cache).journal
    assert isinstance(found, RedisJournal)
    return found


def layout(cache: Cache) -> Layout:
    tier = inside(cache).tiers["l2"]
    assert isinstance(tier, RedisTier)
    return tier.layout


async def is_written(cache: Cache) -> None:
    for _ in range(1000):
        if not (await behind(cache).backlog()).changes:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it is not written")


async def row(database: SqliteTier, number: object = 1) -> bytes | None:
    (found,) = await database.read([key(number)])
    return found.entry.data if isinstance(found, Found) else None


async def got(cache: Cache, number: object = 1) -> Any:
    hit = await cache.tenant("acme").get("doc", str(number))
    return hit.value if hit else None
