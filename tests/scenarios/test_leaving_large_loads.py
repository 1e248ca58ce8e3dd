"""Who leaves in the middle of a load of many: nothing of it is lost, and nothing stays behind."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from cascada.tiers.contract import Lease
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import turns, until

MANY = 350
FOUND = 1500
TURNS = range(8)


@pytest.mark.parametrize("later", TURNS)
@pytest.mark.parametrize("tiers", ["memory"], indirect=True)
async def test_what_a_loader_has_brought_is_stored_though_its_caller_leaves(
    make_cache: MakeCache, later: int
) -> None:
    acme = (cache := make_cache()).tenant("acme")
    brought = asyncio.Event()

    async def rows(ids: list[str]) -> dict[str, str]:
        await asyncio.sleep(0)
        brought.set()
        return dict.fromkeys(ids, "row")

    loading = asyncio.ensure_future(acme.load_many("x", [f"{n}" for n in range(MANY)], rows))
    await brought.wait()
    await turns(later)
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading
    await turns(40)
    assert (await cache.stats()).tiers["l1"].entries == MANY


@pytest.mark.parametrize("later", [0, 3])
@pytest.mark.parametrize("tiers", ["sqlite"], indirect=True)
async def test_a_lease_is_given_back_though_what_was_found_is_still_being_filled_in(
    make_cache: MakeCache, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{n}" for n in range(FOUND + 50)]
    await make_cache().tenant("acme").load_many("x", ids[:FOUND], lambda ids: ids)
    acme = make_cache().tenant("acme")
    await acme.get("x", "warm")
    held: dict[int, Lease] = {}
    granted = asyncio.Event()
    lease, fill = SqliteTier.lease, SqliteTier.fill

    async def leasing(self: SqliteTier, keys: Any, *how: Any, **named: Any) -> Any:
        answers = await lease(self, keys, *how, **named)
        held.update({id(each): each for each in answers if isinstance(each, Lease)})
        if len(keys) > 1:
            granted.set()
        return answers

    async def filling(self: SqliteTier, leases: Any, entries: Any) -> Any:
        for each in leases:
            held.pop(id(each), None)
        return await fill(self, leases, entries)

    monkeypatch.setattr(SqliteTier, "lease", leasing)
    monkeypatch.setattr(SqliteTier, "fill", filling)

    async def inner(ids: list[str]) -> list[str]:
        await asyncio.Event().wait()
        return ids

    async def outer() -> int:  # in a load, so that no one asks the tier past the leases
        return len(await acme.load_many("x", ids, inner))

    loading = asyncio.ensure_future(acme.load("answer", "1", outer))
    await granted.wait()
    await turns(later)
    loading.cancel()
    with suppress(asyncio.CancelledError):
        await loading
    await until(lambda: not held)
