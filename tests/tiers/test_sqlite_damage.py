"""Whatever lies in a row of ours: an entry of that very key, or a counted miss."""

import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada.codecs.envelope import STAMPS_AT
from cascada.model.keys import Key
from cascada.model.names import tag_name
from cascada.testing.inside import InsideSqlite
from cascada.tiers.contract import Found, Lease, Missing, Why
from cascada.tiers.sqlite.tier import SqliteTier
from tests.tiers.sqlite_world import World, entry, key, load, look

TAG = tag_name("acme", "news")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "cache.db")
    yield made
    await made.close()


async def is_replaced(tier: SqliteTier, wanted: Key) -> None:
    assert await look(tier, wanted) == Why.CORRUPT
    assert await tier.holding(wanted) is None
    await tier.upkeep()
    assert await look(tier, wanted) == Why.ABSENT
    assert (await load(tier, wanted, entry(b"good"))).accepted
    assert await look(tier, wanted) == b"good"


@pytest.mark.parametrize(
    "other",
    [key("2"), key(tenant="evil"), key(data_type="other"), key(agent="a")],
    ids=["key", "tenant", "type", "context"],
)
async def test_a_copy_under_another_key_is_none_of_its_entries(world: World, other: Key) -> None:
    tier = world.tier()
    await load(tier, key(), entry(b"secret"))
    await load(tier, other, entry(b"own"))
    world.sql(
        "UPDATE entries SET envelope = (SELECT envelope FROM entries WHERE key = ?) WHERE key = ?",
        *(key().text, other.text),
    )
    await is_replaced(tier, other)
    assert await look(tier, key()) == b"secret"


async def test_a_namespace_that_was_copied_whole_holds_nothing(world: World) -> None:
    tier = world.tier()
    await load(tier, key(), entry(b"secret", names=(TAG,)))
    world.sql("UPDATE tenants SET namespace = 'copy'")
    await is_replaced(world.tier(namespace="copy"), key())


@pytest.mark.parametrize(
    ("column", "value"),
    [(column, value) for column in ("envelope", "expires", "q") for value in ("text", b"", b"b")]
    + [("envelope", 7), ("q", 7)],
)
async def test_a_column_of_another_type_is_a_miss(world: World, column: str, value: object) -> None:
    tier = world.tier()
    for number in range(3):
        await load(tier, key(number), entry())
    world.sql(f"UPDATE entries SET {column} = ? WHERE key LIKE '%:1'", value)
    first, damaged, last = await tier.read([key(number) for number in range(3)])
    assert isinstance(first, Found)
    assert isinstance(damaged, Missing)
    assert isinstance(last, Found)
    await tier.holding(key(1))
    await tier.upkeep()
    assert (await load(tier, key(1), entry(b"good"))).accepted
    assert await look(tier, key(1)) == b"good"


async def test_damage_of_any_kind_is_a_miss_and_nothing_else(world: World) -> None:
    """Bits flipped, ends cut off or added, counts and lengths that lie."""
    chance = random.Random(7)
    tier = world.tier()
    InsideSqlite(tier).without_upkeep()
    keys = [key(number) for number in range(300)]
    sound = entry(b"value", names=(TAG, tag_name("acme", "ñ" * 40)), version=3)
    leases = [each for each in await tier.lease(keys, [None] * 300) if isinstance(each, Lease)]
    await tier.fill(leases, [sound] * 300)
    with contextlib.closing(sqlite3.connect(world.path)) as connection, connection:
        rows = connection.execute("SELECT id, envelope FROM entries").fetchall()
        connection.executemany(
            "UPDATE entries SET envelope = ? WHERE id = ?",
            [(damaged(chance, whole), row) for row, whole in rows],
        )
    answers = await tier.read(keys)
    assert [each.why for each in answers if isinstance(each, Missing)] == [Why.CORRUPT] * 300
    for each in keys:
        assert await tier.holding(each) is None
    granted = [each for each in await tier.lease(keys, answers) if isinstance(each, Lease)]
    filled = await tier.fill(granted, [sound] * 300)
    assert all(each.accepted for each in filled)
    await tier.upkeep()
    assert [await look(tier, each) for each in keys[:3]] == [b"value"] * 3
    assert (await tier.invalidate([TAG])).keys == 300
    world.check_sums()


def damaged(chance: random.Random, whole: bytes) -> bytes:
    blob = bytearray(whole)
    match chance.randrange(4):
        case 0:
            blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
        case 1:
            del blob[chance.randrange(len(blob)) :]
        case 2:  # its counts
            blob[chance.choice([46, 47, 48, 49])] = chance.choice([1, 3, 127, 255])
        case _:  # the length of its first name, or what follows
            blob[STAMPS_AT + chance.randrange(2 * len(TAG))] ^= 1 + chance.randrange(255)
    return bytes(blob)
