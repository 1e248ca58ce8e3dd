"""Whatever lies under a key of ours in Redis: an entry of that very key, or a counted miss."""

import random
from collections.abc import AsyncIterator

import pytest

from cascada.codecs.envelope import STAMPS_AT
from cascada.model.keys import Key
from cascada.model.names import key_name, tag_name
from cascada.testing.inside import InsideRedis
from cascada.tiers.contract import Found, Lease, Missing, Why
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, OTHER, Process, processes

TAG = tag_name("acme", "news")


@pytest.fixture
async def process(redis_server: RedisServer) -> AsyncIterator[Process]:
    redis_server.flush()
    here = Process(redis_server.url)
    async with processes(here):
        yield here


async def blob_of(process: Process, key: Key) -> bytes:
    blob: bytes = await InsideRedis(process.tier).link.send(b"GET", process.tier.layout.entry(key))
    return blob


async def put(process: Process, key: Key, blob: bytes) -> None:
    await InsideRedis(process.tier).link.send(b"SET", process.tier.layout.entry(key), blob)


def with_stamps_of(blob: bytes, other: bytes) -> bytes:
    """The bytes of one entry with the stamps of another, which has as many."""
    end = STAMPS_AT + 8 * int.from_bytes(blob[46:48], "little")
    return blob[:STAMPS_AT] + other[STAMPS_AT:end] + blob[end:]


async def is_replaced(process: Process, key: Key, *, met: int) -> None:
    """It is missing and counted, a script does not hand it out, and the next load replaces it."""
    before = process.tier.corrupt
    (missing,) = await process.tier.read([key])
    assert isinstance(missing, Missing)
    assert missing.why is Why.CORRUPT
    assert process.tier.corrupt == before + 1
    assert await process.tier.holding(key) is None
    for seen in (None, missing):
        (lease,) = await process.tier.lease([key], [seen])
        assert isinstance(lease, Lease), seen
        await process.tier.fill([lease], [None])
    assert process.tier.corrupt == before + 1 + met
    assert await process.store(key, b"good")
    assert await process.found(key) == b"good"


@pytest.mark.parametrize(
    "key",
    [OTHER, KEY._replace(tenant="evil"), KEY._replace(data_type="other")],
    ids=["key", "tenant", "type"],
)
async def test_a_copy_under_another_key_is_none_of_its_entries(process: Process, key: Key) -> None:
    assert await process.store(KEY, b"secret")
    assert await process.store(key, b"own")
    await put(
        process, key, with_stamps_of(await blob_of(process, KEY), await blob_of(process, key))
    )
    await is_replaced(process, key, met=1)
    assert await process.found(KEY) == b"secret"


async def test_a_namespace_that_was_copied_whole_holds_nothing(
    process: Process, redis_server: RedisServer
) -> None:
    assert await process.store(KEY, b"secret", names=(TAG,))
    other = Process(redis_server.url, namespace="copy")
    send = InsideRedis(process.tier).link.send
    for key in await send(b"KEYS", b"test.*"):
        copied = key.replace(b"test.", b"copy.", 1)
        await send(b"RESTORE", copied, 0, await send(b"DUMP", key), b"REPLACE")
    async with processes(other):
        await is_replaced(other, KEY, met=1)
    assert await process.found(KEY) == b"secret"


JUNK = {
    "nothing": b"",
    "text": b"hello",
    "zeroes": bytes(200),
    "a header alone": b"\xca\xda\x01" + bytes(47),
    "counts that lie": b"\xca\xda\x01" + b"\xff" * 47,
}


@pytest.mark.parametrize("name", JUNK)
async def test_junk_is_a_counted_miss(process: Process, name: str) -> None:
    await put(process, KEY, JUNK[name])
    await is_replaced(process, KEY, met=0)


async def test_what_is_no_string_is_missing_and_is_replaced(process: Process) -> None:
    send, layout = InsideRedis(process.tier).link.send, process.tier.layout
    assert await process.store(KEY)
    for name in (layout.entry(KEY), layout.lease(KEY), layout.fill_keys(KEY.text.encode())[4]):
        await send(b"UNLINK", name)
        await send(b"RPUSH", name, b"a list")
    assert await process.found() is None
    assert await process.tier.holding(KEY) is None
    lease = await process.lease(force=True)
    (filled,) = await process.tier.fill([lease], [process.entry(b"good", version=7)])
    assert filled.accepted
    assert await process.found() == b"good"
    await send(b"UNLINK", layout.entry(KEY))
    await send(b"RPUSH", layout.entry(KEY), b"a list")
    told = await process.tier.invalidate([key_name(KEY)])
    assert told.keys == 0
    assert await send(b"EXISTS", layout.entry(KEY)) == 0


async def test_one_damaged_entry_of_a_batch_harms_no_other(process: Process) -> None:
    keys = [KEY._replace(resource_id=f"{number}") for number in range(100)]
    for key in keys[:7]:
        assert await process.store(key, names=(TAG,))
    good = await blob_of(process, keys[0])
    for key, junk in zip(keys[1:6], JUNK.values(), strict=True):
        await put(process, key, with_stamps_of(junk, good) if len(junk) > STAMPS_AT else junk)
    await InsideRedis(process.tier).link.send(b"UNLINK", process.tier.layout.entry(keys[6]))
    await InsideRedis(process.tier).link.send(
        b"HSET", process.tier.layout.entry(keys[6]), b"a", b"hash"
    )
    first, *others = await process.tier.lease(keys, [None] * 100)
    assert isinstance(first, Found)
    assert all(isinstance(each, Lease) for each in others)
    leases = [each for each in others if isinstance(each, Lease)]
    filled = await process.tier.fill(leases, [process.entry(b"good")] * 99)
    assert all(each.accepted for each in filled)
    assert (await process.tier.invalidate([key_name(key) for key in keys])).keys == 100


async def test_damage_of_any_kind_is_a_miss_and_nothing_else(process: Process) -> None:
    """Bits flipped, ends cut off or added, counts and lengths that lie, in what a server holds."""
    chance = random.Random(7)
    keys = [KEY._replace(resource_id=f"{number}") for number in range(400)]
    names = (TAG, tag_name("acme", "ñ" * 40))
    leases = [each for each in await process.tier.lease(keys, [None] * 400)]
    assert all(isinstance(each, Lease) for each in leases)
    await process.tier.fill(leases, [process.entry(b"value", names, version=3)] * 400)  # type: ignore[arg-type]
    damaged: list[Key] = []
    for key in keys:
        blob = bytearray(await blob_of(process, key))
        whole = bytes(blob)
        match chance.randrange(4):
            case 0:
                blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
            case 1:
                del blob[chance.randrange(len(blob)) :]
            case 2:  # its counts
                at = chance.choice([46, 47, 48, 49])
                blob[at] = chance.choice([0, 1, 3, 127, 255])
            case _:  # the length of its first name, or what follows
                end = STAMPS_AT + 8 * int.from_bytes(blob[46:48], "little")
                at = end + chance.randrange(2 * len(TAG))
                blob[at] = chance.randrange(256)
        if bytes(blob) != whole:
            damaged.append(key)
            await put(process, key, bytes(blob))
    answers = await process.tier.read(damaged)
    assert {each.why for each in answers if isinstance(each, Missing)} == {
        Why.CORRUPT,
        Why.INVALIDATED,
    }
    assert not [each for each in answers if isinstance(each, Found)]
    corrupt = [each for each in answers if isinstance(each, Missing) and each.why is Why.CORRUPT]
    assert process.tier.corrupt == len(corrupt)
    for seen in (answers, [None] * len(damaged)):
        granted = await process.tier.lease(damaged, seen)
        leases = [each for each in granted if isinstance(each, Lease)]
        assert len(leases) == len(damaged)
        await process.tier.fill(leases, [None] * len(leases))
    for key in damaged:
        await process.tier.holding(key)
    granted = await process.tier.lease(damaged, answers)
    filled = await process.tier.fill(granted, [process.entry(b"good")] * len(damaged))  # type: ignore[arg-type]
    assert all(each.accepted for each in filled)
    await process.tier.invalidate([TAG])
    assert [await process.found(key) for key in damaged[:3]] == [b"good"] * 3
