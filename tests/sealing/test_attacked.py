"""Whoever can write to the stores against what is sealed: misses that are counted, never an
exception, and never a value that was not there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path

import pytest

from cascada import Cache, Policy
from cascada.model.entry import Codec, Entry, Flag
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.testing.inside import inside
from cascada.tiers import sealing
from cascada.tiers.contract import Found
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.sealing import KeepsKeys, WrappedKeys
from tests.sealing.conftest import KEYS, Make, key_of
from tests.sealing.test_sealed import MARKER, arrives, corrupt
from tests.servers.redis import RedisServer


def stores(cache: Cache) -> list[GuardedTier]:
    return inside(cache).stack.lower


async def attacker(make: Make) -> tuple[Cache, Key]:
    """One who has no key, and writes what he likes by a cache of his own."""
    cache = make(encryption_keys=None, policies={})
    await cache.tenant("acme").get("other", "0")  # connected
    return cache, cache.tenant("acme").key("doc", "1")


async def read(cache: Cache, key: Key) -> Entry:
    (answer,) = await stores(cache)[-1].read([key])
    assert isinstance(answer, Found)
    return answer.entry


async def put(cache: Cache, key: Key, entry: Entry) -> None:
    """Into all stores, with a good checksum."""
    for tier in reversed(stores(cache)):
        leases = await tier.lease([key], [None], force=True)
        await tier.fill(leases, [entry])  # type: ignore[arg-type]  # forced: leases


def wrapped_keys(cache: Cache) -> WrappedKeys:
    tier = stores(cache)[-1].tier
    assert isinstance(tier, KeepsKeys)
    return tier.wrapped_keys


def changed(entry: Entry, data: bytes, codec: int | None = None, flags: int = 0) -> Entry:
    other = entry.lasting(entry.fresh_until, entry.expires)
    other.data, other.flags = data, entry.flags ^ flags
    other.codec = entry.codec if codec is None else codec
    return other


async def test_whatever_is_changed_is_a_counted_miss(make: Make) -> None:
    here = make()
    await here.tenant("acme").set("doc", "1", MARKER * 500)
    bad, key = await attacker(make)
    sealed = await read(bad, key)
    flags, data = int(Flag.ENCRYPTED), sealed.data
    tries = [
        *[changed(sealed, _flipped(data, bit)) for bit in range(0, 8 * len(data), 61)],
        *[changed(sealed, data[:size]) for size in (0, 1, 12, 13, 28, 29, len(data) - 1)],
        changed(sealed, data + b"\0"),
        changed(sealed, data * 2),
        changed(sealed, b"\x02" + data[1:]),
        *[changed(sealed, data, codec) for codec in Codec if codec != sealed.codec],
        changed(sealed, data, flags=int(Flag.COMPRESSED)),
        changed(sealed, data, flags=flags),
        changed(sealed, b"\xa1x", flags=flags),
        changed(sealed, b"\xa1x", flags=flags | int(Flag.COMPRESSED)),
    ]
    victim = make()
    before = corrupt(victim)
    for number, entry in enumerate(tries):
        await put(bad, key, entry)
        inside(victim).stack.memory.flush()
        answer = await victim.tenant("acme").get("doc", "1")
        assert answer.value is None, f"{number}: {answer}"
    assert corrupt(victim) - before >= len(tries) - 2, "one may be none of cascada's at all"

    async def load() -> str:
        return MARKER

    assert (await victim.tenant("acme").load("doc", "1", load)).value == MARKER
    await arrives(make, "1", MARKER)


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


async def test_what_a_seal_does_not_promise(make: Make) -> None:
    """Who can write may put back what was there, lengthen its life, say that there is nothing, and
    take it away (decision 0036): the seal says who has made a value, and not when."""
    here = make()
    await here.tenant("acme").set("doc", "1", "older")
    bad, key = await attacker(make)
    older = await read(bad, key)
    await here.tenant("acme").set("doc", "1", "newer")
    await put(bad, key, older.lasting(older.fresh_until + 1000, older.expires + 1000))
    assert (await make().tenant("acme").get("doc", "1")).value == "older"
    await put(bad, key, Entry(b"", Codec.NOTHING, int(Flag.ABSENT), older.created))
    absent = await make().tenant("acme").get("doc", "1")
    assert (absent.absent, absent.value) == (True, None)


async def test_wrapped_keys_that_are_changed_are_misses_and_told_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here = make()
    for tenant in ("acme", "globex"):
        await here.tenant(tenant).set("doc", "1", MARKER)
    keys = wrapped_keys(here)
    good, other = await keys.get("acme"), await keys.get("globex")
    assert good is not None
    assert other is not None
    tries = [
        other, b"", b"\0", b"\xff", b"\xff" * 300, good[:1], good[:14], good[:-1], good + b"\0",
        b"\x01z" + good[2:], b"\x01\xff" + good[2:],
        *[_flipped(good, bit) for bit in range(0, 8 * len(good), 37)],
    ]  # fmt: skip
    now = good
    for wrapped in tries:
        assert await keys.replace("acme", now, wrapped)
        now = wrapped
        victim = make()
        assert not await victim.tenant("acme").get("doc", "1")
        assert not await victim.tenant("acme").set("doc", "2", "lost"), "not even in the clear"
        assert corrupt(victim)
        assert (await victim.tenant("globex").get("doc", "1")).value == MARKER, "nobody else's"
    assert await keys.tenants() == ["acme", "globex"]
    told = [each.getMessage() for each in caplog.records if "encryption:" in each.getMessage()]
    assert len(told) == len(tries), "once in each process"
    assert key_of(1)[:20] not in caplog.text
    assert await keys.replace("acme", now, good)
    assert (await make().tenant("acme").get("doc", "1")).value == MARKER


async def test_an_operators_key_that_is_missing_is_told_and_its_values_wait(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    await make().tenant("acme").set("doc", "1", MARKER)
    lacking = make(encryption_keys=f"b:{key_of(2)}")
    t = lacking.tenant("acme")
    for _ in range(3):
        assert not await t.get("doc", "1")
    assert corrupt(lacking) >= 3

    async def load() -> str:
        return "loaded"

    assert (await t.load("doc", "1", load)).value == "loaded"
    assert not await t.set("doc", "1", "another")
    assert await lacking.tenant("globex").set("doc", "1", "by the new key")
    said = [each.getMessage() for each in caplog.records if "wrapped by 'a'" in each.getMessage()]
    assert len([each for each in said if each.startswith("encryption:")]) == 1
    assert any("does not take values of doc" in each for each in said)
    assert all("put that key back, behind the others" in each for each in said)
    assert (await make().tenant("acme").get("doc", "1")).value in (MARKER, None)


async def test_a_database_that_is_written_to_by_hand(tmp_path: Path) -> None:
    """Types and lengths that nobody expects there."""
    path = str(tmp_path / "cache.db")
    policies = {"doc": Policy(sensitive=True)}
    async with Cache(database=path, encryption_keys=KEYS, policies=policies) as cache:
        await cache.tenant("acme").set("doc", "1", MARKER)
    for odd in ("text", 7, 2.5, 10**15, b"", b"\x05a"):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE wrapped_keys SET wrapped = ?", (odd,))
        connection.close()
        async with Cache(database=path, encryption_keys=KEYS, policies=policies) as cache:
            assert not await cache.tenant("acme").get("doc", "1")
            assert not await cache.tenant("acme").set("doc", "1", MARKER)


async def test_a_redis_that_is_written_to_by_hand(redis_server: RedisServer) -> None:
    redis_server.flush()
    policies = {"doc": Policy(sensitive=True)}
    place = "cascada.0:{b0}:k:acme"
    for words in (("SET", place, ""), ("LPUSH", place, "x"), ("HSET", place, "a", "b")):
        redis_server.say("DEL", place)
        redis_server.say(*words)
        async with Cache(redis=redis_server.url, encryption_keys=KEYS, policies=policies) as cache:
            assert not await cache.tenant("acme").get("doc", "1")
            assert not await cache.tenant("acme").set("doc", "1", MARKER)
            assert await cache.tenant("acme").set("open", "1", "as ever")
            assert await cache.tenant("globex").set("doc", "1", MARKER)


# --- stores that come and go --------------------------------------------------------------------


async def test_a_store_that_was_emptied_costs_misses_alone(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Redis with the database there, and the other way round: with it go the keys."""
    redis_server.flush()
    policies = {"doc": Policy(sensitive=True)}

    def node(number: int) -> Cache:
        return Cache(
            redis=redis_server.url, database=str(tmp_path / f"{number}.db"), encryption_keys=KEYS,
            policies=policies,
        )  # fmt: skip

    async with node(1) as cache:
        await cache.tenant("acme").set("doc", "1", MARKER)
        redis_server.flush()
        async with node(1) as other:
            hit = await other.tenant("acme").get("doc", "1")
            assert (hit.value, hit.tier) == (MARKER, "l3")
        assert await cache.tenant("acme").set("doc", "2", MARKER)
    async with node(2) as anew:
        t = anew.tenant("acme")
        assert not await t.get("doc", "2")
        assert corrupt(anew) == 1, "what Redis has was sealed by a key that is gone"
        assert await t.set("doc", "2", "anew")
        async with node(2) as other:
            assert (await other.tenant("acme").get("doc", "2")).value == "anew"


async def test_processes_that_make_a_key_at_once_beside_one_that_still_has_an_old_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key was dropped (or its store emptied): the processes agree again within a look, and what
    one has sealed meanwhile by the old one is a miss that is counted."""
    monkeypatch.setattr(sealing, "LOOK_AGAIN", 0.0)
    old = make()
    await old.tenant("acme").set("doc", "0", MARKER)
    assert await wrapped_keys(old).drop("acme")
    fresh = [make() for _ in range(3)]
    said = await asyncio.gather(
        old.tenant("acme").set("doc", "old", MARKER),
        *[each.tenant("acme").set("doc", f"{n}", f"{n}") for n, each in enumerate(fresh)],
    )
    assert all(said)
    reader = make()
    values = [(await reader.tenant("acme").get("doc", f"{n}")).value for n in range(3)]
    assert values == ["0", "1", "2"]
    lost = await reader.tenant("acme").get("doc", "old")
    assert lost.value is None
    assert corrupt(reader) == len(stores(reader))
    inside(old).stack.memory.flush()
    assert (await old.tenant("acme").get("doc", "2")).value == "2", "it has looked again"
    assert await old.tenant("acme").set("doc", "old", MARKER)
    assert (await make().tenant("acme").get("doc", "old")).value == MARKER


async def test_without_the_tier_of_the_keys_nothing_is_stored_nor_lost(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is away when a process starts: what is sealed cannot be read, and what is not
    sensitive is as ever, in the same batch, too."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "cache.db"
    policies = {"doc": Policy(sensitive=True)}

    def node() -> Cache:
        return Cache(redis=server.url, database=str(path), encryption_keys=KEYS, policies=policies)

    async with node() as cache:
        assert await cache.tenant("acme").set("doc", "1", MARKER)
        assert await cache.tenant("acme").set("open", "1", "shown")
    path.rename(tmp_path / "kept.db")
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"cache.db{suffix}").unlink(missing_ok=True)
    path.mkdir()  # no database can be opened there
    async with node() as cache:
        t = cache.tenant("acme")
        sealed, shown = await asyncio.gather(t.get("doc", "1"), t.get("open", "1"))
        assert (sealed.value, shown.value) == (None, "shown")
        both = await stores(cache)[0].read([t.key("doc", "1"), t.key("open", "1")])
        assert [isinstance(each, Found) for each in both] == [False, True]
        assert not await t.set("doc", "2", MARKER)

        async def load() -> str:
            return "loaded"

        assert (await t.load("doc", "1", load)).value == "loaded"
        assert corrupt(cache) == 0, "it is not damaged"
    path.rmdir()
    (tmp_path / "kept.db").rename(path)
    async with node() as cache:
        assert (await cache.tenant("acme").get("doc", "1")).value in (MARKER, None)
        assert await cache.tenant("acme").set("doc", "1", MARKER)
    assert MARKER not in caplog.text


async def test_what_cannot_be_opened_just_now_is_not_replaced(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else of two who add a value both would have stored theirs."""
    first, second = make(), make()
    assert await first.tenant("acme").add("doc", "1", "first")
    assert not await second.tenant("acme").get("other", "0")

    async def away(tenant: str) -> bytes | None:
        raise TierUnavailable("the keys are away")

    monkeypatch.setattr(wrapped_keys(second), "get", away)
    key = second.tenant("acme").key("doc", "1")
    for tier in stores(second):
        if tier.name == "l2":  # which answers with what it has; a database looks when it is filled
            with pytest.raises(TierUnavailable):
                await tier.lease([key], [None])
    with contextlib.suppress(TierUnavailable):
        assert not await second.tenant("acme").add("doc", "1", "second")
    monkeypatch.undo()
    assert (await make().tenant("acme").get("doc", "1")).value == "first"
