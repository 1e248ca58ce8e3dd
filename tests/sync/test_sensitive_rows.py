"""What the sync writes of sensitive values: sealed in cascada's own table, and readable again."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, Mapping, Misuse, Policy
from cascada.model.errors import BadInput, CorruptEntry
from cascada.testing.inside import inside
from tests.sync.conftest import Database, Make

KEYS = "a:" + base64.b64encode(bytes(range(32))).decode()


async def data_of(database: Database) -> dict[str, bytes]:
    own = "cascada.service_entries" if database.kind == "postgresql" else "cascada_service_entries"
    rows = await database.ask(f"SELECT key, value, data FROM {own}")
    assert all(value is None for _, value, _ in rows)
    return {key: bytes(data) for key, _, data in rows}


async def test_what_is_sensitive_is_in_no_table_of_cascada_in_the_clear(
    make: Make, database: Database
) -> None:
    service = make(keys=KEYS, encrypt="all")
    values: dict[str, Any] = {
        "a": {"word": "PLAIN"}, "b": ("PLAIN", b"x"), "c": "PLAIN" * 3000, "d": 0,
    }  # fmt: skip
    for key, value in values.items():
        assert await service.set(key, value)
    assert (await service.sync_now()).written == 4
    rows = await data_of(database)
    assert not [key for key, data in rows.items() if b"PLAIN" in data]
    for key, data in rows.items():
        assert await service.open_row(key, data) == values[key]
    assert await service.open_row("d", memoryview(rows["d"]), type=int) == 0
    # Nobody else's.
    with pytest.raises(CorruptEntry, match="another key, tenant or namespace"):
        await service.open_row("b", rows["a"])
    with Context(tenant_id="globex"), pytest.raises(CorruptEntry):
        await service.open_row("a", rows["a"])
    with pytest.raises(CorruptEntry):
        await make(keys=KEYS, name="other").open_row("a", rows["a"])
    with pytest.raises(CorruptEntry, match="no key is at hand"):
        await make().open_row("a", rows["a"])


async def test_what_is_no_row_is_refused(make: Make) -> None:
    service = make(keys=KEYS, encrypt="all")
    assert await service.open_row("a", b'"a\\u0000"') == "a\0", (
        "as text that JSON of a server lacks"
    )
    for odd in (b"", b"{", b"\xff\x00", b"\x93\x01\x02", b"\x93\x01\x08\xc4\x01x", b"\x00" * 1000):
        with pytest.raises(CorruptEntry):
            await service.open_row("a", odd)
    for wrong in (None, "text", 7, [b"x"]):
        with pytest.raises(BadInput, match="data is"):
            await service.open_row("a", wrong)  # type: ignore[arg-type]


async def test_a_mapped_table_is_the_applications_and_is_written_as_it_wants_it(
    make: Make, database: Database
) -> None:
    await database.campaigns("1, 'Spring', 5, 1")
    service = make(Mapping("campaign:", "campaigns", ["name"], "version"), keys=KEYS, encrypt="all")
    assert await service.set("campaign:1", {"name": "PLAIN", "version": 1}, fetched=False)
    assert (await service.sync_now()).written == 1
    assert [row[1] for row in await database.rows()] == ["PLAIN"]


async def test_what_may_not_be_durable_is_not_journaled(make: Make, database: Database) -> None:
    """Its sets would lie in the cache's database all the same, which its policy forbids."""
    service = make()
    service.cache.set_policy("service.default", Policy(durable=False))
    for call in (service.set("a", 1), service.get("a"), service.start_sync(), service.sync_now()):
        with pytest.raises(Misuse, match=r"Policy\(durable=False\) of service.default"):
            await call
    unsynced = CacheService(name="unsynced", cache=service.cache)
    service.cache.set_policy("service.unsynced", Policy(durable=False))
    await unsynced.set("a", 1)
    assert await unsynced.get("a") == 1
    assert Cache is not None


async def test_what_is_acknowledged_is_sealed_by_the_key_of_now(make: Make) -> None:
    """Another process has dropped the tenant's key, and made one: who knows the old one for some
    seconds more must put nothing into the journal that nobody can open."""
    here, there = make(keys=KEYS, encrypt="all"), make(keys=KEYS, encrypt="all")
    assert await here.set("a", 1)
    assert (await there.sync_now()).written == 1
    sealing = inside(there.cache).stack.lower[-1].sealing
    assert sealing is not None
    assert await sealing.drop("acme")
    assert await there.set("b", 2)
    assert await here.set("c", 3)
    report = await there.sync_now()
    assert (report.written, report.set_aside) == (2, 0)
