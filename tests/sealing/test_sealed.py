"""Sensitive values: sealed wherever they leave the process, and whole to who may read them."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascada import Cache, Policy
from cascada.codecs.envelope import digest_of
from cascada.engine import rotation
from cascada.model.entry import Codec, Entry
from cascada.model.errors import BadInput, CorruptEntry
from cascada.testing.inside import inside
from tests.sealing.conftest import KEYS, Make, key_of
from tests.servers.redis import RedisServer

MARKER = "hush-4711"

VALUES = {
    "text": MARKER,
    "dict": {"secret": MARKER, "n": [1, 2.5, None]},
    "tuple": (MARKER, b"\0\1"),
    "floats": [0.5] * 100,
    "small": 0,
    "compressed": MARKER * 2000,
    "large": os.urandom(700_000).hex(),
}


def corrupt(cache: Cache) -> int:
    """How many entries it came upon that were damaged, or another's."""
    return sum(kind.corrupt for kind in inside(cache).stack.kinds.all())


async def arrives(make: Make, key: str, value: str) -> None:
    """A load answers before it has stored what it brought."""
    for _ in range(250):
        found = (await make().tenant("acme").get("doc", key)).value
        if found == value:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{key} is {found!r}, not {value!r}")


@pytest.mark.parametrize("name", VALUES)
async def test_a_value_comes_back_as_it_was(make: Make, name: str) -> None:
    here, there = make(), make()
    assert await here.tenant("acme").set("doc", name, VALUES[name])
    hit = await there.tenant("acme").get("doc", name)
    assert hit.value == VALUES[name]
    assert hit.tier != "l1"
    again = await there.tenant("acme").get("doc", name)
    assert (again.value, again.tier) == (VALUES[name], "l1")


async def test_all_ways_of_writing_meet(make: Make) -> None:
    one, other = make().tenant("acme"), make().tenant("acme")

    async def load() -> str:
        return MARKER

    assert (await one.load("doc", "1", load)).value == MARKER
    await arrives(make, "1", MARKER)
    assert (await other.load("doc", "1", load)).tier != "source"
    miss = await other.get("doc", "2")
    assert await other.fill(miss, MARKER)
    assert (await one.get("doc", "2")).value == MARKER
    assert await one.add("doc", "3", MARKER)
    assert not await other.add("doc", "3", "another")
    assert await other.touch("doc", "3", 500)
    assert (await one.get("doc", "3")).value == MARKER
    assert await one.set_many("doc", {"4": MARKER, "5": MARKER})
    assert [hit.value for hit in await other.get_many("doc", ["4", "5"])] == [MARKER, MARKER]
    assert await one.delete("doc", "4")
    assert not await make().tenant("acme").get("doc", "4")


async def test_equal_sets_that_cross_agree(make: Make) -> None:
    one, other = make().tenant("acme"), make().tenant("acme")
    said = await asyncio.gather(*[each.set("doc", "1", MARKER) for each in (one, other) * 4])
    assert any(said)
    assert (await make().tenant("acme").get("doc", "1")).value == MARKER


async def test_a_stale_value_is_replaced_by_a_fill(make: Make) -> None:
    here = make()
    t = here.tenant("acme")
    await t.set("doc", "1", "old", ttl=0.01)
    await asyncio.sleep(0.02)
    other = make().tenant("acme")
    miss = await other.get("doc", "1")
    assert miss.value is None or miss.stale

    async def load() -> str:
        return "new"

    await other.load("doc", "1", load)
    await arrives(make, "1", "new")


async def test_of_many_processes_one_makes_the_key(make: Make) -> None:
    caches = [make() for _ in range(4)]
    await asyncio.gather(
        *[c.tenant("acme").set("doc", f"{n}", f"{MARKER}{n}") for n, c in enumerate(caches)]
    )
    reader = make().tenant("acme")
    for n in range(4):
        assert (await reader.get("doc", f"{n}")).value == f"{MARKER}{n}"


async def test_a_plain_value_of_a_sensitive_type_is_a_counted_miss(make: Make) -> None:
    before = make(encryption_keys=None, policies={})
    await before.tenant("acme").set("doc", "1", "put there")
    here = make()
    assert not await here.tenant("acme").get("doc", "1")
    assert corrupt(here)

    async def load() -> str:
        return MARKER

    assert (await here.tenant("acme").load("doc", "1", load)).value == MARKER
    await arrives(make, "1", MARKER)


@pytest.mark.parametrize("keys", [f"a:{key_of(2)}", f"b:{key_of(1)}"])
async def test_with_a_wrong_key_it_is_a_miss(make: Make, keys: str) -> None:
    await make().tenant("acme").set("doc", "1", MARKER)
    stranger = make(encryption_keys=keys)
    assert not await stranger.tenant("acme").get("doc", "1")

    async def load() -> str:
        return "loaded"

    assert (await stranger.tenant("acme").load("doc", "1", load)).value == "loaded"
    assert (await make().tenant("acme").get("doc", "1")).value == MARKER, "nothing was harmed"


async def test_an_older_key_still_unwraps(make: Make) -> None:
    await make().tenant("acme").set("doc", "1", MARKER)
    rotated = make(encryption_keys=f"b:{key_of(2)},{KEYS}")
    assert (await rotated.tenant("acme").get("doc", "1")).value == MARKER


async def test_all_is_all(make: Make) -> None:
    here = make(encrypt="all", policies={})
    await here.tenant("acme").set("open", "1", MARKER)
    assert (
        not await make(policies={"open": Policy(sensitive=True)}, encryption_keys=f"z:{key_of(9)}")
        .tenant("acme")
        .get("open", "1")
    )
    assert (await make(encrypt="all").tenant("acme").get("open", "1")).value == MARKER


async def test_without_keys_it_is_refused(make: Make) -> None:
    with pytest.raises(BadInput, match="openssl rand -base64 32"):
        make(encryption_keys=None)
    with pytest.raises(BadInput, match='encrypt is "all"'):
        make(encryption_keys=None, policies={}, encrypt="all")
    later = make(encryption_keys=None, policies={})
    with pytest.raises(BadInput, match="doc is sensitive, which takes keys"):
        later.set_policy("doc", Policy(sensitive=True))
    assert Cache(policies={"doc": Policy(sensitive=True)}), "memory is this process"
    Cache().set_policy("doc", Policy(sensitive=True))


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a",
        "a:",
        f":{key_of(1)}",
        f"a:{key_of(1)},",
        f"a:{key_of(1)},a:{key_of(2)}",
        f"a:{key_of(1)[:-4]}",
        f"{'x' * 65}:{key_of(1)}",
    ],
)
def test_keys_that_are_none_are_refused_and_never_shown(given: str) -> None:
    with pytest.raises(BadInput) as refused:
        Cache(encryption_keys=given)
    assert key_of(1)[:20] not in str(refused.value)


# --- where it lies ------------------------------------------------------------------------------


def everything(folder: Path) -> Iterator[bytes]:
    for each in folder.rglob("*"):
        if each.is_file():
            yield each.read_bytes()


async def test_a_thousand_marked_values_are_in_no_file(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.say("CONFIG", "SET", "appendonly", "yes")
    async with Cache(
        redis=server.url, database=str(tmp_path / "cache.db"), encryption_keys=KEYS,
        policies={"doc": Policy(sensitive=True)},
    ) as cache:  # fmt: skip
        t = cache.tenant("acme")
        for start in range(0, 1000, 100):
            ids = range(start, start + 100)
            assert await t.set_many("doc", {f"{n}": {"text": f"{MARKER}-{n}"} for n in ids})
        await t.set("open", "1", "not-a-secret-0815")
        server.say("SAVE")
        found = b"".join(everything(tmp_path))
        assert b"not-a-secret-0815" in found, "else nothing is found at all"
        assert MARKER.encode() not in found
        assert MARKER not in caplog.text
        reader = Cache(redis=server.url, encryption_keys=KEYS)
        await reader.aclose()


async def test_a_copy_does_not_open_elsewhere_in_redis(server: RedisServer) -> None:
    policies = {"doc": Policy(sensitive=True)}

    def node(namespace: str) -> Cache:
        return Cache(
            redis=server.url, encryption_keys=KEYS, encrypt="all", policies=policies,
            namespace=namespace,
        )  # fmt: skip

    async with node("one") as one, node("two") as two:
        for cache in (one, two):
            for tenant in ("acme", "globex"):
                for number in ("1", "2"):
                    await cache.tenant(tenant).set("doc", number, f"{MARKER}{tenant}{number}")
    prefix = "{}.0:{{b0}}:v:{}:doc:{}"
    source = prefix.format("one", "acme", "1")
    places = [("one", "acme", "2"), ("one", "globex", "1"), ("two", "acme", "1")]
    for place in places:
        server.say("COPY", source, prefix.format(*place), "REPLACE")
    async with node("one") as one, node("two") as two:
        for namespace, tenant, number in places:
            cache = one if namespace == "one" else two
            assert not await cache.tenant(tenant).get("doc", number)
            assert corrupt(cache)


async def test_a_copy_does_not_open_elsewhere_in_the_database(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")

    def node() -> Cache:
        return Cache(database=path, encryption_keys=KEYS, encrypt="all")

    async with node() as cache:
        for tenant in ("acme", "globex"):
            for number in ("1", "2"):
                await cache.tenant(tenant).set("doc", number, f"{MARKER}{tenant}{number}")
    with sqlite3.connect(path) as connection:
        ((envelope,),) = connection.execute(
            "SELECT envelope FROM entries e JOIN tenants t ON t.id = e.tenant"
            " WHERE t.tenant = 'acme' AND e.key LIKE '%1'"
        ).fetchall()
        connection.execute("UPDATE entries SET envelope = ?", (envelope,))
    connection.close()
    async with node() as cache:
        assert not await cache.tenant("acme").get("doc", "2")
        assert not await cache.tenant("globex").get("doc", "1")
        assert corrupt(cache) == 2


async def test_a_dropped_key_ends_all_that_it_has_sealed(make: Make) -> None:
    here = make()
    await here.tenant("acme").set("doc", "1", MARKER)
    await here.tenant("globex").set("doc", "1", MARKER)
    sealing = inside(here).stack.lower[-1].sealing
    assert sealing is not None
    assert await sealing.drop("acme")
    other = make()
    assert not await other.tenant("acme").get("doc", "1")
    assert (await other.tenant("globex").get("doc", "1")).value == MARKER
    await other.tenant("acme").set("doc", "1", "anew")
    assert (await make().tenant("acme").get("doc", "1")).value == "anew"


async def test_rotation_wraps_anew_and_misses_nothing(make: Make) -> None:
    """Under load, in processes that know both keys; then the older one may go."""
    await make().tenant("acme").set("doc", "1", MARKER)
    both = f"b:{key_of(2)},{KEYS}"
    readers = [make(encryption_keys=both) for _ in range(2)]
    over = asyncio.Event()

    async def read(cache: Cache) -> int:
        count = 0
        while not over.is_set() or not count:
            inside(cache).stack.memory.flush()
            assert (await cache.tenant("acme").get("doc", "1")).value == MARKER
            count += 1
            await asyncio.sleep(0)
        return count

    reading = [asyncio.create_task(read(cache)) for cache in readers]
    rotating = make(encryption_keys=both)
    assert (await rotating.rotate_keys(), await rotating.rotate_keys()) == (1, 0)
    over.set()
    assert min(await asyncio.gather(*reading)) > 0
    only = make(encryption_keys=f"b:{key_of(2)}")
    assert (await only.tenant("acme").get("doc", "1")).value == MARKER
    assert not await make().tenant("acme").get("doc", "1"), "the old key alone opens nothing"


async def test_a_key_that_does_not_open_keeps_no_other_from_rotation(make: Make) -> None:
    """One is wrapped by a key that is lost, one by another than bears that name now."""
    third = f"c:{key_of(3)}"
    await make(encryption_keys=third).tenant("a lost").set("doc", "1", MARKER)
    await make(encryption_keys=f"b:{key_of(3)}").tenant("b other").set("doc", "1", MARKER)
    for tenant in ("acme", "z"):
        await make().tenant(tenant).set("doc", "1", MARKER)
    both, seen = make(encryption_keys=f"b:{key_of(2)},{KEYS}"), list[tuple[int, int]]()
    for _ in range(2):
        with pytest.raises(CorruptEntry) as caught:
            await both.rotate_keys(on_progress=lambda *progress: seen.append(progress))
        said = str(caught.value)
        assert said.startswith("the keys of 2 of 4 tenants do not open")
        assert "all others are under b now" in said
        assert "of 'a lost': a tenant's key is wrapped by 'c'" in said
        assert "of 'b other': a tenant's key does not open" in said
        assert not any(key_of(number) in said for number in range(4))
    assert seen == [(done, 4) for done in (1, 2, 3, 4)] * 2
    only = make(encryption_keys=f"b:{key_of(2)}")
    for tenant in ("acme", "z"):
        assert (await only.tenant(tenant).get("doc", "1")).value == MARKER
    assert (await make(encryption_keys=third).tenant("a lost").get("doc", "1")).value == MARKER
    await make(encryption_keys=f"b:{key_of(2)},{third}").forget("b other")
    assert await make(encryption_keys=f"b:{key_of(2)},{third}").rotate_keys() == 1


async def test_an_error_names_so_many_tenants(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "SHOWN", 2)
    for number in range(4):
        await make().tenant(f"t{number}").set("doc", "1", MARKER)
    with pytest.raises(CorruptEntry, match="of 't0', 't1' and 2 more: a tenant's key is wrapped"):
        await make(encryption_keys=f"b:{key_of(2)}").rotate_keys()


async def test_without_keys_there_is_nothing_to_rotate() -> None:
    async with Cache() as cache:
        with pytest.raises(BadInput, match="no keys to rotate"):
            await cache.rotate_keys()


async def test_the_seal_itself_is_bound_to_its_place(make: Make) -> None:
    """Whoever copies an entry can make its checksum anew, so that it is not what this rests on."""
    here = make()
    t = here.tenant("acme")
    await t.set("doc", "1", MARKER)
    sealing = inside(here).stack.lower[-1].sealing
    assert sealing is not None
    entry = await sealing.sealed(t.key("doc", "1"), Entry(b"\xa1x"))
    assert entry.data != b"\xa1x"
    assert (await sealing.open(t.key("doc", "1"), entry)).data == b"\xa1x"
    for other in (t.key("doc", "2"), t.key("dog", "1"), here.tenant("globex").key("doc", "1")):
        with pytest.raises(CorruptEntry):
            await sealing.open(other, entry)
    entry.codec = Codec.EXTENDED
    with pytest.raises(CorruptEntry):
        await sealing.open(t.key("doc", "1"), entry)


async def test_who_reads_a_store_cannot_try_what_a_set_is_about_to_store(
    make: Make, redis_server: RedisServer
) -> None:
    """The token of a HOLD is a digest, so that equal sets share it: of a small value without a key
    it would tell all."""
    here = make()
    t, stack = here.tenant("acme"), inside(here).stack
    await t.set("doc", "1", MARKER)
    entry = Entry(b"\x07")
    plain, told = digest_of(entry), digest_of(entry)[:12]
    for tier in stack.lower:
        leases = [
            (await tier.lease([t.key("doc", each)], [None], force=True, digests=[plain]))[0]
            for each in ("2", "2", "3")
        ]
        (shown,) = await tier.lease([t.key("open", "1")], [None], force=True, digests=[plain])
        if not isinstance(shown.token, bytes):  # a database has none
            continue
        assert shown.token.startswith(told)
        tokens = [each.token[: len(told)] for each in leases]
        assert told not in tokens
        assert tokens[0] == tokens[1], "equal values of a key share one"
        stored = [redis_server.say("GET", key) for key in held(redis_server)]
        assert [told in each for each in stored].count(True) == 1, "that of the open one"


def held(server: RedisServer) -> list[str]:
    return [key for key in server.say("KEYS", "*:l:*").decode().split("\r\n") if ":l:" in key]
